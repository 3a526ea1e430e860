//! What may be left of a test: processes, files, shared memory. Only what carries its sandbox's folder in its
//! environment, lies in that folder, or carries a daemon's process id in its name, is looked at: other tests run at
//! the same time.

use std::fs;
use std::path::{Path, PathBuf};

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

fn child_pids(parent: u32) -> impl Iterator<Item = u32> {
    let parent_of = |pid: u32| -> Option<u32> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The second field, the command, may hold anything; the fourth is the parent.
        stat.rsplit(')').next()?.split_whitespace().nth(1)?.parse().ok()
    };
    all_pids().filter(move |pid| parent_of(*pid) == Some(parent))
}

/// Shared memory that was named by a daemon with this process id.
pub(super) fn shared_memory(daemon: u32) -> Vec<String> {
    let start = format!("ipcd-{daemon}-");
    let Ok(entries) = fs::read_dir("/dev/shm") else { return Vec::new() };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter(|name| name.starts_with(&start)).map(|name| format!("/dev/shm/{name}")).collect()
}

/// Everything below a folder that is no folder.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
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
