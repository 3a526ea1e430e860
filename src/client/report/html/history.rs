//! Each cell over time: every run a dot, the levels between changes a line.

use std::fmt::Write;
use std::io;

use super::axis::Axis;
use super::chart::{Chart, Line};
use super::figure::{Figure, Key, Mark};
use super::markup::{Datum, Table, Text};
use super::theme;
use crate::client::judge::trend::{Trend, change_line};
use crate::client::stats::{FEWEST_FOR_A_CHANGE, Statistic};
use crate::units::{latency, utc};

/// By these numbers the theme knows the dots, the level, and what is reported.
const RUNS: usize = 0;
const LEVEL: usize = 1;
const REPORTED: usize = 3;

/// Charts of cells that have not changed, at most: a page of many cells stays small enough to be passed on.
const MOST_STEADY: usize = 40;

/// Writes a chart for each cell that was measured more than once: those that changed first, the others folded away.
/// `reported` are the runs that the rest of the report is of.
pub(super) fn write(trends: &[Trend], reported: &[i64], out: &mut String) -> io::Result<()> {
    let told: Vec<&Trend> = trends.iter().filter(|trend| trend.points.len() > 1).collect();
    if told.is_empty() {
        return out
            .write_str("<p>The history has no other run of these cells, or is not there.</p>\n")
            .map_err(io::Error::other);
    }
    let (changed, steady): (Vec<_>, Vec<_>) = told.into_iter().partition(|trend| !trend.changes.is_empty());
    let mut number = 0;
    let mut all = |trends: &[&Trend], out: &mut String| {
        trends.iter().try_for_each(|trend| {
            number += 1;
            write_trend(trend, reported, number, out)
        })
    };
    let steadily = || steady.iter().any(|trend| trend.enough_runs);
    let said = match (changed.len(), steady.len()) {
        (0, _) if steadily() => "No cell has changed that can be told from chance.".to_owned(),
        (0, _) => format!("Too few runs to tell a change: it takes {FEWEST_FOR_A_CHANGE}."),
        (some, 0) => format!("Cells whose level has changed: {some}, all of them."),
        (some, others) => format!("Cells whose level has changed: {some}; {others} have not."),
    };
    write!(out, "<p>{said}</p>\n<div class=\"charts\">\n").map_err(io::Error::other)?;
    all(&changed, out)?;
    out.push_str("</div>\n");
    if !steady.is_empty() {
        let open = if changed.is_empty() && steady.len() <= 4 { " open" } else { "" };
        let words = if steady.len() == 1 { "1 cell" } else { &format!("{} cells", steady.len()) };
        let which = if steadily() { " without a change" } else { "" };
        let summary = format!("<details{open}><summary>{words}{which}</summary>\n<div class=\"charts\">\n");
        out.push_str(&summary);
        all(&steady[..steady.len().min(MOST_STEADY)], out)?;
        out.push_str("</div>\n");
        if let Some(more @ 1..) = steady.len().checked_sub(MOST_STEADY) {
            let left = format!("<p>{more} more are left out: \"ipc-client trend\" tells them.</p>\n");
            out.push_str(&left);
        }
        out.push_str("</details>\n");
    }
    Ok(())
}

fn write_trend(trend: &Trend, reported: &[i64], number: usize, out: &mut String) -> io::Result<()> {
    let title = match trend.host.as_str() {
        "" => format!("{}, {}", trend.cell, statistic(trend.statistic)),
        host => format!("{}, {} on {host}", trend.cell, statistic(trend.statistic)),
    };
    let (chart, legend) = chart(trend, &title, reported);
    let rows = trend.points.iter().enumerate().map(|(index, point)| {
        let change = trend.changes.iter().find(|change| change.index == index);
        vec![
            Datum::word(utc(point.started_unix_s)),
            Datum { text: point.run.to_string(), key: Some(point.run as f64) },
            Datum::figure(Some(point.ns), latency),
            Datum::word(change.map(change_line).unwrap_or_default()),
        ]
    });
    let table = Table {
        name: title.clone(),
        heads: ["began", "run", statistic(trend.statistic), "change of the level"]
            .map(str::to_owned)
            .to_vec(),
        names: 1,
        prose: true,
        rows: rows.collect(),
    };
    let mut after = String::new();
    if !trend.changes.is_empty() {
        after.push_str("<ul class=\"changes\">");
        for change in &trend.changes {
            write!(after, "<li>{}</li>", Text(change_line(change))).map_err(io::Error::other)?;
        }
        after.push_str("</ul>\n");
    }
    let id = format!("history-{number}");
    Figure { id: &id, title: &title, chart: &chart, legend: &legend, notes: &after, table: &table }.write(out)
}

fn chart(trend: &Trend, title: &str, reported: &[i64]) -> (Chart, Vec<Key>) {
    let values = || trend.points.iter().map(|point| point.ns);
    let range = values().fold((f64::INFINITY, 0.0_f64), |(low, high), ns| (low.min(ns), high.max(ns)));
    let times: Vec<u64> = trend.points.iter().map(|point| point.started_unix_s).collect();
    // As the history gives them: oldest first.
    let (first, last) = (times.first().copied().unwrap_or(0), times.last().copied().unwrap_or(0));
    let label = format!("{title}: {} runs, {} changes of the level", trend.points.len(), trend.changes.len());
    let mut chart = Chart::new(label, Axis::time(first, last), Axis::latency("round trip", range));
    let dots = |number, filled, points: Vec<(f64, f64)>| Line {
        points,
        colour: theme::line(number),
        width: 0,
        dots: filled,
    };
    let place = |index: usize| (times[index] as f64, trend.points[index].ns);
    chart.dots.push(dots(RUNS, true, (0..times.len()).map(place).collect()));
    let key = |number, mark, name: &str| Key { name: name.to_owned(), number, mark };
    let mut legend = vec![key(RUNS, Mark::Dot, "a run")];
    let these = (0..times.len()).filter(|index| reported.contains(&trend.points[*index].run));
    let these: Vec<(f64, f64)> = these.map(place).collect();
    if !these.is_empty() {
        legend.push(key(REPORTED, Mark::Ring, "in this report"));
        chart.dots.push(dots(REPORTED, false, these));
    }
    // Each level from its first run to the next one's, with the step between them.
    if let Some(first_change) = trend.changes.first() {
        legend.push(key(LEVEL, Mark::Line, "level"));
        let mut points = vec![(first as f64, first_change.before_ns)];
        for change in &trend.changes {
            let at = change.started_unix_s as f64;
            points.extend([(at, points[points.len() - 1].1), (at, change.after_ns)]);
        }
        points.push((last as f64, points[points.len() - 1].1));
        chart.lines.push(Line { points, colour: theme::line(LEVEL), width: 2, dots: false });
    }
    (chart, legend)
}

fn statistic(statistic: Statistic) -> &'static str {
    match statistic {
        Statistic::P50 => "median",
        other => other.label(),
    }
}
