//! The responder's end of the socket pair that it inherits from its supervisor.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::unistd::{Gid, Uid, geteuid, setgroups, setresgid, setresuid};
use rustix::io::Errno;
use rustix::process::{Signal, set_parent_process_death_signal};
use serde::{Deserialize, Serialize};

use super::contract::{CallError, RoundError, ServeError, While};
use super::{Alive, Grant, Owner, Watch, only_cpu};
use crate::protocol::ChannelSpec;
use crate::protocol::link::{Link, LinkError};

/// The channel that a responder is to serve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    /// What the client has requested.
    pub spec: ChannelSpec,
    /// What the daemon has decided about it.
    pub grant: Grant,
}

/// What a responder reports to its supervisor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Announcement {
    /// The channel is connectable. File descriptors for the client come with the frame.
    Ready {
        /// Its address, in the mechanism's own format.
        endpoint: String,
        /// How many file descriptors come with the frame.
        descriptors: u32,
        /// The only CPU that the responder may run on, if there is only one.
        cpu: Option<u32>,
    },
    /// The responder ends because of an error.
    Failed {
        /// The error and its causes.
        reason: String,
    },
}

/// The responder's supervisor.
#[derive(Debug)]
pub struct Supervisor {
    /// Open until the end: its closing is the supervisor's first sign of the end.
    link: Link,
    /// The channel's client.
    client: Owner,
    /// Until the peer has proved itself.
    watch: Option<Watch>,
}

impl Supervisor {
    /// Takes the assignment from the inherited socket.
    ///
    /// # Errors
    /// The supervisor is gone.
    pub(crate) fn take_assignment(socket: OwnedFd) -> Result<(Assignment, Self), LinkError> {
        let mut link = Link::new(socket);
        let assignment: Assignment = link.receive(None)?;
        let client = assignment.grant.client;
        Ok((assignment, Self { link, client, watch: None }))
    }

    /// Begins to watch the supervisor while this side waits for its peer.
    ///
    /// # Errors
    /// The system allows no more descriptors or timers.
    pub(crate) fn watch(&mut self) -> Result<(), CallError> {
        self.watch = Some(Watch::new(self.link.as_fd()).while_doing("watching the supervisor")?);
        Ok(())
    }

    /// Announces that the channel is connectable. `descriptors` are the client's ends; the responder drops its own
    /// copies of them after this, since they would hide the client's end from it.
    ///
    /// # Errors
    /// The supervisor is gone.
    pub(crate) fn ready(&mut self, endpoint: &str, descriptors: &[BorrowedFd<'_>]) -> Result<(), ServeError> {
        let ready = Announcement::Ready {
            endpoint: endpoint.to_owned(),
            descriptors: u32::try_from(descriptors.len()).unwrap_or(u32::MAX),
            cpu: only_cpu(),
        };
        self.link
            .send(&ready, descriptors)
            .map_err(std::io::Error::other)
            .while_doing("announcing the channel")?;
        Ok(())
    }

    /// Reports why the responder ends, if the supervisor still listens.
    pub(crate) fn failed(&mut self, reason: String) {
        let _ = self.link.send(&Announcement::Failed { reason }, &[]);
    }

    /// Waits for the supervisor to end: for a mechanism that has nothing to serve.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn wait_for_end(&mut self) -> Result<(), ServeError> {
        match self.link.receive::<()>(None) {
            Ok(()) | Err(LinkError::Closed) => Ok(()),
            Err(error) => Err(std::io::Error::other(error)).while_doing("waiting for the supervisor")?,
        }
    }

    /// The peer has proved itself and no name of the resource is left: from now on this process needs no clean-up,
    /// and the kernel kills it when its supervisor dies. The ticks stop, so that nothing disturbs the echo.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn proven(&mut self) -> Result<(), ServeError> {
        self.proven_until(Signal::KILL)
    }

    /// As [`proven`](Self::proven), for a resource that outlives its processes: when the supervisor dies, this process
    /// gets `signal`, whose handler removes the resource and ends the process.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn proven_until(&mut self, signal: Signal) -> Result<(), ServeError> {
        self.watch = None;
        become_client(self.client).while_doing("becoming the client's user")?;
        // After that, which would undo it. The thread that started this process is the supervisor's main thread, which ends with it.
        set_parent_process_death_signal(Some(signal)).while_doing("tying this process to its supervisor")?;
        // It may have died just before. While a process that it was about to start holds a copy of its end of the link, that end
        // does not show it; this process's parent does. (A test's supervisor may be a thread of this process.)
        let supervisor = super::sys::peer(&self.link).while_doing(LOOKING)?.pid;
        let parent = rustix::process::getppid().map_or(0, |pid| pid.as_raw_nonzero().get().cast_unsigned());
        if supervisor != parent && supervisor != std::process::id() {
            return Err(Errno::PIPE).while_doing(LOOKING)?;
        }
        let mut fds = [rustix::event::PollFd::new(&self.link, rustix::event::PollFlags::IN)];
        let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        match rustix::event::poll(&mut fds, Some(&now)) {
            Ok(0) => Ok(()),
            Ok(_) => Err(Errno::PIPE).while_doing(LOOKING)?,
            Err(error) => Err(error).while_doing(LOOKING)?,
        }
    }
}

/// Gives up root's privileges for those of the client, whose messages follow.
fn become_client(client: Owner) -> Result<(), nix::Error> {
    if !geteuid().is_root() || client.uid == 0 {
        return Ok(());
    }
    // By the C library, which changes all threads.
    let (uid, gid) = (Uid::from_raw(client.uid), Gid::from_raw(client.gid));
    setgroups(&[])?;
    setresgid(gid, gid, gid)?;
    setresuid(uid, uid, uid)
}

const LOOKING: &str = "looking for the supervisor";

/// Watches the supervisor while this side waits for its peer to prove itself.
impl Alive for Supervisor {
    fn due(&self) -> bool {
        self.watch.as_ref().is_some_and(Alive::due)
    }

    fn check(&mut self, round: u64) -> Result<(), RoundError> {
        self.watch.as_mut().map_or(Ok(()), |watch| watch.check(round))
    }
}
