//! `ipc-client trend`.

use std::io::{self, BufWriter, Write};

use clap::Args;

use super::compare::statistic;
use super::history::PlaceArgs;
use super::history::select::{CellArgs, since};
use super::{Failure, parse, terminal};
use crate::client::history::Filter;
use crate::client::measure::stats::Statistic;
use crate::client::trend::{TrendPlan, trends, write_text};
use crate::protocol::{Exit, Printable, say};

#[derive(Debug, Args)]
pub(super) struct TrendArgs {
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    cells: CellArgs,
    /// Runs since then: an age such as 90d, or a time such as 2026-03-01 (UTC).
    #[arg(long, value_name = "WHEN", value_parser = since)]
    since: Option<u64>,
    /// Hosts, with commas between.
    #[arg(long = "host", value_name = "NAME,...", value_delimiter = ',')]
    hosts: Vec<String>,
    /// What is followed: p50, p90, p99, p99.9, p99.99, mean.
    #[arg(long, value_name = "STATISTIC", default_value = "p50", value_parser = statistic)]
    quantile: Statistic,
    /// Runs of a cell at most, the newest ones.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
    /// Changes of the level that are smaller are not told.
    #[arg(long, value_name = "PERCENT", default_value = "2%", value_parser = parse::percent)]
    min_change: f64,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &TrendArgs) -> Result<Exit, Failure> {
    let filter = Filter { hosts: args.hosts.clone(), since_unix_s: args.since, ..args.cells.filter()? };
    let history = args.place.open()?;
    let plan =
        TrendPlan { filter, statistic: args.quantile, runs: args.limit, least_change: args.min_change };
    let trends = trends(&history, &plan)?;
    let mut out = BufWriter::new(io::stdout().lock());
    if args.json {
        serde_json::to_writer_pretty(&mut out, &trends).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        // Beside the line stands its range.
        let width = terminal::prose_width().saturating_sub(24);
        write_text(&trends, width, &mut Printable::new(&mut out))?;
    }
    out.flush()?;
    if trends.is_empty() {
        say(format_args!("ipc-client: nothing in the history is like that"));
        return Ok(Exit::Nothing);
    }
    Ok(Exit::Success)
}
