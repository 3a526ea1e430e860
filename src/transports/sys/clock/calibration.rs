//! Calibration of the timed loop's clock: the choice and its reason, the rate, and the cost of a read.

use std::{fmt, hint, thread};

use serde::{Serialize, Serializer};

use super::super::Affinity;
use super::trust::{Check, HostFacts, Trust, TscRefusal};
use super::{Clock, ClockChoice, ClockSource, MonotonicClock, Scale, TscClock};

/// Why a clock was chosen.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Reason {
    /// The user asked for it.
    Requested,
    /// The counter has a constant rate, and is the kernel's clock source.
    KernelUsesTsc,
    /// The counter has a constant rate, and agrees with `CLOCK_MONOTONIC`, which has another clock source.
    TscAgrees,
    /// The counter cannot be trusted, so `CLOCK_MONOTONIC` is used.
    TscRefused(TscRefusal),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Requested => f.write_str("asked for"),
            Self::KernelUsesTsc => f.write_str("constant rate, and the kernel's own clock source"),
            Self::TscAgrees => f.write_str("constant rate, and agrees with CLOCK_MONOTONIC"),
            Self::TscRefused(refusal) => write!(f, "tsc not used: {refusal}"),
        }
    }
}

/// The cost of reading a clock, measured back to back.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct ReadCost {
    /// One read, in nanoseconds: median over batches of the mean in a batch.
    pub(crate) cost_ns: f64,
    /// Smallest non-zero difference between two successive reads, in nanoseconds: the counter's step or the
    /// cost of a read, whichever is larger. Zero if the clock never moved.
    pub(crate) resolution_ns: f64,
}

impl ReadCost {
    /// The cost is a mean over a batch, not a single difference: a counter may advance in steps of half a read.
    const BATCHES: usize = 31;
    const READS_IN_BATCH: u64 = 32;

    /// Measures on the caller's CPU: about a thousand reads.
    fn measure(clock: impl Clock, scale: Scale) -> Self {
        let mut batches = [0; Self::BATCHES];
        let mut smallest = u64::MAX;
        for batch in &mut batches {
            let first = clock.now();
            let mut last = first;
            for _ in 0..Self::READS_IN_BATCH {
                let now = clock.now();
                if now > last {
                    smallest = smallest.min(now - last);
                }
                last = now;
            }
            *batch = last.saturating_sub(first);
        }
        batches.sort_unstable();
        let median = batches[Self::BATCHES / 2];
        let moved = smallest != u64::MAX;
        Self {
            cost_ns: scale.to_ns(median) / Self::READS_IN_BATCH as f64,
            resolution_ns: if moved { scale.to_ns(smallest) } else { 0.0 },
        }
    }
}

/// A run's clock and what is known about it. Serialized for reports, without the working state.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Calibration {
    /// The clock to read; serialized as `tsc` or `monotonic`.
    #[serde(serialize_with = "as_text")]
    pub(crate) source: ClockSource,
    /// Why it was chosen; serialized as a sentence.
    #[serde(serialize_with = "as_text")]
    pub(crate) reason: Reason,
    /// Ticks per second.
    pub(crate) frequency_hz: f64,
    /// Ticks per nanosecond.
    pub(crate) ticks_per_ns: f64,
    /// Uncertainty of the frequency, in parts per million.
    pub(crate) uncertainty_ppm: f64,
    /// Difference between the frequencies of the calibration's two halves, in parts per million.
    pub(crate) drift_ppm: f64,
    /// The counter's frequency as the processor or hypervisor states it, in Hz, for comparison; few do.
    pub(crate) stated_hz: Option<f64>,
    /// The cost of reading the time stamp counter; `None` if it is not used.
    pub(crate) tsc: Option<ReadCost>,
    /// The cost of reading `CLOCK_MONOTONIC`.
    pub(crate) monotonic: ReadCost,
    #[serde(skip)]
    scale: Scale,
}

impl Calibration {
    /// Chooses the clock and calibrates it. Takes 1.5 ms, mostly spinning, and a few more where the kernel has
    /// another clock source, so that CPUs are compared, and these are busy. Pin the thread first: costs are
    /// those of its CPU, and the CPUs compared are those it may run on.
    ///
    /// # Errors
    /// The counter was asked for by name and cannot be trusted; other choices always succeed.
    pub(crate) fn run(choice: ClockChoice) -> Result<Self, TscRefusal> {
        match choice {
            ClockChoice::Monotonic => Ok(Self::monotonic(Reason::Requested)),
            ClockChoice::Tsc => Ok(Self { reason: Reason::Requested, ..Self::tsc(&HostFacts::read())? }),
            ClockChoice::Auto => Ok(Self::tsc_or_monotonic(&HostFacts::read())),
        }
    }

    fn tsc_or_monotonic(host: &HostFacts) -> Self {
        Self::tsc(host).unwrap_or_else(|refusal| Self::monotonic(Reason::TscRefused(refusal)))
    }

    fn tsc(host: &HostFacts) -> Result<Self, TscRefusal> {
        let trust = host.trust()?;
        let tsc = TscClock::of_host().ok_or(TscRefusal::NotInvariant)?;
        let trial = Trial::run(tsc, trust);
        trial.check.verdict()?;
        let scale = Scale::new(trial.span.ticks_per_ns());
        Ok(Self {
            source: ClockSource::Tsc(tsc),
            reason: match trust {
                Trust::Kernel => Reason::KernelUsesTsc,
                Trust::Check => Reason::TscAgrees,
            },
            frequency_hz: scale.ticks_per_ns() * 1e9,
            ticks_per_ns: scale.ticks_per_ns(),
            uncertainty_ppm: trial.span.uncertainty_ppm(),
            drift_ppm: trial.check.change_ppm,
            stated_hz: host.stated_hz,
            tsc: Some(trial.tsc_cost),
            monotonic: trial.monotonic_cost,
            scale,
        })
    }

    fn monotonic(reason: Reason) -> Self {
        Self {
            source: ClockSource::Monotonic(MonotonicClock),
            reason,
            frequency_hz: 1e9,
            ticks_per_ns: 1.0,
            uncertainty_ppm: 0.0,
            drift_ppm: 0.0,
            stated_hz: None,
            tsc: None,
            monotonic: ReadCost::measure(MonotonicClock, Scale::NANOSECONDS),
            scale: Scale::NANOSECONDS,
        }
    }

    /// The length of a tick.
    pub(crate) fn scale(&self) -> Scale {
        self.scale
    }

    /// Converts ticks to nanoseconds.
    pub(crate) fn to_ns(&self, ticks: u64) -> f64 {
        self.scale.to_ns(ticks)
    }

    /// Converts ticks to picoseconds; see [`Scale::to_ps`].
    pub(crate) fn to_ps(&self, ticks: u64) -> u64 {
        self.scale.to_ps(ticks)
    }

    /// The cost of reading the chosen clock, in nanoseconds.
    pub(crate) fn cost_ns(&self) -> f64 {
        self.read_cost().cost_ns
    }

    /// The smallest difference that the chosen clock shows, in nanoseconds.
    pub(crate) fn resolution_ns(&self) -> f64 {
        self.read_cost().resolution_ns
    }

    fn read_cost(&self) -> ReadCost {
        match (self.source, self.tsc) {
            (ClockSource::Tsc(_), Some(cost)) => cost,
            _ => self.monotonic,
        }
    }
}

/// Serializes a value as it is displayed.
fn as_text<S: Serializer>(value: &impl fmt::Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

/// Half of a trial's duration. Two halves of 0.7 ms and a bracket of 60 ns give the rate within 50 ppm.
const HALF_NS: u64 = 700_000;

/// Brackets tried for one anchor. The first ones meet cold caches, and interrupts spoil a few.
const BRACKETS: usize = 64;

/// Most CPUs compared, spread over those allowed. Moving takes tens of microseconds, longer to a busy CPU.
const MAX_CPUS: usize = 16;

/// One instant, read from both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Anchor {
    ticks: u64,
    /// Middle of the bracket.
    ns: u64,
    /// Between the `CLOCK_MONOTONIC` reads on either side of the counter's.
    width_ns: u64,
}

impl Anchor {
    /// The tightest of many brackets.
    fn take(tsc: TscClock) -> Self {
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
struct Span {
    from: Anchor,
    to: Anchor,
}

impl Span {
    fn elapsed_ns(self) -> f64 {
        (self.to.ns - self.from.ns) as f64
    }

    /// The counter's rate over the span; negative if it went back.
    fn ticks_per_ns(self) -> f64 {
        signed_difference(self.to.ticks, self.from.ticks) / self.elapsed_ns()
    }

    /// Uncertainty of the rate, if the counter was read at either edge of both brackets.
    fn uncertainty_ppm(self) -> f64 {
        (self.from.width_ns + self.to.width_ns) as f64 / 2.0 / self.elapsed_ns() * 1e6
    }

    /// Distance of an anchor from the line through the span, beyond what its bracket explains.
    fn skew_ns(self, anchor: Anchor) -> f64 {
        let by_ticks = signed_difference(anchor.ticks, self.from.ticks) / self.ticks_per_ns();
        let by_clock = signed_difference(anchor.ns, self.from.ns);
        ((by_ticks - by_clock).abs() - anchor.width_ns as f64).max(0.0)
    }
}

/// `later - earlier`, negative if the counter went back.
fn signed_difference(later: u64, earlier: u64) -> f64 {
    later.wrapping_sub(earlier) as i64 as f64
}

/// The time stamp counter measured against `CLOCK_MONOTONIC` for 1.5 ms: its rate, whether that is steady, and whether
/// all CPUs share one counter.
#[derive(Debug, Clone, Copy)]
struct Trial {
    span: Span,
    check: Check,
    tsc_cost: ReadCost,
    monotonic_cost: ReadCost,
}

impl Trial {
    /// Takes anchors at the start, the middle and the end; the other measurements fill the time between.
    fn run(tsc: TscClock, trust: Trust) -> Self {
        let start = Anchor::take(tsc);
        let monotonic_cost = ReadCost::measure(MonotonicClock, Scale::NANOSECONDS);
        spin_until(start.ns + HALF_NS);

        let middle = Anchor::take(tsc);
        let first = Span { from: start, to: middle };
        let tsc_cost = ReadCost::measure(tsc, Scale::new(first.ticks_per_ns()));
        let skew_ns = match trust {
            // Moving from CPU to CPU would show less than the kernel has seen.
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

/// Difference between two rates, in parts per million of the first.
fn difference_ppm(rate: f64, other: f64) -> f64 {
    (other / rate - 1.0).abs() * 1e6
}

/// Spins: a sleep would let the processor enter a sleep state just before the measurement.
fn spin_until(ns: u64) {
    while MonotonicClock.now() < ns {
        hint::spin_loop();
    }
}

/// The largest skew between the CPUs that the caller may run on; `None` if there is only one, or if they cannot be
/// visited.
fn compare_cpus(tsc: TscClock, line: Span) -> Option<f64> {
    let cpus: Vec<u32> = Affinity::of_thread().ok()?.cpus().collect();
    if cpus.len() < 2 {
        return None;
    }
    let visit = |&cpu: &u32| {
        Affinity::only(cpu).apply().ok()?;
        Some(line.skew_ns(Anchor::take(tsc)))
    };
    let tour = || cpus.iter().step_by(cpus.len().div_ceil(MAX_CPUS)).filter_map(visit).reduce(f64::max);
    // In another thread, which leaves the caller's affinity alone.
    thread::scope(|scope| thread::Builder::new().spawn_scoped(scope, tour).ok()?.join().ok()?)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn untrusted() -> HostFacts {
        HostFacts { invariant_tsc: false, ..HostFacts::read() }
    }

    /// Ticks over 50 ms, in time, over what `Instant` says.
    fn ratio_to_instant(clock: impl Clock, calibration: &Calibration) -> f64 {
        let instant = Instant::now();
        let start = clock.now();
        while instant.elapsed() < Duration::from_millis(50) {}
        let ticks = clock.now() - start;
        let elapsed = instant.elapsed();
        calibration.to_ns(ticks) / elapsed.as_nanos() as f64
    }

    #[test]
    fn calibrated_time_agrees_with_instant_within_500_ppm() {
        for choice in [ClockChoice::Auto, ClockChoice::Monotonic] {
            let calibration = Calibration::run(choice).expect("neither is ever refused");
            let error = || match calibration.source {
                ClockSource::Tsc(clock) => (ratio_to_instant(clock, &calibration) - 1.0).abs(),
                ClockSource::Monotonic(clock) => (ratio_to_instant(clock, &calibration) - 1.0).abs(),
            };
            // Losing the processor between the reads of the two clocks spoils one attempt.
            assert!((0..3).any(|_| error() < 500e-6), "last error {} by {}", error(), calibration.source);
        }
    }

    #[test]
    fn an_untrusted_tsc_that_was_asked_for_is_an_error_with_the_reason() {
        let refusal = Calibration::tsc(&untrusted()).expect_err("it is not invariant");
        assert_eq!(refusal, TscRefusal::NotInvariant);
    }

    #[test]
    fn auto_falls_back_and_gives_the_reason() {
        let calibration = Calibration::tsc_or_monotonic(&untrusted());
        assert!(matches!(calibration.source, ClockSource::Monotonic(_)));
        assert_eq!(calibration.reason, Reason::TscRefused(TscRefusal::NotInvariant));
        assert_eq!(calibration.cost_ns(), calibration.monotonic.cost_ns);
        assert_eq!((calibration.frequency_hz, calibration.tsc), (1e9, None));
    }

    #[test]
    fn a_read_costs_something() {
        let calibration = Calibration::run(ClockChoice::Monotonic).expect("it is always available");
        assert!(calibration.cost_ns() > 0.0);
        assert!(calibration.resolution_ns() > 0.0);
    }

    #[test]
    fn a_report_names_the_clock_and_the_reason() {
        let calibration = Calibration::run(ClockChoice::Monotonic).expect("it is always available");
        let report = serde_json::to_value(&calibration).expect("plain values serialize");
        assert_eq!(report["source"], "monotonic");
        assert_eq!(report["reason"], "asked for");
        assert!(report["monotonic"]["cost_ns"].is_number());
        assert!(report.get("scale").is_none());
    }

    fn anchor(ticks: u64, ns: u64) -> Anchor {
        Anchor { ticks, ns, width_ns: 60 }
    }

    #[test]
    fn a_rate_is_ticks_over_time_with_the_uncertainty_of_its_brackets() {
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
    fn the_skew_of_a_cpu_excludes_its_bracket() {
        let line = Span { from: anchor(10_000, 0), to: anchor(12_000, 1_000) };
        assert_eq!(line.skew_ns(anchor(14_000, 2_000)), 0.0);
        assert_eq!(line.skew_ns(anchor(14_000, 2_050)), 0.0);
        assert_eq!(line.skew_ns(anchor(16_000, 2_000)), 940.0);
        assert_eq!(line.skew_ns(anchor(0, 2_000)), 6_940.0);
    }

    #[test]
    fn comparing_cpus_leaves_the_callers_affinity_alone() {
        let Some(tsc) = TscClock::of_host() else { return };
        let before = Affinity::of_thread().expect("the caller's own affinity can be read");
        let trial = Trial::run(tsc, Trust::Check);
        let after = Affinity::of_thread().expect("the caller's own affinity can be read");
        assert_eq!(before, after);
        assert_eq!(trial.check.skew_ns.is_some(), before.cpus().count() > 1);
    }
}
