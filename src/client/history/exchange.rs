//! Runs between histories: lines of JSON (NDJSON), a run each, which `docs/history.md` describes.

use std::error::Error;
use std::io::{self, BufRead, Read, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::blob::{self, Cause};
use super::store::insert;
use super::{History, HistoryError, Label, Run};
use crate::client::report::{Report, SCHEMA, json};
use crate::diagnostics::{is_unprintable, printable};

/// The version of a line's layout. Keys are added without a new one.
pub(crate) const EXCHANGE_FORMAT: u32 = 1;

/// The longest line: a run of thousands of cells and trials. A longer one is no run.
const LONGEST: u64 = 256 << 20;

/// So many runs are imported in one transaction, so that others who write wait for tenths of a second.
const TOGETHER: usize = 50;

/// A line.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    /// [`EXCHANGE_FORMAT`].
    ipcd_history: u32,
    uuid: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    label: Option<String>,
    /// As `bench --format json` tells it.
    report: Report,
    /// For each of its results, in base64.
    histograms: Vec<Histograms>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Histograms {
    latency: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    response: Option<String>,
}

/// What is looked at first, of a line of any version.
#[derive(Deserialize)]
struct Version {
    ipcd_history: Option<u32>,
    report: Option<ReportVersion>,
}

#[derive(Deserialize)]
struct ReportVersion {
    schema: u32,
}

/// Why a line is no run.
#[derive(Debug, thiserror::Error)]
#[error("line {number} is no run of this format")]
pub struct LineError {
    /// From 1.
    pub number: u64,
    /// Why.
    pub source: Box<dyn Error + Send + Sync>,
}

/// Why an import ended.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
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

/// What an import came to, as far as it came.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Imported {
    /// Runs that are new here.
    pub new: u64,
    /// Runs that were here already, by their UUIDs.
    pub known: u64,
    /// Lines that were no runs, and passed over.
    pub damaged: u64,
}

/// Writes a run as a line.
///
/// # Errors
/// The writer's.
pub fn write_line(run: &Run, out: &mut dyn Write) -> io::Result<()> {
    let text =
        |histogram| Ok::<_, io::Error>(STANDARD.encode(blob::encode(histogram).map_err(io::Error::other)?));
    let histograms: io::Result<Vec<_>> = run
        .report
        .results
        .iter()
        .map(|cell| {
            Ok(Histograms {
                latency: text(&cell.histogram)?,
                response: cell.response_histogram.as_ref().map(text).transpose()?,
            })
        })
        .collect();
    let line = Line {
        ipcd_history: EXCHANGE_FORMAT,
        uuid: run.uuid.to_string(),
        label: run.label.clone(),
        report: run.report.clone(),
        histograms: histograms?,
    };
    json::write_in_line(&line, out)?;
    writeln!(out)
}

/// Reads the runs of such lines, one after the other; blank lines are passed over. Ids are 0: they are a history's.
pub(crate) fn read_lines(lines: impl BufRead) -> impl Iterator<Item = Result<Run, ImportError>> {
    let mut lines = lines;
    let mut number = 0;
    std::iter::from_fn(move || {
        loop {
            let mut line = Vec::new();
            number += 1;
            match lines.by_ref().take(LONGEST).read_until(b'\n', &mut line) {
                Ok(0) => return None,
                Ok(_) if line.trim_ascii().is_empty() => {}
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
        Some(EXCHANGE_FORMAT) => {}
        Some(other) => {
            return Err(format!("it has format {other}; this ipc-client knows {EXCHANGE_FORMAT}").into());
        }
    }
    if let Some(ReportVersion { schema }) = version.report.filter(|report| report.schema != SCHEMA) {
        return Err(format!("its report has schema {schema}; this ipc-client knows {SCHEMA}").into());
    }
    let Line { uuid, label, mut report, histograms, .. } = serde_json::from_str(line)?;
    let uuid: Uuid = uuid.parse().map_err(|error| format!("`{uuid}` is no UUID: {error}"))?;
    label.as_deref().map(str::parse::<Label>).transpose()?;
    if let Some(name) = names(&report).find(|name| name.contains(is_unprintable)) {
        return Err(format!("a name in it has a control character: {}", printable(name, &[])).into());
    }
    if histograms.len() != report.results.len() {
        let (is, should) = (histograms.len(), report.results.len());
        return Err(format!("it has {is} histograms for {should} results").into());
    }
    let read = |text: &str| blob::decode(&STANDARD.decode(text)?);
    for (cell, told) in report.results.iter_mut().zip(histograms) {
        cell.histogram = read(&told.latency)?;
        cell.response_histogram = told.response.as_deref().map(read).transpose()?;
        if cell.histogram.len() != cell.latency_ns.samples {
            let (is, should) = (cell.histogram.len(), cell.latency_ns.samples);
            return Err(format!("the histogram of {} has {is} samples of {should}", cell.cell).into());
        }
    }
    Ok(Run { id: 0, uuid, label, report })
}

/// The names by which a run and its cells are found. Nothing that is written on purpose has controls in them.
fn names(report: &Report) -> impl Iterator<Item = &str> {
    let cells = report.results.iter().flat_map(|cell| [&cell.method, &cell.cell]);
    report.environment.hostname.iter().chain(cells).map(String::as_str)
}

impl History {
    /// Takes in the runs of these lines that are not here yet. `imported` is how far that came, whatever ends it: what
    /// was imported stays, and the same import again goes on from there.
    ///
    /// # Errors
    /// See [`ImportError`].
    pub fn import(&mut self, lines: impl BufRead, imported: &mut Imported) -> Result<(), ImportError> {
        self.import_runs(read_lines(lines), imported)
    }

    /// The same, but lines that are no runs are passed over. `damaged` hears of each.
    ///
    /// # Errors
    /// See [`ImportError`], of which [`Line`](ImportError::Line) is none here.
    pub(crate) fn import_undamaged(
        &mut self,
        lines: impl BufRead,
        imported: &mut Imported,
        damaged: &mut dyn FnMut(&LineError),
    ) -> Result<(), ImportError> {
        let mut passed_over = 0;
        let whole = read_lines(lines).filter(|run| match run {
            Err(ImportError::Line(error)) => {
                passed_over += 1;
                damaged(error);
                false
            }
            _ => true,
        });
        let result = self.import_runs(whole, imported);
        imported.damaged += passed_over;
        result
    }

    fn import_runs(
        &mut self,
        runs: impl Iterator<Item = Result<Run, ImportError>>,
        imported: &mut Imported,
    ) -> Result<(), ImportError> {
        let mut runs = runs;
        loop {
            let mut some = Vec::new();
            let mut end = None;
            while some.len() < TOGETHER && end.is_none() {
                match runs.next() {
                    Some(Ok(run)) => some.push(run),
                    Some(Err(error)) => end = Some(Err(error)),
                    None => end = Some(Ok(())),
                }
            }
            let new = self.write(|transaction| {
                let mut new = 0;
                for run in &some {
                    let label = run.label.as_deref().and_then(|label| label.parse().ok());
                    new += u64::from(insert(transaction, run.uuid, label.as_ref(), &run.report)?.is_some());
                }
                Ok(new)
            })?;
            imported.new += new;
            imported.known += some.len() as u64 - new;
            if let Some(end) = end {
                return end;
            }
        }
    }
}
