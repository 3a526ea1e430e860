//! The calibration of the timed loop's clock: which one, why, its rate, and what a read costs.

use std::fmt;

use serde::{Serialize, Serializer};

use super::host::{HostFacts, Trust, TscRefusal, judge};
use super::trial::Trial;
use super::{Clock, ClockChoice, ClockSource, MonotonicClock, Scale, TscClock};

/// Why a clock was taken.
#[derive(Debug, Clone, PartialEq)]
pub enum Reason {
    /// The user named it.
    Requested,
    /// The counter has a constant rate, and the kernel keeps its own time by it.
    KernelUsesTsc,
    /// The counter has a constant rate, and agrees with `CLOCK_MONOTONIC`, which the kernel keeps otherwise.
    TscAgrees,
    /// The counter cannot be trusted, so `CLOCK_MONOTONIC` it is.
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

/// What reading a clock back to back shows.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ReadCost {
    /// One read, in nanoseconds: median over batches of the mean in a batch.
    pub cost_ns: f64,
    /// Smallest difference other than zero between two successive reads, in nanoseconds: the counter's step
    /// or the cost of a read, whichever is larger. Zero if the clock never moved.
    pub resolution_ns: f64,
}

impl ReadCost {
    /// Means of batches and not single differences: a counter may advance in steps of half a read.
    const BATCHES: usize = 31;
    const READS_IN_BATCH: u64 = 32;

    /// Measures on the CPU where the caller runs: about a thousand reads.
    pub(super) fn measure(clock: impl Clock, scale: Scale) -> Self {
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

/// The clock of a run and what is known about it. Serialized for reports, without the working state.
#[derive(Debug, Clone, Serialize)]
pub struct Calibration {
    /// The clock to read; serialized as `tsc` or `monotonic`.
    #[serde(serialize_with = "as_text")]
    pub source: ClockSource,
    /// Why this one; serialized as a sentence.
    #[serde(serialize_with = "as_text")]
    pub reason: Reason,
    /// Ticks a second.
    pub frequency_hz: f64,
    /// Ticks a nanosecond.
    pub ticks_per_ns: f64,
    /// How far the frequency can be off, in parts per million.
    pub uncertainty_ppm: f64,
    /// How far the last two estimates of the frequency lie apart, in parts per million: the halves of the
    /// calibration.
    pub drift_ppm: f64,
    /// The frequency of the counter that the processor or hypervisor states, in Hz, for comparison; few do.
    pub stated_hz: Option<f64>,
    /// A read of the time stamp counter; none where it was not calibrated or is not used.
    pub tsc: Option<ReadCost>,
    /// A read of `CLOCK_MONOTONIC`.
    pub monotonic: ReadCost,
    #[serde(skip)]
    scale: Scale,
}

impl Calibration {
    /// Chooses the clock and calibrates it: 1.5 ms, mostly spinning; a few more where the kernel keeps its
    /// time by another clock, so that CPUs are compared, and these are busy. The caller has pinned itself
    /// first, if it will: costs are those of this CPU, and the CPUs compared are those allowed.
    ///
    /// # Errors
    /// The counter was asked for by name and cannot be trusted; the others always succeed.
    pub fn run(choice: ClockChoice) -> Result<Self, TscRefusal> {
        match choice {
            ClockChoice::Monotonic => Ok(Self::monotonic(Reason::Requested)),
            _ => Self::on_host(choice, &HostFacts::read()),
        }
    }

    fn on_host(choice: ClockChoice, host: &HostFacts) -> Result<Self, TscRefusal> {
        match choice {
            ClockChoice::Monotonic => Ok(Self::monotonic(Reason::Requested)),
            ClockChoice::Tsc => Ok(Self { reason: Reason::Requested, ..Self::tsc(host)? }),
            ClockChoice::Auto => {
                Ok(Self::tsc(host).unwrap_or_else(|refusal| Self::monotonic(Reason::TscRefused(refusal))))
            }
        }
    }

    fn tsc(host: &HostFacts) -> Result<Self, TscRefusal> {
        let trust = host.trust()?;
        let tsc = TscClock::of_host().ok_or(TscRefusal::NotInvariant)?;
        let trial = Trial::run(tsc, trust);
        judge(&trial.check)?;
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

    /// What a tick is worth, by the latest estimate.
    pub(crate) fn scale(&self) -> Scale {
        self.scale
    }

    /// Nanoseconds that so many ticks take.
    pub(crate) fn to_ns(&self, ticks: u64) -> f64 {
        self.scale.to_ns(ticks)
    }

    /// Picoseconds that so many ticks take, rounded to nearest; see [`Scale::to_ps`].
    pub(crate) fn to_ps(&self, ticks: u64) -> u64 {
        self.scale.to_ps(ticks)
    }

    /// One read of the chosen clock, in nanoseconds.
    pub(crate) fn cost_ns(&self) -> f64 {
        self.read_cost().cost_ns
    }

    /// The smallest difference that the chosen clock tells, in nanoseconds.
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

/// Serializes what is shown.
fn as_text<S: Serializer>(value: &impl fmt::Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
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
    fn a_request_that_cannot_be_met_is_an_error_with_the_reason() {
        let refusal = Calibration::on_host(ClockChoice::Tsc, &untrusted()).expect_err("it is not invariant");
        assert_eq!(refusal, TscRefusal::NotInvariant);
    }

    #[test]
    fn auto_falls_back_and_tells_the_reason() {
        let calibration =
            Calibration::on_host(ClockChoice::Auto, &untrusted()).expect("auto always finds a clock");
        assert!(matches!(calibration.source, ClockSource::Monotonic(_)));
        assert_eq!(calibration.reason, Reason::TscRefused(TscRefusal::NotInvariant));
        assert_eq!(calibration.cost_ns(), calibration.monotonic.cost_ns);
        assert_eq!((calibration.frequency_hz, calibration.tsc), (1e9, None));
    }

    #[test]
    fn a_read_costs_something() {
        let calibration = Calibration::run(ClockChoice::Monotonic).expect("it is always there");
        assert!(calibration.cost_ns() > 0.0);
        assert!(calibration.resolution_ns() > 0.0);
    }

    #[test]
    fn a_report_names_the_clock_and_the_reason() {
        let calibration = Calibration::run(ClockChoice::Monotonic).expect("it is always there");
        let report = serde_json::to_value(&calibration).expect("plain values serialize");
        assert_eq!(report["source"], "monotonic");
        assert_eq!(report["reason"], "asked for");
        assert!(report["monotonic"]["cost_ns"].is_number());
        assert!(report.get("scale").is_none());
    }
}
