//! Detects a dead peer while blocked.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::RoundError;
use super::sys::{TICK, Ticker, was_truncated};
use crate::shortage;

/// What a waiting side checks now and then.
///
/// A blocking call that returns `EINTR` [checks](Self::check) and goes on waiting if that succeeds; a spinning wait
/// checks when a check is [due](Self::due).
pub(crate) trait Alive {
    /// Whether a check is due; costs next to nothing.
    fn due(&self) -> bool;

    /// Whether to go on waiting in `round`. For a spinning wait and after `EINTR`.
    ///
    /// # Errors
    /// [`RoundError::Ended`] or [`RoundError::TimedOut`].
    fn check(&mut self, round: u64) -> Result<(), RoundError>;
}

/// For a side that is ended from outside: a responder, once its supervisor's death ends it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Unwatched;

impl Alive for Unwatched {
    #[inline(always)]
    fn due(&self) -> bool {
        false
    }

    #[inline(always)]
    fn check(&mut self, _: u64) -> Result<(), RoundError> {
        Ok(())
    }
}

/// Watches a control connection and the time while this thread waits for a peer.
///
/// Time is counted in ticks that this thread has seen: a host that was suspended or a process that was stopped for a
/// minute has seen one, and can still read what has arrived meanwhile.
#[derive(Debug)]
pub struct Watch {
    control: OwnedFd,
    ticker: Ticker,
    checked: u32,
    round: u64,
    waited: u32,
    patience: u32,
}

impl Watch {
    /// How long a round may take on a mechanism that loses nothing.
    pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

    /// How long a round may take before its datagram counts as lost.
    pub(crate) const LOSS_PATIENCE: Duration = Duration::from_millis(500);

    /// Watches for bytes or end of file on `control`, from this thread.
    ///
    /// # Errors
    /// The system allows no more descriptors or timers.
    pub fn new(control: BorrowedFd<'_>) -> std::io::Result<Self> {
        let ticker = Ticker::start().map_err(shortage::explain_signal)?;
        // A truncation of this thread's previous channel does not matter any more.
        let _ = was_truncated();
        Ok(Self {
            control: control.try_clone_to_owned()?,
            checked: ticker.ticks(),
            ticker,
            round: 0,
            waited: 0,
            patience: ticks(Self::PATIENCE),
        })
    }

    /// Whether `round` has waited so long that its datagram must be lost.
    #[must_use]
    pub(crate) fn lost_patience(&self, round: u64) -> bool {
        self.round == round && self.waited >= ticks(Self::LOSS_PATIENCE)
    }

    /// Starts the patience anew: for one wait after another under the same round number.
    pub(crate) fn restart(&mut self) {
        self.waited = 0;
    }

    /// Whether the control connection has news.
    fn control_has_news(&self) -> bool {
        let mut fds = [PollFd::from_borrowed_fd(self.control.as_fd(), PollFlags::IN)];
        // Everything except "nothing yet" is news, errors included.
        !matches!(
            poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })),
            Ok(0) | Err(rustix::io::Errno::INTR)
        )
    }
}

impl Alive for Watch {
    #[inline(always)]
    fn due(&self) -> bool {
        self.ticker.ticks() != self.checked
    }

    #[cold]
    fn check(&mut self, round: u64) -> Result<(), RoundError> {
        // If another signal has interrupted the wait, no tick has passed.
        let now = self.ticker.ticks();
        if now == self.checked {
            return Ok(());
        }
        self.checked = now;
        if round != self.round {
            self.round = round;
            self.waited = 0;
        }
        self.waited += 1;
        if self.control_has_news() {
            return Err(RoundError::Ended);
        }
        if was_truncated() {
            return Err(RoundError::Truncated);
        }
        if self.waited > self.patience {
            return Err(RoundError::TimedOut(Self::PATIENCE));
        }
        Ok(())
    }
}

/// `duration` in ticks.
fn ticks(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis() / TICK.as_millis()).unwrap_or(u32::MAX)
}

/// What the tests of turns wait under, so that a wake-up that is lost is an error and no hang.
#[cfg(all(test, not(miri)))]
pub(super) fn patient(control: BorrowedFd<'_>) -> impl Alive {
    Watch::new(control).expect("the system allows a timer")
}

/// Miri has no timers, and itself reports a sleep that nothing ends.
#[cfg(all(test, miri))]
pub(super) fn patient(_: BorrowedFd<'_>) -> impl Alive {
    Unwatched
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no timers")]
    fn news_on_the_control_connection_end_a_wait() {
        let (ours, theirs) = rustix::pipe::pipe().unwrap();
        let mut watch = Watch::new(ours.as_fd()).unwrap();
        let (reader, _writer) = rustix::pipe::pipe().unwrap();
        drop(theirs);
        assert_eq!(rustix::io::read(&reader, &mut [0_u8; 1]), Err(rustix::io::Errno::INTR));
        assert!(watch.due());
        assert!(matches!(watch.check(1), Err(RoundError::Ended)));
        assert!(!watch.due());
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no timers")]
    fn patience_is_counted_in_ticks_seen() {
        let (ours, _theirs) = rustix::pipe::pipe().unwrap();
        let mut watch = Watch::new(ours.as_fd()).unwrap();
        let wait_a_tick = |watch: &mut Watch| {
            while !watch.due() {
                let _ = rustix::io::read(&ours, &mut [0_u8; 1]);
            }
        };
        wait_a_tick(&mut watch);
        watch.check(1).unwrap();
        assert!(!watch.lost_patience(1));
        wait_a_tick(&mut watch);
        watch.check(1).unwrap();
        assert!(watch.lost_patience(1) && !watch.lost_patience(2));
        wait_a_tick(&mut watch);
        watch.check(2).unwrap();
        assert!(!watch.lost_patience(2), "another round starts anew");
    }
}
