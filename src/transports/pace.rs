//! When a paced round starts.

use std::hint::spin_loop;
use std::time::Duration;

use rustix::thread::{ClockId, clock_nanosleep_relative};
use rustix::time::Timespec;

use super::sys::clock::{Clock, ClockSource, Scale};

/// How much of a wait is spun, since the kernel's timers are not exact: its default slack is 50 µs, and waking up
/// takes as long again.
const SPUN: Duration = Duration::from_micros(100);

/// What decides when a round starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// So long after the end of the last one: each starts from rest.
    Gap(Duration),
    /// One each such interval, whether the last one is done or not: one that is late starts at once, and its response
    /// time counts from when it should have started.
    Every(Duration),
}

/// Keeps the pace. The client sleeps while there is time, and spins for the last 100 µs before a start.
#[derive(Debug)]
pub struct Pacer {
    pace: Pace,
    interval: u64,
    scale: Scale,
    /// When the next round starts, in clock ticks; `None` before the first.
    next: Option<u64>,
}

impl Pacer {
    /// A pacer for a clock of this scale.
    #[must_use]
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a duration's ticks are no more than that"
    )]
    pub(crate) fn new(pace: Pace, scale: Scale) -> Self {
        let (Pace::Gap(interval) | Pace::Every(interval)) = pace;
        Self { pace, interval: (interval.as_nanos() as f64 * scale.ticks_per_ns()) as u64, scale, next: None }
    }

    /// Waits for the next start, and returns when it should have been.
    #[inline(never)]
    pub(super) fn wait(&mut self, clock: ClockSource) -> u64 {
        let mut intended = *self.next.get_or_insert_with(|| clock.now());
        loop {
            let now = clock.now();
            let Some(left) = intended.checked_sub(now).filter(|left| *left > 0) else { break };
            // No start is further away than that, unless the clock went back: it may while the host is suspended.
            if left > self.interval {
                intended = now;
                break;
            }
            let left = Duration::from_nanos(self.scale.to_ps(left) / 1000);
            if left > SPUN {
                let sleep = left - SPUN;
                let sleep = Timespec::try_from(sleep).unwrap_or(Timespec { tv_sec: 1, tv_nsec: 0 });
                // A tick may interrupt it; what is left is then waited for.
                let _ = clock_nanosleep_relative(ClockId::Monotonic, &sleep);
            } else {
                spin_loop();
            }
        }
        if let Pace::Every(_) = self.pace {
            self.next = Some(intended + self.interval);
        }
        intended
    }

    /// The round has ended at `now`.
    #[inline]
    pub(super) fn done(&mut self, now: u64) {
        if let Pace::Gap(_) = self.pace {
            self.next = Some(now + self.interval);
        }
    }
}
