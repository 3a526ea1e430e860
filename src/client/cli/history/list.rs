//! Lists of runs, or of results where a filter tells results of a run apart.

use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;

use clap::Args;
use serde::Serialize;

use super::select::{CellArgs, RunsArgs};
use super::{LIST_SCHEMA, PlaceArgs, say_nothing};
use crate::client::cli::Failure;
use crate::client::history::{History, HistoryError, Listener, ResultRow, RunRow};
use crate::client::report::json;
use crate::diagnostics::Printable;
use crate::exit::Exit;
use crate::units::{latency, utc};

/// Rows of a list that is not limited otherwise.
const ROWS: u32 = 20;

#[derive(Debug, Args, PartialEq)]
pub(super) struct ListArgs {
    #[command(flatten)]
    cells: CellArgs,
    #[command(flatten)]
    runs: RunsArgs,
    /// Rows at most, the newest ones; 0 is all.
    #[arg(short = 'n', long, value_name = "N", default_value_t = ROWS)]
    limit: u32,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

impl Default for ListArgs {
    fn default() -> Self {
        Self { cells: CellArgs::default(), runs: RunsArgs::default(), limit: ROWS, json: false }
    }
}

pub(super) fn run(place: &PlaceArgs, args: &ListArgs) -> Result<Exit, Failure> {
    let filter = args.runs.narrow(args.cells.filter()?);
    let history = place.open()?;
    let limit = (args.limit > 0).then_some(args.limit);
    // A run with one cell is that cell; a filter of cells asks for their figures.
    match (filter.is_of_cells(), args.json) {
        (false, true) => json(&history, "runs", |each| history.runs(&filter, limit, each)),
        (true, true) => json(&history, "results", |each| history.results(&filter, limit, each)),
        (false, false) => text(&history, RUN_HEAD, run_line, |each| history.runs(&filter, limit, each)),
        (true, false) => {
            text(&history, RESULT_HEAD, result_line, |each| history.results(&filter, limit, each))
        }
    }
}

const RUN_HEAD: &str = "   run  began                 grade  host          label         results";
const RESULT_HEAD: &str =
    "   run  began                 grade  host          label                p50        p99  cell";

/// Cells of a run that are named; more are counted.
const NAMED: usize = 3;

fn run_line(row: &RunRow) -> String {
    let baselines = row.baselines.iter().map(|name| format!(" [baseline {name}]")).collect::<String>();
    let mut results = row.cells.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    if row.cells.len() > NAMED {
        results = format!("{} cells: {results}, …", row.cells.len());
    }
    format!("{}  {results}{baselines}", start(row.id, row.started_unix_s, &row.grade, &row.host, &row.label))
}

fn result_line(row: &ResultRow) -> String {
    let quantile = |ns: Option<f64>| ns.map_or_else(|| "-".to_owned(), latency);
    format!(
        "{}  {:>9}  {:>9}  {}",
        start(row.run, row.started_unix_s, &row.grade, &row.host, &row.label),
        quantile(row.latency_ns.p50),
        quantile(row.latency_ns.p99),
        row.cell
    )
}

fn start(run: i64, began: u64, grade: &str, host: &str, label: &Option<String>) -> String {
    let label = label.as_deref().unwrap_or("-");
    let host = if host.is_empty() { "-" } else { host };
    format!("{run:>6}  {}  {grade:<5}  {host:<12}  {label:<12}", utc(began))
}

/// A line a row, as they come: a list of a million takes no memory.
fn text<T>(
    history: &History,
    head: &str,
    line: fn(&T) -> String,
    rows: impl FnOnce(Listener<'_, T>) -> Result<(), HistoryError>,
) -> Result<Exit, Failure> {
    let mut out = Printable::new(BufWriter::new(io::stdout().lock()));
    let mut none = true;
    let mut written = Ok(());
    rows(&mut |row| {
        if std::mem::take(&mut none) {
            written = writeln!(out, "{head}");
        }
        if written.is_ok() {
            written = writeln!(out, "{}", line(&row).trim_end());
        }
        if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    written?;
    out.flush()?;
    told(history, none)
}

/// Whether there was anything to show.
fn told(history: &History, none: bool) -> Result<Exit, Failure> {
    if none {
        say_nothing(history)?;
        return Ok(Exit::Nothing);
    }
    Ok(Exit::Success)
}

/// An array in a document, an element a line.
fn json<T: Serialize>(
    history: &History,
    name: &str,
    rows: impl FnOnce(Listener<'_, T>) -> Result<(), HistoryError>,
) -> Result<Exit, Failure> {
    let mut out = BufWriter::new(io::stdout().lock());
    let mut none = true;
    let mut written = write!(out, "{{\"schema\": {LIST_SCHEMA}, \"{name}\": [");
    rows(&mut |row| {
        let between: &[u8] = if std::mem::take(&mut none) { b"\n" } else { b",\n" };
        if written.is_ok() {
            written = out.write_all(between).and_then(|()| json::write_in_line(&row, &mut out));
        }
        if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    written?;
    writeln!(out, "{}]}}", if none { "" } else { "\n" })?;
    out.flush()?;
    told(history, none)
}
