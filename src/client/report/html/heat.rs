//! Heat maps: the median round trip by placement, and for every pair of CPUs.

use std::io;

use super::axis::Axis;
use super::cells::{Entry, Facet, names};
use super::chart::{Chart, Field};
use super::figure::{Figure, Key, Mark};
use super::markup::{Datum, Table};
use super::theme;
use crate::client::report::matrix::{Levels, Measured, ONE_CPU};
use crate::units::latency;

/// Up to so many columns, a field has room for its figure.
const MOST_IN_WORDS: usize = 8;
/// A field's width and height in points at most, and least.
const WIDEST: i32 = 96;
const NARROWEST: i32 = 6;
/// All rows together are at least so high: beside them stands what they are of.
const LOWEST: i32 = 104;

/// A heat map before it is drawn.
struct Heat {
    title: String,
    /// What rows and columns are of.
    heads: (&'static str, &'static str),
    rows: Vec<String>,
    columns: Vec<String>,
    /// Medians in nanoseconds, row by row, as they are shown.
    values: Vec<Option<f64>>,
    levels: Option<Levels>,
    /// Whether a row's own column is one CPU for both sides, which has no level.
    of_pairs: bool,
    /// What the table says of each.
    words: Vec<String>,
}

/// Methods by placement, where a run has several placements.
pub(super) fn placements(entries: &[Entry<'_>], out: &mut String) -> io::Result<usize> {
    let mut columns: Vec<String> = Vec::new();
    for entry in entries {
        let placement = entry.facet(Facet::Placement);
        if entry.cell.latency_ns.p50.is_some() && !columns.contains(&placement) {
            columns.push(placement);
        }
    }
    if columns.len() < 2 {
        return Ok(0);
    }
    // One of each that differ in their placement only.
    let others = [Facet::Size, Facet::Wait, Facet::Pace, Facet::Parallel, Facet::Run];
    let mut rows: Vec<(Entry<'_>, Vec<Option<f64>>)> = Vec::new();
    for entry in entries {
        let Some(column) = columns.iter().position(|column| *column == entry.facet(Facet::Placement)) else {
            continue;
        };
        let same = |other: &Entry<'_>| {
            other.method() == entry.method()
                && others.iter().all(|facet| other.facet(*facet) == entry.facet(*facet))
        };
        let at = rows.iter().position(|(row, _)| same(row)).unwrap_or_else(|| {
            rows.push((*entry, vec![None; columns.len()]));
            rows.len() - 1
        });
        let place = &mut rows[at].1[column];
        *place = place.or(entry.cell.latency_ns.p50);
    }
    rows.retain(|(_, values)| values.iter().flatten().count() > 1);
    if rows.is_empty() {
        return Ok(0);
    }
    let of: Vec<Entry<'_>> = rows.iter().map(|(entry, _)| *entry).collect();
    let values: Vec<Option<f64>> = rows.iter().flat_map(|(_, values)| values.clone()).collect();
    let heat = Heat {
        title: "Median round trip by placement".to_owned(),
        heads: ("", ""),
        rows: names(&of),
        columns,
        levels: Levels::between(values.iter().flatten().copied()),
        of_pairs: false,
        words: values.iter().map(|value| value.map_or("–".to_owned(), latency)).collect(),
        values,
    };
    heat.write("placements-1", out)?;
    Ok(1)
}

/// Every pair of CPUs, as `matrix` has measured them.
pub(super) fn matrices(matrices: &[Measured], out: &mut String) -> io::Result<usize> {
    for (number, matrix) in matrices.iter().enumerate() {
        let cpus: Vec<String> = matrix.cpus.iter().map(u32::to_string).collect();
        let pairs: Vec<_> = matrix.pairs().collect();
        let heat = Heat {
            title: format!("Median round trip by pair of CPUs: {}", matrix.title),
            heads: ("client's CPU", "responder's CPU"),
            rows: cpus.clone(),
            columns: cpus,
            levels: matrix.levels(),
            of_pairs: true,
            values: pairs.iter().map(|pair| pair.and_then(|pair| pair.p50_ns)).collect(),
            words: pairs.iter().map(|pair| pair.map_or("–".to_owned(), ToString::to_string)).collect(),
        };
        heat.write(&format!("matrix-{}", number + 1), out)?;
    }
    Ok(matrices.len())
}

impl Heat {
    fn write(&self, id: &str, out: &mut String) -> io::Result<()> {
        let x = Axis::names(self.heads.1, &self.columns, false);
        let y = Axis::names(self.heads.0, &self.rows, true);
        let (columns, rows) = (self.columns.len() as i32, self.rows.len() as i32);
        let beside = (y.longest_label() as i32 * 8 + 60, 70);
        let width = ((480 - beside.0) / columns).clamp(NARROWEST, WIDEST);
        let height = if self.columns.len() > MOST_IN_WORDS { width } else { 26.max(LOWEST / rows) };
        let label = format!("{}: {} by {}", self.title, self.rows.len(), self.columns.len());
        let mut chart = Chart::new(label, x, y);
        chart.size = ((beside.0 + width * columns).max(300), beside.1 + height * rows);
        let fields = self.values.iter().enumerate().map(|(at, value)| {
            let (row, column) = (at / self.columns.len(), at % self.columns.len());
            let one_cpu = self.of_pairs && row == column;
            let level = value.zip(self.levels.filter(|_| !one_cpu)).map(|(ns, levels)| levels.level(ns));
            let words = self.columns.len() <= MOST_IN_WORDS;
            let ink = level.map_or(theme::colour("ink"), theme::heat_ink);
            let otherwise = theme::colour(if one_cpu && value.is_some() { "one-cpu" } else { "none" });
            Field {
                column,
                row,
                colour: level.map_or(otherwise, theme::heat),
                text: words.then(|| (value.map_or("–".to_owned(), latency), ink)),
            }
        });
        chart.fields = fields.collect();
        Figure {
            id,
            title: &self.title,
            chart: &chart,
            legend: &self.legend(),
            notes: "",
            table: &self.table(),
        }
        .write(out)
    }

    /// Where each level begins, and what has none.
    fn legend(&self) -> Vec<Key> {
        let levels = self.levels.into_iter().flat_map(Levels::names).enumerate();
        let levels = levels.map(|(number, name)| Key { name, number, mark: Mark::Field });
        let one_cpu = self.of_pairs.then(|| Key { name: ONE_CPU.to_owned(), number: 0, mark: Mark::OneCpu });
        levels.chain(one_cpu).collect()
    }

    fn table(&self) -> Table {
        let row = |(name, at): (&String, usize)| {
            let columns = self.columns.len();
            let figures = (at * columns..(at + 1) * columns)
                .map(|at| Datum { text: self.words[at].clone(), key: self.values[at] });
            std::iter::once(Datum::word(name.clone())).chain(figures).collect()
        };
        let head = match self.heads {
            ("", _) => "method".to_owned(),
            (rows, columns) => format!("{rows} \\ {columns}"),
        };
        Table {
            name: self.title.clone(),
            heads: std::iter::once(head).chain(self.columns.iter().cloned()).collect(),
            names: 1,
            prose: false,
            rows: self.rows.iter().zip(0..).map(row).collect(),
        }
    }
}
