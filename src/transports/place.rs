//! Where resources with a name live while they have one, and who may open them.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use rustix::fs::{
    Access as May, CWD, FallocateFlags, Mode, OFlags, access, fallocate, fstatvfs, mkfifoat, open, statvfs,
};
use rustix::io::{Errno, pwrite};

use super::contract::While;
use super::{CallError, Owner, Settings};
use crate::shortage::{FORBIDDEN, explain, explain_sandbox};

/// Where the system keeps shared memory that has a name.
pub(super) const SHARED_MEMORY: &str = "/dev/shm";

/// The folder of one channel's sockets, FIFOs and files. It goes, with all that is in it, with its value.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    /// Given up for the one that it takes to remove the folder.
    spare: Option<OwnedFd>,
}

impl Folder {
    /// Makes it. Others may pass through it, not list it: each thing in it has permissions of its own.
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
            Some(open(&folder.path, flags, Mode::empty()).while_doing("looking into the channel's folder")?);
        // Whatever the umask says.
        fs::set_permissions(&folder.path, fs::Permissions::from_mode(0o711))
            .while_doing("opening the channel's folder to the client")?;
        Ok(folder)
    }

    /// The error of a call that makes something in it.
    pub(super) fn failed(&self, error: impl Into<io::Error>) -> io::Error {
        in_place(error.into(), &self.path)
    }

    /// The error of making a named pipe in it.
    pub(super) fn no_pipe(&self, error: Errno) -> io::Error {
        no_pipe(error, &self.path)
    }

    /// The path of something in it.
    pub(super) fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Nothing is to be done if it is gone already.
        let _ = match self.spare.take() {
            Some(spare) => {
                drop(spare);
                fs::remove_dir_all(&self.path)
            }
            // Nothing is in it yet.
            None => fs::remove_dir(&self.path),
        };
    }
}

const MAKING_A_FOLDER: &str = "making a folder for the channel";

/// Whether a channel's folder can be made. Nothing is: what a process makes stays if it is killed then.
pub(super) fn probe_folder() -> Result<(), CallError> {
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

/// The least that is taken of memory or of a file system.
pub(super) const PAGE: usize = 4096;

/// Whether a file can be made in a channel's folder and its blocks be taken.
pub(super) fn probe_file() -> Result<(), CallError> {
    probe_folder()?;
    let place = place();
    let file = nameless(&place).map_err(|error| in_place(error.into(), &place));
    match file.while_doing("making a file for the channel")? {
        Some(file) => reserve(&file, PAGE).while_doing("reserving blocks for a file"),
        None => Ok(()),
    }
}

/// Whether a named pipe can be made in a channel's folder. It has a name beside it, which is gone at once.
pub(super) fn probe_pipe() -> Result<(), CallError> {
    probe_folder()?;
    let name = probe_name();
    match mkfifoat(CWD, path_of(&name), Mode::RUSR | Mode::WUSR) {
        // It is not forbidden: one is left, another process looks just now, or a stranger has taken the name.
        Ok(()) | Err(Errno::EXIST) => remove_pipe(&name),
        Err(error) => return Err(no_pipe(error, &place())).while_doing(MAKING_A_PIPE),
    }
    Ok(())
}

pub(super) const MAKING_A_PIPE: &str = "making a named pipe";

/// The error of making a named pipe in this folder.
fn no_pipe(error: Errno, folder: &Path) -> io::Error {
    match error {
        Errno::PERM => {
            explain(error, format_args!("{FORBIDDEN}, or the file system of {} has none", folder.display()))
        }
        _ => in_place(explain_sandbox(error), folder),
    }
}

/// Removes the pipe that a look at the host may have left.
pub(super) fn remove_pipe(name: &str) {
    let path = path_of(name);
    let is_pipe = fs::symlink_metadata(&path).is_ok_and(|meta| meta.file_type().is_fifo());
    if is_pipe && is_own(&path) {
        let _ = fs::remove_file(path);
    }
}

/// Whether shared memory that has a name can be made, by a file there that never has one.
///
/// Returns that file, where the file system has files without a name.
pub(super) fn probe_shared_memory() -> Result<Option<OwnedFd>, CallError> {
    const MAKING: &str = "making a shared memory segment in /dev/shm";
    let file = nameless(Path::new(SHARED_MEMORY)).map_err(no_segment).while_doing(MAKING)?;
    let full = |file| fstatvfs(file).is_ok_and(|there| there.f_blocks > 0 && there.f_bavail == 0);
    match file {
        Some(file) if full(&file) => Err(explain(Errno::NOSPC, room(&file, PAGE))).while_doing(MAKING),
        file => Ok(file),
    }
}

/// A file in a folder that never has a name. None where the file system knows no such files, but lets a file be made.
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

/// The error of a call that makes something in a folder: which, and what would be right.
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

/// Removes the folder that a killed responder may have left.
pub(super) fn remove_folder(name: &str) {
    let path = path_of(name);
    if is_own(&path) {
        let _ = fs::remove_dir_all(path);
    }
}

/// Whether this user has made what is there. In a folder that is everybody's a stranger may have: that is the stranger's
/// affair, and may take without end to remove.
pub(super) fn is_own(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|meta| meta.uid() == Owner::this().uid)
}

/// Names of resources that dead daemons of this user have left: `ipcd-PID-START-CHANNEL`, where no process PID that was
/// started at START lives. That takes a daemon and its responder to be killed within the same few milliseconds.
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

/// What a look at the host calls what it makes, if that needs a name. Always the same for a user: what a process leaves that is
/// killed in the midst of it, the next one removes.
pub(super) fn probe_name() -> String {
    format!("ipcd-probe-{}", Owner::this().uid)
}

/// When the process was started, in clock ticks since boot, as `/proc` tells it.
///
/// # Errors
/// It is dead; or, for a live one, the system's.
pub(super) fn start_time(pid: &str) -> io::Result<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The 22nd field of proc(5), the 20th behind the command's parenthesis.
    let field = stat.rsplit(')').next().and_then(|fields| fields.split_whitespace().nth(19));
    Ok(field.ok_or(io::ErrorKind::InvalidData)?.to_owned())
}

/// The service's own folder where it has one, which its clients see too; else the temporary folder.
fn place() -> PathBuf {
    let runtime = std::env::var_os("RUNTIME_DIRECTORY").and_then(|list| std::env::split_paths(&list).next());
    runtime.filter(|folder| folder.is_absolute()).unwrap_or_else(std::env::temp_dir)
}

fn path_of(name: &str) -> PathBuf {
    place().join(name)
}

/// How a client gets at a resource that this process has made with mode 0600.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// By its name.
    Named,
    /// By a descriptor that it has to be handed: it may not open the resource.
    Handed,
}

/// Lets the client, and no other user, at a resource that is whoever's opens it first, or that everybody who has it open
/// can read and spoil.
///
/// A client of the same user may open it already, and root gives it away. No other daemon can, and its group would be too
/// many: another member could come before the client and take its place.
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

/// Lets the client connect to a socket that this process has made with mode 0600, where strangers are dropped.
///
/// A client of the same user may already. Root gives the socket away. Any other daemon lets its group in, which is how
/// a client of another user came to its control socket; one that came otherwise is refused when it connects.
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

/// Takes a file's blocks now: a full file system is an error here, and a SIGBUS when its memory is first written to.
pub(super) fn reserve(file: impl AsFd, len: usize) -> io::Result<()> {
    take_blocks(&file, len).map_err(|error| match Errno::from_io_error(&error) {
        Some(Errno::NOSPC | Errno::DQUOT) => explain(error, room(&file, len)),
        _ => explain_sandbox(error),
    })
}

/// What is needed of a file system and what it has.
pub(super) fn room(file: impl AsFd, len: usize) -> String {
    match fstatvfs(file) {
        Ok(there) => format!(
            "{len} bytes are needed, and of {} there {} are left; free some, or ask for smaller payloads",
            there.f_blocks * there.f_frsize,
            there.f_bavail * there.f_frsize
        ),
        Err(_) => format!("{len} bytes are needed"),
    }
}

fn take_blocks(file: impl AsFd, len: usize) -> io::Result<()> {
    let bytes = u64::try_from(len).expect("a usize fits in a u64");
    loop {
        match fallocate(&file, FallocateFlags::empty(), 0, bytes) {
            Err(Errno::INTR) => {}
            // The file system reserves nothing, but a block that was written to is there.
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
