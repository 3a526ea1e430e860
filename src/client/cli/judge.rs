//! `ipc-client compare`, `check` and `trend`: recorded runs against each other, against limits, and over time.

use std::time::Duration;

use clap::{Args, ValueEnum};

use super::history::select::{CellArgs, LocationArgs, RunsArgs, report_empty};
use super::output::prose_width;
use crate::client::Failure;
use crate::client::history::Pick;
use crate::client::judge::check::{Check, Limits};
use crate::client::judge::compare::{COMPARED, Comparison};
use crate::client::judge::trend::{self, TrendDocument, TrendPlan, trends};
use crate::client::report::json;
use crate::client::stats::Statistic;
use crate::diagnostics::{Printable, print_line, to_stdout};
use crate::exit::Exit;
use crate::units;

#[derive(Debug, Args)]
pub(super) struct CompareArgs {
    /// The first run: an id, last, last~1, a baseline, a label, LABEL~1, a UUID, or a file of "bench --format json" or
    /// "history export".
    #[arg(value_name = "A")]
    a: Pick,
    /// The second run, named in the same way.
    #[arg(value_name = "B", default_value = "last")]
    b: Pick,
    #[command(flatten)]
    location: LocationArgs,
    #[command(flatten)]
    cells: CellArgs,
    /// The statistic that decides the verdicts: p50, p90, p99, p99.9, p99.99, mean.
    #[arg(long, value_name = "STATISTIC", default_value = "p50", value_parser = statistic)]
    quantile: Statistic,
    /// Print one JSON document: the same as --format json.
    #[arg(long, conflicts_with = "format")]
    json: bool,
    /// The format.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,
    /// Show every statistic of every cell.
    #[arg(short, long)]
    verbose: bool,
}

/// Formats of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For a terminal.
    Text,
    /// One document, with everything.
    Json,
    /// A table for a forge.
    Markdown,
}

/// Parses one of the compared statistics.
pub(super) fn statistic(text: &str) -> Result<Statistic, String> {
    let known = COMPARED.into_iter().find(|statistic| statistic.label() == text);
    known.ok_or_else(|| format!("the statistics are {}", COMPARED.map(Statistic::label).join(", ")))
}

pub(super) fn compare(args: &CompareArgs) -> Result<Exit, Failure> {
    let filter = args.cells.filter()?;
    let history = args.location.open_if_any()?;
    let a = args.location.runs(&args.a, history.as_ref(), &filter)?;
    let b = args.location.runs(&args.b, history.as_ref(), &filter)?;
    let comparison = Comparison::new(&a, &b, args.quantile, None, history.as_ref())?;
    to_stdout(|out| match if args.json { Format::Json } else { args.format } {
        Format::Text => comparison.write_text(args.verbose, &mut Printable::new(out)),
        Format::Markdown => comparison.write_markdown(&mut Printable::new(out)),
        Format::Json => json::write(&comparison, out),
    })?;
    if comparison.is_empty() {
        print_line(format_args!("ipc-client: nothing in {} and {} can be compared", args.a, args.b));
        return Ok(Exit::Nothing);
    }
    Ok(Exit::Success)
}

#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes: 0 everything is within limits, 12 something is slower than allowed, 13 the figures are too uncertain to decide, 14 there \
is nothing to compare (also for a single cell that only one of the two has, or that was aborted, and for a run that is the \
baseline itself). The first of 12, 13, 14 that applies decides.\n\n\
Without --max-regression, 0 means that nothing is slower by more than unchanged runs differ, which the output shows. With it, 0 means \
that a regression of that size would have been detected: the upper end of the interval is within the limit. With fewer than two trials the result is 13.")]
pub(super) struct CheckArgs {
    /// The run: an id, last, last~1, a label, a UUID, or a file.
    #[arg(value_name = "RUN", default_value = "last")]
    run: Pick,
    #[command(flatten)]
    location: LocationArgs,
    #[command(flatten)]
    cells: CellArgs,
    /// What to compare it with: a baseline's name, or any other way to name a run.
    #[arg(long, value_name = "NAME")]
    baseline: Option<Pick>,
    /// How much slower than the baseline is allowed, such as 10% [default: anything that is not a real difference].
    #[arg(long, value_name = "PERCENT", value_parser = units::parse_increase, requires = "baseline")]
    max_regression: Option<f64>,
    /// The statistic to compare with the baseline: p50, p90, p99, p99.9, p99.99, mean.
    #[arg(long, value_name = "STATISTIC", default_value = "p50", value_parser = statistic)]
    quantile: Statistic,
    #[command(flatten)]
    limits: LimitArgs,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct LimitArgs {
    /// Limit of the median, such as 20us.
    #[arg(long, value_name = "TIME", value_parser = units::parse_duration)]
    p50_below: Option<Duration>,
    /// Limit of the 90 % quantile.
    #[arg(long, value_name = "TIME", value_parser = units::parse_duration)]
    p90_below: Option<Duration>,
    /// Limit of the 99 % quantile.
    #[arg(long, value_name = "TIME", value_parser = units::parse_duration)]
    p99_below: Option<Duration>,
    /// Limit of the 99.9 % quantile.
    #[arg(long = "p99.9-below", value_name = "TIME", value_parser = units::parse_duration)]
    p99_9_below: Option<Duration>,
    /// Limit of the 99.99 % quantile.
    #[arg(long = "p99.99-below", value_name = "TIME", value_parser = units::parse_duration)]
    p99_99_below: Option<Duration>,
    /// Limit of the mean.
    #[arg(long, value_name = "TIME", value_parser = units::parse_duration)]
    mean_below: Option<Duration>,
}

impl LimitArgs {
    /// The limits that were given, in nanoseconds.
    fn given(&self) -> Vec<(Statistic, f64)> {
        [
            (Statistic::P50, self.p50_below),
            (Statistic::P90, self.p90_below),
            (Statistic::P99, self.p99_below),
            (Statistic::P99_9, self.p99_9_below),
            (Statistic::P99_99, self.p99_99_below),
            (Statistic::Mean, self.mean_below),
        ]
        .into_iter()
        .filter_map(|(statistic, limit)| Some((statistic, limit?.as_secs_f64() * 1e9)))
        .collect()
    }
}

pub(super) fn check(args: &CheckArgs) -> Result<Exit, Failure> {
    let bounds = args.limits.given();
    if args.baseline.is_none() && bounds.is_empty() {
        return Err(Failure::usage(
            "nothing to check: give a --baseline, or a limit such as --p99-below 20us",
        ));
    }
    let filter = args.cells.filter()?;
    let history = args.location.open_if_any()?;
    let run = args.location.runs(&args.run, history.as_ref(), &filter)?;
    let baseline = args.baseline.as_ref();
    let baseline = baseline.map(|pick| args.location.runs(pick, history.as_ref(), &filter)).transpose()?;
    let limits = Limits { statistic: args.quantile, max_regression: args.max_regression, bounds };
    let check = Check::new(&run, baseline.as_deref(), &limits, history.as_ref())?;
    to_stdout(|out| match args.json {
        true => json::write(&check, out),
        false => check.write_text(&mut Printable::new(out)),
    })?;
    Ok(check.exit())
}

#[derive(Debug, Args)]
pub(super) struct TrendArgs {
    #[command(flatten)]
    location: LocationArgs,
    #[command(flatten)]
    cells: CellArgs,
    #[command(flatten)]
    runs: RunsArgs,
    /// The statistic to follow: p50, p90, p99, p99.9, p99.99, mean.
    #[arg(long, value_name = "STATISTIC", default_value = "p50", value_parser = statistic)]
    quantile: Statistic,
    /// At most this many runs of a cell, the newest ones.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 500, value_parser = units::parse_in_range(1, 10_000))]
    limit: u32,
    /// The smallest change of the level to report.
    #[arg(long, value_name = "PERCENT", default_value = "2%", value_parser = units::parse_percent)]
    min_change: f64,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
    /// Show each cell that did not change, too, however many there are.
    #[arg(short, long)]
    verbose: bool,
}

pub(super) fn trend(args: &TrendArgs) -> Result<Exit, Failure> {
    let filter = args.runs.narrow(args.cells.filter()?);
    let history = args.location.open()?;
    let plan =
        TrendPlan { filter, statistic: args.quantile, runs: args.limit, least_change: args.min_change };
    let trends = trends(&history, &plan)?;
    to_stdout(|out| {
        if args.json {
            json::write(&TrendDocument { schema: 1, trends: &trends }, out)
        } else {
            // The line's range is shown beside it.
            trend::write_text(
                &trends,
                prose_width().saturating_sub(24),
                args.verbose,
                &mut Printable::new(out),
            )
        }
    })?;
    if trends.is_empty() { report_empty(&history) } else { Ok(Exit::Success) }
}
