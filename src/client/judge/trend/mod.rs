//! A cell's results over time: levels, when they changed, and what else changed then.

mod text;

use serde::Serialize;

pub(in crate::client) use text::line as change_line;
pub(crate) use text::write_text;

use super::compare::Known;
use crate::client::history::{Filter, History, HistoryError, Point, Series};
use crate::client::host::Difference;
use crate::client::stats::{FEWEST_FOR_A_CHANGE, Interval, Statistic, change_points, compare_groups, median};

/// What runs around a change ran under is looked at so many runs before and after it, where nothing has changed at it.
const NEAR: usize = 3;

/// The version of the JSON's layout, which `docs/json.md` tells.
pub(crate) const TREND_SCHEMA: u32 = 1;

/// The JSON.
#[derive(Debug, Serialize)]
pub(crate) struct TrendDocument<'a> {
    /// [`TREND_SCHEMA`].
    pub schema: u32,
    /// The series, by host and cell.
    pub trends: &'a [Trend],
}

/// What is looked at.
#[derive(Debug, Clone, PartialEq)]
pub struct TrendPlan {
    /// Which series, and which of their runs.
    pub filter: Filter,
    /// Which statistic is followed.
    pub statistic: Statistic,
    /// So many of a series' newest runs at most.
    pub runs: u32,
    /// Changes of the level that are smaller, as a fraction, are not told.
    pub least_change: f64,
}

/// A series over time.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Trend {
    /// The host's name, empty if that was not told.
    pub host: String,
    /// The cell's name.
    pub cell: String,
    /// What is followed.
    pub statistic: Statistic,
    /// The runs that have it, oldest first.
    pub points: Vec<TrendPoint>,
    /// When the level changed, oldest first.
    pub changes: Vec<LevelChange>,
    /// Whether there are enough runs to tell a change.
    pub enough_runs: bool,
}

/// One run of a series.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct TrendPoint {
    /// Its id.
    pub run: i64,
    /// When it began.
    pub started_unix_s: u64,
    /// The figure.
    pub ns: f64,
}

/// A change of the level.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LevelChange {
    /// The first run of the new level, as an index of `points`.
    pub index: usize,
    /// That run's id.
    pub run: i64,
    /// When it began.
    pub started_unix_s: u64,
    /// The median over the runs of the level before.
    pub before_ns: f64,
    /// The median over those of the new level.
    pub after_ns: f64,
    /// The change from level to level, as a fraction: above 0 is slower.
    pub change_fraction: f64,
    /// Its 95 % confidence interval, over runs.
    pub confidence_95: Interval,
    /// What changed from the run before to this one, in environment, settings and clock; or, if nothing did, at the nearest of the three steps before and
    /// after.
    pub differences: Vec<Difference>,
    /// How many runs later than the change (before it, if below 0) those differences began.
    pub differences_at: i64,
}

/// Follows every series that the plan means.
///
/// # Errors
/// The history's.
pub fn trends(history: &History, plan: &TrendPlan) -> Result<Vec<Trend>, HistoryError> {
    let mut known = Known::new(history);
    let mut trends = Vec::new();
    let mut labelled = match &plan.filter.label {
        Some(label) => Some(history.points_of_label(label, &plan.filter, plan.runs)?),
        None => None,
    };
    for series in history.series(&plan.filter)? {
        let points = match &mut labelled {
            Some(of_series) => of_series.remove(&series.id).unwrap_or_default(),
            None => history.points(&series, &plan.filter, plan.runs)?,
        };
        trends.extend(trend(&mut known, series, &points, plan)?);
    }
    Ok(trends)
}

fn trend(
    known: &mut Known<'_>,
    series: Series,
    points: &[Point],
    plan: &TrendPlan,
) -> Result<Option<Trend>, HistoryError> {
    let told = |point: &Point| Some((*point, point.latency_ns.get(plan.statistic).filter(|ns| *ns > 0.0)?));
    let points: Vec<(Point, f64)> = points.iter().filter_map(told).collect();
    if points.is_empty() {
        return Ok(None);
    }
    let values: Vec<f64> = points.iter().map(|(_, ns)| *ns).collect();
    let mut changes = Vec::new();
    let cuts = worth_telling(&values, change_points(&values), plan.least_change);
    for (number, at) in cuts.iter().copied().enumerate() {
        let from = number.checked_sub(1).map_or(0, |before| cuts[before]);
        let to = cuts.get(number + 1).copied().unwrap_or(values.len());
        let (before, after) = (&values[from..at], &values[at..to]);
        let (Some(before_ns), Some(after_ns), Some(compared)) =
            (median(before), median(after), compare_groups(before, after))
        else {
            continue;
        };
        let (differences_at, differences) = changed_near(known, &points, at)?;
        changes.push(LevelChange {
            index: at,
            run: points[at].0.run,
            started_unix_s: points[at].0.started_unix_s,
            before_ns,
            after_ns,
            change_fraction: compared.change,
            confidence_95: compared.interval,
            differences,
            differences_at,
        });
    }
    Ok(Some(Trend {
        host: series.host,
        cell: series.cell,
        statistic: plan.statistic,
        enough_runs: values.len() >= FEWEST_FOR_A_CHANGE,
        points: points
            .iter()
            .map(|(point, ns)| TrendPoint { run: point.run, started_unix_s: point.started_unix_s, ns: *ns })
            .collect(),
        changes,
    }))
}

/// The cuts without those between levels that hardly differ, the smallest first: what it parted is one level then.
fn worth_telling(values: &[f64], mut cuts: Vec<usize>, least_change: f64) -> Vec<usize> {
    loop {
        let size = |number: usize| {
            let from = if number == 0 { 0 } else { cuts[number - 1] };
            let to = cuts.get(number + 1).copied().unwrap_or(values.len());
            let (before, after) = (median(&values[from..cuts[number]])?, median(&values[cuts[number]..to])?);
            Some((after / before - 1.0).abs())
        };
        let sizes = (0..cuts.len()).map(|number| (size(number).unwrap_or(0.0), number));
        match sizes.min_by(|a, b| a.0.total_cmp(&b.0)) {
            Some((smallest, number)) if smallest < least_change => drop(cuts.remove(number)),
            _ => return cuts,
        }
    }
}

/// What changed at this run, or at the nearest one where anything did, and how many runs later that was.
fn changed_near(
    known: &mut Known<'_>,
    points: &[(Point, f64)],
    at: usize,
) -> Result<(i64, Vec<Difference>), HistoryError> {
    for away in 0..=NEAR {
        // What comes before is the likelier cause.
        for (index, sign) in [(at.checked_sub(away), -1), (at.checked_add(away), 1)] {
            let Some(index) = index.filter(|index| (1..points.len()).contains(index)) else { continue };
            let differences = known.changed(&points[index - 1].0, &points[index].0)?;
            if !differences.is_empty() {
                return Ok((sign * away as i64, differences));
            }
        }
    }
    Ok((0, Vec::new()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_that_hardly_differ_are_one() {
        let values: Vec<f64> = [100.0; 20].into_iter().chain([101.0; 20]).chain([120.0; 20]).collect();
        assert_eq!(worth_telling(&values, vec![20, 40], 0.02), [40]);
        assert_eq!(worth_telling(&values, vec![20, 40], 0.001), [20, 40]);
        assert_eq!(worth_telling(&values, vec![20, 40], 0.5), Vec::<usize>::new());
        assert_eq!(worth_telling(&values, Vec::new(), 0.5), Vec::<usize>::new());
    }
}
