//! Which runs and which of their results are meant, and the SQL that says so.

use rusqlite::types::Value;

use super::Label;
use crate::client::host::placement::Placement;
use crate::client::report::CellReport;
use crate::protocol::Wait;

/// Which runs, and which of their results. What is empty, or `None`, lets everything through.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Filter {
    /// Mechanisms, by their own names.
    pub methods: Vec<String>,
    /// Bytes carried each way in a round.
    pub sizes: Vec<u32>,
    /// How either side waited.
    pub waits: Vec<Wait>,
    /// What the CPUs amounted to.
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

/// A condition, and the values of its question marks.
pub(super) struct Condition {
    pub(super) sql: String,
    pub(super) values: Vec<Value>,
}

impl Filter {
    /// Whether it tells some results of a run from others.
    #[must_use]
    pub(crate) fn is_of_cells(&self) -> bool {
        !(self.methods.is_empty()
            && self.sizes.is_empty()
            && self.waits.is_empty()
            && self.placements.is_empty())
    }

    /// Whether a result is one that is meant, by what the filter says of cells.
    #[must_use]
    pub(crate) fn lets_through(&self, cell: &CellReport) -> bool {
        fn meant<T: PartialEq>(wanted: &[T], is: impl Fn(&T) -> bool) -> bool {
            wanted.is_empty() || wanted.iter().any(is)
        }
        meant(&self.methods, |method| *method == cell.method)
            && meant(&self.sizes, |size| u64::from(*size) == cell.size_bytes)
            && meant(&self.waits, |wait| *wait == cell.wait)
            && meant(&self.placements, |placement| *placement == cell.placement)
    }

    /// From when on, and before when, runs are meant, as the database has times.
    pub(super) fn span(&self) -> [Value; 2] {
        let time = |unix_s: u64| i64::try_from(unix_s).unwrap_or(i64::MAX).into();
        [time(self.since_unix_s.unwrap_or(0)), time(self.until_unix_s.unwrap_or(u64::MAX))]
    }

    /// What holds for rows of `series`.
    pub(super) fn series(&self) -> Condition {
        let mut all = self.cells();
        all.one_of("series.host", self.hosts.iter().map(|host| host.clone().into()));
        all
    }

    /// What holds for rows of `run`.
    pub(super) fn runs(&self) -> Condition {
        let mut all = Condition::always();
        all.one_of("run.host", self.hosts.iter().map(|host| host.clone().into()));
        all.one_of("run.label", self.label.iter().map(|label| label.as_str().to_owned().into()));
        if let Some(since) = self.since_unix_s {
            all.and("run.started_unix_s >= ?", since.cast_signed().into());
        }
        if let Some(until) = self.until_unix_s {
            all.and("run.started_unix_s < ?", until.cast_signed().into());
        }
        if self.is_of_cells() {
            let cells = self.cells();
            all.sql.push_str(&format!(
                " AND EXISTS (SELECT 1 FROM result JOIN series ON series.id = result.series
                   WHERE result.run = run.id AND {})",
                cells.sql
            ));
            all.values.extend(cells.values);
        }
        all
    }

    fn cells(&self) -> Condition {
        let mut all = Condition::always();
        all.one_of("series.method", self.methods.iter().map(|method| method.clone().into()));
        all.one_of("series.size_bytes", self.sizes.iter().map(|size| i64::from(*size).into()));
        all.one_of("series.wait", self.waits.iter().map(|wait| wait.name().to_owned().into()));
        all.one_of("series.placement", self.placements.iter().map(|place| place.name().to_owned().into()));
        all
    }
}

impl Condition {
    fn always() -> Self {
        Self { sql: "1".to_owned(), values: Vec::new() }
    }

    pub(super) fn and(&mut self, sql: &str, value: Value) {
        self.sql.push_str(" AND ");
        self.sql.push_str(sql);
        self.values.push(value);
    }

    fn one_of(&mut self, column: &str, values: impl Iterator<Item = Value>) {
        let values: Vec<Value> = values.collect();
        if !values.is_empty() {
            let marks = vec!["?"; values.len()].join(", ");
            self.sql.push_str(&format!(" AND {column} IN ({marks})"));
            self.values.extend(values);
        }
    }
}
