//! Cells of one run against each other: for each size in order, the fastest first, each with its ratio to the fastest.
//!
//! Trials are interleaved: in each pass every cell has one, so that trials with one index saw the same host. Their ratios
//! are compared, and what disturbed a whole pass cancels out.

use super::{CellReport, Ranked, Ranking, Ratio, Report};
use crate::client::stats::{Interval, compare_pairs};
use crate::transports::{Group, find};

/// How many times as long a round takes in `cell` as in `other`, trial by trial; `None` if one of them has no result.
pub(crate) fn ratio_of(cell: &CellReport, other: &CellReport) -> Option<Ratio> {
    let medians =
        |cell: &CellReport| cell.trials.iter().map(|trial| trial.headline(cell.headline_of).p50).collect();
    let (these, those): (Option<Vec<f64>>, Option<Vec<f64>>) = (medians(cell), medians(other));
    // A trial with few rounds has no median: then the figures of all rounds are compared, without an interval.
    let pairs: Vec<(f64, f64)> =
        those.zip(these).map(|(those, these)| those.into_iter().zip(these).collect()).unwrap_or_default();
    if let Some(compared) = compare_pairs(&pairs) {
        let Interval { low, high } = compared.interval;
        let interval = Interval { low: low + 1.0, high: high + 1.0 };
        return Some(Ratio {
            times: compared.change + 1.0,
            confidence_95: Some(interval),
            tie: !compared.is_real(),
        });
    }
    let times = cell.headline_ns.p50? / other.headline_ns.p50.filter(|ns| *ns > 0.0)?;
    Some(Ratio { times, confidence_95: None, tie: false })
}

/// The rankings of a report's sizes, in the order of the sizes.
pub(crate) fn rank(report: &Report) -> Vec<Ranking> {
    let mut sizes: Vec<u64> = report.results.iter().map(|cell| cell.size_bytes).collect();
    sizes.sort_unstable();
    sizes.dedup();
    let of_size = |size_bytes: u64| {
        let of_size = |cell: &&CellReport| {
            cell.size_bytes == size_bytes && cell.error.is_none() && !measures_the_tool(cell)
        };
        let mut cells: Vec<(&CellReport, f64)> = report
            .results
            .iter()
            .filter(of_size)
            .filter_map(|cell| Some((cell, cell.headline_ns.p50?)))
            .collect();
        cells.sort_by(|a, b| a.1.total_cmp(&b.1));
        let fastest = cells.first().map(|(cell, _)| *cell);
        let cells = cells.iter().enumerate().map(|(place, (cell, _))| Ranked {
            cell: cell.cell.clone(),
            to_fastest: fastest.filter(|_| place > 0).and_then(|fastest| ratio_of(cell, fastest)),
        });
        Ranking { size_bytes, cells: cells.collect() }
    };
    sizes.into_iter().map(of_size).filter(|ranking| !ranking.cells.is_empty()).collect()
}

/// Whether the method measures this tool, not a mechanism that a program could use.
fn measures_the_tool(cell: &CellReport) -> bool {
    find(&cell.method).is_ok_and(|method| method.info().group == Group::Tool)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::judge::warnings::sample;

    /// A cell whose trials have these medians.
    fn cell(method: &str, size_bytes: u64, medians: &[f64]) -> CellReport {
        let mut cell = sample::cell();
        (cell.method, cell.cell, cell.size_bytes) = (method.to_owned(), method.to_owned(), size_bytes);
        cell.trials = medians.iter().map(|median| sample::trial(*median)).collect();
        cell.headline_ns.p50 = crate::client::stats::median(medians);
        cell
    }

    #[test]
    fn cells_are_ranked_within_their_size_without_failed_ones_and_the_tool_itself() {
        let mut report = sample::report();
        report.results = vec![
            cell("slow", 64, &[300.0, 303.0, 299.0]),
            cell("large", 4096, &[900.0, 900.0, 900.0]),
            cell("fast", 64, &[100.0, 101.0, 100.0]),
            cell("null", 64, &[10.0, 10.0, 10.0]),
            CellReport { error: Some("gone".into()), ..cell("broken", 64, &[1.0, 1.0, 1.0]) },
        ];
        let rankings = rank(&report);
        let shown =
            |ranking: &Ranking| ranking.cells.iter().map(|cell| cell.cell.clone()).collect::<Vec<_>>();
        assert_eq!((rankings[0].size_bytes, shown(&rankings[0])), (64, vec!["fast".into(), "slow".into()]));
        assert_eq!((rankings[1].size_bytes, shown(&rankings[1])), (4096, vec!["large".into()]));
        assert_eq!(rankings.len(), 2);
        assert_eq!(rankings[0].cells[0].to_fastest, None);
        let ratio = rankings[0].cells[1].to_fastest.unwrap();
        assert!((ratio.times - 3.0).abs() < 0.02 && !ratio.tie, "{ratio:?}");
    }

    #[test]
    fn what_disturbs_a_whole_pass_cancels_out() {
        // The host is three times slower in the last two passes; the planted ratio is 1.5 in each.
        let host = [100.0, 104.0, 98.0, 300.0, 310.0];
        let slower = host.map(|ns| ns * 1.5);
        let ratio = ratio_of(&cell("b", 8, &slower), &cell("a", 8, &host)).unwrap();
        let interval = ratio.confidence_95.unwrap();
        assert!((ratio.times - 1.5).abs() < 1e-9, "{ratio:?}");
        assert!(interval.high - interval.low < 1e-6 && !ratio.tie, "{ratio:?}");
        // The same medians out of step say nothing.
        let mut shuffled = slower;
        shuffled.rotate_left(2);
        assert!(ratio_of(&cell("b", 8, &shuffled), &cell("a", 8, &host)).unwrap().tie);
    }

    #[test]
    fn a_planted_ratio_is_in_about_95_of_100_intervals() {
        let mut random = fastrand::Rng::with_seed(15);
        // Twelve uniform numbers make a normal one closely enough.
        let mut normal = || (0..12).map(|_| random.f64()).sum::<f64>() - 6.0;
        let (runs, planted) = (2_000, 1.2_f64);
        for trials in [3, 5, 9] {
            let mut covered = 0;
            for _ in 0..runs {
                let host: Vec<f64> = (0..trials).map(|_| 100.0 * (0.3 * normal()).exp()).collect();
                let noisy = |ns: &f64, normal: &mut dyn FnMut() -> f64| ns * (0.05 * normal()).exp();
                let a: Vec<f64> = host.iter().map(|ns| noisy(ns, &mut normal)).collect();
                let b: Vec<f64> = host.iter().map(|ns| planted * noisy(ns, &mut normal)).collect();
                let ratio = ratio_of(&cell("b", 8, &b), &cell("a", 8, &a)).unwrap();
                covered += u32::from(ratio.confidence_95.unwrap().contains(planted));
            }
            let share = f64::from(covered) / f64::from(runs);
            assert!((0.93..=0.97).contains(&share), "{trials} trials: {share}");
        }
    }

    #[test]
    fn trials_without_medians_leave_the_ratio_of_all_rounds() {
        let (mut slow, fast) = (cell("b", 8, &[300.0, 301.0, 299.0]), cell("a", 8, &[100.0, 101.0, 100.0]));
        slow.trials[1].latency_ns.p50 = None;
        let ratio = ratio_of(&slow, &fast).unwrap();
        assert_eq!((ratio.confidence_95, ratio.tie), (None, false));
        assert!((ratio.times - 3.0).abs() < 0.02, "{ratio:?}");
    }

    #[test]
    fn one_trial_has_a_ratio_and_no_interval_and_is_no_tie() {
        let ratio = ratio_of(&cell("b", 8, &[110.0]), &cell("a", 8, &[100.0])).unwrap();
        assert_eq!((ratio.confidence_95, ratio.tie), (None, false));
        assert!((ratio.times - 1.1).abs() < 1e-9);
    }
}
