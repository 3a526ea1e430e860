//! Where a series of results, in order of time, changes its level.
//!
//! Statistic: for each way to cut an interval in two, the Mann–Whitney test of the two parts, and the largest of them: the
//! change point model of Hawkins & Deng, "A Nonparametric Change-Point Control Chart", Journal of Quality Technology
//! 42(2), 2010. It looks at ranks alone, so that one wild run, or a long tail, is not taken for a change, and so that how
//! often it errs does not depend on how the runs are spread.
//!
//! Several changes: the test is made in seeded intervals (Kovács, Bühlmann, Li & Munk, "Seeded Binary Segmentation",
//! Biometrika 110(1), 2023), some of them around a single change; the clearest change cuts the series, and each part is
//! searched in the same way. Plain binary segmentation misses a change that is reverted.
//!
//! Threshold: by simulation of series without a change ([`threshold`]), so that about 1 % of them show one, however many
//! intervals were looked at. `tests/statistics/change_points.rs` ran it; its figures, also of what is found when, and of
//! how autocorrelation raises the false alarms, are in `tests/statistics/change_points.txt`.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

/// The shortest level, in values: fewer are outliers.
const SHORTEST: usize = 4;

/// The largest statistic that 99 % of all series without a change stay below, by their length.
const THRESHOLDS: [(f64, f64); 10] = [
    (10.0, 2.57),
    (15.0, 2.872),
    (20.0, 3.086),
    (30.0, 3.317),
    (50.0, 3.548),
    (100.0, 3.818),
    (200.0, 4.031),
    (500.0, 4.266),
    (1000.0, 4.451),
    (2000.0, 4.636),
];

/// The fewest values in which a change can be detected.
pub(crate) const FEWEST_FOR_A_CHANGE: usize = 10;

/// The indices at which a new level begins, in order. None for fewer than [`FEWEST_FOR_A_CHANGE`] values, or if one is
/// not a number.
///
/// Takes time in n log² n: 5 ms for a thousand values.
#[must_use]
pub(crate) fn change_points(values: &[f64]) -> Vec<usize> {
    if values.len() < FEWEST_FOR_A_CHANGE || values.iter().any(|value| value.is_nan()) {
        return Vec::new();
    }
    change_points_above(values, threshold(values.len()))
}

/// The same with another threshold; for the simulation that has found ours.
#[must_use]
pub(crate) fn change_points_above(values: &[f64], threshold: f64) -> Vec<usize> {
    let cuts: Vec<Cut> =
        seeded(values.len()).into_iter().filter_map(|(from, to)| best_cut(values, from, to)).collect();
    let mut found = Vec::new();
    let mut segments = vec![(0, values.len())];
    while let Some((from, to)) = segments.pop() {
        let own = best_cut(values, from, to);
        let within = cuts.iter().filter(|cut| from <= cut.from && cut.to <= to);
        let best = within.chain(&own).max_by(|a, b| a.statistic.total_cmp(&b.statistic));
        if let Some(cut) = best.filter(|cut| cut.statistic > threshold) {
            found.push(cut.at);
            segments.extend([(from, cut.at), (cut.at, to)]);
        }
    }
    found.sort_unstable();
    for number in 0..found.len() {
        let from = if number == 0 { 0 } else { found[number - 1] };
        let to = found.get(number + 1).copied().unwrap_or(values.len());
        found[number] = placed(values, from, found[number], to);
    }
    found
}

/// Locates the change near `at` between `from` and `to`: ranks detect a change well but locate it poorly. Returns the cut
/// that minimizes the distances of all values to the median of their part, which an outlier barely moves.
fn placed(values: &[f64], from: usize, at: usize, to: usize) -> usize {
    let before = distances(values[from..to].iter());
    let after = distances(values[from..to].iter().rev());
    let len = to - from;
    let sum = |first: usize| before[first - 1] + after[len - first - 1];
    let cuts = SHORTEST..(len + 1).saturating_sub(SHORTEST);
    cuts.min_by(|a, b| sum(*a).total_cmp(&sum(*b))).map_or(at, |first| from + first)
}

/// The sum of distances of the first value, of the first two, and so on, to their median.
fn distances<'a>(values: impl Iterator<Item = &'a f64>) -> Vec<f64> {
    // The lower half with its largest at hand, the upper one with its smallest.
    let (mut low, mut high) = (BinaryHeap::new(), BinaryHeap::new());
    let (mut low_sum, mut high_sum) = (0.0, 0.0);
    values
        .map(|value| {
            low.push(Ordered(*value));
            low_sum += value;
            let mut to_high = |low: &mut BinaryHeap<Ordered>, high: &mut BinaryHeap<Reverse<Ordered>>| {
                if let Some(moved) = low.pop() {
                    low_sum -= moved.0;
                    high_sum += moved.0;
                    high.push(Reverse(moved));
                }
            };
            to_high(&mut low, &mut high);
            if high.len() > low.len()
                && let Some(Reverse(moved)) = high.pop()
            {
                high_sum -= moved.0;
                low_sum += moved.0;
                low.push(moved);
            }
            // With as many on either side, any value between the halves is a median.
            let median = low.peek().map_or(0.0, |middle| middle.0);
            (median * low.len() as f64 - low_sum) + (high_sum - median * high.len() as f64)
        })
        .collect()
}

/// A number in its order.
#[derive(Debug, Clone, Copy)]
struct Ordered(f64);

impl Ord for Ordered {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl PartialOrd for Ordered {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Ordered {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Ordered {}

/// The largest statistic of a series: what the simulation looks at.
#[allow(dead_code, reason = "tests/statistics/change_points.rs calls it")]
#[must_use]
pub(crate) fn largest_statistic(values: &[f64]) -> f64 {
    let cuts = seeded(values.len()).into_iter().filter_map(|(from, to)| best_cut(values, from, to));
    cuts.map(|cut| cut.statistic).fold(0.0, f64::max)
}

/// The threshold for a series of `len` values: interpolated between the simulated ones, and extrapolated
/// beyond them, along the logarithm of the length.
fn threshold(len: usize) -> f64 {
    let len = len as f64;
    let [.., before, last] = THRESHOLDS;
    let between = THRESHOLDS.windows(2).find(|pair| len <= pair[1].0);
    let [(short, low), (long, high)] = between.map_or([before, last], |pair| [pair[0], pair[1]]);
    let share = ((len / short).ln() / (long / short).ln()).max(0.0);
    low + share * (high - low)
}

/// An interval, and where it is cut best.
struct Cut {
    from: usize,
    to: usize,
    at: usize,
    statistic: f64,
}

/// The whole, and shorter and shorter intervals, each by 1/√2, evenly laid over it.
fn seeded(len: usize) -> Vec<(usize, usize)> {
    let mut intervals = Vec::new();
    let mut length = len as f64;
    let mut layers = 1.0_f64;
    while length >= (2 * SHORTEST) as f64 {
        let count = 2.0 * layers.ceil() - 1.0;
        let shift = if count > 1.0 { (len as f64 - length) / (count - 1.0) } else { 0.0 };
        let mut number = 0.0;
        while number < count {
            let from = (number * shift).floor();
            let to = (number * shift + length).ceil().min(len as f64);
            // Both are from 0 to the length.
            intervals.push((from as usize, to as usize));
            number += 1.0;
        }
        length /= std::f64::consts::SQRT_2;
        layers *= std::f64::consts::SQRT_2;
    }
    intervals.dedup();
    intervals
}

/// The cut of an interval whose two parts differ most, by the standardized Mann–Whitney statistic with correction for
/// ties; `None` if the interval is too short or all its values are equal.
fn best_cut(values: &[f64], from: usize, to: usize) -> Option<Cut> {
    let len = to - from;
    if len < 2 * SHORTEST {
        return None;
    }
    let (ranks, ties) = ranks(&values[from..to]);
    let size = len as f64;
    let spread = (size + 1.0 - ties / (size * (size - 1.0))) / 12.0;
    if spread <= 0.0 {
        return None;
    }
    let mut sum: f64 = ranks[..SHORTEST - 1].iter().sum();
    let mut best = (0.0, 0);
    for first in SHORTEST..=len - SHORTEST {
        sum += ranks[first - 1];
        let (one, other) = (first as f64, (len - first) as f64);
        let statistic = (sum - one * (size + 1.0) / 2.0).abs() / (one * other * spread).sqrt();
        if statistic > best.0 {
            best = (statistic, first);
        }
    }
    Some(Cut { from, to, at: from + best.1, statistic: best.0 })
}

/// The rank of each value, from 1, equal values sharing theirs; and what ties take from the ranks' variance: the sum of
/// t³ - t over groups of t equal values.
fn ranks(values: &[f64]) -> (Vec<f64>, f64) {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_unstable_by(|a, b| values[*a].total_cmp(&values[*b]));
    let mut ranks = vec![0.0; values.len()];
    let mut ties = 0.0;
    let mut before = 0;
    for equal in order.chunk_by(|a, b| values[*a] == values[*b]) {
        let count = equal.len() as f64;
        let rank = before as f64 + (count + 1.0) / 2.0;
        equal.iter().for_each(|index| ranks[*index] = rank);
        ties += count * count * count - count;
        before += equal.len();
    }
    (ranks, ties)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values around 100, by a fixed rule that looks like chance.
    fn around_100(len: usize) -> Vec<f64> {
        let mut state = 7_u64;
        (0..len)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                99.0 + 2.0 * ((state >> 33) as f64 / (1_u64 << 31) as f64)
            })
            .collect()
    }

    #[test]
    fn levels_are_separated_where_they_change() {
        let mut series = around_100(90);
        series[30..60].iter_mut().for_each(|value| *value += 5.0);
        series[60..].iter_mut().for_each(|value| *value -= 10.0);
        let points = change_points(&series);
        assert_eq!(points, [30, 60]);
    }

    #[test]
    fn a_change_that_is_taken_back_is_seen() {
        let mut series = around_100(200);
        series[95..105].iter_mut().for_each(|value| *value += 20.0);
        assert_eq!(change_points(&series), [95, 105]);
    }

    #[test]
    fn a_new_level_is_seen_after_a_few_values() {
        let mut series = around_100(100);
        series[93..].iter_mut().for_each(|value| *value *= 1.2);
        assert_eq!(change_points(&series), [93]);
    }

    #[test]
    fn wild_values_are_no_change() {
        let mut series = around_100(100);
        for wild in [3, 40, 41, 77, 99] {
            series[wild] *= 50.0;
        }
        assert_eq!(change_points(&series), Vec::<usize>::new());
    }

    #[test]
    fn too_few_or_invalid_values_show_no_change() {
        assert_eq!(change_points(&[]), Vec::<usize>::new());
        assert_eq!(change_points(&[5.0; 1000]), Vec::<usize>::new());
        let step: Vec<f64> = (0..9).map(|n| if n < 5 { 1.0 } else { 2.0 }).collect();
        assert_eq!(change_points(&step), Vec::<usize>::new());
        let mut series = around_100(50);
        series[20] = f64::NAN;
        series[25..].iter_mut().for_each(|value| *value += 50.0);
        assert_eq!(change_points(&series), Vec::<usize>::new());
        let ten: Vec<f64> = (0..10).map(|n| f64::from(n) + if n < 5 { 0.0 } else { 100.0 }).collect();
        assert_eq!(change_points(&ten), [5], "the fewest, and as clear as it can be");
    }

    #[test]
    fn the_scale_does_not_matter() {
        let mut series = around_100(60);
        series[33..].iter_mut().for_each(|value| *value += 3.0);
        let logarithms: Vec<f64> = series.iter().map(|value| (value * 1e6).ln()).collect();
        assert_eq!(change_points(&series), change_points(&logarithms));
    }

    #[test]
    fn one_series_in_a_hundred_shows_a_change_that_is_none() {
        // 500 series of 30 from one stream: about 5 are expected; the chance of 15 or more is below 10^-4.
        let stream = around_100(500 * 30);
        let alarms = stream.chunks_exact(30).filter(|series| !change_points(series).is_empty()).count();
        assert!(alarms < 15, "{alarms}");
    }

    #[test]
    fn distances_are_those_to_the_median() {
        assert_eq!(distances([5.0, 1.0, 3.0, 9.0].iter()), [0.0, 4.0, 4.0, 10.0]);
    }

    #[test]
    fn ties_share_their_rank() {
        assert_eq!(ranks(&[3.0, 1.0, 3.0, 2.0]), (vec![3.5, 1.0, 3.5, 2.0], 6.0));
    }

    #[test]
    fn thresholds_rise_with_the_length() {
        assert_eq!(threshold(100), 3.818);
        assert!((10..5000).map(threshold).is_sorted());
        assert_eq!(threshold(1_000_000), 4.636 + (4.636 - 4.451) * ((1e6_f64 / 2000.0).ln() / 2_f64.ln()));
    }
}
