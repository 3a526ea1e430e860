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
use crate::protocol::Exit;

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
#[command(args_conflicts_with_subcommands = true, after_help = "Times are UTC.")]
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
    /// Show a run as "bench" has shown it.
    Show(show::ShowArgs),
    /// Remove runs of a certain age, but baselines.
    Prune(keep::PruneArgs),
    /// Name a run that others are compared with; without arguments, list those names.
    Baseline(keep::BaselineArgs),
    /// Write runs, whole, as lines of JSON.
    Export(exchange::ExportArgs),
    /// Take in exported runs that are not here yet.
    Import(exchange::ImportArgs),
}

pub(super) fn run(args: &HistoryArgs) -> Result<Exit, Failure> {
    match &args.command {
        None => list::run(&args.place, &args.list),
        Some(HistoryCommand::Show(show)) => show::run(&args.place, show),
        Some(HistoryCommand::Prune(prune)) => keep::prune(&args.place, prune),
        Some(HistoryCommand::Baseline(baseline)) => keep::baseline(&args.place, baseline),
        Some(HistoryCommand::Export(export)) => exchange::export(&args.place, export),
        Some(HistoryCommand::Import(import)) => exchange::import(&args.place, import),
    }
}
