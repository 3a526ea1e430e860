//! The cells of a report as one table, for the page.

use super::CellReport;
use super::cells::{Entry, Facet};
use crate::units::{latency, percent, rate};

/// A table.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Table {
    pub(super) name: String,
    pub(super) heads: Vec<String>,
    /// How many of the first columns identify a row; the others are figures.
    pub(super) names: usize,
    pub(super) rows: Vec<Vec<Datum>>,
    /// Whether it has text that wraps.
    pub(super) prose: bool,
}

/// An entry of a table.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Datum {
    /// Empty for a missing figure, such as a quantile with fewer than ten samples beyond it.
    pub(super) text: String,
    /// The column is sorted by it; by the text if there is none.
    pub(super) key: Option<f64>,
}

impl Datum {
    pub(super) fn word(text: impl Into<String>) -> Self {
        Self { text: text.into(), key: None }
    }

    /// A figure as shown by `show`.
    pub(super) fn figure(figure: Option<f64>, show: impl Fn(f64) -> String) -> Self {
        Self { text: figure.map(show).unwrap_or_default(), key: figure }
    }
}

/// Where a column is shown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shown {
    Always,
    /// Where a cell has the figure.
    IfAny,
    /// The same, but not on the page.
    InText,
    /// On the page only.
    OnPage,
}

type Column = (&'static str, Shown, fn(&CellReport) -> Datum);

const FIGURES: [Column; 13] = [
    ("grade", Shown::Always, |cell| Datum::word(cell.grade.to_string())),
    ("p50", Shown::Always, |cell| Datum::figure(cell.headline_ns.p50, latency)),
    ("±95%", Shown::InText, |cell| Datum::figure(cell.half_width(), percent)),
    ("95 % interval", Shown::OnPage, |cell| Datum { text: interval(cell), key: cell.half_width() }),
    ("p90", Shown::Always, |cell| Datum::figure(cell.headline_ns.p90, latency)),
    ("p99", Shown::Always, |cell| Datum::figure(cell.headline_ns.p99, latency)),
    ("p99.9", Shown::Always, |cell| Datum::figure(cell.headline_ns.p99_9, latency)),
    ("max", Shown::Always, |cell| Datum::figure(cell.headline_ns.max, latency)),
    ("service p50", Shown::IfAny, |cell| Datum::figure(cell.service_ns().and_then(|ns| ns.p50), latency)),
    ("rounds", Shown::Always, |cell| {
        let any = cell.rounds > 0 && cell.elapsed_ns > 0.0;
        Datum::figure(any.then(|| cell.rounds as f64 / cell.elapsed_ns * 1e9), rate)
    }),
    ("client CPU", Shown::InText, |cell| cpu_time(cell, cell.cost_per_round.client.cpu_ns)),
    ("responder CPU", Shown::InText, |cell| cpu_time(cell, cell.cost_per_round.server.cpu_ns)),
    ("lost", Shown::IfAny, |cell| {
        let lost = (cell.lost > 0).then_some(cell.lost);
        Datum::figure(lost.map(|lost| lost as f64), |_| cell.lost.to_string())
    }),
];

fn cpu_time(cell: &CellReport, ns: f64) -> Datum {
    Datum::figure((cell.rounds > 0).then_some(ns), latency)
}

fn interval(cell: &CellReport) -> String {
    let span = cell.confidence_95_ns.and_then(|spans| spans.p50).zip(cell.half_width());
    span.map(|(span, half)| format!("{span} (±{})", percent(half))).unwrap_or_default()
}

/// The table of these cells, and what all of them have in common: `size 8 B`.
pub(super) fn overview(entries: &[Entry<'_>], page: bool) -> (Table, Vec<String>) {
    let mut common = Vec::new();
    let mut table = Table {
        name: "All cells".to_owned(),
        heads: vec!["method".to_owned()],
        rows: entries.iter().map(|entry| vec![name(entry)]).collect(),
        ..Table::default()
    };
    for facet in Facet::ALL {
        let words: Vec<String> = entries.iter().map(|entry| entry.facet(facet)).collect();
        if words.windows(2).any(|pair| pair[0] != pair[1]) {
            table.heads.push(facet.head().to_owned());
            for ((row, entry), text) in table.rows.iter_mut().zip(entries).zip(words) {
                row.push(Datum { text, key: key(entry.cell, facet) });
            }
        } else if facet != Facet::Run {
            let value = words.into_iter().next().filter(|word| !word.is_empty());
            common.extend(value.map(|value| format!("{} {value}", facet.head())));
        }
    }
    table.names = table.heads.len();
    for (head, shown, value) in FIGURES {
        let figures: Vec<Datum> = entries.iter().map(|entry| value(entry.cell)).collect();
        let any = figures.iter().any(|figure| !figure.text.is_empty());
        if match shown {
            Shown::Always => true,
            Shown::IfAny => any,
            Shown::InText => any && !page,
            Shown::OnPage => page,
        } {
            table.heads.push(head.to_owned());
            table.rows.iter_mut().zip(figures).for_each(|(row, figure)| row.push(figure));
        }
    }
    (table, common)
}

fn name(entry: &Entry<'_>) -> Datum {
    Datum::word(entry.method() + if entry.cell.error.is_some() { " (failed)" } else { "" })
}

/// The sort key of a facet.
fn key(cell: &CellReport, facet: Facet) -> Option<f64> {
    match facet {
        Facet::Size => Some(cell.size_bytes as f64),
        Facet::Pace => Some(cell.gap_ns.or(cell.interval_ns).unwrap_or(0) as f64),
        Facet::Parallel => Some(cell.parallel.into()),
        _ => None,
    }
}
