//! `ipc-client history` and `export`: lists, shows, manages and exports recorded runs.

mod exchange;
mod list;
pub(super) mod select;

use std::collections::BTreeSet;
use std::io::Write as _;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde::Serialize;

pub(super) use self::exchange::{PrometheusArgs, export_prometheus};
use self::select::{LocationArgs, RunsArgs};
use crate::client::Failure;
use crate::client::history::{Baseline, Filter, History, HistoryError, Label, Pick};
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
    /// Name runs that others are compared with; without arguments, list the names.
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
    #[arg(value_name = "NAME")]
    name: Option<Label>,
    /// The runs: ids, last, last~1, labels, other baselines. Six or more show how far unchanged runs lie apart.
    #[arg(value_name = "RUN", requires = "name")]
    picks: Vec<Pick>,
    /// The runs that these select, in place of named ones.
    #[command(flatten)]
    runs: RunsArgs,
    /// Remove the name; its runs are kept.
    #[arg(long, conflicts_with = "picks", requires = "name")]
    remove: bool,
    /// Print one JSON document.
    #[arg(long, conflicts_with = "name")]
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
                let (name, runs) = (&baseline.name, ids(&baseline.runs));
                writeln!(out, "{name}: {runs}, {}", units::began(baseline.started_unix_s))
            })
        })?;
        return Ok(Exit::Success);
    };
    if args.remove {
        if !history.remove_baseline(name)? {
            return Err(Failure::new(Exit::Nothing, format!("no baseline `{name}` in the history")));
        }
        print_line(format_args!("ipc-client: baseline {name} removed"));
        return Ok(Exit::Success);
    }
    let runs = runs_of_baseline(&history, args)?;
    let before = history.set_baseline(name, &runs)?;
    let changed = !before.is_empty() && before != runs;
    let was = if changed { format!("; it was {}", ids(&before)) } else { String::new() };
    print_line(format_args!("ipc-client: baseline {name} is {}{was}", ids(&runs)));
    let labelled = Filter { label: Some(name.clone()), ..Filter::default() };
    history.runs(&labelled, Some(1), |run| {
        print_line(format_args!(
            "ipc-client: runs have the label {name} too, the newest of them run {}: from now on {name} means the baseline; \
             \"history --label {name}\" lists the others",
            run.id
        ));
        Ok::<_, HistoryError>(())
    })?;
    Ok(Exit::Success)
}

/// The ids of the runs that are named or selected, the newest first.
fn runs_of_baseline(history: &History, args: &BaselineArgs) -> Result<Vec<i64>, Failure> {
    let filter = args.runs.narrow(Filter::default());
    match (args.picks.is_empty(), filter == Filter::default()) {
        (true, true) => {
            return Err(Failure::usage("name the runs of the baseline, such as last, or --label nightly"));
        }
        (false, false) => return Err(Failure::usage("name runs or give a filter, not both")),
        _ => {}
    }
    let mut named = BTreeSet::new();
    for pick in &args.picks {
        named.extend(history.find_all(pick)?);
    }
    let mut ids = Vec::new();
    // In the order of the history.
    history.runs(&filter, None, |row| {
        if args.picks.is_empty() || named.contains(&row.id) {
            ids.push(row.id);
        }
        Ok::<_, HistoryError>(())
    })?;
    match ids.is_empty() {
        true => Err(Failure::new(Exit::Nothing, "no matching runs")),
        false => Ok(ids),
    }
}

/// `run 3`, or `6 runs (9, 8, 7, 6, 5, 4)`.
fn ids(runs: &[i64]) -> String {
    match runs {
        [run] => format!("run {run}"),
        runs => {
            let all: Vec<String> = runs.iter().map(i64::to_string).collect();
            format!("{} runs ({})", runs.len(), all.join(", "))
        }
    }
}
