//! The warnings in words, each with the cells that it is about, and the grade.

use std::cmp::Reverse;
use std::fmt;
use std::mem::discriminant;

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
    let mut lines = lines_of(&found(report));
    lines.push(format!("Grade: {}{grades}: {}", report.grade, report.grade.meaning()));
    lines
}

/// Why the report is not of the required grade: the warnings, but notes, of the run and of the cells below it, a line for
/// each kind.
pub(in crate::client) fn reasons(report: &Report, required: Grade) -> Vec<String> {
    let kinds = kinds(report, |grade| grade > required).into_iter();
    kinds.filter(|kind| kind.severity > Severity::Note).map(|kind| kind.to_string()).collect()
}

/// All warnings of one kind in a line: the worst finding, and how many cells have one.
pub(super) struct Kind {
    pub(super) severity: Severity,
    pub(super) text: String,
    /// What to do about the worst one.
    pub(super) advice: String,
    /// The finding of each cell that has one, the worst first.
    pub(super) findings: Vec<String>,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.severity.label(), self.text)
    }
}

/// Each kind of the warnings of the run and of its cells of such a grade, the most severe first.
pub(super) fn kinds(report: &Report, graded: impl Fn(Grade) -> bool) -> Vec<Kind> {
    let names = names(&entries("", report).collect::<Vec<_>>(), " ");
    let of_run = report.warnings.iter().map(|warning| (None, warning.finding(), warning));
    let of_cells = report.results.iter().zip(&names).filter(|(cell, _)| graded(cell.grade));
    let of_cells = of_cells.flat_map(|(cell, name)| {
        cell.warnings.iter().map(move |warning| match (&cell.error, warning) {
            // Its error says more.
            (Some(error), Warning::BrokenOff { .. }) => (Some(name), error.clone(), warning),
            _ => (Some(name), warning.finding(), warning),
        })
    });
    /// The cell, unless it is the run's; what was found; and the warning.
    type Finding<'a> = (Option<&'a String>, String, &'a Warning);
    let mut kinds: Vec<Vec<Finding<'_>>> = Vec::new();
    for found in of_run.chain(of_cells) {
        let is_alike = |kind: &&mut Vec<Finding<'_>>| {
            let (cell, finding, warning) = &kind[0];
            // Warnings of the run are never merged.
            cell.is_some()
                && found.0.is_some()
                && discriminant(*warning) == discriminant(found.2)
                && match (warning, found.2) {
                    (Warning::BrokenOff { .. }, _) => *finding == found.1,
                    // Their advice differs.
                    (Warning::Drifts { within_trials, .. }, Warning::Drifts { within_trials: other, .. }) => {
                        within_trials == other
                    }
                    _ => true,
                }
        };
        match kinds.iter_mut().find(is_alike) {
            Some(kind) => kind.push(found),
            None => kinds.push(vec![found]),
        }
    }
    let badness = |warning: &Warning| (warning.severity(), warning.magnitude());
    let descending = |a: &Warning, b: &Warning| {
        let (a, b) = (badness(a), badness(b));
        b.0.cmp(&a.0).then(b.1.total_cmp(&a.1))
    };
    for kind in &mut kinds {
        kind.sort_by(|a, b| descending(a.2, b.2));
    }
    kinds.sort_by_key(|kind| Reverse(kind[0].2.severity()));
    let kind = |found: &Vec<Finding<'_>>| {
        let cells: Vec<&str> = found.iter().filter_map(|(cell, ..)| cell.map(String::as_str)).collect();
        let alike = found.iter().all(|(_, finding, _)| *finding == found[0].1);
        let cells = match cells.len() {
            0 => String::new(),
            _ if names.len() == 1 => String::new(),
            // The worst comes first.
            1..=3 => format!(" ({})", cells.join(", ")),
            n => {
                let worst = if alike { String::new() } else { format!("{}, the worst of ", cells[0]) };
                match n == names.len() {
                    true => format!(" ({worst}all {n} cells)"),
                    false => format!(" ({worst}{n} of {} cells)", names.len()),
                }
            }
        };
        let of_cell = |(cell, finding, _): &Finding<'_>| cell.map(|cell| format!("{cell}: {finding}"));
        Kind {
            severity: found[0].2.severity(),
            text: format!("{}{cells}", found[0].1),
            advice: found[0].2.advice().to_owned(),
            findings: found.iter().filter_map(of_cell).collect(),
        }
    };
    kinds.iter().map(kind).collect()
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

/// The warnings of the run, and of its cells.
fn found(report: &Report) -> Vec<Found<'_>> {
    let names = names(&entries("", report).collect::<Vec<_>>(), " ");
    let mut all: Vec<Found<'_>> =
        report.warnings.iter().map(|warning| Found { cells: Vec::new(), warning }).collect();
    let of_run = all.len();
    for (cell, name) in report.results.iter().zip(names) {
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
            lines[1].starts_with("Warning: tcp 8 B, tcp 4 KiB: no confidence interval: only one trial"),
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
    fn each_kind_is_a_line_with_its_worst_finding_and_the_most_severe_is_first() {
        let mut report = sample::report();
        report.results = (0..5).map(|_| sample::cell()).collect();
        for (index, cell) in report.results.iter_mut().enumerate() {
            cell.size_bytes = 1 << index;
            cell.lost = 10 * (index as u64 + 1);
        }
        report.results[4].latency_ns.max = Some(2e9);
        report.results[1].trials.truncate(1);
        (report.results[2].error, report.results[3].error) = (Some("gone".into()), Some("gone".into()));
        judge(&mut report);
        let kinds = kinds(&report, |_| true);
        let shown: Vec<String> = kinds.iter().map(Kind::to_string).collect();
        assert_eq!(
            shown,
            [
                "failed: gone (tcp 4 B, tcp 8 B)",
                "doubtful: a round took 2.00 s (tcp 16 B)",
                "slight: datagrams lost: 50 (0.05 % of all rounds) (tcp 16 B, the worst of all 5 cells)",
                "slight: no confidence interval: only one trial (tcp 2 B)",
            ]
        );
    }

    #[test]
    fn the_worst_is_named_and_what_differs_is_not_merged() {
        let wide = |half_width| Warning::WideInterval { half_width };
        let drifts = |within_trials| Warning::Drifts { change: 0.2, within_trials };
        let throttled = |responder| Warning::Throttled { periods: 3, time_ns: 1_000_000, responder };
        let mut report = sample::report();
        report.results = vec![sample::cell(), sample::cell()];
        report.results[1].method = "udp".to_owned();
        report.results[0].warnings = vec![wide(0.06), drifts(true), drifts(false)];
        report.results[1].warnings = vec![wide(0.14)];
        report.warnings = vec![throttled(false), throttled(true)];
        let kinds = kinds(&report, |_| true);
        let of = |start: &str| kinds.iter().filter(|kind| kind.text.contains(start)).collect::<Vec<_>>();
        let [wide] = of("14.0 %")[..] else { panic!("the wider interval is not named") };
        assert_eq!(wide.findings.len(), 2);
        assert_eq!(kinds.len(), 5, "{:?}", kinds.iter().map(Kind::to_string).collect::<Vec<_>>());
    }

    #[test]
    fn reasons_are_those_of_the_cells_below_the_required_grade() {
        let mut report = sample::report();
        report.results.push(sample::cell());
        report.results[0].lost = 1;
        report.results[1].method = "udp".to_owned();
        report.results[1].lost = 50_000;
        report.results[1].headline_ns.p99_9 = None;
        judge(&mut report);
        let reasons = reasons(&report, Grade::B);
        assert_eq!(reasons.len(), 1, "{reasons:?}");
        assert_eq!(reasons[0], "severe: datagrams lost: 50000 (33.3 % of all rounds) (udp)");
    }
}
