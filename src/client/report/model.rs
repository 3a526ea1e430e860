//! The model of a report, which is also its JSON. Every figure has its unit in its key.

use std::collections::BTreeMap;
use std::fmt;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::client::bench::{Cell, Outcome};
use crate::client::host::placement::Placement;
use crate::client::host::{Environment, Snapshot};
use crate::client::judge::warnings::{Grade, Warning, with_text};
use crate::client::measure::{Trial, WakeUp};
use crate::client::stats::{
    CONFIDENCE, Drift, Interval, Latency, Outliers, PS_PER_NS, Statistic, drift, median_interval,
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
    /// What waking an idle CPU costs, for each pair of CPUs on which both sides of a cell block.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub idle_wake_ups: Vec<WakeUp>,
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
    /// At a fixed rate: rounds a second that were reached, over all channels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub achieved_hz: Option<f64>,
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
    /// What the headline figures are of.
    #[serde(default)]
    pub headline_of: HeadlineOf,
    /// The figures to quote, compare and store: the median over trials of each trial's. See [`Latency::over_trials`].
    #[serde(default)]
    pub headline_ns: Latency,
    /// The latency of a round trip, over the rounds of all trials together.
    pub latency_ns: Latency,
    /// 95 % confidence intervals of the headline figures, over trials; none for a single trial.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confidence_95_ns: Option<Quantiles<Span>>,
    /// The mean without the cost of timing each round.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probe: Option<ProbeReport>,
    /// The longest time that is in no round's latency, if there was one of a second or more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub longest_gap: Option<LongestGap>,
    /// With a fixed rate: the time from each round's intended start, over the rounds of all trials together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_ns: Option<Latency>,
    /// The trend within trials, over all of them. (In older reports: over all trials, one after the other.)
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
    #[serde(skip, default = "no_histogram")]
    pub histogram: Histogram<u64>,
    /// The same of `response_ns`.
    #[serde(skip)]
    pub response_histogram: Option<Histogram<u64>>,
}

/// What the headline figures of a cell are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeadlineOf {
    /// Round trips, timed one by one or in batches.
    #[default]
    RoundTrip,
    /// Times from each round's intended start, at a fixed rate.
    Response,
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
    /// With a fixed rate: the time from each round's intended start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_ns: Option<Latency>,
    /// Rounds of the warm-up.
    pub warmup_rounds: u64,
    /// Time of the warm-up.
    pub warmup_ns: u64,
    /// CPUs on which the client was seen.
    pub client_cpus: Vec<u32>,
    /// CPUs on which the responder was seen.
    pub server_cpus: Vec<u32>,
    /// Whether it was interrupted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub partial: bool,
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

/// A rate is reached if this part of its rounds is made in time.
const REACHED: f64 = 0.95;

/// What a cell has whose histogram was not read with it: 256 bytes, where one with all buckets has 0.3 MiB.
pub(super) fn no_histogram() -> Histogram<u64> {
    Histogram::new_with_max(2, 1).expect("the bounds are valid")
}

/// Buckets of a histogram between a value and its double: each is at most this part of its values wide.
const BUCKETS: f64 = 1024.0;

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
    /// The report of a cell's outcome. `step_ns` is the clock's smallest step.
    #[must_use]
    pub(crate) fn of(outcome: &Outcome, step_ns: f64) -> Self {
        let cell = &outcome.cell;
        let trials = &outcome.trials;
        let rounds = trials.iter().map(|trial| trial.rounds).sum();
        let latency = Latency::of(&outcome.histogram);
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
        let courses: Vec<_> = trials.iter().map(|trial| trial.series.clone()).collect();
        let medians: Vec<f64> = trials.iter().filter_map(|trial| trial.headline().p50).collect();
        let mut cell = Self {
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
            achieved_hz: None,
            parallel: cell.parallel,
            rounds,
            lost: trials.iter().map(|trial| trial.lost).sum(),
            elapsed_ns: trials
                .iter()
                .map(|trial| trial.elapsed_ps as f64 / PS_PER_NS)
                .fold(0.0, |sum, one| sum + one),
            headline_of: HeadlineOf::default(),
            headline_ns: Latency::default(),
            latency_ns: latency,
            confidence_95_ns: None,
            probe: probe(trials, &latency),
            longest_gap: trials.iter().filter_map(|trial| trial.longest_gap).max().map(|block| LongestGap {
                elapsed_ns: block.elapsed_ps as f64 / PS_PER_NS,
                rounds: block.rounds,
            }),
            response_ns: outcome.response_histogram.as_ref().map(Latency::of),
            drift: drift(&courses),
            drift_over_trials: (medians.len() >= FEWEST_FOR_DRIFT).then(|| drift(&[medians])).flatten(),
            outliers: Outliers::of(&outcome.histogram),
            cost_per_round: Costs {
                client: usage(|trial| &trial.client_usage),
                server: usage(|trial| &trial.server_usage),
            },
            precision_reached_fraction: None,
            trials: trials.iter().map(TrialReport::of).collect(),
            error: outcome.error.as_ref().map(|error| error_chain(error)),
            // Until the whole report is judged.
            warnings: Vec::new(),
            grade: Grade::F,
            histogram: outcome.histogram.clone(),
            response_histogram: outcome.response_histogram.clone(),
        };
        if cell.interval_ns.is_some() {
            cell.achieved_hz = (cell.elapsed_ns > 0.0).then(|| cell.rounds as f64 / cell.elapsed_ns * 1e9);
            if cell.misses_its_rate() {
                // They would show how long the trial was, and nothing else.
                (cell.response_ns, cell.response_histogram) = (None, None);
                cell.trials.iter_mut().for_each(|trial| trial.response_ns = None);
            }
        }
        cell.summarize_trials(step_ns);
        cell.precision_reached_fraction = outcome
            .precision_reached
            .map(|reached| cell.half_width().map_or(reached, |half| half.max(reached)));
        cell
    }

    /// Whether the fixed rate was not reached, in half of the trials or more.
    pub(crate) fn misses_its_rate(&self) -> bool {
        let Some(interval_ns) = self.interval_ns else { return false };
        let misses = |trial: &&TrialReport| {
            let rounds = (trial.rounds + trial.lost) as f64 / f64::from(self.parallel);
            // A single stall, even at the end, is not a rate that is too high.
            let steady_ns = trial.elapsed_ns - trial.latency_ns.max.unwrap_or(0.0);
            trial.rounds > 0 && rounds * (interval_ns as f64) < REACHED * steady_ns
        };
        let missed = self.trials.iter().filter(misses).count();
        missed > 0 && 2 * missed >= self.trials.len()
    }

    /// Takes the headline figures and their intervals from the trials.
    pub(crate) fn summarize_trials(&mut self, step_ns: f64) {
        self.confidence_95_ns = confidence(&self.headlines(), step_ns);
    }

    /// Adds the headline figures to a report of an older version. Its intervals are of the same.
    pub(crate) fn complete(&mut self) {
        if self.headline_ns.samples == 0 {
            self.headlines();
        }
    }

    /// Takes the headline figures from the trials, and returns what each contributes.
    fn headlines(&mut self) -> Vec<Latency> {
        let respond = self.trials.iter().all(|trial| trial.response_ns.is_some());
        self.headline_of = match self.response_ns {
            Some(_) if respond => HeadlineOf::Response,
            // Trials of older runs lack response times.
            _ => HeadlineOf::RoundTrip,
        };
        let trials = self.trials.iter().map(|trial| trial.headline(self.headline_of)).collect::<Vec<_>>();
        let pooled = match self.headline_of {
            HeadlineOf::RoundTrip => self.latency_ns,
            HeadlineOf::Response => self.response_ns.unwrap_or_default(),
        };
        self.headline_ns = Latency::over_trials(&trials, &pooled);
        trials
    }

    /// Half of the median's 95 % confidence interval, as a fraction of the median.
    pub(crate) fn half_width(&self) -> Option<f64> {
        let span = self.confidence_95_ns.as_ref()?.p50?;
        Some((span.high - span.low) / 2.0 / self.headline_ns.p50.filter(|p50| *p50 > 0.0)?)
    }

    /// At a fixed rate: the round trips, over trials; the headline figures are of response times.
    pub(crate) fn service_ns(&self) -> Option<Latency> {
        (self.headline_of == HeadlineOf::Response).then(|| {
            let trials: Vec<Latency> = self.trials.iter().map(|trial| trial.latency_ns).collect();
            Latency::over_trials(&trials, &self.latency_ns)
        })
    }

    /// The round trips, over trials.
    pub(crate) fn round_trip_ns(&self) -> Latency {
        self.service_ns().unwrap_or(self.headline_ns)
    }
}

impl TrialReport {
    /// What the trial contributes to the headline figures.
    pub(crate) fn headline(&self, of: HeadlineOf) -> Latency {
        match of {
            HeadlineOf::RoundTrip => self.latency_ns,
            HeadlineOf::Response => self.response_ns.unwrap_or_default(),
        }
    }

    fn of(trial: &Trial) -> Self {
        Self {
            rounds: trial.rounds,
            elapsed_ns: trial.elapsed_ps as f64 / PS_PER_NS,
            lost: trial.lost,
            latency_ns: trial.latency,
            response_ns: trial.response,
            warmup_rounds: trial.warmup_rounds,
            warmup_ns: u64::try_from(trial.warmup_time.as_nanos()).unwrap_or(u64::MAX),
            client_cpus: trial.cpus.client.clone(),
            server_cpus: trial.cpus.server.clone(),
            partial: trial.partial,
        }
    }
}

/// Intervals over trials, not over rounds, which depend on each other. Trials that agree leave a clock's step, or a bucket
/// of the histogram.
fn confidence(trials: &[Latency], step_ns: f64) -> Option<Quantiles<Span>> {
    const { assert!(CONFIDENCE == 0.95, "the key says so") };
    let interval = |statistic: Statistic| {
        let values: Option<Vec<f64>> = trials.iter().map(|trial| trial.get(statistic)).collect();
        let interval = median_interval(&values?)?;
        let center = f64::midpoint(interval.low, interval.high);
        let half = step_ns.max(center / BUCKETS) / 2.0;
        Some(Span { low: interval.low.min(center - half), high: interval.high.max(center + half) })
    };
    (trials.len() > 1).then(|| Quantiles {
        p50: interval(Statistic::P50),
        p90: interval(Statistic::P90),
        p99: interval(Statistic::P99),
        p99_9: interval(Statistic::P99_9),
        mean: interval(Statistic::Mean),
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

    fn interval(p50: &[f64], step_ns: f64) -> Span {
        let trial = |p50: &f64| Latency { min: Some(p50 * 0.99), p50: Some(*p50), ..Latency::default() };
        confidence(&p50.iter().map(trial).collect::<Vec<_>>(), step_ns).unwrap().p50.unwrap()
    }

    #[test]
    fn an_interval_is_at_least_a_step_of_the_clock_wide() {
        assert_eq!(interval(&[100.0; 6], 10.0), Span { low: 95.0, high: 105.0 });
        assert!(interval(&[100.0; 6], 0.0).high > 100.0, "a bucket of the histogram");
    }

    #[test]
    fn an_interval_is_not_cut_at_the_shortest_round() {
        let span = interval(&[100.0, 120.0], 1.0);
        assert!(span.low < 99.0 && span.high > 120.0, "{span:?}");
    }
}
