//! A private daemon: this program's own executable, serving only this process.

use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::exit::Exit;
use crate::protocol::role;
use crate::shortage::{explain_spawn, is_shortage};

/// How long a private daemon may take to end after its socket is closed.
const END_TIMEOUT: Timespec = Timespec { tv_sec: 2, tv_nsec: 0 };

/// Why a private daemon could not be started.
#[derive(Debug, thiserror::Error)]
pub enum PrivateError {
    /// This process was itself started as a private daemon, but did not call [`enter_role`](crate::enter_role).
    #[error(
        "this program runs as its own private daemon: its main function must call ipcd::enter_role() first"
    )]
    RoleNotEntered,
    /// The system could not start it.
    #[error("a private daemon cannot be started")]
    System(#[from] std::io::Error),
    /// It ended before it greeted.
    #[error("the private daemon ended at once{}", .code.map(|code| format!(" with code {code}")).unwrap_or_default())]
    Ended {
        /// Its exit code; `None` if a signal ended it.
        code: Option<i32>,
    },
}

impl PrivateError {
    /// The exit code for this error.
    #[must_use]
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::System(error) if is_shortage(error) => Exit::Unavailable,
            // 127 is the loader's, which could not map the executable.
            Self::Ended { code: Some(code) } if [Exit::Unavailable.code().into(), 127].contains(code) => {
                Exit::Unavailable
            }
            _ => Exit::Failure,
        }
    }

    /// What the user can do.
    #[must_use]
    pub(crate) fn advice(&self) -> Option<&'static str> {
        matches!(self, Self::Ended { .. })
            .then_some("its error is above; it has the resource limits of this process (\"ulimit -a\")")
    }
}

/// A running private daemon, for [`Client::over`](super::Client::over).
///
/// It serves over an inherited socket pair, so that no socket file can be found by others or left behind. It ends when this
/// value, or the [`Client`](super::Client) made from it, is dropped, and with this process, however that ends.
#[derive(Debug)]
pub struct Private {
    process: Process,
    socket: OwnedFd,
}

impl Private {
    /// Starts a private daemon from this program's executable, whose `main` must call [`enter_role`](crate::enter_role).
    ///
    /// # Errors
    /// [`PrivateError::RoleNotEntered`], or [`PrivateError::System`].
    pub fn start() -> Result<Self, PrivateError> {
        // Without this check, a program that does not call `enter_role` would start itself endlessly.
        if std::env::args_os().nth(1).is_some_and(|arg| arg == role::PRIVATE_DAEMON) {
            return Err(PrivateError::RoleNotEntered);
        }
        let (socket, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
                .map_err(std::io::Error::from)?;
        // In its own process group: Ctrl-C in the terminal ends the client only, and the daemon sees its socket close.
        let mut child = Command::new("/proc/self/exe")
            .arg0(format!("ipcd: private daemon of process {}", std::process::id()))
            .arg(role::PRIVATE_DAEMON)
            .stdin(theirs)
            .stdout(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(explain_spawn)?;
        match pidfd(child.id()) {
            Ok(pidfd) => Ok(Self { process: Process { child, pidfd }, socket }),
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(std::io::Error::from(error).into())
            }
        }
    }

    /// The daemon's process ID.
    #[must_use]
    pub(crate) fn pid(&self) -> u32 {
        self.process.child.id()
    }

    /// The control socket, and the process, which ends once the socket is closed.
    pub(super) fn into_parts(self) -> (OwnedFd, Process) {
        (self.socket, self.process)
    }
}

/// A descriptor that is readable once the child has ended; `None` if the kernel lacks pidfds or a sandbox forbids them.
fn pidfd(child: u32) -> Result<Option<OwnedFd>, Errno> {
    let pid = Pid::from_raw(child.cast_signed()).ok_or(Errno::SRCH)?;
    match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(pidfd) => Ok(Some(pidfd)),
        Err(Errno::NOSYS | Errno::PERM) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The process of a private daemon. Dropping it waits for its end, so its socket must be closed first.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    pidfd: Option<OwnedFd>,
}

impl Process {
    /// Waits for its end and returns its exit code; `None` if a signal ended it.
    pub(super) fn code(mut self) -> Option<i32> {
        self.end()
    }

    fn end(&mut self) -> Option<i32> {
        let ended = self.pidfd.as_ref().is_some_and(|pidfd| {
            poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&END_TIMEOUT)).is_ok_and(|ready| ready > 0)
        });
        if !ended {
            // It hangs, or no pidfd is available to wait on. Its responders end with it.
            let _ = self.child.kill();
        }
        self.child.wait().ok()?.code()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}
