//! What stays: baselines by name, and what is removed with age.

use std::ops::ControlFlow;

use rusqlite::{OptionalExtension, params};

use super::{History, HistoryError, Label};

/// A run that others are compared with.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Baseline {
    /// Its name.
    pub name: String,
    /// The run's id.
    pub run: i64,
    /// When the run began.
    pub started_unix_s: u64,
}

/// What age removes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub(crate) struct Pruned {
    /// Runs that are too old.
    pub runs: u64,
    /// Their results.
    pub results: u64,
    /// Runs that are as old and stay, since they are baselines.
    pub baselines_kept: u64,
}

impl History {
    /// Makes a run a baseline. Returns the id of the run that had the name before.
    ///
    /// # Errors
    /// There is no such run; the database's.
    pub fn set_baseline(&mut self, name: &Label, run: i64) -> Result<Option<i64>, HistoryError> {
        let (before, there) = self.write(|transaction| {
            let there: bool =
                transaction
                    .query_row("SELECT EXISTS (SELECT 1 FROM run WHERE id = ?1)", [run], |row| row.get(0))?;
            let before = transaction
                .query_row("SELECT run FROM baseline WHERE name = ?1", [name.as_str()], |row| row.get(0))
                .optional()?;
            if there {
                transaction.execute(
                    "INSERT INTO baseline (name, run) VALUES (?1, ?2)
                     ON CONFLICT (name) DO UPDATE SET run = excluded.run",
                    params![name.as_str(), run],
                )?;
            }
            Ok((before, there))
        })?;
        if there { Ok(before) } else { Err(HistoryError::NoRun(run)) }
    }

    /// Takes the name away; the run stays. Returns whether there was such a baseline.
    ///
    /// # Errors
    /// The database's.
    pub(crate) fn remove_baseline(&mut self, name: &Label) -> Result<bool, HistoryError> {
        self.write(|transaction| {
            Ok(transaction.execute("DELETE FROM baseline WHERE name = ?1", [name.as_str()])? > 0)
        })
    }

    /// The baselines, by name.
    ///
    /// # Errors
    /// The database's.
    pub(crate) fn baselines(&self) -> Result<Vec<Baseline>, HistoryError> {
        let mut baselines = Vec::new();
        let sql = "SELECT name, run.id, started_unix_s FROM baseline JOIN run ON run.id = baseline.run ORDER BY name";
        self.each_row(sql, &[], &mut |row| {
            baselines.push(Baseline {
                name: row.get(0)?,
                run: row.get(1)?,
                started_unix_s: row.get::<_, i64>(2)?.cast_unsigned(),
            });
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(baselines)
    }

    /// Removes the runs that began before this time, but baselines, and gives their room back; or, without `remove`,
    /// only tells what that would be.
    ///
    /// # Errors
    /// The database's; then all of them are still there.
    pub(crate) fn prune(&mut self, before_unix_s: u64, remove: bool) -> Result<Pruned, HistoryError> {
        const OLD: &str = "started_unix_s < ?1 AND id NOT IN (SELECT run FROM baseline)";
        let before = before_unix_s.cast_signed();
        let pruned = self.write(|transaction| {
            let count = |sql: &str| {
                transaction.query_row(sql, [before], |row| row.get::<_, i64>(0)).map(i64::cast_unsigned)
            };
            let pruned = Pruned {
                runs: count(&format!("SELECT count(*) FROM run WHERE {OLD}"))?,
                results: count(&format!(
                    "SELECT count(*) FROM result WHERE run IN (SELECT id FROM run WHERE {OLD})"
                ))?,
                baselines_kept: count(
                    "SELECT count(*) FROM run WHERE started_unix_s < ?1 AND id IN (SELECT run FROM baseline)",
                )?,
            };
            if remove {
                // Results and details go with their runs.
                transaction.execute(&format!("DELETE FROM run WHERE {OLD}"), [before])?;
                transaction.execute_batch(
                    "DELETE FROM series WHERE id NOT IN (SELECT series FROM result);
                     DELETE FROM environment WHERE id NOT IN (SELECT environment FROM run);",
                )?;
            }
            Ok(pruned)
        })?;
        if remove && pruned.runs > 0 {
            self.give_back().map_err(self.failed("written"))?;
        }
        Ok(pruned)
    }

    /// Makes the file as small as what is in it.
    fn give_back(&self) -> rusqlite::Result<()> {
        // Each step of the statement frees a page.
        let mut statement = self.db.prepare("PRAGMA incremental_vacuum")?;
        let mut rows = statement.query([])?;
        while rows.next()?.is_some() {}
        drop(rows);
        self.db.pragma_update_and_check(None, "wal_checkpoint", "truncate", |_| Ok(()))
    }
}
