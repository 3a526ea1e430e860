//! `ipc-client trend`.

use std::io::{self, BufWriter, Write};

use clap::Args;

use super::compare::statistic;
use super::history::select::{CellArgs, RunsArgs};
use super::history::{PlaceArgs, say_nothing};
use super::{Failure, terminal};
use crate::client::judge::trend::{TREND_SCHEMA, TrendDocument, TrendPlan, trends, write_text};
use crate::client::report::json;
use crate::client::stats::Statistic;
use crate::diagnostics::Printable;
use crate::exit::Exit;
use crate::units;

#[derive(Debug, Args)]
pub(super) struct TrendArgs {
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    cells: CellArgs,
    #[command(flatten)]
    runs: RunsArgs,
    /// What is followed: p50, p90, p99, p99.9, p99.99, mean.
    #[arg(long, value_name = "STATISTIC", default_value = "p50", value_parser = statistic)]
    quantile: Statistic,
    /// Runs of a cell at most, the newest ones.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 500, value_parser = units::parse_in_range(1, 10_000))]
    limit: u32,
    /// Changes of the level that are smaller are not told.
    #[arg(long, value_name = "PERCENT", default_value = "2%", value_parser = units::parse_percent)]
    min_change: f64,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &TrendArgs) -> Result<Exit, Failure> {
    let filter = args.runs.narrow(args.cells.filter()?);
    let history = args.place.open()?;
    let plan =
        TrendPlan { filter, statistic: args.quantile, runs: args.limit, least_change: args.min_change };
    let trends = trends(&history, &plan)?;
    let mut out = BufWriter::new(io::stdout().lock());
    if args.json {
        let document = TrendDocument { schema: TREND_SCHEMA, trends: &trends };
        json::write(&document, &mut out)?;
    } else {
        // Beside the line stands its range.
        let width = terminal::prose_width().saturating_sub(24);
        write_text(&trends, width, &mut Printable::new(&mut out))?;
    }
    out.flush()?;
    if trends.is_empty() {
        say_nothing(&history)?;
        return Ok(Exit::Nothing);
    }
    Ok(Exit::Success)
}
