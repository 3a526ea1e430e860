//! `history show`: recorded runs as `bench` tells them.

use std::path::PathBuf;

use clap::Args;

use super::PlaceArgs;
use crate::client::cli::Failure;
use crate::client::cli::args::Format;
use crate::client::cli::output::show;
use crate::client::history::Pick;
use crate::protocol::Exit;

#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    /// The run: an id, last, last~1, a baseline, a label, a UUID.
    #[arg(value_name = "RUN", default_value = "last")]
    run: Pick,
    /// Print one JSON document: the same as --format json.
    #[arg(long, conflicts_with = "format")]
    json: bool,
    /// The report's format [default: by the end of --output's name (.json, .csv, .md), else text].
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
    /// Where the report goes: written whole, or not at all; - is stdout.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub(super) fn run(place: &PlaceArgs, args: &ShowArgs) -> Result<Exit, Failure> {
    let history = place.open()?;
    let run = history.run(history.find(&args.run)?)?;
    let format = if args.json { Some(Format::Json) } else { args.format };
    show(&run.report, format, args.output.as_deref())?;
    Ok(Exit::Success)
}
