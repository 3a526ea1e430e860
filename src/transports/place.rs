//! Named resources: where they are, how leftovers are removed, and who may open them.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use rustix::fs::{
    Access as May, CWD, FallocateFlags, Mode, OFlags, access, fallocate, fstatvfs, mkfifoat, open, statvfs,
};
use rustix::io::{Errno, pwrite};
use rustix::shm;

use super::contract::{CallError, Naming, While};
use super::{Owner, Settings};
use crate::shortage::{FORBIDDEN, explain, explain_sandbox};

/// Where the system keeps named shared memory.
pub(super) const SHARED_MEMORY: &str = "/dev/shm";

impl Naming {
    /// Whether a resource of this kind can be made here, as far as that takes one system call or two.
    pub(super) fn probe(self) -> Result<(), CallError> {
        match self {
            Self::Folder => probe_folder(),
            _ => Ok(()),
        }
    }

    /// Removes what a killed responder may have left under this name, if that takes no more than the name.
    pub(super) fn remove_leftovers(self, name: &str) {
        match self {
            Self::Folder => remove_entry(name),
            // It may be gone already.
            Self::SharedMemory => drop(shm::unlink(format!("/{name}"))),
            _ => {}
        }
    }
}

/// The folder of one channel's sockets, FIFOs and files. It is removed with this value, and its contents with it.
#[derive(Debug)]
pub(super) struct Folder {
    pub(super) path: PathBuf,
    /// Closed for the descriptor that it takes to remove the folder.
    spare: Option<OwnedFd>,
}

impl Folder {
    /// Makes it. Other users may pass through it, not list it: each entry has its own permissions.
    pub(super) fn make(settings: &Settings) -> Result<Self, CallError> {
        let path = path_of(&settings.name);
        DirBuilder::new()
            .mode(0o711)
            .create(&path)
            .map_err(|error| in_place(error, &place()))
            .while_doing(MAKING_A_FOLDER)?;
        let mut folder = Self { path, spare: None };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        folder.spare =
            Some(open(&folder.path, flags, Mode::empty()).while_doing("opening the channel's folder")?);
        // The umask does not apply here.
        fs::set_permissions(&folder.path, fs::Permissions::from_mode(0o711))
            .while_doing("opening the channel's folder to the client")?;
        Ok(folder)
    }

    /// The error of a call that makes something in it.
    pub(super) fn failed(&self, error: impl Into<io::Error>) -> io::Error {
        in_place(error.into(), &self.path)
    }

    /// The path of something in it.
    pub(super) fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = match self.spare.take() {
            Some(spare) => {
                drop(spare);
                fs::remove_dir_all(&self.path)
            }
            // It is still empty.
            None => fs::remove_dir(&self.path),
        };
    }
}

const MAKING_A_FOLDER: &str = "making a folder for the channel";

/// Whether a channel's folder could be made. None is made: it would remain if the process were killed then.
fn probe_folder() -> Result<(), CallError> {
    let place = place();
    access(&place, May::WRITE_OK | May::EXEC_OK)
        .and_then(|()| match statvfs(&place)? {
            // Some file systems do not count.
            there if there.f_files > 0 && there.f_ffree == 0 => Err(Errno::NOSPC),
            _ => Ok(()),
        })
        .map_err(|error| in_place(error.into(), &place))
        .while_doing(MAKING_A_FOLDER)
}

/// The smallest unit of memory and of a file system.
pub(super) const PAGE: usize = 4096;

/// Whether a file can be made in a channel's folder and its blocks be reserved.
pub(super) fn probe_file() -> Result<(), CallError> {
    probe_folder()?;
    let place = place();
    let file = nameless(&place).map_err(|error| in_place(error.into(), &place));
    match file.while_doing("making a file for the channel")? {
        Some(file) => reserve(&file, PAGE).while_doing("reserving blocks for a file"),
        None => Ok(()),
    }
}

/// Whether a named pipe can be made in a channel's folder: makes one beside it, and removes it at once.
pub(super) fn probe_pipe() -> Result<(), CallError> {
    probe_folder()?;
    let name = probe_name();
    match mkfifoat(CWD, path_of(&name), Mode::RUSR | Mode::WUSR) {
        // It is allowed: a leftover, another process's probe, or another user's file has the name.
        Ok(()) | Err(Errno::EXIST) => remove_entry(&name),
        Err(error) => return Err(no_pipe(error, &place())).while_doing(MAKING_A_PIPE),
    }
    Ok(())
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

/// Removes the folder or the pipe of this name, if this user owns it.
fn remove_entry(name: &str) {
    let path = path_of(name);
    if is_own(&path) {
        let _ = fs::remove_dir_all(&path).or_else(|_| fs::remove_file(path));
    }
}

/// Whether this user owns what is there. In a shared folder another user may have taken the name: its contents are that
/// user's responsibility, and may take forever to remove.
pub(super) fn is_own(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|meta| meta.uid() == Owner::this().uid)
}

/// Names of resources that dead daemons of this user have left: `ipcd-PID-START-CHANNEL`, where no process PID
/// started at START is alive. They remain when a daemon and its responder are killed within the same few milliseconds.
pub(super) fn dead_names() -> Vec<String> {
    let uid = Owner::this().uid;
    let places = [place(), SHARED_MEMORY.into(), "/dev/mqueue".into()];
    let entries = places.iter().filter_map(|place| fs::read_dir(place).ok()).flatten().filter_map(Result::ok);
    entries
        .filter(|entry| entry.metadata().is_ok_and(|meta| meta.uid() == uid))
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter_map(|name| {
            let mut parts = name.strip_prefix("ipcd-")?.split('-');
            let (pid, start, channel) = (parts.next()?, parts.next()?, parts.next()?);
            let numbers = [pid, start, channel].iter().all(|part| part.parse::<u64>().is_ok());
            let lives = start_time(pid).is_ok_and(|lives| lives == start);
            (numbers && !lives).then(|| format!("ipcd-{pid}-{start}-{channel}"))
        })
        .collect()
}

/// The name of what a probe makes, if it needs one. Always the same for a user, so that the next probe removes what a killed
/// one has left.
pub(super) fn probe_name() -> String {
    format!("ipcd-probe-{}", Owner::this().uid)
}

/// When the process was started, in clock ticks since boot, from `/proc`.
///
/// # Errors
/// The process is dead, or the system's error.
pub(super) fn start_time(pid: &str) -> io::Result<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The 22nd field of proc(5), the 20th behind the command's parenthesis.
    let field = stat.rsplit(')').next().and_then(|fields| fields.split_whitespace().nth(19));
    Ok(field.ok_or(io::ErrorKind::InvalidData)?.to_owned())
}

/// The service's runtime directory if it has one, which its clients see too; else the temporary folder.
fn place() -> PathBuf {
    let runtime = std::env::var_os("RUNTIME_DIRECTORY").and_then(|list| std::env::split_paths(&list).next());
    runtime.filter(|folder| folder.is_absolute()).unwrap_or_else(std::env::temp_dir)
}

fn path_of(name: &str) -> PathBuf {
    place().join(name)
}

/// How a client reaches a resource that this process has made with mode 0600.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// By its name.
    Named,
    /// By a descriptor that it is handed, since it may not open the resource.
    Handed,
}

/// Gives the client alone access to a resource that belongs to the first process to open it, or that every process with it
/// open can read and corrupt.
///
/// A client of the same user may open it already, and root gives it away. No other daemon can, and access for its group would
/// be too broad: another member could open it before the client and take its place.
pub(super) fn give_to_client(path: &Path, client: Owner) -> io::Result<Access> {
    let own = Owner::this();
    if own.uid == client.uid {
        Ok(Access::Named)
    } else if own.uid == 0 {
        chown(path, Some(client.uid), Some(client.gid)).map(|()| Access::Named)
    } else {
        Ok(Access::Handed)
    }
}

/// Lets the client connect to a socket that this process has made with mode 0600, where other peers are dropped.
///
/// A client of the same user may already. Root gives the socket away. Any other daemon admits its group, which is how
/// a client of another user reaches its control socket; one that reached it otherwise is refused when it connects.
pub(super) fn let_client_in(path: &Path, client: Owner) -> io::Result<()> {
    let own = Owner::this();
    if own.uid == client.uid {
        Ok(())
    } else if own.uid == 0 {
        chown(path, Some(client.uid), Some(client.gid))
    } else {
        fs::set_permissions(path, fs::Permissions::from_mode(0o660))
    }
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
