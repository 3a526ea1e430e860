//! Warnings from a cell's own figures.

use std::ops::Range;

use hdrhistogram::Histogram;

use super::warning::*;
use crate::client::measure::WakeUp;
use crate::client::report::{CellReport, Costs, Report, TrialReport};
use crate::client::stats::{Drift, MIN_SAMPLES_BEYOND, Statistic, median, spread};
use crate::protocol::{ChannelSpec, Wait};
use crate::transports::{Settings, find};

/// The cell's warnings, in the order in which they are shown.
pub(super) fn warnings(cell: &CellReport, report: &Report) -> Vec<Warning> {
    let broken = (cell.error.is_some() || cell.latency_ns.samples == 0)
        .then_some(Warning::BrokenOff { rounds: cell.rounds });
    if cell.latency_ns.samples == 0 {
        return broken.into_iter().collect();
    }
    [
        broken,
        rate_missed(cell),
        cpu_shared(cell, report),
        too_few_cpus(cell, report),
        noisy(cell).or_else(|| wide_interval(cell)),
        two_modes(cell),
        drifts(cell.drift, true),
        drifts(cell.drift_over_trials, false),
        long_gap(cell),
        lost(cell),
        preempted(cell),
        precision_missed(cell, report),
        idle_wake_up(cell, report),
        clock_cost(cell, report),
        too_few_samples(cell, report),
        (cell.trials.len() == 1 && cell.error.is_none()).then_some(Warning::SingleTrial),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Trials that do not agree have a warning of their own; what is left are too few of them.
fn wide_interval(cell: &CellReport) -> Option<Warning> {
    // More digits mean nothing, and would not all be read back.
    let half_width = (cell.half_width()? * 1e4).round() / 1e4;
    HALF_WIDTH.exceeded(half_width).then_some(Warning::WideInterval { half_width })
}

fn noisy(cell: &CellReport) -> Option<Warning> {
    let typical = cell.trials.iter().filter_map(|trial| trial.headline(cell.headline_of).p50);
    let mut medians: Vec<f64> = typical.filter(|ns| *ns > 0.0).collect();
    medians.sort_by(f64::total_cmp);
    if let Some(low_trials) = two_states(&medians) {
        let (low, high) = medians.split_at(low_trials);
        return Some(Warning::TwoStates {
            low_ns: median(low)?,
            high_ns: median(high)?,
            high_trials: high.len(),
            trials: medians.len(),
        });
    }
    let trimmed = medians.len() / SPREAD_TRIM;
    let spread = spread(&medians[trimmed..medians.len() - trimmed])?;
    SPREAD.exceeded(spread).then_some(Warning::NoisyHost { spread, pinned: pinned(cell) })
}

fn drifts(drift: Option<Drift>, within_trials: bool) -> Option<Warning> {
    let drift = drift.filter(Drift::significant)?;
    Some(Warning::Drifts { change: drift.slope_fraction, within_trials })
}

/// How many of the sorted medians are in the lower of two groups, if they are in two: each of two trials at least, with
/// a gap between them of [`STATES_APART`], and of twice what either extends over.
fn two_states(sorted: &[f64]) -> Option<usize> {
    let ratio = |from: usize, to: usize| (sorted[to] / sorted[from]).ln();
    let last = sorted.len().checked_sub(1)?;
    let cut = (2..last).max_by(|a, b| ratio(a - 1, *a).total_cmp(&ratio(b - 1, *b)))?;
    let (gap, widest) = (ratio(cut - 1, cut), ratio(0, cut - 1).max(ratio(cut, last)));
    (gap > STATES_APART.ln() && gap > 2.0 * widest).then_some(cut)
}

fn rate_missed(cell: &CellReport) -> Option<Warning> {
    let requested_hz =
        1e9 / cell.interval_ns.filter(|_| cell.misses_its_rate())? as f64 * f64::from(cell.parallel);
    Some(Warning::RateMissed { requested_hz, achieved_hz: cell.achieved_hz? })
}

fn pinned(cell: &CellReport) -> bool {
    cell.client_cpu.is_some() && cell.server_cpu.is_some()
}

/// Pinned, two peaks are the mechanism's own; unpinned, they are most likely the scheduler's.
fn two_modes(cell: &CellReport) -> Option<Warning> {
    let modes = modes(&cell.histogram).filter(|_| !pinned(cell))?;
    let ns = |ps: f64| ps / 1000.0;
    Some(Warning::TwoModes {
        low_ns: ns(modes.low),
        high_ns: ns(modes.high),
        high_fraction: modes.high_fraction,
    })
}

fn clock_cost(cell: &CellReport, report: &Report) -> Option<Warning> {
    // A sample is one round and costs one read, or it is the mean of a batch, which shares one.
    let batch = report.settings.timing.strip_prefix("batch:").and_then(|rounds| rounds.parse::<u32>().ok());
    let cost_ns = report.clock.cost_ns / f64::from(batch.unwrap_or(1).max(1));
    // With too few samples for a median, there is a mean.
    let median = cell.latency_ns.p50.or(cell.latency_ns.mean).filter(|median| *median > 0.0)?;
    let fraction = cost_ns / median;
    (fraction > CLOCK_COST).then_some(Warning::ClockCost {
        cost_ns,
        fraction,
        untimed_mean: cell.probe.is_some(),
        auto: report.settings.timing == "auto",
    })
}

/// Of the quantiles that a report always shows. The p99.99 is shown only if there are enough samples for it.
fn too_few_samples(cell: &CellReport, report: &Report) -> Option<Warning> {
    // Means of batches were requested: they are for the mean.
    if report.settings.timing.starts_with("batch:") {
        return None;
    }
    let latency = &cell.headline_ns;
    let shown = [
        (Statistic::P50, latency.p50, 2),
        (Statistic::P90, latency.p90, 10),
        (Statistic::P99, latency.p99, 100),
        (Statistic::P99_9, latency.p99_9, 1000),
    ];
    let (quantile, _, one_beyond_in) = shown.into_iter().find(|(_, value, _)| value.is_none())?;
    let needed = MIN_SAMPLES_BEYOND * one_beyond_in;
    Some(Warning::TooFewSamples { quantile, samples: latency.samples, needed })
}

fn cpu_shared(cell: &CellReport, report: &Report) -> Option<Warning> {
    let adaptive = match cell.wait {
        Wait::Block => return None,
        Wait::Spin => false,
        Wait::Adaptive => true,
    };
    let (cpu, sharing) = sharing(cell, report)?;
    Some(Warning::CpuShared { cpu, sharing, adaptive })
}

fn sharing(cell: &CellReport, report: &Report) -> Option<(Option<u32>, Sharing)> {
    if let (Some(client), Some(server)) = (cell.client_cpu, cell.server_cpu) {
        // A pinned side runs there, even if the CPU is isolated and not among the allowed ones.
        return (client == server).then_some((Some(client), Sharing::Pinned));
    }
    if let Some(allowed) = report.environment.cpu.allowed.as_ref().filter(|allowed| allowed.len() == 1) {
        return Some((allowed.iter().next(), Sharing::OnlyOne));
    }
    // The CPUs of several channels are recorded together.
    let cpu = cell.trials.iter().filter(|_| cell.parallel == 1).find_map(seen_together)?;
    Some((Some(cpu), Sharing::Seen))
}

/// The CPU on which both sides were at the same moment, before the trial's rounds or after them.
fn seen_together(trial: &TrialReport) -> Option<u32> {
    let (client, server) = (&trial.client_cpus, &trial.server_cpus);
    // The lists have no repetitions: the first entry is from before the rounds, the last from after them.
    let before = client.first().zip(server.first());
    let after = client.last().zip(server.last());
    [before, after].into_iter().flatten().find_map(|(client, server)| (client == server).then_some(*client))
}

/// Only for mechanisms with kernel threads: `cpu_shared` covers the two sides.
fn too_few_cpus(cell: &CellReport, report: &Report) -> Option<Warning> {
    let spec = ChannelSpec {
        size_bytes: u32::try_from(cell.size_bytes).ok()?,
        wait: Some(cell.wait),
        options: cell.options.clone(),
        ..ChannelSpec::new(&cell.method)
    };
    // A report from another host may have methods or options that this build lacks.
    let settings = Settings::check(&spec).ok()?;
    let wanted = find(settings.method).ok()?.busy_cpus(&settings);
    // The kernel's threads run on any CPU, wherever the sides are pinned.
    let cpus = report.environment.cpu.online.as_ref()?.len();
    (wanted > 2 && cpus < wanted).then_some(Warning::TooFewCpus { wanted, cpus })
}

fn lost(cell: &CellReport) -> Option<Warning> {
    let fraction = cell.lost as f64 / (cell.rounds + cell.lost) as f64;
    LOST.exceeded(fraction).then_some(Warning::LostDatagrams { lost: cell.lost, fraction })
}

fn long_gap(cell: &CellReport) -> Option<Warning> {
    let usual_ns = cell.latency_ns.p50.or(cell.latency_ns.min)?;
    let is_gap =
        |ns: f64, rounds: u64| ns > LONG_GAP_NS && ns > LONG_GAP_MEDIANS * usual_ns * rounds.max(1) as f64;
    let round = cell.latency_ns.max.filter(|ns| is_gap(*ns, 1));
    let block = cell.longest_gap.filter(|block| is_gap(block.elapsed_ns, block.rounds));
    match (round, block) {
        (Some(max_ns), block) if block.is_none_or(|block| block.elapsed_ns < max_ns) => {
            Some(Warning::LongGap { max_ns, block_rounds: None })
        }
        (_, Some(block)) => {
            Some(Warning::LongGap { max_ns: block.elapsed_ns, block_rounds: Some(block.rounds) })
        }
        (_, None) => None,
    }
}

fn preempted(cell: &CellReport) -> Option<Warning> {
    // On a shared CPU each side preempts the other by waking up: that is the mechanism's cost. Where the scheduler places
    // the sides, only sides that never sleep are known not to do that. Several channels preempt each other.
    let alone = match (cell.client_cpu, cell.server_cpu) {
        _ if cell.parallel > 1 => false,
        (Some(client), Some(server)) => client != server,
        _ => cell.wait == Wait::Spin && cell.trials.iter().all(|trial| seen_together(trial).is_none()),
    };
    let Costs { client, server } = cell.cost_per_round;
    let per_round = client.involuntary_switches.max(server.involuntary_switches);
    let times = per_round * cell.rounds as f64;
    let per_second = times / (cell.elapsed_ns / 1e9);
    (alone && times.round() >= PREEMPTED_TIMES && per_second > PREEMPTED_PER_SECOND)
        .then_some(Warning::Preempted { per_round, per_second })
}

fn precision_missed(cell: &CellReport, report: &Report) -> Option<Warning> {
    let wanted = report.settings.precision_fraction?;
    let reached = cell.precision_reached_fraction;
    (cell.error.is_none() && reached.is_none_or(|reached| reached > wanted))
        .then_some(Warning::PrecisionMissed { wanted, reached })
}

/// Only of pinned sides that block at once: the others' CPUs do not sleep, or it is unknown which they are.
fn idle_wake_up(cell: &CellReport, report: &Report) -> Option<Warning> {
    let median_ns = cell.round_trip_ns().p50.filter(|_| cell.wait == Wait::Block)?;
    let on_its_cpus = |wake_up: &&WakeUp| {
        (Some(wake_up.client_cpu), Some(wake_up.server_cpu)) == (cell.client_cpu, cell.server_cpu)
    };
    let wake_up_ns = report.idle_wake_ups.iter().find(on_its_cpus)?.round_trip_ns;
    (wake_up_ns >= WAKE_UP_SHARE * median_ns).then_some(Warning::IdleWakeUp { wake_up_ns, median_ns })
}

/// With fewer samples, chance makes peaks.
const FEWEST_SAMPLES: u64 = 1000;

/// Bins in a factor of two: each is 9 % wide, which joins the ripples of a coarse clock.
const BINS_PER_OCTAVE: f64 = 8.0;

/// The smallest distance between the peaks, in bins: a factor of 2. Placement makes one of 3 to 10, a busy neighbour less.
const FEWEST_BINS_APART: usize = 8;

/// The smallest share of samples on the smaller peak's side of the valley: less is a tail.
const SMALLEST_SHARE: f64 = 0.1;

/// The valley's highest value, as a fraction of the smaller peak.
const DEEPEST_VALLEY: f64 = 0.5;

/// Two peaks, in the histogram's unit, which a scheduler causes that moves a side from CPU to CPU.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Modes {
    low: f64,
    high: f64,
    /// The share of the samples beyond the valley.
    high_fraction: f64,
}

/// The two peaks of a histogram, if there are two far enough apart with a valley between them.
fn modes(histogram: &Histogram<u64>) -> Option<Modes> {
    if histogram.len() < FEWEST_SAMPLES {
        return None;
    }
    let bin = |value: u64| ((value.max(1) as f64).log2() * BINS_PER_OCTAVE) as usize;
    let first = bin(histogram.min());
    let mut bins = vec![0_u64; bin(histogram.max()) - first + 1];
    for bucket in histogram.iter_recorded() {
        bins[bin(bucket.value_iterated_to()) - first] += bucket.count_at_value();
    }
    let highest = |range: Range<usize>| range.max_by_key(|&at| bins[at]);
    let main = highest(0..bins.len())?;
    let below = (0..main.saturating_sub(FEWEST_BINS_APART - 1)).filter_map(|at| valley(&bins, at, main));
    let above = (main + FEWEST_BINS_APART..bins.len()).filter_map(|at| valley(&bins, main, at));
    let found = below.chain(above).max_by_key(|found| bins[found.low].min(bins[found.high]))?;
    let center = |at: usize| ((first + at) as f64 + 0.5) / BINS_PER_OCTAVE;
    let beyond: u64 = bins[found.valley..].iter().sum();
    Some(Modes {
        low: center(found.low).exp2(),
        high: center(found.high).exp2(),
        high_fraction: beyond as f64 / histogram.len() as f64,
    })
}

struct Found {
    low: usize,
    valley: usize,
    high: usize,
}

/// The valley between two bins, if it is deep enough.
fn valley(bins: &[u64], low: usize, high: usize) -> Option<Found> {
    let valley = (low + 1..high).min_by_key(|&at| bins[at])?;
    let all: u64 = bins.iter().sum();
    let before: u64 = bins[..valley].iter().sum();
    let smaller_share = before.min(all - before) as f64 / all as f64;
    let smaller_peak = bins[low].min(bins[high]) as f64;
    let deep = bins[valley] as f64 <= smaller_peak * DEEPEST_VALLEY;
    (deep && smaller_share >= SMALLEST_SHARE && smaller_peak > 0.0).then_some(Found { low, valley, high })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::judge::warnings::{Severity, sample};
    use crate::client::measure::histogram;
    use crate::client::report::{LongestGap, ProbeReport, Quantiles, Span};

    /// The warnings of the sample's only cell after a change.
    fn of(change: impl FnOnce(&mut Report)) -> Vec<Warning> {
        let mut report = sample::report();
        change(&mut report);
        warnings(&report.results[0], &report)
    }

    fn of_cell(change: impl FnOnce(&mut CellReport)) -> Vec<Warning> {
        of(|report| change(&mut report.results[0]))
    }

    fn with_medians(medians: &[f64]) -> Vec<Warning> {
        of_cell(|cell| cell.trials = medians.iter().map(|median| sample::trial(*median)).collect())
    }

    #[test]
    fn trials_that_differ_are_reported_with_their_spread() {
        assert_eq!(with_medians(&[100.0, 102.0, 104.0, 106.0, 109.0]), []);
        let seen = with_medians(&[100.0, 100.0, 100.0, 100.0, 130.0]);
        assert!(
            matches!(seen[..], [Warning::NoisyHost { spread, pinned: true }] if (spread - 0.3).abs() < 1e-9),
            "{seen:?}"
        );
        let severity = |medians: &[f64]| with_medians(medians)[0].severity();
        assert_eq!(severity(&[100.0, 112.0]), Severity::Slight);
        assert_eq!(severity(&[100.0, 140.0]), Severity::Doubtful);
        assert_eq!(severity(&[100.0, 100.0, 500.0]), Severity::Severe);
    }

    #[test]
    fn a_median_that_is_hardly_known_lowers_the_grade_even_if_trials_agree() {
        let severity = |half_width: f64| {
            let seen = of_cell(|cell| {
                let p50 = cell.headline_ns.p50.unwrap();
                let span = Span { low: p50 * (1.0 - half_width), high: p50 * (1.0 + half_width) };
                cell.confidence_95_ns =
                    Some(Quantiles { p50: Some(span), p90: None, p99: None, p99_9: None, mean: None });
            });
            seen.first().map(Warning::severity)
        };
        for (half_width, expected) in [
            (0.04, None),
            (0.08, Some(Severity::Slight)),
            (0.20, Some(Severity::Doubtful)),
            (0.51, Some(Severity::Severe)),
        ] {
            assert_eq!(severity(half_width), expected, "{half_width}");
        }
    }

    #[test]
    fn one_outlier_in_ten_trials_is_not_a_noisy_host() {
        let mut medians = vec![100.0; 9];
        medians.push(900.0);
        assert_eq!(with_medians(&medians), []);
    }

    #[test]
    fn trials_in_two_groups_are_named_with_both() {
        let seen = with_medians(&[90.0, 420.0, 92.0, 421.0, 91.0]);
        let states = Warning::TwoStates { low_ns: 91.0, high_ns: 420.5, high_trials: 2, trials: 5 };
        assert_eq!((seen[0].severity(), &seen[..]), (Severity::Severe, &[states][..]));
        assert_eq!(with_medians(&[100.0, 101.0, 130.0, 131.0])[0].severity(), Severity::Doubtful);
        for one in [&[90.0, 91.0, 92.0, 93.0, 420.0][..], &[90.0, 120.0, 160.0, 210.0, 280.0], &[90.0, 420.0]]
        {
            assert!(matches!(with_medians(one)[..], [Warning::NoisyHost { .. }]), "{one:?}");
        }
    }

    #[test]
    fn a_rate_that_was_not_reached_is_severe_and_a_stall_is_no_such_rate() {
        let with = |interval_ns, stalled_ns: f64| {
            of_cell(|cell| {
                // 20 000 rounds in 0.2 s.
                (cell.interval_ns, cell.achieved_hz) = (Some(interval_ns), Some(1e5));
                for trial in &mut cell.trials {
                    trial.elapsed_ns += stalled_ns;
                    trial.latency_ns.max = Some(stalled_ns.max(90_000.0));
                }
            })
        };
        let seen = with(1_000, 0.0);
        assert_eq!(seen, [Warning::RateMissed { requested_hz: 1e6, achieved_hz: 1e5 }]);
        assert_eq!(seen[0].severity(), Severity::Severe);
        assert_eq!(with(10_000, 0.0), []);
        assert_eq!(with(10_000, 1.5e8), [], "one round took most of the trial");
    }

    #[test]
    fn two_peaks_are_a_warning_if_a_side_is_not_pinned() {
        let two_peaks = |cell: &mut CellReport| cell.histogram = sample::two_peaks();
        let unpinned = |cell: &mut CellReport| {
            two_peaks(cell);
            cell.server_cpu = None;
        };
        assert_eq!(of_cell(two_peaks), []);
        assert!(matches!(of_cell(unpinned)[..], [Warning::TwoModes { .. }]));
    }

    #[test]
    fn a_blocking_cell_that_mostly_wakes_idle_cpus_is_named() {
        let with = |median_ns: f64, wait, server_cpu| {
            of(|report| {
                report.idle_wake_ups =
                    vec![WakeUp { client_cpu: 0, server_cpu: 1, round_trip_ns: 42_000.0, samples: 50 }];
                let cell = &mut report.results[0];
                (cell.client_cpu, cell.server_cpu, cell.wait) = (Some(0), Some(server_cpu), wait);
                cell.headline_ns.p50 = Some(median_ns);
            })
        };
        let [warning] = &with(45_000.0, Wait::Block, 1)[..] else { panic!("one warning") };
        assert_eq!(warning.wake_up().unwrap(), "about 42.0 of 45.0 µs wakes an idle CPU");
        assert_eq!(
            with(41_000.0, Wait::Block, 1)[0].wake_up().unwrap(),
            "nearly all of 41.0 µs wakes an idle CPU"
        );
        assert_eq!(with(90_000.0, Wait::Block, 1), [], "the mechanism takes more");
        assert_eq!(with(45_000.0, Wait::Adaptive, 1), [], "it polls first");
        assert_eq!(with(45_000.0, Wait::Block, 2), [], "other CPUs");
    }

    #[test]
    fn spinning_kernel_threads_need_their_own_cpus() {
        let with = |sqpoll: &str, wait, cpus: &str| {
            of(|report| {
                report.environment.cpu.online = Some(cpus.parse().unwrap());
                let cell = &mut report.results[0];
                (cell.method, cell.wait) = ("io-uring".into(), wait);
                cell.options = [("sqpoll".to_owned(), sqpoll.to_owned())].into();
            })
        };
        assert_eq!(with("true", Wait::Spin, "0-1"), [Warning::TooFewCpus { wanted: 4, cpus: 2 }]);
        assert_eq!(with("true", Wait::Adaptive, "0-2"), [Warning::TooFewCpus { wanted: 4, cpus: 3 }]);
        assert_eq!(with("true", Wait::Block, "0-1"), [Warning::TooFewCpus { wanted: 3, cpus: 2 }]);
        assert_eq!(with("true", Wait::Spin, "0-3"), []);
        assert_eq!(with("false", Wait::Spin, "0-1"), []);
    }

    #[test]
    fn a_significant_drift_is_reported_and_a_small_one_is_not() {
        let with =
            |slope_fraction, p_value| of_cell(|cell| cell.drift = Some(Drift { slope_fraction, p_value }));
        assert_eq!(with(-0.2, 0.001), [Warning::Drifts { change: -0.2, within_trials: true }]);
        let over_trials = of_cell(|cell| {
            cell.drift_over_trials = Some(Drift { slope_fraction: 0.3, p_value: 0.005 });
        });
        assert_eq!(over_trials, [Warning::Drifts { change: 0.3, within_trials: false }]);
        assert_eq!(with(0.02, 0.001), []);
        assert_eq!(with(0.2, 0.2), []);
    }

    #[test]
    fn the_clocks_cost_counts_against_the_median_and_less_with_a_probe_or_in_batches() {
        let slow_clock = |report: &mut Report| report.clock.cost_ns = 2_500.0;
        let seen = of(slow_clock);
        assert!(matches!(seen[..], [Warning::ClockCost { untimed_mean: false, .. }]), "{seen:?}");
        assert_eq!(seen[0].severity(), Severity::Doubtful);
        assert!(!seen[0].advice().contains("--timing auto"), "it is set");
        let each_round = of(|report| {
            slow_clock(report);
            report.settings.timing = "round".to_owned();
        });
        assert!(each_round[0].advice().contains("--timing auto"));
        let with_probe = of(|report| {
            slow_clock(report);
            let probe = ProbeReport { untimed_mean_ns: 8_000.0, untimed_rounds: 100, effect_ns: 2_000.0 };
            report.results[0].probe = Some(probe);
        });
        assert_eq!(with_probe[0].severity(), Severity::Slight);
        let batches = of(|report| {
            slow_clock(report);
            report.settings.timing = "batch:100".to_owned();
        });
        assert_eq!(batches, []);
        assert_eq!(of(|report| report.clock.cost_ns = 900.0), []);
    }

    #[test]
    fn the_lowest_quantile_with_too_few_samples_is_reported() {
        let without = |change: fn(&mut CellReport)| of_cell(change).remove(0);
        let no_tail = without(|cell| (cell.headline_ns.samples, cell.headline_ns.p99_9) = (3_000, None));
        let expected = Warning::TooFewSamples { quantile: Statistic::P99_9, samples: 3_000, needed: 10_000 };
        assert_eq!((no_tail.severity(), no_tail), (Severity::Note, expected));
        let no_p99 = without(|cell| (cell.headline_ns.p99, cell.headline_ns.p99_9) = (None, None));
        assert!(matches!(no_p99, Warning::TooFewSamples { quantile: Statistic::P99, needed: 1_000, .. }));
        let no_median = without(|cell| cell.headline_ns.p50 = None);
        assert!(matches!(no_median, Warning::TooFewSamples { quantile: Statistic::P50, needed: 20, .. }));
        assert_eq!(no_median.severity(), Severity::Severe);
        assert_eq!(of_cell(|cell| cell.headline_ns.p99_99 = None), []);
    }

    #[test]
    fn a_single_trial_is_no_grade_a() {
        let seen = of_cell(|cell| cell.trials.truncate(1));
        assert_eq!((seen[0].severity(), &seen[..]), (Severity::Slight, &[Warning::SingleTrial][..]));
    }

    #[test]
    fn spinning_on_a_shared_cpu_is_reported_with_its_cause() {
        let shared = |change: fn(&mut Report)| match of(change)[..] {
            [Warning::CpuShared { cpu, sharing, adaptive }] => Some((cpu, sharing, adaptive)),
            _ => None,
        };
        fn spinning(report: &mut Report, pinned: bool) -> &mut CellReport {
            let cell = &mut report.results[0];
            cell.wait = Wait::Spin;
            if !pinned {
                (cell.client_cpu, cell.server_cpu) = (None, None);
            }
            cell
        }
        assert_eq!(
            shared(|report| spinning(report, true).server_cpu = Some(2)),
            Some((Some(2), Sharing::Pinned, false))
        );
        assert_eq!(
            shared(|report| spinning(report, false).trials[3].server_cpus = vec![9, 2]),
            Some((Some(2), Sharing::Seen, false))
        );
        assert_eq!(
            shared(|report| {
                spinning(report, false).wait = Wait::Adaptive;
                report.environment.cpu.allowed = Some("5".parse().unwrap());
            }),
            Some((Some(5), Sharing::OnlyOne, true))
        );
        // Not shared: two CPUs; CPUs swapped during the rounds; one CPU without spinning.
        assert_eq!(of(|report| _ = spinning(report, true)), []);
        assert_eq!(
            of(|report| {
                let trial = &mut spinning(report, false).trials[0];
                (trial.client_cpus, trial.server_cpus) = (vec![1, 2], vec![2, 1]);
            }),
            []
        );
        assert_eq!(of_cell(|cell| cell.server_cpu = cell.client_cpu), []);
    }

    #[test]
    fn lost_datagrams_are_graded_by_the_quantile_that_they_hide() {
        let severity = |lost| of_cell(|cell| cell.lost = lost).first().map(Warning::severity);
        assert_eq!(severity(0), None);
        assert_eq!(severity(1), Some(Severity::Slight));
        assert_eq!(severity(500), Some(Severity::Doubtful));
        assert_eq!(severity(5_000), Some(Severity::Severe));
    }

    #[test]
    fn a_round_of_a_second_is_a_gap_unless_all_are_slow() {
        assert_eq!(
            of_cell(|cell| cell.latency_ns.max = Some(1.5e9)),
            [Warning::LongGap { max_ns: 1.5e9, block_rounds: None }]
        );
        assert_eq!(of_cell(|cell| cell.latency_ns.max = Some(0.9e9)), []);
        let all_slow =
            |cell: &mut CellReport| (cell.latency_ns.p50, cell.latency_ns.max) = (Some(0.5e9), Some(1.5e9));
        assert_eq!(of_cell(all_slow), []);
    }

    #[test]
    fn a_gap_in_a_block_that_was_timed_as_a_whole_is_reported() {
        let with =
            |elapsed_ns, rounds| of_cell(|cell| cell.longest_gap = Some(LongestGap { elapsed_ns, rounds }));
        assert_eq!(with(1e7, 1000), []);
        let seen = with(1.5e9, 1000);
        assert_eq!(seen, [Warning::LongGap { max_ns: 1.5e9, block_rounds: Some(1000) }]);
        assert_eq!(seen[0].finding(), "a block of 1000 rounds took 1.50 s");
        let between = with(1.5e9, 0);
        assert_eq!(between, [Warning::LongGap { max_ns: 1.5e9, block_rounds: Some(0) }]);
        assert_eq!(between[0].finding(), "nothing was measured for 1.50 s between two rounds");
        assert_eq!((seen[0].severity(), between[0].severity()), (Severity::Doubtful, Severity::Slight));
        assert_eq!(with(1.5e9, 150_000), [], "the normal time of that many rounds of 10 µs");
    }

    #[test]
    fn preemptions_count_only_if_a_side_is_alone_on_its_cpu() {
        let preempted = |cell: &mut CellReport| cell.cost_per_round.server.involuntary_switches = 0.02;
        let seen = of_cell(preempted);
        assert!(matches!(seen[..], [Warning::Preempted { .. }]), "{seen:?}");
        assert_eq!(seen[0].severity(), Severity::Doubtful);
        assert_eq!(
            of_cell(|cell| {
                preempted(cell);
                cell.server_cpu = cell.client_cpu;
            }),
            []
        );
        assert_eq!(
            of_cell(|cell| {
                preempted(cell);
                cell.server_cpu = None;
            }),
            []
        );
        assert_eq!(of_cell(|cell| cell.cost_per_round.client.involuntary_switches = 0.0001), []);
        let once = |cell: &mut CellReport| {
            (cell.rounds, cell.elapsed_ns) = (25, 226_000.0);
            cell.cost_per_round.client.involuntary_switches = 1.0 / 25.0;
        };
        assert_eq!(of_cell(once), [], "a single event has no rate");
    }

    #[test]
    fn a_precision_that_was_not_reached_is_reported() {
        let asked = |reached| {
            of(|report| {
                report.settings.precision_fraction = Some(0.02);
                report.results[0].precision_reached_fraction = reached;
            })
        };
        assert_eq!(asked(Some(0.015)), []);
        assert_eq!(asked(Some(0.05)), [Warning::PrecisionMissed { wanted: 0.02, reached: Some(0.05) }]);
        assert!(asked(None)[0].finding().ends_with("within --max-time: too few trials were completed"));
    }

    #[test]
    fn a_cell_that_failed_has_no_result() {
        let seen = of_cell(|cell| cell.error = Some("the peer closed the channel".to_owned()));
        assert_eq!(
            (seen[0].severity(), &seen[..]),
            (Severity::Fatal, &[Warning::BrokenOff { rounds: 100_000 }][..])
        );
        assert_eq!(of_cell(|cell| cell.latency_ns.samples = 0).len(), 1);
    }

    /// Samples spread evenly around each center: its position, its count, and the spread to either side in percent.
    fn around(centers: &[(f64, u64, f64)]) -> Histogram<u64> {
        let mut histogram = histogram();
        for (center, count, width) in centers {
            for n in 0..*count {
                let place = n as f64 / *count as f64 * 2.0 - 1.0;
                histogram.record((center * (1.0 + place * width)) as u64).unwrap();
            }
        }
        histogram
    }

    #[test]
    fn two_hills_are_found_with_their_shares() {
        let found = modes(&around(&[(15e6, 7_000, 0.2), (80e6, 3_000, 0.2)])).unwrap();
        assert!((12e6..18e6).contains(&found.low), "{found:?}");
        assert!((64e6..96e6).contains(&found.high), "{found:?}");
        assert!((found.high_fraction - 0.3).abs() < 0.01);
        let slower = modes(&around(&[(15e6, 3_000, 0.2), (80e6, 7_000, 0.2)])).unwrap();
        assert!((slower.high_fraction - 0.7).abs() < 0.01);
    }

    #[test]
    fn one_hill_a_tail_a_small_step_and_few_samples_are_not_two() {
        assert_eq!(modes(&around(&[(15e6, 10_000, 0.3)])), None);
        assert_eq!(modes(&around(&[(15e6, 9_500, 0.2), (80e6, 500, 0.2)])), None, "5 % are a tail");
        assert_eq!(modes(&around(&[(15e6, 5_000, 0.05), (25e6, 5_000, 0.05)])), None, "1.7 times");
        assert_eq!(modes(&around(&[(15e6, 300, 0.2), (80e6, 300, 0.2)])), None);
        assert_eq!(modes(&around(&[(60e3, 10_000, 0.0)])), None);
        assert_eq!(modes(&histogram()), None);
        // One flat hill over three octaves has no valley.
        assert_eq!(modes(&around(&[(45e6, 20_000, 0.77)])), None);
    }
}
