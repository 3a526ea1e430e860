//! Filters, and lists of the runs or results that they match, newest first.

use rusqlite::Row;
use rusqlite::types::Value;
use serde::Serialize;

use super::{History, HistoryError, Label};
use crate::client::host::placement::Placement;
use crate::client::report::CellReport;
use crate::client::stats::Latency;
use crate::protocol::Wait;

/// Which runs, and which of their results. An empty list, or `None`, matches everything.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Filter {
    /// Mechanisms, by their own names.
    pub methods: Vec<String>,
    /// Bytes carried each way in a round.
    pub sizes: Vec<u32>,
    /// How either side waited.
    pub waits: Vec<Wait>,
    /// Where the two sides ran.
    pub placements: Vec<Placement>,
    /// Hosts' names.
    pub hosts: Vec<String>,
    /// The runs' label.
    pub label: Option<Label>,
    /// Runs that began at this time or later, in seconds since 1970.
    pub since_unix_s: Option<u64>,
    /// Runs that began before this time.
    pub until_unix_s: Option<u64>,
}

impl Filter {
    /// Whether it selects among the results of a run.
    #[must_use]
    pub(crate) fn selects_cells(&self) -> bool {
        !(self.methods.is_empty()
            && self.sizes.is_empty()
            && self.waits.is_empty()
            && self.placements.is_empty())
    }

    /// Whether it matches a result, as far as it selects cells.
    #[must_use]
    pub(crate) fn matches(&self, cell: &CellReport) -> bool {
        (self.methods.is_empty() || self.methods.contains(&cell.method))
            && (self.sizes.is_empty() || self.sizes.iter().any(|size| u64::from(*size) == cell.size_bytes))
            && (self.waits.is_empty() || self.waits.contains(&cell.wait))
            && (self.placements.is_empty() || self.placements.contains(&cell.placement))
    }

    /// The first time at which runs match, and the first after them at which none does.
    pub(super) fn span(&self) -> [Value; 2] {
        let time = |unix_s: u64| i64::try_from(unix_s).unwrap_or(i64::MAX).into();
        [time(self.since_unix_s.unwrap_or(0)), time(self.until_unix_s.unwrap_or(u64::MAX))]
    }

    /// The condition for rows of `series`.
    pub(super) fn series(&self) -> Condition {
        let text = |text: &str| Value::from(text.to_owned());
        Condition::default()
            .one_of("series.method", self.methods.iter().map(|method| text(method)))
            .one_of("series.size_bytes", self.sizes.iter().map(|size| i64::from(*size).into()))
            .one_of("series.wait", self.waits.iter().map(|wait| text(wait.name())))
            .one_of("series.placement", self.placements.iter().map(|placement| text(placement.name())))
            .one_of("series.host", self.hosts.iter().map(|host| text(host)))
    }

    /// The condition for rows of `run`, but for the cells.
    fn runs(&self) -> Condition {
        Condition::default()
            .one_of("run.host", self.hosts.iter().map(|host| host.clone().into()))
            .one_of("run.label", self.label.iter().map(|label| label.to_string().into()))
            .and("run.started_unix_s >= ? AND run.started_unix_s < ?", self.span())
    }
}

/// An SQL condition, and the values of its question marks.
pub(super) struct Condition {
    pub(super) sql: String,
    pub(super) values: Vec<Value>,
}

impl Default for Condition {
    fn default() -> Self {
        Self { sql: "1".to_owned(), values: Vec::new() }
    }
}

impl Condition {
    fn and(mut self, sql: &str, values: impl IntoIterator<Item = Value>) -> Self {
        self.sql += &format!(" AND {sql}");
        self.values.extend(values);
        self
    }

    fn one_of(self, column: &str, values: impl ExactSizeIterator<Item = Value>) -> Self {
        if values.len() == 0 {
            return self;
        }
        let marks = vec!["?"; values.len()].join(", ");
        self.and(&format!("{column} IN ({marks})"), values)
    }
}

/// A run in a list.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct RunRow {
    /// Its id in this history.
    pub id: i64,
    /// Its name in every history.
    pub uuid: String,
    /// When it began.
    pub started_unix_s: u64,
    /// Its host's name, empty if unknown.
    pub host: String,
    /// Its label.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// The baselines that name it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub baselines: Vec<String>,
    /// Its grade.
    pub grade: String,
    /// Its cells, in the order of the command line.
    pub cells: Vec<String>,
}

/// A cell's result in a list.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct ResultRow {
    /// The run's id in this history.
    pub run: i64,
    /// When the run began.
    pub started_unix_s: u64,
    /// The run's host, empty if unknown.
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

/// The columns of a result's latency, in the order of [`latency`].
pub(super) const LATENCY: &str =
    "samples, min_ns, p50_ns, p90_ns, p99_ns, p99_9_ns, p99_99_ns, max_ns, mean_ns";

/// The latency in a row, from the column `first` on.
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

impl History {
    /// Whether the history has no runs.
    ///
    /// # Errors
    /// The database's.
    pub(crate) fn is_empty(&self) -> Result<bool, HistoryError> {
        Ok(self.rows("SELECT 1 FROM run LIMIT 1", &[], |_| Ok(()))?.is_empty())
    }

    /// Passes the newest runs to `each`, `limit` at most; if the filter selects cells, those that have such.
    ///
    /// # Errors
    /// The database's, or those of `each`.
    pub(crate) fn runs<E: From<HistoryError>>(
        &self,
        filter: &Filter,
        limit: Option<u32>,
        each: impl FnMut(RunRow) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut runs = filter.runs();
        if filter.selects_cells() {
            let cells = filter.series();
            let sql = format!(
                "EXISTS (SELECT 1 FROM result JOIN series ON series.id = series WHERE run = run.id AND {})",
                cells.sql
            );
            runs = runs.and(&sql, cells.values);
        }
        let sql = format!(
            "SELECT id, uuid, started_unix_s, host, label, grade,
                (SELECT group_concat(name, char(10)) FROM (SELECT name FROM baseline WHERE run = run.id ORDER BY name)),
                (SELECT group_concat(cell, char(10)) FROM
                    (SELECT cell FROM result JOIN series ON series.id = series WHERE run = run.id ORDER BY result.id))
             FROM run WHERE {} ORDER BY ordinal DESC, id DESC LIMIT {}",
            runs.sql,
            limit.map_or(-1, i64::from)
        );
        let lines =
            |text: Option<String>| text.iter().flat_map(|text| text.lines()).map(str::to_owned).collect();
        let row = |row: &Row<'_>| {
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
        };
        self.for_each(&sql, &runs.values, row, each)
    }

    /// Passes the newest results to `each`, `limit` at most.
    ///
    /// # Errors
    /// The database's, or those of `each`.
    pub(crate) fn results<E: From<HistoryError>>(
        &self,
        filter: &Filter,
        limit: Option<u32>,
        each: impl FnMut(ResultRow) -> Result<(), E>,
    ) -> Result<(), E> {
        let limit = limit.map_or(-1, i64::from);
        let (runs, mut all) = (filter.runs(), filter.series());
        all = all.and(&runs.sql, runs.values);
        // The order of the tables is the order in which they are read.
        let tables = if limit < 0 || filter.label.is_some() {
            "run CROSS JOIN result ON result.run = run.id CROSS JOIN series ON series.id = result.series"
        } else {
            // The newest of each series by its index, and the newest of those: never a scan of all results.
            let newest = format!(
                "result.id IN (SELECT id FROM result AS newest
                    WHERE newest.series = series.id AND started_unix_s >= ? AND started_unix_s < ?
                    ORDER BY ordinal DESC, id DESC LIMIT {limit})"
            );
            all = all.and(&newest, filter.span());
            "series CROSS JOIN result CROSS JOIN run ON run.id = result.run"
        };
        let sql = format!(
            "SELECT run.id, run.started_unix_s, series.host, label, cell, result.grade, {LATENCY}
             FROM {tables} WHERE {} ORDER BY run.ordinal DESC, run.id DESC, result.id DESC LIMIT {limit}",
            all.sql
        );
        let row = |row: &Row<'_>| {
            Ok(ResultRow {
                run: row.get(0)?,
                started_unix_s: row.get::<_, i64>(1)?.cast_unsigned(),
                host: row.get(2)?,
                label: row.get(3)?,
                cell: row.get(4)?,
                grade: row.get(5)?,
                latency_ns: latency(row, 6)?,
            })
        };
        self.for_each(&sql, &all.values, row, each)
    }
}
