//! The CPUs: model, topology, the CPUs this process may use, frequency scaling and idle states.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::CpuList;
use crate::transports::sys::root::{Root, values};

/// The CPUs of the host, as its kernel reports them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cpu {
    /// The model's name; where cores of several models are mixed, all of them, joined by ` + `.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The logical CPUs that are online.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub online: Option<CpuList>,
    /// The online CPUs in this process's affinity mask.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed: Option<CpuList>,
    /// Physical cores with a CPU online.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cores: Option<usize>,
    /// Sockets with a CPU online.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sockets: Option<usize>,
    /// The most logical CPUs that one core has online.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threads_per_core: Option<usize>,
    /// Whether a core runs several threads at once (SMT, hyper-threading).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub smt_active: Option<bool>,
    /// The CPUs that the scheduler does not balance over (`isolcpus=`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub isolated: Option<CpuList>,
    /// The CPUs whose timer tick stops while one task runs (`nohz_full=`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nohz_full: Option<CpuList>,
    /// NUMA nodes online.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub numa_nodes: Option<usize>,
}

impl Cpu {
    pub(super) fn read(root: Root<'_>) -> Self {
        let online = online(root);
        let cores = cores(root, online.as_ref());
        let threads_per_core = cores.as_ref().and_then(|cores| cores.iter().map(CpuList::len).max());
        let sockets: Option<BTreeSet<u32>> =
            online.iter().flat_map(CpuList::iter).map(|cpu| package_id(root, cpu)).collect();
        Self {
            model: model(root),
            allowed: allowed(root, online.as_ref()),
            cores: cores.map(|cores| cores.len()),
            sockets: sockets.map(|ids| ids.len()).filter(|sockets| *sockets > 0),
            threads_per_core,
            smt_active: root
                .switch("sys/devices/system/cpu/smt/active")
                .or_else(|| threads_per_core.map(|threads| threads > 1)),
            isolated: isolated(root),
            nohz_full: root.parse("sys/devices/system/cpu/nohz_full"),
            numa_nodes: root.parse("sys/devices/system/node/online").map(|nodes: CpuList| nodes.len()),
            online,
        }
    }
}

/// The cores, each as the list of its threads; `None` if the core of any CPU is unknown.
fn cores(root: Root<'_>, online: Option<&CpuList>) -> Option<Vec<CpuList>> {
    let mut cores: Vec<CpuList> = Vec::new();
    for cpu in online?.iter() {
        let threads = thread_siblings(root, cpu)?;
        if !cores.iter().any(|core| core.contains(cpu)) {
            cores.push(threads);
        }
    }
    Some(cores)
}

/// The affinity mask from `/proc`, which a test can replace and which has no upper limit on CPU numbers.
fn allowed(root: Root<'_>, online: Option<&CpuList>) -> Option<CpuList> {
    let status = root.text("proc/self/status")?;
    let mask: CpuList = values(&status, "Cpus_allowed_list").next()?.parse().ok()?;
    // The mask may include CPUs that are offline or absent.
    Some(online.map_or_else(|| mask.clone(), |online| mask.intersection(online)))
}

/// The keys of `/proc/cpuinfo` that name a model: x86 and others, MIPS, RISC-V, POWER.
const MODEL_KEYS: [&str; 4] = ["model name", "cpu model", "uarch", "cpu"];

fn model(root: Root<'_>) -> Option<String> {
    let cpuinfo = root.text("proc/cpuinfo")?;
    let named = |key| values(&cpuinfo, key).map(str::to_owned).collect::<BTreeSet<_>>();
    let names = MODEL_KEYS.map(named).into_iter().find(|names| !names.is_empty());
    let names = names.unwrap_or_else(|| arm_models(&cpuinfo));
    (!names.is_empty()).then(|| names.into_iter().collect::<Vec<_>>().join(" + "))
}

/// The distinct ARM cores in `/proc/cpuinfo`. A 64-bit ARM kernel reports the implementer and part numbers of the Main
/// ID Register instead of a name; the names are those of util-linux's `lscpu-arm.c`.
fn arm_models(cpuinfo: &str) -> BTreeSet<String> {
    values(cpuinfo, "CPU implementer")
        .zip(values(cpuinfo, "CPU part"))
        .map(|(maker, part)| arm_model(maker, part))
        .collect()
}

fn arm_model(implementer: &str, part: &str) -> String {
    let name = |table: &[(&str, &'static str)], number| {
        table.iter().find(|(known, _)| *known == number).map(|(_, name)| *name)
    };
    // A part number has another meaning with each implementer.
    let core = name(&ARM_PARTS, part).filter(|_| implementer == "0x41");
    match (name(&ARM_IMPLEMENTERS, implementer), core) {
        (Some(maker), Some(core)) => format!("{maker} {core}"),
        (Some(maker), None) => format!("{maker} part {part}"),
        (None, _) => format!("implementer {implementer} part {part}"),
    }
}

const ARM_IMPLEMENTERS: [(&str, &str); 12] = [
    ("0x41", "ARM"),
    ("0x42", "Broadcom"),
    ("0x43", "Cavium"),
    ("0x46", "Fujitsu"),
    ("0x48", "HiSilicon"),
    ("0x4e", "NVIDIA"),
    ("0x50", "APM"),
    ("0x51", "Qualcomm"),
    ("0x61", "Apple"),
    ("0x6d", "Microsoft"),
    ("0x70", "Phytium"),
    ("0xc0", "Ampere"),
];

const ARM_PARTS: [(&str, &str); 26] = [
    ("0xd03", "Cortex-A53"),
    ("0xd04", "Cortex-A35"),
    ("0xd05", "Cortex-A55"),
    ("0xd07", "Cortex-A57"),
    ("0xd08", "Cortex-A72"),
    ("0xd09", "Cortex-A73"),
    ("0xd0a", "Cortex-A75"),
    ("0xd0b", "Cortex-A76"),
    ("0xd0c", "Neoverse-N1"),
    ("0xd0d", "Cortex-A77"),
    ("0xd40", "Neoverse-V1"),
    ("0xd41", "Cortex-A78"),
    ("0xd44", "Cortex-X1"),
    ("0xd46", "Cortex-A510"),
    ("0xd47", "Cortex-A710"),
    ("0xd48", "Cortex-X2"),
    ("0xd49", "Neoverse-N2"),
    ("0xd4a", "Neoverse-E1"),
    ("0xd4d", "Cortex-A715"),
    ("0xd4e", "Cortex-X3"),
    ("0xd4f", "Neoverse-V2"),
    ("0xd80", "Cortex-A520"),
    ("0xd81", "Cortex-A720"),
    ("0xd82", "Cortex-X4"),
    ("0xd84", "Neoverse-V3"),
    ("0xd8e", "Neoverse-N3"),
];

/// Power management of the CPUs: frequency scaling and idle states, which affect a latency more than most code does.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Power {
    /// The cpufreq governors in use, each once; empty if no frequency scaling is visible.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub governors: BTreeSet<String>,
    /// The energy-performance preferences in use, which steer drivers that choose the frequency in hardware.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub energy_preferences: BTreeSet<String>,
    /// The cpufreq driver, such as `intel_pstate`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scaling_driver: Option<String>,
    /// The lowest frequency that the scaling limits in force allow any CPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_frequency_khz: Option<u64>,
    /// The highest frequency that the scaling limits in force allow any CPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_frequency_khz: Option<u64>,
    /// Whether turbo (boost) frequencies are allowed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boost: Option<bool>,
    /// The cpuidle driver, which enters the C-states, such as `intel_idle`; `none` without a driver.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_driver: Option<String>,
    /// The cpuidle governor, which chooses the C-state, such as `menu`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_governor: Option<String>,
}

impl Power {
    pub(super) fn read(root: Root<'_>) -> Self {
        let intel = root.switch("sys/devices/system/cpu/intel_pstate/no_turbo").map(|off| !off);
        Self {
            governors: governors(root),
            energy_preferences: distinct(root, "cpufreq/energy_performance_preference"),
            scaling_driver: distinct(root, "cpufreq/scaling_driver").pop_first(),
            min_frequency_khz: each(root, "cpufreq/scaling_min_freq").map(|(_, khz)| khz).min(),
            max_frequency_khz: each(root, "cpufreq/scaling_max_freq").map(|(_, khz)| khz).max(),
            boost: intel.or_else(|| root.switch("sys/devices/system/cpu/cpufreq/boost")),
            idle_driver: root.text("sys/devices/system/cpu/cpuidle/current_driver"),
            // Before Linux 5.8 only the read-only name always existed.
            idle_governor: root
                .text("sys/devices/system/cpu/cpuidle/current_governor")
                .or_else(|| root.text("sys/devices/system/cpu/cpuidle/current_governor_ro")),
        }
    }
}

/// The cpufreq governors in use.
pub(super) fn governors(root: Root<'_>) -> BTreeSet<String> {
    distinct(root, "cpufreq/scaling_governor")
}

/// The current frequency in kHz of each CPU that reports one.
pub(super) fn frequencies_khz(root: Root<'_>) -> impl Iterator<Item = (u32, u64)> {
    each(root, "cpufreq/scaling_cur_freq")
}

/// The folder that holds `cpu0`, `cpu1`, … and `online`.
const CPU_FOLDER: &str = "sys/devices/system/cpu";

/// The CPUs that are online.
pub(super) fn online(root: Root<'_>) -> Option<CpuList> {
    root.parse(format!("{CPU_FOLDER}/online"))
}

/// The CPUs that `isolcpus=` or a cpuset partition excludes from load balancing.
pub(super) fn isolated(root: Root<'_>) -> Option<CpuList> {
    root.parse(format!("{CPU_FOLDER}/isolated"))
}

/// The hardware threads on this CPU's core, itself included.
pub(super) fn thread_siblings(root: Root<'_>, cpu: u32) -> Option<CpuList> {
    root.parse(format!("{CPU_FOLDER}/cpu{cpu}/topology/thread_siblings_list"))
}

/// The socket's number. A platform that does not know it writes -1, which does not parse.
pub(super) fn package_id(root: Root<'_>, cpu: u32) -> Option<u32> {
    root.parse(format!("{CPU_FOLDER}/cpu{cpu}/topology/physical_package_id"))
}

/// The NUMA node, from the link `nodeN` beside the CPU's files.
pub(super) fn numa_node(root: Root<'_>, cpu: u32) -> Option<u32> {
    let names = root.names(format!("{CPU_FOLDER}/cpu{cpu}"));
    names.iter().find_map(|name| name.strip_prefix("node")?.parse().ok())
}

/// The CPUs that share this CPU's last level cache, itself included.
pub(super) fn last_level_cache(root: Root<'_>, cpu: u32) -> Option<CpuList> {
    let folder = format!("{CPU_FOLDER}/cpu{cpu}/cache");
    let level = |name: &String| root.parse::<u32>(format!("{folder}/{name}/level"));
    let last = root.names(&folder).into_iter().filter(|name| level(name).is_some()).max_by_key(level)?;
    root.parse(format!("{folder}/{last}/shared_cpu_list"))
}

/// One file of every CPU, such as `cpufreq/scaling_governor`, by CPU number; files that cannot be read are left out.
fn each<T: std::str::FromStr>(root: Root<'_>, file: &str) -> impl Iterator<Item = (u32, T)> {
    let cpus: Vec<u32> = online(root).iter().flat_map(CpuList::iter).collect();
    let read = move |cpu| Some((cpu, root.text(format!("{CPU_FOLDER}/cpu{cpu}/{file}"))?.parse().ok()?));
    cpus.into_iter().filter_map(read)
}

/// The distinct texts of one file of every CPU.
fn distinct(root: Root<'_>, file: &str) -> BTreeSet<String> {
    each(root, file).map(|(_, text)| text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arm_core_outside_the_table_is_named_by_its_numbers() {
        assert_eq!(arm_model("0x41", "0xd4f"), "ARM Neoverse-V2");
        assert_eq!(arm_model("0x41", "0xfff"), "ARM part 0xfff");
        assert_eq!(arm_model("0xc0", "0xd0c"), "Ampere part 0xd0c");
        assert_eq!(arm_model("0x99", "0x001"), "implementer 0x99 part 0x001");
    }

    #[test]
    fn mixed_arm_cores_are_all_named_once() {
        let cpuinfo = "CPU implementer\t: 0x41\nCPU part\t: 0xd05\n\nCPU implementer\t: 0x41\nCPU part\t: 0xd0b\n\n\
                       CPU implementer\t: 0x41\nCPU part\t: 0xd0b\n";
        assert_eq!(arm_models(cpuinfo).into_iter().collect::<Vec<_>>(), ["ARM Cortex-A55", "ARM Cortex-A76"]);
    }
}
