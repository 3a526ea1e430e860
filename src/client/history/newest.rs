//! The newest result of each cell: what is told of a history that is looked at again and again.

use std::ops::ControlFlow;

use rusqlite::Row;
use rusqlite::types::{Type, Value};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::{Filter, History, HistoryError, Listener, Series};
use crate::client::report::CellReport;

/// A cell's newest result.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Newest {
    /// The cell, and its host.
    pub series: Series,
    /// The run's id.
    pub run: i64,
    /// The run's name in all histories.
    pub uuid: String,
    /// The run's label.
    pub label: Option<String>,
    /// When the run began.
    pub started_unix_s: u64,
    /// Which environment it ran in; [`History::environment`] has it.
    pub environment: i64,
    /// Warnings of the run, beside those of the cell.
    pub run_warnings: usize,
    /// All that it told, but for the histograms.
    pub result: CellReport,
}

/// Of a run's report, what is told of its cells too.
#[derive(Deserialize)]
struct RunPart {
    warnings: Vec<IgnoredAny>,
}

impl History {
    /// Tells the newest result of each cell that the filter lets through, by host and cell.
    ///
    /// # Errors
    /// The database's, or what is stored is damaged.
    pub(crate) fn newest(&self, filter: &Filter, each: Listener<'_, Newest>) -> Result<(), HistoryError> {
        let label = if filter.label.is_some() { "AND run.label = ?" } else { "" };
        let sql = format!(
            "SELECT run.id, run.uuid, run.label, run.started_unix_s, run.environment, run.report, detail.report
             FROM result JOIN run ON run.id = result.run JOIN detail ON detail.result = result.id
             WHERE result.series = ? AND result.started_unix_s >= ? AND result.started_unix_s < ? {label}
             ORDER BY result.started_unix_s DESC, result.id DESC LIMIT 1"
        );
        let [since, until] = filter.span();
        for series in self.series(filter)? {
            let mut values = vec![Value::from(series.id), since.clone(), until.clone()];
            values.extend(filter.label.iter().map(|label| Value::from(label.as_str().to_owned())));
            let mut go_on = ControlFlow::Continue(());
            self.each_row(&sql, &values, &mut |row| {
                go_on = each(newest(&series, row)?);
                Ok(ControlFlow::Break(()))
            })?;
            if go_on.is_break() {
                break;
            }
        }
        Ok(())
    }
}

fn newest(series: &Series, row: &Row<'_>) -> rusqlite::Result<Newest> {
    let run: RunPart = json(row, 5)?;
    Ok(Newest {
        series: series.clone(),
        run: row.get(0)?,
        uuid: row.get(1)?,
        label: row.get(2)?,
        started_unix_s: row.get::<_, i64>(3)?.cast_unsigned(),
        environment: row.get(4)?,
        run_warnings: run.warnings.len(),
        result: json(row, 6)?,
    })
}

fn json<T: for<'a> Deserialize<'a>>(row: &Row<'_>, column: usize) -> rusqlite::Result<T> {
    let text = row.get_ref(column)?.as_str()?;
    serde_json::from_str(text)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(column, Type::Text, error.into()))
}
