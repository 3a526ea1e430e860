//! `ipc-client export`.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;

use super::Failure;
use super::history::select::{CellArgs, RunsArgs};
use super::history::{PlaceArgs, say_nothing};
use crate::client::export::prometheus;
use crate::client::report::file;
use crate::diagnostics::print_line;
use crate::exit::Exit;

#[derive(Debug, Args)]
#[command(after_help = "\
Tells the newest result of each cell that the filters let through. \"ipcd start --metrics\" serves such a file beside its own \
counters, and the textfile collector of Prometheus' node exporter reads it. docs/metrics.md has the metrics.\n\n\
Exit code 14: there is no history, or nothing in it is like that; FILE stays as it is.")]
pub(super) struct ExportArgs {
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    cells: CellArgs,
    #[command(flatten)]
    runs: RunsArgs,
    /// Where the metrics go, in Prometheus' text format: written whole, or not at all, and readable for every user; - is
    /// stdout.
    #[arg(long, value_name = "FILE", required = true)]
    prometheus: PathBuf,
}

pub(super) fn run(args: &ExportArgs) -> Result<Exit, Failure> {
    let filter = args.runs.narrow(args.cells.filter()?);
    let history = args.place.open()?;
    let exported = prometheus(&history, &filter)?;
    if exported.results == 0 {
        say_nothing(&history)?;
        return Ok(Exit::Nothing);
    }
    if args.prometheus == Path::new("-") {
        let mut out = io::stdout().lock();
        out.write_all(exported.text.as_bytes())?;
        out.flush()?;
    } else {
        file::write_for_all(&args.prometheus, |out| out.write_all(exported.text.as_bytes()))?;
        let (results, path) = (exported.results, args.prometheus.display());
        print_line(format_args!("ipc-client: {results} results exported to {path}"));
    }
    Ok(Exit::Success)
}
