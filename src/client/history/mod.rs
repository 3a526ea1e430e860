//! The history: recorded runs, whole, in one SQLite file that programs of several years and processes share.
//!
//! `docs/history.md` tells its layout. A run is written in one transaction and never changed; it is named by its id in
//! this file, and by its UUID in all. What is listed and followed over time stands in columns (`result`); everything
//! else, histograms and the figures of each trial among it, is read only where a run is shown or compared.

mod blob;
mod damage;
mod error;
mod exchange;
mod filter;
mod keep;
mod label;
mod list;
mod load;
mod newest;
mod pick;
mod place;
mod schema;
mod series;
mod still;
mod store;
#[cfg(test)]
mod tests;

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

pub use error::HistoryError;
pub(crate) use exchange::read_lines;
pub(crate) use exchange::{ImportError, LineError};
pub use exchange::{Imported, write_line};
pub use filter::Filter;
pub(crate) use keep::Baseline;
pub use label::Label;
pub(crate) use list::Listener;
pub(crate) use list::{ResultRow, RunRow};
pub use load::Run;
pub(crate) use newest::Newest;
pub use pick::Pick;
pub(crate) use place::place;
pub(crate) use series::{Asked, Point, Series};

/// An open history.
#[derive(Debug)]
pub struct History {
    db: Connection,
    path: PathBuf,
    /// If it is only read.
    still: Option<still::Still>,
}

impl History {
    /// Opens the history, or makes it, and its folder, where there is none. A file of an older schema becomes one of
    /// this.
    ///
    /// # Errors
    /// It cannot be made or opened, is something else, or of a newer schema.
    pub fn create(path: &Path) -> Result<Self, HistoryError> {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            // As the XDG rules have it: for nobody else.
            let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
            made.map_err(|source| HistoryError::Folder { path: folder.to_owned(), source })?;
        }
        Ok(Self { db: schema::open(path, true)?, path: path.to_owned(), still: None })
    }

    /// Opens the history that is there.
    ///
    /// # Errors
    /// As [`create`](Self::create), and there is none.
    pub fn open(path: &Path) -> Result<Self, HistoryError> {
        match path.try_exists() {
            Ok(false) => Err(HistoryError::NotThere(path.to_owned())),
            // What cannot be looked at, SQLite will complain of.
            _ => match schema::open(path, false) {
                Ok(db) => Ok(Self { db, path: path.to_owned(), still: None }),
                Err(error) if error.is_of_rights() => Self::only_read(path, error),
                Err(error) => Err(error),
            },
        }
    }

    /// Opens a history that this user may read and not write, if nobody else is writing to it.
    fn only_read(path: &Path, error: HistoryError) -> Result<Self, HistoryError> {
        match still::Still::open(path) {
            Ok(Some((db, still))) => {
                schema::check_version(&db, path)?;
                Ok(Self { db, path: path.to_owned(), still: Some(still) })
            }
            Ok(None) => Err(HistoryError::Moves(path.to_owned())),
            Err(_) => Err(error),
        }
    }

    /// Says if what was just read may not be right.
    fn check_still(&self) -> Result<(), HistoryError> {
        match &self.still {
            Some(still) if !still.is_still() => Err(HistoryError::Moves(self.path.clone())),
            _ => Ok(()),
        }
    }

    /// Where it is.
    #[must_use]
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn failed(&self, doing: &'static str) -> impl Fn(rusqlite::Error) -> HistoryError + use<> {
        let path = self.path.clone();
        move |source| HistoryError::Database { path: path.clone(), doing, source }
    }
}
