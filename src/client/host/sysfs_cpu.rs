//! What sysfs tells of each CPU: which are online, and who shares a core, a cache, a socket, a memory node.

use std::collections::BTreeSet;

use super::CpuList;
use super::root::Root;

/// The folder that holds `cpu0`, `cpu1`, … and `online`.
pub(crate) const CPU_FOLDER: &str = "sys/devices/system/cpu";

/// The CPUs that are online.
pub(crate) fn online(root: Root<'_>) -> Option<CpuList> {
    root.parse(format!("{CPU_FOLDER}/online"))
}

/// The CPUs that `isolcpus=` or a cpuset partition took from the scheduler's balancing.
pub(crate) fn isolated(root: Root<'_>) -> Option<CpuList> {
    root.parse(format!("{CPU_FOLDER}/isolated"))
}

/// The hardware threads on this CPU's core, itself included.
pub(crate) fn thread_siblings(root: Root<'_>, cpu: u32) -> Option<CpuList> {
    root.parse(format!("{CPU_FOLDER}/cpu{cpu}/topology/thread_siblings_list"))
}

/// The core's number, unique within its socket only.
pub(crate) fn core_id(root: Root<'_>, cpu: u32) -> Option<u32> {
    // A platform that does not know says -1, which is no number here.
    root.parse(format!("{CPU_FOLDER}/cpu{cpu}/topology/core_id"))
}

/// The socket's number.
pub(crate) fn package_id(root: Root<'_>, cpu: u32) -> Option<u32> {
    root.parse(format!("{CPU_FOLDER}/cpu{cpu}/topology/physical_package_id"))
}

/// The NUMA node, from the link `nodeN` beside the CPU's files.
pub(crate) fn numa_node(root: Root<'_>, cpu: u32) -> Option<u32> {
    let names = root.names(format!("{CPU_FOLDER}/cpu{cpu}"));
    names.iter().find_map(|name| name.strip_prefix("node")?.parse().ok())
}

/// The CPUs that share this CPU's last level cache, itself included.
pub(crate) fn last_level_cache(root: Root<'_>, cpu: u32) -> Option<CpuList> {
    let folder = format!("{CPU_FOLDER}/cpu{cpu}/cache");
    let level = |name: &String| root.parse::<u32>(format!("{folder}/{name}/level"));
    let last = root.names(&folder).into_iter().filter(|name| level(name).is_some()).max_by_key(level)?;
    root.parse(format!("{folder}/{last}/shared_cpu_list"))
}

/// The texts of one file of every CPU, such as `cpufreq/scaling_governor`, by CPU number; those that can be read.
pub(crate) fn each(root: Root<'_>, file: &str) -> Vec<(u32, String)> {
    let cpus = online(root).unwrap_or_default();
    cpus.iter().filter_map(|cpu| Some((cpu, root.text(format!("{CPU_FOLDER}/cpu{cpu}/{file}"))?))).collect()
}

/// The different texts of one file of every CPU.
pub(crate) fn distinct(root: Root<'_>, file: &str) -> BTreeSet<String> {
    each(root, file).into_iter().map(|(_, text)| text).collect()
}

/// The numbers in one file of every CPU.
pub(crate) fn numbers(root: Root<'_>, file: &str) -> impl Iterator<Item = (u32, u64)> {
    each(root, file).into_iter().filter_map(|(cpu, text)| Some((cpu, text.parse().ok()?)))
}
