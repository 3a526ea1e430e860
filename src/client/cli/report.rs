//! `ipc-client report`.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use clap::Args;

use super::history::select::{CellArgs, LocationArgs, read_text};
use super::judge::statistic;
use super::rerun::rerun;
use crate::client::Failure;
use crate::client::history::{Filter, History, Label, Pick};
use crate::client::judge::compare::Side;
use crate::client::judge::trend::{Trend, TrendPlan, trends};
use crate::client::report::file;
use crate::client::report::html::{Document, write};
use crate::client::report::matrix::Matrix;
use crate::client::stats::Statistic;
use crate::diagnostics::{print_line, to_stdout};
use crate::exit::Exit;
use crate::units;

/// The longest file that is read as a matrix.
const MAX_MATRIX: u64 = 64 << 20;

#[derive(Debug, Args)]
pub(super) struct ReportArgs {
    /// The runs of the report: ids, last, last~1, baselines, labels, LABEL~1, UUIDs, or files of "bench --format json" or
    /// "history export" [default: last].
    #[arg(value_name = "RUN")]
    runs: Vec<Pick>,
    #[command(flatten)]
    location: LocationArgs,
    #[command(flatten)]
    cells: CellArgs,
    /// Write the report to this file, such as report.html, completely or not at all; - is stdout.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// A CSV of "matrix", shown as a heat map of CPUs; may be repeated.
    #[arg(long = "matrix", value_name = "FILE")]
    matrices: Vec<PathBuf>,
    /// The title [default: the host].
    #[arg(long, value_name = "TEXT")]
    title: Option<String>,
    /// The statistic that the history shows: p50, p90, p99, p99.9, p99.99, mean.
    #[arg(long, value_name = "STATISTIC", default_value = "p50", value_parser = statistic)]
    quantile: Statistic,
    /// At most this many runs of a cell in the history, the newest ones; 0 omits the history.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 200, value_parser = units::parse_in_range(0, 10_000))]
    limit: u32,
    /// Show only runs with this label in the history.
    #[arg(long, value_name = "NAME")]
    label: Option<Label>,
    /// The smallest change of the level to report.
    #[arg(long, value_name = "PERCENT", default_value = "2%", value_parser = units::parse_percent)]
    min_change: f64,
}

pub(super) fn run(args: &ReportArgs, parser: &clap::Command) -> Result<Exit, Failure> {
    let file = args.output.as_deref().filter(|path| *path != Path::new("-"));
    if args.output.is_none() && io::stdout().is_terminal() {
        return Err(Failure::usage("a report is a page for a browser: name a file, such as -o report.html"));
    }
    file.map(file::check).transpose()?;
    let filter = args.cells.filter()?;
    let mut matrices = Vec::new();
    for path in &args.matrices {
        let failure = |error: String| {
            Failure::new(Exit::Failure, format!("{} cannot be shown as a matrix: {error}", path.display()))
        };
        let text = read_text(path, MAX_MATRIX).map_err(|error| failure(error.to_string()))?;
        matrices.extend(Matrix::read_csv(&text).map_err(failure)?);
    }
    let history = args.location.open_if_any()?;
    let mut runs = runs(args, history.as_ref(), &filter)?;
    runs.retain(|run| !run.report.results.is_empty());
    if runs.is_empty() && matrices.is_empty() {
        print_line(format_args!("ipc-client: no matching cells in the named runs"));
        return Ok(Exit::Nothing);
    }
    let trends = match &history {
        Some(history) if args.limit > 0 => trends_of(history, &runs, args)?,
        _ => Vec::new(),
    };
    let commands = runs.iter().map(|run| rerun(parser, &run.report.settings)).collect();
    let document = Document { title: args.title.clone(), runs, commands, trends, matrices };
    match file {
        Some(path) => file::write_whole(path, |out| write(&document, out))?,
        None => to_stdout(|mut out| write(&document, &mut out))?,
    }
    Ok(Exit::Success)
}

/// The named runs, each once, with the cells that match. Matrices alone are a report too.
fn runs(args: &ReportArgs, history: Option<&History>, filter: &Filter) -> Result<Vec<Side>, Failure> {
    if args.runs.is_empty() {
        return match args.location.run(&Pick::Last(0), history, filter) {
            Err(failure) if failure.exit == Exit::Nothing && !args.matrices.is_empty() => Ok(Vec::new()),
            last => Ok(vec![last?]),
        };
    }
    let mut runs: Vec<Side> = Vec::new();
    for pick in &args.runs {
        let run = args.location.run(pick, history, filter)?;
        let same =
            |other: &Side| if run.run.is_some() { other.run == run.run } else { other.name == run.name };
        if !runs.iter().any(same) {
            runs.push(run);
        }
    }
    Ok(runs)
}

/// The history of the runs' cells, each on its host.
fn trends_of(history: &History, runs: &[Side], args: &ReportArgs) -> Result<Vec<Trend>, Failure> {
    let host = |run: &Side| run.report.environment.hostname.clone().unwrap_or_default();
    let mut filter = Filter { label: args.label.clone(), ..Filter::default() };
    for cell in runs.iter().flat_map(|run| &run.report.results) {
        if !filter.methods.contains(&cell.method) {
            filter.methods.push(cell.method.clone());
        }
    }
    filter.hosts = runs.iter().map(host).collect();
    let plan =
        TrendPlan { filter, statistic: args.quantile, runs: args.limit, least_change: args.min_change };
    let mut trends = trends(history, &plan)?;
    trends.retain(|trend| {
        runs.iter().any(|run| {
            host(run) == trend.host && run.report.results.iter().any(|cell| cell.cell == trend.cell)
        })
    });
    Ok(trends)
}
