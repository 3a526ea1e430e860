//! How many rounds were unusually slow, by Tukey's fences; counted, never dropped.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::summary::value_at;

/// Slow outliers of one histogram: J. W. Tukey, "Exploratory Data Analysis", 1977, with the quartiles of
/// [`Summary`](super::Summary)'s rule.
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
