//! Words in shared memory by which two processes take turns: published by one, awaited by the other.
//!
//! A waiting side may sleep in the kernel (futex on the word itself). It says so in a flag of its own before it looks
//! a last time; the publisher writes the word and then looks at the flag. If a full barrier stands between the two
//! steps on either side, at least one of them sees the other. What that barrier is, is for the [`Barrier`] to say.
//!
//! The wait strategy is a type, so that the loops are compiled once for each and nothing is decided in a round.

use std::hint::spin_loop;
use std::sync::atomic::{AtomicU32, Ordering, compiler_fence, fence};
use std::time::Instant;

use rustix::io::Errno;
use rustix::thread::{MembarrierCommand, futex, membarrier};

use super::stream::ADAPTIVE_SPIN;
use super::{Alive, RoundError};

/// A word, and the flag by which its waiting side says that it sleeps.
#[derive(Debug, Clone, Copy)]
pub(super) struct Turn<'a> {
    pub(super) word: &'a AtomicU32,
    pub(super) sleeps: &'a AtomicU32,
}

/// How a side waits for its turn, and what the other side must do for it. Both sides use the same.
pub(super) trait Strategy: Copy + 'static {
    /// Publishes `value`, and wakes the other side if it sleeps.
    fn publish(self, turn: Turn<'_>, value: u32);

    /// Waits until the word is `value`.
    ///
    /// # Errors
    /// [`RoundError::Ended`], [`RoundError::TimedOut`] or [`RoundError::System`].
    fn wait_for(
        self,
        turn: Turn<'_>,
        value: u32,
        alive: &mut impl Alive,
        round: u64,
    ) -> Result<(), RoundError>;
}

/// Never sleeps.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spin;

impl Strategy for Spin {
    #[inline(always)]
    fn publish(self, turn: Turn<'_>, value: u32) {
        turn.word.store(value, Ordering::Release);
    }

    #[inline(always)]
    fn wait_for(
        self,
        turn: Turn<'_>,
        value: u32,
        alive: &mut impl Alive,
        round: u64,
    ) -> Result<(), RoundError> {
        while !turn.comes_soon(value) {
            if alive.due() {
                alive.check(round)?;
            }
        }
        Ok(())
    }
}

/// Sleeps at once.
#[derive(Debug, Clone, Copy)]
pub(super) struct Block;

impl Strategy for Block {
    #[inline(always)]
    fn publish(self, turn: Turn<'_>, value: u32) {
        turn.publish(value, Barrier::Fences);
    }

    #[inline(always)]
    fn wait_for(
        self,
        turn: Turn<'_>,
        value: u32,
        alive: &mut impl Alive,
        round: u64,
    ) -> Result<(), RoundError> {
        turn.sleep(value, Barrier::Fences, alive, round)
    }
}

/// Spins for a while, then sleeps.
#[derive(Debug, Clone, Copy)]
pub(super) struct Adaptive(pub(super) Barrier);

impl Strategy for Adaptive {
    #[inline(always)]
    fn publish(self, turn: Turn<'_>, value: u32) {
        turn.publish(value, self.0);
    }

    #[inline(always)]
    fn wait_for(
        self,
        turn: Turn<'_>,
        value: u32,
        alive: &mut impl Alive,
        round: u64,
    ) -> Result<(), RoundError> {
        if turn.comes_soon(value) {
            return Ok(());
        }
        self.wait_longer(turn, value, alive, round)
    }
}

impl Adaptive {
    #[cold]
    fn wait_longer(
        self,
        turn: Turn<'_>,
        value: u32,
        alive: &mut impl Alive,
        round: u64,
    ) -> Result<(), RoundError> {
        let start = Instant::now();
        while !turn.comes_soon(value) {
            if start.elapsed() >= ADAPTIVE_SPIN {
                return turn.sleep(value, self.0, alive, round);
            }
        }
        Ok(())
    }
}

/// What keeps a publisher's two steps (the word, then a look at the flag) and a sleeper's two (the flag, then a look
/// at the word) each in their order, as seen by the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Barrier {
    /// A fence on either side.
    Fences,
    /// `membarrier` before a sleep, and nothing but the compiler held back in a publication, of which there are many
    /// more.
    ///
    /// The system call returns once every CPU that runs a registered process has executed a full barrier. For a
    /// publisher on such a CPU, that barrier falls somewhere in its program order. If after its store of the word,
    /// the store is visible to the sleeper's last look, which follows the system call. If before that store, the
    /// publisher's later look at the flag follows the barrier too, and sees the flag, which the sleeper set before
    /// the system call. A publisher that is on no CPU gets a full barrier by being switched to.
    Asymmetric,
}

impl Barrier {
    /// Registers this process, so that the other side's `membarrier` reaches it. Needs doing before the other side
    /// first relies on it.
    pub(super) fn register() -> bool {
        membarrier(MembarrierCommand::RegisterGlobalExpedited).is_ok()
    }

    #[inline(always)]
    fn in_publisher(self) {
        match self {
            Self::Fences => fence(Ordering::SeqCst),
            Self::Asymmetric => compiler_fence(Ordering::SeqCst),
        }
    }

    fn in_sleeper(self) -> Result<(), Errno> {
        match self {
            Self::Fences => fence(Ordering::SeqCst),
            Self::Asymmetric => membarrier(MembarrierCommand::GlobalExpedited)?,
        }
        Ok(())
    }
}

/// Looks at the word before something else is looked at: 1.5 µs, where a pause takes 25 ns.
const LOOKS: u32 = 64;

impl Turn<'_> {
    #[inline(always)]
    fn is(self, value: u32) -> bool {
        self.word.load(Ordering::Acquire) == value
    }

    /// Whether the word becomes `value` within a microsecond or two.
    ///
    /// A look, a pause, a look: measured against a pause before the first look, two of them, `lfence` in place of pauses
    /// and nothing at all, on either side. `lfence` makes an untimed round 10 ns faster (50 ns) and a timed one 35 ns
    /// slower (100 ns): while the client reads its clock, the responder looks too often.
    #[inline(always)]
    fn comes_soon(self, value: u32) -> bool {
        for _ in 0..LOOKS {
            if self.is(value) {
                return true;
            }
            spin_loop();
        }
        false
    }

    #[inline(always)]
    fn publish(self, value: u32, barrier: Barrier) {
        self.word.store(value, Ordering::Release);
        barrier.in_publisher();
        if self.sleeps.load(Ordering::Relaxed) != 0 {
            self.wake();
        }
    }

    #[cold]
    fn wake(self) {
        self.sleeps.store(0, Ordering::Relaxed);
        // Shared between processes, hence not PRIVATE. It fails only for a bad address, which a word's is not.
        let _ = futex::wake(self.word, futex::Flags::empty(), 1);
    }

    #[inline(always)]
    fn sleep(
        self,
        value: u32,
        barrier: Barrier,
        alive: &mut impl Alive,
        round: u64,
    ) -> Result<(), RoundError> {
        loop {
            if self.is(value) {
                return Ok(());
            }
            // A peer that writes other words again and again keeps the call below from waiting, and from being interrupted.
            if alive.due() {
                alive.check(round)?;
            }
            self.sleeps.store(1, Ordering::Relaxed);
            barrier.in_sleeper()?;
            let seen = self.word.load(Ordering::Acquire);
            if seen == value {
                self.sleeps.store(0, Ordering::Relaxed);
                return Ok(());
            }
            // The kernel compares the word again before it lets this thread sleep: a publication between the look and
            // the sleep either changes it in time, or finds the thread among those to be woken.
            match futex::wait(self.word, futex::Flags::empty(), seen, None) {
                // Woken, or the word has changed since it was looked at.
                Ok(()) | Err(Errno::AGAIN) => {}
                Err(Errno::INTR) => alive.check(round)?,
                Err(error) => return Err(error.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transports::Watch;
    use std::os::fd::AsFd;
    use std::thread;
    use std::time::Duration;

    /// Takes turns over one line, as small payloads do; either side dawdles now and then, so that the other sleeps.
    fn takes_turns(strategy: impl Strategy + Send + Sync) {
        let [word, ping_sleeps, pong_sleeps] = [const { AtomicU32::new(0) }; 3];
        let pings = Turn { word: &word, sleeps: &ping_sleeps };
        let pongs = Turn { word: &word, sleeps: &pong_sleeps };
        let (control, _theirs) = rustix::pipe::pipe().unwrap();
        let dawdle = |round: u32, when: u32| {
            if round % 16 == when {
                thread::sleep(Duration::from_micros(u64::from(round) % 200));
            }
        };
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut watch = Watch::new(control.as_fd()).unwrap();
                for round in 1..=1000 {
                    strategy.wait_for(pings, 2 * round - 1, &mut watch, round.into()).unwrap();
                    dawdle(round, 3);
                    strategy.publish(pongs, 2 * round);
                }
            });
            let mut watch = Watch::new(control.as_fd()).unwrap();
            for round in 1..=1000 {
                dawdle(round, 11);
                strategy.publish(pings, 2 * round - 1);
                strategy.wait_for(pongs, 2 * round, &mut watch, round.into()).unwrap();
            }
        });
    }

    #[test]
    fn no_wake_up_is_lost_between_fences() {
        takes_turns(Block);
        takes_turns(Adaptive(Barrier::Fences));
    }

    #[test]
    fn no_wake_up_is_lost_with_the_asymmetric_barrier() {
        if Barrier::register() {
            takes_turns(Adaptive(Barrier::Asymmetric));
        }
    }
}
