//! Runs a matrix: pass after pass over all pairs, few at a time.

use super::plan::Plan;
use super::progress::Progress;
use crate::client::bench::{self, Bench, Outcome, order};
use crate::client::report::Latency;
use crate::client::report::matrix::{Pair, PairTrial};
use crate::client::{Client, ClientError};
use crate::diagnostics::error_chain;
use crate::transports::sys::clock::Calibration;

/// So many cells are measured before their histograms, 0.3 MiB each, are made to figures. All of them at once would be
/// 4 GiB for 64 CPUs.
const CELLS_AT_ONCE: usize = 32;

/// What a run came to.
pub(super) struct Measured {
    /// The pairs, in the plan's order.
    pub(super) pairs: Vec<Pair>,
    /// What went wrong, at most once a pair.
    pub(super) errors: Vec<ClientError>,
}

/// Runs the plan. Each pass goes through the pairs in an order of its own, so that a disturbance does not always meet
/// the same ones. A pair that failed is not tried again; a daemon that is gone ends the run.
pub(super) fn run(
    client: &mut Client,
    plan: &Plan,
    calibration: &Calibration,
    progress: &mut Progress,
) -> Measured {
    let mut measured = Measured {
        pairs: plan
            .pairs
            .iter()
            .map(|(pair, placement)| Pair {
                client_cpu: pair.client,
                server_cpu: pair.server,
                placement: *placement,
                trials: Vec::new(),
                error: None,
            })
            .collect(),
        errors: Vec::new(),
    };
    for pass in 0..plan.trials {
        for indices in order(plan.pairs.len(), pass).chunks(CELLS_AT_ONCE) {
            let (indices, failed): (Vec<usize>, Vec<usize>) =
                indices.iter().partition(|index| measured.pairs[**index].error.is_none());
            let bench = Bench {
                cells: indices.iter().map(|index| plan.cell(*index)).collect(),
                trials: 1,
                precision: None,
                plan: plan.trial,
            };
            let outcomes = bench::run(client, &bench, calibration, progress);
            (0..indices.len() + failed.len()).for_each(|_| progress.advance());
            for (index, outcome) in indices.into_iter().zip(outcomes) {
                let pair = &mut measured.pairs[index];
                pair.trials.extend(figures(&outcome));
                if let Some(error) = outcome.error {
                    pair.error = Some(error_chain(&error));
                    measured.errors.push(error);
                }
            }
            if measured.errors.last().is_some_and(is_the_end) {
                return measured;
            }
        }
    }
    measured
}

/// What the cell's trial tells, if there was one.
fn figures(outcome: &Outcome) -> Option<PairTrial> {
    let trial = outcome.trials.first()?;
    let latency = Latency::of(&trial.recorder.histogram);
    Some(PairTrial { rounds: trial.rounds, min_ns: latency.min?, p50_ns: latency.p50 })
}

/// Whether nothing can succeed after it.
fn is_the_end(error: &ClientError) -> bool {
    matches!(error, ClientError::Link(_) | ClientError::Stopping | ClientError::Unexpected(_))
}
