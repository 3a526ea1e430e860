//! The median over trials, its 95 % confidence interval, and how far the trials lie apart.

use serde::{Deserialize, Serialize};

/// The confidence of every interval of this module.
pub(crate) const CONFIDENCE: f64 = 0.95;

/// A confidence interval, both ends included, in the unit of the values it comes from.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Interval {
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

impl Interval {
    /// Whether the value lies in the interval.
    pub(crate) fn contains(&self, value: f64) -> bool {
        (self.low..=self.high).contains(&value)
    }

    /// Half of the interval's width.
    pub(crate) fn half_width(&self) -> f64 {
        (self.high - self.low) / 2.0
    }
}

/// The 95 % interval of the median trial: `values` holds one number of each trial, such as its p50 (or its
/// p99: each statistic of a report gets its interval from that statistic's values). Show it with the
/// [`median`] of the same values.
///
/// Six trials and more: the interpolated order statistics of Hettmansperger & Sheather, "Confidence intervals
/// based on interpolated order statistics", Statistics & Probability Letters 4(2), 1986. Order statistics
/// assume nothing about how trials are distributed (two modes, a slow one in ten, long tails) and are advised
/// for this use by Hoefler & Belli, "Scientific Benchmarking of Parallel Computing Systems", SC'15; the
/// interpolation takes them from "at least 95 %" to 95 %.
///
/// Two to five trials: even the range of all values covers the median in only 50, 75, 87.5 and 93.75 % of all
/// runs, and neither order statistics nor a percentile bootstrap can reach beyond it. Student's t can, on the
/// logarithms (a latency is positive and skewed to the right), for the price of an assumed shape: with two
/// trials the interval is about as useless as two trials are. The module's page has the coverage of both.
///
/// `None` for fewer than two values, or one that is not positive and finite. Equal values give an interval
/// without width: then the clock or the histogram's buckets limit what is known, not the trials.
pub(crate) fn median_interval(values: &[f64]) -> Option<Interval> {
    let sorted = sorted(values).filter(|sorted| sorted.len() >= 2 && sorted[0] > 0.0)?;
    interpolated_order_statistics(&sorted).or_else(|| student_t_of_logarithms(&sorted))
}

/// Half of the interval's width as a fraction of the center: `--precision 2%` is met at 0.02 and below.
///
/// Adding trials until it is met picks a moment at which the trials happen to agree, so that the interval
/// covers less than it says: from two trials on 86 to 94 %, from six on 91 to 95 % (part 3 of
/// `tests/statistics/coverage.txt`). So start checking at six.
///
/// `None` if the center is not positive.
pub(crate) fn relative_half_width(interval: Interval, center: f64) -> Option<f64> {
    (center > 0.0).then(|| interval.half_width() / center)
}

/// Hettmansperger & Sheather's interval; `None` if there are too few values to reach the confidence.
fn interpolated_order_statistics(sorted: &[f64]) -> Option<Interval> {
    let n = sorted.len();
    let size = n as f64;
    // From the d-th smallest to the d-th largest value, the coverage is 1 - 2 P(B < d), where B counts the
    // values below the true median, one coin toss each. Logarithms, since 2^-n underflows beyond n = 1074.
    let mut ln_probability = -size * std::f64::consts::LN_2;
    let mut coverage = 1.0 - 2.0 * ln_probability.exp();
    if coverage < CONFIDENCE {
        return None;
    }
    // The narrowest such interval that still has the confidence: its coverage, and that of the next one.
    let mut d = 1;
    let next_coverage = loop {
        ln_probability += ((n - d + 1) as f64 / d as f64).ln();
        let next = coverage - 2.0 * ln_probability.exp();
        if next < CONFIDENCE {
            break next;
        }
        coverage = next;
        d += 1;
    };
    // Their equation for the weight of the narrower interval's ends.
    let excess = (coverage - CONFIDENCE) / (coverage - next_coverage);
    let depth = d as f64;
    let weight = (size - depth) * excess / (depth + (size - 2.0 * depth) * excess);
    let between = |outer: f64, inner: f64| outer + weight * (inner - outer);
    Some(Interval { low: between(sorted[d - 1], sorted[d]), high: between(sorted[n - d], sorted[n - d - 1]) })
}

/// Student's interval for the mean of the logarithms, taken back; `None` beyond eight values.
fn student_t_of_logarithms(values: &[f64]) -> Option<Interval> {
    let t = t_975(values.len() - 1)?;
    let unit = values[0];
    let (mean, sum_of_squares) = ln_mean_and_squares(values, unit);
    let size = values.len() as f64;
    let reach = t * (sum_of_squares / (size - 1.0) / size).sqrt();
    Some(Interval { low: unit * (mean - reach).exp(), high: unit * (mean + reach).exp() })
}

/// The mean of the values' logarithms and the sum of squared deviations from it, in units of one of the
/// values: so equal values give exactly zero, and rounding cannot push a value out of its interval.
pub(super) fn ln_mean_and_squares(values: &[f64], unit: f64) -> (f64, f64) {
    let ln = |value: &f64| (value / unit).ln();
    let mean = values.iter().map(ln).sum::<f64>() / values.len() as f64;
    (mean, values.iter().map(|value| (ln(value) - mean).powi(2)).sum())
}

/// The median; the mean of the two middle values for an even number of them. `None` if there are none or one
/// is not finite.
pub fn median(values: &[f64]) -> Option<f64> {
    Some(median_of_sorted(&sorted(values)?))
}

/// `(max - min) / median`: what "noisy host: trial medians 12 % apart" says. It grows with the number of
/// trials and one bad trial decides it.
///
/// `None` for fewer than two values, one that is not finite, or a median that is not positive.
pub(crate) fn spread(values: &[f64]) -> Option<f64> {
    let sorted = sorted(values).filter(|sorted| sorted.len() >= 2)?;
    let median = median_of_sorted(&sorted);
    (median > 0.0).then(|| (sorted[sorted.len() - 1] - sorted[0]) / median)
}

/// The values in rising order; `None` if there are none or one is not finite.
pub(super) fn sorted(values: &[f64]) -> Option<Vec<f64>> {
    if values.is_empty() || values.iter().any(|value| !value.is_finite()) {
        return None;
    }
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    Some(sorted)
}

/// The median of values that are in order and not empty.
pub(super) fn median_of_sorted(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { f64::midpoint(sorted[middle - 1], sorted[middle]) }
}

/// The two-sided 95 % point of the standard normal distribution.
pub(super) const Z_975: f64 = 1.959_963_984_540_054;

/// The 97.5 % quantile of Student's t for 1 to 7 degrees of freedom.
///
/// More are never asked for: with more values the distribution-free intervals reach 95 %.
/// Source: `scipy.stats.t.ppf(0.975, df)`; `reference.rs` checks what is computed from them.
const T_975: [f64; 7] = [
    12.706_204_736_432_1,
    4.302_652_729_696_14,
    3.182_446_305_283_71,
    2.776_445_105_197_79,
    2.570_581_835_636_31,
    2.446_911_851_144_97,
    2.364_624_251_592_78,
];

/// The two-sided 95 % point of Student's t, `None` outside 1 to 7 degrees of freedom.
pub(super) fn t_975(degrees_of_freedom: usize) -> Option<f64> {
    T_975.get(degrees_of_freedom.checked_sub(1)?).copied()
}

/// How likely a standard normal value lies at least `z` away from zero, on either side.
///
/// The series of Marsaglia, "Evaluating the Normal Distribution", Journal of Statistical Software 11(4),
/// 2004: right to about 1e-15, absolute.
pub(super) fn normal_two_sided_p(z: f64) -> f64 {
    let z = z.abs();
    // Beyond, the probability is below the series' error.
    if z > 8.0 {
        return 0.0;
    }
    let (mut term, mut sum, mut i) = (z, z, 1.0);
    while term > sum * f64::EPSILON {
        i += 2.0;
        term *= z * z / i;
        sum += term;
    }
    let density = (-z * z / 2.0).exp() / std::f64::consts::TAU.sqrt();
    (1.0 - 2.0 * sum * density).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_interval_without_two_positive_trials() {
        for values in [&[][..], &[5.0], &[5.0, 0.0], &[5.0, -1.0], &[5.0, f64::NAN], &[f64::INFINITY; 7]] {
            assert_eq!(median_interval(values), None);
        }
    }

    #[test]
    fn interval_holds_the_median_whatever_the_trials() {
        for n in 2..60 {
            for power in [0.1, 1.0, 9.0] {
                let values: Vec<f64> = (1..=n).map(|i| f64::from(i * 7 % n + 1).powf(power)).collect();
                let interval = median_interval(&values).unwrap();
                assert!(interval.contains(median(&values).unwrap()), "{n} values, power {power}");
                assert!(interval.low > 0.0);
            }
        }
    }

    #[test]
    fn one_wild_trial_of_many_hardly_moves_the_interval() {
        let mut values: Vec<f64> = (0..11).map(|i| 100.0 + f64::from(i)).collect();
        let before = median_interval(&values).unwrap();
        values[10] = 1e9;
        assert_eq!(median_interval(&values).unwrap(), before);
    }

    #[test]
    fn interval_follows_the_unit() {
        for n in [3, 5, 6, 12] {
            let values: Vec<f64> = (0..n).map(|i| 50.0 + f64::from(i * i)).collect();
            let in_picoseconds: Vec<f64> = values.iter().map(|value| value * 1000.0).collect();
            let (a, b) = (median_interval(&values).unwrap(), median_interval(&in_picoseconds).unwrap());
            assert!((b.low / a.low - 1000.0).abs() < 1e-9 && (b.high / a.high - 1000.0).abs() < 1e-9);
        }
    }

    #[test]
    fn many_trials_do_not_underflow() {
        let values: Vec<f64> = (1..=5_000).map(f64::from).collect();
        let interval = median_interval(&values).unwrap();
        // The normal approximation: 2500.5 ± 1.96 · √5000 / 2.
        assert!((interval.low - 2_431.2).abs() < 1.0 && (interval.high - 2_569.8).abs() < 1.0);
    }

    #[test]
    fn equal_trials_give_no_width() {
        for n in [2, 3, 4, 5, 6, 30] {
            let interval = median_interval(&vec![42.1; n]).unwrap();
            assert_eq!(interval, Interval { low: 42.1, high: 42.1 }, "{n}");
        }
    }

    #[test]
    fn precision_is_half_the_width_over_the_center() {
        let interval = Interval { low: 98.0, high: 102.0 };
        assert_eq!(relative_half_width(interval, 100.0), Some(0.02));
        assert_eq!(relative_half_width(interval, 0.0), None);
    }

    #[test]
    fn median_is_the_middle() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0]), Some(3.0));
        assert_eq!(median(&[9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 9.0]), Some(3.0));
        assert_eq!(median(&[1.0, f64::NAN]), None);
    }

    #[test]
    fn one_bad_trial_decides_the_spread() {
        let calm = [100.0, 101.0, 99.0, 100.5, 99.5];
        let one_bad = [100.0, 101.0, 99.0, 100.5, 300.0];
        assert!((spread(&calm).unwrap() - 0.02).abs() < 1e-12);
        assert!(spread(&one_bad).unwrap() > 1.9);
    }

    #[test]
    fn spread_is_free_of_units() {
        let values = [10.0, 11.0, 12.5, 10.2];
        let scaled = values.map(|value| value * 1000.0);
        assert!((spread(&values).unwrap() - spread(&scaled).unwrap()).abs() < 1e-12);
    }

    #[test]
    fn too_little_or_senseless_input_has_no_spread() {
        for values in [&[][..], &[1.0], &[0.0, 0.0], &[1.0, f64::INFINITY]] {
            assert_eq!(spread(values), None);
        }
    }

    #[test]
    fn normal_tail_agrees_with_published_points() {
        // Abramowitz & Stegun, table 26.1 and 26.5.
        for (z, p) in
            [(0.0, 1.0), (1.0, 0.317_310_507_9), (Z_975, 0.05), (2.575_829_303_5, 0.01), (4.0, 6.334e-5)]
        {
            assert!((normal_two_sided_p(z) - p).abs() < 1e-8, "z = {z}");
            assert_eq!(normal_two_sided_p(z), normal_two_sided_p(-z));
        }
        assert_eq!(normal_two_sided_p(40.0), 0.0);
    }

    #[test]
    fn t_ends_where_its_table_ends() {
        assert_eq!(t_975(0), None);
        assert_eq!(t_975(1), Some(12.706_204_736_432_1));
        assert_eq!(t_975(8), None);
    }
}
