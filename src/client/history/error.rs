//! Why the history cannot be used.

use std::path::PathBuf;

use crate::exit::Exit;

/// What to do with a file that is damaged. Its log has what is not in it yet.
const DAMAGED: &str = "move it away, with its -wal and -shm beside it: then the next run makes a new one; \"sqlite3 FILE .recover\" saves \
                       what can be saved";

/// Why the history cannot be used. Wherever it happens, what was recorded before is still there.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// Nothing says where it is.
    #[error("there is no place for the history: neither $STATE_DIRECTORY, $XDG_STATE_HOME nor $HOME is set")]
    NoPlace,
    /// There is none yet.
    #[error("there is no history at {}", .0.display())]
    NotThere(PathBuf),
    /// Its folder cannot be made.
    #[error("the history's folder {} cannot be made", .path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// It is a folder.
    #[error("{} is a folder, and the history is a file", .0.display())]
    IsFolder(PathBuf),
    /// The file is something else.
    #[error("{} is no history of ipcd", .0.display())]
    Foreign(PathBuf),
    /// A newer program has written it.
    #[error("the history {} has schema {found}; this ipc-client knows up to {known}", .path.display())]
    Newer {
        /// The history.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// The newest one known here.
        known: i64,
    },
    /// An older program has written it, and this user may not bring it up to date.
    #[error("the history {} has schema {found}, which this user may not bring to {known}", .path.display())]
    Older {
        /// The history.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// The newest one known here.
        known: i64,
    },
    /// Somebody writes to it, and this user may only read it.
    #[error("the history {} is being written, and this user may only read it", .0.display())]
    Moves(PathBuf),
    /// The database says no.
    #[error("the history {} cannot be {doing}", .path.display())]
    Database {
        /// The history.
        path: PathBuf,
        /// What was to be done: `opened`, `written`, `read`.
        doing: &'static str,
        /// Why.
        source: rusqlite::Error,
    },
    /// What is stored does not make a report.
    #[error("run {run} in the history {} cannot be read: its {what} is damaged", .path.display())]
    Damaged {
        /// The history.
        path: PathBuf,
        /// The run's id.
        run: i64,
        /// Which part.
        what: &'static str,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// What is stored does not make an environment.
    #[error("environment {id} in the history {} is damaged", .path.display())]
    Environment {
        /// The history.
        path: PathBuf,
        /// Its id.
        id: i64,
        /// Why.
        source: serde_json::Error,
    },
    /// What was asked for is not there, and the file is damaged where it would be.
    #[error("the history {} is damaged: {found}", .path.display())]
    Corrupt {
        /// The history.
        path: PathBuf,
        /// The first thing that is wrong.
        found: String,
    },
    /// A report that cannot be stored.
    #[error("the run cannot be put into the history")]
    Encode(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// No run has that id.
    #[error("there is no run {0} in the history")]
    NoRun(i64),
    /// Nothing is called that.
    #[error("there is no run `{pick}` in the history")]
    NoSuchRun {
        /// What was asked for.
        pick: String,
    },
    /// A file was named where only a run of the history will do.
    #[error("{} is a file, and here a run of the history has to be named", .0.display())]
    File(PathBuf),
}

impl HistoryError {
    /// The exit code that tells of it.
    #[must_use]
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::NotThere(_) | Self::NoRun(_) | Self::NoSuchRun { .. } | Self::File(_) => Exit::Nothing,
            _ => Exit::Failure,
        }
    }

    /// Whether it is for want of rights to write.
    pub(super) fn is_of_rights(&self) -> bool {
        use rusqlite::ErrorCode::{CannotOpen, PermissionDenied, ReadOnly};
        let Self::Database { source, .. } = self else { return false };
        source
            .sqlite_error_code()
            .is_some_and(|code| [CannotOpen, PermissionDenied, ReadOnly].contains(&code))
    }

    /// What the user can do, where that is not plain from the error.
    #[must_use]
    pub(crate) fn advice(&self) -> Option<&'static str> {
        use rusqlite::ErrorCode;
        match self {
            Self::NoPlace => Some("name one with --history"),
            Self::NotThere(_) => {
                Some("\"ipc-client bench --record\" makes one; --history names another place")
            }
            Self::Foreign(_) => Some("--history names another place"),
            Self::IsFolder(_) => Some("name the file in it, such as history.sqlite"),
            Self::Moves(_) => Some("try again in a moment"),
            Self::Older { .. } => Some("be the user that it belongs to, once"),
            Self::Newer { .. } => Some("use the ipc-client that wrote it, or a newer one"),
            Self::NoRun(_) => Some("\"ipc-client history\" lists runs"),
            Self::NoSuchRun { .. } => Some(
                "\"ipc-client history\" lists runs and labels, \"ipc-client history baseline\" the baselines; a run in which \
                 nothing was measured goes by its id alone",
            ),
            Self::File(_) => Some(
                "compare, check and report read files; \"ipc-client history import\" takes in what \"history export\" wrote",
            ),
            Self::Corrupt { .. } => Some(DAMAGED),
            Self::Database { source, .. } => match source.sqlite_error_code()? {
                ErrorCode::DiskFull => {
                    Some("nothing of this run was stored; make room, or see \"ipc-client history prune\"")
                }
                ErrorCode::SystemIoFailure => Some("look at the disk, its quota, and \"ulimit -f\""),
                ErrorCode::DatabaseBusy => Some("another process writes to it and does not end; try again"),
                ErrorCode::DatabaseCorrupt => Some(DAMAGED),
                ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied => {
                    Some("be the user that it belongs to")
                }
                _ => None,
            },
            _ => None,
        }
    }
}
