//! `ipc-client report`.

use std::io::{self, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};

use clap::Args;

use super::Failure;
use super::again::again;
use super::compare::{sides, statistic};
use super::history::PlaceArgs;
use super::history::select::CellArgs;
use crate::client::history::{Filter, History, Label, Pick};
use crate::client::judge::compare::Side;
use crate::client::judge::trend::{Trend, TrendPlan, trends};
use crate::client::report::file;
use crate::client::report::html::{Document, write};
use crate::client::report::matrix::Matrix;
use crate::client::stats::Statistic;
use crate::diagnostics::print_line;
use crate::exit::Exit;
use crate::units;

/// The longest file that is taken for a matrix.
const LONGEST_MATRIX: u64 = 64 << 20;

#[derive(Debug, Args)]
pub(super) struct ReportArgs {
    /// The runs, several in one report: ids, last, last~1, baselines, labels, LABEL~1, UUIDs, or files of "bench --format
    /// json" or "history export" [default: last].
    #[arg(value_name = "RUN")]
    runs: Vec<Pick>,
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    cells: CellArgs,
    /// Where the report goes, such as report.html: written whole, or not at all; - is stdout.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// A CSV of "matrix", to be shown as a heat map of CPUs; can be given several times.
    #[arg(long = "matrix", value_name = "FILE")]
    matrices: Vec<PathBuf>,
    /// The title [default: which host it is of].
    #[arg(long, value_name = "TEXT")]
    title: Option<String>,
    /// What the history follows: p50, p90, p99, p99.9, p99.99, mean.
    #[arg(long, value_name = "STATISTIC", default_value = "p50", value_parser = statistic)]
    quantile: Statistic,
    /// Runs of a cell's history at most, the newest ones; 0 leaves the history out.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 200, value_parser = units::parse_in_range(0, 10_000))]
    limit: u32,
    /// What the history follows: runs with this label only.
    #[arg(long, value_name = "NAME")]
    label: Option<Label>,
    /// Changes of the level that are smaller are not told.
    #[arg(long, value_name = "PERCENT", default_value = "2%", value_parser = units::parse_percent)]
    min_change: f64,
}

pub(super) fn run(args: &ReportArgs) -> Result<Exit, Failure> {
    let file = args.output.as_deref().filter(|path| *path != Path::new("-"));
    if args.output.is_none() && io::stdout().is_terminal() {
        return Err(Failure::usage("a report is for a browser: name a file, such as -o report.html"));
    }
    file.map(file::check).transpose()?;
    let filter = args.cells.filter()?;
    let mut matrices = Vec::new();
    for path in &args.matrices {
        matrices.extend(matrix(path)?);
    }
    let history = sides::history(&args.place)?;
    let mut runs = runs(args, history.as_ref())?;
    for run in &mut runs {
        run.report.results.retain(|cell| filter.lets_through(cell));
    }
    runs.retain(|run| !run.report.results.is_empty());
    if runs.is_empty() && matrices.is_empty() {
        print_line(format_args!("ipc-client: no run that was named has such cells"));
        return Ok(Exit::Nothing);
    }
    let trends = match &history {
        Some(history) if args.limit > 0 => of_cells(history, &runs, args)?,
        _ => Vec::new(),
    };
    let commands = runs.iter().map(|run| again(&run.report.settings)).collect();
    let document = Document { title: args.title.clone(), runs, commands, trends, matrices };
    match file {
        Some(path) => file::write_whole(path, |out| write(&document, out))?,
        None => {
            let mut out = io::stdout().lock();
            write(&document, &mut out)?;
            out.flush()?;
        }
    }
    Ok(Exit::Success)
}

/// The runs that are meant, each once. Matrices alone are a report too.
fn runs(args: &ReportArgs, history: Option<&History>) -> Result<Vec<Side>, Failure> {
    if args.runs.is_empty() {
        let last = sides::side(&Pick::Last(0), history, &args.place);
        return match last {
            Err(failure) if failure.exit == Exit::Nothing && !args.matrices.is_empty() => Ok(Vec::new()),
            last => Ok(vec![last?]),
        };
    }
    let mut runs: Vec<Side> = Vec::new();
    for pick in &args.runs {
        let side = sides::side(pick, history, &args.place)?;
        let same =
            |other: &Side| if side.run.is_some() { other.run == side.run } else { other.name == side.name };
        if !runs.iter().any(same) {
            runs.push(side);
        }
    }
    Ok(runs)
}

/// The history of the runs' cells, each on its host.
fn of_cells(history: &History, runs: &[Side], args: &ReportArgs) -> Result<Vec<Trend>, Failure> {
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
    let reported = |trend: &Trend| {
        runs.iter().any(|run| {
            host(run) == trend.host && run.report.results.iter().any(|cell| cell.cell == trend.cell)
        })
    };
    trends.retain(reported);
    Ok(trends)
}

fn matrix(path: &Path) -> Result<Vec<Matrix>, Failure> {
    let failure = |error: String| Failure {
        error: format!("{} cannot be shown as a matrix: {error}", path.display()).into(),
        advice: None,
        exit: Exit::Failure,
    };
    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(LONGEST_MATRIX).read_to_string(&mut text))
        .map_err(|error| failure(error.to_string()))?;
    Matrix::read_csv(&text).map_err(failure)
}
