//! `history show`: recorded runs as `bench` tells them, one or the sum of several.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use clap::Args;

use super::select::{CellArgs, RunsArgs};
use super::{PlaceArgs, say_nothing};
use crate::client::cli::Failure;
use crate::client::cli::args::Format;
use crate::client::cli::output::show;
use crate::client::history::{Filter, History, Pick, Run};
use crate::client::report::file::write_whole;
use crate::client::report::{Report, hdr_log};
use crate::client::sum::Sum;
use crate::diagnostics::print_line;
use crate::exit::Exit;
use crate::units::utc;

#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    /// The run: an id, last, last~1, a baseline, a label, a UUID [default: last]. Several, or all that --since, --host and
    /// --label let through, are shown as their sum: histograms are added, and quantiles are those of all rounds.
    #[arg(value_name = "RUN")]
    picks: Vec<Pick>,
    #[command(flatten)]
    cells: CellArgs,
    #[command(flatten)]
    runs: RunsArgs,
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
    let Some(mut report) = report(&history, args)? else {
        say_nothing(&history)?;
        return Ok(Exit::Nothing);
    };
    let filter = args.cells.filter()?;
    report.results.retain(|cell| filter.lets_through(cell));
    if report.results.is_empty() && filter.is_of_cells() {
        print_line(format_args!("ipc-client: no run that was named has such cells"));
        return Ok(Exit::Nothing);
    }
    if let Some(path) = &args.hdr_log {
        if path.as_path() == Path::new("-") {
            return Err(Failure::usage("--hdr-log needs a file: stdout has the report"));
        }
        if args.output.as_ref() == Some(path) {
            return Err(Failure::usage("--output and --hdr-log need a file each"));
        }
        write_whole(path, |out| hdr_log::write(&report, out))?;
    }
    let format = if args.json { Some(Format::Json) } else { args.format };
    show(&report, format, args.output.as_deref())?;
    Ok(Exit::Success)
}

/// The run that is meant, or the sum of several; `None` if nothing in the history is like that.
fn report(history: &History, args: &ShowArgs) -> Result<Option<Report>, Failure> {
    let filter = args.runs.narrow(Filter::default());
    if !args.picks.is_empty() && filter != Filter::default() {
        return Err(Failure::usage("runs and a filter are two ways to say which: name one of them"));
    }
    // By the time they began, each once.
    let mut ids = BTreeSet::new();
    if filter != Filter::default() {
        let cells = args.cells.filter()?;
        history.runs(&args.runs.narrow(cells), None, &mut |row| {
            ids.insert((row.started_unix_s, row.id));
            ControlFlow::Continue(())
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
    let mut sum = Sum::new(first);
    for id in ids {
        sum.add(history.run(id)?).map_err(|error| Failure {
            error: error.into(),
            advice: Some("narrow them by --host, --since or --label, or name them".to_owned()),
            exit: Exit::Nothing,
        })?;
    }
    print_line(format_args!("ipc-client: the sum of {runs} runs"));
    for note in sum.notes() {
        print_line(format_args!("ipc-client: {note}"));
    }
    let arguments = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned());
    Ok(Some(sum.report(arguments.collect())))
}

/// A run's report. Which run it is of, a report does not tell.
fn named(run: Run) -> Report {
    let label = run.label.map_or_else(String::new, |label| format!(", label {label}"));
    print_line(format_args!("ipc-client: run {} of {}{label}", run.id, utc(run.report.started_unix_s)));
    run.report
}
