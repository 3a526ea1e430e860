//! `ipc-client history`: lists, shows and keeps recorded runs.

mod exchange;
mod keep;
mod list;
pub(super) mod select;
mod show;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Failure;
use crate::client::history::{History, HistoryError, place};
use crate::diagnostics::print_line;
use crate::exit::Exit;

/// The version of the layout of lists in JSON, which `docs/json.md` tells.
const LIST_SCHEMA: u32 = 1;

/// Says that a filter has left nothing, or that there was nothing before it.
pub(super) fn say_nothing(history: &History) -> Result<(), HistoryError> {
    if history.is_empty()? {
        let path = history.path().display();
        print_line(format_args!(
            "ipc-client: the history {path} is empty: \"ipc-client bench --record\" and \"history import\" fill it"
        ));
    } else {
        print_line(format_args!("ipc-client: nothing in the history is like that"));
    }
    Ok(())
}

/// Which history.
#[derive(Debug, Args)]
pub(super) struct PlaceArgs {
    /// The history [default: $IPCD_HISTORY, else history.sqlite in $STATE_DIRECTORY or $XDG_STATE_HOME/ipcd].
    #[arg(long, value_name = "FILE", global = true)]
    history: Option<PathBuf>,
}

impl PlaceArgs {
    /// The history that is there.
    pub(super) fn open(&self) -> Result<History, Failure> {
        Ok(self.try_open()?)
    }

    /// The same, for who goes on without.
    pub(super) fn try_open(&self) -> Result<History, HistoryError> {
        History::open(&place(self.history.as_deref())?)
    }

    /// The same, made if there is none.
    fn create(&self) -> Result<History, Failure> {
        Ok(History::create(&place(self.history.as_deref())?)?)
    }
}

#[derive(Debug, Args)]
#[command(after_help = "Times are UTC.")]
pub(super) struct HistoryArgs {
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    list: list::ListArgs,
    #[command(subcommand)]
    command: Option<HistoryCommand>,
}

#[derive(Debug, Subcommand)]
enum HistoryCommand {
    /// List runs: the same as "history" alone.
    List(list::ListArgs),
    /// Show a run as "bench" has shown it.
    Show(show::ShowArgs),
    /// Remove runs of a certain age, except baselines.
    Prune(keep::PruneArgs),
    /// Name a run that others are compared with; without arguments, list those names.
    Baseline(keep::BaselineArgs),
    /// Write runs, whole, as lines of JSON.
    Export(exchange::ExportArgs),
    /// Take in exported runs that are not here yet.
    Import(exchange::ImportArgs),
}

pub(super) fn run(args: &HistoryArgs) -> Result<Exit, Failure> {
    // --history goes before either; the others are a list's.
    if args.command.is_some() && args.list != list::ListArgs::default() {
        return Err(Failure::usage(
            "what narrows a list stands after the command that it is for, not before it",
        ));
    }
    match &args.command {
        None => list::run(&args.place, &args.list),
        Some(HistoryCommand::List(list)) => list::run(&args.place, list),
        Some(HistoryCommand::Show(show)) => show::run(&args.place, show),
        Some(HistoryCommand::Prune(prune)) => keep::prune(&args.place, prune),
        Some(HistoryCommand::Baseline(baseline)) => keep::baseline(&args.place, baseline),
        Some(HistoryCommand::Export(export)) => exchange::export(&args.place, export),
        Some(HistoryCommand::Import(import)) => exchange::import(&args.place, import),
    }
}
