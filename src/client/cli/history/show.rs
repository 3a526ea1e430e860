//! `history show`: recorded runs as `bench` tells them.

use std::path::{Path, PathBuf};

use clap::Args;

use super::PlaceArgs;
use crate::client::cli::Failure;
use crate::client::cli::args::Format;
use crate::client::cli::output::show;
use crate::client::history::Pick;
use crate::client::report::file::write_whole;
use crate::client::report::hdr_log;
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
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Write the latencies as an HdrHistogram log as well, in nanoseconds: a line a cell, which is its tag.
    #[arg(long, value_name = "FILE")]
    hdr_log: Option<PathBuf>,
}

pub(super) fn run(place: &PlaceArgs, args: &ShowArgs) -> Result<Exit, Failure> {
    let history = place.open()?;
    let run = history.run(history.find(&args.run)?)?;
    if let Some(path) = &args.hdr_log {
        if path.as_path() == Path::new("-") {
            return Err(Failure::usage("--hdr-log needs a file: stdout has the report"));
        }
        if args.output.as_ref() == Some(path) {
            return Err(Failure::usage("--output and --hdr-log need a file each"));
        }
        write_whole(path, |out| hdr_log::write(&run.report, out))?;
    }
    let format = if args.json { Some(Format::Json) } else { args.format };
    show(&run.report, format, args.output.as_deref())?;
    Ok(Exit::Success)
}
