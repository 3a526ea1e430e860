//! Latencies of a report: quantiles in nanoseconds, and intervals around them.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::client::stats::{Statistic, Summary};

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
    /// What a histogram in picoseconds tells.
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

    /// The statistics that are told, with their names, in the order of a report.
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

/// From here to there.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Span {
    /// Its lower end.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
}
