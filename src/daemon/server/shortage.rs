//! What the daemon does where the system has no descriptors left for it: it goes on, and tells whom it concerns.

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use log::Level;
use rustix::event::{PollFd, Timespec, poll};
use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::process::{Resource, getrlimit};

use super::{Bound, Server, timespec};
use crate::daemon::connection::Connection;
use crate::diagnostics::error_chain;
use crate::protocol::Refusal;

/// How long no connection is accepted where it can neither be had nor be turned away.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// As many as it takes to turn a client away, and to remove folders in folders.
const SPARE: usize = 6;

/// Descriptors that are there to be given up when one is needed and there is none.
#[derive(Debug)]
pub(super) struct Spare(Vec<OwnedFd>);

impl Spare {
    pub(super) fn new() -> Self {
        let mut spare = Self(Vec::with_capacity(SPARE));
        spare.fill();
        spare
    }

    /// Does what needs a descriptor or a few, and has given them back when it is done.
    pub(super) fn lend<T>(&mut self, to: impl FnOnce() -> T) -> T {
        self.0.clear();
        let done = to();
        self.fill();
        done
    }

    /// Takes what there is. The next one who needs them tries again.
    fn fill(&mut self) {
        while self.0.len() < SPARE {
            let one = match self.0.first() {
                Some(first) => fcntl_dupfd_cloexec(first, 3).map_err(io::Error::from),
                None => std::fs::File::open("/dev/null").map(OwnedFd::from),
            };
            let Ok(one) = one else { return };
            self.0.push(one);
        }
    }
}

impl Server {
    /// Deals with a connection that cannot be accepted for lack of descriptors or memory. Returns whether it is gone: else
    /// the listener would be ready at once, again and again, and is left alone for a while.
    pub(super) fn turn_away_for(&mut self, error: &io::Error, bound: &Bound) -> bool {
        let reason = error_chain(error);
        let turned_away = self.spare.lend(|| {
            let connection = Connection::new(bound.accept().ok()?).ok()?;
            let (pid, uid) = (connection.peer.pid, connection.peer.uid);
            let refusal = Refusal::Shortage { reason: reason.clone() };
            connection.turn_away(refusal.clone());
            Some((pid, uid, refusal))
        });
        let is_gone = turned_away.is_some();
        if let Some((pid, uid, refusal)) = turned_away {
            self.totals.refusals += 1;
            self.counters.refused(&refusal);
            self.tell_rationed(
                Some(uid),
                Level::Warn,
                format_args!("process {pid} of user {uid} is turned away: {reason}"),
            );
        } else {
            self.accept_later(&reason);
        }
        is_gone
    }

    /// Leaves the listener alone for a while, and says why.
    pub(super) fn accept_later(&mut self, reason: &str) {
        self.tell_rationed(None, Level::Warn, format_args!("cannot accept a connection for now: {reason}"));
        self.accept_again = Some(Instant::now() + ACCEPT_PAUSE);
    }
}

/// As poll(2), for any number of descriptors: it refuses more than this process may open, which may have become fewer than
/// it has open. They are then looked at in portions, now and then.
pub(super) fn poll_all(fds: &mut [PollFd<'_>], timeout: Option<Duration>) -> Result<(), Errno> {
    const NOW: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };
    match poll(fds, timeout.map(timespec).as_ref()) {
        Ok(_) | Err(Errno::INTR) => return Ok(()),
        Err(Errno::INVAL) => {}
        Err(error) => return Err(error),
    }
    let most = getrlimit(Resource::Nofile).current.and_then(|most| usize::try_from(most).ok());
    let mut ready = 0;
    for portion in fds.chunks_mut(most.unwrap_or(usize::MAX).max(1)) {
        // With not one allowed, none is ever ready.
        ready += poll(portion, Some(&NOW)).unwrap_or(0);
    }
    if ready == 0 {
        let _ = poll(&mut [], Some(&timespec(timeout.unwrap_or(ACCEPT_PAUSE).min(ACCEPT_PAUSE))));
    }
    Ok(())
}
