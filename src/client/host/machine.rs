//! The machine below the kernel, a real or a virtual one, and the container around this process.

use serde::{Deserialize, Serialize};

use super::kernel::clock_sources_available;
use super::root::{Root, values};

/// What the kernel runs on and what this process runs in.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// Who made the machine, by its firmware.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vendor: Option<String>,
    /// The machine's name, by its firmware.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub product: Option<String>,
    /// Whether a hypervisor runs below the kernel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub virtualized: Option<bool>,
    /// The hypervisor's name, such as `kvm`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hypervisor: Option<String>,
    /// The kind of container this process runs in, such as `docker`; `None` where nothing shows one.
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

/// Whether the CPU tells of a hypervisor; x86 only, other CPUs have no such flag.
fn hypervisor_flag(root: Root<'_>) -> Option<bool> {
    let cpuinfo = root.text("proc/cpuinfo")?;
    let flags = values(&cpuinfo, "flags").next()?;
    Some(flags.split_whitespace().any(|flag| flag == "hypervisor"))
}

/// Clock sources that only a guest of this hypervisor is offered. They tell it where there is no firmware table.
const GUEST_CLOCKS: [(&str, &str); 4] = [
    ("kvm-clock", "kvm"),
    ("xen", "xen"),
    ("hyperv_clocksource_tsc_page", "hyper-v"),
    ("hyperv_clocksource_msr", "hyper-v"),
];

/// How a firmware table's vendor or product begins on this hypervisor, after systemd's `detect_vm_dmi`. Clouds
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
    let by_clock = GUEST_CLOCKS.iter().find(|(clock, _)| clocks.contains(*clock));
    let by_firmware = || {
        let begins = |start| firmware.iter().flatten().any(|text| text.starts_with(start));
        GUEST_FIRMWARE.iter().find(|(start, _)| begins(*start))
    };
    by_clock.or_else(by_firmware).map(|(_, name)| (*name).to_owned())
}

/// What the first process's control group is named after in a container that sees the host's groups.
const CONTAINER_GROUPS: [(&str, &str); 6] = [
    ("kubepods", "kubernetes"),
    ("docker", "docker"),
    ("libpod", "podman"),
    ("lxc", "lxc"),
    ("containerd", "containerd"),
    ("garden", "garden"),
];

fn container(root: Root<'_>) -> Option<String> {
    // What a container manager says comes before what is guessed from its traces.
    if let Some(name) = root.text("run/systemd/container") {
        return Some(name);
    }
    let environment = root.text("proc/self/environ").unwrap_or_default();
    let mut variables = environment.split('\0').filter_map(|variable| variable.split_once('='));
    if let Some((_, name)) = variables.clone().find(|(name, value)| *name == "container" && !value.is_empty())
    {
        return Some(name.to_owned());
    }
    if variables.any(|(name, _)| name == "KUBERNETES_SERVICE_HOST") {
        return Some("kubernetes".to_owned());
    }
    let traces = [("run/.containerenv", "podman"), (".dockerenv", "docker")];
    if let Some((_, name)) = traces.iter().find(|(file, _)| root.exists(file)) {
        return Some((*name).to_owned());
    }
    let groups = root.text("proc/1/cgroup")?;
    CONTAINER_GROUPS.iter().find(|(word, _)| groups.contains(word)).map(|(_, name)| (*name).to_owned())
}
