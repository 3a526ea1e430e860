//! Doubt: what a reader should know before trusting a result, as [`Warning`]s with advice, and the [`Grade`] that
//! follows from them.
//!
//! | file | what stands there |
//! |---|---|
//! | `warning` | every warning, its severity and its text |
//! | `limits` | from where on something is doubtful, and why from there |
//! | `cell` | what a cell's own figures tell |
//! | `run` | what the host and the build tell, for all cells of a run |
//! | `modes` | whether latencies have two peaks |
//! | `grade` | the rule from warnings to a letter |

mod cell;
mod grade;
pub(crate) mod limits;
mod modes;
mod run;
#[cfg(test)]
#[path = "tests/sample.rs"]
pub(crate) mod sample;
mod warning;

use serde::{Serialize, Serializer};

pub(crate) use grade::Grade;
pub(crate) use grade::Severity;
pub(crate) use warning::{Sharing, Warning};

pub(crate) use warning::percent;

pub(crate) use run::{Others, stolen_cpus};

use crate::client::report::Report;

/// Finds what makes the report doubtful, and grades it. What was found before is found anew.
pub(crate) fn judge(report: &mut Report) {
    report.warnings = run::warnings(report);
    judge_cells(report);
}

/// Finds what makes a report's cells doubtful by their figures, and grades it; the run's warnings stay as they are.
pub(crate) fn judge_cells(report: &mut Report) {
    let of_cells: Vec<_> = report.results.iter().map(|cell| cell::warnings(cell, report)).collect();
    for (cell, warnings) in report.results.iter_mut().zip(of_cells) {
        cell.warnings = warnings;
    }
    grade(report);
}

/// Grades the report by the warnings that it has.
pub(crate) fn grade(report: &mut Report) {
    let of_run = || report.warnings.iter().map(Warning::severity);
    for cell in &mut report.results {
        cell.grade = Grade::of(of_run().chain(cell.warnings.iter().map(Warning::severity)));
    }
    report.grade = report.results.iter().map(|cell| cell.grade).fold(Grade::of(of_run()), Grade::max);
}

/// Writes each warning with its severity, finding and advice beside its fields, for readers that do not know its kind.
///
/// # Errors
/// The serializer's.
pub(crate) fn with_text<S: Serializer>(warnings: &[Warning], serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct WithText<'a> {
        #[serde(flatten)]
        warning: &'a Warning,
        severity: Severity,
        finding: String,
        advice: &'static str,
    }
    serializer.collect_seq(warnings.iter().map(|warning| WithText {
        warning,
        severity: warning.severity(),
        finding: warning.finding(),
        advice: warning.advice(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quiet_run_has_no_warnings_and_an_a() {
        let mut report = sample::report();
        judge(&mut report);
        assert_eq!((&report.warnings[..], &report.results[0].warnings[..]), (&[][..], &[][..]));
        assert_eq!((report.grade, report.results[0].grade), (Grade::A, Grade::A));
    }

    #[test]
    fn the_runs_grade_is_its_worst_cells_and_the_runs_warnings_count_for_all_cells() {
        let mut report = sample::report();
        report.results.push(sample::cell());
        report.results[1].latency_ns.max = Some(2e9);
        judge(&mut report);
        assert_eq!((report.results[0].grade, report.results[1].grade), (Grade::A, Grade::C));
        assert_eq!(report.grade, Grade::C);

        report.environment.build.profile = "debug".to_owned();
        judge(&mut report);
        assert_eq!(report.warnings, [Warning::DebugBuild]);
        assert_eq!((report.results[0].grade, report.grade), (Grade::D, Grade::D));
        assert_eq!(report.results[1].warnings.len(), 1, "the second judgement replaces the first");

        report.results.clear();
        judge(&mut report);
        assert_eq!(report.grade, Grade::D);
    }

    #[test]
    fn the_json_of_a_warning_has_its_fields_its_severity_finding_and_advice_and_is_read_back() {
        let mut report = sample::report();
        report.results[0].latency_ns.max = Some(2e9);
        judge(&mut report);
        let json = serde_json::to_value(&report).unwrap();
        let warning = &json["results"][0]["warnings"][0];
        assert_eq!(warning["kind"], "long_gap");
        assert_eq!((&warning["max_ns"], &warning["severity"]), (&2e9.into(), &"doubtful".into()));
        assert_eq!(warning["finding"], "a round took 2.00 s");
        assert!(warning["advice"].as_str().unwrap().starts_with("The host or a process was stopped"));
        assert_eq!((&json["grade"], &json["results"][0]["grade"]), (&"C".into(), &"C".into()));
        let back: Report = serde_json::from_value(json).unwrap();
        assert_eq!(back.results[0].warnings, report.results[0].warnings);
    }
}
