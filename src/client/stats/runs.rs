//! Whether runs differ from other runs, where each run counts as one value.
//!
//! Each run has new processes, memory and CPUs' states, and so its own level: medians of unchanged runs differ by 1.2 to
//! 1.7 % (standard deviation) where trials of one run differ by 0.7 to 0.9 %. An interval over trials contains the level that
//! other runs have in only half of all cases. So a comparison of runs rests on how far unchanged runs lie apart, and the
//! trials of a run only add to that.

use super::change_points::change_points;
use super::interval::{CONFIDENCE, Interval, Z_975, median_of_sorted, normal_two_sided_p, sorted};

/// The standard deviation between runs that is assumed until enough runs show it, as a fraction: the larger one of those
/// measured on an idle guest with two CPUs.
pub(crate) const ASSUMED_RUN_SD: f64 = 0.017;

/// The fewest degrees of freedom that replace [`ASSUMED_RUN_SD`]: those of six unchanged runs.
const FEWEST_DEGREES: usize = 5;

/// The fewest runs in which a stray one is recognized.
const FEWEST_FOR_STRAYS: usize = 10;

/// A run further from its level's median than this many standard deviations is left out: something else ran.
const STRAY: f64 = 5.0;

/// From the median of absolute deviations to the standard deviation, for normally distributed values.
const MAD_TO_SD: f64 = 1.4826;

/// How far runs lie apart where nothing has changed: deviations of logarithms from their level, added up over levels.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct RunSpread {
    squares: f64,
    degrees: usize,
}

impl RunSpread {
    /// Adds runs that have one level. Values that are not positive are skipped.
    pub(crate) fn add(&mut self, level: &[f64]) {
        let logs: Vec<f64> =
            level.iter().filter(|value| **value > 0.0 && value.is_finite()).map(|value| value.ln()).collect();
        if logs.len() >= 2 {
            let mean = mean(&logs);
            self.squares += logs.iter().map(|log| (log - mean).powi(2)).sum::<f64>();
            self.degrees += logs.len() - 1;
        }
    }

    /// Adds runs in their order that may have several levels, as [`change_points`] finds them; stray runs are left out.
    pub(crate) fn add_history(&mut self, values: &[f64]) {
        let mut ends = change_points(values);
        ends.push(values.len());
        let mut from = 0;
        for to in ends {
            self.add(&without_strays(&values[from..to]));
            from = to;
        }
    }

    /// The differences between unchanged runs that it rests on: for each level, one less than its runs.
    pub(crate) fn degrees(&self) -> usize {
        self.degrees
    }

    /// The variance of logarithms, however few there are.
    pub(crate) fn variance(&self) -> Option<f64> {
        (self.degrees > 0).then(|| self.squares / self.degrees as f64)
    }

    /// The standard deviation between runs, as a fraction; `None` until there are six unchanged runs.
    pub(crate) fn sd(&self) -> Option<f64> {
        self.variance().filter(|_| self.degrees >= FEWEST_DEGREES).map(f64::sqrt)
    }

    /// The smallest difference that a run can show against this many others, as a fraction: half of the 95 % interval.
    pub(crate) fn smallest_difference(&self, others: usize) -> f64 {
        let share = 1.0 + 1.0 / others.max(1) as f64;
        RunEstimate::new(1.0, share, self, 0.0, 0.0).half_width().exp_m1()
    }
}

fn without_strays(level: &[f64]) -> Vec<f64> {
    let kept = || {
        let center = median_of_sorted(&sorted(level).filter(|_| level.len() >= FEWEST_FOR_STRAYS)?);
        let away: Vec<f64> = level.iter().map(|value| (value / center).ln().abs()).collect();
        let most = STRAY * MAD_TO_SD * median_of_sorted(&sorted(&away)?);
        Some(level.iter().zip(&away).filter(|(_, away)| **away <= most).map(|(value, _)| *value).collect())
    };
    kept().unwrap_or_else(|| level.to_vec())
}

/// A positive number and how sure it is: the ratio of some runs to others, or the level of some runs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct RunEstimate {
    log: f64,
    standard_error: f64,
    /// `None`: normally distributed.
    degrees: Option<usize>,
}

impl RunEstimate {
    /// An estimate whose variance is `share` times that between runs: 1/n for the mean of n runs. Its 95 % interval is
    /// never narrower than `trials` and `step` on either side (in logarithms): what the trials alone say, and what the clock
    /// can show.
    pub(crate) fn new(value: f64, share: f64, spread: &RunSpread, trials: f64, step: f64) -> Self {
        let (run_sd, degrees) = match spread.sd() {
            Some(sd) => (sd, Some(spread.degrees)),
            None => (ASSUMED_RUN_SD, None),
        };
        let quantile = degrees.map_or(Z_975, student_975);
        let of_runs = run_sd * share.sqrt();
        let of_trials = trials / quantile;
        // The runs' spread has that of their trials in it; what is assumed may not.
        let standard_error =
            if degrees.is_some() { of_runs.max(of_trials) } else { of_runs.hypot(of_trials) };
        Self { log: value.ln(), standard_error: standard_error.max(step / quantile), degrees }
    }

    /// The number.
    pub(crate) fn value(&self) -> f64 {
        self.log.exp()
    }

    /// Its 95 % interval: a prediction interval, since it has the spread of both sides' runs in it.
    pub(crate) fn interval(&self) -> Interval {
        let half = self.half_width();
        Interval { low: (self.log - half).exp(), high: (self.log + half).exp() }
    }

    /// Half of the interval, in logarithms.
    pub(crate) fn half_width(&self) -> f64 {
        self.standard_error * self.degrees.map_or(Z_975, student_975)
    }

    /// How likely chance alone takes the number as far from this one, to either side.
    pub(crate) fn p_value(&self, from: f64) -> f64 {
        let distance = (self.log - from.ln()) / self.standard_error;
        self.degrees
            .map_or_else(|| normal_two_sided_p(distance), |degrees| student_two_sided_p(distance, degrees))
    }
}

/// The p-values that hold for a whole family of tests: whatever depends on what, at most 5 % of all families of equal things
/// have one at or below 0.05 (Holm, "A Simple Sequentially Rejective Multiple Test Procedure", Scandinavian Journal of
/// Statistics 6(2), 1979). Order is kept.
pub(crate) fn holm(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|a, b| p_values[*a].total_cmp(&p_values[*b]));
    let mut adjusted = vec![0.0; p_values.len()];
    let mut most = 0.0_f64;
    for (rank, index) in order.into_iter().enumerate() {
        most = most.max(p_values[index] * (p_values.len() - rank) as f64).min(1.0);
        adjusted[index] = most;
    }
    adjusted
}

/// The mean of logarithms, of values that are positive, taken back.
pub(crate) fn geometric_mean(values: &[f64]) -> Option<f64> {
    let logs: Vec<f64> = values.iter().map(|value| value.ln()).collect();
    Some(mean(&logs)).filter(|mean| mean.is_finite()).map(f64::exp)
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// How likely a value of Student's t lies at least this far from zero, on either side. Abramowitz & Stegun, 26.7.3 and 26.7.4.
fn student_two_sided_p(t: f64, degrees: usize) -> f64 {
    let angle = (t.abs() / (degrees as f64).sqrt()).atan();
    let (sin, cos) = angle.sin_cos();
    let is_odd = degrees % 2 == 1;
    // Odd: cos + 2/3 cos³ + 2·4/(3·5) cos⁵ + …; even: 1 + 1/2 cos² + 1·3/(2·4) cos⁴ + …; up to the power of degrees - 2.
    let mut term = if is_odd { cos } else { 1.0 };
    let mut sum = 0.0;
    let mut power = usize::from(is_odd);
    while power + 2 <= degrees {
        sum += term;
        power += 2;
        term *= cos * cos * (power - 1) as f64 / power as f64;
    }
    let inside = if is_odd { (angle + sin * sum) * std::f64::consts::FRAC_2_PI } else { sin * sum };
    (1.0 - inside).clamp(0.0, 1.0)
}

/// The two-sided 95 % point of Student's t.
fn student_975(degrees: usize) -> f64 {
    let (mut low, mut high) = (0.0, 13.0);
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        let is_below = student_two_sided_p(middle, degrees) > 1.0 - CONFIDENCE;
        if is_below { low = middle } else { high = middle }
    }
    f64::midpoint(low, high)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(levels: &[&[f64]]) -> RunSpread {
        let mut spread = RunSpread::default();
        levels.iter().for_each(|level| spread.add(level));
        spread
    }

    #[test]
    fn student_agrees_with_published_tables() {
        // Abramowitz & Stegun, table 26.10.
        for (degrees, point) in [(1, 12.706), (2, 4.303), (5, 2.571), (10, 2.228), (30, 2.042), (60, 2.000)] {
            assert!((student_975(degrees) - point).abs() < 5e-4, "{degrees}: {}", student_975(degrees));
            assert!((student_two_sided_p(point, degrees) - 0.05).abs() < 5e-5);
        }
        assert!((student_two_sided_p(3.365, 5) - 0.02).abs() < 1e-5);
        assert!((student_two_sided_p(2.764, 10) - 0.02).abs() < 1e-5);
        assert_eq!(student_two_sided_p(0.0, 7), 1.0);
    }

    #[test]
    fn six_runs_predict_the_next() {
        let six = [100.0, 101.0, 102.0, 99.0, 98.0, 100.0];
        let spread = spread(&[&six]);
        let sd = spread.sd().unwrap();
        let next = RunEstimate::new(1.04, 1.0 + 1.0 / 6.0, &spread, 0.0, 0.0);
        let half = student_975(5) * sd * (7.0_f64 / 6.0).sqrt();
        assert!((next.half_width() - half).abs() < 1e-12);
        assert!((next.interval().low - 1.04 * (-half).exp()).abs() < 1e-12);
        assert!((next.value() - 1.04).abs() < 1e-12);
        assert!((spread.smallest_difference(6) - half.exp_m1()).abs() < 1e-12);
        // On the edge of its interval, a number is as unlikely as the confidence says.
        assert!((next.p_value(next.interval().low) - 0.05).abs() < 1e-9);
        assert_eq!(next.p_value(1.04), 1.0);
    }

    #[test]
    fn fewer_than_six_runs_are_not_trusted_to_show_their_spread() {
        let five = spread(&[&[100.0, 100.1, 100.0, 100.1, 100.0]]);
        assert_eq!((five.sd(), five.degrees()), (None, 4));
        let floor = RunEstimate::new(1.0, 2.0, &five, 0.0, 0.0).half_width();
        assert!((floor - Z_975 * ASSUMED_RUN_SD * 2.0_f64.sqrt()).abs() < 1e-12 && floor > 0.047);
        let noisy = RunEstimate::new(1.0, 2.0, &five, 0.1, 0.0).half_width();
        assert!((noisy - floor.hypot(0.1)).abs() < 1e-12);
    }

    #[test]
    fn what_trials_and_clock_cannot_show_runs_cannot_either() {
        let equal = spread(&[&[100.0; 9]]);
        for (trials, step) in [(0.02, 0.001), (0.001, 0.02)] {
            let half = RunEstimate::new(1.0, 1.0, &equal, trials, step).half_width();
            assert!((half - 0.02).abs() < 1e-12, "{half}");
        }
    }

    #[test]
    fn levels_and_stray_runs_of_a_history_are_no_spread() {
        let ripple = |n: usize| (n as f64 * 0.618_033_988_75).fract() - 0.5;
        let mut values: Vec<f64> =
            (0..40).map(|n| if n < 20 { 100.0 } else { 130.0 } + 2.0 * ripple(n)).collect();
        values[7] = 900.0;
        let mut spread = RunSpread::default();
        spread.add_history(&values);
        assert!(spread.sd().unwrap() < 0.01, "{spread:?}");
        assert_eq!(spread.degrees(), 37);
    }

    #[test]
    fn holm_multiplies_the_smallest_by_their_number_and_keeps_their_order() {
        let close = |found: Vec<f64>, expected: &[f64]| {
            assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{found:?}");
        };
        close(holm(&[0.01, 0.04, 0.03]), &[0.03, 0.06, 0.06]);
        close(holm(&[0.5, 0.02]), &[0.5, 0.04]);
        close(holm(&[0.9, 0.8]), &[1.0, 1.0]);
        assert!(holm(&[]).is_empty());
    }

    #[test]
    fn only_positive_values_have_a_geometric_mean() {
        assert!((geometric_mean(&[1.0, 4.0]).unwrap() - 2.0).abs() < 1e-12);
        assert_eq!(geometric_mean(&[]), None);
        assert_eq!(geometric_mean(&[1.0, 0.0]), None);
    }
}
