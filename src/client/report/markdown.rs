//! Markdown: a table that any forge renders, and under it what a reader needs to believe it.

use std::io::{self, Write};

use super::columns::Words;
use super::escape::markdown as escape;
use super::{Report, doubts, words};

/// Writes the table and its notes.
///
/// # Errors
/// The writer's.
pub(crate) fn write(report: &Report, mut out: impl Write) -> io::Result<()> {
    let table = Words::of(&report.results);
    let common = match table.common.len() {
        0 => String::new(),
        _ => format!(" All with {}.", escape(&table.common.join(", "))),
    };
    writeln!(out, "Round trips; CPU time per round.{common}\n")?;

    let head: Vec<String> = table.heads.iter().map(|head| (*head).to_owned()).collect();
    write_row(&head, &mut out)?;
    let rules: Vec<String> =
        (0..head.len()).map(|column| if column < table.names { ":---" } else { "---:" }.to_owned()).collect();
    write_row(&rules, &mut out)?;
    for row in &table.rows {
        write_row(&row.iter().map(|text| escape(text)).collect::<Vec<_>>(), &mut out)?;
    }

    writeln!(out)?;
    if let Some(samples) = words::samples(report) {
        writeln!(out, "- samples: {samples}")?;
    }
    writeln!(out, "- clock: {}", escape(&words::clock(report)))?;
    writeln!(out, "- host: {}", escape(&words::host(&report.environment)))?;
    if report.results.iter().any(|cell| cell.confidence_95_ns.is_some()) {
        writeln!(out, "- ±95%: half of the median's 95 % confidence interval, over trials")?;
    }
    for cell in &report.results {
        if let Some(error) = &cell.error {
            writeln!(out, "- {} failed: {}", escape(&cell.cell), escape(error))?;
        }
    }
    let mut doubt = Vec::new();
    doubts::write(report, &mut doubt)?;
    for line in String::from_utf8_lossy(&doubt).lines() {
        writeln!(out, "- {}", escape(line))?;
    }
    Ok(())
}

fn write_row(cells: &[String], out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "| {} |", cells.join(" | "))
}
