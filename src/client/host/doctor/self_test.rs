//! The A/A test: a thing measured against itself, which shows how small a difference this host can show.

use serde::Serialize;

use crate::client::bench::{Bench, Outcome};
use crate::client::host::placement::Placement;
use crate::client::stats::{Comparison, compare_pairs, median};
use crate::diagnostics::error_chain;
use crate::protocol::Wait;

const PS_PER_NS: f64 = 1000.0;

/// One cell against itself.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct SelfTest {
    /// The mechanism.
    pub method: String,
    /// Bytes carried each way in a round.
    pub size_bytes: u32,
    /// How either side waited.
    pub wait: Wait,
    /// What the CPUs amount to.
    pub placement: Placement,
    /// The median round trip of each trial, pair by pair.
    pub medians_ns: Vec<(f64, f64)>,
    /// The median of all of those.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub median_ns: Option<f64>,
    /// By how much the second of a pair is slower.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comparison: Option<Comparison>,
    /// Whether chance does not explain that, as it should.
    pub differs: bool,
    /// The smallest relative difference that can be told from none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub smallest_detectable: Option<f64>,
    /// Why it broke off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// The plan of one cell's test: the cell twice, its trials interleaved, so that what drifts slowly meets both alike.
#[must_use]
pub(crate) fn twice(bench: &Bench, cell: usize) -> Bench {
    Bench { cells: vec![bench.cells[cell].clone(); 2], ..bench.clone() }
}

impl SelfTest {
    /// What the two cells of [`twice`] came to.
    #[must_use]
    pub(crate) fn of(a: &Outcome, b: &Outcome) -> Self {
        let ns =
            |outcome: &Outcome| -> Vec<f64> { outcome.medians().iter().map(|ps| ps / PS_PER_NS).collect() };
        let pairs: Vec<(f64, f64)> = ns(a).into_iter().zip(ns(b)).collect();
        let comparison = compare_pairs(&pairs);
        let all: Vec<f64> = pairs.iter().flat_map(|(a, b)| [*a, *b]).collect();
        Self {
            method: a.cell.spec.method.clone(),
            size_bytes: a.cell.spec.size_bytes,
            wait: a.cell.wait,
            placement: a.cell.placement,
            medians_ns: pairs,
            median_ns: median(&all),
            comparison,
            differs: comparison.is_some_and(|comparison| comparison.is_real()),
            smallest_detectable: comparison.map(|comparison| comparison.smallest_detectable()),
            error: a.error.as_ref().or(b.error.as_ref()).map(|error| error_chain(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::client::bench::Cell;
    use crate::client::measure::{Recorder, Trial};
    use crate::protocol::{ChannelSpec, Usage};

    /// An outcome whose trials have these medians, in nanoseconds.
    fn outcome(medians_ns: &[u64]) -> Outcome {
        let trial = |ns: &u64| {
            let mut recorder = Recorder::default();
            recorder.histogram.record(ns * 1000).unwrap();
            Trial {
                recorder,
                response: None,
                rounds: 1,
                lost: 0,
                elapsed_ps: 1,
                probe: None,
                longest_gap: None,
                warmup_rounds: 0,
                warmup_time: Duration::ZERO,
                client_usage: Usage::default(),
                server_usage: Usage::default(),
                cpus: Default::default(),
            }
        };
        Outcome {
            cell: Cell {
                spec: ChannelSpec::new("tcp"),
                wait: Wait::Block,
                placement: Placement::Unpinned,
                client_cpu: None,
                pace: None,
                parallel: 1,
                optional: false,
            },
            trials: medians_ns.iter().map(trial).collect(),
            error: None,
            precision_reached: None,
            overhead: Duration::ZERO,
        }
    }

    #[test]
    fn equal_trials_do_not_differ_and_tell_the_smallest_difference() {
        let a = outcome(&[10_000, 10_100, 9_900, 10_050, 9_950, 10_020, 9_980]);
        let b = outcome(&[10_050, 10_000, 9_950, 9_990, 10_010, 9_970, 10_060]);
        let test = SelfTest::of(&a, &b);
        assert!(!test.differs && test.medians_ns.len() == 7);
        assert!(
            test.smallest_detectable.is_some_and(|smallest| (0.002..0.02).contains(&smallest)),
            "{test:?}"
        );
        assert!(test.median_ns.is_some_and(|median| (median - 10_000.0).abs() < 20.0));
    }

    #[test]
    fn a_host_that_favours_one_of_two_is_found_out() {
        let a = outcome(&[10_000, 10_100, 9_900, 10_050, 9_950, 10_020, 9_980]);
        let b = outcome(&[11_000, 11_200, 10_900, 11_060, 10_950, 11_030, 10_990]);
        let test = SelfTest::of(&a, &b);
        assert!(test.differs && test.smallest_detectable.is_some_and(|smallest| smallest > 0.1));
    }

    #[test]
    fn a_test_that_broke_off_says_so_and_claims_nothing() {
        let mut b = outcome(&[]);
        b.error = Some(crate::client::ClientError::Stopping);
        let test = SelfTest::of(&outcome(&[10_000]), &b);
        assert_eq!((test.comparison, test.differs, test.smallest_detectable), (None, false, None));
        assert_eq!(test.error.as_deref(), Some("the daemon is stopping"));
    }
}
