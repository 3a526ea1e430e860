//! Text for a terminal: the origin's three lines for each cell and the round trip's latency under them, by what and on
//! what it was measured, and a table where there is something to compare.

mod cell;
mod table;
mod wrap;

use std::io::{self, Write};

use super::{IntervalReport, Report, doubts, words};
use crate::units;

/// Writes the report. It keeps to `width` columns, if there is a limit.
///
/// # Errors
/// The writer's.
pub(crate) fn write(report: &Report, width: Option<u16>, out: &mut dyn Write) -> io::Result<()> {
    let mut lines = Vec::new();
    let samples = words::samples(report);
    for cell in &report.results {
        cell::write(cell, samples.as_deref(), report.settings.precision_fraction, &mut lines)?;
    }
    writeln!(lines)?;
    writeln!(lines, "clock: {}", words::clock(report))?;
    writeln!(lines, "host: {}", words::host(&report.environment))?;
    if !report.summed_runs.is_empty() {
        let (runs, first) = (report.summed_runs.len(), units::utc(report.started_unix_s));
        writeln!(lines, "runs: the sum of {runs}, of which the first began {first}")?;
    }
    wrap::write(&lines, width, out)?;
    if report.results.len() > 1 || report.settings.trials > 1 {
        writeln!(out)?;
        table::write(report, width, out)?;
    }
    writeln!(out)?;
    let mut lines = Vec::new();
    doubts::write(report, &mut lines)?;
    wrap::write(&lines, width, out)
}

/// Writes the line of one interval.
///
/// # Errors
/// The writer's.
pub(crate) fn write_interval(interval: &IntervalReport, out: &mut dyn Write) -> io::Result<()> {
    let seconds = interval.length_ns as f64 / 1e9;
    let quantile = |ns: Option<f64>| ns.map_or_else(|| "-".to_owned(), units::latency);
    write!(
        out,
        "{} trial {} at {:.2} s: {}, round trip p50 {}, p99 {}, max {}",
        interval.cell,
        interval.trial + 1,
        interval.since_start_ns as f64 / 1e9,
        units::rate(interval.rounds as f64 / seconds.max(1e-9)),
        quantile(interval.latency_ns.p50),
        quantile(interval.latency_ns.p99),
        quantile(interval.latency_ns.max),
    )?;
    if let Some(response) = &interval.response_ns {
        write!(out, ", response p50 {}, p99 {}", quantile(response.p50), quantile(response.p99))?;
    }
    if interval.lost > 0 {
        write!(out, ", {} lost", interval.lost)?;
    }
    writeln!(out)
}
