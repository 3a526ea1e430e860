//! The median of a few trial values, and how far the trials lie apart.

/// The median; the mean of the two middle values for an even number of them. `None` if there are none or one
/// is not finite.
pub fn median(values: &[f64]) -> Option<f64> {
    Some(median_of_sorted(&sorted(values)?))
}

/// `(max - min) / median`: what "noisy host: trial medians 12 % apart" says. It grows with the number of
/// trials and one bad trial decides it; see [`robust_spread`].
///
/// `None` for fewer than two values, one that is not finite, or a median that is not positive.
pub fn spread(values: &[f64]) -> Option<f64> {
    let sorted = sorted(values).filter(|sorted| sorted.len() >= 2)?;
    let median = median_of_sorted(&sorted);
    (median > 0.0).then(|| (sorted[sorted.len() - 1] - sorted[0]) / median)
}

/// The relative standard deviation as the typical trial shows it: 1.4826 times the median absolute deviation
/// from the median, over the median. Fewer than half of the trials, however bad, cannot move it far.
///
/// 1.4826 makes it the standard deviation where values are normal: Rousseeuw & Croux, "Alternatives to the
/// Median Absolute Deviation", JASA 88(424), 1993. `None` as in [`spread`].
pub fn robust_spread(values: &[f64]) -> Option<f64> {
    let center = median(values).filter(|center| values.len() >= 2 && *center > 0.0)?;
    let deviations: Vec<f64> = values.iter().map(|value| (value - center).abs()).collect();
    Some(1.482_602_218_505_602 * median(&deviations)? / center)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_is_the_middle() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0]), Some(3.0));
        assert_eq!(median(&[9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 9.0]), Some(3.0));
        assert_eq!(median(&[1.0, f64::NAN]), None);
    }

    #[test]
    fn one_bad_trial_moves_the_spread_and_not_the_robust_one() {
        let calm = [100.0, 101.0, 99.0, 100.5, 99.5];
        let one_bad = [100.0, 101.0, 99.0, 100.5, 300.0];
        assert!((spread(&calm).unwrap() - 0.02).abs() < 1e-12);
        assert!(spread(&one_bad).unwrap() > 1.9);
        assert!(robust_spread(&one_bad).unwrap() < 0.02);
    }

    #[test]
    fn spread_is_free_of_units() {
        let values = [10.0, 11.0, 12.5, 10.2];
        let scaled = values.map(|value| value * 1000.0);
        assert!((spread(&values).unwrap() - spread(&scaled).unwrap()).abs() < 1e-12);
        assert!((robust_spread(&values).unwrap() - robust_spread(&scaled).unwrap()).abs() < 1e-12);
    }

    #[test]
    fn too_little_or_senseless_input_has_no_spread() {
        for values in [&[][..], &[1.0], &[0.0, 0.0], &[1.0, f64::INFINITY]] {
            assert_eq!(spread(values), None);
            assert_eq!(robust_spread(values), None);
        }
    }
}
