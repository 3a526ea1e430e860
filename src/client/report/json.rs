//! JSON: the report's model as it is, as one document, or as lines (NDJSON) written during a run.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde::{Deserialize, Serialize};

use super::{CellReport, Report, cell_name};
use crate::client::bench::Cell;
use crate::client::host::placement::Placement;
use crate::client::measure::Interval;
use crate::client::stats::Latency;
use crate::protocol::Wait;

/// Writes one JSON document, for a person to read as well.
///
/// The writer is dynamic, so that a type's serialisation is compiled once for all writers.
///
/// # Errors
/// The writer's.
pub(crate) fn write(value: &impl Serialize, out: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, value)?;
    writeln!(out)
}

/// Writes one JSON document without line breaks.
///
/// # Errors
/// The writer's.
pub(crate) fn write_on_one_line(value: &impl Serialize, out: &mut dyn Write) -> io::Result<()> {
    Ok(serde_json::to_writer(out, value)?)
}

/// A JSON document in one line.
///
/// # Errors
/// If a map's key is none in JSON.
pub(crate) fn text(value: &impl Serialize) -> serde_json::Result<String> {
    let mut text = Vec::new();
    serde_json::to_writer(&mut text as &mut dyn Write, value)?;
    Ok(String::from_utf8(text).expect("JSON is UTF-8"))
}

/// A line.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(crate) enum Line<'a> {
    /// A part of a trial.
    Interval(&'a IntervalReport),
    /// A cell after all trials.
    Result(&'a CellReport),
    /// The rest of the report, without the results: the last line.
    Report(&'a Report),
}

/// A part of a trial.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct IntervalReport {
    /// The cell's name, as in its result.
    pub cell: String,
    /// The mechanism.
    pub method: String,
    /// Its options.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, String>,
    /// Bytes carried each way in a round.
    pub size_bytes: u64,
    /// How either side waits.
    pub wait: Wait,
    /// Where they run.
    pub placement: Placement,
    /// The trial's index in the cell's `trials`.
    pub trial: u32,
    /// The interval's end, from the start of the trial's timed rounds.
    pub since_start_ns: u64,
    /// Its length.
    pub length_ns: u64,
    /// Rounds completed in it.
    pub rounds: u64,
    /// Datagrams lost in it.
    pub lost: u64,
    /// The latency of a round trip.
    pub latency_ns: Latency,
    /// With a fixed rate: the time from each round's intended start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_ns: Option<Latency>,
}

impl IntervalReport {
    /// The figures of an interval of this trial.
    #[must_use]
    pub(crate) fn of(cell: &Cell, trial: u32, interval: &Interval<'_>) -> Self {
        let nanos = |time: std::time::Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        Self {
            cell: cell_name(cell),
            method: cell.spec.method.clone(),
            options: cell.spec.options.clone(),
            size_bytes: cell.spec.size_bytes.into(),
            wait: cell.wait,
            placement: cell.placement,
            trial,
            since_start_ns: nanos(interval.since_start),
            length_ns: nanos(interval.length),
            rounds: interval.rounds,
            lost: interval.lost,
            latency_ns: Latency::of(interval.histogram),
            response_ns: interval.response.map(Latency::of),
        }
    }
}

/// Writes a line and flushes it, so that a reader has it at once.
///
/// # Errors
/// The writer's.
pub(crate) fn write_line(line: &Line<'_>, out: &mut dyn Write) -> io::Result<()> {
    write_on_one_line(line, out)?;
    writeln!(out)?;
    out.flush()
}

/// Writes the end of a stream: a line for each cell, and the report.
///
/// # Errors
/// The writer's.
pub(crate) fn write_end(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    for cell in &report.results {
        write_line(&Line::Result(cell), out)?;
    }
    let rest = Report { results: Vec::new(), ..report.clone() };
    write_line(&Line::Report(&rest), out)
}
