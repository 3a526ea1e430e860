//! Doubt as text: the warnings, each with the cell that it is about, and the grade.

use std::io::{self, Write};

use super::{CellReport, Report};
use crate::client::judge::warnings::{Grade, Severity, Warning};
use crate::units::{latency, size};

/// Writes the report's warnings, the run's first, and its grade. Equal warnings of several cells are one line, and
/// the advice stands in the last line of those of one kind.
///
/// # Errors
/// The writer's.
pub(in crate::client) fn write(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    for line in lines(&doubts(report)) {
        writeln!(out, "{line}")?;
    }
    write!(out, "Grade: {}", report.grade)?;
    let cells: Vec<String> =
        report.results.iter().map(|cell| format!("{} {}", label(cell, report), cell.grade)).collect();
    if report.results.iter().any(|cell| cell.grade != report.grade) {
        write!(out, " ({})", cells.join(", "))?;
    }
    writeln!(out, ": {}", report.grade.meaning())
}

/// Why the report is not of the required grade: the warnings, but notes, of the run and of the cells below it.
pub(in crate::client) fn reasons(report: &Report, required: Grade) -> Vec<String> {
    let below = |doubt: &Doubt<'_>| {
        let mut cells = report.results.iter().filter(|cell| cell.grade > required);
        doubt.cells.is_empty() || cells.any(|cell| doubt.cells.contains(&label(cell, report)))
    };
    let mut doubts = doubts(report);
    doubts.retain(|doubt| doubt.warning.severity() > Severity::Note && below(doubt));
    lines(&doubts)
}

fn lines(doubts: &[Doubt<'_>]) -> Vec<String> {
    let line = |(at, Doubt { cells, warning }): (usize, &Doubt<'_>)| {
        let kind = if warning.severity() == Severity::Note { "Note" } else { "Warning" };
        let cells = if cells.is_empty() { String::new() } else { format!("{}: ", cells.join(", ")) };
        let same_advice = |next: &Doubt<'_>| next.warning.advice() == warning.advice();
        match doubts.get(at + 1) {
            Some(next) if same_advice(next) => format!("{kind}: {cells}{}", warning.finding()),
            _ => format!("{kind}: {cells}{warning}"),
        }
    };
    doubts.iter().enumerate().map(line).collect()
}

/// A warning, and the cells that have it; none if it is the run's.
struct Doubt<'a> {
    cells: Vec<String>,
    warning: &'a Warning,
}

fn doubts(report: &Report) -> Vec<Doubt<'_>> {
    let mut doubts: Vec<_> =
        report.warnings.iter().map(|warning| Doubt { cells: Vec::new(), warning }).collect();
    let of_run = doubts.len();
    for cell in &report.results {
        for warning in &cell.warnings {
            let label = label(cell, report);
            match doubts[of_run..].iter_mut().find(|doubt| doubt.warning == warning) {
                Some(doubt) if doubt.cells.contains(&label) => {}
                Some(doubt) => doubt.cells.push(label),
                None => {
                    let last_alike =
                        doubts[of_run..].iter().rposition(|doubt| doubt.warning.advice() == warning.advice());
                    let at = last_alike.map_or(doubts.len(), |last| of_run + last + 1);
                    doubts.insert(at, Doubt { cells: vec![label], warning });
                }
            }
        }
    }
    doubts
}

/// The method, and whatever else distinguishes the cell from others of the report.
fn label(cell: &CellReport, report: &Report) -> String {
    let mut label = cell.method.clone();
    let mut add = |differs: fn(&CellReport, &CellReport) -> bool, text: &dyn Fn() -> String| {
        if report.results.iter().any(|other| other.method == cell.method && differs(cell, other)) {
            let text = text();
            label.push_str(if text.is_empty() { "" } else { " " });
            label.push_str(&text);
        }
    };
    add(|a, b| a.options != b.options, &|| {
        let options: Vec<String> =
            cell.options.iter().map(|(name, value)| format!("{name}={value}")).collect();
        options.join(" ")
    });
    add(|a, b| a.size_bytes != b.size_bytes, &|| size(cell.size_bytes));
    add(|a, b| a.placement != b.placement, &|| cell.placement.to_string());
    add(|a, b| a.wait != b.wait, &|| cell.wait.to_string());
    add(|a, b| a.gap_ns != b.gap_ns, &|| format!("gap {}", latency(cell.gap_ns.unwrap_or(0) as f64)));
    label
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::judge::warnings::{judge, sample};

    fn text(report: &mut Report) -> String {
        judge(report);
        let mut out = Vec::new();
        write(report, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn nothing_to_doubt_is_one_line() {
        assert_eq!(text(&mut sample::report()), "Grade: A: no problems found\n");
    }

    #[test]
    fn the_runs_warnings_come_first_and_those_of_cells_name_them() {
        let mut report = sample::report();
        report.environment.build.profile = "debug".to_owned();
        report.results.push(sample::cell());
        report.results.push(sample::cell());
        report.results[1].size_bytes = 4096;
        report.results[2].size_bytes = 1 << 20;
        for cell in &mut report.results[..2] {
            cell.trials.truncate(1);
        }
        report.results[2].lost = 1;
        let text = text(&mut report);
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[0].starts_with("Warning: this is a debug build"), "{text}");
        assert!(
            lines[1].starts_with("Note: tcp 8 B, tcp 4 KiB: no confidence interval: only one trial"),
            "{text}"
        );
        assert!(lines[2].starts_with("Warning: tcp 1 MiB: datagrams lost: 1 ("), "{text}");
        assert!(lines[3].starts_with("Grade: D: something other"), "{text}");
        assert_eq!(lines.len(), 4);
    }

    #[test]
    fn the_advice_of_one_kind_is_given_once() {
        let mut report = sample::report();
        for (index, max) in [2e9, 3e9].into_iter().enumerate() {
            report.results.push(sample::cell());
            report.results[index + 1].method = format!("m{max:.0}");
            report.results[index + 1].latency_ns.max = Some(max);
            report.results[index + 1].lost = 1;
        }
        let text = text(&mut report);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "Warning: m2000000000: a round took 2.00 s");
        assert!(lines[1].starts_with("Warning: m3000000000: a round took 3.00 s. The host or"), "{text}");
        assert!(lines[2].starts_with("Warning: m2000000000, m3000000000: datagrams lost: 1 ("), "{text}");
    }

    #[test]
    fn cells_of_different_grades_are_told_apart() {
        let mut report = sample::report();
        report.results.push(sample::cell());
        report.results[1].method = "udp".to_owned();
        report.results[1].lost = 1;
        assert!(text(&mut report).ends_with(
            "Grade: B (tcp A, udp B): the figures hold; a quieter host or another plan would narrow them\n"
        ));
    }

    #[test]
    fn reasons_are_those_of_the_cells_below_the_required_grade() {
        let mut report = sample::report();
        report.results.push(sample::cell());
        report.results[0].lost = 1;
        report.results[1].method = "udp".to_owned();
        report.results[1].lost = 50_000;
        report.results[1].trials.truncate(1);
        judge(&mut report);
        let reasons = reasons(&report, Grade::B);
        assert_eq!(reasons.len(), 1, "{reasons:?}");
        assert!(
            reasons[0].starts_with("Warning: udp: datagrams lost: 50000 (33.3 % of all rounds)"),
            "{reasons:?}"
        );
    }
}
