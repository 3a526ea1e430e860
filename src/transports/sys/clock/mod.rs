//! The clock of the timed loop: what one read is, and which clocks there are.
//!
//! # One read at a round boundary
//!
//! The read that ends round N also starts round N + 1, so it must stand between the last load of N and the
//! first store of N + 1:
//!
//! - *Not before the load.* `rdtsc` has no inputs: when the processor predicts the end of the polling loop,
//!   it runs while the line is still on its way, and stamps the pong up to one transfer early. `lfence` waits
//!   until every earlier instruction has completed, so the load has its value.
//! - *Not after the store.* Nothing is needed: a store leaves the core after it has retired, in program
//!   order, so the read before it has been made. Loads of round N + 1 may run ahead, and find nothing: its
//!   pong cannot exist before its ping does.
//!
//! So `lfence; rdtsc`, and no fence behind it. Measured on an AMD EPYC (family 25, model 17, TSC 2.596 GHz,
//! in a virtual machine); "miss" is the read before and after one load from memory, which takes about 140 ns:
//!
//! | read | back to back, ns | miss, ns | |
//! |---|---|---|---|
//! | `rdtsc` | 9.7 | 10 | does not wait for the load |
//! | `lfence; rdtsc` | 20.1 | 140 | taken |
//! | `rdtscp` | 19.6 | 140 | same order, writes one more register, and not every virtual machine has it |
//! | `rdtscp; lfence` | 25.1 | 160 | holds the next ping back for nothing |
//! | `lfence; rdtsc; lfence` | 26.1 | 150 | the same |
//! | `clock_gettime`, vDSO | 26.0 | 150 | `lfence; rdtsc` and the conversion to nanoseconds |
//!
//! In a ping-pong over shared memory `lfence; rdtsc` and `rdtscp` cannot be told apart. What either adds to a
//! round is not its cost here: 2 ns in a loop that polls with `pause`, 55 ns in the same loop without. The cost
//! in [`Calibration`] is that of the read alone, and is not for subtracting from a round.

mod calibration;
mod host;
mod scale;
mod trial;

use std::fmt;
use std::str::FromStr;

use rustix::time::{ClockId, clock_gettime};

pub use calibration::Calibration;
pub(crate) use calibration::ReadCost;
pub(crate) use host::TscRefusal;
pub(crate) use scale::Scale;

/// A clock that a timed loop reads, as a type, so that the loop is compiled once for each and a read is
/// inlined.
///
/// A read is made after every load before it and before every store after it, and does not go back on one
/// CPU.
pub(crate) trait Clock: Copy {
    /// Ticks since an origin that stays the same as long as the process lives. [`Scale`] turns differences
    /// into time.
    fn now(self) -> u64;
}

/// The processor's time stamp counter, read in the process. A value exists only where there is such a
/// counter.
#[cfg(target_arch = "x86_64")]
#[derive(Debug, Clone, Copy)]
pub struct TscClock(());

#[cfg(target_arch = "x86_64")]
impl TscClock {
    /// The counter of this host; that its ticks are time is for [`Calibration`] to find out.
    fn of_host() -> Option<Self> {
        Some(Self(()))
    }
}

#[cfg(target_arch = "x86_64")]
impl Clock for TscClock {
    #[inline(always)]
    fn now(self) -> u64 {
        use core::arch::x86_64::{_mm_lfence, _rdtsc};
        // SAFETY: both instructions belong to every x86_64 processor, and neither touches memory.
        unsafe {
            _mm_lfence();
            _rdtsc()
        }
    }
}

/// The time stamp counter of other architectures: there is none, so there is no value, and the code for it
/// vanishes.
///
/// aarch64's `cntvct_el0` is left out: it often ticks at 25 MHz, and `clock_gettime` reads the same register.
#[cfg(not(target_arch = "x86_64"))]
#[derive(Debug, Clone, Copy)]
pub enum TscClock {}

#[cfg(not(target_arch = "x86_64"))]
impl TscClock {
    fn of_host() -> Option<Self> {
        None
    }
}

#[cfg(not(target_arch = "x86_64"))]
impl Clock for TscClock {
    #[inline(always)]
    fn now(self) -> u64 {
        match self {}
    }
}

/// `CLOCK_MONOTONIC`; a tick is a nanosecond.
///
/// Where the vDSO serves it, it is ordered as [`TscClock`] is, by the same instructions; else it is a system
/// call.
#[derive(Debug, Clone, Copy)]
pub struct MonotonicClock;

impl Clock for MonotonicClock {
    #[inline(always)]
    fn now(self) -> u64 {
        let time = clock_gettime(ClockId::Monotonic);
        // Since boot, so never negative, and 584 years fit.
        time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
    }
}

/// The clock that a run uses. Where each round is timed, the caller matches once, outside of the loop, and calls the loop with
/// the clock; where reads are few, it is a clock itself, so that the loop is compiled once for both.
#[derive(Debug, Clone, Copy)]
pub enum ClockSource {
    /// The processor's time stamp counter.
    Tsc(TscClock),
    /// `CLOCK_MONOTONIC`.
    Monotonic(MonotonicClock),
}

impl Clock for ClockSource {
    #[inline(always)]
    fn now(self) -> u64 {
        match self {
            Self::Tsc(clock) => clock.now(),
            Self::Monotonic(clock) => clock.now(),
        }
    }
}

impl fmt::Display for ClockSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tsc(_) => "tsc",
            Self::Monotonic(_) => "monotonic",
        })
    }
}

/// Which clock the user wants; written `auto`, `tsc` or `monotonic`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ClockChoice {
    /// The time stamp counter where it can be trusted, else `CLOCK_MONOTONIC`.
    #[default]
    Auto,
    /// The time stamp counter, or an error.
    Tsc,
    /// `CLOCK_MONOTONIC`.
    Monotonic,
}

/// A word that names no clock.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown clock {0:?}, expected auto, tsc or monotonic")]
pub struct UnknownClock(String);

impl FromStr for ClockChoice {
    type Err = UnknownClock;

    fn from_str(word: &str) -> Result<Self, UnknownClock> {
        match word {
            "auto" => Ok(Self::Auto),
            "tsc" => Ok(Self::Tsc),
            "monotonic" => Ok(Self::Monotonic),
            other => Err(UnknownClock(other.to_owned())),
        }
    }
}

impl fmt::Display for ClockChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Tsc => "tsc",
            Self::Monotonic => "monotonic",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn never_goes_back(clock: impl Clock) {
        let mut last = clock.now();
        for _ in 0..1_000_000 {
            let now = clock.now();
            assert!(now >= last, "{now} after {last}");
            last = now;
        }
    }

    #[test]
    fn a_thread_never_sees_a_clock_go_back() {
        never_goes_back(MonotonicClock);
        let calibration = Calibration::run(ClockChoice::Auto).expect("auto always finds a clock");
        if let ClockSource::Tsc(tsc) = calibration.source {
            never_goes_back(tsc);
        }
    }

    #[test]
    fn a_choice_is_read_as_it_is_written() {
        for choice in [ClockChoice::Auto, ClockChoice::Tsc, ClockChoice::Monotonic] {
            assert_eq!(choice.to_string().parse(), Ok(choice));
        }
        assert_eq!("hpet".parse::<ClockChoice>(), Err(UnknownClock("hpet".to_owned())));
    }
}
