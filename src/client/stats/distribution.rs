//! The two distributions that the intervals and tests need: the normal one and Student's t.

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
