//! Whether a series of latencies, in order of time, goes up or down.

use serde::{Deserialize, Serialize};

use super::interval::{median, median_of_sorted, normal_two_sided_p, sorted};

/// A monotone trend over a run, as a warm host, a changed clock rate or a filling cache leave it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Drift {
    /// The change from the first to the last point along the Theil–Sen line, as a fraction of the series'
    /// median: 0.1 is 10 % slower at the end.
    pub slope_fraction: f64,
    /// How likely a series without a trend shows one as clear (Mann–Kendall, two-sided).
    pub p_value: f64,
}

impl Drift {
    /// A `slope_fraction` as a fraction of the start. The line through the median goes from `1 - f / 2` to `1 + f / 2`, whose
    /// ratio is e^f but for terms of third order; unlike the line, that never falls below zero where most of the change is at
    /// one end.
    pub(crate) fn of_start(slope_fraction: f64) -> f64 {
        slope_fraction.exp_m1()
    }

    /// Whether the trend is worth a warning: p < 0.01, and a change of more than 5 % (with many points, a
    /// trend is certain long before it matters).
    pub(crate) fn significant(&self) -> bool {
        self.p_value < 0.01 && self.slope_fraction.abs() > 0.05
    }
}

/// Looks for a trend in values that are in order of time: the medians of a trial's blocks, or of the trials.
///
/// Size: the median of all pairs' slopes (Sen, "Estimates of the Regression Coefficient Based on Kendall's
/// Tau", JASA 63(324), 1968), which single slow blocks do not move. Certainty: the Mann–Kendall test (Kendall,
/// "Rank Correlation Methods", 1975) with correction for ties and for continuity; it reaches p < 0.01 from six
/// points on.
///
/// Neighbouring blocks resemble each other, which the plain test takes for a trend: of 50 points with a lag-1
/// autocorrelation of 0.6, 15 % are false alarms instead of 1. So its variance is enlarged as for a first-order
/// autoregression (Yue & Wang, "The Mann-Kendall Test Modified by Effective Sample Size", Water Resources
/// Management 18, 2004), which leaves 4 %. They estimate the autocorrelation beside a straight line; here it is
/// beside the best-fitting monotone curve, since beside a line a clear step or a warming curve looks like
/// autocorrelation and hides itself (none of 500 such steps was found; so, all). Part 3 of
/// `tests/statistics/coverage.txt` has the figures, and the limits of the test: a slow random walk
/// still alarms, and with fewer than 20 points a step is mostly missed. Give it 20 to 100 blocks.
///
/// `None` for fewer than three points, one that is not finite, or a median that is not positive. Takes time
/// and memory in the square of the number of points: keep it below some thousand.
pub(crate) fn drift(series: &[f64]) -> Option<Drift> {
    let n = series.len();
    let center = median(series).filter(|center| n >= 3 && *center > 0.0)?;
    let mut slopes = Vec::with_capacity(n * (n - 1) / 2);
    let mut score = 0.0;
    for (i, earlier) in series.iter().enumerate() {
        for (j, later) in series.iter().enumerate().skip(i + 1) {
            slopes.push((later - earlier) / (j - i) as f64);
            score += sign(later - earlier);
        }
    }
    let slope = median_of_sorted(&sorted(&slopes)?);
    let variance = score_variance(series)? * variance_inflation(series, score);
    // Continuity: the score moves in steps of two, so the normal curve is met half a step closer to zero.
    let distance = (score.abs() - 1.0).max(0.0);
    let p_value = if distance == 0.0 { 1.0 } else { normal_two_sided_p(distance / variance.sqrt()) };
    Some(Drift { slope_fraction: slope * (n - 1) as f64 / center, p_value })
}

fn sign(value: f64) -> f64 {
    if value == 0.0 { 0.0 } else { value.signum() }
}

/// The variance of Kendall's score for independent values, ties taken off.
fn score_variance(series: &[f64]) -> Option<f64> {
    let term = |n: f64| n * (n - 1.0) * (2.0 * n + 5.0);
    let sorted = sorted(series)?;
    let ties: f64 = sorted.chunk_by(|a, b| a == b).map(|tied| term(tied.len() as f64)).sum();
    Some((term(series.len() as f64) - ties) / 18.0)
}

/// How many times the score's variance grows by the autocorrelation that is not the trend itself.
fn variance_inflation(series: &[f64], score: f64) -> f64 {
    let n = series.len() as f64;
    // Falling series are turned over, so that one fit does for both directions.
    let rising: Vec<f64> = series.iter().map(|value| value * if score < 0.0 { -1.0 } else { 1.0 }).collect();
    let fit = monotone_fit(&rising);
    let rest: Vec<f64> = rising.iter().zip(&fit).map(|(value, fitted)| value - fitted).collect();
    let squares: f64 = rest.iter().map(|value| value * value).sum();
    if squares == 0.0 {
        return 1.0;
    }
    let raw = rest.windows(2).map(|pair| pair[0] * pair[1]).sum::<f64>() / squares;
    // A short series shows too small an autocorrelation, by about (1 + 3r) / n (Kendall, "Note on Bias in the
    // Estimation of Autocorrelation", Biometrika 41, 1954); one more 1 / n for the fit.
    let autocorrelation = (raw + (2.0 + 3.0 * raw) / n).clamp(0.0, 0.99);
    let (mut power, mut sum) = (1.0, 0.0);
    for lag in 1..series.len() {
        power *= autocorrelation;
        sum += (1.0 - lag as f64 / n) * power;
    }
    1.0 + 2.0 * sum
}

/// The rising series that is closest in squares: pool adjacent violators (Ayer et al., "An Empirical
/// Distribution Function for Sampling with Incomplete Information", Annals of Mathematical Statistics 26, 1955).
fn monotone_fit(series: &[f64]) -> Vec<f64> {
    let mut pools: Vec<(f64, usize)> = Vec::new();
    for value in series {
        let mut pool = (*value, 1);
        while let Some((mean, len)) = pools.pop_if(|(mean, _)| *mean > pool.0) {
            let together = len + pool.1;
            pool = ((mean * len as f64 + pool.0 * pool.1 as f64) / together as f64, together);
        }
        pools.push(pool);
    }
    pools.iter().flat_map(|(mean, len)| std::iter::repeat_n(*mean, *len)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ripple(i: usize) -> f64 {
        // Fixed and without order: the golden ratio's fractional parts.
        (i as f64 * 0.618_033_988_75).fract() - 0.5
    }

    #[test]
    fn line_is_found_and_measured() {
        let series: Vec<f64> = (0..20).map(|i| 100.0 + f64::from(i)).collect();
        let drift = drift(&series).unwrap();
        assert!((drift.slope_fraction - 19.0 / 109.5).abs() < 1e-12);
        assert!(drift.p_value < 1e-6 && drift.significant());
    }

    #[test]
    fn direction_turns_with_time() {
        let series: Vec<f64> = (0..30).map(|i| 100.0 + i as f64 + 20.0 * ripple(i)).collect();
        let reversed: Vec<f64> = series.iter().rev().copied().collect();
        let (up, down) = (drift(&series).unwrap(), drift(&reversed).unwrap());
        assert!((up.slope_fraction + down.slope_fraction).abs() < 1e-12);
        assert!(up.slope_fraction > 0.0 && up.significant() && down.significant());
    }

    #[test]
    fn small_trend_is_certain_but_not_significant() {
        let series: Vec<f64> = (0..50).map(|i| 1000.0 + f64::from(i) / 10.0).collect();
        let drift = drift(&series).unwrap();
        assert!(drift.p_value < 1e-6 && !drift.significant());
    }

    #[test]
    fn noise_is_not_drift() {
        let series: Vec<f64> = (0..40).map(|i| 100.0 + 50.0 * ripple(i)).collect();
        assert!(!drift(&series).unwrap().significant());
    }

    #[test]
    fn step_is_a_drift() {
        let series: Vec<f64> = (0..20).map(|i| if i < 10 { 100.0 } else { 140.0 } + ripple(i)).collect();
        assert!(drift(&series).unwrap().significant());
    }

    #[test]
    fn slow_wave_counts_for_less_than_the_plain_test_says() {
        // Runs of ten equal-ish values: the plain test takes their order for a trend.
        let series: Vec<f64> = (0..40).map(|i| 100.0 + [0.0, 8.0, 3.0, 9.0][i / 10] + ripple(i)).collect();
        let score: f64 = (0..40)
            .flat_map(|i| (i + 1..40).map(move |j| (i, j)))
            .map(|(i, j)| sign(series[j] - series[i]))
            .sum();
        let plain = normal_two_sided_p((score.abs() - 1.0) / score_variance(&series).unwrap().sqrt());
        assert!(plain < 0.01);
        assert!(!drift(&series).unwrap().significant());
    }

    #[test]
    fn nothing_gets_faster_by_all_of_it() {
        for (slope, expected) in [(0.0, 0.0), (0.06, 0.0618), (-0.2, -0.1813), (-2.53, -0.9203)] {
            assert!((Drift::of_start(slope) - expected).abs() < 1e-4, "{slope}: {}", Drift::of_start(slope));
        }
    }

    #[test]
    fn equal_values_have_no_trend() {
        assert_eq!(drift(&[5.0; 9]), Some(Drift { slope_fraction: 0.0, p_value: 1.0 }));
    }

    #[test]
    fn significance_starts_at_six_points() {
        let series: Vec<f64> = (0..6).map(|i| 100.0 + 10.0 * f64::from(i)).collect();
        assert!(!drift(&series[..5]).unwrap().significant());
        assert!(drift(&series).unwrap().significant());
    }

    #[test]
    fn senseless_input_has_no_drift() {
        for series in [&[][..], &[1.0, 2.0], &[1.0, f64::NAN, 2.0], &[0.0, 0.0, 0.0]] {
            assert_eq!(drift(series), None);
        }
    }

    #[test]
    fn monotone_fit_pools_what_falls() {
        assert_eq!(monotone_fit(&[1.0, 3.0, 2.0, 4.0, 1.0, 1.0]), [1.0, 2.2, 2.2, 2.2, 2.2, 2.2]);
        assert_eq!(monotone_fit(&[1.0, 2.0, 3.0]), [1.0, 2.0, 3.0]);
    }
}
