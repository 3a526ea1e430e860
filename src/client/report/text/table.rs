//! The table at the end: a row a cell. Where a terminal is too narrow for it, the figures are told in several tables
//! below each other, each with the names of the cells, since a wrapped figure cannot be read.

use std::io::{self, Write};

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

use super::wrap;
use crate::client::report::Report;
use crate::client::report::columns::Words;

/// Blanks between columns.
const GAP: usize = 2;

pub(super) fn write(report: &Report, width: Option<u16>, out: &mut dyn Write) -> io::Result<()> {
    let mut words = Words::of(&report.results);
    let mut caption = String::from("Round trips; CPU time per round");
    if !words.common.is_empty() {
        caption.push_str(&format!(". All with {}", words.common.join(", ")));
    }
    caption.push('\n');
    wrap::write(caption.as_bytes(), width, out)?;
    let tables = |words: &Words| {
        let widths: Vec<usize> = (0..words.heads.len()).map(|column| column_width(words, column)).collect();
        split(&widths, words.names, width)
    };
    if tables(&words).len() > 1 {
        words.heads.iter_mut().for_each(|head| *head = head.replace(' ', "\n"));
    }
    for (number, figures) in tables(&words).into_iter().enumerate() {
        if number > 0 {
            writeln!(out)?;
        }
        writeln!(out, "{}", draw(&words, &figures, width))?;
    }
    Ok(())
}

/// The figures' columns, in as few tables as fit the width, each of at least one.
fn split(widths: &[usize], names: usize, width: Option<u16>) -> Vec<Vec<usize>> {
    let limit = width.map_or(usize::MAX, usize::from);
    let start: usize = widths[..names].iter().map(|wide| wide + GAP).sum();
    let mut tables: Vec<Vec<usize>> = Vec::new();
    let mut used = usize::MAX;
    for (column, wide) in widths.iter().enumerate().skip(names) {
        // No gap after the last one.
        match tables.last_mut().filter(|_| used.saturating_add(*wide) <= limit) {
            Some(table) => table.push(column),
            None => {
                tables.push(vec![column]);
                used = start;
            }
        }
        used += wide + GAP;
    }
    tables
}

fn column_width(words: &Words, column: usize) -> usize {
    let cells = words.rows.iter().map(|row| row[column].chars().count());
    let head = words.heads[column].lines().map(|line| line.chars().count());
    cells.chain(head).max().unwrap_or(0)
}

fn draw(words: &Words, figures: &[usize], width: Option<u16>) -> String {
    let columns: Vec<usize> = (0..words.names).chain(figures.iter().copied()).collect();
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(columns.iter().map(|column| words.heads[*column].as_str()));
    for row in &words.rows {
        table.add_row(columns.iter().map(|column| row[*column].as_str()));
    }
    let mut total = 0;
    for (place, column) in columns.iter().enumerate() {
        total += column_width(words, *column) + GAP;
        if let Some(drawn) = table.column_mut(place) {
            drawn.set_padding((0, 2));
            if place >= words.names {
                drawn.set_cell_alignment(CellAlignment::Right);
            }
        }
    }
    // Names alone are too long: they wrap.
    if let Some(width) = width.filter(|width| total - GAP > usize::from(*width)) {
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
    }
    table.trim_fmt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_that_do_not_fit_go_into_further_tables() {
        let widths = [5, 8, 7, 7, 7];
        assert_eq!(split(&widths, 1, None), [vec![1, 2, 3, 4]]);
        assert_eq!(split(&widths, 1, Some(42)), [vec![1, 2, 3, 4]], "just fits");
        assert_eq!(split(&widths, 1, Some(41)), [vec![1, 2, 3], vec![4]]);
        assert_eq!(split(&widths, 1, Some(3)), [vec![1], vec![2], vec![3], vec![4]], "never none");
    }
}
