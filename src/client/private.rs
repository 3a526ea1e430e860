//! A private daemon: this program's own executable, for this process alone.

use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::protocol::role;

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
        let child = Command::new("/proc/self/exe")
            .arg0(format!("ipcd: private daemon of process {}", std::process::id()))
            .arg(role::PRIVATE_DAEMON)
            .stdin(theirs)
            .stdout(Stdio::null())
            .process_group(0)
            .spawn()?;
        Ok(Self { process: Process(child), socket })
    }

    /// The daemon's process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.0.id()
    }

    /// The socket to speak through, and the process that ends once that is closed.
    pub(super) fn into_parts(self) -> (OwnedFd, Process) {
        (self.socket, self.process)
    }
}

/// Waits for the private daemon's end, for which its socket must be closed before.
#[derive(Debug)]
pub(super) struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let ended = Pid::from_raw(self.0.id().cast_signed())
            .and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok())
            .is_some_and(|pidfd| {
                poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&END_PATIENCE))
                    .is_ok_and(|ready| ready > 0)
            });
        if !ended {
            // It hangs, or the kernel is older than pidfds. Its responders are tied to it.
            let _ = self.0.kill();
        }
        let _ = self.0.wait();
    }
}
