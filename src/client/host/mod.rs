//! What a measurement ran on: the host's hardware, kernel and settings, as far as the host reports them.
//!
//! [`Environment`] stays the same during a run, [`Snapshot`] changes. Both are read from `/proc`, `/sys` and a few
//! other files, below a root folder that a test can replace. What the host does not report is `None` or empty and left
//! out of the JSON; it is never an error and never guessed. The left-out fields need a format that names its fields:
//! JSON does, bincode does not.

mod cpu;
mod cpu_list;
#[cfg(test)]
#[path = "tests/fixture.rs"]
pub(crate) mod fixture;
mod kernel;
pub(crate) mod placement;
mod snapshot;
#[cfg(test)]
mod tests;

use std::env::consts;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::protocol::Confinement;
pub(crate) use crate::protocol::Throttling;
use crate::transports::sys;
pub(crate) use cpu_list::CpuList;
pub(crate) use snapshot::Snapshot;

use crate::transports::sys::root::{Root, values};
use cpu::{Cpu, Power};
use kernel::{Kernel, Machine};

/// What a measurement ran on, as far as it stays the same during a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Environment {
    /// The host's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// A random identifier that changes with each boot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot_id: Option<String>,
    /// The operating system's name and version, such as `Debian GNU/Linux 12 (bookworm)`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub os: Option<String>,
    /// The kernel's architecture, such as `x86_64`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub architecture: Option<String>,
    /// The memory that the kernel manages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_total_bytes: Option<u64>,
    /// The size of a memory page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub page_size_bytes: Option<u64>,
    /// The tightest CPU quota of the control groups this process is in, in CPUs; `None` also without a limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroup_quota_cpus: Option<f64>,
    /// What confines the responders; `None` with a private daemon, which is confined as its client is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub responder: Option<ResponderSide>,
    /// The CPUs.
    #[serde(default)]
    pub cpu: Cpu,
    /// Frequency scaling and idle states.
    #[serde(default)]
    pub power: Power,
    /// The kernel and its settings.
    #[serde(default)]
    pub kernel: Kernel,
    /// What the kernel runs on, and the container around this process.
    #[serde(default)]
    pub machine: Machine,
    /// The program that measured.
    pub build: Build,
}

impl Environment {
    /// The environment of this process.
    pub(crate) fn capture() -> Self {
        let mut environment = Self::capture_from(Path::new("/"));
        // System calls work on any kernel, even where a sandbox hides most of /proc.
        let uname = rustix::system::uname();
        let text = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
        environment.hostname.get_or_insert_with(|| text(uname.nodename()));
        environment.architecture.get_or_insert_with(|| text(uname.machine()));
        environment.kernel.release.get_or_insert_with(|| text(uname.release()));
        environment.kernel.version.get_or_insert_with(|| text(uname.version()));
        environment.page_size_bytes = u64::try_from(rustix::param::page_size()).ok();
        environment
    }

    /// Adds what confines the responders of a daemon that is not private.
    pub(crate) fn add_responder(&mut self, confinement: &Confinement) {
        let Confinement { cpus, cgroup, quota_millicpus, throttling: _ } = confinement;
        let allowed: CpuList = cpus.iter().copied().collect();
        let allowed = self.cpu.online.as_ref().map_or(allowed.clone(), |online| allowed.intersection(online));
        self.responder = Some(ResponderSide {
            allowed: Some(allowed).filter(|allowed| Some(allowed) != self.cpu.allowed.as_ref()),
            cgroup: cgroup.clone(),
            cgroup_quota_cpus: quota_millicpus.map(|quota| quota as f64 / 1000.0),
        });
    }

    /// The environment in the files below `root`, and this program's own build.
    pub(crate) fn capture_from(root: &Path) -> Self {
        let root = Root(root);
        Self {
            hostname: root.text("proc/sys/kernel/hostname"),
            boot_id: root.text("proc/sys/kernel/random/boot_id"),
            os: os(root),
            architecture: root.text("proc/sys/kernel/arch"),
            memory_total_bytes: root.text("proc/meminfo").and_then(|text| memory_total_bytes(&text)),
            page_size_bytes: None,
            cgroup_quota_cpus: sys::quota_cpus(root),
            responder: None,
            cpu: Cpu::read(root),
            power: Power::read(root),
            kernel: Kernel::read(root),
            machine: Machine::read(root),
            build: Build::this(),
        }
    }
}

/// What confines the responders of a daemon that is not private.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ResponderSide {
    /// The CPUs that they may run on, if not those of the client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed: Option<CpuList>,
    /// The control group that may limit their CPU time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<String>,
    /// The tightest CPU quota of their control groups, in CPUs; `None` also without a limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroup_quota_cpus: Option<f64>,
}

fn os(root: Root<'_>) -> Option<String> {
    let text = root.text("etc/os-release").or_else(|| root.text("usr/lib/os-release"))?;
    let name = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
    Some(name.trim_matches(['"', '\'']).to_owned())
}

fn memory_total_bytes(meminfo: &str) -> Option<u64> {
    let kib: u64 = values(meminfo, "MemTotal").next()?.strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// How the program that measured was built.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Build {
    /// The package's version.
    pub version: String,
    /// `release`, or `debug` for a build that is too slow to measure with.
    pub profile: String,
    /// The platform it was built for: architecture, operating system and C library.
    pub target: String,
}

impl Build {
    /// The build of the running program.
    pub(crate) fn this() -> Self {
        let library = if cfg!(target_env = "musl") { "-musl" } else { "-gnu" };
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            profile: if cfg!(debug_assertions) { "debug" } else { "release" }.to_owned(),
            target: format!("{}-{}{library}", consts::ARCH, consts::OS),
        }
    }
}
