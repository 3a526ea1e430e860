//! Cells followed over time: their figures, what they were measured under, and the newest result of each.

use std::collections::BTreeMap;

use rusqlite::Row;
use rusqlite::types::Value;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::list::{LATENCY, latency};
use super::run::Json;
use super::{Filter, History, HistoryError, Label};
use crate::client::host::Environment;
use crate::client::report::{CellReport, Clock, Settings};
use crate::client::stats::Latency;

/// A cell on a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Series {
    /// Its id in this history.
    pub id: i64,
    /// The host's name, empty if unknown.
    pub host: String,
    /// The cell's name.
    pub cell: String,
}

/// A cell's result in one run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Point {
    /// The run's id.
    pub run: i64,
    /// When the run began.
    pub started_unix_s: u64,
    /// The environment it ran in; see [`History::environment`].
    pub environment: i64,
    /// The latency of a round trip.
    pub latency_ns: Latency,
}

/// A cell's newest result.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Newest {
    /// The cell, and its host.
    pub series: Series,
    /// The run's id.
    pub run: i64,
    /// The run's name in every history.
    pub uuid: String,
    /// The run's label.
    pub label: Option<String>,
    /// When the run began.
    pub started_unix_s: u64,
    /// The environment it ran in; see [`History::environment`].
    pub environment: i64,
    /// Warnings of the run, besides those of the cell.
    pub run_warnings: usize,
    /// The result, without the histograms.
    pub result: CellReport,
}

/// The part of a run's report that its figures depend on, besides the environment.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct RunConditions {
    /// What was asked for.
    pub settings: Settings,
    /// The clock.
    pub clock: Clock,
}

#[derive(Deserialize)]
struct RunWarnings {
    warnings: Vec<IgnoredAny>,
}

fn point(row: &Row<'_>) -> rusqlite::Result<Point> {
    Ok(Point {
        run: row.get(0)?,
        started_unix_s: row.get::<_, i64>(1)?.cast_unsigned(),
        environment: row.get(2)?,
        latency_ns: latency(row, 3)?,
    })
}

impl History {
    /// The series that the filter matches, by host and cell. Its label and times are those of runs, and matter to
    /// [`points`](Self::points) and [`points_of_label`](Self::points_of_label).
    ///
    /// # Errors
    /// The database's.
    pub(crate) fn series(&self, filter: &Filter) -> Result<Vec<Series>, HistoryError> {
        let all = filter.series();
        let sql = format!("SELECT id, host, cell FROM series WHERE {} ORDER BY host, cell", all.sql);
        self.rows(&sql, &all.values, |row| {
            Ok(Series { id: row.get(0)?, host: row.get(1)?, cell: row.get(2)? })
        })
    }

    /// The newest results of a series, `limit` at most, of runs in the filter's span of time; oldest first.
    ///
    /// # Errors
    /// The database's.
    pub(crate) fn points(
        &self,
        series: &Series,
        filter: &Filter,
        limit: u32,
    ) -> Result<Vec<Point>, HistoryError> {
        let sql = format!(
            "SELECT run.id, run.started_unix_s, environment, {LATENCY} FROM result JOIN run ON run.id = run
             WHERE series = ?1 AND result.started_unix_s >= ?2 AND result.started_unix_s < ?3
             ORDER BY result.ordinal DESC, result.id DESC LIMIT ?4"
        );
        let [since, until] = filter.span();
        let mut points = self.rows(&sql, &[series.id.into(), since, until, limit.into()], point)?;
        points.reverse();
        Ok(points)
    }

    /// The same for runs with a label, by the ids of all series. Read in one query: a series' index would lead through
    /// the results of all other runs, a label's through those of all other series.
    ///
    /// # Errors
    /// The database's.
    pub(crate) fn points_of_label(
        &self,
        label: &Label,
        filter: &Filter,
        limit: u32,
    ) -> Result<BTreeMap<i64, Vec<Point>>, HistoryError> {
        // A cross join is read in its order.
        let sql = format!(
            "SELECT run.id, run.started_unix_s, environment, {LATENCY}, series
             FROM run CROSS JOIN result ON result.run = run.id
             WHERE label = ?1 AND run.started_unix_s >= ?2 AND run.started_unix_s < ?3
             ORDER BY run.ordinal DESC, run.id DESC"
        );
        let [since, until] = filter.span();
        let mut by_series = BTreeMap::<i64, Vec<Point>>::new();
        self.for_each(
            &sql,
            &[label.to_string().into(), since, until],
            |row| Ok((row.get("series")?, point(row)?)),
            |(series, point)| {
                let points = by_series.entry(series).or_default();
                if points.len() < limit as usize {
                    points.push(point);
                }
                Ok::<_, HistoryError>(())
            },
        )?;
        by_series.values_mut().for_each(|points| points.reverse());
        Ok(by_series)
    }

    /// The newest result of each cell that the filter matches, by host and cell.
    ///
    /// # Errors
    /// The database's, or what is stored is damaged.
    pub(crate) fn newest(&self, filter: &Filter) -> Result<Vec<Newest>, HistoryError> {
        let label = if filter.label.is_some() { "AND label = ?" } else { "" };
        let sql = format!(
            "SELECT run.id, uuid, label, run.started_unix_s, environment, run.report, detail.report
             FROM result JOIN run ON run.id = run JOIN detail ON detail.result = result.id
             WHERE series = ? AND result.started_unix_s >= ? AND result.started_unix_s < ? {label}
             ORDER BY result.ordinal DESC, result.id DESC LIMIT 1"
        );
        let mut newest = Vec::new();
        for series in self.series(filter)? {
            let mut values = vec![Value::from(series.id)];
            values.extend(filter.span());
            values.extend(filter.label.iter().map(|label| Value::from(label.to_string())));
            newest.extend(self.rows(&sql, &values, |row| {
                Ok(Newest {
                    series: series.clone(),
                    run: row.get(0)?,
                    uuid: row.get(1)?,
                    label: row.get(2)?,
                    started_unix_s: row.get::<_, i64>(3)?.cast_unsigned(),
                    environment: row.get(4)?,
                    run_warnings: row.get::<_, Json<RunWarnings>>(5)?.0.warnings.len(),
                    result: {
                        let Json(mut result): Json<CellReport> = row.get(6)?;
                        result.complete();
                        result
                    },
                })
            })?);
        }
        Ok(newest)
    }

    /// An environment by its id.
    ///
    /// # Errors
    /// The database's, or it is damaged.
    pub(crate) fn environment(&self, id: i64) -> Result<Environment, HistoryError> {
        let mut json = self
            .db
            .prepare_cached("SELECT json FROM environment WHERE id = ?1")
            .map_err(self.failed("read"))?;
        let environment = json.query_row([id], |row| row.get::<_, Json<_>>(0));
        Ok(environment.map_err(self.damaged(|_| format!("environment {id}")))?.0)
    }

    /// What a run was asked for, and its clock.
    ///
    /// # Errors
    /// The database's, or it is damaged.
    pub(crate) fn run_conditions(&self, run: i64) -> Result<RunConditions, HistoryError> {
        let mut report =
            self.db.prepare_cached("SELECT report FROM run WHERE id = ?1").map_err(self.failed("read"))?;
        let conditions = report.query_row([run], |row| row.get::<_, Json<_>>(0));
        Ok(conditions.map_err(self.damaged(|_| format!("the report of run {run}")))?.0)
    }
}
