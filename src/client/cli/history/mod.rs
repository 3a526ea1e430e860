//! `ipc-client history` and `export`: lists, shows, manages and exports recorded runs.

mod exchange;
mod list;
pub(super) mod select;

use std::io::Write as _;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde::Serialize;

pub(super) use self::exchange::{PrometheusArgs, export_prometheus};
use self::select::LocationArgs;
use crate::client::Failure;
use crate::client::history::{Baseline, Filter, HistoryError, Label, Pick};
use crate::client::report::json;
use crate::diagnostics::{Printable, print_line, to_stdout};
use crate::exit::Exit;
use crate::units;

#[derive(Debug, Args)]
#[command(after_help = "Times are UTC.")]
pub(super) struct HistoryArgs {
    #[command(flatten)]
    location: LocationArgs,
    #[command(flatten)]
    list: list::ListArgs,
    #[command(subcommand)]
    command: Option<HistoryCommand>,
}

#[derive(Debug, Subcommand)]
enum HistoryCommand {
    /// List runs: the same as "history" alone.
    List(list::ListArgs),
    /// Show a run as "bench" showed it.
    Show(list::ShowArgs),
    /// Remove runs older than an age, except baselines.
    Prune(PruneArgs),
    /// Name a run that others are compared with; without arguments, list the names.
    Baseline(BaselineArgs),
    /// Export complete runs as lines of JSON.
    Export(exchange::ExportArgs),
    /// Import exported runs that are not in the history yet.
    Import(exchange::ImportArgs),
}

pub(super) fn run(args: &HistoryArgs) -> Result<Exit, Failure> {
    // Only --history may precede the subcommand: the other arguments are those of a list.
    if args.command.is_some() && args.list != list::ListArgs::default() {
        return Err(Failure::usage("filters of a list belong after the subcommand, not before it"));
    }
    match &args.command {
        None => list::list(&args.location, &args.list),
        Some(HistoryCommand::List(list)) => list::list(&args.location, list),
        Some(HistoryCommand::Show(show)) => list::show(&args.location, show),
        Some(HistoryCommand::Prune(age)) => prune(&args.location, age),
        Some(HistoryCommand::Baseline(name)) => baseline(&args.location, name),
        Some(HistoryCommand::Export(export)) => exchange::export(&args.location, export),
        Some(HistoryCommand::Import(import)) => exchange::import(&args.location, import),
    }
}

#[derive(Debug, Args)]
struct PruneArgs {
    /// The age up to which runs are kept, such as 90d.
    #[arg(long, value_name = "AGE", value_parser = units::parse_age)]
    keep: Duration,
    /// Only show what would be removed.
    #[arg(long)]
    dry_run: bool,
}

fn prune(location: &LocationArgs, args: &PruneArgs) -> Result<Exit, Failure> {
    let pruned = location.open()?.prune(units::ago(args.keep), !args.dry_run)?;
    let verb = if args.dry_run { "would be removed" } else { "removed" };
    let kept = match pruned.baselines_kept {
        0 => String::new(),
        kept => format!("; older, but kept as baselines: {kept}"),
    };
    to_stdout(|out| writeln!(out, "{} runs with {} results {verb}{kept}", pruned.runs, pruned.results))?;
    Ok(Exit::Success)
}

#[derive(Debug, Args)]
struct BaselineArgs {
    /// The baseline's name.
    #[arg(value_name = "NAME", requires = "what")]
    name: Option<Label>,
    /// The run: an id, last, last~1, a label, another baseline.
    #[arg(value_name = "RUN", group = "what")]
    run: Option<Pick>,
    /// Remove the name; the run is kept.
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

fn baseline(location: &LocationArgs, args: &BaselineArgs) -> Result<Exit, Failure> {
    let mut history = location.open()?;
    let Some(name) = &args.name else {
        let baselines = &history.baselines()?[..];
        to_stdout(|out| {
            if args.json {
                return json::write(&BaselineDocument { schema: list::LIST_SCHEMA, baselines }, out);
            }
            let mut out = Printable::new(out);
            baselines.iter().try_for_each(|baseline| {
                writeln!(
                    out,
                    "{}: run {}, {}",
                    baseline.name,
                    baseline.run,
                    units::utc(baseline.started_unix_s)
                )
            })
        })?;
        return Ok(Exit::Success);
    };
    match &args.run {
        Some(run) => {
            let id = history.find(run)?;
            let before = history.set_baseline(name, id)?.filter(|before| *before != id);
            let before = before.map_or_else(String::new, |before| format!("; it was run {before}"));
            print_line(format_args!("ipc-client: baseline {name} is run {id}{before}"));
            let labelled = Filter { label: Some(name.clone()), ..Filter::default() };
            history.runs(&labelled, Some(1), |run| {
                print_line(format_args!(
                    "ipc-client: runs have the label {name} too, the newest of them run {}: from now on {name} means the \
                     baseline; \"history --label {name}\" lists the others",
                    run.id
                ));
                Ok::<_, HistoryError>(())
            })?;
        }
        None if history.remove_baseline(name)? => {
            print_line(format_args!("ipc-client: baseline {name} removed"))
        }
        None => return Err(Failure::new(Exit::Nothing, format!("no baseline `{name}` in the history"))),
    }
    Ok(Exit::Success)
}
