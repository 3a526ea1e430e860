//! The control socket and the lock that says whether its owner lives.
//!
//! Beside a socket `S` stands the file `S.lock`, which a daemon locks for as long as it lives. Only a lock that can be
//! taken makes a socket file stale: a daemon that is slow to answer is alive all the same.

use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use interprocess::local_socket::traits::Listener as _;
use interprocess::local_socket::{
    GenericFilePath, Listener, ListenerNonblockingMode, ListenerOptions, Stream, ToFsName,
};
use interprocess::os::unix::local_socket::ListenerOptionsExt;
use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, getsockname, sockopt};

use crate::exit::Exit;
use crate::protocol::{AddressError, SocketAddress};
use crate::transports::sys::inherited_listeners;

/// What the service manager calls the socket of metrics (`FileDescriptorName=`).
const METRICS: &str = "metrics";

/// Why a daemon has no control socket.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BindError {
    /// Another daemon holds it.
    #[error("the socket {} is held by a running daemon, {}", .path.display(), show_holder(.pid))]
    AlreadyRunning {
        /// The socket.
        path: PathBuf,
        /// The daemon's process, if its lock file tells.
        pid: Option<u32>,
    },
    /// Something else has that name.
    #[error("{} exists and is no socket", .0.display())]
    NotASocket(PathBuf),
    /// No candidate's folder can be used; the last one's reason.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The service manager has handed over something else.
    #[error("the service manager has to hand over one unix stream socket that listens, not {0}")]
    Activation(String),
    /// The group or the mode that was asked for cannot be had.
    #[error("cannot let the group that was asked for use {}, or give it the mode that was asked for", .path.display())]
    Access {
        /// The socket.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The service manager has handed over something else for metrics.
    #[error(
        "for metrics the service manager has to hand over a TCP or unix stream socket that listens, not {what}"
    )]
    HandedMetrics {
        /// What it is.
        what: String,
    },
    /// The address of metrics cannot be had.
    #[error("cannot tell metrics at {address}")]
    Metrics {
        /// The address.
        address: String,
        /// The system's error.
        source: io::Error,
    },
    /// The system refused.
    #[error("cannot listen at {}", .path.display())]
    System {
        /// The socket or its lock file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

fn show_holder(pid: &Option<u32>) -> String {
    pid.map_or_else(|| "whose process is not known".to_owned(), |pid| format!("process {pid}"))
}

impl BindError {
    /// The exit code that tells of it.
    #[must_use]
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::AlreadyRunning { .. } => Exit::AlreadyRunning,
            Self::NotASocket(_)
            | Self::Activation(_)
            | Self::HandedMetrics { .. }
            | Self::Address(AddressError::TooLong(_)) => Exit::Usage,
            Self::Address(AddressError::NotPrivate { .. }) => Exit::Permission,
            Self::Address(AddressError::Folder { source, .. })
            | Self::Access { source, .. }
            | Self::Metrics { source, .. }
            | Self::System { source, .. } => match source.kind() {
                io::ErrorKind::PermissionDenied => Exit::Permission,
                _ => Exit::Failure,
            },
        }
    }
}

/// Who may use a control socket, beside its owner and root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    /// Its group; this process's own if `None`.
    pub group: Option<u32>,
    /// Its permissions, as chmod(2) has them.
    pub mode: u32,
}

impl Default for Access {
    fn default() -> Self {
        Self { group: None, mode: 0o600 }
    }
}

/// A control socket that is listened on. Its files go with it, if they are its own.
#[derive(Debug)]
pub struct Bound {
    listener: Listener,
    path: PathBuf,
    /// `None` for a socket of the service manager's, which sees to it that nobody else has it, and keeps it.
    lock: Option<Lock>,
}

impl Bound {
    /// Where it is.
    #[must_use]
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the service manager has made it, and keeps it.
    #[must_use]
    pub(crate) fn is_activated(&self) -> bool {
        self.lock.is_none()
    }

    /// Lets in whom `access` says. A socket of the service manager's is its own affair.
    ///
    /// # Errors
    /// [`BindError::Access`], for a group that this user may not give it to.
    pub(crate) fn set_access(&self, access: Access) -> Result<(), BindError> {
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
        set().map_err(|source| BindError::Access { path: self.path.clone(), source })
    }

    /// A waiting connection.
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

/// Listens at the first place of `address` whose folder can be used.
///
/// # Errors
/// See [`BindError`]. A place that a running daemon holds is an error, not a reason to try the next.
pub(crate) fn bind(address: &SocketAddress) -> Result<Bound, BindError> {
    let mut unusable = None;
    for candidate in &address.candidates {
        match candidate.prepare() {
            Ok(()) => return bind_at(&candidate.path),
            Err(error) => unusable = Some(error),
        }
    }
    Err(unusable.expect("an address has a candidate").into())
}

fn bind_at(path: &Path) -> Result<Bound, BindError> {
    let system = |source| BindError::System { path: path.to_owned(), source };
    let lock = Lock::take(path)?;
    match fs::symlink_metadata(path) {
        // Its owner is dead, as the lock shows.
        Ok(meta) if meta.file_type().is_socket() => fs::remove_file(path).map_err(system)?,
        Ok(_) => return Err(BindError::NotASocket(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(system(error)),
    }
    let name = path.to_fs_name::<GenericFilePath>().map_err(system)?;
    let listener = ListenerOptions::new()
        .name(name)
        .mode(0o600)
        .nonblocking(ListenerNonblockingMode::Both)
        .create_sync()
        .map_err(system)?;
    Ok(Bound { listener, path: path.to_owned(), lock: Some(lock) })
}

/// What the service manager has handed over.
#[derive(Debug, Default)]
pub(crate) struct Handed {
    /// The control socket.
    pub control: Option<Bound>,
    /// Where metrics are told.
    pub metrics: Option<OwnedFd>,
}

/// The sockets that the service manager has handed over (`LISTEN_FDS`), if it has; the one that it calls "metrics" is
/// where those are told.
///
/// # Errors
/// [`BindError::Activation`] if the control socket is not one unix stream socket that listens.
pub(crate) fn activated() -> Result<Handed, BindError> {
    let wrong = |what: String| BindError::Activation(what);
    let sockets = inherited_listeners().map_err(|error| wrong(format!("what $LISTEN_FDS says: {error}")))?;
    let (mut metrics, mut control): (Vec<_>, Vec<_>) =
        sockets.into_iter().partition(|(_, name)| name == METRICS);
    if metrics.len() > 1 {
        return Err(wrong(format!("{} descriptors called \"{METRICS}\"", metrics.len())));
    }
    if control.len() > 1 {
        return Err(wrong(format!("{} descriptors", control.len())));
    }
    let control = control.pop().map(|(socket, _)| handed_control(socket)).transpose()?;
    Ok(Handed { control, metrics: metrics.pop().map(|(socket, _)| socket) })
}

fn handed_control(socket: OwnedFd) -> Result<Bound, BindError> {
    let wrong = |what: String| BindError::Activation(what);
    let asked = || -> Result<_, Errno> {
        Ok((
            sockopt::socket_domain(&socket)?,
            sockopt::socket_type(&socket)?,
            sockopt::socket_acceptconn(&socket)?,
        ))
    };
    match asked() {
        Ok((AddressFamily::UNIX, SocketType::STREAM, true)) => {}
        Ok((AddressFamily::UNIX, SocketType::STREAM, false)) => {
            return Err(wrong("one that does not listen (Accept=no is needed)".to_owned()));
        }
        Ok((AddressFamily::UNIX, _, _)) => return Err(wrong("a unix socket of another type".to_owned())),
        Ok(_) => return Err(wrong("a socket of another family".to_owned())),
        Err(Errno::NOTSOCK) => return Err(wrong("a descriptor that is no socket".to_owned())),
        Err(error) => return Err(wrong(format!("this: {error}"))),
    }
    let path = path_of(&socket);
    let listener = Listener::UdSocket(socket.into());
    listener
        .set_nonblocking(ListenerNonblockingMode::Both)
        .map_err(|source| BindError::System { path: path.clone(), source })?;
    Ok(Bound { listener, path, lock: None })
}

/// What a socket is called, for people.
fn path_of(socket: &OwnedFd) -> PathBuf {
    let address = getsockname(socket).ok().and_then(|address| SocketAddrUnix::try_from(address).ok());
    let named = address.as_ref().and_then(|address| {
        let abstract_name = || Some(format!("@{}", address.abstract_name()?.escape_ascii()));
        let path = address.path().and_then(|path| path.to_str().map(str::to_owned).ok());
        path.or_else(abstract_name)
    });
    named.unwrap_or_else(|| "a socket without a name".to_owned()).into()
}

/// A lock file that this process has locked. It is removed with its value.
#[derive(Debug)]
struct Lock {
    file: File,
    path: PathBuf,
}

impl Lock {
    fn take(socket: &Path) -> Result<Self, BindError> {
        let mut path = socket.as_os_str().to_owned();
        path.push(".lock");
        let path = PathBuf::from(path);
        let system = |source: io::Error| BindError::System { path: path.clone(), source };
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
            // Its last owner may have removed it between the two calls: then it locks nothing any more.
            let locked = file.metadata().map_err(system)?;
            if fs::symlink_metadata(&path)
                .is_ok_and(|there| (there.dev(), there.ino()) == (locked.dev(), locked.ino()))
            {
                // From here on it goes with this value, also where the file system is full.
                let mut lock = Self { file, path: path.clone() };
                let tell = |file: &mut File| {
                    file.set_len(0)?;
                    file.rewind()?;
                    writeln!(file, "{}", std::process::id())
                };
                return tell(&mut lock.file).map_err(system).map(|()| lock);
            }
        }
    }
}

/// Whoever may read a file may lock it, and hold a daemon off for as long as that pleases: one that is left from before,
/// when anybody might, is closed to others.
fn keep_to_owner(file: &File) -> io::Result<()> {
    let meta = file.metadata()?;
    if meta.uid() == rustix::process::geteuid().as_raw() && meta.mode() & 0o077 != 0 {
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
    }
    Ok(())
}

impl Drop for Lock {
    fn drop(&mut self) {
        // While it is still locked, so that nobody can have taken it.
        let _ = fs::remove_file(&self.path);
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
    fn a_dead_daemons_socket_is_taken_over() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("s");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        fs::write(temp.path().join("s.lock"), "1\n").unwrap();
        bind(&at(&path)).unwrap();
    }

    #[test]
    fn a_file_that_is_no_socket_is_left_alone() {
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
