//! Runs into the history: each in one transaction, whole or not at all.

use std::collections::BTreeMap;

use rusqlite::{OptionalExtension, Transaction, TransactionBehavior, params};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::{History, HistoryError, Label, blob};
use crate::client::report::{CellReport, Report, json};

/// What a run is called once it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recorded {
    /// Its id in this history, from 1; never given to another run.
    pub id: i64,
    /// Its name in all histories.
    pub uuid: Uuid,
}

impl History {
    /// Stores a run. When this returns, it is on the disk; on an error nothing of it is.
    ///
    /// # Errors
    /// The database's: a full disk, another writer that does not end.
    pub fn record(&mut self, report: &Report, label: Option<&Label>) -> Result<Recorded, HistoryError> {
        let uuid = Uuid::new_v4();
        let run = self.write(|transaction| insert(transaction, uuid, label, report))?;
        Ok(Recorded { id: run.expect("a random name is new"), uuid })
    }

    /// Does something in one transaction, after those of other processes.
    pub(super) fn write<T>(
        &mut self,
        change: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError>,
    ) -> Result<T, HistoryError> {
        let path = self.path.clone();
        let attempt = || {
            let transaction = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let changed = change(&transaction)?;
            transaction.commit()?;
            Ok(changed)
        };
        attempt().map_err(|error| match error {
            StoreError::Database(source) => HistoryError::Database { path, doing: "written", source },
            StoreError::Encode(cause) => HistoryError::Encode(cause),
        })
    }
}

/// Why something was not stored.
pub(super) enum StoreError {
    Database(rusqlite::Error),
    Encode(blob::Cause),
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error)
    }
}

impl From<serde_json::Error> for StoreError {
    fn from(error: serde_json::Error) -> Self {
        Self::Encode(error.into())
    }
}

/// Puts a run in and returns its id, or `None` if one with that name is there.
pub(super) fn insert(
    transaction: &Transaction<'_>,
    uuid: Uuid,
    label: Option<&Label>,
    report: &Report,
) -> Result<Option<i64>, StoreError> {
    let host = report.environment.hostname.as_deref().unwrap_or_default();
    let environment = environment(transaction, &json::text(&report.environment)?)?;
    let run: Option<i64> = transaction
        .query_row(
            "INSERT INTO run (uuid, started_unix_s, host, label, grade, environment, report)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (uuid) DO NOTHING RETURNING id",
            params![
                uuid.to_string(),
                report.started_unix_s.cast_signed(),
                host,
                label.map(Label::as_str),
                report.grade.to_string(),
                environment,
                rest(report)?
            ],
            |row| row.get(0),
        )
        .optional()?;
    if let Some(run) = run {
        for cell in &report.results {
            let series = series(transaction, host, cell)?;
            insert_result(transaction, run, series, report.started_unix_s.cast_signed(), cell)?;
        }
    }
    Ok(run)
}

/// The report's JSON without what is stored elsewhere.
fn rest(report: &Report) -> Result<String, serde_json::Error> {
    let whole = json::text(&Report { results: Vec::new(), ..report.clone() })?;
    let mut keys: Keys<'_> = serde_json::from_str(&whole)?;
    keys.remove("environment");
    json::text(&keys)
}

/// An object's keys, with their values as they are written.
pub(super) type Keys<'a> = BTreeMap<&'a str, &'a RawValue>;

fn environment(transaction: &Transaction<'_>, json: &str) -> rusqlite::Result<i64> {
    let mut known = transaction.prepare_cached("SELECT id FROM environment WHERE json = ?1")?;
    if let Some(id) = known.query_row([json], |row| row.get(0)).optional()? {
        return Ok(id);
    }
    transaction.execute("INSERT INTO environment (json) VALUES (?1)", [json])?;
    Ok(transaction.last_insert_rowid())
}

fn series(transaction: &Transaction<'_>, host: &str, cell: &CellReport) -> rusqlite::Result<i64> {
    let mut known = transaction.prepare_cached("SELECT id FROM series WHERE host = ?1 AND cell = ?2")?;
    if let Some(id) = known.query_row([host, &cell.cell], |row| row.get(0)).optional()? {
        return Ok(id);
    }
    transaction.execute(
        "INSERT INTO series (host, cell, method, size_bytes, wait, placement) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![
            host,
            cell.cell,
            cell.method,
            cell.size_bytes.cast_signed(),
            cell.wait.name(),
            cell.placement.name()
        ],
    )?;
    Ok(transaction.last_insert_rowid())
}

fn insert_result(
    transaction: &Transaction<'_>,
    run: i64,
    series: i64,
    started_unix_s: i64,
    cell: &CellReport,
) -> Result<(), StoreError> {
    let latency = &cell.latency_ns;
    let mut result = transaction.prepare_cached(
        "INSERT INTO result (run, series, started_unix_s, grade, samples,
            min_ns, p50_ns, p90_ns, p99_ns, p99_9_ns, p99_99_ns, max_ns, mean_ns)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
    )?;
    result.execute(params![
        run,
        series,
        started_unix_s,
        cell.grade.to_string(),
        latency.samples.cast_signed(),
        latency.min,
        latency.p50,
        latency.p90,
        latency.p99,
        latency.p99_9,
        latency.p99_99,
        latency.max,
        latency.mean,
    ])?;
    let id = transaction.last_insert_rowid();
    let response = cell.response_histogram.as_ref().map(blob::encode).transpose();
    let mut detail = transaction.prepare_cached(
        "INSERT INTO detail (result, report, histogram, response_histogram) VALUES (?1, ?2, ?3, ?4)",
    )?;
    detail.execute(params![
        id,
        json::text(cell)?,
        blob::encode(&cell.histogram).map_err(StoreError::Encode)?,
        response.map_err(StoreError::Encode)?,
    ])?;
    Ok(())
}
