//! The median of a few trial values, and how far the trials lie apart.

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
}
