//! `history prune` and `history baseline`.

use std::io::Write;
use std::ops::ControlFlow;
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::{LIST_SCHEMA, PlaceArgs};
use crate::client::cli::Failure;
use crate::client::history::{Baseline, Filter, Label, Pick};
use crate::client::report::json;
use crate::diagnostics::{Printable, print_line};
use crate::exit::Exit;
use crate::units;
use crate::units::utc;

#[derive(Debug, Args)]
pub(super) struct PruneArgs {
    /// The age up to which runs stay, such as 90d.
    #[arg(long, value_name = "AGE", value_parser = units::parse_age)]
    keep: Duration,
    /// Only tell what would be removed.
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Args)]
pub(super) struct BaselineArgs {
    /// The baseline's name.
    #[arg(value_name = "NAME", requires = "what")]
    name: Option<Label>,
    /// The run: an id, last, last~1, a label, another baseline.
    #[arg(value_name = "RUN", group = "what")]
    run: Option<Pick>,
    /// Take the name away; the run stays.
    #[arg(long, group = "what", requires = "name")]
    remove: bool,
    /// Print one JSON document.
    #[arg(long, conflicts_with = "what")]
    json: bool,
}

/// Baselines as JSON.
#[derive(Debug, Serialize)]
struct BaselineDocument<'a> {
    schema: u32,
    baselines: &'a [Baseline],
}

pub(super) fn prune(place: &PlaceArgs, args: &PruneArgs) -> Result<Exit, Failure> {
    let mut history = place.open()?;
    let pruned = history.prune(units::ago(args.keep), !args.dry_run)?;
    let verb = if args.dry_run { "would be removed" } else { "removed" };
    let mut out = std::io::stdout().lock();
    write!(out, "{} runs with {} results {verb}", pruned.runs, pruned.results)?;
    if pruned.baselines_kept > 0 {
        write!(out, "; as old, but kept for their baselines: {}", pruned.baselines_kept)?;
    }
    writeln!(out)?;
    Ok(Exit::Success)
}

pub(super) fn baseline(place: &PlaceArgs, args: &BaselineArgs) -> Result<Exit, Failure> {
    let mut history = place.open()?;
    let Some(name) = &args.name else {
        let baselines = history.baselines()?;
        let mut out = std::io::stdout().lock();
        if args.json {
            let document = BaselineDocument { schema: LIST_SCHEMA, baselines: &baselines };
            json::write(&document, &mut out)?;
        }
        let mut out = Printable::new(out);
        for baseline in baselines.iter().filter(|_| !args.json) {
            writeln!(out, "{}: run {}, {}", baseline.name, baseline.run, utc(baseline.started_unix_s))?;
        }
        return Ok(Exit::Success);
    };
    match &args.run {
        Some(run) => {
            let id = history.find(run)?;
            let before = history.set_baseline(name, id)?;
            let before = before.filter(|before| *before != id);
            let before = before.map_or_else(String::new, |before| format!("; it was run {before}"));
            print_line(format_args!("ipc-client: baseline {name} is run {id}{before}"));
            let mut hidden = None;
            let labelled = Filter { label: Some(name.clone()), ..Filter::default() };
            history.runs(&labelled, Some(1), &mut |row| {
                hidden = Some(row.id);
                ControlFlow::Break(())
            })?;
            if let Some(labelled) = hidden {
                print_line(format_args!(
                    "ipc-client: runs have the label {name} too, the newest of them run {labelled}: {name} means the \
                     baseline from now on, and their list is \"history --label {name}\""
                ));
            }
        }
        None if history.remove_baseline(name)? => {
            print_line(format_args!("ipc-client: there is no baseline {name} any more"))
        }
        None => {
            let error = format!("there is no baseline `{name}` in the history");
            return Err(Failure { error: error.into(), advice: None, exit: Exit::Nothing });
        }
    }
    Ok(Exit::Success)
}
