//! What may be left of a test: processes, files, folders, shared memory, message queues. Only what carries its sandbox's
//! folder in its environment, lies in that folder, carries a daemon's process id in its name, or was last used by one of
//! its processes, is looked at: other tests run at the same time.

use std::ffi::CString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use ipcd::internals::transports::{End, MessageQueue};

/// How many channels of a daemon are searched for by name.
const CHANNELS: u32 = 1000;

/// A process that names what it makes after itself.
#[derive(Debug)]
pub(super) struct Named {
    pub(super) pid: u32,
    /// Begins the names of its channels' resources.
    prefix: String,
}

impl Named {
    /// This one, which lives.
    pub(super) fn of(pid: u32) -> Self {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let start = stat.rsplit(')').next().and_then(|fields| fields.split_whitespace().nth(19));
        Self { pid, prefix: format!("ipcd-{pid}-{}-", start.unwrap_or_default()) }
    }

    fn channels(&self) -> impl Iterator<Item = String> {
        (0..CHANNELS).map(|channel| format!("{}{channel}", self.prefix))
    }
}

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

/// Shared memory that was named by a daemon with this process id.
pub(super) fn shared_memory(daemon: u32) -> Vec<String> {
    let start = format!("ipcd-{daemon}-");
    let Ok(entries) = fs::read_dir("/dev/shm") else { return Vec::new() };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter(|name| name.starts_with(&start)).map(|name| format!("/dev/shm/{name}")).collect()
}

/// POSIX message queues of a daemon's channels. They are asked for by name: their file system is seldom mounted.
pub(super) fn posix_queues(daemon: &Named) -> Vec<String> {
    let names = daemon.channels().flat_map(|name| ["ping", "pong"].map(|end| format!("/{name}-{end}")));
    names
        .filter(|name| {
            let queue = MessageQueue::open(&CString::new(name.as_str()).unwrap(), End::Receive);
            // Another user's may not be opened, and is there.
            !queue.is_err_and(|error| {
                [io::ErrorKind::NotFound, io::ErrorKind::Unsupported].contains(&error.kind())
            })
        })
        .map(|name| format!("the message queue {name}"))
        .collect()
}

/// System V message queues of these daemons' channels, and those that one of the processes was the last to use: a private
/// daemon's, whose name is unknown.
pub(super) fn system_v_queues(daemons: &[Named], own: impl Fn(u32) -> bool) -> Vec<String> {
    let table = fs::read_to_string("/proc/sysvipc/msg").unwrap_or_default();
    let mut found = Vec::new();
    for line in table.lines().skip(1) {
        // key, msqid, perms, cbytes, qnum, lspid, lrpid, …; the key of some kernels is signed.
        let fields: Vec<i64> = line.split_whitespace().map_while(|field| field.parse().ok()).collect();
        let [key, id, _, _, _, sender, receiver, ..] = fields[..] else { continue };
        let mut names = daemons.iter().flat_map(Named::channels);
        if let Some(name) = names.find(|name| i64::from(self::key(name)) == key) {
            found.push(format!("the System V queue of {name}"));
        } else if [sender, receiver].into_iter().filter_map(|pid| u32::try_from(pid).ok()).any(&own) {
            found.push(format!("the System V queue {id}, last used by {sender} and {receiver}"));
        }
    }
    found
}

/// The key of a channel's queue, which `sysv-mq` promises never to change: FNV-1a of the channel's name.
pub(super) fn key(name: &str) -> i32 {
    let hash =
        name.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    hash.max(1).cast_signed()
}

/// Folders of channels below a folder.
pub(super) fn channel_folders(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    // One that a test uses may go meanwhile.
    for entry in fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok) {
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let name = entry.file_name().to_string_lossy().into_owned();
        let parts =
            name.strip_prefix("ipcd-").map(|rest| rest.split('-').map(str::parse::<u64>).collect::<Vec<_>>());
        match parts {
            Some(parts) if parts.len() == 3 && parts.iter().all(Result::is_ok) => {
                found.push(entry.path().display().to_string());
            }
            _ => found.extend(channel_folders(&entry.path())),
        }
    }
    found
}

/// All files below a folder.
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
