//! Each cell over time: every run a dot, the levels between changes a line.

use std::io::{self, Write};

use super::figures;
use super::table::{Datum, Table};
use crate::client::judge::trend::{Trend, change_line};
use crate::client::report::charts::{Axis, Chart, Mark, Series, classes};
use crate::client::report::escape::Text;
use crate::client::stats::{FEWEST_FOR_A_CHANGE, Statistic};
use crate::units::{began, counted, latency};

/// The colours' numbers of the dots, the level, and the runs of this report.
const RUNS: usize = 0;
const LEVEL: usize = 1;
const REPORTED: usize = 3;

/// The most charts of cells without a change, so that the page stays small enough to be sent to others.
const MOST_STEADY: usize = 40;

/// Writes a chart for each cell that was measured more than once: those that changed first, the others folded away.
/// `reported` are the runs that the rest of the report shows.
pub(super) fn write(trends: &[Trend], reported: &[i64], out: &mut Vec<u8>) -> io::Result<()> {
    let (changed, steady): (Vec<&Trend>, Vec<&Trend>) =
        trends.iter().filter(|trend| trend.points.len() > 1).partition(|trend| !trend.changes.is_empty());
    let enough = steady.iter().any(|trend| trend.enough_runs);
    let summary = match (changed.len(), steady.len()) {
        (0, 0) => {
            return writeln!(out, "<p>The history has no other run of these cells.</p>");
        }
        (0, _) if enough => "No cell has changed significantly.".to_owned(),
        (0, _) => format!("Too few runs to detect a change, which takes {FEWEST_FOR_A_CHANGE}."),
        (some, others) => format!("{some} of {} cells changed.", some + others),
    };
    writeln!(out, "<p>{summary}</p>\n<div class=\"charts\">")?;
    for (trend, number) in changed.iter().zip(1..) {
        write_trend(trend, reported, number, out)?;
    }
    writeln!(out, "</div>")?;
    if steady.is_empty() {
        return Ok(());
    }
    let open = if changed.is_empty() && steady.len() <= 4 { " open" } else { "" };
    let cells = counted(steady.len() as u64, "cell");
    let which = if enough { " without a change" } else { "" };
    writeln!(out, "<details{open}><summary>{cells}{which}</summary>\n<div class=\"charts\">")?;
    for (trend, number) in steady.iter().take(MOST_STEADY).zip(changed.len() + 1..) {
        write_trend(trend, reported, number, out)?;
    }
    writeln!(out, "</div>")?;
    if let Some(more @ 1..) = steady.len().checked_sub(MOST_STEADY) {
        writeln!(out, "<p>{more} more are left out: \"ipc-client trend\" shows them.</p>")?;
    }
    writeln!(out, "</details>")
}

fn write_trend(trend: &Trend, reported: &[i64], number: usize, out: &mut Vec<u8>) -> io::Result<()> {
    let title = match trend.host.as_str() {
        "" => format!("{}, {}", trend.cell, statistic(trend.statistic)),
        host => format!("{}, {} on {host}", trend.cell, statistic(trend.statistic)),
    };
    let rows = trend.points.iter().enumerate().map(|(index, point)| {
        let change = trend.changes.iter().find(|change| change.index == index);
        vec![
            Datum::word(began(point.started_unix_s)),
            Datum { text: point.run.to_string(), key: Some(point.run as f64) },
            Datum::figure(Some(point.ns), latency),
            Datum::word(change.map(change_line).unwrap_or_default()),
        ]
    });
    let heads = ["began", "run", statistic(trend.statistic), "change of the level"].map(str::to_owned);
    let changes: String =
        trend.changes.iter().map(|change| format!("<li>{}</li>", Text(change_line(change)))).collect();
    let notes = if changes.is_empty() { changes } else { format!("<ul class=\"changes\">{changes}</ul>\n") };
    let chart = chart(trend, &title, reported);
    let notes = chart.legend() + &notes;
    let table = Table { name: title, heads: heads.to_vec(), prose: true, rows: rows.collect() };
    figures::write(&format!("history-{number}"), &chart.draw(), &notes, &table, out)
}

fn chart(trend: &Trend, title: &str, reported: &[i64]) -> Chart {
    let values = trend.points.iter().map(|point| point.ns);
    let range = values.fold((f64::INFINITY, 0.0_f64), |(low, high), ns| (low.min(ns), high.max(ns)));
    // The history returns the oldest run first.
    let times = || trend.points.iter().map(|point| point.started_unix_s);
    let (first, last) = (times().next().unwrap_or(0), times().next_back().unwrap_or(0));
    let label = format!("{title}: {} runs, {} changes of the level", trend.points.len(), trend.changes.len());
    let mut series = Vec::new();
    let mut add = |name: &str, mark, number, points: Vec<(f64, f64)>| {
        if !points.is_empty() {
            series.push(Series { name: name.to_owned(), mark, classes: classes(number, 0), points });
        }
    };
    // Each level from its first run to the next one's, with the step between them.
    let mut levels: Vec<(f64, f64)> = Vec::new();
    for change in &trend.changes {
        let at = change.started_unix_s as f64;
        let before = levels.last().copied().unwrap_or((first as f64, change.before_ns));
        if levels.is_empty() {
            levels.push(before);
        }
        levels.extend([(at, before.1), (at, change.after_ns)]);
    }
    levels.extend(levels.last().copied().map(|(_, ns)| (last as f64, ns)));
    add("level", Mark::Line, LEVEL, levels);
    let points = |chosen: &dyn Fn(i64) -> bool| {
        let points = trend.points.iter().filter(|point| chosen(point.run));
        points.map(|point| (point.started_unix_s as f64, point.ns)).collect::<Vec<_>>()
    };
    add("a run", Mark::Dots, RUNS, points(&|_| true));
    add("in this report", Mark::Rings, REPORTED, points(&|run| reported.contains(&run)));
    let rows = times().map(|time| time as f64).collect();
    Chart { label, x: Axis::time(first, last), y: Axis::latency(range), series, rows }
}

fn statistic(statistic: Statistic) -> &'static str {
    match statistic {
        Statistic::P50 => "median",
        other => other.label(),
    }
}
