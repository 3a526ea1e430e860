//! Text for a terminal: the origin's three lines for each cell, and the round trip's latency under them.

use std::io::{self, Write};

use super::units::{elapsed, latency, size};
use super::{CellReport, Report};

/// Writes the report.
///
/// # Errors
/// The writer's.
pub fn write(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    for cell in &report.results {
        write_cell(cell, out)?;
    }
    Ok(())
}

fn write_cell(cell: &CellReport, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "IPC method - {}", title(cell))?;
    if cell.rounds > 0 {
        let mean = cell.elapsed_ns / cell.rounds as f64;
        writeln!(out, "\t{} cycles completed in {}", cell.rounds, elapsed(cell.elapsed_ns))?;
        writeln!(out, "\t{:.1} per second", 1e9 / mean)?;
        writeln!(out, "\t{} per operation", elapsed(mean.round()))?;
        let quantiles: Vec<_> = cell
            .latency_ns
            .named()
            .into_iter()
            .filter(|(name, _)| *name != "mean")
            .filter_map(|(name, ns)| match ns {
                Some(ns) => Some(format!("{name} {}", latency(ns))),
                None if name == "p99.99" => None,
                None => Some(format!("{name} -")),
            })
            .collect();
        writeln!(out, "\tround trip: {}", quantiles.join(", "))?;
    }
    if cell.lost > 0 {
        writeln!(out, "\t{} datagrams lost", cell.lost)?;
    }
    if let Some(error) = &cell.error {
        writeln!(out, "\tfailed: {error}")?;
    }
    Ok(())
}

/// The method and what distinguishes the cell.
fn title(cell: &CellReport) -> String {
    let mut title = cell.method.clone();
    for (name, value) in &cell.options {
        title.push_str(&format!(" {name}={value}"));
    }
    if cell.size_bytes != 8 {
        title.push_str(&format!(" {}", size(cell.size_bytes)));
    }
    title
}
