//! The model of a report, which is also its JSON. Every figure has its unit in its key.

use std::collections::BTreeMap;
use std::fmt;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::client::bench::{Cell, Outcome};
use crate::client::host::placement::Placement;
use crate::client::host::{Environment, Snapshot};
use crate::client::judge::warnings::{Grade, Warning, with_text};
use crate::client::measure::{Trial, histogram};
use crate::client::stats::{
    CONFIDENCE, Drift, Interval, Outliers, Statistic, Summary, drift, median_interval,
};
use crate::diagnostics::error_chain;
use crate::protocol::{Usage, Wait};
use crate::transports::Pace;
use crate::transports::sys::clock::Calibration;
use crate::units::latency;

/// The version of the JSON's layout. Keys are added without a new version; a change of what is there is a new one.
pub(crate) const SCHEMA: u32 = 1;

/// The results of a run of `bench`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: u32,
    /// When the run began, in seconds since 1970.
    pub started_unix_s: u64,
    /// How long all of it took.
    pub times: Times,
    /// What was asked for.
    pub settings: Settings,
    /// The clock.
    pub clock: Clock,
    /// The host.
    pub environment: Environment,
    /// The host before the first trial.
    pub at_start: Snapshot,
    /// The host after the last trial.
    pub at_end: Snapshot,
    /// The cells, in the order in which they were asked for. Left out of the last line of a stream, where
    /// they come before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub results: Vec<CellReport>,
    /// The cells of each size against the fastest one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ranking: Vec<Ranking>,
    /// Warnings about all cells.
    #[serde(serialize_with = "with_text")]
    pub warnings: Vec<Warning>,
    /// How far the results can be trusted: the grade of the worst cell.
    pub grade: Grade,
    /// The UUIDs of the runs that this is the sum of; none if it is one run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub summed_runs: Vec<String>,
}

/// The cells of one size that have a result, the fastest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ranking {
    /// Bytes carried each way in a round.
    pub size_bytes: u64,
    /// The cells.
    pub cells: Vec<Ranked>,
}

/// A cell's place among those of its size.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ranked {
    /// Its name.
    pub cell: String,
    /// Against the fastest; `None` for the fastest itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to_fastest: Option<Ratio>,
}

/// How many times as long a round takes in one cell as in another.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Ratio {
    /// The median over trials of the ratio of their medians.
    pub times: f64,
    /// Its 95 % confidence interval; none for a single trial.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) confidence_95: Option<Interval>,
    /// Whether the interval includes 1, so that neither is known to be faster.
    pub tie: bool,
}

/// Where the time of a run went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Times {
    /// From the program's start to its report.
    pub total_ns: u64,
    /// Finding or starting the daemon.
    pub daemon_ns: u64,
    /// Waiting in the queue for the lease.
    pub queue_ns: u64,
    /// Calibrating the clock.
    pub clock_ns: u64,
    /// Looking at the host.
    pub environment_ns: u64,
    /// Opening and closing channels.
    pub channels_ns: u64,
    /// Warm-ups.
    pub warmup_ns: u64,
    /// The rounds that count.
    pub rounds_ns: u64,
}

/// What was asked for, for all cells.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// The command line, without the program's name.
    pub arguments: Vec<String>,
    /// The flags of its profile, if it named one, as if given behind the command's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile_flags: Option<Vec<String>>,
    /// Trials of each cell.
    pub trials: u32,
    /// Rounds of a trial, if that ends it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rounds: Option<u64>,
    /// Time of a trial, if that ends it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_ns: Option<u64>,
    /// The most rounds of a warm-up, if that limits it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warmup_rounds: Option<u64>,
    /// The most time of a warm-up, if that limits it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warmup_ns: Option<u64>,
    /// `round`, `batch:K` or `auto`.
    pub timing: String,
    /// The half width of the median's confidence interval that was asked for, as a fraction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub precision_fraction: Option<f64>,
    /// Whether a private daemon was started.
    pub private_daemon: bool,
    /// How pongs were verified.
    pub verification: String,
}

/// The clock.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Clock {
    /// `tsc` or `monotonic`.
    pub source: String,
    /// Why this one.
    pub reason: String,
    /// What reading it takes.
    pub cost_ns: f64,
    /// Its smallest step.
    pub resolution_ns: f64,
    /// Its ticks a second.
    pub frequency_hz: f64,
    /// How far that may be off, in millionths.
    pub uncertainty_ppm: f64,
}

impl From<&Calibration> for Clock {
    fn from(calibration: &Calibration) -> Self {
        Self {
            source: calibration.source.to_string(),
            reason: calibration.reason.to_string(),
            cost_ns: calibration.cost_ns(),
            resolution_ns: calibration.resolution_ns(),
            frequency_hz: calibration.frequency_hz,
            uncertainty_ppm: calibration.uncertainty_ppm,
        }
    }
}

/// One cell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CellReport {
    /// [`cell_name`].
    pub cell: String,
    /// The mechanism.
    pub method: String,
    /// The options that were named, and those that distinguish cells.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, String>,
    /// Bytes carried each way in a round.
    pub size_bytes: u64,
    /// How either side waited.
    pub wait: Wait,
    /// How far apart the CPUs are.
    pub placement: Placement,
    /// The CPU that the client was pinned to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_cpu: Option<u32>,
    /// The CPU that the responder was pinned to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_cpu: Option<u32>,
    /// Idle time before each round.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gap_ns: Option<u64>,
    /// Time from one round's intended start to the next one's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval_ns: Option<u64>,
    /// Channels that were open at once, each with its own client thread and responder.
    #[serde(default = "one")]
    pub parallel: u32,
    /// Rounds completed, in all trials, over all channels.
    pub rounds: u64,
    /// Datagrams lost, in all trials.
    pub lost: u64,
    /// Time of those rounds, gaps and losses included; with several channels, from the first one's start to the last
    /// one's end.
    pub elapsed_ns: f64,
    /// The latency of a round trip.
    pub latency_ns: Latency,
    /// 95 % confidence intervals, over trials; none for a single trial.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confidence_95_ns: Option<Quantiles<Span>>,
    /// The mean without the cost of timing each round.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probe: Option<ProbeReport>,
    /// The longest time that is in no round's latency, if there was one of a second or more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub longest_gap: Option<LongestGap>,
    /// With a fixed rate: the time from each round's intended start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_ns: Option<Latency>,
    /// What the trials' courses have in common. (In older reports: over all trials, one after the other.)
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drift: Option<Drift>,
    /// Over the medians of six or more trials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drift_over_trials: Option<Drift>,
    /// Rounds far above the others.
    pub outliers: Outliers,
    /// What a round cost.
    pub cost_per_round: Costs,
    /// The half width reached of the median's confidence interval, as a fraction, if a precision was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub precision_reached_fraction: Option<f64>,
    /// The trials, in their order.
    pub trials: Vec<TrialReport>,
    /// Why the cell's trials ended early.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Warnings about this cell, in addition to the run's.
    #[serde(serialize_with = "with_text")]
    pub warnings: Vec<Warning>,
    /// How far the cell can be trusted, the run's warnings included.
    pub grade: Grade,
    /// The histogram of all trials, in picoseconds: for the formats that hold it.
    #[serde(skip, default = "histogram")]
    pub histogram: Histogram<u64>,
    /// The same of `response_ns`.
    #[serde(skip)]
    pub response_histogram: Option<Histogram<u64>>,
}

/// A long time that is in no round's latency: a block of rounds that was timed as a whole, or what lay between two
/// rounds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LongestGap {
    /// How long it was.
    pub elapsed_ns: f64,
    /// How many rounds the block had; 0 between two rounds.
    pub rounds: u64,
}

/// What timing each round costs, found by timing as many as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ProbeReport {
    /// Mean of rounds timed as a whole.
    pub untimed_mean_ns: f64,
    /// How many those were.
    pub untimed_rounds: u64,
    /// By how much the mean of rounds timed one by one is above that.
    pub effect_ns: f64,
}

/// One trial.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrialReport {
    /// Rounds completed.
    pub rounds: u64,
    /// Time of those rounds.
    pub elapsed_ns: f64,
    /// Datagrams lost.
    pub lost: u64,
    /// Latencies.
    pub latency_ns: Latency,
    /// Rounds of the warm-up.
    pub warmup_rounds: u64,
    /// Time of the warm-up.
    pub warmup_ns: u64,
    /// CPUs on which the client was seen.
    pub client_cpus: Vec<u32>,
    /// CPUs on which the responder was seen.
    pub server_cpus: Vec<u32>,
}

/// Histograms hold picoseconds.
pub(in crate::client) const PS_PER_NS: f64 = 1000.0;

/// The latency of a round trip. A quantile with fewer than ten samples beyond it is `null`.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Latency {
    /// How many samples there are: rounds timed one by one, or batches.
    pub samples: u64,
    /// The shortest.
    pub min: Option<f64>,
    /// The median.
    pub p50: Option<f64>,
    /// 90 % are not longer.
    pub p90: Option<f64>,
    /// 99 % are not longer.
    pub p99: Option<f64>,
    /// 99.9 % are not longer.
    pub p99_9: Option<f64>,
    /// 99.99 % are not longer.
    pub p99_99: Option<f64>,
    /// The longest.
    pub max: Option<f64>,
    /// The arithmetic mean.
    pub mean: Option<f64>,
}

impl Latency {
    /// The statistics of a histogram in picoseconds.
    #[must_use]
    pub(crate) fn of(histogram: &Histogram<u64>) -> Self {
        let Some(summary) = Summary::of(histogram) else { return Self::default() };
        let ns = |ps: u64| ps as f64 / PS_PER_NS;
        Self {
            samples: summary.count,
            min: Some(ns(summary.min)),
            p50: summary.p50.map(ns),
            p90: summary.p90.map(ns),
            p99: summary.p99.map(ns),
            p99_9: summary.p99_9.map(ns),
            p99_99: summary.p99_99.map(ns),
            max: Some(ns(summary.max)),
            mean: Some(summary.mean / PS_PER_NS),
        }
    }

    /// One of the statistics.
    #[must_use]
    pub(crate) fn get(&self, statistic: Statistic) -> Option<f64> {
        match statistic {
            Statistic::Min => self.min,
            Statistic::P50 => self.p50,
            Statistic::P90 => self.p90,
            Statistic::P99 => self.p99,
            Statistic::P99_9 => self.p99_9,
            Statistic::P99_99 => self.p99_99,
            Statistic::Max => self.max,
            Statistic::Mean => self.mean,
        }
    }

    /// The statistics with their names, in the order of a report.
    #[must_use]
    pub(crate) fn named(&self) -> [(&'static str, Option<f64>); 8] {
        Statistic::ALL.map(|statistic| (statistic.label(), self.get(statistic)))
    }
}

/// Something for each statistic that has it.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Quantiles<T> {
    /// For the median.
    pub p50: Option<T>,
    /// For the 90 % quantile.
    pub p90: Option<T>,
    /// For the 99 % quantile.
    pub p99: Option<T>,
    /// For the 99.9 % quantile.
    pub p99_9: Option<T>,
    /// For the mean.
    pub mean: Option<T>,
}

/// An interval of latencies. Shown with its unit once if one is enough: `11.2 to 12.4 µs`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Span {
    /// Its lower end.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (low, high) = (latency(self.low), latency(self.high));
        match (low.split_once(' '), high.split_once(' ')) {
            (Some((number, unit)), Some((_, other))) if unit == other => write!(f, "{number} to {high}"),
            _ => write!(f, "{low} to {high}"),
        }
    }
}

/// What a round cost, on both sides.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Costs {
    /// The client.
    pub client: Cost,
    /// The responder.
    pub server: Cost,
}

/// What a round cost a process, by the kernel's accounting.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Cost {
    /// CPU time.
    pub cpu_ns: f64,
    /// Context switches because it waited.
    pub voluntary_switches: f64,
    /// Context switches because its time was up.
    pub involuntary_switches: f64,
    /// Page faults without I/O.
    pub minor_faults: f64,
    /// Page faults with I/O.
    pub major_faults: f64,
    /// Moves from CPU to CPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub migrations: Option<f64>,
}

impl Cost {
    /// A process's usage, spread over its rounds.
    #[must_use]
    pub(crate) fn of(usage: &Usage, rounds: u64) -> Self {
        let each = |n: u64| if rounds == 0 { 0.0 } else { n as f64 / rounds as f64 };
        Self {
            cpu_ns: each(usage.cpu_ns),
            voluntary_switches: each(usage.voluntary_switches),
            involuntary_switches: each(usage.involuntary_switches),
            minor_faults: each(usage.minor_faults),
            major_faults: each(usage.major_faults),
            migrations: usage.migrations.map(each),
        }
    }
}

/// The default of `parallel`, which older reports lack.
fn one() -> u32 {
    1
}

/// A cell's name: all that distinguishes it from others of the run, without spaces and commas. It is the tag of its lines
/// in an HdrHistogram log.
#[must_use]
pub(crate) fn cell_name(cell: &Cell) -> String {
    let mut parts = vec![cell.spec.method.clone()];
    parts.extend(cell.spec.options.iter().map(|(name, value)| format!("{name}={value}")));
    parts.push(format!("{}B", cell.spec.size_bytes));
    parts.push(cell.wait.name().to_owned());
    parts.push(cell.placement.name().to_owned());
    parts.extend(cell.client_cpu.map(|cpu| format!("client={cpu}")));
    parts.extend(cell.spec.server_cpu.map(|cpu| format!("server={cpu}")));
    parts.extend(cell.pace.map(|pace| match pace {
        Pace::Gap(gap) => format!("gap={}ns", gap.as_nanos()),
        Pace::Every(interval) => format!("every={}ns", interval.as_nanos()),
    }));
    parts.extend((cell.parallel > 1).then(|| format!("parallel={}", cell.parallel)));
    parts.join(":").replace([' ', ',', '\n', '\r'], "_")
}

impl CellReport {
    /// The report of a cell's outcome.
    #[must_use]
    pub(crate) fn of(outcome: &Outcome) -> Self {
        let cell = &outcome.cell;
        let trials = &outcome.trials;
        let mut all = histogram();
        let mut response = trials.iter().any(|trial| trial.response.is_some()).then(histogram);
        for trial in trials {
            // The bounds are the same in all of them, so that it cannot fail.
            let _ = all.add(&trial.recorder.histogram);
            if let (Some(all), Some(one)) = (&mut response, &trial.response) {
                let _ = all.add(one);
            }
        }
        let rounds = trials.iter().map(|trial| trial.rounds).sum();
        let latency = Latency::of(&all);
        let usage = |side: fn(&Trial) -> &Usage| {
            Cost::of(
                &trials
                    .iter()
                    .map(side)
                    .fold(Usage { migrations: Some(0), ..Usage::default() }, |a, b| a.plus(b)),
                rounds,
            )
        };
        let as_ns = |duration: std::time::Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let latencies: Vec<_> = trials.iter().map(|trial| Latency::of(&trial.recorder.histogram)).collect();
        let courses: Vec<_> = trials.iter().map(|trial| trial.recorder.series()).collect();
        let medians: Vec<f64> = latencies.iter().filter_map(|latency| latency.p50).collect();
        Self {
            cell: cell_name(cell),
            method: cell.spec.method.clone(),
            options: cell.spec.options.clone(),
            size_bytes: cell.spec.size_bytes.into(),
            wait: cell.wait,
            placement: cell.placement,
            client_cpu: cell.client_cpu,
            server_cpu: cell.spec.server_cpu,
            gap_ns: match cell.pace {
                Some(Pace::Gap(gap)) => Some(as_ns(gap)),
                _ => None,
            },
            interval_ns: match cell.pace {
                Some(Pace::Every(interval)) => Some(as_ns(interval)),
                _ => None,
            },
            parallel: cell.parallel,
            rounds,
            lost: trials.iter().map(|trial| trial.lost).sum(),
            elapsed_ns: trials
                .iter()
                .map(|trial| trial.elapsed_ps as f64 / PS_PER_NS)
                .fold(0.0, |sum, one| sum + one),
            latency_ns: latency,
            confidence_95_ns: confidence(&latencies),
            probe: probe(trials, &latency),
            longest_gap: trials.iter().filter_map(|trial| trial.longest_gap).max().map(|block| LongestGap {
                elapsed_ns: block.elapsed_ps as f64 / PS_PER_NS,
                rounds: block.rounds,
            }),
            response_ns: response.as_ref().map(Latency::of),
            drift: drift(&courses),
            drift_over_trials: (medians.len() >= FEWEST_FOR_DRIFT).then(|| drift(&[medians])).flatten(),
            outliers: Outliers::of(&all),
            cost_per_round: Costs {
                client: usage(|trial| &trial.client_usage),
                server: usage(|trial| &trial.server_usage),
            },
            precision_reached_fraction: outcome.precision_reached,
            trials: trials.iter().map(TrialReport::of).collect(),
            error: outcome.error.as_ref().map(|error| error_chain(error)),
            // Until the whole report is judged.
            warnings: Vec::new(),
            grade: Grade::F,
            histogram: all,
            response_histogram: response,
        }
    }
}

impl TrialReport {
    fn of(trial: &Trial) -> Self {
        Self {
            rounds: trial.rounds,
            elapsed_ns: trial.elapsed_ps as f64 / PS_PER_NS,
            lost: trial.lost,
            latency_ns: Latency::of(&trial.recorder.histogram),
            warmup_rounds: trial.warmup_rounds,
            warmup_ns: u64::try_from(trial.warmup_time.as_nanos()).unwrap_or(u64::MAX),
            client_cpus: trial.cpus.client.clone(),
            server_cpus: trial.cpus.server.clone(),
        }
    }
}

/// Intervals over trials, not over rounds, which depend on each other. Few trials that lie apart give a wide one, which
/// begins no lower than the shortest round of all.
pub(in crate::client) fn confidence(latencies: &[Latency]) -> Option<Quantiles<Span>> {
    const { assert!(CONFIDENCE == 0.95, "the key says so") };
    let shortest = latencies.iter().filter_map(|latency| latency.min).fold(f64::INFINITY, f64::min);
    let interval = |statistic: fn(&Latency) -> Option<f64>| {
        let values: Option<Vec<f64>> = latencies.iter().map(statistic).collect();
        let interval = median_interval(&values?)?;
        Some(Span { low: interval.low.max(shortest), high: interval.high })
    };
    (latencies.len() > 1).then(|| Quantiles {
        p50: interval(|latency| latency.p50),
        p90: interval(|latency| latency.p90),
        p99: interval(|latency| latency.p99),
        p99_9: interval(|latency| latency.p99_9),
        mean: interval(|latency| latency.mean),
    })
}

/// The fewest trials whose medians can show a trend with p < 0.01.
const FEWEST_FOR_DRIFT: usize = 6;

fn probe(trials: &[Trial], latency: &Latency) -> Option<ProbeReport> {
    let probes = || trials.iter().filter_map(|trial| trial.probe);
    let untimed_rounds: u64 = probes().map(|probe| probe.untimed_rounds).sum();
    let sum_ps: f64 = probes().map(|probe| probe.untimed_mean_ps * probe.untimed_rounds as f64).sum();
    let untimed_mean_ns = sum_ps / untimed_rounds as f64 / PS_PER_NS;
    let timed = latency.mean?;
    (untimed_rounds > 0).then_some(ProbeReport {
        untimed_mean_ns,
        untimed_rounds,
        effect_ns: timed - untimed_mean_ns,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_interval_begins_below_the_shortest_round() {
        let trial =
            |p99| Latency { min: Some(800.0), p50: Some(1_000.0), p99: Some(p99), ..Latency::default() };
        let intervals = confidence(&[trial(1_500.0), trial(9_000.0)]).unwrap();
        assert_eq!(intervals.p99.unwrap().low, 800.0);
        assert_eq!(intervals.p50.unwrap().low, 1_000.0, "trials that agree are as narrow as ever");
        assert!(intervals.p90.is_none());
    }
}
