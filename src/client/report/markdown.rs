//! Markdown: tables that any forge renders, and below them what a reader needs to trust them.

use std::io::{self, Write};

use super::escape::markdown as escape;
use super::sizes::{Tables, verdicts};
use super::{Report, text};

/// Writes the tables as Markdown, and below them what a reader needs to trust them.
///
/// # Errors
/// The writer's.
pub(crate) fn write(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{}.", escape(&text::heading(report)))?;
    let Tables { tables, .. } = Tables::of(report);
    for table in &tables {
        writeln!(out)?;
        let mut row = |cells: &[String]| {
            let cells: Vec<String> = cells.iter().map(|cell| escape(cell)).collect();
            writeln!(out, "| {} |", cells.join(" | "))
        };
        row(&table.heads)?;
        let rule = |column| if column == 0 { ":---" } else { "---:" }.to_owned();
        row(&(0..table.heads.len()).map(rule).collect::<Vec<_>>())?;
        table.rows.iter().try_for_each(|cell| row(&cell.entries))?;
    }
    writeln!(out)?;
    let verdicts = verdicts(report);
    if !verdicts.is_empty() {
        writeln!(out, "{}\n", escape(&verdicts.join(" ")))?;
    }
    writeln!(out, "- clock: {}", escape(&text::clock(report)))?;
    writeln!(out, "- host: {}", escape(&text::host(&report.environment)))?;
    if report.results.iter().any(|cell| cell.confidence_95_ns.is_some()) {
        writeln!(out, "- ±95 %: half of the median's 95 % confidence interval, over trials")?;
    }
    text::qualifications(report).try_for_each(|line| writeln!(out, "- {}", escape(&line)))
}
