//! The cells of a report as tables, one for each size, the fastest cell first: the columns of text and Markdown.

use super::cells::{Entry, entries, names};
use super::ranking::{rank, ratio_of};
use super::{CellReport, Ranking, Ratio, Report};
use crate::client::judge::warnings::Warning;
use crate::units::{latency, percent, rate, size, three_digits, throughput};

/// Spaces between columns.
const GAP: usize = 2;

/// From this payload on, bytes per second say more than round trips.
const LARGE_BYTES: u64 = 4096;

/// The tables, which all have the same columns.
pub(super) struct Tables {
    pub(super) tables: Vec<SizeTable>,
    /// The places of the columns in [`COLUMNS`].
    columns: Vec<usize>,
}

/// The cells of one size.
pub(super) struct SizeTable {
    /// The size, and the heads of the columns.
    pub(super) heads: Vec<String>,
    /// The cells, the fastest first: the name and the figures of each.
    pub(super) rows: Vec<Row>,
}

/// A cell.
pub(super) struct Row {
    pub(super) entries: Vec<String>,
    /// A remark about its figures; may be empty.
    pub(super) note: String,
    /// Whether no other cell of this size is faster, where there is one.
    pub(super) fastest: bool,
    pub(super) failed: bool,
}

/// A cell, and its ratio to the fastest, if there are several.
type Ranked<'a> = (&'a CellReport, Option<f64>);

/// Of more cells, the verdict compares only the fastest one with the next; the table has the others.
const FEW: usize = 4;

/// The column that is left out first, and if all cells are equal.
const GRADE: u8 = 9;

/// A column: its head for a size, the order in which columns are left out where the width does not suffice (the highest
/// first; 0 stays), and its figure for a cell, whose ratio to the fastest is known if there are several.
type Column = (fn(u64) -> &'static str, u8, fn(&CellReport, Option<f64>) -> Option<String>);

const COLUMNS: [Column; 11] = [
    (|_| "p50", 0, |cell, _| cell.headline_ns.p50.map(latency)),
    (|_| "±95 %", 2, |cell, _| cell.half_width().map(percent)),
    (|_| "p99", 3, |cell, _| cell.headline_ns.p99.map(latency)),
    (|_| "p99.9", 6, |cell, _| cell.headline_ns.p99_9.map(latency)),
    (|_| "max", 7, |cell, _| cell.headline_ns.max.map(latency)),
    (|_| "service p50", 6, |cell, _| cell.service_ns()?.p50.map(latency)),
    (
        |bytes| if bytes < LARGE_BYTES { "rounds/s" } else { "each way" },
        5,
        |cell, _| {
            let per_second = (cell.elapsed_ns > 0.0).then(|| cell.rounds as f64 / cell.elapsed_ns * 1e9)?;
            Some(match cell.size_bytes {
                0..LARGE_BYTES => rate(per_second).trim_end_matches("/s").to_owned(),
                bytes => throughput(per_second * bytes as f64),
            })
        },
    ),
    (
        |_| "CPU/round",
        8,
        |cell, _| {
            let (client, server) = (&cell.cost_per_round.client, &cell.cost_per_round.server);
            (cell.rounds > 0).then(|| latency(client.cpu_ns + server.cpu_ns))
        },
    ),
    (|_| "lost", 4, |cell, _| (cell.lost > 0).then(|| cell.lost.to_string())),
    (|_| "grade", GRADE, |cell, _| Some(cell.grade.to_string())),
    (|_| "vs fastest", 1, |_, ratio| ratio.map(times)),
];

/// A ratio: `3.40×`.
pub(super) fn times(ratio: f64) -> String {
    format!("{}×", three_digits(ratio))
}

impl Tables {
    /// The tables of a report.
    pub(super) fn of(report: &Report) -> Self {
        let mut by_size: Vec<(u64, Vec<Ranked<'_>>)> = Vec::new();
        for Ranking { size_bytes, cells } in rank(report) {
            let alone = cells.len() == 1;
            let cells = cells.iter().filter_map(|ranked| {
                let cell = report.results.iter().find(|cell| cell.cell == ranked.cell)?;
                Some((cell, (!alone).then(|| ranked.to_fastest.map_or(1.0, |ratio| ratio.times))))
            });
            by_size.push((size_bytes, cells.collect()));
        }
        // Those without a result come last.
        for cell in &report.results {
            match by_size.iter_mut().find(|(size_bytes, _)| *size_bytes == cell.size_bytes) {
                Some((_, cells)) if cells.iter().any(|(ranked, _)| ranked.cell == cell.cell) => {}
                Some((_, cells)) => cells.push((cell, None)),
                None => by_size.push((cell.size_bytes, vec![(cell, None)])),
            }
        }
        by_size.sort_by_key(|(size_bytes, _)| *size_bytes);
        let equal_grades = report.results.iter().all(|cell| cell.grade == report.grade);
        let has_figures = |column: &usize| {
            let mut cells = by_size.iter().flat_map(|(_, cells)| cells);
            cells.any(|(cell, ratio)| COLUMNS[*column].2(cell, *ratio).is_some())
        };
        let columns: Vec<usize> = (0..COLUMNS.len())
            .filter(|column| *column == 0 || has_figures(column))
            .filter(|column| COLUMNS[*column].1 != GRADE || !equal_grades)
            .collect();
        let tables = by_size.iter().map(|(size_bytes, cells)| SizeTable::of(*size_bytes, cells, &columns));
        Self { tables: tables.collect(), columns }
    }

    /// Leaves out the columns for which the width does not suffice, and the notes, and aligns the rest.
    pub(super) fn fit(&mut self, width: usize) {
        let order = |columns: &[usize]| {
            let last = columns.iter().enumerate().max_by_key(|(_, column)| COLUMNS[**column].1);
            last.filter(|(_, column)| COLUMNS[**column].1 > 0).map(|(at, _)| at)
        };
        let total = |tables: &Self| tables.widths().iter().map(|wide| wide + GAP).sum::<usize>() - GAP;
        while let Some(at) = order(&self.columns).filter(|_| total(self) > width) {
            self.columns.remove(at);
            for table in &mut self.tables {
                table.heads.remove(at + 1);
                table.rows.iter_mut().for_each(|row| drop(row.entries.remove(at + 1)));
            }
        }
        let room = width.saturating_sub(total(self) + GAP);
        let rows = || self.tables.iter().flat_map(|table| &table.rows);
        if rows().any(|row| row.note.chars().count() > room) {
            self.tables.iter_mut().flat_map(|table| &mut table.rows).for_each(|row| row.note.clear());
        }
    }

    fn widths(&self) -> Vec<usize> {
        let width = |column: usize| {
            let of_table = |table: &SizeTable| {
                let entries = table.rows.iter().map(|row| &row.entries[column]);
                entries.chain([&table.heads[column]]).map(|text| text.chars().count()).max()
            };
            self.tables.iter().filter_map(of_table).max().unwrap_or(0)
        };
        (0..=self.columns.len()).map(width).collect()
    }

    /// A line of each table's head and of each of its rows; the figures are aligned to the right.
    pub(super) fn lines<'a>(
        &'a self,
        table: &'a SizeTable,
    ) -> impl Iterator<Item = (String, Option<&'a Row>)> {
        let widths = self.widths();
        let line = move |entries: &[String], note: &str| {
            let mut line = String::new();
            for (column, (text, width)) in entries.iter().zip(&widths).enumerate() {
                let fill = " ".repeat(width - text.chars().count());
                match column {
                    0 => line += &format!("{text}{fill}"),
                    _ => line += &format!("{:GAP$}{fill}{text}", ""),
                }
            }
            if !note.is_empty() {
                line += &format!("{:GAP$}{note}", "");
            }
            line.trim_end().to_owned()
        };
        let head = (line(&table.heads, ""), None);
        let rows = table.rows.iter().map(move |row| (line(&row.entries, &row.note), Some(row)));
        std::iter::once(head).chain(rows)
    }
}

impl SizeTable {
    fn of(size_bytes: u64, cells: &[Ranked<'_>], columns: &[usize]) -> Self {
        let entries: Vec<Entry<'_>> = cells.iter().map(|(cell, _)| Entry { run: "", cell }).collect();
        let rows = cells.iter().zip(names(&entries, " ")).enumerate().map(|(at, ((cell, ratio), name))| {
            let figure = |column: &usize| match COLUMNS[*column].2(cell, *ratio) {
                Some(figure) => figure,
                None if *column == 0 && cell.error.is_some() => "failed".to_owned(),
                None => "-".to_owned(),
            };
            Row {
                entries: std::iter::once(name).chain(columns.iter().map(figure)).collect(),
                note: cell.warnings.iter().find_map(Warning::wake_up).unwrap_or_default(),
                fastest: at == 0 && ratio.is_some(),
                failed: cell.error.is_some(),
            }
        });
        let heads = columns.iter().map(|column| COLUMNS[*column].0(size_bytes).to_owned());
        Self { heads: std::iter::once(size(size_bytes)).chain(heads).collect(), rows: rows.collect() }
    }
}

/// The figures of each size's fastest cell, for a summary, which has no tables.
pub(super) fn fastest_figures(report: &Report) -> Vec<String> {
    let found = |ranking: Ranking| {
        let cell = report.results.iter().find(|cell| cell.cell == ranking.cells[0].cell)?;
        let p50 = latency(cell.headline_ns.p50?);
        let interval = cell.half_width().map(|half| format!(" ±{}", percent(half))).unwrap_or_default();
        let p99 = cell.headline_ns.p99.map(|p99| format!(", p99 {}", latency(p99))).unwrap_or_default();
        Some(format!("{} at {}: p50 {p50}{interval}{p99}.", cell.method, size(cell.size_bytes)))
    };
    rank(report).into_iter().filter_map(found).collect()
}

/// Which is fastest at each size, by how much, and which tie: sentences that stand alone.
pub(super) fn verdicts(report: &Report) -> Vec<String> {
    let all = names(&entries("", report).collect::<Vec<_>>(), " ");
    let mut sentences = Vec::new();
    for Ranking { size_bytes, cells } in rank(report) {
        let at = size(size_bytes);
        let found = |name: &str| report.results.iter().position(|cell| cell.cell == name);
        // A size is in the sentence already.
        let name = |at_cell: usize| all[at_cell].replace(&format!(" {at}"), "");
        let places: Vec<usize> = cells.iter().filter_map(|ranked| found(&ranked.cell)).collect();
        let [fastest, rest @ ..] = &places[..] else { continue };
        let is_tie = |ratio: &Option<Ratio>| ratio.is_some_and(|ratio| ratio.tie);
        let tied: Vec<usize> = (1..cells.len()).filter(|place| is_tie(&cells[*place].to_fastest)).collect();
        // Behind all of them: with intervals of different widths, one in between may be known to be slower.
        let next = tied.last().map_or(1, |last| last + 1);
        let next = (next < cells.len()).then_some(next);
        let next = next.and_then(|place| Some((name(places[place]), cells[place].to_fastest?)));
        let mut sentence = match &tied[..] {
            [] if rest.is_empty() => continue,
            [] => format!("{} is fastest at {at}", name(*fastest)),
            [one] => {
                let ratio = cells[*one].to_fastest.map(ratio_text).unwrap_or_default();
                format!("{} and {} tie at {at} ({ratio})", name(*fastest), name(places[*one]))
            }
            [one, ..] => {
                format!("{}, {} and {} more tie at {at}", name(*fastest), name(places[*one]), tied.len() - 1)
            }
        };
        if let Some((next, ratio)) = next {
            let subject = if tied.is_empty() { ": ".to_owned() } else { format!("; {} is ", name(*fastest)) };
            sentence += &format!("{subject}{} faster than {next}", ratio_text(ratio));
        }
        if cells.iter().all(|cell| cell.to_fastest.is_none_or(|ratio| ratio.confidence_95.is_none())) {
            let few = report.results.iter().all(|cell| cell.trials.len() == 1);
            sentence +=
                if few { " (one trial: no interval)" } else { " (too few rounds per trial: no interval)" };
        }
        sentences.push(sentence + ".");
        // With few cells, the next question is how the others compare.
        let few = places.len() <= FEW && tied.is_empty();
        for pair in rest.windows(2).filter(|_| few) {
            let (faster, slower) = (pair[0], pair[1]);
            let Some(ratio) = ratio_of(&report.results[slower], &report.results[faster]) else { continue };
            let (faster, slower) = (name(faster), name(slower));
            sentences.push(match ratio.tie {
                true => format!("{faster} and {slower} tie at {at} ({}).", ratio_text(ratio)),
                false => format!("{faster} is {} faster than {slower} at {at}.", ratio_text(ratio)),
            });
        }
    }
    sentences
}

/// `3.40× [3.10, 3.70]`.
fn ratio_text(ratio: Ratio) -> String {
    match ratio.confidence_95 {
        Some(interval) => {
            format!(
                "{} [{}, {}]",
                times(ratio.times),
                three_digits(interval.low),
                three_digits(interval.high)
            )
        }
        None => times(ratio.times),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::judge::warnings::sample;

    /// A report of cells with these trial medians.
    fn report(cells: &[(&str, [f64; 3])]) -> Report {
        let mut report = sample::report();
        report.results = cells
            .iter()
            .map(|(method, medians)| {
                let mut cell = sample::cell();
                (cell.method, cell.cell, cell.size_bytes) = ((*method).to_owned(), (*method).to_owned(), 64);
                cell.trials = medians.iter().map(|median| sample::trial(*median)).collect();
                cell.headline_ns.p50 = crate::client::stats::median(medians);
                cell
            })
            .collect();
        report
    }

    #[test]
    fn a_verdict_says_by_how_much_and_calls_a_tie_a_tie() {
        let fast = ("shmem", [100.0, 101.0, 100.0]);
        let slow = ("tcp", [400.0, 404.0, 400.0]);
        assert_eq!(
            verdicts(&report(&[slow, fast])),
            ["shmem is fastest at 64 B: 4.00× [4.00, 4.00] faster than tcp."]
        );
        let near = ("memfd", [103.0, 98.0, 102.0]);
        let said = verdicts(&report(&[near, slow, fast]));
        assert!(said[0].starts_with("shmem and memfd tie at 64 B (1.02× [0.9"), "{said:?}");
        assert!(said[0].ends_with("; shmem is 4.00× [4.00, 4.00] faster than tcp."), "{said:?}");
        assert_eq!(said.len(), 1);
        assert_eq!(verdicts(&report(&[fast])), [""; 0], "nothing to compare");
    }

    #[test]
    fn a_cell_between_ties_is_not_called_the_next() {
        // Known to be 2 % slower, and a noisier one that may be 20 % slower or faster.
        let cells = [("a", [100.0; 3]), ("b", [102.0, 102.1, 101.9]), ("c", [85.0, 103.0, 120.0])];
        assert_eq!(verdicts(&report(&cells)).len(), 1);
        let said = &verdicts(&report(&cells))[0];
        assert!(said.starts_with("a and c tie at 64 B (") && !said.contains("than b"), "{said}");
    }
}
