//! A cell's results over time: levels, when they changed, and what else changed then.

use std::io::{self, Write};

use serde::Serialize;

use super::compare::{FEW_CELLS, Known, change_text};
use super::differences::{Difference, in_one_line};
use crate::client::history::{Filter, History, HistoryError, Point, Series};
use crate::client::stats::{FEWEST_FOR_A_CHANGE, Interval, Statistic, change_points, compare_groups, median};
use crate::units::{began, counted, latency, tally};

/// If nothing changed at a change of the level, the differences up to this many runs before and after it are searched.
const NEAR: usize = 3;

/// The JSON document.
#[derive(Debug, Serialize)]
pub(crate) struct TrendDocument<'a> {
    /// The version of this layout, which is in `docs/json.md`.
    pub schema: u32,
    /// The series, by host and cell.
    pub trends: &'a [Trend],
}

/// What to follow.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TrendPlan {
    /// Which series, and which of their runs.
    pub filter: Filter,
    /// Which statistic.
    pub statistic: Statistic,
    /// The most runs of a series, the newest ones.
    pub runs: u32,
    /// Smaller changes of the level, as a fraction, are not reported.
    pub least_change: f64,
}

/// A series over time.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Trend {
    /// The host's name, empty if unknown.
    pub(crate) host: String,
    /// The cell's name.
    pub(crate) cell: String,
    /// The statistic followed.
    pub statistic: Statistic,
    /// The runs that have it, oldest first.
    pub(crate) points: Vec<TrendPoint>,
    /// When the level changed, oldest first.
    pub(crate) changes: Vec<LevelChange>,
    /// Whether there are enough runs to detect a change.
    pub(crate) enough_runs: bool,
}

/// One run of a series.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct TrendPoint {
    /// Its id.
    pub run: i64,
    /// When it began.
    pub started_unix_s: u64,
    /// The figure.
    pub ns: f64,
}

/// A change of the level.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct LevelChange {
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
    /// What changed from the run before to this one, in environment, settings and clock; or, if nothing did, at the
    /// nearest of the three steps before and after.
    pub differences: Vec<Difference>,
    /// How many runs after the change (before it, if negative) those differences began.
    pub differences_at: i64,
}

/// Follows every series that the plan selects.
///
/// # Errors
/// The history's.
pub(crate) fn trends(history: &History, plan: &TrendPlan) -> Result<Vec<Trend>, HistoryError> {
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
    let positive =
        |point: &Point| Some((*point, point.latency_ns.get(plan.statistic).filter(|ns| *ns > 0.0)?));
    let points: Vec<(Point, f64)> = points.iter().filter_map(positive).collect();
    if points.is_empty() {
        return Ok(None);
    }
    let values: Vec<f64> = points.iter().map(|(_, ns)| *ns).collect();
    let mut changes = Vec::new();
    let cuts = large_enough(&values, change_points(&values), plan.least_change);
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

/// Removes the cuts between levels that hardly differ, the smallest first, which merges the two levels.
fn large_enough(values: &[f64], mut cuts: Vec<usize>, least_change: f64) -> Vec<usize> {
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

/// What changed at this run, or at the nearest one with a change, and how many runs later that was.
fn changed_near(
    known: &mut Known<'_>,
    points: &[(Point, f64)],
    at: usize,
) -> Result<(i64, Vec<Difference>), HistoryError> {
    for away in 0..=NEAR {
        // An earlier change is the likelier cause.
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

/// Bars from the lowest value to the highest.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The fewest values that are drawn as a sparkline.
const FEWEST_BARS: usize = 4;

/// Writes how many series changed; then, of each that did, a sparkline of at most `width` columns, each for one or several
/// runs, and a line for each change. The others have one line each, if they are few or with `verbose`.
///
/// # Errors
/// The writer's.
pub(crate) fn write_text(
    trends: &[Trend],
    width: usize,
    verbose: bool,
    out: &mut dyn Write,
) -> io::Result<()> {
    let Some(first) = trends.first() else { return Ok(()) };
    let (changed, steady): (Vec<&Trend>, Vec<&Trend>) =
        trends.iter().partition(|trend| !trend.changes.is_empty());
    let unchanged = steady.iter().filter(|trend| trend.enough_runs).count();
    let counts = tally([
        (changed.len(), "changed"),
        (unchanged, "unchanged"),
        (steady.len() - unchanged, "with too few runs"),
    ]);
    writeln!(
        out,
        "{} of {} over time: {counts}",
        first.statistic.label(),
        counted(trends.len() as u64, "cell")
    )?;
    changed.into_iter().try_for_each(|trend| trend.write_block(width, out))?;
    if !steady.is_empty() && (verbose || steady.len() <= FEW_CELLS) {
        writeln!(out)?;
        return steady.into_iter().try_for_each(|trend| trend.write_line(out));
    }
    Ok(())
}

/// The most columns of a sparkline that shares its line with text.
const SHORT_LINE: usize = 16;

impl Trend {
    fn title(&self) -> String {
        let host = if self.host.is_empty() { "an unnamed host" } else { &self.host };
        format!("{} on {host}", self.cell)
    }

    /// The columns of its sparkline.
    fn columns(&self, width: usize) -> usize {
        self.points.len().min(width.max(1))
    }

    /// Its sparkline, if there are enough figures for one, and their range.
    fn range(&self, width: usize) -> String {
        let values: Vec<f64> = self.points.iter().map(|point| point.ns).collect();
        let (low, high) = values
            .iter()
            .fold((f64::INFINITY, 0.0_f64), |(low, high), value| (low.min(*value), high.max(*value)));
        let range =
            if values.len() > 1 { format!("{} to {}", latency(low), latency(high)) } else { latency(low) };
        // A few bars have no shape: each would be the lowest or the highest.
        if values.len() < FEWEST_BARS {
            range
        } else {
            format!("{}  {range}", sparkline(&values, self.columns(width), low, high))
        }
    }

    fn write_block(&self, width: usize, out: &mut dyn Write) -> io::Result<()> {
        let (first, last) = (self.points.first(), self.points.last());
        writeln!(out, "\n{}: {} runs\n{}", self.title(), self.points.len(), self.range(width))?;
        writeln!(out, "{}", marks(self, self.columns(width)).trim_end())?;
        if let (Some(first), Some(last)) = (first, last) {
            writeln!(out, "from {} to {}", began(first.started_unix_s), began(last.started_unix_s))?;
        }
        self.changes.iter().try_for_each(|change| writeln!(out, "\t{}", change_line(change)))
    }

    fn write_line(&self, out: &mut dyn Write) -> io::Result<()> {
        let verdict = if self.enough_runs {
            "no significant change".to_owned()
        } else {
            format!("too few runs to detect a change: {FEWEST_FOR_A_CHANGE} needed")
        };
        let runs = counted(self.points.len() as u64, "run");
        writeln!(out, "{}: {}, {runs}: {verdict}", self.title(), self.range(SHORT_LINE))
    }
}

/// A change in a line: when, from what to what, and what else changed then.
pub(in crate::client) fn change_line(change: &LevelChange) -> String {
    let differences = in_one_line(&change.differences);
    let when = match change.differences_at {
        0 => String::new(),
        at => {
            let runs = counted(at.unsigned_abs(), "run");
            format!("{runs} {}, ", if at < 0 { "before" } else { "after" })
        }
    };
    format!(
        "{} run {}: {} → {}, {}: {when}{differences}",
        began(change.started_unix_s),
        change.run,
        latency(change.before_ns),
        latency(change.after_ns),
        change_text(change.change_fraction, change.confidence_95)
    )
}

/// The values of a column.
fn share(values: usize, columns: usize, column: usize) -> std::ops::Range<usize> {
    column * values / columns..(column + 1) * values / columns
}

fn sparkline(values: &[f64], columns: usize, low: f64, high: f64) -> String {
    (0..columns)
        .map(|column| {
            let part = &values[share(values.len(), columns, column)];
            let mean = part.iter().sum::<f64>() / part.len() as f64;
            let height = if high > low { (mean - low) / (high - low) * 7.0 } else { 0.0 };
            // From 0 to 7.
            BARS[(height.round() as usize).min(BARS.len() - 1)]
        })
        .collect()
}

/// A mark under the column of each change.
fn marks(trend: &Trend, columns: usize) -> String {
    (0..columns)
        .map(|column| {
            let share = share(trend.points.len(), columns, column);
            if trend.changes.iter().any(|change| share.contains(&change.index)) { '^' } else { ' ' }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_that_hardly_differ_are_one() {
        let values: Vec<f64> = [100.0; 20].into_iter().chain([101.0; 20]).chain([120.0; 20]).collect();
        assert_eq!(large_enough(&values, vec![20, 40], 0.02), [40]);
        assert_eq!(large_enough(&values, vec![20, 40], 0.001), [20, 40]);
        assert_eq!(large_enough(&values, vec![20, 40], 0.5), Vec::<usize>::new());
        assert_eq!(large_enough(&values, Vec::new(), 0.5), Vec::<usize>::new());
    }

    #[test]
    fn a_sparkline_has_the_lowest_and_the_highest_bar() {
        assert_eq!(sparkline(&[1.0, 2.0, 8.0, 1.0], 4, 1.0, 8.0), "▁▂█▁");
        assert_eq!(sparkline(&[5.0; 3], 3, 5.0, 5.0), "▁▁▁");
        assert_eq!(sparkline(&[1.0, 1.0, 8.0, 8.0], 2, 1.0, 8.0), "▁█", "several runs a column");
    }
}
