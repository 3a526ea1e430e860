//! Runs out of the history, whole.

use rusqlite::{Connection, OptionalExtension};
use uuid::Uuid;

use super::blob::{self, Cause};
use super::store::Keys;
use super::{History, HistoryError};
use crate::client::report::{CellReport, Report, json};

/// A recorded run.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// Its id in this history.
    pub id: i64,
    /// Its name in all histories.
    pub uuid: Uuid,
    /// Its label.
    pub label: Option<String>,
    /// All that it told, with the histograms.
    pub report: Report,
}

impl History {
    /// The run with this id.
    ///
    /// # Errors
    /// There is none, or it cannot be read.
    pub fn run(&self, id: i64) -> Result<Run, HistoryError> {
        let loaded = run(&self.db, id);
        self.check_still()?;
        match loaded {
            Ok(Some(run)) => Ok(run),
            Ok(None) => Err(self.absent(HistoryError::NoRun(id))),
            Err(LoadError::Database(source)) => Err(self.failed("read")(source)),
            Err(LoadError::Damaged(what, source)) => {
                Err(HistoryError::Damaged { path: self.path.clone(), run: id, what, source })
            }
        }
    }
}

enum LoadError {
    Database(rusqlite::Error),
    Damaged(&'static str, Cause),
}

impl From<rusqlite::Error> for LoadError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error)
    }
}

fn damaged<E: Into<Cause>>(what: &'static str) -> impl Fn(E) -> LoadError {
    move |error| LoadError::Damaged(what, error.into())
}

fn run(db: &Connection, id: i64) -> Result<Option<Run>, LoadError> {
    let stored = db
        .prepare_cached(
            "SELECT run.uuid, run.label, run.report, environment.json
             FROM run JOIN environment ON environment.id = run.environment WHERE run.id = ?1",
        )?
        .query_row([id], |row| {
            Ok((
                row.get::<_, String>(0)?,
                row.get::<_, Option<String>>(1)?,
                row.get::<_, String>(2)?,
                row.get::<_, String>(3)?,
            ))
        })
        .optional()?;
    let Some((uuid, label, report, environment)) = stored else { return Ok(None) };
    let environment = serde_json::from_str(&environment).map_err(damaged("environment"))?;
    let mut keys: Keys<'_> = serde_json::from_str(&report).map_err(damaged("report"))?;
    keys.insert("environment", environment);
    let whole = json::text(&keys).map_err(damaged("report"))?;
    let mut report: Report = serde_json::from_str(&whole).map_err(damaged("report"))?;
    report.results = results(db, id)?;
    let uuid =
        uuid.parse().map_err(|error: uuid::Error| LoadError::Damaged("uuid", error.to_string().into()))?;
    Ok(Some(Run { id, uuid, label, report }))
}

fn results(db: &Connection, run: i64) -> Result<Vec<CellReport>, LoadError> {
    let mut stored = db.prepare_cached(
        "SELECT detail.report, detail.histogram, detail.response_histogram
         FROM result JOIN detail ON detail.result = result.id WHERE result.run = ?1 ORDER BY result.id",
    )?;
    let mut rows = stored.query([run])?;
    let mut results = Vec::new();
    while let Some(row) = rows.next()? {
        let text = row.get_ref(0)?.as_str().map_err(damaged("result"))?;
        let mut cell: CellReport = serde_json::from_str(text).map_err(damaged("result"))?;
        let bytes = row.get_ref(1)?.as_blob().map_err(damaged("histogram"))?;
        cell.histogram = blob::decode(bytes).map_err(damaged("histogram"))?;
        let bytes = row.get_ref(2)?.as_blob_or_null().map_err(damaged("histogram"))?;
        cell.response_histogram = bytes.map(blob::decode).transpose().map_err(damaged("histogram"))?;
        results.push(cell);
    }
    Ok(results)
}
