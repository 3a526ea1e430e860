//! The control socket, and the lock that shows whether its owner is alive.
//!
//! A daemon with the socket `S` holds a lock on the file `S.lock` as long as it lives. A socket file is stale only if that lock
//! can be taken: a daemon that is slow to answer is still alive. A daemon whose socket or lock file was deleted makes it again.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use interprocess::local_socket::traits::Listener as _;
use interprocess::local_socket::{
    GenericFilePath, Listener, ListenerNonblockingMode, ListenerOptions, Stream, ToFsName,
};
use interprocess::os::unix::local_socket::ListenerOptionsExt;
use rustix::fs::{FlockOperation, Mode, OFlags, flock, inotify};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, getsockname, socket_with, sockopt,
};
use rustix::process::Pid;

use crate::exit::Exit;
use crate::protocol::{AddressError, Candidate, SocketAddress, Tried};
use crate::transports::sys::{inherited_listeners, peer, refuse_descriptors};

/// The name of the metrics socket in its unit (`FileDescriptorName=`).
const METRICS: &str = "metrics";

/// How often the files of a socket are checked where the kernel does not watch them, or cannot be made again for now.
const CHECK_EVERY: Duration = Duration::from_secs(5);

/// Why a daemon has no socket to serve.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BindError {
    /// Another daemon holds it.
    #[error("the socket {} is held by a running daemon, {}", .path.display(), show_holder(.pid))]
    AlreadyRunning {
        path: PathBuf,
        /// The daemon's process, if its lock file names it.
        pid: Option<u32>,
    },
    /// Another kind of file has its name.
    #[error("{} exists and is not a socket", .0.display())]
    NotASocket(PathBuf),
    /// No candidate's folder is usable.
    #[error("no place for the socket: tried {0}")]
    Nowhere(Tried),
    /// The folder of the named socket is not usable.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The service manager has passed something else.
    #[error("the service manager has to pass one listening {wanted}, not {found}")]
    Activation { wanted: &'static str, found: String },
    /// The system refused.
    #[error("cannot {what}")]
    System { what: String, source: io::Error },
}

fn show_holder(pid: &Option<u32>) -> String {
    pid.map_or_else(|| "whose process is unknown".to_owned(), |pid| format!("process {pid}"))
}

impl BindError {
    fn listen(path: &Path, source: io::Error) -> Self {
        Self::System { what: format!("listen at {}", path.display()), source }
    }

    /// Metrics cannot be served at an address.
    pub(super) fn metrics(address: &dyn fmt::Display, source: io::Error) -> Self {
        Self::System { what: format!("serve metrics at {address}"), source }
    }

    fn control(found: impl Into<String>) -> Self {
        Self::Activation { wanted: "unix stream socket", found: found.into() }
    }

    /// The exit code for it.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::AlreadyRunning { .. } => Exit::AlreadyRunning,
            Self::NotASocket(_) | Self::Activation { .. } | Self::Address(AddressError::TooLong(_)) => {
                Exit::Usage
            }
            Self::Address(AddressError::NotPrivate { .. } | AddressError::Planted { .. })
            | Self::Nowhere(_) => Exit::Permission,
            Self::Address(AddressError::Folder { source, .. }) | Self::System { source, .. } => {
                match source.kind() {
                    io::ErrorKind::PermissionDenied => Exit::Permission,
                    _ => Exit::Failure,
                }
            }
        }
    }
}

/// Who may use a control socket besides its owner and root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Access {
    /// Its group; this process's own if `None`.
    pub(crate) group: Option<u32>,
    /// Its permission bits, as for chmod(2).
    pub(crate) mode: u32,
}

impl Default for Access {
    fn default() -> Self {
        Self { group: None, mode: 0o600 }
    }
}

/// Identifies a file, whatever name it has later.
type FileId = (u64, u64);

fn id(meta: &fs::Metadata) -> FileId {
    (meta.dev(), meta.ino())
}

/// The file with this name now; `None` if there is none.
fn file_id(path: &Path) -> Option<FileId> {
    fs::symlink_metadata(path).ok().map(|meta| id(&meta))
}

/// A listening control socket. It removes its files when it is dropped, unless they are the service manager's.
#[derive(Debug)]
pub(crate) struct Bound {
    listener: Listener,
    path: PathBuf,
    access: Access,
    /// `None` for a socket of the service manager's, which keeps it.
    files: Option<Files>,
}

/// The files of a socket that this process has made.
#[derive(Debug)]
struct Files {
    candidate: Candidate,
    socket: Option<FileId>,
    lock: Lock,
    /// Readable when one of them may have been deleted.
    watch: Option<OwnedFd>,
    /// When to check them, where they are not watched.
    check_at: Option<Instant>,
}

impl Files {
    fn new(candidate: &Candidate, lock: Lock) -> Self {
        let socket = file_id(&candidate.path);
        let mut files = Self { candidate: candidate.clone(), socket, lock, watch: None, check_at: None };
        files.watch();
        files
    }

    fn are_there(&self) -> bool {
        self.lock.is_there() && self.socket.is_some() && file_id(&self.candidate.path) == self.socket
    }

    /// Has the kernel report what happens to them. A deleted file of an open socket is reported as a change of its links.
    fn watch(&mut self) {
        use inotify::{CreateFlags, WatchFlags};
        let watch = || {
            let watch = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
            for path in [&self.candidate.path, &self.lock.path] {
                inotify::add_watch(&watch, path, WatchFlags::ATTRIB | WatchFlags::MOVE_SELF)?;
            }
            Ok::<_, Errno>(watch)
        };
        // What happened before the watch was set is seen now.
        self.watch = watch().ok().filter(|_| self.are_there());
        self.check_at = self.watch.is_none().then(|| Instant::now() + CHECK_EVERY);
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        // Another daemon may have taken the name meanwhile.
        if self.are_there() {
            let _ = fs::remove_file(&self.candidate.path);
        }
    }
}

impl Bound {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the service manager has made it, and keeps it.
    pub(crate) fn is_activated(&self) -> bool {
        self.files.is_none()
    }

    /// Sets the group and the permissions. A socket of the service manager's keeps its own.
    ///
    /// # Errors
    /// This user may not give it to that group.
    pub(crate) fn set_access(&mut self, access: Access) -> Result<(), BindError> {
        self.access = access;
        if self.is_activated() {
            return Ok(());
        }
        let group = access.group.unwrap_or_else(|| rustix::process::getegid().as_raw());
        let set = || -> io::Result<()> {
            if fs::symlink_metadata(&self.path)?.gid() != group {
                chown(&self.path, None, Some(group))?;
            }
            fs::set_permissions(&self.path, fs::Permissions::from_mode(access.mode))
        };
        let what = || format!("set the group and the mode of {}", self.path.display());
        set().map_err(|source| BindError::System { what: what(), source })
    }

    /// Readable when its files may have been deleted.
    pub(super) fn watch(&self) -> Option<BorrowedFd<'_>> {
        Some(self.files.as_ref()?.watch.as_ref()?.as_fd())
    }

    /// When to check its files, where they are not watched.
    pub(super) fn check_at(&self) -> Option<Instant> {
        self.files.as_ref()?.check_at
    }

    /// Makes its files again if they were deleted; returns whether they were. Connections that are accepted stay.
    ///
    /// # Errors
    /// [`BindError::AlreadyRunning`] if another daemon has taken the name. After any other error it is tried again later.
    pub(super) fn restore(&mut self) -> Result<bool, BindError> {
        let Some(files) = &mut self.files else { return Ok(false) };
        files.watch();
        if files.are_there() {
            return Ok(false);
        }
        files.check_at = Some(Instant::now() + CHECK_EVERY);
        files.candidate.prepare()?;
        if !files.lock.is_there() {
            files.lock = Lock::take(&self.path)?;
        }
        if file_id(&self.path) != files.socket || files.socket.is_none() {
            files.socket = None;
            self.listener = listen(&self.path)?;
            files.socket = file_id(&self.path);
        }
        files.watch();
        self.set_access(self.access)?;
        Ok(true)
    }

    /// Accepts a connection without blocking.
    pub(super) fn accept(&self) -> io::Result<OwnedFd> {
        let Stream::UdSocket(stream) = self.listener.accept()?;
        Ok(stream.into())
    }
}

impl AsFd for Bound {
    fn as_fd(&self) -> BorrowedFd<'_> {
        let Listener::UdSocket(listener) = &self.listener;
        listener.as_fd()
    }
}

/// Listens at the first candidate of `address` whose folder is usable.
///
/// # Errors
/// See [`BindError`]. A candidate that a running daemon holds is an error, not a reason to try the next.
pub(crate) fn bind(address: &SocketAddress) -> Result<Bound, BindError> {
    let found = address.search(Candidate::prepare, |candidate| bind_at(candidate).map(Ok))?;
    found.map_err(BindError::Nowhere)
}

fn bind_at(candidate: &Candidate) -> Result<Bound, BindError> {
    let path = &candidate.path;
    let lock = Lock::take(path)?;
    let listener = listen(path)?;
    let files = Some(Files::new(candidate, lock));
    Ok(Bound { listener, path: path.clone(), access: Access::default(), files })
}

/// Listens at a path whose lock this process holds.
fn listen(path: &Path) -> Result<Listener, BindError> {
    let system = |source| BindError::listen(path, source);
    match fs::symlink_metadata(path) {
        // The lock was free: its owner is dead, or stopped and has lost the lock's file.
        Ok(meta) if meta.file_type().is_socket() => match listening(path) {
            Some(pid) => return Err(BindError::AlreadyRunning { path: path.to_owned(), pid }),
            None => fs::remove_file(path).map_err(system)?,
        },
        Ok(_) => return Err(BindError::NotASocket(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(system(error)),
    }
    let name = path.to_fs_name::<GenericFilePath>().map_err(system)?;
    let listener = ListenerOptions::new()
        .name(name)
        .mode(0o600)
        .nonblocking(ListenerNonblockingMode::Both)
        .reclaim_name(false)
        .create_sync()
        .map_err(system)?;
    let Listener::UdSocket(socket) = &listener;
    refuse_descriptors(socket);
    Ok(listener)
}

/// Whether a process listens at a socket, and which, if that is known: the kernel refuses a connection only if none does.
fn listening(path: &Path) -> Option<Option<u32>> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let connected = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
        .and_then(|socket| connect(&socket, &SocketAddrUnix::new(path)?).map(|()| socket));
    match connected {
        Ok(socket) => Some(peer(&socket).ok().map(|holder| holder.pid).filter(|pid| *pid != 0)),
        // Gone meanwhile, or a socket of another type.
        Err(Errno::CONNREFUSED | Errno::NOENT | Errno::PROTOTYPE) => None,
        // Its queue is full, or this process lacks descriptors or permission: that says nothing.
        Err(_) => Some(None),
    }
}

/// The sockets that the service manager passes (`LISTEN_FDS`).
#[derive(Debug, Default)]
pub(crate) struct Activated {
    pub(crate) control: Option<Bound>,
    /// The one named "metrics".
    pub(crate) metrics: Option<OwnedFd>,
}

/// Takes over the sockets that the service manager passes, if any.
///
/// # Errors
/// [`BindError::Activation`] if the control socket is not one listening unix stream socket.
pub(crate) fn activated() -> Result<Activated, BindError> {
    let sockets =
        inherited_listeners().map_err(|error| BindError::control(format!("$LISTEN_FDS: {error}")))?;
    let (mut metrics, mut control): (Vec<_>, Vec<_>) =
        sockets.into_iter().partition(|(_, name)| name == METRICS);
    if metrics.len() > 1 {
        return Err(BindError::control(format!("{} descriptors named \"{METRICS}\"", metrics.len())));
    }
    if control.len() > 1 {
        return Err(BindError::control(format!("{} descriptors", control.len())));
    }
    let control = control.pop().map(|(socket, _)| activated_control(socket)).transpose()?;
    Ok(Activated { control, metrics: metrics.pop().map(|(socket, _)| socket) })
}

fn activated_control(socket: OwnedFd) -> Result<Bound, BindError> {
    let inspect = || -> Result<_, Errno> {
        Ok((
            sockopt::socket_domain(&socket)?,
            sockopt::socket_type(&socket)?,
            sockopt::socket_acceptconn(&socket)?,
        ))
    };
    match inspect() {
        Ok((AddressFamily::UNIX, SocketType::STREAM, true)) => {}
        Ok((AddressFamily::UNIX, SocketType::STREAM, false)) => {
            return Err(BindError::control("one that does not listen (Accept=no is needed)"));
        }
        Ok((AddressFamily::UNIX, _, _)) => return Err(BindError::control("a unix socket of another type")),
        Ok(_) => return Err(BindError::control("a socket of another family")),
        Err(Errno::NOTSOCK) => return Err(BindError::control("a descriptor that is not a socket")),
        Err(error) => return Err(BindError::control(format!("this: {error}"))),
    }
    refuse_descriptors(&socket);
    let path = name_of(&socket);
    let listener = Listener::UdSocket(socket.into());
    listener
        .set_nonblocking(ListenerNonblockingMode::Both)
        .map_err(|source| BindError::listen(&path, source))?;
    Ok(Bound { listener, path, access: Access::default(), files: None })
}

/// The name of a socket, for messages.
fn name_of(socket: &OwnedFd) -> PathBuf {
    let address = getsockname(socket).ok().and_then(|address| SocketAddrUnix::try_from(address).ok());
    let named = address.as_ref().and_then(|address| {
        let abstract_name = || Some(format!("@{}", address.abstract_name()?.escape_ascii()));
        let path = address.path().and_then(|path| path.to_str().map(str::to_owned).ok());
        path.or_else(abstract_name)
    });
    named.unwrap_or_else(|| "a socket without a name".to_owned()).into()
}

/// A lock file that this process holds. Dropping it removes the file.
#[derive(Debug)]
struct Lock {
    file: File,
    path: PathBuf,
}

/// Bytes of a lock file that are read for its process's ID, which has ten digits at most.
const LONGEST_PID: u64 = 32;

/// The lock file of a socket.
fn lock_path(socket: &Path) -> PathBuf {
    let mut path = socket.as_os_str().to_owned();
    path.push(".lock");
    path.into()
}

/// The process that holds the lock of a socket: the one that the lock file names, if that has it open. This also finds a
/// daemon that cannot be reached by its socket.
pub(super) fn holder(socket: &Path) -> Option<Pid> {
    // A pipe in its place would block.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(lock_path(socket), flags, Mode::empty()).ok()?);
    let lock = file.metadata().ok().filter(fs::Metadata::is_file)?;
    let mut text = String::new();
    file.take(LONGEST_PID).read_to_string(&mut text).ok()?;
    let pid: i32 = text.trim().parse().ok()?;
    // A daemon owns its lock. That a process of another user has the file open says nothing: it may have been handed it.
    let owner = fs::metadata(format!("/proc/{pid}")).ok()?.uid();
    let is_lock = |file: fs::DirEntry| fs::metadata(file.path()).is_ok_and(|meta| id(&meta) == id(&lock));
    let holds = fs::read_dir(format!("/proc/{pid}/fd")).ok()?.flatten().any(is_lock);
    Pid::from_raw(pid).filter(|_| owner == lock.uid() && holds)
}

impl Lock {
    /// Whether its file still has its name.
    fn is_there(&self) -> bool {
        self.file.metadata().is_ok_and(|own| file_id(&self.path) == Some(id(&own)))
    }

    fn take(socket: &Path) -> Result<Self, BindError> {
        let path = lock_path(socket);
        let system = |source| BindError::listen(&path, source);
        loop {
            let flags = OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            let file =
                rustix::fs::open(&path, flags, Mode::from_raw_mode(0o600)).map_err(|e| system(e.into()))?;
            let mut file = File::from(file);
            keep_to_owner(&file).map_err(system)?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(Errno::INTR) => continue,
                Err(Errno::WOULDBLOCK) => {
                    let mut text = String::new();
                    let pid = file.read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
                    return Err(BindError::AlreadyRunning { path: socket.to_owned(), pid });
                }
                Err(error) => return Err(system(error.into())),
            }
            // If its last owner has removed it between the two calls, the lock is worthless.
            // From here on it is removed on every path, even if the file system is full.
            let mut lock = Self { file, path: path.clone() };
            if lock.is_there() {
                let write_pid = |file: &mut File| {
                    file.set_len(0)?;
                    file.rewind()?;
                    writeln!(file, "{}", std::process::id())
                };
                return write_pid(&mut lock.file).map_err(system).map(|()| lock);
            }
        }
    }
}

/// A user who may read a lock file may lock it, and so prevent a daemon from starting. Files of earlier releases, which all
/// users could read, are closed to others.
fn keep_to_owner(file: &File) -> io::Result<()> {
    let meta = file.metadata()?;
    if meta.uid() == rustix::process::geteuid().as_raw() && meta.mode() & 0o077 != 0 {
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
    }
    Ok(())
}

impl Drop for Lock {
    fn drop(&mut self) {
        // While it is still locked, so that no other daemon can hold it.
        if self.is_there() {
            let _ = fs::remove_file(&self.path);
        }
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(path: &Path) -> SocketAddress {
        SocketAddress::resolve(Some(path))
    }

    #[test]
    fn a_held_socket_is_refused_and_names_its_holder() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("s");
        let bound = bind(&at(&path)).unwrap();
        let error = bind(&at(&path)).unwrap_err();
        assert_eq!(error.exit(), Exit::AlreadyRunning);
        assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
        drop(bound);
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 0, "nothing is left");
        bind(&at(&path)).unwrap();
    }

    #[test]
    fn the_holder_of_a_lock_owns_it_and_nothing_in_its_place_blocks() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("s");
        let bound = bind(&at(&path)).unwrap();
        assert_eq!(holder(&path), Some(rustix::process::getpid()));
        drop(bound);
        // Planted: it names a process that has it open, and belongs to another user.
        let lock = lock_path(&path);
        fs::write(&lock, std::process::id().to_string()).unwrap();
        let _open = File::open(&lock).unwrap();
        assert_eq!(holder(&path), Some(rustix::process::getpid()));
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(&lock, Some(65_534), None).unwrap();
            assert_eq!(holder(&path), None);
        }
        fs::remove_file(&lock).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, &lock, Mode::RUSR | Mode::WUSR).unwrap();
        assert_eq!(holder(&path), None);
    }

    #[test]
    fn a_dead_daemons_socket_is_taken_over() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("s");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        fs::write(temp.path().join("s.lock"), "1\n").unwrap();
        bind(&at(&path)).unwrap();
    }

    #[test]
    fn a_socket_at_which_a_process_listens_is_held_even_without_a_lock_file() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("s");
        let first = bind(&at(&path)).unwrap();
        fs::remove_file(temp.path().join("s.lock")).unwrap();
        let error = bind(&at(&path)).unwrap_err();
        assert_eq!(error.exit(), Exit::AlreadyRunning);
        assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
        drop(first);
    }

    #[test]
    fn a_file_that_is_not_a_socket_is_left_alone() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("precious");
        fs::write(&path, "data").unwrap();
        assert!(matches!(bind(&at(&path)), Err(BindError::NotASocket(_))));
        assert_eq!(fs::read(&path).unwrap(), b"data");
    }

    #[test]
    fn the_socket_and_its_lock_are_their_owners_alone() {
        let temp = tempfile::tempdir().unwrap();
        let (path, lock) = (temp.path().join("s"), temp.path().join("s.lock"));
        // As a daemon of an earlier release has left it.
        fs::write(&lock, "1\n").unwrap();
        fs::set_permissions(&lock, fs::Permissions::from_mode(0o644)).unwrap();
        for _ in 0..2 {
            let _bound = bind(&at(&path)).unwrap();
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
            assert_eq!(fs::metadata(&lock).unwrap().mode() & 0o777, 0o600);
        }
    }
}
