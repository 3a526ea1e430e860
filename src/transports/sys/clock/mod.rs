//! The clock of the timed loop: what one read is, and which clocks there are.
//!
//! # One read at a round boundary
//!
//! The read that ends round N also starts round N + 1, so it must happen between the last load of N and the
//! first store of N + 1:
//!
//! - *Not before the load.* `rdtsc` has no inputs: when the processor predicts the end of the polling loop,
//!   it executes while the cache line is still in transit, and stamps the pong up to one transfer early.
//!   `lfence` waits until every earlier instruction has completed, so the load has its value.
//! - *Not after the store.* Nothing is needed: a store leaves the core after it has retired, in program
//!   order, so the clock has been read by then. Loads of round N + 1 may run ahead, and find nothing: its
//!   pong cannot exist before its ping does.
//!
//! So the read is `lfence; rdtsc`, with no fence after it. Measured on an AMD EPYC (family 25, model 17, TSC 2.596 GHz,
//! in a virtual machine); "miss" is the read before and after one load from memory, which takes about 140 ns:
//!
//! | read | back to back, ns | miss, ns | |
//! |---|---|---|---|
//! | `rdtsc` | 9.7 | 10 | does not wait for the load |
//! | `lfence; rdtsc` | 20.1 | 140 | used |
//! | `rdtscp` | 19.6 | 140 | same ordering, writes one more register, missing on some virtual machines |
//! | `rdtscp; lfence` | 25.1 | 160 | delays the next ping without need |
//! | `lfence; rdtsc; lfence` | 26.1 | 150 | the same |
//! | `clock_gettime`, vDSO | 26.0 | 150 | `lfence; rdtsc` and the conversion to nanoseconds |
//!
//! In a ping-pong over shared memory `lfence; rdtsc` and `rdtscp` are indistinguishable. What either adds to a
//! round differs from this cost: 2 ns in a loop that polls with `pause`, 55 ns in the same loop without. The cost
//! in [`Calibration`] is that of the read alone; do not subtract it from a round.

mod calibration;
mod trust;

use std::fmt;
use std::str::FromStr;

use rustix::time::{ClockId, clock_gettime};

pub(crate) use calibration::Calibration;
pub(crate) use trust::TscRefusal;

/// A clock that a timed loop reads. A type for each clock, so that the loop is compiled once for each and the read is
/// inlined.
///
/// A read happens after every earlier load and before every later store, and never goes backwards on one CPU.
pub(crate) trait Clock: Copy {
    /// Ticks since an origin that is fixed for the life of the process. [`Scale`] converts differences to time.
    fn now(self) -> u64;
}

/// The processor's time stamp counter. A value exists only on processors that have one.
#[cfg(target_arch = "x86_64")]
#[derive(Debug, Clone, Copy)]
pub struct TscClock(());

#[cfg(target_arch = "x86_64")]
impl TscClock {
    /// This host's counter; [`Calibration`] decides whether its ticks measure time.
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

/// Other architectures have no time stamp counter: the type has no value, and the code for it is not compiled.
///
/// aarch64's `cntvct_el0` is not used: it often ticks at 25 MHz, and `clock_gettime` reads the same register.
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
/// Where the vDSO provides it, it is ordered by the same instructions as [`TscClock`]; otherwise it is a system call.
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

/// The clock that a run uses. A loop that times each round matches once, outside, and runs with the concrete clock; where
/// reads are rare, this is a clock itself, so that the loop is compiled once for both.
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

/// The clock that the user asks for, written `auto`, `tsc` or `monotonic`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum ClockChoice {
    /// The time stamp counter if it can be trusted, otherwise `CLOCK_MONOTONIC`.
    #[default]
    Auto,
    /// The time stamp counter, or an error.
    Tsc,
    /// `CLOCK_MONOTONIC`.
    Monotonic,
}

/// An unknown clock name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown clock {0:?}, expected auto, tsc or monotonic")]
pub(crate) struct UnknownClock(String);

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

/// The length of a tick. Ticks are converted after the timed region.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Scale {
    ticks_per_ns: f64,
    /// Picoseconds per tick, times 2^32: a multiplication and a shift give the integer result.
    ps_per_tick: u64,
}

impl Scale {
    /// A tick is a nanosecond.
    pub(super) const NANOSECONDS: Self = Self { ticks_per_ns: 1.0, ps_per_tick: 1000 << 32 };

    /// For a counter of this rate; meaningful from 1 kHz (0.000001).
    pub(super) fn new(ticks_per_ns: f64) -> Self {
        Self { ticks_per_ns, ps_per_tick: (1000.0 / ticks_per_ns * 2f64.powi(32)).round() as u64 }
    }

    /// Ticks per nanosecond, which is the frequency in GHz.
    pub(crate) fn ticks_per_ns(self) -> f64 {
        self.ticks_per_ns
    }

    /// Converts ticks to nanoseconds.
    #[inline]
    pub(crate) fn to_ns(self, ticks: u64) -> f64 {
        ticks as f64 / self.ticks_per_ns
    }

    /// Converts ticks to picoseconds, rounded to nearest; beyond 213 days the result is `u64::MAX`.
    #[inline]
    pub(crate) fn to_ps(self, ticks: u64) -> u64 {
        let rounded = (u128::from(ticks) * u128::from(self.ps_per_tick) + (1 << 31)) >> 32;
        u64::try_from(rounded).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_never_goes_backwards(clock: impl Clock) {
        let mut last = clock.now();
        for _ in 0..1_000_000 {
            let now = clock.now();
            assert!(now >= last, "{now} after {last}");
            last = now;
        }
    }

    #[test]
    fn a_clock_never_goes_backwards_within_a_thread() {
        assert_never_goes_backwards(MonotonicClock);
        let calibration = Calibration::run(ClockChoice::Auto).expect("auto always finds a clock");
        if let ClockSource::Tsc(tsc) = calibration.source {
            assert_never_goes_backwards(tsc);
        }
    }

    #[test]
    fn a_clock_choice_parses_what_it_prints() {
        for choice in [ClockChoice::Auto, ClockChoice::Tsc, ClockChoice::Monotonic] {
            assert_eq!(choice.to_string().parse(), Ok(choice));
        }
        assert_eq!("hpet".parse::<ClockChoice>(), Err(UnknownClock("hpet".to_owned())));
    }

    /// Slow and fast counters, and rates for which a tick is not a whole number of picoseconds.
    const RATES: [f64; 6] = [0.0249, 0.1, 1.0, 2.596_123_4, 3.0, 5.7];

    #[test]
    fn nanoseconds_survive_conversion_to_ticks_and_back() {
        for rate in RATES {
            let scale = Scale::new(rate);
            for ns in [1.0, 54.0, 1e3, 1e9, 3.6e12] {
                let ticks = (ns * scale.ticks_per_ns()).round() as u64;
                let half_a_tick = 0.5 / rate + ns * 1e-12;
                assert!((scale.to_ns(ticks) - ns).abs() <= half_a_tick, "{ns} ns at {rate}");
                let ps = scale.to_ps(ticks) as f64;
                assert!((ps - ns * 1e3).abs() <= half_a_tick * 1e3 + 0.5, "{ns} ns at {rate}: {ps} ps");
            }
        }
    }

    #[test]
    fn a_million_seconds_do_not_overflow() {
        for rate in RATES {
            let ticks = (1e15 * rate) as u64;
            let ps = Scale::new(rate).to_ps(ticks);
            assert!((ps as f64 / 1e18 - 1.0).abs() < 1e-9, "{ps} ps at {rate}");
        }
        assert_eq!(Scale::NANOSECONDS.to_ps(1_000_000_000_000_000), 1_000_000_000_000_000_000);
    }

    #[test]
    fn an_overflow_saturates() {
        assert_eq!(Scale::NANOSECONDS.to_ps(u64::MAX), u64::MAX);
    }

    #[test]
    fn a_nanosecond_scale_is_exact() {
        assert_eq!(Scale::new(1.0), Scale::NANOSECONDS);
        assert_eq!(Scale::NANOSECONDS.to_ps(123), 123_000);
    }
}
