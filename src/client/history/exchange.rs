//! Runs between histories: lines of JSON (NDJSON), a run each, which `docs/history.md` describes.

use std::error::Error;
use std::io::{self, BufRead, Read, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::run::{Cause, Encoded, Origin, decode, encode, insert};
use super::{History, HistoryError, Label, Run};
use crate::client::report::{CellReport, Report, SCHEMA, json};
use crate::diagnostics::{is_unprintable, printable};

/// The version of a line's layout. Keys may be added without a new one.
const FORMAT: u32 = 1;

/// The longest line: a run of thousands of cells and trials. A longer one is not a run.
const LONGEST: u64 = 64 << 20;

/// The most results of a run, and the most histograms: one takes 0.3 MiB of memory, and next to nothing in the file.
const MOST_RESULTS: usize = 4096;

/// The most commas in a line, and so the most values: one takes up to 48 bytes of memory and 2 in the file. A trial has some
/// dozens.
const MOST_VALUES: usize = 4 << 20;

/// How many runs one transaction imports, and after how many cells it imports no more: other writers wait for tenths of a second.
const BATCH: usize = 50;
const BATCH_CELLS: usize = 500;
/// After how many bytes of lines it imports no more: all of them are in memory.
const BATCH_BYTES: usize = 1 << 20;

/// A line.
#[derive(Debug, Serialize, Deserialize)]
struct Line<R> {
    /// [`FORMAT`].
    ipcd_history: u32,
    uuid: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    label: Option<String>,
    /// As `bench --format json` prints it.
    report: R,
    /// For each of its results, in base64.
    histograms: Vec<Histograms>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Histograms {
    latency: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    response: Option<String>,
}

/// What is read first, from a line of any version.
#[derive(Deserialize)]
struct Version {
    ipcd_history: Option<u32>,
    report: Option<ReportVersion>,
}

#[derive(Deserialize)]
struct ReportVersion {
    schema: u32,
    #[serde(default)]
    results: Vec<IgnoredAny>,
}

/// Why a line is not a run.
#[derive(Debug, thiserror::Error)]
#[error("line {number} is not a run of this format")]
pub(crate) struct LineError {
    /// From 1.
    pub number: u64,
    /// Why.
    pub source: Box<dyn Error + Send + Sync>,
}

/// Why an import ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ImportError {
    /// What was read is wrong.
    #[error(transparent)]
    Line(#[from] LineError),
    /// It cannot be read.
    #[error("it cannot be read")]
    Read(#[source] io::Error),
    /// It cannot be stored.
    #[error(transparent)]
    History(#[from] HistoryError),
}

/// What an import has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Imported {
    /// Runs that are new here.
    pub new: u64,
    /// Runs that were here already, by their UUIDs.
    pub known: u64,
    /// Lines that are not runs, and were skipped.
    pub damaged: u64,
}

/// Writes a run as a line.
///
/// # Errors
/// The writer's.
pub fn write_line(run: &Run, out: &mut dyn Write) -> io::Result<()> {
    let text = |histogram| STANDARD.encode(encode(histogram));
    let histograms = run.report.results.iter().map(|cell| Histograms {
        latency: text(&cell.histogram),
        response: cell.response_histogram.as_ref().map(text),
    });
    let line = Line {
        ipcd_history: FORMAT,
        uuid: run.uuid.to_string(),
        label: run.label.clone(),
        report: &run.report,
        histograms: histograms.collect(),
    };
    json::write_on_one_line(&line, out)?;
    writeln!(out)
}

/// Reads the runs of such lines one by one, with their histograms; blank lines are skipped. Ids are 0: a history gives them.
pub(crate) fn read_lines(lines: impl BufRead) -> impl Iterator<Item = Result<Run, ImportError>> {
    read(lines, |Parsed { mut run, histograms, .. }| {
        for (cell, histograms) in run.report.results.iter_mut().zip(histograms) {
            (cell.histogram, cell.response_histogram) = histograms.decode(cell)?;
        }
        Ok(run)
    })
}

/// A run whose histograms were checked one by one, and are not in memory: a small line may have thousands.
struct Checked {
    run: Run,
    histograms: Vec<Encoded>,
    line_bytes: usize,
}

impl Checked {
    fn check(parsed: Parsed) -> Result<Self, Cause> {
        let Parsed { run, histograms, line_bytes } = parsed;
        let check = |(cell, histograms): (&CellReport, Histograms)| {
            let (latency, response) = histograms.decode(cell)?;
            Ok((encode(&latency), response.as_ref().map(encode)))
        };
        let histograms =
            run.report.results.iter().zip(histograms).map(check).collect::<Result<_, Cause>>()?;
        Ok(Self { run, histograms, line_bytes })
    }
}

/// Reads lines, and finishes what was parsed of each.
fn read<T>(
    mut lines: impl BufRead,
    finish: fn(Parsed) -> Result<T, Cause>,
) -> impl Iterator<Item = Result<T, ImportError>> {
    let mut number = 0;
    std::iter::from_fn(move || {
        loop {
            let mut line = Vec::new();
            number += 1;
            match lines.by_ref().take(LONGEST).read_until(b'\n', &mut line) {
                Ok(0) => return None,
                Ok(_) if line.trim_ascii().is_empty() => {}
                Ok(n) if n as u64 == LONGEST && line.last() != Some(&b'\n') => {
                    let source = format!("it has more than {} MiB", LONGEST >> 20).into();
                    return Some(Err(ImportError::Read(io::Error::other(LineError { number, source }))));
                }
                Ok(_) => {
                    let run = parse(line.trim_ascii()).and_then(finish);
                    return Some(run.map_err(|source| LineError { number, source }.into()));
                }
                Err(error) => return Some(Err(ImportError::Read(error))),
            }
        }
    })
}

/// A line whose histograms have yet to be decoded.
struct Parsed {
    run: Run,
    /// As many as the run has results.
    histograms: Vec<Histograms>,
    line_bytes: usize,
}

impl Histograms {
    /// Those of this cell.
    fn decode(&self, cell: &CellReport) -> Result<(Histogram<u64>, Option<Histogram<u64>>), Cause> {
        let read = |text: &String| decode(&STANDARD.decode(text)?);
        let latency = read(&self.latency)?;
        if latency.len() != cell.latency_ns.samples {
            let (is, should) = (latency.len(), cell.latency_ns.samples);
            return Err(format!("the histogram of {} has {is} samples of {should}", cell.cell).into());
        }
        Ok((latency, self.response.as_ref().map(read).transpose()?))
    }
}

/// Counts are checked before anything is allocated for them.
fn parse(line: &[u8]) -> Result<Parsed, Cause> {
    let line = str::from_utf8(line)?;
    let most = |is: usize, what: &str, most: usize| match is > most {
        true => Err(Cause::from(format!("it has {is} {what}; a run has {most} at most"))),
        false => Ok(()),
    };
    most(line.bytes().filter(|byte| *byte == b',').count(), "values", MOST_VALUES)?;
    let version: Version = serde_json::from_str(line)?;
    match version.ipcd_history {
        None => return Err("it has no key `ipcd_history`".into()),
        Some(FORMAT) => {}
        Some(other) => {
            return Err(format!("it has format {other}; this ipc-client knows {FORMAT}").into());
        }
    }
    if let Some(ReportVersion { schema, results }) = version.report {
        if schema != SCHEMA {
            return Err(format!("its report has schema {schema}; this ipc-client knows {SCHEMA}").into());
        }
        most(results.len(), "results", MOST_RESULTS)?;
    }
    let Line::<Report> { uuid, label, mut report, histograms, .. } = serde_json::from_str(line)?;
    let uuid: Uuid = uuid.parse().map_err(|error| format!("`{uuid}` is not a UUID: {error}"))?;
    label.as_deref().map(str::parse::<Label>).transpose()?;
    if let Some(name) = names(&report).find(|name| name.contains(is_unprintable)) {
        return Err(format!("a name in it has a control character: {}", printable(name, &[])).into());
    }
    if histograms.len() != report.results.len() {
        let (is, should) = (histograms.len(), report.results.len());
        return Err(format!("it has {is} histograms for {should} results").into());
    }
    let held = histograms.iter().map(|one| 1 + usize::from(one.response.is_some())).sum();
    most(held, "histograms", MOST_RESULTS)?;
    report.results.iter_mut().for_each(CellReport::complete);
    Ok(Parsed { run: Run { id: 0, uuid, label, report }, histograms, line_bytes: line.len() })
}

/// The names that identify a run and its cells. ipcd writes none with a control character.
fn names(report: &Report) -> impl Iterator<Item = &str> {
    let cells = report.results.iter().flat_map(|cell| [&cell.method, &cell.cell]);
    report.environment.hostname.iter().chain(cells).map(String::as_str)
}

impl History {
    /// Imports the runs of these lines that are not here yet. `damaged` decides on a line that is not a run: it is
    /// skipped, or ends the import. `imported` counts what was done, whatever ends it; that stays, and the same import
    /// again continues from there.
    ///
    /// # Errors
    /// See [`ImportError`].
    pub(crate) fn import(
        &mut self,
        lines: impl BufRead,
        imported: &mut Imported,
        mut damaged: impl FnMut(LineError) -> Result<(), LineError>,
    ) -> Result<(), ImportError> {
        let mut runs = read(lines, Checked::check).peekable();
        let mut end = Ok(());
        while end.is_ok() && runs.peek().is_some() {
            let mut batch: Vec<Checked> = Vec::new();
            let (mut cells, mut bytes) = (0, 0);
            while end.is_ok()
                && batch.len() < BATCH
                && cells < BATCH_CELLS
                && bytes < BATCH_BYTES
                && let Some(run) = runs.next()
            {
                match run {
                    Ok(checked) => {
                        cells += checked.run.report.results.len();
                        bytes += checked.line_bytes;
                        batch.push(checked);
                    }
                    Err(ImportError::Line(error)) => match damaged(error) {
                        Ok(()) => imported.damaged += 1,
                        Err(error) => end = Err(error.into()),
                    },
                    Err(error) => end = Err(error),
                }
            }
            let new = self.write(|transaction| {
                let insert = |Checked { run, histograms, .. }: &Checked| {
                    let label = run.label.as_deref();
                    insert(transaction, run.uuid, label, &run.report, histograms, Origin::Imported)
                };
                batch.iter().try_fold(0, |new, run| Ok(new + u64::from(insert(run)?.is_some())))
            })?;
            imported.new += new;
            imported.known += batch.len() as u64 - new;
        }
        end
    }
}
