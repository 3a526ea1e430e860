//! Words in shared memory that let two processes take turns: published by one, awaited by the other.
//!
//! A waiting side may sleep in the kernel (futex on the word itself). It sets a flag that only it writes, then reads the word
//! once more; the publisher writes the word, then reads the flag. With a full barrier between the two steps on either side, at
//! least one of them sees the other's write. [`Barrier`] defines that barrier.
//!
//! `tests/order` has loom explore all of it.
//!
//! The wait strategy is a type, so that the loops are compiled once for each and a round makes no decision about it.

use std::time::Duration;

use rustix::io::Errno;

use super::stream::adaptive_spin;
use super::sync::{
    self, AtomicU32, Instant, Ordering, POLLS, barrier_everywhere, compiler_fence, fence, futex_wait,
    futex_wake, spin_loop,
};
use crate::transports::{Alive, RoundError};

/// A word, and the flag that its waiting side sets while it sleeps.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Turn<'a> {
    pub(crate) word: &'a AtomicU32,
    /// [`SLEEPS`], and above it how many times in a row the waiting side has spun without success, for its own use.
    pub(crate) sleeps: &'a AtomicU32,
}

/// The bit of a flag that is set while its side sleeps.
const SLEEPS: u32 = 1;

/// What another futile spin adds to a flag.
const FUTILE: u32 = 2;

/// How a side waits for its turn, and what the other side must do for that. Both sides use the same.
pub(crate) trait Strategy: Copy + 'static {
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
pub(crate) struct Spin;

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
pub(crate) struct Block;

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

/// Spins for a while, then sleeps. After several futile spins in a row, as on one CPU or with long gaps, it sleeps at once,
/// and spins now and then to see whether that has changed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Adaptive {
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
    pub(crate) fn new(barrier: Barrier, size: usize) -> Self {
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
        let futile = turn.futile_spins();
        let start = Instant::now();
        while !turn.comes_soon(value) {
            if would_be_futile(futile) || start.elapsed() >= self.spin {
                turn.remember_spinning(futile.wrapping_add(1));
                return turn.sleep_watched(value, self.barrier, alive, round);
            }
        }
        if futile != 0 {
            turn.remember_spinning(0);
        }
        Ok(())
    }
}

/// Whether to skip spinning after this many futile spins in a row: from the fourth on, except for each sixteenth.
fn would_be_futile(futile: u32) -> bool {
    futile >= 4 && !futile.is_multiple_of(16)
}

/// What keeps a publisher's two steps (write the word, read the flag) and a sleeper's two (write the flag, read the word)
/// each in order, as seen by the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Barrier {
    /// A fence on either side.
    Fences,
    /// `membarrier` before a sleep, and only a compiler barrier in a publication, since publications are far more frequent.
    ///
    /// The system call returns once every CPU that runs a registered process has executed a full barrier. For a
    /// publisher on such a CPU, that barrier falls somewhere in its program order. If it falls after its store of the word,
    /// the store is visible to the sleeper's last load, which follows the system call. If it falls before that store, the
    /// publisher's later load of the flag follows the barrier too, and sees the flag, which the sleeper set before
    /// the system call. A publisher that is on no CPU gets a full barrier when it is scheduled.
    Asymmetric,
}

impl Barrier {
    /// Registers this process, so that the other side's `membarrier` reaches it. Must precede the other side's first use.
    pub(crate) fn register() -> bool {
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
    pub(crate) fn is(self, value: u32) -> bool {
        self.word.load(Ordering::Acquire) == value
    }

    /// Whether the word becomes `value` within a microsecond or two.
    ///
    /// Load, pause, load: measured against a pause before the first load, two pauses, `lfence` instead of pauses and
    /// neither, on either side. `lfence` makes an untimed round 10 ns faster (50 ns) and a timed one 35 ns
    /// slower (100 ns): while the client reads its clock, the responder polls too often.
    #[inline(always)]
    fn comes_soon(self, value: u32) -> bool {
        for _ in 0..POLLS {
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
                // A peer that keeps writing other words keeps the call from waiting, and from being interrupted.
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
    /// The system's; [`Errno::INTR`] if a signal handler has run, [`Errno::AGAIN`] if it was woken early or the word has
    /// another value.
    #[inline(always)]
    pub(crate) fn sleep(self, value: u32, barrier: Barrier) -> Result<(), Errno> {
        if self.is(value) {
            return Ok(());
        }
        // Written by this side alone: a publisher that cleared it when it wakes this side could be so late that it clears the
        // flag of the next sleep, and then misses that sleep.
        let awake = self.sleeps.load(Ordering::Relaxed) & !SLEEPS;
        self.sleeps.store(awake | SLEEPS, Ordering::Relaxed);
        let result = barrier.in_sleeper().and_then(|()| self.sleep_flagged(value));
        self.sleeps.store(awake, Ordering::Relaxed);
        result
    }

    /// How many times in a row this side, which waits, has spun without success.
    fn futile_spins(self) -> u32 {
        self.sleeps.load(Ordering::Relaxed) / FUTILE
    }

    fn remember_spinning(self, futile: u32) {
        self.sleeps.store(futile.wrapping_mul(FUTILE), Ordering::Relaxed);
    }

    /// Sleeps after the flag and the barrier: a publication that did not see the flag is visible to the load here.
    #[inline(always)]
    fn sleep_flagged(self, value: u32) -> Result<(), Errno> {
        let seen = self.word.load(Ordering::Acquire);
        if seen == value {
            return Ok(());
        }
        // The kernel compares the word again before it lets this thread sleep: a publication between the load and
        // the sleep either changes it in time, or finds the thread among the sleepers.
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

    /// Takes turns over one line, as small payloads do; either side pauses now and then, so that the other sleeps.
    fn takes_turns(strategy: impl Strategy + Send + Sync) {
        let [word, ping_sleeps, pong_sleeps] = [const { AtomicU32::new(0) }; 3];
        let pings = Turn { word: &word, sleeps: &ping_sleeps };
        let pongs = Turn { word: &word, sleeps: &pong_sleeps };
        let (control, _theirs) = rustix::pipe::pipe().unwrap();
        let pause = |round: u32, when: u32| {
            if round % 16 == when {
                thread::sleep(Duration::from_micros(u64::from(round) % 200));
            }
        };
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut watch = patient(control.as_fd());
                for round in 1..=ROUNDS {
                    strategy.wait_for(pings, 2 * round - 1, &mut watch, round.into()).unwrap();
                    pause(round, 3);
                    strategy.publish(pongs, 2 * round);
                }
            });
            let mut watch = patient(control.as_fd());
            for round in 1..=ROUNDS {
                pause(round, 11);
                strategy.publish(pings, 2 * round - 1);
                strategy.wait_for(pongs, 2 * round, &mut watch, round.into()).unwrap();
            }
        });
    }

    #[test]
    fn a_side_whose_spins_are_futile_sleeps_at_once_and_retries_later() {
        let tries: Vec<u32> = (0..40).filter(|futile| !would_be_futile(*futile)).collect();
        assert_eq!(tries, [0, 1, 2, 3, 16, 32]);
    }

    #[test]
    #[cfg_attr(miri, ignore = "it takes longer than any spin there")]
    fn futile_spins_are_counted_until_one_succeeds() {
        let [word, sleeps] = [const { AtomicU32::new(0) }; 2];
        let turn = Turn { word: &word, sleeps: &sleeps };
        let (control, _theirs) = rustix::pipe::pipe().unwrap();
        let mut watch = patient(control.as_fd());
        let strategy = Adaptive::new(Barrier::Fences, 8);
        for round in 1..=5 {
            thread::scope(|scope| {
                // Once the waiting side sleeps, so that its spin was futile.
                scope.spawn(|| {
                    while sleeps.load(Ordering::Relaxed) & SLEEPS == 0 {
                        thread::yield_now();
                    }
                    strategy.publish(turn, round);
                });
                strategy.wait_for(turn, round, &mut watch, round.into()).unwrap();
            });
            assert_eq!((turn.futile_spins(), sleeps.load(Ordering::Relaxed) & SLEEPS), (round, 0));
        }
        // A word that is already there says nothing about spinning.
        strategy.wait_for(turn, 5, &mut watch, 6).unwrap();
        assert_eq!(turn.futile_spins(), 5);
        // The next time that it spins and need not sleep, unless the word is there at the first load.
        turn.remember_spinning(16);
        let patient = Adaptive { spin: Duration::from_secs(3600), ..strategy };
        let mut round = 5;
        while turn.futile_spins() != 0 {
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
