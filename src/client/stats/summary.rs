//! What one histogram of latencies says: the few numbers that a report shows.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// How many samples have to lie beyond a quantile for it to be shown.
///
/// With fewer, the "quantile" is the story of a handful of rounds: ten samples beyond it already leave its
/// rank uncertain by a third (the count beyond has a standard deviation of about √10).
pub(crate) const MIN_SAMPLES_BEYOND: u64 = 10;

/// One number of a [`Summary`].
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

/// The numbers of a report, in the unit of the histogram's values.
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
/// one, and exact for values below 2048.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Summary {
    /// How many samples there are; at least one.
    pub count: u64,
    /// The smallest sample.
    pub min: u64,
    /// The median; as each quantile, `None` with fewer than [`MIN_SAMPLES_BEYOND`] samples beyond it.
    pub p50: Option<u64>,
    /// The 90 % quantile.
    pub p90: Option<u64>,
    /// The 99 % quantile.
    pub p99: Option<u64>,
    /// The 99.9 % quantile.
    pub p99_9: Option<u64>,
    /// The 99.99 % quantile.
    pub p99_99: Option<u64>,
    /// The largest sample.
    pub max: u64,
    /// The arithmetic mean of all samples, outliers included.
    pub mean: f64,
}

impl Summary {
    /// Sums up the histogram; `None` if it is empty.
    pub(crate) fn of(histogram: &Histogram<u64>) -> Option<Self> {
        let count = histogram.len();
        if count == 0 {
            return None;
        }
        let shown = |share: f64| quantile(histogram, share);
        Some(Self {
            count,
            min: histogram.median_equivalent(histogram.min()),
            p50: shown(0.5),
            p90: shown(0.9),
            p99: shown(0.99),
            p99_9: shown(0.999),
            p99_99: shown(0.9999),
            max: histogram.median_equivalent(histogram.max()),
            mean: histogram.mean(),
        })
    }

    /// One of the numbers; `None` if it is a quantile that is not shown.
    #[cfg(test)]
    pub(crate) fn get(&self, statistic: Statistic) -> Option<f64> {
        let value = match statistic {
            Statistic::Min => Some(self.min),
            Statistic::P50 => self.p50,
            Statistic::P90 => self.p90,
            Statistic::P99 => self.p99,
            Statistic::P99_9 => self.p99_9,
            Statistic::P99_99 => self.p99_99,
            Statistic::Max => Some(self.max),
            Statistic::Mean => return Some(self.mean),
        };
        value.map(|value| value as f64)
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
/// [`Summary`]'s rule.
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
    fn empty_histogram_has_no_summary() {
        assert_eq!(Summary::of(&histogram([])), None);
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
            let shown = |n: u64| Summary::of(&histogram(1..=n)).unwrap().get(statistic).is_some();
            assert!(!shown(enough - 1), "{} of {}", statistic.label(), enough - 1);
            assert!(shown(enough), "{} of {enough}", statistic.label());
        }
    }

    #[test]
    fn single_sample_is_min_max_and_mean_and_no_quantile() {
        let summary = Summary::of(&histogram([7])).unwrap();
        assert_eq!((summary.count, summary.min, summary.max, summary.mean), (1, 7, 7, 7.0));
        assert_eq!(Statistic::ALL.iter().filter(|s| summary.get(**s).is_some()).count(), 3);
    }

    #[test]
    fn equal_samples_give_equal_numbers() {
        let summary = Summary::of(&histogram([1_234_567_891; 100])).unwrap();
        assert_eq!(summary.p50, Some(summary.min));
        assert_eq!(summary.p90, Some(summary.max));
        assert_eq!(summary.mean, summary.max as f64);
    }

    #[test]
    fn numbers_are_within_half_a_bucket_of_the_exact_ones() {
        // One value in each summary, so that the exact answer is known, over the powers and between them.
        for shift in 0..50 {
            for value in [1_u64 << shift, (1 << shift) + (1 << shift) / 3, (2 << shift) - 1] {
                let summary = Summary::of(&histogram([value; 20])).unwrap();
                for number in [summary.min, summary.p50.unwrap(), summary.max] {
                    let error = number.abs_diff(value) as f64 / value as f64;
                    assert!(error <= 1.0 / 2048.0, "{value} is reported as {number}");
                    assert!(value >= 2048 || number == value, "{value} is reported as {number}");
                }
            }
        }
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
