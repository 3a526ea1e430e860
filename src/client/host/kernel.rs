//! The kernel's settings, the machine below it, real or virtual, and the container around this process.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::transports::sys::root::{Root, values};

/// The kernel and its settings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Kernel {
    /// The release, such as `6.12.9-amd64`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
    /// The build: number, preemption model and date.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The boot options that affect a latency, by name; an option without a value has an empty one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub options: Option<BTreeMap<String, String>>,
    /// The clock source in use. Only a few, `tsc` first, can be read without a system call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock_source: Option<String>,
    /// The clock sources that could be used.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub clock_sources_available: BTreeSet<String>,
    /// When transparent huge pages are used: `always`, `madvise` or `never`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transparent_hugepage: Option<String>,
    /// TCP's congestion control, such as `cubic`: of this network namespace, loopback included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp_congestion_control: Option<String>,
    /// What the kernel does about each CPU vulnerability it knows, by the vulnerability's name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub mitigations: BTreeMap<String, String>,
}

impl Kernel {
    pub(super) fn read(root: Root<'_>) -> Self {
        let vulnerabilities = "sys/devices/system/cpu/vulnerabilities";
        let mitigation = |name| Some((root.text(format!("{vulnerabilities}/{name}"))?, name));
        Self {
            release: root.text("proc/sys/kernel/osrelease"),
            version: root.text("proc/sys/kernel/version"),
            options: root.text("proc/cmdline").map(|line| options(&line)),
            clock_source: clock_source(root),
            clock_sources_available: clock_sources_available(root),
            transparent_hugepage: root
                .text("sys/kernel/mm/transparent_hugepage/enabled")
                .and_then(|choices| chosen(&choices)),
            tcp_congestion_control: root.text("proc/sys/net/ipv4/tcp_congestion_control"),
            mitigations: root
                .names(vulnerabilities)
                .into_iter()
                .filter_map(mitigation)
                .map(|(text, name)| (name, text))
                .collect(),
        }
    }
}

/// The clock source in use.
pub(super) fn clock_source(root: Root<'_>) -> Option<String> {
    root.text("sys/devices/system/clocksource/clocksource0/current_clocksource")
}

fn clock_sources_available(root: Root<'_>) -> BTreeSet<String> {
    let names = root.text("sys/devices/system/clocksource/clocksource0/available_clocksource");
    names.unwrap_or_default().split_whitespace().map(str::to_owned).collect()
}

/// The boot options that affect a latency. Others may hold secrets and are left out.
const OPTIONS: [&str; 14] = [
    "amd_pstate",
    "clocksource",
    "cpuidle.off",
    "idle",
    "intel_idle.max_cstate",
    "intel_pstate",
    "isolcpus",
    "mitigations",
    "nohz_full",
    "nosmt",
    "preempt",
    "processor.max_cstate",
    "rcu_nocbs",
    "tsc",
];

fn options(command_line: &str) -> BTreeMap<String, String> {
    command_line
        .split_whitespace()
        // The rest is for the init process, not for the kernel.
        .take_while(|word| *word != "--")
        .map(|word| word.split_once('=').unwrap_or((word, "")))
        .filter(|(name, _)| OPTIONS.contains(name))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// The choice in brackets, as in `always [madvise] never`.
fn chosen(choices: &str) -> Option<String> {
    choices.split_whitespace().find_map(|word| Some(word.strip_prefix('[')?.strip_suffix(']')?.to_owned()))
}

/// What the kernel runs on and what this process runs in.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// The machine's vendor, from its firmware.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vendor: Option<String>,
    /// The machine's product name, from its firmware.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub product: Option<String>,
    /// Whether a hypervisor runs below the kernel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub virtualized: Option<bool>,
    /// The hypervisor's name, such as `kvm`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hypervisor: Option<String>,
    /// The kind of container this process runs in, such as `docker`; `None` if none is detected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
}

impl Machine {
    pub(super) fn read(root: Root<'_>) -> Self {
        let vendor = root.text("sys/class/dmi/id/sys_vendor");
        let product = root.text("sys/class/dmi/id/product_name");
        let flag = hypervisor_flag(root);
        let hypervisor = hypervisor(root, flag, [vendor.as_deref(), product.as_deref()]);
        Self {
            virtualized: flag.or_else(|| hypervisor.is_some().then_some(true)),
            hypervisor,
            vendor,
            product,
            container: container(root),
        }
    }
}

/// Whether the CPU has the hypervisor flag; `None` except on x86, the only architecture with one.
fn hypervisor_flag(root: Root<'_>) -> Option<bool> {
    let cpuinfo = root.text("proc/cpuinfo")?;
    let flags = values(&cpuinfo, "flags").next()?;
    Some(flags.split_whitespace().any(|flag| flag == "hypervisor"))
}

/// Clock sources that exist only in guests of this hypervisor, which identify it without a firmware table.
const GUEST_CLOCKS: [(&str, &str); 4] = [
    ("kvm-clock", "kvm"),
    ("xen", "xen"),
    ("hyperv_clocksource_tsc_page", "hyper-v"),
    ("hyperv_clocksource_msr", "hyper-v"),
];

/// Prefixes of a firmware table's vendor or product on this hypervisor, after systemd's `detect_vm_dmi`. Clouds
/// whose tables are the same on virtual and on bare machines (Amazon EC2) are left out.
const GUEST_FIRMWARE: [(&str, &str); 11] = [
    ("KVM", "kvm"),
    ("OpenStack", "kvm"),
    ("KubeVirt", "kvm"),
    ("Google Compute Engine", "kvm"),
    ("QEMU", "qemu"),
    ("VMware", "vmware"),
    ("VirtualBox", "virtualbox"),
    ("Xen", "xen"),
    ("Parallels", "parallels"),
    ("BHYVE", "bhyve"),
    ("Apple Virtualization", "apple"),
];

fn hypervisor(root: Root<'_>, flag: Option<bool>, firmware: [Option<&str>; 2]) -> Option<String> {
    if let Some(name) = root.text("sys/hypervisor/type") {
        return Some(name);
    }
    if flag == Some(false) {
        return None;
    }
    let clocks = clock_sources_available(root);
    let firmware_starts_with = |start| firmware.iter().flatten().any(|text| text.starts_with(start));
    let by_clock = GUEST_CLOCKS.iter().find(|(clock, _)| clocks.contains(*clock));
    by_clock
        .or_else(|| GUEST_FIRMWARE.iter().find(|(start, _)| firmware_starts_with(*start)))
        .map(|(_, name)| (*name).to_owned())
}

/// Words in the init process's control group, in a container that sees the host's groups.
const CONTAINER_GROUPS: [(&str, &str); 6] = [
    ("kubepods", "kubernetes"),
    ("docker", "docker"),
    ("libpod", "podman"),
    ("lxc", "lxc"),
    ("containerd", "containerd"),
    ("garden", "garden"),
];

fn container(root: Root<'_>) -> Option<String> {
    // A container manager's own statement overrides a guess from its traces.
    if let Some(name) = root.text("run/systemd/container") {
        return Some(name);
    }
    let environment = root.text("proc/self/environ").unwrap_or_default();
    let variable = |wanted: &str| {
        let mut variables = environment.split('\0').filter_map(|variable| variable.split_once('='));
        variables.find(|(name, value)| *name == wanted && !value.is_empty()).map(|(_, value)| value)
    };
    if let Some(name) = variable("container") {
        return Some(name.to_owned());
    }
    if variable("KUBERNETES_SERVICE_HOST").is_some() {
        return Some("kubernetes".to_owned());
    }
    let traces = [("run/.containerenv", "podman"), (".dockerenv", "docker")];
    if let Some((_, name)) = traces.iter().find(|(file, _)| root.exists(file)) {
        return Some((*name).to_owned());
    }
    let groups = root.text("proc/1/cgroup")?;
    CONTAINER_GROUPS.iter().find(|(word, _)| groups.contains(word)).map(|(_, name)| (*name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_options_that_affect_a_latency_are_kept() {
        let found = options("root=/dev/sda1 isolcpus=2-3 nosmt idle=poll token=secret -- nohz_full=1");
        let expected = [("idle", "poll"), ("isolcpus", "2-3"), ("nosmt", "")];
        assert_eq!(found, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    }

    #[test]
    fn the_choice_is_the_word_in_brackets() {
        assert_eq!(chosen("always [madvise] never").as_deref(), Some("madvise"));
        assert_eq!(chosen("always madvise never"), None);
    }
}
