//! Private namespaces: System V and POSIX queues, semaphores and shared memory that no other process creates or sees, so
//! that all leftovers are this run's.

use std::env;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// Set in the process that is alone, to what it follows from.
const ALONE: &str = "IPCD_SOAK_ALONE";

/// Where this run's POSIX message queues are seen.
const QUEUES: &str = "/dev/shm/queues-of-the-soak";

/// Sets up the namespaces: an empty folder for shared memory, in which the queues appear. A variable marks the process
/// inside.
const PREPARE: &str = "mount -t tmpfs ipcd-soak /dev/shm && chmod 1777 /dev/shm && mkdir /dev/shm/queues-of-the-soak && \
                       mount -t mqueue ipcd-soak /dev/shm/queues-of-the-soak && exec \"$@\"";

/// Runs this program again with the same arguments where names are its own; returns where that is so already.
///
/// # Errors
/// This host or this user cannot: in words.
pub(crate) fn become_alone(seed: u64) -> Result<(), String> {
    if is_alone() {
        return Ok(());
    }
    let spaces: &[&[&str]] = &[&["--ipc", "--mount"], &["--user", "--map-root-user", "--ipc", "--mount"]];
    let inside = |space: &[&str], words: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(space).args(["--propagation", "private", "sh", "-c", PREPARE, "sh"]).args(words);
        command
    };
    let works = |space: &&&[&str]| {
        let mut trial = inside(space, &["true"]);
        trial.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    };
    let space =
        spaces.iter().find(works).ok_or("private namespaces are unavailable (unshare --ipc --mount)")?;
    let mut again = inside(space, &[]);
    again.arg(env::current_exe().map_err(|error| format!("this program is not found: {error}"))?);
    again.args(env::args_os().skip(1)).args(["--seed", &seed.to_string()]).env(ALONE, "1");
    Err(format!("unshare does not run: {}", again.exec()))
}

fn is_alone() -> bool {
    env::var_os(ALONE).is_some()
}

/// All named objects; none if the namespaces are shared with other processes.
pub(crate) fn named_objects() -> Vec<String> {
    if !is_alone() {
        return Vec::new();
    }
    let mut found = Vec::new();
    for kind in ["msg", "sem", "shm"] {
        // The first line is the table's head.
        let table = fs::read_to_string(format!("/proc/sysvipc/{kind}")).unwrap_or_default();
        found.extend(table.lines().skip(1).map(|line| format!("System V {kind}: {}", line.trim())));
    }
    for (what, folder) in [("message queue", QUEUES), ("shared memory", "/dev/shm")] {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path != Path::new(QUEUES) {
                found.push(format!("{what}: {}", path.display()));
            }
        }
    }
    found
}
