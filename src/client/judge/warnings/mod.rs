//! Warnings: what a reader should know before trusting a result, and the [`Grade`] that follows from it.
//!
//! | file | contents |
//! |---|---|
//! | `warning` | every warning: severity, text, advice, and the limits above which it is given |
//! | `cell` | warnings from a cell's own figures |
//! | `run` | warnings from the host and the build, for all cells of a run |

mod cell;
mod run;
#[cfg(test)]
#[path = "tests/sample.rs"]
pub(crate) mod sample;
mod warning;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize, Serializer};

pub(crate) use run::{Found, build, frequency_scaling, other_load, steal_time};
pub(crate) use warning::{CLOCK_COST, NEEDED_CPUS, Severity, Warning};

use crate::client::report::Report;

/// How far a result can be trusted. A better grade compares as smaller.
///
/// The worst warning decides: none or a note is an A, a slight one a B, a doubtful one a C, a severe one a D, and a
/// missing result an F. A second warning of the worst severity lowers it by one more grade, since two causes seldom
/// cancel. The warnings of a cell and of its run count together; the run's grade is its worst cell's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Grade {
    /// No problems found.
    A,
    /// One problem that a quieter host or another plan would avoid.
    B,
    /// Good for orders of magnitude, not for small differences.
    C,
    /// Something other than the mechanism determined the figures.
    D,
    /// Several such problems.
    E,
    /// No usable result.
    F,
}

impl Grade {
    /// All grades, the best first.
    pub(crate) const ALL: [Self; 6] = [Self::A, Self::B, Self::C, Self::D, Self::E, Self::F];

    /// The grade of a result with warnings of these severities.
    pub(crate) fn of(severities: impl IntoIterator<Item = Severity>) -> Self {
        let (mut worst, mut times) = (Severity::Note, 0);
        for severity in severities {
            if severity > worst {
                (worst, times) = (severity, 0);
            }
            times += u32::from(severity == worst);
        }
        match (worst, times) {
            (Severity::Note, _) => Self::A,
            (Severity::Slight, 1) => Self::B,
            (Severity::Slight, _) | (Severity::Doubtful, 1) => Self::C,
            (Severity::Doubtful, _) | (Severity::Severe, 1) => Self::D,
            (Severity::Severe, _) => Self::E,
            (Severity::Fatal, _) => Self::F,
        }
    }

    /// The letter.
    pub(crate) fn letter(self) -> &'static str {
        ["A", "B", "C", "D", "E", "F"][self as usize]
    }

    /// What the letter means, in a few words.
    pub(crate) fn meaning(self) -> &'static str {
        match self {
            Self::A => "no problems found",
            Self::B => "the figures hold; a quieter host or another plan would narrow them",
            Self::C => "good for orders of magnitude, not for small differences",
            Self::D => "something other than the mechanism may have determined the figures",
            Self::E => "several things other than the mechanism may have determined the figures",
            Self::F => "no usable result",
        }
    }
}

impl fmt::Display for Grade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.letter())
    }
}

/// A text that is not a grade.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown grade `{0}`: use A (the best), B, C, D, E or F")]
pub struct GradeError(String);

impl FromStr for Grade {
    type Err = GradeError;

    fn from_str(text: &str) -> Result<Self, GradeError> {
        let named = |grade: &Self| grade.to_string().eq_ignore_ascii_case(text);
        Self::ALL.into_iter().find(named).ok_or_else(|| GradeError(text.to_owned()))
    }
}

/// Replaces the report's warnings, and grades it.
pub(crate) fn judge(report: &mut Report) {
    report.warnings = run::warnings(report);
    judge_cells(report);
}

/// Replaces the warnings of a report's cells, and grades it; the run's warnings stay as they are.
pub(crate) fn judge_cells(report: &mut Report) {
    let of_cells: Vec<_> = report.results.iter().map(|cell| cell::warnings(cell, report)).collect();
    for (cell, warnings) in report.results.iter_mut().zip(of_cells) {
        cell.warnings = warnings;
    }
    grade(report);
}

/// Grades the report by its warnings.
pub(crate) fn grade(report: &mut Report) {
    let of_run = || report.warnings.iter().map(Warning::severity);
    for cell in &mut report.results {
        cell.grade = Grade::of(of_run().chain(cell.warnings.iter().map(Warning::severity)));
    }
    report.grade = report.results.iter().map(|cell| cell.grade).fold(Grade::of(of_run()), Grade::max);
}

/// Serializes each warning with its severity, finding and advice beside its fields, for readers that do not know its kind.
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
    use super::Severity::{Doubtful, Fatal, Note, Severe, Slight};
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
    fn the_json_of_a_warning_has_its_fields_severity_finding_and_advice_and_is_read_back() {
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

    #[test]
    fn the_worst_warning_decides_and_a_second_one_lowers_the_grade_by_one_more() {
        for (severities, grade) in [
            (&[][..], Grade::A),
            (&[Note, Note, Note], Grade::A),
            (&[Slight], Grade::B),
            (&[Note, Slight, Note], Grade::B),
            (&[Slight, Slight], Grade::C),
            (&[Slight, Doubtful, Slight], Grade::C),
            (&[Doubtful, Note, Doubtful], Grade::D),
            (&[Severe, Doubtful, Doubtful], Grade::D),
            (&[Severe, Severe], Grade::E),
            (&[Slight, Fatal], Grade::F),
        ] {
            assert_eq!(Grade::of(severities.iter().copied()), grade, "{severities:?}");
        }
    }

    #[test]
    fn letters_are_read_and_written() {
        for grade in Grade::ALL {
            assert_eq!(grade.to_string().parse(), Ok(grade));
            assert_eq!(serde_json::to_value(grade).unwrap(), grade.to_string());
        }
        assert_eq!("b".parse(), Ok(Grade::B));
        assert!(Grade::A < Grade::B && Grade::ALL.is_sorted());
        let error = "G".parse::<Grade>().unwrap_err().to_string();
        assert!(error.contains("`G`") && error.contains("A (the best)"), "{error}");
    }
}
