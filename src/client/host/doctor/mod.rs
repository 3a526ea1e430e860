//! The doctor: whether this host can be measured on, before anything is measured, and how small a difference it can show.

mod checks;
mod self_test;
mod text;

use serde::Serialize;

pub(crate) use checks::{Check, Host, checks};
pub(crate) use self_test::{SelfTest, twice};
pub(crate) use text::{write_checks, write_self_tests};

use crate::client::judge::warnings::{self, Warning};
use crate::client::report::Report;
use crate::client::stats::Statistic;

/// The version of the JSON's layout, as [`crate::client::report::SCHEMA`].
pub(crate) const SCHEMA: u32 = 1;

/// All that the doctor has to tell.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Diagnosis {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The host's settings.
    pub checks: Vec<Check>,
    /// Each cell against itself.
    pub self_tests: Vec<SelfTest>,
    /// The self-tests' measurements, each cell twice, with their warnings and their grade.
    pub report: Report,
}

impl Diagnosis {
    /// Judges the report, whose results are each cell twice, in the order of the tests. The settings are advice and
    /// do not count: what they do to figures shows in the figures.
    #[must_use]
    pub(crate) fn new(checks: Vec<Check>, self_tests: Vec<SelfTest>, mut report: Report) -> Self {
        warnings::judge(&mut report);
        for cell in &mut report.results {
            // The test is about medians.
            let no_tail = |warning: &Warning| matches!(warning, Warning::TooFewSamples { quantile, .. } if *quantile != Statistic::P50);
            cell.warnings.retain(|warning| !no_tail(warning));
        }
        for (test, cells) in self_tests.iter().zip(report.results.chunks_exact_mut(2)) {
            if let Some(comparison) = test.comparison.filter(|_| test.differs) {
                cells[1].warnings.push(Warning::SelfTestDiffers { change: comparison.change });
            }
        }
        warnings::grade(&mut report);
        Self { schema: SCHEMA, checks, self_tests, report }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::host::placement::Placement;
    use crate::client::judge::warnings::{Grade, sample};
    use crate::client::stats::compare_pairs;
    use crate::protocol::Wait;

    fn diagnosis(pairs: &[(f64, f64)]) -> Diagnosis {
        let comparison = compare_pairs(pairs);
        let test = SelfTest {
            method: "tcp".to_owned(),
            size_bytes: 8,
            wait: Wait::Block,
            placement: Placement::CrossCore,
            medians_ns: pairs.to_vec(),
            median_ns: Some(10_000.0),
            comparison,
            differs: comparison.is_some_and(|comparison| comparison.is_real()),
            smallest_detectable: comparison.map(|comparison| comparison.smallest_detectable()),
            error: None,
        };
        let mut report = sample::report();
        report.results[0].latency_ns.p99 = None;
        report.results.push(sample::cell());
        Diagnosis::new(Vec::new(), vec![test], report)
    }

    #[test]
    fn a_self_test_that_differs_lowers_the_grade_and_one_that_does_not_leaves_it() {
        let same = diagnosis(&[(100.0, 101.0), (100.0, 99.0), (100.0, 100.0), (100.0, 102.0), (100.0, 98.0)]);
        assert_eq!(same.report.grade, Grade::A);
        let differs = diagnosis(&[(100.0, 120.0), (100.0, 121.0), (100.0, 119.0), (100.0, 122.0)]);
        assert_eq!(differs.report.grade, Grade::C);
        assert!(matches!(differs.report.results[1].warnings[..], [Warning::SelfTestDiffers { .. }]));
    }

    #[test]
    fn the_text_tells_the_smallest_difference() {
        let told = |diagnosis: &Diagnosis| {
            let mut out = Vec::new();
            write_self_tests(diagnosis, &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        let same = told(&diagnosis(&[(100.0, 101.0), (100.0, 99.0), (100.0, 100.0)]));
        assert!(same.contains("tcp, 8 B, cross-core, block: p50 10.0 µs"), "{same}");
        assert!(same.contains("no difference, as it should be") && same.contains("can show: "), "{same}");
        let differs = told(&diagnosis(&[(100.0, 120.0), (100.0, 121.0), (100.0, 119.0), (100.0, 122.0)]));
        assert!(
            differs.contains("a difference, where there is none") && differs.contains("Grade: C"),
            "{differs}"
        );
    }
}
