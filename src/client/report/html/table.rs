//! Tables of the page, the one of all cells first.

use std::io::{self, Write};

use crate::client::judge::compare::Side;
use crate::client::report::CellReport;
use crate::client::report::cells::{Entry, Facet};
use crate::client::report::escape::Text;
use crate::units::{latency, percent, rate};

/// A table. The first column has the names of the rows.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Table {
    pub(super) name: String,
    pub(super) heads: Vec<String>,
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

    fn shown(&self) -> &str {
        if self.text.is_empty() { "–" } else { &self.text }
    }
}

type Column = (&'static str, fn(&CellReport) -> Datum);

/// Those that no cell has are left out.
const FIGURES: [Column; 10] = [
    ("±95 %", |cell| Datum::figure(cell.half_width(), percent)),
    ("p90", |cell| Datum::figure(cell.headline_ns.p90, latency)),
    ("p99", |cell| Datum::figure(cell.headline_ns.p99, latency)),
    ("p99.9", |cell| Datum::figure(cell.headline_ns.p99_9, latency)),
    ("max", |cell| Datum::figure(cell.headline_ns.max, latency)),
    ("service p50", |cell| Datum::figure(cell.service_ns().and_then(|ns| ns.p50), latency)),
    ("rounds", |cell| {
        let any = cell.rounds > 0 && cell.elapsed_ns > 0.0;
        Datum::figure(any.then(|| cell.rounds as f64 / cell.elapsed_ns * 1e9), rate)
    }),
    ("CPU/round", |cell| {
        let ns = cell.cost_per_round.client.cpu_ns + cell.cost_per_round.server.cpu_ns;
        Datum::figure((cell.rounds > 0).then_some(ns), latency)
    }),
    ("lost", |cell| Datum::figure((cell.lost > 0).then_some(cell.lost as f64), |lost| lost.to_string())),
    ("grade", |cell| Datum::word(cell.grade.to_string())),
];

/// Writes what all cells have in common, the fields that choose among them, and their table.
pub(super) fn write_overview(entries: &[Entry<'_>], out: &mut Vec<u8>) -> io::Result<()> {
    if entries.is_empty() {
        return Ok(());
    }
    // The median is beside the name, where it is seen on a phone too.
    let name = |entry: &Entry<'_>| entry.method() + if entry.cell.error.is_some() { " (failed)" } else { "" };
    let first = |entry| vec![Datum::word(name(entry)), Datum::figure(entry.cell.headline_ns.p50, latency)];
    let mut table = Table {
        name: "All cells".to_owned(),
        heads: vec!["method".to_owned(), "p50".to_owned()],
        rows: entries.iter().map(first).collect(),
        prose: false,
    };
    let mut add = |head: &str, column: Vec<Datum>| {
        table.heads.push(head.to_owned());
        table.rows.iter_mut().zip(column).for_each(|(row, datum)| row.push(datum));
    };
    let (mut common, mut facets) = (Vec::new(), Vec::new());
    for facet in Facet::ALL {
        let column: Vec<Datum> = entries.iter().map(|entry| of_facet(entry, facet)).collect();
        if column.windows(2).any(|pair| pair[0] != pair[1]) {
            facets.push((facet.head(), column.clone()));
            add(facet.head(), column);
        } else if facet != Facet::Run && !column[0].text.is_empty() {
            common.push(format!("{} {}", facet.head(), column[0].text));
        }
    }
    for (head, figure) in FIGURES {
        let column: Vec<Datum> = entries.iter().map(|entry| figure(entry.cell)).collect();
        if column.iter().any(|datum| !datum.text.is_empty()) {
            add(head, column);
        }
    }
    if !common.is_empty() {
        writeln!(out, "<p>All with {}.</p>", Text(common.join(", ")))?;
    }
    if entries.len() > 1 {
        write_filters(facets, out)?;
    }
    write(&table, Some("cells"), out)?;
    writeln!(
        out,
        "<p class=\"note\">Latencies are round trips; at a fixed rate, they are response times from each round's intended \
         start. ±95 % is half of the median's confidence interval, over trials. A quantile with fewer than ten rounds beyond it is not shown.</p>",
    )
}

fn of_facet(entry: &Entry<'_>, facet: Facet) -> Datum {
    let cell = entry.cell;
    let key = match facet {
        Facet::Size => Some(cell.size_bytes as f64),
        Facet::Pace => Some(cell.gap_ns.or(cell.interval_ns).unwrap_or(0) as f64),
        Facet::Parallel => Some(cell.parallel.into()),
        _ => None,
    };
    Datum { text: entry.facet(facet), key }
}

/// Fields that the script enables; without it they are hidden.
fn write_filters(facets: Vec<(&str, Vec<Datum>)>, out: &mut Vec<u8>) -> io::Result<()> {
    writeln!(
        out,
        "<form class=\"filters\" id=\"filters\" hidden><label>Only rows with <input type=\"search\" id=\"words\" \
         placeholder=\"tcp\" autocomplete=\"off\"></label>",
    )?;
    for (head, mut values) in facets {
        // A stable sort keeps the order of the cells where values have no key.
        values.sort_by(|a, b| a.key.unwrap_or(0.0).total_cmp(&b.key.unwrap_or(0.0)));
        let mut known: Vec<&str> = Vec::new();
        write!(out, "<label>{head} <select data-column=\"{head}\"><option value=\"\">all</option>")?;
        for value in values.iter().map(Datum::shown) {
            if !known.contains(&value) {
                known.push(value);
                write!(out, "<option>{}</option>", Text(value))?;
            }
        }
        writeln!(out, "</select></label>")?;
    }
    writeln!(
        out,
        "<button type=\"reset\">Show all</button> <output id=\"count\" aria-live=\"polite\"></output></form>",
    )
}

/// Writes a table into a box that scrolls where the page is too narrow for it. Columns of figures are aligned to the right.
pub(super) fn write(table: &Table, id: Option<&str>, out: &mut Vec<u8>) -> io::Result<()> {
    let id = id.map(|id| format!(" id=\"{id}\"")).unwrap_or_default();
    let class = if table.prose { " class=\"prose\"" } else { "" };
    write!(
        out,
        "<div class=\"scroll\" role=\"region\" tabindex=\"0\" aria-label=\"{0}\"><table{id}{class}>\
             <caption>{0}</caption><thead><tr>",
        Text(&table.name)
    )?;
    let has_figures = |column: usize| column > 0 && table.rows.iter().any(|row| row[column].key.is_some());
    let classes: Vec<&str> =
        (0..table.heads.len()).map(|column| if has_figures(column) { " class=\"n\"" } else { "" }).collect();
    for (head, class) in table.heads.iter().zip(&classes) {
        write!(out, "<th scope=\"col\"{class}>{}</th>", Text(head))?;
    }
    writeln!(out, "</tr></thead><tbody>")?;
    for row in &table.rows {
        write!(out, "<tr>")?;
        for (column, (datum, class)) in row.iter().zip(&classes).enumerate() {
            let key = datum.key.map(|key| format!(" data-key=\"{key}\"")).unwrap_or_default();
            let text = Text(datum.shown());
            match column {
                0 => write!(out, "<th scope=\"row\"{key}>{text}</th>")?,
                _ => write!(out, "<td{class}{key}>{text}</td>")?,
            }
        }
        writeln!(out, "</tr>")?;
    }
    writeln!(out, "</tbody></table></div>")
}

/// A run's name: its id in the history and its label, or its file.
pub(super) fn run_name(side: &Side) -> String {
    match (side.run, &side.label) {
        (Some(run), Some(label)) => format!("run {run} ({label})"),
        (Some(run), None) => format!("run {run}"),
        (None, _) => side.name.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_a_head_for_each_row_and_column() {
        let table = Table {
            name: "a \"table\"".to_owned(),
            heads: vec!["<name>".to_owned(), "p50".to_owned()],
            rows: vec![vec![Datum::word("a&b"), Datum::figure(Some(1.5), |ns| format!("{ns} ns"))]],
            prose: false,
        };
        let mut out = Vec::new();
        write(&table, Some("it"), &mut out).unwrap();
        let out = String::from_utf8(out).unwrap();
        assert!(
            out.contains(
                "aria-label=\"a &quot;table&quot;\"><table id=\"it\"><caption>a &quot;table&quot;</caption>"
            ),
            "{out}"
        );
        assert!(
            out.contains("<th scope=\"col\">&lt;name&gt;</th><th scope=\"col\" class=\"n\">p50</th>"),
            "{out}"
        );
        assert!(
            out.contains("<th scope=\"row\">a&amp;b</th><td class=\"n\" data-key=\"1.5\">1.5 ns</td>"),
            "{out}"
        );
    }
}
