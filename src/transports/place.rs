//! Named resources: where they are, what they are called, and how leftovers are removed.
//!
//! A name exists only while a responder makes a resource and opens both ends. It hands one of them to the client, which never
//! opens a name.

use std::env::temp_dir;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{
    Access as May, AtFlags, CWD, FallocateFlags, FlockOperation, Mode, OFlags, access, fallocate, flock,
    fstatvfs, linkat, mkfifoat, open, statvfs,
};
use rustix::io::{Errno, pwrite, retry_on_intr};
use rustix::rand::{GetRandomFlags, getrandom};

use super::contract::{CallError, Naming, While};
use super::{Owner, Settings};
use crate::shortage::{FORBIDDEN, explain, explain_sandbox};

/// Where the system keeps named shared memory.
pub(super) const SHARED_MEMORY: &str = "/dev/shm";

impl Naming {
    /// Whether a resource of this kind can be made here, as far as that takes one system call or two.
    pub(super) fn probe(self) -> Result<(), CallError> {
        match self {
            Self::File => probe_entry(&place()),
            _ => Ok(()),
        }
    }

    /// Removes what a killed responder may have left under this name, if that takes no more than the name.
    pub(super) fn remove_leftovers(self, name: &str) {
        match self {
            Self::File => {
                ["", "-ping", "-pong"].iter().for_each(|end| remove_entry(&path_of(&format!("{name}{end}"))));
                remove_entry(&temp_dir().join(name));
            }
            Self::SharedMemory => remove_entry(&Path::new(SHARED_MEMORY).join(name)),
            _ => {}
        }
    }
}

/// A file, pipe or socket that has this path, until this value is dropped: as long as it takes to open its ends.
#[derive(Debug)]
pub(super) struct Entry(pub(super) PathBuf);

impl Entry {
    /// A path for this channel's.
    pub(super) fn of(settings: &Settings, end: &str) -> Self {
        Self(path_of(&format!("{}{end}", settings.name)))
    }

    /// A path for this channel's file. Its client is handed the open file, so the file can be where clients cannot open it, on
    /// a file system that is the service's own: a client may fill it.
    pub(super) fn of_file(settings: &Settings) -> Self {
        Self(temp_dir().join(&settings.name))
    }

    /// The error of the call that makes it.
    pub(super) fn failed(&self, error: impl Into<io::Error>) -> io::Error {
        in_place(error.into(), self.0.parent().unwrap_or(&self.0))
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        remove_entry(&self.0);
    }
}

const MAKING_AN_ENTRY: &str = "making a file for the channel";

/// Whether a file could be made for a channel. None is made: it would remain if the process were killed then.
fn probe_entry(place: &Path) -> Result<(), CallError> {
    access(place, May::WRITE_OK | May::EXEC_OK)
        .and_then(|()| match statvfs(place)? {
            // Some file systems do not count.
            there if there.f_files > 0 && there.f_ffree == 0 => Err(Errno::NOSPC),
            _ => Ok(()),
        })
        .map_err(|error| in_place(error.into(), place))
        .while_doing(MAKING_AN_ENTRY)
}

/// The smallest unit of memory and of a file system.
pub(super) const PAGE: usize = 4096;

/// Whether a file can be made for a channel and its blocks be reserved.
pub(super) fn probe_file() -> Result<(), CallError> {
    let place = temp_dir();
    probe_entry(&place)?;
    let file = nameless(&place).map_err(|error| in_place(error.into(), &place));
    match file.while_doing(MAKING_AN_ENTRY)? {
        Some(file) => reserve(&file, PAGE).while_doing("reserving blocks for a file"),
        None => Ok(()),
    }
}

/// Whether a named pipe can be made for a channel: makes one, and removes it at once.
pub(super) fn probe_pipe() -> Result<(), CallError> {
    probe_entry(&place())?;
    let entry = Entry(path_of(&unique_name().while_doing(MAKING_A_PIPE)?));
    mkfifoat(CWD, &entry.0, Mode::RUSR | Mode::WUSR)
        .map_err(|error| no_pipe(error, &place()))
        .while_doing(MAKING_A_PIPE)
}

pub(super) const MAKING_A_PIPE: &str = "making a named pipe";

/// The error of making a named pipe in this folder.
pub(super) fn no_pipe(error: Errno, folder: &Path) -> io::Error {
    match error {
        Errno::PERM => {
            explain(error, format_args!("{FORBIDDEN}, or the file system of {} has none", folder.display()))
        }
        _ => in_place(explain_sandbox(error), folder),
    }
}

/// Whether named shared memory can be made, by a file there that never has a name.
///
/// Returns that file, where the file system supports unnamed files.
pub(super) fn probe_shared_memory() -> Result<Option<OwnedFd>, CallError> {
    const MAKING: &str = "making a shared memory segment in /dev/shm";
    let file = nameless(Path::new(SHARED_MEMORY)).map_err(no_segment).while_doing(MAKING)?;
    let full = |file| fstatvfs(file).is_ok_and(|there| there.f_blocks > 0 && there.f_bavail == 0);
    match file {
        Some(file) if full(&file) => Err(explain(Errno::NOSPC, room(&file, PAGE))).while_doing(MAKING),
        file => Ok(file),
    }
}

/// A file in a folder that never has a name. `None` where the file system does not support that, but lets files be made.
fn nameless(folder: &Path) -> Result<Option<OwnedFd>, Errno> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    match open(folder, flags, Mode::RUSR | Mode::WUSR) {
        Err(Errno::OPNOTSUPP | Errno::ISDIR) => access(folder, May::WRITE_OK | May::EXEC_OK).map(|()| None),
        opened => opened.map(Some),
    }
}

fn no_segment(error: Errno) -> io::Error {
    match error {
        Errno::ROFS => explain(error, "/dev/shm can only be read (mount -o remount,rw /dev/shm)"),
        Errno::NOENT => explain(error, "there is no /dev/shm; mount a tmpfs there"),
        Errno::NOSPC | Errno::DQUOT => explain(error, "no room is left in /dev/shm; free some"),
        _ => error.into(),
    }
}

/// The error of a call that makes something in a folder: which folder, and what to do about it.
fn in_place(error: io::Error, folder: &Path) -> io::Error {
    let folder = folder.display();
    match Errno::from_io_error(&error) {
        Some(Errno::NOSPC | Errno::DQUOT) => explain(
            error,
            format_args!(
                "no room is left in {folder}; free some, or name another folder by $TMPDIR where the daemon starts"
            ),
        ),
        Some(Errno::ROFS) => explain(
            error,
            format_args!("{folder} can only be read; name another folder by $TMPDIR where the daemon starts"),
        ),
        Some(Errno::ACCESS | Errno::NOENT | Errno::NOTDIR) => {
            io::Error::new(error.kind(), format!("{folder}: {error}"))
        }
        _ => error,
    }
}

/// Removes a file, if this user owns it.
fn remove_entry(path: &Path) {
    if is_own(path) {
        // It may be gone already.
        let _ = fs::remove_file(path);
    }
}

/// Whether this user owns what is there. What another user has put there is that user's.
pub(super) fn is_own(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|meta| meta.uid() == Owner::this().uid)
}

/// The name of a channel's resources, or the start of their names: no process can guess it.
///
/// # Errors
/// The kernel has no random numbers yet.
pub fn unique_name() -> io::Result<String> {
    let mut random = [0; 8];
    retry_on_intr(|| getrandom(&mut random, GetRandomFlags::empty()))?;
    Ok(format!("{START}{:0DIGITS$x}", u64::from_ne_bytes(random)))
}

const START: &str = "ipcd-";
const DIGITS: usize = 16;

/// Ends the name of a file that its owner holds locked as long as it lives.
pub(super) const LOCKED: &str = "-lock";

/// A name is that of something for so long at most, unless its owner was killed: the ends are opened at once.
const OLD: Duration = Duration::from_secs(60);

/// Names of resources that this user's daemons and responders have left, if they were killed together.
pub(super) fn dead_names() -> Vec<String> {
    let is_dead = |entry: &fs::DirEntry, name: &str| match name.ends_with(LOCKED) {
        true => take_lock(&entry.path()).is_some(),
        false => {
            let age = entry.metadata().and_then(|meta| meta.modified()).map(|at| at.elapsed());
            age.is_ok_and(|age| age.is_ok_and(|age| age > OLD))
        }
    };
    let places = [place(), temp_dir(), SHARED_MEMORY.into(), "/dev/mqueue".into()];
    let entries = places.iter().filter_map(|place| fs::read_dir(place).ok()).flatten().filter_map(Result::ok);
    entries
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let digits = name.strip_prefix(START)?.get(..DIGITS)?;
            let is_ours = digits.bytes().all(|digit| digit.is_ascii_hexdigit()) && is_own(&entry.path());
            (is_ours && is_dead(&entry, &name)).then(|| format!("{START}{digits}"))
        })
        .collect()
}

/// Makes a file in shared memory that this process holds locked: it has its name only once it is. `None` where there is no
/// place for it.
pub(super) fn make_locked(name: &str) -> Option<OwnedFd> {
    let file = nameless(Path::new(SHARED_MEMORY)).ok()??;
    flock(&file, FlockOperation::NonBlockingLockExclusive).ok()?;
    let own = format!("/proc/self/fd/{}", file.as_raw_fd());
    linkat(CWD, own, CWD, locked_path(name), AtFlags::SYMLINK_FOLLOW).ok()?;
    Some(file)
}

/// Locks a file whose owner has died.
fn take_lock(path: &Path) -> Option<OwnedFd> {
    let file = open(path, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()).ok()?;
    flock(&file, FlockOperation::NonBlockingLockExclusive).ok()?;
    Some(file)
}

/// Where the locked file of this name is.
pub(super) fn locked_path(name: &str) -> PathBuf {
    Path::new(SHARED_MEMORY).join(format!("{name}{LOCKED}"))
}

/// Where sockets and named pipes are: the service's runtime directory if it has one, which its clients see too; else the
/// temporary folder.
pub(super) fn place() -> PathBuf {
    let runtime = std::env::var_os("RUNTIME_DIRECTORY").and_then(|list| std::env::split_paths(&list).next());
    runtime.filter(|folder| folder.is_absolute()).unwrap_or_else(temp_dir)
}

fn path_of(name: &str) -> PathBuf {
    place().join(name)
}

/// Reserves a file's blocks: a full file system is an error here instead of a SIGBUS on the first write to its memory.
pub(super) fn reserve(file: impl AsFd, len: usize) -> io::Result<()> {
    allocate(&file, len).map_err(|error| match Errno::from_io_error(&error) {
        Some(Errno::NOSPC | Errno::DQUOT) => explain(error, room(&file, len)),
        _ => explain_sandbox(error),
    })
}

/// How much is needed of a file system and how much it has.
pub(super) fn room(file: impl AsFd, len: usize) -> String {
    match fstatvfs(file) {
        Ok(there) => format!(
            "{len} bytes are needed, and {} of {} are left; free some, or use smaller payloads",
            there.f_bavail * there.f_frsize,
            there.f_blocks * there.f_frsize
        ),
        Err(_) => format!("{len} bytes are needed"),
    }
}

fn allocate(file: impl AsFd, len: usize) -> io::Result<()> {
    let bytes = u64::try_from(len).expect("a usize fits in a u64");
    loop {
        match fallocate(&file, FallocateFlags::empty(), 0, bytes) {
            Err(Errno::INTR) => {}
            // The file system cannot reserve, but a written block exists.
            Err(Errno::OPNOTSUPP) => break,
            other => return Ok(other?),
        }
    }
    let zeros = vec![0; len.min(1 << 16)];
    let mut done = 0;
    while done < len {
        match pwrite(&file, &zeros[..zeros.len().min(len - done)], done as u64) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => done += n,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
