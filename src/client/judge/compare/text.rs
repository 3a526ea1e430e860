//! A comparison for people: text for a terminal, a table for a forge.

use std::io::{self, Write};

use super::{CellComparison, Change, Circumstance, Comparison, NoiseSource, SideSummary};
use crate::client::stats::Statistic;
use crate::units::{latency, signed, utc};

/// What is said of a run beside itself.
const SAME_RUN: &str = "A and B are one and the same run: nothing can be told from that.";

/// Writes text: what is compared, what else differs, and a block for each cell.
///
/// # Errors
/// The writer's.
pub(crate) fn write_text(comparison: &Comparison, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "A: {}", side(&comparison.a))?;
    writeln!(out, "B: {}", side(&comparison.b))?;
    writeln!(out, "between them: {}", differences(comparison))?;
    if comparison.same_run {
        writeln!(out, "{SAME_RUN}")?;
    }
    for cell in &comparison.cells {
        writeln!(out, "\n{}: {}", cell.cell, verdict(cell))?;
        for change in &cell.changes {
            let Change { statistic, a_ns, b_ns, .. } = change;
            writeln!(
                out,
                "\t{:<6}  {:>9} → {:<9}  {:>8}  {:<22}{}",
                statistic.label(),
                latency(*a_ns),
                latency(*b_ns),
                signed(change.change_fraction),
                interval(change),
                if change.real { "  real" } else { "" }
            )?;
        }
        if !cell.left_out.is_empty() {
            let all: Vec<&str> = cell.left_out.iter().map(|statistic| statistic.label()).collect();
            writeln!(out, "\t{}: too few rounds a trial", all.join(", "))?;
        }
        if let (Some(noise), Some(change)) = (&cell.noise, cell.change(comparison.decided_by)) {
            let shown = signed(change.noise_fraction).replace('+', "");
            let label = change.statistic.label();
            writeln!(out, "\tnoise of {label}: {shown}, {}", source(noise.source))?;
        }
    }
    let real = |cell: &&CellComparison| cell.changes.iter().any(|change| change.real);
    if comparison.cells.iter().filter(real).count() > 0 && comparison.cells.len() > 1 {
        writeln!(out, "\nOf twenty comparisons of equal things, chance alone makes one seem to differ.")?;
    }
    Ok(())
}

/// Writes Markdown: the same as a table.
///
/// # Errors
/// The writer's.
pub(crate) fn write_markdown(comparison: &Comparison, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "- A: {}\n- B: {}", escape(&side(&comparison.a)), escape(&side(&comparison.b)))?;
    writeln!(out, "- Between them: {}\n", escape(&differences(comparison)))?;
    if comparison.same_run {
        writeln!(out, "{SAME_RUN}\n")?;
    }
    let shown: Vec<Statistic> = super::COMPARED
        .into_iter()
        .filter(|statistic| comparison.cells.iter().any(|cell| cell.change(*statistic).is_some()))
        .collect();
    let heads: String = shown.iter().map(|statistic| format!(" {} |", statistic.label())).collect();
    writeln!(out, "| cell | verdict |{heads}\n|---|---|{}", "---:|".repeat(shown.len()))?;
    for cell in &comparison.cells {
        write!(out, "| `{}` | {} |", cell.cell, escape(&verdict(cell)))?;
        for statistic in &shown {
            match cell.change(*statistic) {
                None => write!(out, " - |")?,
                Some(change) => {
                    let strong = if change.real { "**" } else { "" };
                    let (by, span) = (signed(change.change_fraction), interval(change));
                    write!(out, " {strong}{by}{strong} {span} |")?;
                }
            }
        }
        writeln!(out)?;
    }
    Ok(())
}

/// A bar would end a table's cell.
fn escape(text: &str) -> String {
    text.replace('|', "\\|")
}

fn side(side: &SideSummary) -> String {
    format!("{}, {}", side.named(), side.told())
}

impl SideSummary {
    /// How it was named, and its id.
    fn named(&self) -> String {
        match self.run {
            Some(run) if self.name != run.to_string() => format!("{} (run {run})", self.name),
            Some(run) => format!("run {run}"),
            None => self.name.clone(),
        }
    }

    /// All of it in a sentence: `run 12 (2026-…, host, grade A)`, `good (run 3, 2026-…)`.
    pub(in crate::client) fn in_words(&self) -> String {
        match self.run {
            Some(run) if self.name != run.to_string() => {
                format!("{} (run {run}, {})", self.name, self.told())
            }
            _ => format!("{} ({})", self.named(), self.told()),
        }
    }

    /// What else is told of it.
    fn told(&self) -> String {
        let label = self.label.as_ref().filter(|label| **label != self.name);
        let mut parts: Vec<String> = label.map(|label| format!("label {label}")).into_iter().collect();
        parts.push(utc(self.started_unix_s));
        parts.extend(self.host.clone());
        parts.push(format!("grade {}", self.grade));
        parts.join(", ")
    }
}

fn differences(comparison: &Comparison) -> String {
    let all: Vec<String> =
        comparison.differences.iter().map(|difference| Circumstance(difference).to_string()).collect();
    if all.is_empty() { "nothing has changed that the runs tell".to_owned() } else { all.join("; ") }
}

fn verdict(cell: &CellComparison) -> String {
    let mut text = cell.verdict.words().to_owned();
    text.extend(cell.reason.iter().map(|reason| format!(": {reason}")));
    text.extend(cell.other_cpus.iter().map(|cpus| format!(" ({cpus})")));
    text
}

fn interval(change: &Change) -> String {
    format!("[{}, {}]", signed(change.confidence_95.low), signed(change.confidence_95.high))
}

fn source(source: NoiseSource) -> String {
    match source {
        NoiseSource::History { steps } => format!("by {steps} steps between unchanged runs of the history"),
        NoiseSource::Trials { pairs } => format!("by {pairs} pairs of trials of these runs"),
        NoiseSource::Resolution => "the smallest step of clock and histogram".to_owned(),
    }
}
