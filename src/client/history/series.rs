//! Cells followed over time: what trends and the host's noise are read from.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use rusqlite::Row;
use serde::Deserialize;

use super::list::latency;
use super::{Filter, History, HistoryError, Label};
use crate::client::host::Environment;
use crate::client::report::{Latency, Settings};

/// A cell on a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Series {
    /// Its id in this history.
    pub id: i64,
    /// The host's name, empty if that was not told.
    pub host: String,
    /// The cell's name.
    pub cell: String,
}

/// What a cell came to in one run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Point {
    /// The run's id.
    pub run: i64,
    /// When the run began.
    pub started_unix_s: u64,
    /// Which environment it ran in; [`History::environment`] has it.
    pub environment: i64,
    /// The latency of a round trip.
    pub latency_ns: Latency,
}

/// Of a run's report, what moves its figures beside the environment.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Asked {
    /// What was asked for.
    pub settings: Settings,
    /// The clock's source.
    pub clock: String,
}

/// The part of a stored report that tells it.
#[derive(Deserialize)]
struct AskedPart {
    settings: Settings,
    clock: ClockPart,
}

#[derive(Deserialize)]
struct ClockPart {
    source: String,
}

/// The columns of a [`Point`], and how many they are.
const POINT: &str =
    "result.run, result.started_unix_s, run.environment, samples, min_ns, p50_ns, p90_ns, p99_ns, p99_9_ns,
     p99_99_ns, max_ns, mean_ns";
const POINT_COLUMNS: usize = 12;

fn point(row: &Row<'_>) -> rusqlite::Result<Point> {
    Ok(Point {
        run: row.get(0)?,
        started_unix_s: row.get::<_, i64>(1)?.cast_unsigned(),
        environment: row.get(2)?,
        latency_ns: latency(row, 3)?,
    })
}

impl History {
    /// The series that the filter lets through, by host and cell. Its label and times are those of runs: see
    /// [`points`](Self::points) and [`points_of_label`](Self::points_of_label).
    ///
    /// # Errors
    /// The database's.
    pub(crate) fn series(&self, filter: &Filter) -> Result<Vec<Series>, HistoryError> {
        let all = filter.series();
        let sql = format!("SELECT id, host, cell FROM series WHERE {} ORDER BY host, cell", all.sql);
        let mut series = Vec::new();
        self.each_row(&sql, &all.values, &mut |row| {
            series.push(Series { id: row.get(0)?, host: row.get(1)?, cell: row.get(2)? });
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(series)
    }

    /// The newest results of a series, `limit` at most, of the runs that the filter's times let through; oldest first.
    /// Those of a label are [`points_of_label`](Self::points_of_label).
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
            "SELECT {POINT} FROM result JOIN run ON run.id = result.run
             WHERE series = ?1 AND result.started_unix_s >= ?2 AND result.started_unix_s < ?3
             ORDER BY result.started_unix_s DESC, result.id DESC LIMIT ?4"
        );
        let [since, until] = filter.span();
        let mut points = Vec::new();
        self.each_row(&sql, &[series.id.into(), since, until, limit.into()], &mut |row| {
            points.push(point(row)?);
            Ok(ControlFlow::Continue(()))
        })?;
        points.reverse();
        Ok(points)
    }

    /// The same of the runs with a label, for each series by its id. Read at one go: a series' index would lead through the
    /// results of all other runs, a label's through those of all other series.
    ///
    /// # Errors
    /// The database's.
    pub(crate) fn points_of_label(
        &self,
        label: &Label,
        filter: &Filter,
        limit: u32,
    ) -> Result<BTreeMap<i64, Vec<Point>>, HistoryError> {
        // A cross join keeps its order.
        let sql = format!(
            "SELECT {POINT}, series FROM run CROSS JOIN result ON result.run = run.id
             WHERE run.label = ?1 AND run.started_unix_s >= ?2 AND run.started_unix_s < ?3
             ORDER BY run.started_unix_s DESC, run.id DESC"
        );
        let [since, until] = filter.span();
        let mut of_series = BTreeMap::<i64, Vec<Point>>::new();
        self.each_row(&sql, &[label.as_str().to_owned().into(), since, until], &mut |row| {
            let points = of_series.entry(row.get(POINT_COLUMNS)?).or_default();
            if points.len() < limit as usize {
                points.push(point(row)?);
            }
            Ok(ControlFlow::Continue(()))
        })?;
        of_series.values_mut().for_each(|points| points.reverse());
        Ok(of_series)
    }

    /// An environment by its id.
    ///
    /// # Errors
    /// The database's, or it is damaged.
    pub(crate) fn environment(&self, id: i64) -> Result<Environment, HistoryError> {
        let json: String = self
            .db
            .query_row("SELECT json FROM environment WHERE id = ?1", [id], |row| row.get(0))
            .map_err(self.failed("read"))?;
        serde_json::from_str(&json).map_err(|source| HistoryError::Environment {
            path: self.path.clone(),
            id,
            source,
        })
    }

    /// What was asked of a run, and by which clock it measured.
    ///
    /// # Errors
    /// The database's, or it is damaged.
    pub(crate) fn asked(&self, run: i64) -> Result<Asked, HistoryError> {
        let read = || {
            let mut report = self.db.prepare_cached("SELECT report FROM run WHERE id = ?1")?;
            report.query_row([run], |row| row.get::<_, String>(0))
        };
        let json = read().map_err(self.failed("read"))?;
        let part: AskedPart = serde_json::from_str(&json).map_err(|source| HistoryError::Damaged {
            path: self.path.clone(),
            run,
            what: "report",
            source: source.into(),
        })?;
        Ok(Asked { settings: part.settings, clock: part.clock.source })
    }
}
