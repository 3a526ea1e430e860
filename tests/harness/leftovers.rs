//! What may be left of a test: processes, files, shared memory, message queues. Only what carries its sandbox's folder in its
//! environment, lies in that folder, has a channel's name, or was last used by one of its processes, is looked at: other tests
//! run at the same time.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

/// Processes of a sandbox, with their command lines. Whatever a sandbox's programs start inherits their environment.
pub(super) fn processes(folder: &Path) -> Vec<String> {
    let marker = format!("TMPDIR={}", folder.display());
    all_pids()
        .filter(|pid| {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|variable| variable == marker.as_bytes())
        })
        .map(|pid| format!("process {pid}: {}", command_line(pid)))
        .collect()
}

/// Children of a process with their command lines, zombies included.
pub(super) fn children(parent: u32) -> Vec<String> {
    child_pids(parent).map(|pid| format!("process {pid}: {}", command_line(pid))).collect()
}

/// Responders of a daemon.
pub(crate) fn responders(daemon: u32) -> Vec<u32> {
    child_pids(daemon).filter(|pid| command_line(*pid).starts_with("ipcd: responder for channel ")).collect()
}

/// Children of a process, zombies included.
pub(crate) fn child_pids(parent: u32) -> impl Iterator<Item = u32> {
    let parent_of = |pid: u32| -> Option<u32> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The second field, the command, may hold anything; the fourth is the parent.
        stat.rsplit(')').next()?.split_whitespace().nth(1)?.parse().ok()
    };
    all_pids().filter(move |pid| parent_of(*pid) == Some(parent))
}

/// What has a channel's name in this folder, in shared memory, or among message queues where their file system is mounted. Other
/// tests' daemons may be making theirs, which have a name for a moment only, or a file that its owner holds locked, or memory
/// that is mapped: both processes of a channel of this sandbox are counted themselves.
pub(super) fn named(folder: &Path) -> Vec<String> {
    let channel = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let digits = name.strip_prefix("ipcd-").and_then(|rest| rest.get(..16))?;
        let named = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        (named && !(name.ends_with("-lock") && is_locked(path))).then(|| digits.to_owned())
    };
    let entries = |folder: &str| fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let shared = ["/dev/shm", "/dev/mqueue"].into_iter().flat_map(entries).map(|entry| entry.path());
    let all = files(folder).into_iter().chain(shared);
    let mut left: Vec<(PathBuf, String)> =
        all.filter_map(|path| Some((path.clone(), channel(&path)?))).collect();
    if !left.is_empty() {
        let mapped: String =
            all_pids().filter_map(|pid| fs::read_to_string(format!("/proc/{pid}/maps")).ok()).collect();
        left.retain(|(_, channel)| !mapped.contains(&format!("/ipcd-{channel}")));
    }
    left.into_iter().map(|(path, _)| path.display().to_string()).collect()
}

/// Whether a process holds this file locked.
fn is_locked(path: &Path) -> bool {
    fs::File::open(path).is_ok_and(|file| flock(file, FlockOperation::NonBlockingLockShared).is_err())
}

/// System V message queues that one of these processes was the last to use.
pub(super) fn system_v_queues(own: impl Fn(u32) -> bool) -> Vec<String> {
    let table = fs::read_to_string("/proc/sysvipc/msg").unwrap_or_default();
    let mut found = Vec::new();
    for line in table.lines().skip(1) {
        // key, msqid, perms, cbytes, qnum, lspid, lrpid, …; the key of some kernels is signed.
        let fields: Vec<i64> = line.split_whitespace().map_while(|field| field.parse().ok()).collect();
        let [_, id, _, _, _, sender, receiver, ..] = fields[..] else { continue };
        if [sender, receiver].into_iter().filter_map(|pid| u32::try_from(pid).ok()).any(&own) {
            found.push(format!("the System V queue {id}, last used by {sender} and {receiver}"));
        }
    }
    found
}

/// All files below a folder.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    // Some of it may go meanwhile.
    for entry in fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok) {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(files(&entry.path()));
        } else {
            found.push(entry.path());
        }
    }
    found
}

fn all_pids() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").unwrap();
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

fn command_line(pid: u32) -> String {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).replace('\0', " ")
}
