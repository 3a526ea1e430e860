//! A private daemon: this program's own executable, for this process alone.

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

/// How long a private daemon may take to end once its client is gone.
const END_PATIENCE: Timespec = Timespec { tv_sec: 2, tv_nsec: 0 };

/// Why there is no private daemon.
#[derive(Debug, thiserror::Error)]
pub enum PrivateError {
    /// This process was itself started as a private daemon and did not become one.
    #[error(
        "this program runs as its own private daemon: its main function must call ipcd::enter_role() first"
    )]
    RoleNotEntered,
    /// The system refused.
    #[error("a private daemon cannot be started")]
    System(#[from] std::io::Error),
    /// It was started and did not come to greet.
    #[error("the private daemon ended at once{}", .code.map(|code| format!(" with code {code}")).unwrap_or_default())]
    Ended {
        /// Its exit code; `None` if a signal has ended it.
        code: Option<i32>,
    },
}

impl PrivateError {
    /// The exit code that tells of it.
    #[must_use]
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::System(error) if is_shortage(error) => Exit::Unavailable,
            // 127 is the loader's, which could not map what it needs.
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
            .then_some("what it lacks it has said above; it has the limits of this process (\"ulimit -a\")")
    }
}

/// A private daemon. It serves over an inherited socket pair, so that there is no socket file to find or to leave
/// behind, and it ends with this value or with this process, whatever ends that.
#[derive(Debug)]
pub struct Private {
    process: Process,
    socket: OwnedFd,
}

impl Private {
    /// Starts one from this program's executable.
    ///
    /// # Errors
    /// See [`PrivateError`].
    pub fn start() -> Result<Self, PrivateError> {
        // Without this check, a program that forgot to enter its role would start itself for ever.
        if std::env::args_os().nth(1).is_some_and(|arg| arg == role::PRIVATE_DAEMON) {
            return Err(PrivateError::RoleNotEntered);
        }
        let (socket, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
                .map_err(std::io::Error::from)?;
        // A process group of its own: Ctrl-C in the terminal ends the client, and the daemon sees that.
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

    /// The daemon's process id.
    #[must_use]
    pub(crate) fn pid(&self) -> u32 {
        self.process.child.id()
    }

    /// The socket to speak through, and the process that ends once that is closed.
    pub(super) fn into_parts(self) -> (OwnedFd, Process) {
        (self.socket, self.process)
    }
}

/// What tells of a child's end, had before it is needed; `None` if the kernel is older than pidfds, or forbids them.
fn pidfd(child: u32) -> Result<Option<OwnedFd>, Errno> {
    let pid = Pid::from_raw(child.cast_signed()).ok_or(Errno::SRCH)?;
    match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(pidfd) => Ok(Some(pidfd)),
        Err(Errno::NOSYS | Errno::PERM) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Waits for the private daemon's end, for which its socket must be closed before.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    pidfd: Option<OwnedFd>,
}

impl Process {
    /// Its exit code, once its socket is closed; `None` if a signal has ended it.
    pub(super) fn code(mut self) -> Option<i32> {
        self.end()
    }

    fn end(&mut self) -> Option<i32> {
        let ended = self.pidfd.as_ref().is_some_and(|pidfd| {
            poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&END_PATIENCE)).is_ok_and(|ready| ready > 0)
        });
        if !ended {
            // It hangs, or cannot be waited for. Its responders are tied to it.
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
