//! Why the history cannot be used, and what the user can do.

use std::path::PathBuf;

use rusqlite::ErrorCode;

use crate::exit::Exit;

/// What to do with a damaged file. Its log has what is not in the file yet.
const DAMAGED: &str = "move it away, with its -wal and -shm beside it: then the next run makes a new one; \"sqlite3 FILE .recover\" saves \
                       what can be saved";

/// Why the history cannot be used. Earlier runs are not affected.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// No environment variable says where it is.
    #[error("no location for the history: none of $STATE_DIRECTORY, $XDG_STATE_HOME and $HOME is set")]
    NoPlace,
    /// The file does not exist.
    #[error("no history at {}", .0.display())]
    NotThere(PathBuf),
    /// Its folder cannot be created.
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
    #[error("{} is not a history of ipcd", .0.display())]
    Foreign(PathBuf),
    /// It is another user's, and this one may not read it.
    #[error("the history {} belongs to another user, and this one may not read it", .0.display())]
    Unreadable(PathBuf),
    /// Another kind of file has the name of one of SQLite's files.
    #[error("{} is a link or not a file, and SQLite would write to it", .0.display())]
    Planted(PathBuf),
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
    /// Another process is writing it, and this user may only read it.
    #[error("the history {} is being written, and this user may only read it", .0.display())]
    Moves(PathBuf),
    /// SQLite's error.
    #[error("the history {} cannot be {doing}", .path.display())]
    Database {
        /// The history.
        path: PathBuf,
        /// What failed: `opened`, `written`, `read`.
        doing: &'static str,
        /// Why.
        source: rusqlite::Error,
    },
    /// A stored value cannot be decoded.
    #[error("the history {} cannot be read: {what} is damaged", .path.display())]
    Damaged {
        /// The history.
        path: PathBuf,
        /// Which value.
        what: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A run was not found, and the file is damaged where it would be.
    #[error("the history {} is damaged: {found}", .path.display())]
    Corrupt {
        /// The history.
        path: PathBuf,
        /// What SQLite found first.
        found: String,
    },
    /// No run has that id.
    #[error("no run {0} in the history")]
    NoRun(i64),
    /// No run has that name.
    #[error("no run `{pick}` in the history")]
    NoSuchRun {
        /// The name.
        pick: String,
    },
    /// A file was named where only a run of the history will do.
    #[error("{} is a file, and here a run of the history has to be named", .0.display())]
    File(PathBuf),
}

impl HistoryError {
    /// The exit code.
    #[must_use]
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::NotThere(_) | Self::NoRun(_) | Self::NoSuchRun { .. } | Self::File(_) => Exit::Nothing,
            _ => Exit::Failure,
        }
    }

    /// Whether this user may not write.
    pub(super) fn is_permission(&self) -> bool {
        let Self::Database { source, .. } = self else { return false };
        let denied = [ErrorCode::CannotOpen, ErrorCode::PermissionDenied, ErrorCode::ReadOnly];
        source.sqlite_error_code().is_some_and(|code| denied.contains(&code))
    }

    /// What the user can do, unless the error makes it plain.
    #[must_use]
    pub(crate) fn advice(&self) -> Option<&'static str> {
        match self {
            Self::NoPlace => Some("name one with --history"),
            Self::NotThere(_) => {
                Some("\"ipc-client bench --record\" makes one; --history names another place")
            }
            Self::Foreign(_) => Some("--history names another place"),
            Self::IsFolder(_) => Some("name the file in it, such as history.sqlite"),
            Self::Moves(_) => Some("try again in a moment"),
            Self::Unreadable(_) => Some("run this as the user that owns it"),
            Self::Planted(_) => Some("remove it: SQLite makes its files anew"),
            Self::Older { .. } => Some("run a command once as the user that owns it"),
            Self::Newer { .. } => Some("use the ipc-client that wrote it, or a newer one"),
            Self::NoRun(_) => Some("\"ipc-client history\" lists runs"),
            Self::NoSuchRun { .. } => Some(
                "\"ipc-client history\" lists runs and labels, \"ipc-client history baseline\" the baselines; a run in which \
                 nothing was measured has only its id",
            ),
            Self::File(_) => Some(
                "compare, check and report read files; \"ipc-client history import\" imports what \"history export\" wrote",
            ),
            Self::Corrupt { .. } => Some(DAMAGED),
            Self::Database { source, .. } => match source.sqlite_error_code()? {
                ErrorCode::DiskFull => {
                    Some("nothing of this run was stored; make room, or see \"ipc-client history prune\"")
                }
                ErrorCode::SystemIoFailure => Some("check the disk, its quota, and \"ulimit -f\""),
                ErrorCode::DatabaseBusy => Some("another process keeps it locked; try again"),
                ErrorCode::DatabaseCorrupt => Some(DAMAGED),
                ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied => {
                    Some("run this as the user that owns it")
                }
                _ => None,
            },
            _ => None,
        }
    }
}
