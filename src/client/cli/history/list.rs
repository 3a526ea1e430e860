//! `history list` and `history show`.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::select::{CellArgs, LocationArgs, RunsArgs, report_empty};
use crate::client::Failure;
use crate::client::cli::output::ReportArgs;
use crate::client::history::{Filter, History, HistoryError, Pick, ResultRow, Run, RunRow};
use crate::client::merge::MergedRuns;
use crate::client::report::file::write_whole;
use crate::client::report::ranking::rank;
use crate::client::report::{Report, hdr_log, json};
use crate::diagnostics::{Printable, print_line, to_stdout};
use crate::exit::Exit;
use crate::units::{began, latency};

/// The version of the layout of lists in JSON, described in `docs/json.md`.
pub(super) const LIST_SCHEMA: u32 = 1;

/// Rows of a list by default.
const ROWS: u32 = 20;

#[derive(Debug, Args, PartialEq)]
pub(super) struct ListArgs {
    #[command(flatten)]
    cells: CellArgs,
    #[command(flatten)]
    runs: RunsArgs,
    /// At most this many rows, the newest ones; 0 for all.
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

/// Lists runs; with a filter of cells, their results.
pub(super) fn list(location: &LocationArgs, args: &ListArgs) -> Result<Exit, Failure> {
    let filter = args.runs.narrow(args.cells.filter()?);
    let history = location.open()?;
    let limit = (args.limit > 0).then_some(args.limit);
    let mut none = true;
    // Row by row, so that a list of a million needs no memory.
    to_stdout(|out| {
        if args.json {
            let name = if filter.selects_cells() { "results" } else { "runs" };
            write!(out, "{{\"schema\": {LIST_SCHEMA}, \"{name}\": [")?;
        }
        if filter.selects_cells() {
            history.results(&filter, limit, |row| {
                write_row(out, args.json, std::mem::take(&mut none), &row, RESULT_HEAD, result_line)
            })?;
        } else {
            history.runs(&filter, limit, |row| {
                write_row(out, args.json, std::mem::take(&mut none), &row, RUN_HEAD, run_line)
            })?;
        }
        if args.json {
            writeln!(out, "{}]}}", if none { "" } else { "\n" })?;
        }
        Ok::<_, Failure>(())
    })?;
    if none { report_empty(&history) } else { Ok(Exit::Success) }
}

/// Writes a row: a line of text, the first one under a head, or an element of a JSON array.
fn write_row<T: Serialize>(
    out: &mut dyn Write,
    is_json: bool,
    is_first: bool,
    row: &T,
    head: &str,
    line: fn(&T) -> String,
) -> Result<(), Failure> {
    if is_json {
        writeln!(out, "{}", if is_first { "" } else { "," })?;
        return Ok(json::write_on_one_line(row, out)?);
    }
    let mut out = Printable::new(out);
    if is_first {
        writeln!(out, "{head}")?;
    }
    Ok(writeln!(out, "{}", line(row).trim_end())?)
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

fn start(run: i64, started: u64, grade: &str, host: &str, label: &Option<String>) -> String {
    let label = label.as_deref().unwrap_or("-");
    let host = if host.is_empty() { "-" } else { host };
    format!("{run:>6}  {}  {grade:<5}  {host:<12}  {label:<12}", began(started))
}

#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    /// The run: an id, last, last~1, a baseline, a label, a UUID [default: last]. Several, or all that match --since,
    /// --until, --host and --label, are merged: histograms are added, and quantiles are those of all rounds.
    #[arg(value_name = "RUN")]
    picks: Vec<Pick>,
    #[command(flatten)]
    cells: CellArgs,
    #[command(flatten)]
    runs: RunsArgs,
    #[command(flatten)]
    report: ReportArgs,
    /// Also write the latencies as an HdrHistogram log, in nanoseconds: a line per cell, which is its tag.
    #[arg(long, value_name = "FILE")]
    hdr_log: Option<PathBuf>,
}

pub(super) fn show(location: &LocationArgs, args: &ShowArgs) -> Result<Exit, Failure> {
    args.report.check()?;
    args.report.check_hdr_log(args.hdr_log.as_deref())?;
    let history = location.open()?;
    let Some(mut report) = find(&history, args)? else { return report_empty(&history) };
    let filter = args.cells.filter()?;
    report.results.retain(|cell| filter.matches(cell));
    report.ranking = rank(&report);
    if report.results.is_empty() && filter.selects_cells() {
        print_line(format_args!("ipc-client: no matching cells in the named runs"));
        return Ok(Exit::Nothing);
    }
    if let Some(path) = &args.hdr_log {
        write_whole(path, |out| hdr_log::write(&report, out))?;
    }
    args.report.write(&report, true)?;
    Ok(Exit::Success)
}

/// The named run, or several merged; `None` if no run matches.
fn find(history: &History, args: &ShowArgs) -> Result<Option<Report>, Failure> {
    let filter = args.runs.narrow(Filter::default());
    if !args.picks.is_empty() && filter != Filter::default() {
        return Err(Failure::usage("name runs or give a filter, not both"));
    }
    // By the time they began, each once.
    let mut ids = BTreeSet::new();
    if filter != Filter::default() {
        let cells = args.cells.filter()?;
        history.runs(&args.runs.narrow(cells), None, |row| {
            ids.insert((row.started_unix_s, row.id));
            Ok::<_, HistoryError>(())
        })?;
    } else if let [] | [_] = args.picks[..] {
        let last = Pick::Last(0);
        return Ok(Some(named(history.run(history.find(args.picks.first().unwrap_or(&last))?)?)));
    } else {
        for pick in &args.picks {
            let id = history.find(pick)?;
            ids.insert((history.run(id)?.report.started_unix_s, id));
        }
    }
    let mut ids = ids.into_iter().map(|(_, id)| id);
    let Some(first) = ids.next() else { return Ok(None) };
    let first = history.run(first)?;
    if ids.len() == 0 {
        return Ok(Some(named(first)));
    }
    let runs = ids.len() + 1;
    let mut merged = MergedRuns::new(first);
    for id in ids {
        merged.add(history.run(id)?).map_err(|error| Failure {
            advice: Some("narrow them by --host, --since or --label, or name them".to_owned()),
            ..Failure::new(Exit::Nothing, error)
        })?;
    }
    print_line(format_args!("ipc-client: {runs} runs merged"));
    for note in merged.notes() {
        print_line(format_args!("ipc-client: {note}"));
    }
    let arguments = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned());
    Ok(Some(merged.report(arguments.collect())))
}

/// A run's report; says which run it is, which the report does not contain.
fn named(run: Run) -> Report {
    let label = run.label.map_or_else(String::new, |label| format!(", label {label}"));
    print_line(format_args!("ipc-client: run {} of {}{label}", run.id, began(run.report.started_unix_s)));
    run.report
}
