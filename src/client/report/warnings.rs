//! The warnings in words, each with the cells that it is about, and the grade.

use super::Report;
use super::cells::{entries, names};
use crate::client::judge::warnings::{Grade, Severity, Warning};

/// The report's warnings, the run's first, and its grade. Equal warnings of several cells are one line, and the advice is
/// in the last line of those of one kind.
pub(in crate::client) fn lines(report: &Report) -> Vec<String> {
    let cells = names(&entries("", report).collect::<Vec<_>>(), " ");
    let grades = report.results.iter().zip(cells).map(|(cell, name)| format!("{name} {}", cell.grade));
    let grades = match report.results.iter().any(|cell| cell.grade != report.grade) {
        true => format!(" ({})", grades.collect::<Vec<_>>().join(", ")),
        false => String::new(),
    };
    let mut lines = lines_of(&found(report, |_| true));
    lines.push(format!("Grade: {}{grades}: {}", report.grade, report.grade.meaning()));
    lines
}

/// Why the report is not of the required grade: the warnings, but notes, of the run and of the cells below it.
pub(in crate::client) fn reasons(report: &Report, required: Grade) -> Vec<String> {
    let mut found = found(report, |grade| grade > required);
    found.retain(|found| found.warning.severity() > Severity::Note);
    lines_of(&found)
}

fn lines_of(found: &[Found<'_>]) -> Vec<String> {
    let line = |(at, Found { cells, warning }): (usize, &Found<'_>)| {
        let kind = if warning.severity() == Severity::Note { "Note" } else { "Warning" };
        let cells = if cells.is_empty() { String::new() } else { format!("{}: ", cells.join(", ")) };
        let same_advice = |next: &Found<'_>| next.warning.advice() == warning.advice();
        match found.get(at + 1) {
            Some(next) if same_advice(next) => format!("{kind}: {cells}{}", warning.finding()),
            _ => format!("{kind}: {cells}{warning}"),
        }
    };
    found.iter().enumerate().map(line).collect()
}

/// A warning, and the cells that have it; none if it is the run's.
struct Found<'a> {
    cells: Vec<String>,
    warning: &'a Warning,
}

/// The warnings of the run, and of its cells of such a grade.
fn found(report: &Report, graded: impl Fn(Grade) -> bool) -> Vec<Found<'_>> {
    let names = names(&entries("", report).collect::<Vec<_>>(), " ");
    let mut all: Vec<Found<'_>> =
        report.warnings.iter().map(|warning| Found { cells: Vec::new(), warning }).collect();
    let of_run = all.len();
    for (cell, name) in report.results.iter().zip(names).filter(|(cell, _)| graded(cell.grade)) {
        for warning in &cell.warnings {
            let alike = |found: &Found<'_>| found.warning.advice() == warning.advice();
            match all[of_run..].iter_mut().find(|found| found.warning == warning) {
                Some(found) if found.cells.contains(&name) => {}
                Some(found) => found.cells.push(name.clone()),
                None => {
                    let at =
                        all[of_run..].iter().rposition(alike).map_or(all.len(), |last| of_run + last + 1);
                    all.insert(at, Found { cells: vec![name.clone()], warning });
                }
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::judge::warnings::{judge, sample};

    fn text(report: &mut Report) -> String {
        judge(report);
        lines(report).join("\n") + "\n"
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
    fn cells_of_different_grades_are_listed_separately() {
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
