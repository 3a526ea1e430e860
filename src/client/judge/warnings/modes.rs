//! Whether latencies gather around two values: what a scheduler makes of them that moves a side from CPU to CPU.

use hdrhistogram::Histogram;

/// With fewer samples, chance makes hills.
const FEWEST_SAMPLES: u64 = 1000;

/// Bins in a factor of two: each is 9 % wide, which joins the ripples of a coarse clock.
const BINS_PER_OCTAVE: f64 = 8.0;

/// How far the peaks are apart at least, in bins: a factor of 2. Placement makes one of 3 to 10, a busy neighbour less.
const FEWEST_BINS_APART: usize = 8;

/// The share of samples on the smaller peak's side of the valley: with less, it is a tail.
const SMALLEST_SHARE: f64 = 0.1;

/// The valley's depth as a fraction of the smaller peak.
const DEEPEST_VALLEY: f64 = 0.5;

/// Two peaks, in the histogram's unit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Modes {
    pub(super) low: f64,
    pub(super) high: f64,
    /// The share of the samples beyond the valley.
    pub(super) high_fraction: f64,
}

/// The two peaks of a histogram that has two, far enough apart, with a valley between them.
pub(super) fn modes(histogram: &Histogram<u64>) -> Option<Modes> {
    if histogram.len() < FEWEST_SAMPLES {
        return None;
    }
    let bin = |value: u64| ((value.max(1) as f64).log2() * BINS_PER_OCTAVE) as usize;
    let first = bin(histogram.min());
    let mut bins = vec![0_u64; bin(histogram.max()) - first + 1];
    for bucket in histogram.iter_recorded() {
        bins[bin(bucket.value_iterated_to()) - first] += bucket.count_at_value();
    }
    let highest = |range: std::ops::Range<usize>| range.max_by_key(|&at| bins[at]);
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

/// The valley between two bins, if it is one.
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
    use crate::client::measure::histogram;

    /// Samples spread evenly, by so many percent to either side of each center.
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
