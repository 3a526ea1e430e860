//! What must hold while the daemon is idle.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use ipcd::internals::transports::{ALL, Delivery, Mechanism};

use crate::alone::named_objects;
use crate::harness::{Daemon, PATIENCE, Sandbox};

/// Mechanisms that this host has and that carry something.
pub(crate) fn methods() -> Vec<&'static dyn Mechanism> {
    let carries = |mechanism: &&dyn Mechanism| mechanism.info().delivery != Delivery::None;
    ALL.iter().copied().filter(carries).filter(|mechanism| mechanism.probe().is_ok()).collect()
}

/// The most memory that a daemon may have had resident, in KiB, with the limits that hold by default:
/// `docs/reliability.md` has the reasoning.
pub(crate) const BOUND_KIB: u64 = 16 * 1024 + 256 * 192;

/// What a daemon holds at rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rest {
    descriptors: Vec<String>,
    threads: u64,
    pub(crate) resident_kib: u64,
}

impl Rest {
    /// Of a daemon without channels, children and connections but this one; waits until it is so.
    pub(crate) fn of(daemon: &Daemon) -> Self {
        let client = daemon.at_rest();
        let rest = Self {
            descriptors: descriptors(daemon.pid),
            threads: number(daemon.pid, "Threads"),
            resident_kib: number(daemon.pid, "VmRSS"),
        };
        drop(client);
        rest
    }

    pub(crate) fn descriptors(&self) -> usize {
        self.descriptors.len()
    }

    /// Checks that `now` holds no descriptor and no thread more.
    pub(crate) fn holds_for(&self, now: &Self) {
        let (before, after) = (&self.descriptors, &now.descriptors);
        assert_eq!(
            before.len(),
            after.len(),
            "descriptors of the daemon: {before:?} before, {after:?} after"
        );
        assert_eq!(now.threads, self.threads, "threads of the daemon");
    }
}

/// What a process has open, in the order of its descriptors; numbers of sockets and pipes left out.
fn descriptors(pid: u32) -> Vec<String> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let name =
        |path: &Path| fs::read_link(path).map(|target| target.display().to_string()).unwrap_or_default();
    let mut found: Vec<_> = entries.map(|entry| name(&entry.unwrap().path())).collect();
    found.sort();
    found
}

/// A number from a process's `/proc` file; sizes are in KiB.
pub(crate) fn number(pid: u32, key: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let value = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    value.unwrap().split_whitespace().next().unwrap().parse().unwrap()
}

/// Waits until no process of a daemon that was killed is left. What it and they have left of names, if all were killed at
/// once, the next daemon removes.
pub(crate) fn no_process_is_left(sandbox: &Sandbox) {
    eventually_none("processes", || {
        sandbox.left().into_iter().filter(|line| line.starts_with("process ")).collect()
    });
}

/// Checks that of all that was in `sandbox` there are only this daemon, and these files of its folder.
pub(crate) fn nothing_is_left(sandbox: &Sandbox, daemon: Option<&Daemon>, files: &[PathBuf]) {
    let daemon = daemon.map(|daemon| format!("process {}:", daemon.pid));
    eventually_none("processes", || {
        let own = |line: &String| daemon.as_ref().is_some_and(|daemon| line.starts_with(daemon));
        sandbox.left().into_iter().filter(|line| !own(line)).collect()
    });
    eventually_none("named objects", named_objects);
    let unknown = |path: &PathBuf| !files.contains(path);
    eventually_none("files", || {
        sandbox.files().into_iter().filter(unknown).map(|path| path.display().to_string()).collect()
    });
}

/// Waits until nothing is found; says what is, if that takes too long.
fn eventually_none(what: &str, found: impl Fn() -> Vec<String>) {
    let start = Instant::now();
    loop {
        let left = found();
        if left.is_empty() {
            return;
        }
        assert!(start.elapsed() < PATIENCE, "{what} that are left: {left:#?}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// The configuration of a sandbox's daemon.
pub(crate) fn configuration(sandbox: &Sandbox) -> PathBuf {
    sandbox.folder().join("ipcd.toml")
}

/// What there is of files beside a daemon.
pub(crate) fn files(sandbox: &Sandbox) -> [PathBuf; 3] {
    let socket = sandbox.socket();
    let mut lock = socket.clone().into_os_string();
    lock.push(".lock");
    [configuration(sandbox), socket, lock.into()]
}

/// A daemon that has served a client, and what it holds when idle.
pub(crate) fn start(sandbox: &Sandbox) -> (Daemon, Rest) {
    let file = configuration(sandbox);
    // The file may be invalid: a running daemon continues with it, and none starts.
    fs::write(&file, "[daemon]\nmeasurements = 3\n").unwrap();
    // Hostile peers of another user come in.
    fs::set_permissions(sandbox.folder(), fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = sandbox.ipcd(&["start", "--mode", "0666", "--log", "warn"]);
    command.env("IPCD_CONFIG", file);
    let daemon = Daemon::start(sandbox, command);
    daemon.serves("tcp");
    let rest = Rest::of(&daemon);
    (daemon, rest)
}
