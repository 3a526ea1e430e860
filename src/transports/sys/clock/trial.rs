//! The time stamp counter measured against `CLOCK_MONOTONIC`: its rate, whether that is steady, and whether
//! all CPUs share one counter.

use std::hint;
use std::thread;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use super::host::Trust;
use super::{Clock, MonotonicClock, ReadCost, Scale, TscClock};

/// Half of the time that a trial takes. Two halves of 0.7 ms and a bracket of 60 ns give the rate within 50
/// ppm.
const HALF_NS: u64 = 700_000;

/// Brackets tried for one anchor. The first ones find cold caches, and an interrupt spoils a few.
const BRACKETS: usize = 64;

/// CPUs compared at most, spread over those allowed. A move takes tens of microseconds, more where the CPU is
/// busy.
const MAX_CPUS: usize = 16;

/// One instant, told by both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Anchor {
    ticks: u64,
    /// Middle of the bracket.
    ns: u64,
    /// Between the `CLOCK_MONOTONIC` reads on either side of the counter's.
    width_ns: u64,
}

impl Anchor {
    /// The tightest of many brackets.
    pub(super) fn take(tsc: TscClock) -> Self {
        let bracket = || {
            let before = MonotonicClock.now();
            let ticks = tsc.now();
            let width_ns = MonotonicClock.now() - before;
            Self { ticks, ns: before + width_ns / 2, width_ns }
        };
        let mut tightest = bracket();
        for _ in 1..BRACKETS {
            let next = bracket();
            if next.width_ns < tightest.width_ns {
                tightest = next;
            }
        }
        tightest
    }
}

/// From one anchor to a later one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    pub(super) from: Anchor,
    pub(super) to: Anchor,
}

impl Span {
    fn elapsed_ns(self) -> f64 {
        (self.to.ns - self.from.ns) as f64
    }

    /// The counter's rate over the span; negative if it went back.
    pub(super) fn ticks_per_ns(self) -> f64 {
        signed_difference(self.to.ticks, self.from.ticks) / self.elapsed_ns()
    }

    /// How far the rate can be off, if the counter was read at either edge of both brackets.
    pub(super) fn uncertainty_ppm(self) -> f64 {
        (self.from.width_ns + self.to.width_ns) as f64 / 2.0 / self.elapsed_ns() * 1e6
    }

    /// How far an anchor lies off the line through the span, beyond what its own bracket explains.
    fn skew_ns(self, anchor: Anchor) -> f64 {
        let by_ticks = signed_difference(anchor.ticks, self.from.ticks) / self.ticks_per_ns();
        let by_clock = signed_difference(anchor.ns, self.from.ns);
        ((by_ticks - by_clock).abs() - anchor.width_ns as f64).max(0.0)
    }
}

/// `later - earlier`, also where the counter went back.
fn signed_difference(later: u64, earlier: u64) -> f64 {
    later.wrapping_sub(earlier) as i64 as f64
}

/// What tells a counter that is a clock from one that is not.
#[derive(Debug, Clone, Copy)]
pub(super) struct Check {
    /// Between the rates of the first and the second half.
    pub(super) change_ppm: f64,
    /// What the brackets explain of that.
    pub(super) uncertainty_ppm: f64,
    /// Largest difference between CPUs; none if they were not compared.
    pub(super) skew_ns: Option<f64>,
}

/// The outcome of a trial, which takes about 1.5 ms.
#[derive(Debug, Clone, Copy)]
pub(super) struct Trial {
    pub(super) span: Span,
    pub(super) check: Check,
    pub(super) tsc_cost: ReadCost,
    pub(super) monotonic_cost: ReadCost,
}

impl Trial {
    /// Anchors at the start, the middle and the end; the time between goes into the other measurements.
    pub(super) fn run(tsc: TscClock, trust: Trust) -> Self {
        let start = Anchor::take(tsc);
        let monotonic_cost = ReadCost::measure(MonotonicClock, Scale::NANOSECONDS);
        spin_until(start.ns + HALF_NS);

        let middle = Anchor::take(tsc);
        let first = Span { from: start, to: middle };
        let tsc_cost = ReadCost::measure(tsc, Scale::new(first.ticks_per_ns()));
        let skew_ns = match trust {
            // A comparison by moving from CPU to CPU would see less than the kernel's.
            Trust::Kernel => None,
            Trust::Check => compare_cpus(tsc, first),
        };
        spin_until(middle.ns + HALF_NS);

        let end = Anchor::take(tsc);
        let second = Span { from: middle, to: end };
        let check = Check {
            change_ppm: difference_ppm(first.ticks_per_ns(), second.ticks_per_ns()),
            uncertainty_ppm: first.uncertainty_ppm() + second.uncertainty_ppm(),
            skew_ns,
        };
        Self { span: Span { from: start, to: end }, check, tsc_cost, monotonic_cost }
    }
}

/// How far two rates lie apart, in parts per million of the first.
pub(super) fn difference_ppm(rate: f64, other: f64) -> f64 {
    (other / rate - 1.0).abs() * 1e6
}

/// Spins, since a sleep would let the processor fall into a sleep state just before the measurement.
fn spin_until(ns: u64) {
    while MonotonicClock.now() < ns {
        hint::spin_loop();
    }
}

/// The largest skew between the CPUs that the caller may run on; none if there is one, or if they cannot be
/// visited.
fn compare_cpus(tsc: TscClock, line: Span) -> Option<f64> {
    let allowed = sched_getaffinity(None).ok()?;
    let cpus: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|&cpu| allowed.is_set(cpu)).collect();
    if cpus.len() < 2 {
        return None;
    }
    let visit = |&cpu: &usize| {
        let mut only = CpuSet::new();
        only.set(cpu);
        sched_setaffinity(None, &only).ok()?;
        Some(line.skew_ns(Anchor::take(tsc)))
    };
    let tour = || cpus.iter().step_by(cpus.len().div_ceil(MAX_CPUS)).filter_map(visit).reduce(f64::max);
    // A thread of its own, so that the caller's affinity is not touched.
    thread::scope(|scope| thread::Builder::new().spawn_scoped(scope, tour).ok()?.join().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn anchor(ticks: u64, ns: u64) -> Anchor {
        Anchor { ticks, ns, width_ns: 60 }
    }

    #[test]
    fn a_rate_is_ticks_over_time_and_as_sure_as_its_brackets() {
        let span = Span { from: anchor(1_000, 500), to: anchor(2_501_000, 1_000_500) };
        assert_eq!(span.ticks_per_ns(), 2.5);
        assert_eq!(span.uncertainty_ppm(), 60.0);
    }

    #[test]
    fn a_counter_that_goes_back_has_a_negative_rate() {
        let span = Span { from: anchor(2_501_000, 500), to: anchor(1_000, 1_000_500) };
        assert_eq!(span.ticks_per_ns(), -2.5);
    }

    #[test]
    fn a_cpu_off_the_line_is_skewed_beyond_its_bracket() {
        let line = Span { from: anchor(10_000, 0), to: anchor(12_000, 1_000) };
        assert_eq!(line.skew_ns(anchor(14_000, 2_000)), 0.0);
        assert_eq!(line.skew_ns(anchor(14_000, 2_050)), 0.0);
        assert_eq!(line.skew_ns(anchor(16_000, 2_000)), 940.0);
        assert_eq!(line.skew_ns(anchor(0, 2_000)), 6_940.0);
    }

    #[test]
    fn comparing_cpus_leaves_the_callers_affinity_alone() {
        let Some(tsc) = TscClock::of_host() else { return };
        let before = sched_getaffinity(None).expect("the caller's own affinity can be read");
        let trial = Trial::run(tsc, Trust::Check);
        let after = sched_getaffinity(None).expect("the caller's own affinity can be read");
        assert_eq!(before, after);
        let cpus = (0..CpuSet::MAX_CPU).filter(|&cpu| before.is_set(cpu)).count();
        assert_eq!(trial.check.skew_ns.is_some(), cpus > 1);
    }
}
