//! Runs between histories: lines of JSON (NDJSON), a run each, which `docs/history.md` describes.

use std::error::Error;
use std::io::{self, BufRead, Read, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::run::{Cause, Origin, decode, encode, insert};
use super::{History, HistoryError, Label, Run};
use crate::client::report::{Report, SCHEMA, json};
use crate::diagnostics::{is_unprintable, printable};

/// The version of a line's layout. Keys may be added without a new one.
const FORMAT: u32 = 1;

/// The longest line: a run of thousands of cells and trials. A longer one is not a run.
const LONGEST: u64 = 128 << 20;

/// The most histograms in a line: each takes 350 KB of memory, and next to nothing in the file.
const MOST_HISTOGRAMS: usize = 4096;

/// How many runs one transaction imports, and after how many cells it imports no more: other writers wait for tenths of a second.
const BATCH: usize = 50;
const BATCH_CELLS: usize = 500;

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

/// Reads the runs of such lines one by one; blank lines are skipped. Ids are 0: a history gives them.
pub(crate) fn read_lines(mut lines: impl BufRead) -> impl Iterator<Item = Result<Run, ImportError>> {
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
                    return Some(
                        parse(line.trim_ascii()).map_err(|source| LineError { number, source }.into()),
                    );
                }
                Err(error) => return Some(Err(ImportError::Read(error))),
            }
        }
    })
}

fn parse(line: &[u8]) -> Result<Run, Cause> {
    let line = str::from_utf8(line)?;
    let version: Version = serde_json::from_str(line)?;
    match version.ipcd_history {
        None => return Err("it has no key `ipcd_history`".into()),
        Some(FORMAT) => {}
        Some(other) => {
            return Err(format!("it has format {other}; this ipc-client knows {FORMAT}").into());
        }
    }
    if let Some(ReportVersion { schema }) = version.report.filter(|report| report.schema != SCHEMA) {
        return Err(format!("its report has schema {schema}; this ipc-client knows {SCHEMA}").into());
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
    let held = histograms.iter().map(|one| 1 + usize::from(one.response.is_some())).sum::<usize>();
    if held > MOST_HISTOGRAMS {
        return Err(format!("it has {held} histograms; a run has {MOST_HISTOGRAMS} at most").into());
    }
    let read = |text: &str| decode(&STANDARD.decode(text)?);
    for (cell, encoded) in report.results.iter_mut().zip(histograms) {
        cell.histogram = read(&encoded.latency)?;
        cell.response_histogram = encoded.response.as_deref().map(read).transpose()?;
        if cell.histogram.len() != cell.latency_ns.samples {
            let (is, should) = (cell.histogram.len(), cell.latency_ns.samples);
            return Err(format!("the histogram of {} has {is} samples of {should}", cell.cell).into());
        }
        cell.complete();
    }
    Ok(Run { id: 0, uuid, label, report })
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
        let mut runs = read_lines(lines).peekable();
        let mut end = Ok(());
        while end.is_ok() && runs.peek().is_some() {
            let mut batch: Vec<Run> = Vec::new();
            let mut cells = 0;
            while end.is_ok()
                && batch.len() < BATCH
                && cells < BATCH_CELLS
                && let Some(run) = runs.next()
            {
                match run {
                    Ok(run) => {
                        cells += run.report.results.len();
                        batch.push(run);
                    }
                    Err(ImportError::Line(error)) => match damaged(error) {
                        Ok(()) => imported.damaged += 1,
                        Err(error) => end = Err(error.into()),
                    },
                    Err(error) => end = Err(error),
                }
            }
            let new = self.write(|transaction| {
                let insert = |run: &Run| {
                    insert(transaction, run.uuid, run.label.as_deref(), &run.report, Origin::Imported)
                };
                batch.iter().try_fold(0, |new, run| Ok(new + u64::from(insert(run)?.is_some())))
            })?;
            imported.new += new;
            imported.known += batch.len() as u64 - new;
        }
        end
    }
}
