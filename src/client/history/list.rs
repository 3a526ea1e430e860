//! Lists of what the history has, newest first, a row at a time.

use std::ops::ControlFlow;

use rusqlite::types::Value;
use rusqlite::{Row, params_from_iter};
use serde::Serialize;

use super::{Filter, History, HistoryError};
use crate::client::report::Latency;

/// A run in a list.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunRow {
    /// Its id in this history.
    pub id: i64,
    /// Its name in all histories.
    pub uuid: String,
    /// When it began.
    pub started_unix_s: u64,
    /// Its host's name, empty if that was not told.
    pub host: String,
    /// Its label.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// The names of the baselines that it is.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub baselines: Vec<String>,
    /// Its grade.
    pub grade: String,
    /// Its cells, in the order in which they were asked for.
    pub cells: Vec<String>,
}

/// A cell's result in a list.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ResultRow {
    /// The run's id in this history.
    pub run: i64,
    /// When the run began.
    pub started_unix_s: u64,
    /// The run's host, empty if that was not told.
    pub host: String,
    /// The run's label.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// The cell's name.
    pub cell: String,
    /// The cell's grade.
    pub grade: String,
    /// The latency of a round trip.
    pub latency_ns: Latency,
}

/// What hears of a list's rows; a break ends the list.
pub(crate) type Listener<'a, T> = &'a mut dyn FnMut(T) -> ControlFlow<()>;

const RUN_COLUMNS: &str = "run.id, run.uuid, run.started_unix_s, run.host, run.label, run.grade,
    (SELECT group_concat(name, char(10)) FROM (SELECT name FROM baseline WHERE run = run.id ORDER BY name)),
    (SELECT group_concat(cell, char(10)) FROM
        (SELECT cell FROM result JOIN series ON series.id = series WHERE result.run = run.id ORDER BY result.id))";

const RESULT_COLUMNS: &str = "result.run, result.started_unix_s, series.host, run.label, series.cell, result.grade,
    result.samples, result.min_ns, result.p50_ns, result.p90_ns, result.p99_ns, result.p99_9_ns, result.p99_99_ns,
    result.max_ns, result.mean_ns, result.id";

impl History {
    /// Whether there is no run.
    ///
    /// # Errors
    /// The database's.
    pub(crate) fn is_empty(&self) -> Result<bool, HistoryError> {
        let mut empty = true;
        self.each_row("SELECT 1 FROM run LIMIT 1", &[], &mut |_| {
            empty = false;
            Ok(ControlFlow::Break(()))
        })?;
        Ok(empty)
    }

    /// Tells the newest runs, `limit` at most. With a filter of cells, those that have such.
    ///
    /// # Errors
    /// The database's.
    pub fn runs(
        &self,
        filter: &Filter,
        limit: Option<u32>,
        each: Listener<'_, RunRow>,
    ) -> Result<(), HistoryError> {
        let all = filter.runs();
        let sql = format!(
            "SELECT {RUN_COLUMNS} FROM run WHERE {} ORDER BY run.started_unix_s DESC, run.id DESC {}",
            all.sql,
            limit_sql(limit)
        );
        self.each_row(&sql, &all.values, &mut |row| Ok(each(run_row(row)?)))
    }

    /// Tells the newest results, `limit` at most.
    ///
    /// # Errors
    /// The database's.
    pub fn results(
        &self,
        filter: &Filter,
        limit: Option<u32>,
        each: Listener<'_, ResultRow>,
    ) -> Result<(), HistoryError> {
        let Some(most) = limit.filter(|_| filter.label.is_none()) else {
            return self.results_in_one(filter, limit, each);
        };
        // The newest of each series by its index, and the newest of those: never a look at all results.
        let [since, until] = filter.span();
        let sql = format!(
            "SELECT {RESULT_COLUMNS}
             FROM result JOIN series ON series.id = result.series JOIN run ON run.id = result.run
             WHERE result.series = ? AND result.started_unix_s >= ? AND result.started_unix_s < ?
             ORDER BY result.started_unix_s DESC, result.id DESC {}",
            limit_sql(limit)
        );
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let mut newest: Vec<(ResultRow, i64)> = Vec::new();
        for series in self.series_ids(filter)? {
            let values = [Value::from(series), since.clone(), until.clone()];
            self.each_row(&sql, &values, &mut |row| {
                newest.push((result_row(row)?, row.get(15)?));
                Ok(ControlFlow::Continue(()))
            })?;
            newest.sort_by_key(|(row, id)| std::cmp::Reverse((row.started_unix_s, *id)));
            newest.truncate(most);
        }
        // The break is the listener's last word.
        let _ = newest.into_iter().try_for_each(|(row, _)| each(row));
        Ok(())
    }

    /// The same where the runs decide, or where everything is wanted.
    fn results_in_one(
        &self,
        filter: &Filter,
        limit: Option<u32>,
        each: Listener<'_, ResultRow>,
    ) -> Result<(), HistoryError> {
        let mut all = filter.series();
        let Filter { label, since_unix_s, until_unix_s, .. } = filter.clone();
        let runs = Filter { label, since_unix_s, until_unix_s, ..Filter::default() }.runs();
        all.values.extend(runs.values);
        let sql = format!(
            "SELECT {RESULT_COLUMNS}
             FROM run JOIN result ON result.run = run.id JOIN series ON series.id = result.series
             WHERE {} AND {} ORDER BY run.started_unix_s DESC, run.id DESC, result.id DESC {}",
            all.sql,
            runs.sql,
            limit_sql(limit)
        );
        self.each_row(&sql, &all.values, &mut |row| Ok(each(result_row(row)?)))
    }

    /// The ids of the series that the filter lets through.
    fn series_ids(&self, filter: &Filter) -> Result<Vec<i64>, HistoryError> {
        let all = filter.series();
        let mut ids = Vec::new();
        let sql = format!("SELECT series.id FROM series WHERE {} ORDER BY series.id", all.sql);
        self.each_row(&sql, &all.values, &mut |row| {
            ids.push(row.get(0)?);
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(ids)
    }

    /// Goes through the rows of a query.
    pub(super) fn each_row(
        &self,
        sql: &str,
        values: &[Value],
        each: &mut dyn FnMut(&Row<'_>) -> rusqlite::Result<ControlFlow<()>>,
    ) -> Result<(), HistoryError> {
        let mut go = || {
            let mut statement = self.db.prepare_cached(sql)?;
            let mut rows = statement.query(params_from_iter(values))?;
            while let Some(row) = rows.next()? {
                if each(row)?.is_break() {
                    break;
                }
            }
            Ok(())
        };
        go().map_err(self.failed("read"))?;
        self.check_still()
    }
}

fn limit_sql(limit: Option<u32>) -> String {
    limit.map_or_else(String::new, |limit| format!("LIMIT {limit}"))
}

fn run_row(row: &Row<'_>) -> rusqlite::Result<RunRow> {
    let lines = |text: Option<String>| text.iter().flat_map(|text| text.lines()).map(str::to_owned).collect();
    Ok(RunRow {
        id: row.get(0)?,
        uuid: row.get(1)?,
        started_unix_s: row.get::<_, i64>(2)?.cast_unsigned(),
        host: row.get(3)?,
        label: row.get(4)?,
        grade: row.get(5)?,
        baselines: lines(row.get(6)?),
        cells: lines(row.get(7)?),
    })
}

fn result_row(row: &Row<'_>) -> rusqlite::Result<ResultRow> {
    Ok(ResultRow {
        run: row.get(0)?,
        started_unix_s: row.get::<_, i64>(1)?.cast_unsigned(),
        host: row.get(2)?,
        label: row.get(3)?,
        cell: row.get(4)?,
        grade: row.get(5)?,
        latency_ns: latency(row, 6)?,
    })
}

/// The quantiles of a result, from this column on: how many samples, then the smallest, the quantiles, the largest and
/// the mean.
pub(super) fn latency(row: &Row<'_>, first: usize) -> rusqlite::Result<Latency> {
    Ok(Latency {
        samples: row.get::<_, i64>(first)?.cast_unsigned(),
        min: row.get(first + 1)?,
        p50: row.get(first + 2)?,
        p90: row.get(first + 3)?,
        p99: row.get(first + 4)?,
        p99_9: row.get(first + 5)?,
        p99_99: row.get(first + 6)?,
        max: row.get(first + 7)?,
        mean: row.get(first + 8)?,
    })
}
