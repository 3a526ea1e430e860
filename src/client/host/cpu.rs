//! The CPUs: their model, how many there are, how they share cores and sockets, and which this process may use.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::root::{Root, values};
use super::{CpuList, arm, sysfs_cpu};

/// The CPUs of the host, as its kernel tells them.
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
        let online = sysfs_cpu::online(root);
        let cores = cores(root, online.as_ref());
        let threads_per_core = cores.as_ref().and_then(|cores| cores.iter().map(CpuList::len).max());
        Self {
            model: model(root),
            allowed: allowed(root, online.as_ref()),
            cores: cores.map(|cores| cores.len()),
            sockets: sockets(root, online.as_ref()),
            threads_per_core,
            smt_active: root
                .switch("sys/devices/system/cpu/smt/active")
                .or_else(|| threads_per_core.map(|threads| threads > 1)),
            isolated: sysfs_cpu::isolated(root),
            nohz_full: root.parse("sys/devices/system/cpu/nohz_full"),
            numa_nodes: root.parse("sys/devices/system/node/online").map(|nodes: CpuList| nodes.len()),
            online,
        }
    }
}

/// The cores, each as the list of its threads; `None` unless every CPU tells its core.
fn cores(root: Root<'_>, online: Option<&CpuList>) -> Option<Vec<CpuList>> {
    let mut cores = Vec::new();
    let mut seen = BTreeSet::new();
    for cpu in online?.iter() {
        let threads = sysfs_cpu::thread_siblings(root, cpu)?;
        if !seen.contains(&cpu) {
            seen.extend(threads.iter());
            cores.push(threads);
        }
    }
    Some(cores)
}

/// How many sockets there are; `None` unless every CPU tells its socket.
fn sockets(root: Root<'_>, online: Option<&CpuList>) -> Option<usize> {
    let ids: Option<BTreeSet<u32>> = online?.iter().map(|cpu| sysfs_cpu::package_id(root, cpu)).collect();
    ids.map(|ids| ids.len())
}

/// The affinity mask from `/proc`, which a test can replace and which has no upper limit to the CPU number.
fn allowed(root: Root<'_>, online: Option<&CpuList>) -> Option<CpuList> {
    let status = root.text("proc/self/status")?;
    let mask: CpuList = values(&status, "Cpus_allowed_list").next()?.parse().ok()?;
    // The mask may name CPUs that are offline or not even there.
    Some(online.map_or_else(|| mask.clone(), |online| mask.intersection(online)))
}

/// The keys of `/proc/cpuinfo` that name a model: x86 and others, MIPS, RISC-V, POWER.
const MODEL_KEYS: [&str; 4] = ["model name", "cpu model", "uarch", "cpu"];

fn model(root: Root<'_>) -> Option<String> {
    let cpuinfo = root.text("proc/cpuinfo")?;
    let named = |key| values(&cpuinfo, key).map(str::to_owned).collect::<BTreeSet<_>>();
    let names = MODEL_KEYS.map(named).into_iter().find(|names| !names.is_empty());
    let names = names.unwrap_or_else(|| arm::models(&cpuinfo));
    (!names.is_empty()).then(|| names.into_iter().collect::<Vec<_>>().join(" + "))
}
