//! Which runs are kept: baselines by name, and the removal of old runs.

use rusqlite::params;

use super::{History, HistoryError, Label};

/// Runs that others are compared with.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Baseline {
    /// Its name.
    pub name: String,
    /// The newest run's id.
    pub run: i64,
    /// When that run began.
    pub started_unix_s: u64,
    /// The ids of all its runs, the newest first.
    pub runs: Vec<i64>,
}

/// What a prune removes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pruned {
    /// Runs that are too old.
    pub runs: u64,
    /// Their results.
    pub results: u64,
    /// Runs that are as old, and kept because they are baselines.
    pub baselines_kept: u64,
}

impl History {
    /// Makes these runs a baseline. Returns the ids of the runs that had the name before, the newest first.
    ///
    /// # Errors
    /// A run does not exist, or the database fails; then the name means what it did before.
    pub(crate) fn set_baseline(&mut self, name: &Label, runs: &[i64]) -> Result<Vec<i64>, HistoryError> {
        let known = |run: &i64| self.rows("SELECT 1 FROM run WHERE id = ?1", &[(*run).into()], |_| Ok(()));
        for run in runs {
            if known(run)?.is_empty() {
                return Err(HistoryError::NoRun(*run));
            }
        }
        let before = self.baselines()?.into_iter().find(|baseline| baseline.name == name.as_str());
        self.write(|transaction| {
            transaction.execute("DELETE FROM baseline WHERE name = ?1", [name.as_str()])?;
            let mut add =
                transaction.prepare_cached("INSERT OR IGNORE INTO baseline (name, run) VALUES (?1, ?2)")?;
            runs.iter().try_for_each(|run| add.execute(params![name.as_str(), run]).map(drop))
        })?;
        Ok(before.map_or_else(Vec::new, |baseline| baseline.runs))
    }

    /// Removes a baseline's name; its runs stay. Returns whether there was such a baseline.
    ///
    /// # Errors
    /// The database's.
    pub(crate) fn remove_baseline(&mut self, name: &Label) -> Result<bool, HistoryError> {
        let sql = "DELETE FROM baseline WHERE name = ?1";
        self.write(|transaction| Ok(transaction.execute(sql, [name.as_str()])? > 0))
    }

    /// The baselines, by name.
    ///
    /// # Errors
    /// The database's.
    pub(crate) fn baselines(&self) -> Result<Vec<Baseline>, HistoryError> {
        let sql =
            "SELECT name, run, started_unix_s FROM baseline JOIN run ON id = run ORDER BY name, ordinal DESC";
        let rows = self.rows(sql, &[], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?.cast_unsigned()))
        })?;
        let mut baselines: Vec<Baseline> = Vec::new();
        for (name, run, started_unix_s) in rows {
            match baselines.last_mut().filter(|last| last.name == name) {
                Some(last) => last.runs.push(run),
                None => baselines.push(Baseline { name, run, started_unix_s, runs: vec![run] }),
            }
        }
        Ok(baselines)
    }

    /// Removes the runs that began before this time, except baselines, and shrinks the file; without `remove`, only
    /// counts them.
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
                // Results and details are removed by their foreign keys.
                transaction.execute(&format!("DELETE FROM run WHERE {OLD}"), [before])?;
                transaction.execute_batch(
                    "DELETE FROM series WHERE id NOT IN (SELECT series FROM result);
                     DELETE FROM environment WHERE id NOT IN (SELECT environment FROM run);",
                )?;
            }
            Ok(pruned)
        })?;
        if remove && pruned.runs > 0 {
            self.shrink().map_err(self.failed("written"))?;
        }
        Ok(pruned)
    }

    /// Returns free pages to the file system.
    fn shrink(&self) -> rusqlite::Result<()> {
        // Each step of the statement frees a page.
        self.lift_budget();
        let mut statement = self.db.prepare("PRAGMA incremental_vacuum")?;
        let mut rows = statement.query([])?;
        while rows.next()?.is_some() {}
        drop(rows);
        self.db.pragma_update_and_check(None, "wal_checkpoint", "truncate", |_| Ok(()))
    }
}
