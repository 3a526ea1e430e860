//! Whether two groups of trials differ, by how much, and how small a difference could be detected.

use serde::{Deserialize, Serialize};

use super::interval::{
    CONFIDENCE, Interval, Z_975, ln_mean_and_squares, median_interval, median_of_sorted, sorted, t_975,
};

/// How much slower (positive) or faster (negative) B is than A: 0.1 is 10 % slower.
///
/// An interval excludes zero by chance in about 5 % of all comparisons of equal things: who makes twenty
/// comparisons should expect one.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Comparison {
    /// The relative change from A to B.
    pub change: f64,
    /// Its 95 % confidence interval.
    pub interval: Interval,
    /// Whether trials were compared pair by pair.
    pub paired: bool,
}

impl Comparison {
    /// Whether the interval excludes zero: a difference that chance does not explain.
    pub(crate) fn is_real(&self) -> bool {
        !self.interval.contains(0.0)
    }

    /// For a self-comparison: the smallest relative change that can be detected on this host.
    ///
    /// Half of the interval's width, since a smaller change would not push zero out of it, and the change that
    /// was seen where there is none.
    pub(crate) fn smallest_detectable(&self) -> f64 {
        self.interval.half_width() + self.change.abs()
    }
}

/// Compares trials that ran in turn, `(a, b)` close in time: the median of the ratios `b / a`, and its
/// [`median_interval`].
///
/// A pair sees the same host, so what drifts slower than a pair lasts cancels out. `None` for fewer than two
/// pairs, or a value that is not positive and finite.
pub(crate) fn compare_pairs(pairs: &[(f64, f64)]) -> Option<Comparison> {
    if pairs.iter().any(|(a, b)| *a <= 0.0 || *b <= 0.0) {
        // Two negative values would make a positive ratio; everything else is for `median_interval` to refuse.
        return None;
    }
    let ratios: Vec<f64> = pairs.iter().map(|(a, b)| b / a).collect();
    let interval = median_interval(&ratios)?;
    Some(comparison(median_of_sorted(&sorted(&ratios)?), interval, true))
}

/// Compares two groups of trials that have no partners, such as two runs on different days.
///
/// The change is Hodges & Lehmann's: the median of all ratios of a B to an A ("Estimates of Location Based on
/// Rank Tests", Annals of Mathematical Statistics 34(2), 1963). Its interval is the Mann–Whitney test turned
/// round, as in R's `wilcox.test(conf.int = TRUE)`: the changes that the test does not reject, exact up to 30
/// against 30 trials and by the normal approximation beyond. It assumes only that B's trials are spread as A's are.
///
/// Where the test cannot reach 95 % (fewer than four against four), Student's t on the logarithms with pooled
/// variance takes its place. `None` for fewer than two trials in a group, or a value that is not positive and
/// finite.
pub(crate) fn compare_groups(a: &[f64], b: &[f64]) -> Option<Comparison> {
    let positive = |value: &f64| *value > 0.0 && value.is_finite();
    let usable = |values: &[f64]| values.len() >= 2 && values.iter().all(positive);
    if !usable(a) || !usable(b) {
        return None;
    }
    let ratios: Vec<f64> = b.iter().flat_map(|b| a.iter().map(move |a| b / a)).collect();
    let ratios = sorted(&ratios)?;
    let interval = match mann_whitney_depth(a.len(), b.len()) {
        Some(depth) => Interval { low: ratios[depth - 1], high: ratios[ratios.len() - depth] },
        None => pooled_student_t_of_logarithms(a, b)?,
    };
    Some(comparison(median_of_sorted(&ratios), interval, false))
}

fn comparison(ratio: f64, interval: Interval, paired: bool) -> Comparison {
    let interval = Interval { low: interval.low - 1.0, high: interval.high - 1.0 };
    Comparison { change: ratio - 1.0, interval, paired }
}

/// Which smallest and largest of the `a · b` ratios bound the 95 % interval, from 1; `None` if even all of
/// them do not reach it.
fn mann_whitney_depth(a: usize, b: usize) -> Option<usize> {
    // Which is which does not matter, but the work below grows faster with the first.
    let (a, b) = (a.min(b), a.max(b));
    if a * b > 30 * 30 {
        let (a, b) = (a as f64, b as f64);
        let depth = a * b / 2.0 - Z_975 * (a * b * (a + b + 1.0) / 12.0).sqrt();
        // Rounded: that is the correction for continuity.
        return (depth >= 1.0).then_some(depth.round() as usize);
    }
    // ways[k][u]: how many of the sets of k ranks, out of those seen so far, have a Mann–Whitney count of u,
    // that is a rank sum of u above the smallest possible one. In doubles, since counts only select a rank.
    let mut ways = vec![vec![0.0_f64; a * b + 1]; a + 1];
    ways[0][0] = 1.0;
    for rank in 0..a + b {
        for k in (1..=a.min(rank + 1)).rev() {
            // As the k-th smallest, this rank beats all smaller ranks but the k - 1 that are in the set.
            let beaten = rank + 1 - k;
            for u in beaten..=a * b {
                let added = ways[k - 1][u - beaten];
                ways[k][u] += added;
            }
        }
    }
    let total: f64 = ways[a].iter().sum();
    let tail_allowed = (1.0 - CONFIDENCE) / 2.0 * total;
    let mut tail = 0.0;
    let depth = ways[a].iter().take_while(|count| {
        tail += **count;
        tail <= tail_allowed
    });
    Some(depth.count()).filter(|depth| *depth > 0)
}

/// Student's interval for the ratio of B to A; `None` beyond nine trials together.
fn pooled_student_t_of_logarithms(a: &[f64], b: &[f64]) -> Option<Interval> {
    let degrees_of_freedom = a.len() + b.len() - 2;
    let (mean_a, squares_a) = ln_mean_and_squares(a, a[0]);
    let (mean_b, squares_b) = ln_mean_and_squares(b, a[0]);
    let variance = (squares_a + squares_b) / degrees_of_freedom as f64;
    let reach =
        t_975(degrees_of_freedom)? * (variance * (1.0 / a.len() as f64 + 1.0 / b.len() as f64)).sqrt();
    let middle = mean_b - mean_a;
    Some(Interval { low: (middle - reach).exp(), high: (middle + reach).exp() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_agrees_with_published_tables() {
        // Critical values of U, two-sided 5 % (Mann & Whitney 1947, as tabulated in Siegel 1956), are one less.
        for (a, b, critical) in
            [(4, 4, 0), (5, 5, 2), (6, 6, 5), (7, 7, 8), (8, 8, 13), (10, 10, 23), (5, 9, 7)]
        {
            assert_eq!(mann_whitney_depth(a, b), Some(critical + 1), "{a} and {b}");
            assert_eq!(mann_whitney_depth(b, a), Some(critical + 1), "{b} and {a}");
        }
        assert_eq!(mann_whitney_depth(3, 3), None);
        assert_eq!(mann_whitney_depth(3, 4), None);
        assert_eq!(mann_whitney_depth(2, 7), None);
    }

    #[test]
    fn exact_and_approximate_depth_meet() {
        let (exact, approximate) = (mann_whitney_depth(30, 30).unwrap(), mann_whitney_depth(31, 31).unwrap());
        assert_eq!(exact, 318);
        assert!((339..=342).contains(&approximate), "{approximate}");
    }

    #[test]
    fn every_group_size_is_answered() {
        // The t table and the Mann–Whitney test together leave no gap between them.
        for a in 2..12_u32 {
            for b in 2..40_u32 {
                let values = |n: u32| (0..n).map(|i| 100.0 + f64::from(i)).collect::<Vec<_>>();
                let same = compare_groups(&values(a), &values(b)).unwrap_or_else(|| panic!("{a} and {b}"));
                assert!(same.interval.contains(same.change), "{a} and {b}");
            }
        }
    }

    #[test]
    fn pairs_cancel_what_both_sides_share() {
        let host = [100.0, 130.0, 90.0, 160.0, 110.0, 150.0, 95.0];
        let pairs = host.map(|load| (load, load * 1.03));
        let paired = compare_pairs(&pairs).unwrap();
        assert!(paired.paired && paired.is_real());
        assert!((paired.change - 0.03).abs() < 1e-12);
        let groups = compare_groups(&host, &host.map(|load| load * 1.03)).unwrap();
        assert!(!groups.paired && !groups.is_real());
    }

    #[test]
    fn equal_groups_do_not_differ() {
        let a = [100.0, 101.0, 99.0, 102.0, 98.0];
        let same = compare_groups(&a, &a).unwrap();
        assert_eq!(same.change, 0.0);
        assert!(!same.is_real());
        assert_eq!(same.smallest_detectable(), same.interval.half_width());
    }

    #[test]
    fn rounding_is_not_a_difference() {
        for (a, b) in [(2, 3), (3, 3), (2, 5), (4, 4), (6, 9)] {
            let same = compare_groups(&vec![0.1; a], &vec![0.1; b]).unwrap();
            assert!(!same.is_real() && same.smallest_detectable() == 0.0, "{a} and {b}");
            assert!(!compare_pairs(&vec![(0.1, 0.1); a]).unwrap().is_real());
        }
    }

    #[test]
    fn separate_groups_differ_and_the_sign_follows_the_order() {
        let (a, b) = ([100.0, 101.0, 99.0, 102.0, 98.0], [120.0, 121.0, 119.0, 122.0, 118.0]);
        let slower = compare_groups(&a, &b).unwrap();
        let faster = compare_groups(&b, &a).unwrap();
        assert!(slower.is_real() && slower.change > 0.15);
        assert!(faster.is_real() && faster.change < -0.15);
    }

    #[test]
    fn senseless_input_is_not_compared() {
        assert_eq!(compare_pairs(&[(1.0, 2.0)]), None);
        assert_eq!(compare_pairs(&[(1.0, 2.0), (0.0, 2.0)]), None);
        assert_eq!(compare_pairs(&[(-1.0, -2.0), (-1.0, -2.0)]), None);
        assert_eq!(compare_groups(&[1.0], &[1.0, 2.0]), None);
        assert_eq!(compare_groups(&[1.0, f64::NAN], &[1.0, 2.0]), None);
        assert_eq!(compare_groups(&[1.0, f64::INFINITY], &[1.0, 2.0]), None);
    }

    #[test]
    fn smallest_detectable_adds_the_bias() {
        let interval = Interval { low: -0.01, high: 0.05 };
        let seen = Comparison { change: -0.02, interval, paired: true };
        assert!((seen.smallest_detectable() - 0.05).abs() < 1e-12);
    }
}
