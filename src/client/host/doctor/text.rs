//! The doctor's findings as text.

use std::io::{self, Write};

use textwrap::{Options, fill};

use super::{Check, Diagnosis, SelfTest};
use crate::client::judge::warnings::percent;
use crate::client::report::doubts;
use crate::units::{latency, signed, size};

/// Writes a line for each check, and its advice below it, in lines of at most `width` columns.
///
/// # Errors
/// The writer's.
pub(crate) fn write_checks(checks: &[Check], width: usize, out: &mut dyn Write) -> io::Result<()> {
    let names = checks.iter().map(|check| check.name.len()).max().unwrap_or(0);
    writeln!(out, "This host:")?;
    for Check { name, state, finding, advice } in checks {
        let first = format!("  {:<8}  {name:<names$}  ", state.name());
        let rest = " ".repeat(first.len());
        let lines = Options::new(width).subsequent_indent(&rest);
        writeln!(out, "{}", fill(finding, lines.clone().initial_indent(&first)))?;
        if let Some(advice) = advice {
            writeln!(out, "{}", fill(advice, lines.initial_indent(&rest)))?;
        }
    }
    Ok(())
}

/// Writes what the self-tests showed, the warnings and the grade.
///
/// # Errors
/// The writer's.
pub(crate) fn write_self_tests(diagnosis: &Diagnosis, out: &mut dyn Write) -> io::Result<()> {
    writeln!(
        out,
        "Self-test: each measured against itself, {} pairs of trials:",
        diagnosis.report.settings.trials
    )?;
    for test in &diagnosis.self_tests {
        write_self_test(test, out)?;
    }
    doubts::write(&diagnosis.report, out)
}

fn write_self_test(test: &SelfTest, out: &mut dyn Write) -> io::Result<()> {
    let SelfTest { method, size_bytes, wait, placement, .. } = test;
    write!(out, "  {method}, {}, {placement}, {wait}: ", size(u64::from(*size_bytes)))?;
    if let (Some(median_ns), Some(comparison), Some(smallest)) =
        (test.median_ns, test.comparison, test.smallest_detectable)
    {
        let verdict = match test.differs {
            true => "a difference, where there is none",
            false => "no difference, as it should be",
        };
        writeln!(
            out,
            "p50 {}; {} from one to the other (95 %: {} to {}): {verdict}",
            latency(median_ns),
            signed(comparison.change),
            signed(comparison.interval.low),
            signed(comparison.interval.high)
        )?;
        writeln!(out, "    smallest difference that this host can show: {}", percent(smallest))?;
    } else {
        writeln!(out, "too few trials were completed")?;
    }
    match &test.error {
        Some(error) => writeln!(out, "    failed: {error}"),
        None => Ok(()),
    }
}
