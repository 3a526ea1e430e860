//! What one histogram of latencies says: the few numbers that a report shows.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::interval::median;

/// How many samples have to lie beyond a quantile for it to be shown.
///
/// With fewer, the "quantile" is the story of a handful of rounds: ten samples beyond it already leave its
/// rank uncertain by a third (the count beyond has a standard deviation of about √10).
pub(crate) const MIN_SAMPLES_BEYOND: u64 = 10;

/// One number of a [`Latency`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Statistic {
    /// The fastest round.
    Min,
    /// The median.
    P50,
    /// The 90 % quantile.
    P90,
    /// The 99 % quantile.
    P99,
    /// The 99.9 % quantile.
    P99_9,
    /// The 99.99 % quantile.
    P99_99,
    /// The slowest round.
    Max,
    /// The arithmetic mean.
    Mean,
}

impl Statistic {
    /// Every statistic, in the order of a report.
    pub(crate) const ALL: [Self; 8] =
        [Self::Min, Self::P50, Self::P90, Self::P99, Self::P99_9, Self::P99_99, Self::Max, Self::Mean];

    /// The name that a report shows.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Min => "min",
            Self::P50 => "p50",
            Self::P90 => "p90",
            Self::P99 => "p99",
            Self::P99_9 => "p99.9",
            Self::P99_99 => "p99.99",
            Self::Max => "max",
            Self::Mean => "mean",
        }
    }
}

/// Histograms hold picoseconds.
pub(crate) const PS_PER_NS: f64 = 1000.0;

/// Latencies in nanoseconds. A quantile with fewer than [`MIN_SAMPLES_BEYOND`] samples beyond it is `None`.
///
/// Quantiles are nearest-rank ones (definition 1 of Hyndman & Fan, "Sample Quantiles in Statistical
/// Packages", The American Statistician 50(4), 1996): the smallest value that at least that share of the
/// rounds does not exceed. Nothing is interpolated, so between two modes no latency is reported that no round
/// had, and counts alone define it, so that merged histograms give the quantile of all their rounds.
///
/// A histogram knows the bucket of a value, not the value; the middle of the bucket is reported, for all of
/// them, so that `min <= p50 <= max` holds and equal samples give equal numbers. (hdrhistogram itself answers
/// with the bucket's upper end for a quantile and its lower end for the minimum.) With three significant
/// digits a bucket is at most 1/1024 of its values wide: each number is within 1/2048, 0.049 %, of the exact
/// one, and exact for values below 2048 ps.
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
    /// The arithmetic mean of all samples, outliers included.
    pub mean: Option<f64>,
}

impl Latency {
    /// The statistics of a histogram in picoseconds.
    #[must_use]
    pub(crate) fn of(histogram: &Histogram<u64>) -> Self {
        if histogram.is_empty() {
            return Self::default();
        }
        let ns = |ps: u64| ps as f64 / PS_PER_NS;
        let shown = |share: f64| quantile(histogram, share).map(ns);
        Self {
            samples: histogram.len(),
            min: Some(ns(histogram.median_equivalent(histogram.min()))),
            p50: shown(0.5),
            p90: shown(0.9),
            p99: shown(0.99),
            p99_9: shown(0.999),
            p99_99: shown(0.9999),
            max: Some(ns(histogram.median_equivalent(histogram.max()))),
            mean: Some(histogram.mean() / PS_PER_NS),
        }
    }

    /// For each statistic the median over these trials; the shortest and the longest are those of all rounds. A quantile
    /// for which a trial has too few rounds is that of all rounds, `pooled`: the trials that have it are not typical, since
    /// of a fixed duration they are the fast ones.
    #[must_use]
    pub(crate) fn over_trials(trials: &[Self], pooled: &Self) -> Self {
        let typical = |statistic: Statistic| {
            let values: Option<Vec<f64>> = trials.iter().map(|trial| trial.get(statistic)).collect();
            values.and_then(|values| median(&values)).or(pooled.get(statistic))
        };
        Self {
            p50: typical(Statistic::P50),
            p90: typical(Statistic::P90),
            p99: typical(Statistic::P99),
            p99_9: typical(Statistic::P99_9),
            p99_99: typical(Statistic::P99_99),
            mean: typical(Statistic::Mean),
            ..*pooled
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

/// The nearest-rank `quantile` (0 to 1), in the unit of the histogram's values; `None` with fewer than
/// [`MIN_SAMPLES_BEYOND`] samples beyond it.
#[must_use]
pub(crate) fn quantile(histogram: &Histogram<u64>, quantile: f64) -> Option<u64> {
    let count = histogram.len();
    let beyond = count.checked_sub(nearest_rank(quantile, count))?;
    (beyond >= MIN_SAMPLES_BEYOND).then(|| value_at(histogram, quantile))
}

/// The middle of the bucket that holds the nearest-rank `quantile` (0 to 1).
pub(super) fn value_at(histogram: &Histogram<u64>, quantile: f64) -> u64 {
    histogram.median_equivalent(histogram.value_at_quantile(quantile))
}

/// The rank, from 1, of the sample that is the `quantile` of `count` samples.
///
/// As in hdrhistogram: a product of doubles. For the quantiles shown it rounds to the exact rank.
fn nearest_rank(quantile: f64, count: u64) -> u64 {
    ((quantile * count as f64).ceil() as u64).clamp(1, count)
}

/// Slow outliers of one histogram: J. W. Tukey, "Exploratory Data Analysis", 1977, with the quartiles of
/// [`Latency`]'s rule.
///
/// Only the slow side: a round cannot be unusually fast by accident. Latencies are skewed, so some percent of
/// mild outliers are ordinary (a normal distribution has 0.35 % beyond this fence, an exponential one 4.8 %),
/// and where the clock is coarse and both quartiles are one tick, every slower tick is an outlier.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outliers {
    /// Samples beyond the third quartile by more than 1.5 and at most 3 interquartile ranges.
    pub mild: u64,
    /// Samples beyond the third quartile by more than 3 interquartile ranges.
    pub severe: u64,
}

impl Outliers {
    /// Counts the slow outliers; zero of an empty histogram.
    pub(crate) fn of(histogram: &Histogram<u64>) -> Self {
        let q1 = value_at(histogram, 0.25) as f64;
        let q3 = value_at(histogram, 0.75) as f64;
        let fence = |ranges: f64| q3 + ranges * (q3 - q1);
        let mut outliers = Self::default();
        for bucket in histogram.iter_recorded() {
            let value = histogram.median_equivalent(bucket.value_iterated_to()) as f64;
            if value > fence(3.0) {
                outliers.severe += bucket.count_at_value();
            } else if value > fence(1.5) {
                outliers.mild += bucket.count_at_value();
            }
        }
        outliers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(values: impl IntoIterator<Item = u64>) -> Histogram<u64> {
        let mut histogram = Histogram::new(3).unwrap();
        for value in values {
            histogram.record(value).unwrap();
        }
        histogram
    }

    #[test]
    fn empty_histogram_has_no_figures() {
        assert_eq!(Latency::of(&histogram([])), Latency::default());
    }

    #[test]
    fn quantile_needs_ten_samples_beyond_it() {
        for (statistic, enough) in [
            (Statistic::P50, 20),
            (Statistic::P90, 100),
            (Statistic::P99, 1_000),
            (Statistic::P99_9, 10_000),
            (Statistic::P99_99, 100_000),
        ] {
            let shown = |n: u64| Latency::of(&histogram(1..=n)).get(statistic).is_some();
            assert!(!shown(enough - 1), "{} of {}", statistic.label(), enough - 1);
            assert!(shown(enough), "{} of {enough}", statistic.label());
        }
    }

    #[test]
    fn single_sample_is_min_max_and_mean_and_no_quantile() {
        let summary = Latency::of(&histogram([7]));
        assert_eq!((summary.samples, summary.min, summary.max), (1, Some(0.007), Some(0.007)));
        assert_eq!(Statistic::ALL.iter().filter(|s| summary.get(**s).is_some()).count(), 3);
    }

    #[test]
    fn equal_samples_give_equal_numbers() {
        let summary = Latency::of(&histogram([1_234_567_891; 100]));
        assert_eq!(summary.p50, summary.min);
        assert_eq!(summary.p90, summary.max);
        assert_eq!(summary.mean, summary.max);
    }

    #[test]
    fn numbers_are_within_half_a_bucket_of_the_exact_ones() {
        // One value in each summary, so that the exact answer is known, over the powers and between them.
        for shift in 0..50 {
            for value in [1_u64 << shift, (1 << shift) + (1 << shift) / 3, (2 << shift) - 1] {
                let summary = Latency::of(&histogram([value; 20]));
                for number in [summary.min, summary.p50, summary.max] {
                    let number = number.unwrap() * PS_PER_NS;
                    let error = (number - value as f64).abs() / value as f64;
                    let allowed = if value < 2048 { 1e-12 } else { 1.0 / 2048.0 };
                    assert!(error <= allowed, "{value} is reported as {number}");
                }
            }
        }
    }

    #[test]
    fn the_figures_of_trials_in_two_states_are_between_them_and_the_extremes_are_of_all_rounds() {
        let trial =
            |p50: f64| Latency { samples: 100, min: Some(p50 - 1.0), p50: Some(p50), ..Latency::default() };
        let trials = [trial(10.0), trial(90.0), trial(11.0)];
        let pooled =
            Latency { samples: 300, min: Some(9.0), p50: Some(10.5), p90: Some(95.0), ..Latency::default() };
        let typical = Latency::over_trials(&trials, &pooled);
        assert_eq!((typical.samples, typical.min, typical.p50), (300, Some(9.0), Some(11.0)));
        assert_eq!(typical.p90, Some(95.0), "no trial has it alone");
    }

    #[test]
    fn rank_is_exact_for_the_shown_quantiles() {
        for (quantile, per_ten_thousand) in
            [(0.5, 5000), (0.9, 9000), (0.99, 9900), (0.999, 9990), (0.9999, 9999)]
        {
            for count in (1..2_000).chain((1..=1_000).map(|k| k * 10_000_000)) {
                let exact = u128::from(count) * per_ten_thousand;
                assert_eq!(u128::from(nearest_rank(quantile, count)), exact.div_ceil(10_000));
            }
        }
    }

    #[test]
    fn counts_follow_the_fences() {
        let mut histogram = Histogram::new(3).unwrap();
        assert_eq!(Outliers::of(&histogram), Outliers::default());
        for value in 1..=100 {
            histogram.record(value).unwrap();
        }
        // q1 = 25, q3 = 75: the fences are at 150 and 225, and a value on a fence is within it.
        assert_eq!(Outliers::of(&histogram), Outliers::default());
        for value in [150, 151] {
            histogram.record_n(value, 1).unwrap();
        }
        // Two more samples move the quartiles to 26 and 77 and the fences to 153.5 and 230.
        assert_eq!(Outliers::of(&histogram), Outliers::default());
        let mut wide = Histogram::<u64>::new(3).unwrap();
        wide.record_n(100, 500).unwrap();
        wide.record_n(110, 500).unwrap();
        for value in [125, 126, 140, 141, 9_000] {
            wide.record(value).unwrap();
        }
        assert_eq!(Outliers::of(&wide), Outliers { mild: 2, severe: 2 });
    }
}
