//! The history: recorded runs in one SQLite file that several programs and processes share, over years.
//!
//! `docs/history.md` describes its layout. A run is written in one transaction and never changed; its id names it in
//! this file, and its UUID in every history. What is listed and followed over time has columns (`result`); everything
//! else, such as histograms and the figures of each trial, is read only when a run is shown or compared.

mod error;
mod exchange;
mod keep;
mod list;
mod open;
mod pick;
mod run;
mod series;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rusqlite::types::Value;
use rusqlite::{Connection, Row, Transaction, TransactionBehavior, params_from_iter};

pub use error::HistoryError;
pub use exchange::write_line;
pub(crate) use exchange::{ImportError, Imported, LineError, read_lines};
pub(crate) use keep::Baseline;
pub(crate) use list::{Filter, ResultRow, RunRow};
pub(crate) use open::history_path;
pub use pick::Label;
pub(crate) use pick::Pick;
pub use run::Run;
pub(crate) use series::{Newest, Point, RunConditions, Series};

/// A crafted file can keep a query running forever, so each is interrupted after this many steps of [`STEP`] SQLite
/// instructions. A history of a million results takes a thousandth of that.
const MOST_STEPS: u32 = 30_000;
const STEP: i32 = 100_000;

/// How many rows a query collects at most.
const MOST_ROWS: usize = 10_000_000;

/// An open history.
#[derive(Debug)]
pub struct History {
    db: Connection,
    path: PathBuf,
    /// If this user may only read it: the file's size and the seconds and nanoseconds of its last change when it was opened.
    /// It is read without locks, which is right only as long as it does not change.
    unlocked: Option<(u64, i64, i64)>,
    /// The steps that are left to a query; 0 while a change is made, which takes as long as it takes.
    budget: Arc<AtomicU32>,
}

impl History {
    /// Its file.
    #[must_use]
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes a change in one transaction, after those of other processes.
    fn write<T>(
        &mut self,
        change: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, HistoryError> {
        self.lift_budget();
        let failed = self.failed("written");
        let transaction =
            self.db.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&failed)?;
        let changed = change(&transaction).map_err(&failed)?;
        transaction.commit().map_err(&failed)?;
        Ok(changed)
    }

    /// A change may take as many steps as it needs.
    fn lift_budget(&self) {
        self.budget.store(0, Ordering::Relaxed);
    }

    /// Passes each row of a query to `each`, until that fails.
    fn for_each<T, E: From<HistoryError>>(
        &self,
        sql: &str,
        values: &[Value],
        map: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
        mut each: impl FnMut(T) -> Result<(), E>,
    ) -> Result<(), E> {
        self.budget.store(MOST_STEPS, Ordering::Relaxed);
        let failed = self.failed("read");
        let mut statement = self.db.prepare_cached(sql).map_err(&failed)?;
        for row in statement.query_map(params_from_iter(values), map).map_err(&failed)? {
            each(row.map_err(&failed)?)?;
        }
        Ok(self.check_unchanged()?)
    }

    /// All rows of a query.
    fn rows<T>(
        &self,
        sql: &str,
        values: &[Value],
        map: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, HistoryError> {
        let mut rows = Vec::new();
        self.for_each(sql, values, map, |row| {
            rows.push(row);
            match rows.len() {
                MOST_ROWS.. => {
                    let found = format!("a query returns more than {MOST_ROWS} rows");
                    Err(HistoryError::Corrupt { path: self.path.clone(), found })
                }
                _ => Ok(()),
            }
        })?;
        Ok(rows)
    }

    fn failed(&self, doing: &'static str) -> impl Fn(rusqlite::Error) -> HistoryError + use<> {
        let path = self.path.clone();
        move |source| HistoryError::Database { path: path.clone(), doing, source }
    }
}
