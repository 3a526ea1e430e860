//! The cells of a report as a table of words: a row each, a list of columns, before a format draws it.

use super::CellReport;
use super::words::{method, pace, place};
use crate::units::{latency, percent, rate, size};

/// Shown for what there is no figure for, such as a quantile with fewer than ten samples beyond it.
pub(super) const NONE: &str = "-";

/// A column: its head, and what it tells of a cell.
struct Column {
    head: &'static str,
    kind: Kind,
    value: fn(&CellReport) -> Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Tells which cell it is.
    Name,
    /// Tells which cell it is, and is told once above the table where all cells agree.
    Setting,
    /// A figure.
    Figure,
    /// A figure that not every run has; left out if no cell has it.
    Extra,
}

const COLUMNS: &[Column] = &[
    Column { head: "method", kind: Kind::Name, value: |cell| Some(name(cell)) },
    Column { head: "size", kind: Kind::Setting, value: |cell| Some(size(cell.size_bytes)) },
    Column { head: "placement", kind: Kind::Setting, value: |cell| Some(place(cell)) },
    Column { head: "wait", kind: Kind::Setting, value: |cell| Some(cell.wait.name().to_owned()) },
    Column { head: "pace", kind: Kind::Setting, value: pace },
    Column { head: "grade", kind: Kind::Figure, value: |cell| Some(cell.grade.to_string()) },
    Column {
        head: "parallel",
        kind: Kind::Setting,
        value: |cell| (cell.parallel > 1).then(|| cell.parallel.to_string()),
    },
    Column { head: "p50", kind: Kind::Figure, value: |cell| cell.latency_ns.p50.map(latency) },
    Column { head: "±95%", kind: Kind::Extra, value: |cell| half_width(cell).map(percent) },
    Column { head: "p90", kind: Kind::Figure, value: |cell| cell.latency_ns.p90.map(latency) },
    Column { head: "p99", kind: Kind::Figure, value: |cell| cell.latency_ns.p99.map(latency) },
    Column { head: "p99.9", kind: Kind::Figure, value: |cell| cell.latency_ns.p99_9.map(latency) },
    Column { head: "max", kind: Kind::Figure, value: |cell| cell.latency_ns.max.map(latency) },
    Column { head: "response p50", kind: Kind::Extra, value: |cell| cell.response_ns?.p50.map(latency) },
    Column { head: "response p99", kind: Kind::Extra, value: |cell| cell.response_ns?.p99.map(latency) },
    Column { head: "rounds", kind: Kind::Figure, value: |cell| per_second(cell).map(rate) },
    Column {
        head: "client CPU",
        kind: Kind::Figure,
        value: |cell| (cell.rounds > 0).then(|| latency(cell.cost_per_round.client.cpu_ns)),
    },
    Column {
        head: "responder CPU",
        kind: Kind::Figure,
        value: |cell| (cell.rounds > 0).then(|| latency(cell.cost_per_round.server.cpu_ns)),
    },
    Column { head: "lost", kind: Kind::Extra, value: |cell| (cell.lost > 0).then(|| cell.lost.to_string()) },
];

/// The method, and whether there is more to be told above.
fn name(cell: &CellReport) -> String {
    match cell.error {
        Some(_) => format!("{} (failed)", method(cell)),
        None => method(cell),
    }
}

/// Half of the median's 95 % confidence interval, as a fraction of the median.
pub(super) fn half_width(cell: &CellReport) -> Option<f64> {
    let span = cell.confidence_95_ns.as_ref()?.p50?;
    Some((span.high - span.low) / 2.0 / cell.latency_ns.p50.filter(|p50| *p50 > 0.0)?)
}

fn per_second(cell: &CellReport) -> Option<f64> {
    (cell.rounds > 0 && cell.elapsed_ns > 0.0).then(|| cell.rounds as f64 / cell.elapsed_ns * 1e9)
}

/// A table of words.
pub(super) struct Words {
    /// What all rows have in common: `size 8 B`.
    pub(super) common: Vec<String>,
    /// The heads of the columns.
    pub(super) heads: Vec<String>,
    /// So many of the first columns tell which cell a row is; the rest are figures.
    pub(super) names: usize,
    /// A row for each cell.
    pub(super) rows: Vec<Vec<String>>,
}

impl Words {
    /// The table of these cells.
    pub(super) fn of(cells: &[CellReport]) -> Self {
        let mut table = Self {
            common: Vec::new(),
            heads: Vec::new(),
            names: 0,
            rows: cells.iter().map(|_| Vec::new()).collect(),
        };
        for column in COLUMNS {
            let values: Vec<Option<String>> = cells.iter().map(column.value).collect();
            let same = values.windows(2).all(|pair| pair[0] == pair[1]);
            let none = values.iter().all(Option::is_none);
            if none && column.kind != Kind::Figure {
                continue;
            }
            if same && column.kind == Kind::Setting {
                table.common.extend(
                    values.into_iter().next().flatten().map(|value| format!("{} {value}", column.head)),
                );
                continue;
            }
            if matches!(column.kind, Kind::Name | Kind::Setting) {
                table.names += 1;
            }
            table.heads.push(column.head.to_owned());
            for (row, value) in table.rows.iter_mut().zip(values) {
                row.push(value.unwrap_or_else(|| NONE.to_owned()));
            }
        }
        table
    }
}
