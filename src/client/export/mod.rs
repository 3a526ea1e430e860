//! The newest results of the history as metrics, for Prometheus. `docs/metrics.md` has the table of them.

mod families;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use self::families::Results;
use super::history::{Baseline, Filter, History, HistoryError, Newest, Pick};
use crate::client::host::Environment;
use crate::client::judge::compare::{Comparison, Known, Noise, Side, Verdict};
use crate::client::stats::Statistic;

/// Metrics as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Exported {
    /// In the format that Prometheus and its textfile collector read.
    pub text: String,
    /// How many results are in it.
    pub results: usize,
}

/// How a result lies to a baseline.
#[derive(Debug, Clone, PartialEq)]
struct Judged {
    baseline: String,
    verdict: Verdict,
    /// How far the median is from the baseline's, as a fraction of it.
    change: Option<f64>,
}

/// The newest result of each cell that the filter lets through.
///
/// # Errors
/// The history's.
pub(crate) fn prometheus(history: &History, filter: &Filter) -> Result<Exported, HistoryError> {
    let newest = history.newest(filter)?;
    let mut environments: BTreeMap<i64, Environment> = BTreeMap::new();
    for one in &newest {
        if let Entry::Vacant(place) = environments.entry(one.environment) {
            place.insert(history.environment(one.environment)?);
        }
    }
    let verdicts = verdicts(history, &newest)?;
    let mut known = Known::new(history);
    let mut results = Results::default();
    for (index, one) in newest.iter().enumerate() {
        let noise = Noise::of_runs(&one.series, (one.run, one.environment), &mut known)?;
        results.add(one, &noise);
        for judged in verdicts.iter().filter(|(of, _)| *of == index).map(|(_, judged)| judged) {
            results.add_verdict(one, judged);
        }
    }
    let mut families = results.families();
    families.push(families::of_hosts(newest.iter().map(|one| (one, &environments[&one.environment]))));
    Ok(Exported { text: crate::exposition::text(families), results: newest.len() })
}

/// Each baseline against the newest results of the baseline's host, each with its place in `newest`.
fn verdicts(history: &History, newest: &[Newest]) -> Result<Vec<(usize, Judged)>, HistoryError> {
    let mut verdicts = Vec::new();
    let mut runs: Vec<i64> = newest.iter().map(|one| one.run).collect();
    runs.sort_unstable();
    runs.dedup();
    for Baseline { name, runs: of_baseline, .. } in history.baselines()? {
        let baseline = of_baseline.iter().map(|run| side(history, *run)).collect::<Result<Vec<_>, _>>()?;
        let host = baseline[0].report.environment.hostname.clone().unwrap_or_default();
        for run in runs.iter().copied() {
            let of_run = |one: &Newest| one.run == run && one.series.host == host;
            if !newest.iter().any(of_run) {
                continue;
            }
            let newest_run = [side(history, run)?];
            let comparison = Comparison::new(&baseline, &newest_run, Statistic::P50, None, Some(history))?;
            for cell in comparison.cells {
                let place = newest.iter().position(|one| of_run(one) && one.series.cell == cell.cell);
                let change = cell.change(Statistic::P50).map(|change| change.change_fraction);
                verdicts.extend(
                    place.map(|place| {
                        (place, Judged { baseline: name.clone(), verdict: cell.verdict, change })
                    }),
                );
            }
        }
    }
    Ok(verdicts)
}

fn side(history: &History, run: i64) -> Result<Side, HistoryError> {
    Side::recorded(&Pick::Id(run), history)
}
