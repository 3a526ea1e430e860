//! `ipc-client compare`.

pub(super) mod sides;

use std::io::{self, BufWriter, Write};

use clap::{Args, ValueEnum};

use super::Failure;
use super::history::PlaceArgs;
use super::history::select::CellArgs;
use crate::client::history::Pick;
use crate::client::judge::compare::{COMPARED, Comparison, write_markdown, write_text};
use crate::client::report::json;
use crate::client::stats::Statistic;
use crate::diagnostics::{Printable, print_line};
use crate::exit::Exit;

#[derive(Debug, Args)]
pub(super) struct CompareArgs {
    /// The run that is compared with: an id, last, last~1, a baseline, a label, LABEL~1, a UUID, or a file of "bench
    /// --format json" or "history export".
    #[arg(value_name = "A")]
    a: Pick,
    /// The other run, named in the same way.
    #[arg(value_name = "B", default_value = "last")]
    b: Pick,
    #[command(flatten)]
    place: PlaceArgs,
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

/// One of the statistics that are compared.
pub(super) fn statistic(text: &str) -> Result<Statistic, String> {
    let known = COMPARED.into_iter().find(|statistic| statistic.label() == text);
    known.ok_or_else(|| format!("there are {}", COMPARED.map(Statistic::label).join(", ")))
}

pub(super) fn run(args: &CompareArgs) -> Result<Exit, Failure> {
    let filter = args.cells.filter()?;
    let history = sides::history(&args.place)?;
    let mut a = sides::side(&args.a, history.as_ref(), &args.place)?;
    let mut b = sides::side(&args.b, history.as_ref(), &args.place)?;
    for side in [&mut a, &mut b] {
        side.report.results.retain(|cell| filter.lets_through(cell));
    }
    let comparison = Comparison::new(&a, &b, args.quantile, history.as_ref())?;
    let mut out = BufWriter::new(io::stdout().lock());
    match if args.json { Format::Json } else { args.format } {
        Format::Text => write_text(&comparison, &mut Printable::new(&mut out))?,
        Format::Markdown => write_markdown(&comparison, &mut Printable::new(&mut out))?,
        Format::Json => json::write(&comparison, &mut out)?,
    }
    out.flush()?;
    if comparison.is_empty() {
        print_line(format_args!("ipc-client: nothing of {} and {} can be compared", args.a, args.b));
        return Ok(Exit::Nothing);
    }
    Ok(Exit::Success)
}
