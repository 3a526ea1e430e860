//! The history on the command line: where it is, and what goes into it.

use std::path::PathBuf;

use clap::Args;

use super::Failure;
use crate::client::history::{History, HistoryError, Label, place};
use crate::client::report::Report;
use crate::diagnostics::print_line;

/// Whether a run is recorded, and where.
#[derive(Debug, Args)]
pub(super) struct RecordArgs {
    /// Keep the whole result in the history.
    #[arg(long)]
    record: bool,
    /// With --record: a name for this run, which others may have too.
    #[arg(long, value_name = "NAME", requires = "record")]
    label: Option<Label>,
    /// With --record: the history [default: $IPCD_HISTORY, else history.sqlite in $STATE_DIRECTORY or
    /// $XDG_STATE_HOME/ipcd].
    #[arg(long, value_name = "FILE", requires = "record")]
    history: Option<PathBuf>,
}

impl RecordArgs {
    /// Finds out, before a long run, whether it can be recorded.
    pub(super) fn check(&self) -> Result<(), Failure> {
        if self.record {
            History::create(&place(self.history.as_deref())?)?;
        }
        Ok(())
    }

    /// Records the run, if that was asked for, and says so.
    pub(super) fn record(&self, report: &Report) -> Result<(), Failure> {
        if self.record {
            let mut history = History::create(&place(self.history.as_deref())?)?;
            let recorded = history.record(report, self.label.as_ref())?;
            print_line(format_args!(
                "ipc-client: recorded as run {} in {}",
                recorded.id,
                history.path().display()
            ));
        }
        Ok(())
    }
}

impl From<HistoryError> for Failure {
    fn from(error: HistoryError) -> Self {
        Self { advice: error.advice().map(str::to_owned), exit: error.exit(), error: error.into() }
    }
}
