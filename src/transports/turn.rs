//! Words in shared memory by which two processes take turns: published by one, awaited by the other.
//!
//! A waiting side may sleep in the kernel (futex on the word itself). It says so in a flag of its own before it looks
//! a last time; the publisher writes the word and then looks at the flag. Both orders are sequentially consistent, so
//! that one of the two always sees the other.

use std::hint::spin_loop;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use rustix::io::Errno;
use rustix::thread::futex;

use super::stream::ADAPTIVE_SPIN;
use super::{Alive, RoundError};
use crate::protocol::Wait;

/// Looks between two reads of the clock, in an adaptive wait.
const LOOKS_PER_CLOCK_READ: u32 = 64;

/// A word, and the flag by which its waiting side says that it sleeps.
#[derive(Debug, Clone, Copy)]
pub(super) struct Turn<'a> {
    pub(super) word: &'a AtomicU32,
    pub(super) sleeps: &'a AtomicU32,
}

impl Turn<'_> {
    /// Publishes `value`, and wakes the other side if it sleeps.
    #[inline(always)]
    pub(super) fn publish(self, value: u32, wait: Wait) {
        if wait == Wait::Spin {
            self.word.store(value, Ordering::Release);
            return;
        }
        // A swap is a store and a full fence in one.
        self.word.swap(value, Ordering::SeqCst);
        if self.sleeps.load(Ordering::SeqCst) != 0 {
            self.wake();
        }
    }

    #[cold]
    fn wake(self) {
        self.sleeps.store(0, Ordering::SeqCst);
        // Shared between processes, hence not PRIVATE. It fails only for a bad address, which a word's is not.
        let _ = futex::wake(self.word, futex::Flags::empty(), 1);
    }

    /// Waits until the word is `value`.
    #[inline(always)]
    pub(super) fn wait_for(
        self,
        value: u32,
        wait: Wait,
        alive: &mut impl Alive,
        round: u64,
    ) -> Result<(), RoundError> {
        if self.word.load(Ordering::Acquire) == value {
            return Ok(());
        }
        match wait {
            Wait::Spin => self.spin(value, alive, round),
            Wait::Adaptive => {
                if self.look_for_a_while(value) {
                    return Ok(());
                }
                self.sleep(value, alive, round)
            }
            Wait::Block => self.sleep(value, alive, round),
        }
    }

    #[inline(always)]
    fn spin(self, value: u32, alive: &mut impl Alive, round: u64) -> Result<(), RoundError> {
        loop {
            spin_loop();
            if self.word.load(Ordering::Acquire) == value {
                return Ok(());
            }
            if alive.due() {
                alive.check(round)?;
            }
        }
    }

    #[inline(always)]
    fn look_for_a_while(self, value: u32) -> bool {
        let mut since = None;
        loop {
            for _ in 0..LOOKS_PER_CLOCK_READ {
                spin_loop();
                if self.word.load(Ordering::Acquire) == value {
                    return true;
                }
            }
            if since.get_or_insert_with(Instant::now).elapsed() >= ADAPTIVE_SPIN {
                return false;
            }
        }
    }

    #[cold]
    fn sleep(self, value: u32, alive: &mut impl Alive, round: u64) -> Result<(), RoundError> {
        loop {
            self.sleeps.store(1, Ordering::SeqCst);
            let seen = self.word.load(Ordering::SeqCst);
            if seen == value {
                self.sleeps.store(0, Ordering::Relaxed);
                return Ok(());
            }
            match futex::wait(self.word, futex::Flags::empty(), seen, None) {
                // Woken, or the word has changed since it was looked at.
                Ok(()) | Err(Errno::AGAIN) => {}
                Err(Errno::INTR) => alive.check(round)?,
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// The strategy to use in place of `wait` where this process may run on one CPU only: looking again is in vain while
/// the other side cannot run.
pub(super) fn on_these_cpus(wait: Wait) -> Wait {
    let alone = rustix::thread::sched_getaffinity(None).is_ok_and(|cpus| cpus.count() == 1);
    if alone && wait == Wait::Adaptive { Wait::Block } else { wait }
}
