//! How a client finds its daemon: the address rule, a connection, a greeting.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::retry_on_intr;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with};

use super::link::{Link, LinkError};
use super::{AddressError, Candidate, GreetingError, SocketAddress, Tried};
use crate::diagnostics::{User, name_of};
use crate::exit::Exit;
use crate::shortage::is_shortage;

/// How long a daemon may take to accept and to greet.
pub(super) const GREETING_PATIENCE: Duration = Duration::from_secs(2);

/// Why a client cannot talk to a daemon.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// No process answers at any of the addresses.
    #[error("no daemon answers; tried {tried}")]
    NoDaemon {
        /// Each path, and the result.
        tried: Tried,
    },
    /// This user may not use the socket.
    #[error("{} may not use the socket {}{}", User(*uid), .path.display(), show_group(.group))]
    Permission {
        /// The socket.
        path: PathBuf,
        /// The user.
        uid: u32,
        /// The group whose members may use it, if it is for one.
        group: Option<String>,
    },
    /// The address cannot be used.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// This process has no descriptor or memory left for a connection.
    #[error("this process cannot connect to {}", .path.display())]
    Shortage {
        /// The socket.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The process that answers is not a daemon that this client can talk to.
    #[error("cannot talk to what listens at {}", .path.display())]
    Greeting {
        /// The socket.
        path: PathBuf,
        /// What is wrong.
        source: LinkError,
    },
}

fn show_group(group: &Option<String>) -> String {
    group.as_ref().map(|group| format!(", which is for members of the group {group}")).unwrap_or_default()
}

impl DialError {
    /// The exit code for this error.
    #[must_use]
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::NoDaemon { .. } => Exit::NoDaemon,
            Self::Permission { .. }
            | Self::Address(AddressError::NotPrivate { .. } | AddressError::Planted { .. }) => {
                Exit::Permission
            }
            Self::Address(AddressError::TooLong(_)) => Exit::Usage,
            Self::Address(AddressError::Folder { .. }) => Exit::NoDaemon,
            Self::Greeting { source: LinkError::Greeting(GreetingError::Version { .. }), .. } => {
                Exit::Version
            }
            Self::Greeting { source: LinkError::Io(_), .. } => Exit::Failure,
            Self::Shortage { .. } => Exit::Unavailable,
            Self::Greeting { .. } => Exit::NotIpcd,
        }
    }

    /// What the user can do.
    #[must_use]
    pub(crate) fn advice(&self) -> Option<&'static str> {
        Some(match self {
            // The error itself says which limit to raise.
            Self::Shortage { .. } => return None,
            Self::NoDaemon { .. } => {
                "start a daemon with \"ipcd start\", or name another socket with --socket"
            }
            Self::Permission { .. } => {
                "ask for membership in the group that owns the socket and log in again, or measure without it: --private"
            }
            Self::Address(_) => "name another socket with --socket",
            Self::Greeting { source: LinkError::Greeting(GreetingError::Version { .. }), .. } => {
                "install daemon and client of the same release, and restart the daemon"
            }
            Self::Greeting { source: LinkError::Silent(_), .. } => {
                "a daemon that is stopped (SIGSTOP, a debugger) or starved of CPU or descriptors does not respond: check its \
                 process, whose id is in the lock file beside the socket (or in \"systemctl status ipcd\" if the \
                 service manager made the socket), or name another socket with --socket"
            }
            Self::Greeting { .. } => {
                "name the daemon's socket with --socket, or restart the daemon if it hangs"
            }
        })
    }
}

/// Connects to the first daemon that the address leads to, and exchanges greetings.
///
/// # Errors
/// See [`DialError`]. A place without a socket, or with one that this user may not use, leads to the next one; any other
/// problem ends the search, since the socket was evidently meant to be used.
pub fn dial(address: &SocketAddress) -> Result<(Link, PathBuf), DialError> {
    let mut denied = None;
    let found = address.search(Candidate::check, |Candidate { path, .. }| match connect(path) {
        Ok(socket) => {
            let mut link = Link::new(socket);
            let greeted = link.greet(GREETING_PATIENCE);
            greeted.map_err(|source| DialError::Greeting { path: path.to_owned(), source })?;
            Ok::<_, DialError>(Ok((link, path.to_owned())))
        }
        Err(source) if is_shortage(&source) => Err(DialError::Shortage { path: path.to_owned(), source }),
        Err(error) => Ok(Err(match error.kind() {
            io::ErrorKind::NotFound => "nothing there".to_owned(),
            io::ErrorKind::PermissionDenied => {
                // A folder that this user may not enter does not show that there is a daemon, unless the user has named it.
                if address.named || is_socket(path) {
                    let (uid, group) = (rustix::process::geteuid().as_raw(), group_of(path));
                    denied.get_or_insert(DialError::Permission { path: path.to_owned(), uid, group });
                }
                "permission denied".to_owned()
            }
            io::ErrorKind::ConnectionRefused if !is_socket(path) => "not a socket".to_owned(),
            io::ErrorKind::ConnectionRefused => "no process is listening".to_owned(),
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                "it does not accept connections".to_owned()
            }
            _ => error.to_string(),
        })),
    })?;
    found.map_err(|tried| denied.unwrap_or(DialError::NoDaemon { tried }))
}

/// The group whose members may use a socket: its name, or its number where the host's groups are not in a file.
fn group_of(socket: &Path) -> Option<String> {
    let meta = socket.metadata().ok().filter(|meta| meta.mode() & 0o020 != 0)?;
    let gid = meta.gid();
    Some(name_of(gid, "/etc/group").unwrap_or_else(|| gid.to_string()))
}

fn is_socket(path: &Path) -> bool {
    path.metadata().is_ok_and(|meta| meta.file_type().is_socket())
}

fn connect(path: &Path) -> io::Result<OwnedFd> {
    let address = SocketAddrUnix::new(path)?;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    // Where more connect than the daemon has accepted, the kernel makes this wait its turn, for so long.
    set_socket_timeout(&socket, Timeout::Send, Some(GREETING_PATIENCE))?;
    retry_on_intr(|| rustix::net::connect(&socket, &address))?;
    set_socket_timeout(&socket, Timeout::Send, None)?;
    Ok(socket)
}
