//! Whether latencies rise or fall within every trial, or from trial to trial.

use serde::{Deserialize, Serialize};

use super::interval::{median, median_of_sorted, normal_two_sided_p, sorted};

/// A monotone trend, as a warm-up that was too short, a warming host or a filling cache leave it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Drift {
    /// The change from the first to the last point along the Theil–Sen line, as a fraction of the series' median: 0.1 is
    /// 10 % slower at the end. Of several series, the median.
    pub slope_fraction: f64,
    /// How likely series without a trend show one as clear (Mann–Kendall, two-sided).
    pub p_value: f64,
}

impl Drift {
    /// A `slope_fraction` as a fraction of the start. The line through the median goes from `1 - f / 2` to `1 + f / 2`, whose
    /// ratio is e^f but for terms of third order; unlike the line, that never falls below zero where most of the change is at
    /// one end.
    pub(crate) fn of_start(slope_fraction: f64) -> f64 {
        slope_fraction.exp_m1()
    }

    /// Whether the trend is worth a warning: p < 0.01, and a change of more than 5 % (with many trials, a trend is certain
    /// long before it matters).
    pub(crate) fn significant(&self) -> bool {
        self.p_value < 0.01 && self.slope_fraction.abs() > 0.05
    }
}

/// The parts into which a series is divided. Neighbouring slices of a trial resemble each other, which the test would
/// take for a trend; the means of eight parts hardly do.
const PARTS: usize = 8;

/// Looks for a trend that independent series have in common: the latencies of each trial's slices, in order of time. From six
/// trials on, the trials' medians are one such series.
///
/// Size: the median of all pairs' slopes (Sen, "Estimates of the Regression Coefficient Based on Kendall's Tau", JASA 63(324),
/// 1968), which a single slow part does not move. Certainty: the Mann–Kendall test, with its scores and their variances added
/// up over the series (Hirsch & Slack, "A Nonparametric Trend Test for Seasonal Data with Serial Dependence", Water Resources
/// Research 20(6), 1984), with correction for ties and for continuity. The variance is never below the one that the
/// series' scores show among themselves, so that waves within trials do not count as one. `tests/statistics/inference.txt` has the
/// shares of false alarms and of trends found.
///
/// `None` if a series has fewer than three points, one that is not finite, or a median that is not positive; or there is none.
pub(crate) fn drift(series: &[Vec<f64>]) -> Option<Drift> {
    let trends: Vec<Trend> = series.iter().map(|series| trend(&parts(series))).collect::<Option<_>>()?;
    let slopes: Vec<f64> = trends.iter().map(|trend| trend.slope_fraction).collect();
    let slope_fraction = median(&slopes)?;
    let (score, variance) =
        trends.iter().fold((0.0, 0.0), |(score, sum), trend| (score + trend.score, sum + trend.variance));
    let count = trends.len() as f64;
    let squares: f64 = trends.iter().map(|trend| (trend.score - score / count).powi(2)).sum();
    let seen = if trends.len() > 1 { count * squares / (count - 1.0) } else { 0.0 };
    // Continuity: the score moves in steps of two, so the normal curve is met half a step closer to zero.
    let distance = (score.abs() - 1.0).max(0.0);
    let p_value =
        if distance == 0.0 { 1.0 } else { normal_two_sided_p(distance / variance.max(seen).sqrt()) };
    Some(Drift { slope_fraction, p_value })
}

/// What one series says.
struct Trend {
    slope_fraction: f64,
    /// Kendall's.
    score: f64,
    /// The score's, for independent values.
    variance: f64,
}

fn trend(series: &[f64]) -> Option<Trend> {
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
    Some(Trend { slope_fraction: slope * (n - 1) as f64 / center, score, variance: score_variance(series)? })
}

/// The means of [`PARTS`] parts of almost equal length; a shorter series is left as it is.
fn parts(series: &[f64]) -> Vec<f64> {
    let parts = PARTS.min(series.len());
    (0..parts)
        .map(|part| &series[part * series.len() / parts..(part + 1) * series.len() / parts])
        .map(|part| part.iter().sum::<f64>() / part.len() as f64)
        .collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn ripple(i: usize) -> f64 {
        // Fixed and without order: the golden ratio's fractional parts.
        (i as f64 * 0.618_033_988_75).fract() - 0.5
    }

    fn one(series: Vec<f64>) -> Drift {
        drift(&[series]).unwrap()
    }

    #[test]
    fn line_is_found_and_measured() {
        let drift = one((0..8).map(|i| 100.0 + f64::from(i)).collect());
        assert!((drift.slope_fraction - 7.0 / 103.5).abs() < 1e-12);
        assert!(drift.p_value < 1e-3 && drift.significant());
    }

    #[test]
    fn direction_turns_with_time() {
        let series: Vec<f64> = (0..32).map(|i| 100.0 + i as f64 + 20.0 * ripple(i)).collect();
        let (up, down) = (one(series.clone()), one(series.into_iter().rev().collect()));
        assert!((up.slope_fraction + down.slope_fraction).abs() < 1e-12);
        assert!(up.slope_fraction > 0.0 && up.significant() && down.significant());
    }

    #[test]
    fn a_warm_up_in_every_trial_is_found_whatever_level_each_trial_has() {
        let trial = |level: f64| -> Vec<f64> {
            (0..64).map(|i| level * (1.0 + 0.3 * (-f64::from(i) / 20.0).exp())).collect()
        };
        let levels = [100.0, 140.0, 90.0, 120.0, 70.0];
        let found = drift(&levels.map(trial)).unwrap();
        assert!(found.significant() && found.slope_fraction < -0.1, "{found:?}");
    }

    #[test]
    fn levels_of_trials_are_no_drift_within_them() {
        let trial = |level: usize| -> Vec<f64> {
            (0..64).map(|i| 100.0 + 30.0 * level as f64 + ripple(i + 64 * level)).collect()
        };
        let trials: Vec<_> = (0..5).map(trial).collect();
        assert!(!drift(&trials).unwrap().significant());
    }

    #[test]
    fn trials_that_go_both_ways_are_no_drift() {
        let trial = |slope: f64| -> Vec<f64> { (0..64).map(|i| 100.0 + slope * f64::from(i)).collect() };
        let found = drift(&[1.0, 1.0, 1.0, 1.0, -1.0, -1.0].map(trial)).unwrap();
        assert!(found.p_value > 0.01, "{found:?}");
    }

    #[test]
    fn small_trend_is_certain_but_not_significant() {
        let trial: Vec<f64> = (0..50).map(|i| 1000.0 + f64::from(i) / 10.0).collect();
        let drift = drift(&[trial.clone(), trial]).unwrap();
        assert!(drift.p_value < 1e-4 && !drift.significant());
    }

    #[test]
    fn noise_is_not_drift() {
        assert!(!one((0..40).map(|i| 100.0 + 50.0 * ripple(i)).collect()).significant());
    }

    #[test]
    fn nothing_gets_faster_by_all_of_it() {
        for (slope, expected) in [(0.0, 0.0), (0.06, 0.0618), (-0.2, -0.1813), (-2.53, -0.9203)] {
            assert!((Drift::of_start(slope) - expected).abs() < 1e-4, "{slope}: {}", Drift::of_start(slope));
        }
    }

    #[test]
    fn equal_values_have_no_trend() {
        assert_eq!(one(vec![5.0; 9]), Drift { slope_fraction: 0.0, p_value: 1.0 });
    }

    #[test]
    fn significance_starts_at_six_points() {
        let series: Vec<f64> = (0..6).map(|i| 100.0 + 10.0 * f64::from(i)).collect();
        assert!(!one(series[..5].to_vec()).significant());
        assert!(one(series).significant());
    }

    #[test]
    fn senseless_input_has_no_drift() {
        assert_eq!(drift(&[]), None);
        for series in [&[][..], &[1.0, 2.0], &[1.0, f64::NAN, 2.0], &[0.0, 0.0, 0.0]] {
            assert_eq!(drift(&[series.to_vec()]), None);
        }
    }
}
