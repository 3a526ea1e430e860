//! Checks this module against numpy and scipy: `tests/statistics/reference.py` made the values.

use hdrhistogram::Histogram;
use serde::Deserialize;

use super::*;

#[derive(Deserialize)]
struct Reference {
    summaries: Vec<SummaryCase>,
    intervals: Vec<IntervalCase>,
    groups: Vec<GroupsCase>,
    drifts: Vec<DriftCase>,
}

#[derive(Deserialize)]
struct SummaryCase {
    seed: u64,
    count: u64,
    base: u64,
    scale: u64,
    min: u64,
    p50: Option<u64>,
    p90: Option<u64>,
    p99: Option<u64>,
    #[serde(rename = "p99.9")]
    p99_9: Option<u64>,
    #[serde(rename = "p99.99")]
    p99_99: Option<u64>,
    max: u64,
    mean: f64,
    mild: u64,
    severe: u64,
}

#[derive(Deserialize)]
struct IntervalCase {
    values: Vec<f64>,
    median: f64,
    low: f64,
    high: f64,
    outer: Option<(f64, f64)>,
    spread: f64,
}

#[derive(Deserialize)]
struct GroupsCase {
    a: Vec<f64>,
    b: Vec<f64>,
    change: f64,
    low: f64,
    high: f64,
}

#[derive(Deserialize)]
struct DriftCase {
    series: Vec<Vec<f64>>,
    slope_fraction: f64,
    p_value: f64,
}

fn reference() -> Reference {
    serde_json::from_str(include_str!("../../../../tests/statistics/reference.json")).unwrap()
}

/// SplitMix64 (Steele, Lea & Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014).
pub(super) struct SplitMix64(pub(super) u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Between 0 and 1, both excluded.
    pub(super) fn uniform(&mut self) -> f64 {
        ((self.next() >> 12) as f64 + 0.5) / (1_u64 << 52) as f64
    }
}

/// The histogram of what `latencies` in `reference.py` makes.
fn latencies(case: &SummaryCase) -> Histogram<u64> {
    let mut histogram = Histogram::new(3).unwrap();
    let mut random = SplitMix64(case.seed);
    for _ in 0..case.count {
        let value = case.base + (case.scale << 16) / ((random.next() >> 48) + 1);
        histogram.record(value).unwrap();
    }
    histogram
}

fn assert_close(ours: f64, theirs: f64, relative: f64, what: &str) {
    assert!(
        (ours - theirs).abs() <= relative * theirs.abs(),
        "{what}: {ours} here, {theirs} in the reference"
    );
}

#[test]
fn summaries_agree_with_numpy() {
    for case in reference().summaries {
        let summary = Latency::of(&latencies(&case));
        assert_eq!(summary.samples, case.count);
        for (statistic, theirs) in [
            (Statistic::Min, Some(case.min)),
            (Statistic::P50, case.p50),
            (Statistic::P90, case.p90),
            (Statistic::P99, case.p99),
            (Statistic::P99_9, case.p99_9),
            (Statistic::P99_99, case.p99_99),
            (Statistic::Max, Some(case.max)),
        ] {
            let what = format!("{} of seed {}", statistic.label(), case.seed);
            let ours = summary.get(statistic).map(|ns| ns * PS_PER_NS);
            assert_eq!(ours.is_some(), theirs.is_some(), "{what}");
            let Some((ours, theirs)) = ours.zip(theirs) else { continue };
            // Half a bucket; nothing at all where a bucket is one value.
            let allowed = if theirs < 2048 { 1e-12 } else { 1.0 / 2048.0 };
            assert_close(ours, theirs as f64, allowed, &what);
        }
        let mean = summary.mean.unwrap() * PS_PER_NS;
        assert_close(mean, case.mean, 1.0 / 2048.0, &format!("mean of seed {}", case.seed));
    }
}

#[test]
fn outliers_agree_with_numpy() {
    for case in reference().summaries {
        let outliers = Outliers::of(&latencies(&case));
        // A fence between two buckets may fall on the other side of the samples in one.
        let allowed = if case.base < 2048 { 0 } else { case.count / 500 };
        assert!(outliers.mild.abs_diff(case.mild) <= allowed, "{outliers:?}, {} in the reference", case.mild);
        assert!(
            outliers.severe.abs_diff(case.severe) <= allowed,
            "{outliers:?}, {} in the reference",
            case.severe
        );
    }
}

#[test]
fn intervals_and_spreads_agree_with_scipy() {
    for case in reference().intervals {
        let what = format!("{} trials", case.values.len());
        let interval = median_interval(&case.values).unwrap();
        assert_close(interval.low, case.low, 1e-9, &what);
        assert_close(interval.high, case.high, 1e-9, &what);
        if let Some((low, high)) = case.outer {
            assert!(low <= interval.low && interval.high <= high, "{what}");
        }
        assert_close(median(&case.values).unwrap(), case.median, 1e-12, &what);
        assert_close(spread(&case.values).unwrap(), case.spread, 1e-12, &what);
    }
}

#[test]
fn group_comparisons_agree_with_scipy() {
    for case in reference().groups {
        let what = format!("{} and {} trials", case.a.len(), case.b.len());
        let comparison = compare_groups(&case.a, &case.b).unwrap();
        // Beside one, since what is compared is a ratio.
        assert_close(1.0 + comparison.change, 1.0 + case.change, 1e-9, &what);
        assert_close(1.0 + comparison.interval.low, 1.0 + case.low, 1e-9, &what);
        assert_close(1.0 + comparison.interval.high, 1.0 + case.high, 1e-9, &what);
    }
}

#[test]
fn drifts_agree_with_scipy() {
    for case in reference().drifts {
        let what = format!("{} series", case.series.len());
        let drift = drift(&case.series).unwrap();
        assert_close(drift.slope_fraction, case.slope_fraction, 1e-9, &what);
        assert!(
            (drift.p_value - case.p_value).abs() < 1e-9,
            "{what}: {} and {}",
            drift.p_value,
            case.p_value
        );
    }
}

/// What the documentation promises, of this code and not of the simulation in `coverage.py`.
#[test]
fn interval_covers_the_median_in_95_percent_of_runs() {
    const RUNS: u32 = 4_000;
    let mut random = SplitMix64(1);
    for trials in [3, 5, 6, 8, 20] {
        let mut covered = 0;
        for _ in 0..RUNS {
            // Skewed, as latencies are: an exponential tail on a floor, with its median at 1 + ln 2 / 10.
            let values: Vec<f64> = (0..trials).map(|_| 1.0 - 0.1 * random.uniform().ln()).collect();
            let truth = 1.0 + 0.1 * std::f64::consts::LN_2;
            covered += u32::from(median_interval(&values).unwrap().contains(truth));
        }
        let coverage = f64::from(covered) / f64::from(RUNS);
        assert!((0.925..0.965).contains(&coverage), "{coverage} with {trials} trials");
    }
}

/// The false alarms of a comparison of equal things, on a host that wanders between pairs.
#[test]
fn equal_things_differ_in_at_most_5_percent_of_comparisons() {
    const RUNS: u32 = 4_000;
    let mut random = SplitMix64(2);
    for trials in [4, 5, 6, 10] {
        let (mut in_pairs, mut in_groups) = (0, 0);
        for _ in 0..RUNS {
            let mut trial = || 1.0 - 0.1 * random.uniform().ln();
            let pairs: Vec<(f64, f64)> = (0..trials).map(|_| (trial(), trial())).collect();
            let (a, b): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
            in_pairs += u32::from(compare_pairs(&pairs).unwrap().is_real());
            in_groups += u32::from(compare_groups(&a, &b).unwrap().is_real());
        }
        for (what, alarms) in [("pairs", in_pairs), ("groups", in_groups)] {
            let share = f64::from(alarms) / f64::from(RUNS);
            // Three standard deviations of such a count above 5 %.
            assert!(share < 0.0604, "{share} with {trials} {what}");
        }
    }
}
