//! Words in shared memory by which two processes take turns: published by one, awaited by the other.
//!
//! A waiting side may sleep in the kernel (futex on the word itself). It says so in a flag of its own, which nobody else
//! writes, before it looks again; the publisher writes the word and then looks at the flag. If a full barrier stands
//! between the two steps on either side, at least one of them sees the other. What that barrier is, is for the
//! [`Barrier`] to say.
//!
//! `tests/order` has loom explore all of it.
//!
//! The wait strategy is a type, so that the loops are compiled once for each and nothing is decided in a round.

use std::time::Duration;

use rustix::io::Errno;

use super::stream::adaptive_spin;
use super::sync::{
    self, AtomicU32, Instant, LOOKS, Ordering, barrier_everywhere, compiler_fence, fence, futex_wait,
    futex_wake, spin_loop,
};
use super::{Alive, RoundError};

/// A word, and the flag by which its waiting side says that it sleeps.
#[derive(Debug, Clone, Copy)]
pub(super) struct Turn<'a> {
    pub(super) word: &'a AtomicU32,
    /// [`SLEEPS`], and above it how often the waiting side has spun in vain in a row, which is nobody else's affair.
    pub(super) sleeps: &'a AtomicU32,
}

/// The bit of a flag that is set while its side sleeps.
const SLEEPS: u32 = 1;

/// What spinning in vain once more adds to a flag.
const VAIN: u32 = 2;

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
        turn.sleep_watched(value, Barrier::Fences, alive, round)
    }
}

/// Spins for a while, then sleeps. Where that has been in vain again and again, as on one CPU or with long gaps, it sleeps
/// at once, and spins every now and then to see whether that has changed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Adaptive {
    barrier: Barrier,
    spin: Duration,
}

impl Strategy for Adaptive {
    #[inline(always)]
    fn publish(self, turn: Turn<'_>, value: u32) {
        turn.publish(value, self.barrier);
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
    /// For sides that move `size` bytes in their turns.
    pub(super) fn new(barrier: Barrier, size: usize) -> Self {
        Self { barrier, spin: adaptive_spin(size) }
    }

    #[cold]
    fn wait_longer(
        self,
        turn: Turn<'_>,
        value: u32,
        alive: &mut impl Alive,
        round: u64,
    ) -> Result<(), RoundError> {
        let vain = turn.spun_in_vain();
        let start = Instant::now();
        while !turn.comes_soon(value) {
            if would_be_in_vain(vain) || start.elapsed() >= self.spin {
                turn.remember_spinning(vain.wrapping_add(1));
                return turn.sleep_watched(value, self.barrier, alive, round);
            }
        }
        if vain != 0 {
            turn.remember_spinning(0);
        }
        Ok(())
    }
}

/// Whether to spin is not even to be tried, after so many times in vain: from the fourth on, but for each sixteenth.
fn would_be_in_vain(vain: u32) -> bool {
    vain >= 4 && !vain.is_multiple_of(16)
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
        sync::register().is_ok()
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
            Self::Asymmetric => barrier_everywhere()?,
        }
        Ok(())
    }
}

impl Turn<'_> {
    /// Whether the word is `value`, and with it all that was written before.
    #[inline(always)]
    pub(super) fn is(self, value: u32) -> bool {
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
        if self.sleeps.load(Ordering::Relaxed) & SLEEPS != 0 {
            self.wake();
        }
    }

    #[inline(always)]
    fn sleep_watched(
        self,
        value: u32,
        barrier: Barrier,
        alive: &mut impl Alive,
        round: u64,
    ) -> Result<(), RoundError> {
        loop {
            match self.sleep(value, barrier) {
                Err(Errno::INTR) => alive.check(round)?,
                // A peer that writes other words again and again keeps the call from waiting, and from being interrupted.
                Err(Errno::AGAIN) if alive.due() => alive.check(round)?,
                Err(Errno::AGAIN) => {}
                other => return Ok(other?),
            }
        }
    }

    #[cold]
    fn wake(self) {
        futex_wake(self.word);
    }

    /// Sleeps until the word is `value`.
    ///
    /// # Errors
    /// The system's; [`Errno::INTR`] if a signal handler has run, [`Errno::AGAIN`] if it was woken before its time, or the
    /// word became another.
    #[inline(always)]
    pub(super) fn sleep(self, value: u32, barrier: Barrier) -> Result<(), Errno> {
        if self.is(value) {
            return Ok(());
        }
        // Written by this side alone: if the publisher took it back when it wakes, it could be so late with that as to
        // take back the flag of the next sleep, of which it then would know nothing.
        let awake = self.sleeps.load(Ordering::Relaxed) & !SLEEPS;
        self.sleeps.store(awake | SLEEPS, Ordering::Relaxed);
        let result = barrier.in_sleeper().and_then(|()| self.sleep_flagged(value));
        self.sleeps.store(awake, Ordering::Relaxed);
        result
    }

    /// How often this side, which waits, has spun in vain in a row.
    fn spun_in_vain(self) -> u32 {
        self.sleeps.load(Ordering::Relaxed) / VAIN
    }

    fn remember_spinning(self, vain: u32) {
        self.sleeps.store(vain.wrapping_mul(VAIN), Ordering::Relaxed);
    }

    /// Sleeps behind the flag and the barrier: whoever publishes and does not see the flag has done so before this looks.
    #[inline(always)]
    fn sleep_flagged(self, value: u32) -> Result<(), Errno> {
        let seen = self.word.load(Ordering::Acquire);
        if seen == value {
            return Ok(());
        }
        // The kernel compares the word again before it lets this thread sleep: a publication between the look and
        // the sleep either changes it in time, or finds the thread among those to be woken.
        futex_wait(self.word, seen)?;
        if self.is(value) { Ok(()) } else { Err(Errno::AGAIN) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transports::watch::patient;
    use std::os::fd::AsFd;
    use std::thread;

    /// Miri takes a millisecond for each.
    const ROUNDS: u32 = if cfg!(miri) { 50 } else { 1000 };

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
                let mut watch = patient(control.as_fd());
                for round in 1..=ROUNDS {
                    strategy.wait_for(pings, 2 * round - 1, &mut watch, round.into()).unwrap();
                    dawdle(round, 3);
                    strategy.publish(pongs, 2 * round);
                }
            });
            let mut watch = patient(control.as_fd());
            for round in 1..=ROUNDS {
                dawdle(round, 11);
                strategy.publish(pings, 2 * round - 1);
                strategy.wait_for(pongs, 2 * round, &mut watch, round.into()).unwrap();
            }
        });
    }

    #[test]
    fn who_spins_in_vain_again_and_again_sleeps_at_once_and_tries_again_later() {
        let tries: Vec<u32> = (0..40).filter(|vain| !would_be_in_vain(*vain)).collect();
        assert_eq!(tries, [0, 1, 2, 3, 16, 32]);
    }

    #[test]
    #[cfg_attr(miri, ignore = "it takes longer than any spin there")]
    fn spinning_is_remembered_as_in_vain_until_it_is_not() {
        let [word, sleeps] = [const { AtomicU32::new(0) }; 2];
        let turn = Turn { word: &word, sleeps: &sleeps };
        let (control, _theirs) = rustix::pipe::pipe().unwrap();
        let mut watch = patient(control.as_fd());
        let strategy = Adaptive::new(Barrier::Fences, 8);
        for round in 1..=5 {
            thread::scope(|scope| {
                // Once the waiting side sleeps, so that its spinning was in vain.
                scope.spawn(|| {
                    while sleeps.load(Ordering::Relaxed) & SLEEPS == 0 {
                        thread::yield_now();
                    }
                    strategy.publish(turn, round);
                });
                strategy.wait_for(turn, round, &mut watch, round.into()).unwrap();
            });
            assert_eq!((turn.spun_in_vain(), sleeps.load(Ordering::Relaxed) & SLEEPS), (round, 0));
        }
        // What is there already says nothing of spinning.
        strategy.wait_for(turn, 5, &mut watch, 6).unwrap();
        assert_eq!(turn.spun_in_vain(), 5);
        // The next time that it spins, and need not sleep; unless what it waits for is there as soon as it looks.
        turn.remember_spinning(16);
        let patient = Adaptive { spin: Duration::from_secs(3600), ..strategy };
        let mut round = 5;
        while turn.spun_in_vain() != 0 {
            round += 1;
            thread::scope(|scope| {
                scope.spawn(|| {
                    thread::sleep(Duration::from_millis(1));
                    strategy.publish(turn, round);
                });
                patient.wait_for(turn, round, &mut watch, round.into()).unwrap();
            });
        }
    }

    #[test]
    fn no_wake_up_is_lost_between_fences() {
        takes_turns(Block);
        takes_turns(Adaptive::new(Barrier::Fences, 8));
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri lacks its system call")]
    fn no_wake_up_is_lost_with_the_asymmetric_barrier() {
        if Barrier::register() {
            takes_turns(Adaptive::new(Barrier::Asymmetric, 8));
        }
    }
}
