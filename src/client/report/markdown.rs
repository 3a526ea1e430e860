//! Markdown: a table that any forge renders, and below it what a reader needs to trust it.

use std::io::{self, Write};

use super::escape::markdown as escape;
use super::table::{overview, shown};
use super::{Report, cells, text, warnings};

/// Writes the table as Markdown, and below it what a reader needs to trust it.
///
/// # Errors
/// The writer's.
pub(crate) fn write(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let (table, common) = overview(&cells::entries("", report).collect::<Vec<_>>(), false);
    let common =
        if common.is_empty() { String::new() } else { format!(" All with {}.", escape(&common.join(", "))) };
    writeln!(out, "Round trips; CPU time per round.{common}\n")?;
    let mut row = |cells: Vec<String>| writeln!(out, "| {} |", cells.join(" | "));
    row(table.heads.clone())?;
    let rule = |column| if column < table.names { ":---" } else { "---:" }.to_owned();
    row((0..table.heads.len()).map(rule).collect())?;
    for cells in &table.rows {
        row(cells.iter().map(|datum| escape(shown(datum))).collect())?;
    }
    writeln!(out)?;
    if let Some(samples) = text::samples(report) {
        writeln!(out, "- samples: {samples}")?;
    }
    writeln!(out, "- clock: {}", escape(&text::clock(report)))?;
    writeln!(out, "- host: {}", escape(&text::host(&report.environment)))?;
    if report.results.iter().any(|cell| cell.confidence_95_ns.is_some()) {
        writeln!(out, "- ±95%: half of the median's 95 % confidence interval, over trials")?;
    }
    for cell in &report.results {
        if let Some(error) = &cell.error {
            writeln!(out, "- {} failed: {}", escape(&cell.cell), escape(error))?;
        }
    }
    warnings::lines(report).iter().try_for_each(|line| writeln!(out, "- {}", escape(line)))
}
