//! Runs a matrix: pass after pass over all pairs, few at a time.

use super::plan::Plan;
use super::progress::Progress;
use crate::client::bench::{self, Bench, order};
use crate::client::host::placement::CpuPair;
use crate::client::report::Latency;
use crate::client::report::matrix::Pair;
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
    let pair = |(cpus, placement): &(CpuPair, _)| Pair::new(cpus.client, cpus.server, *placement);
    let mut pairs: Vec<Pair> = plan.pairs.iter().map(pair).collect();
    let mut trials: Vec<Vec<Latency>> = vec![Vec::new(); pairs.len()];
    let mut errors = Vec::new();
    'run: for pass in 0..plan.trials {
        for indices in order(plan.pairs.len(), pass).chunks(CELLS_AT_ONCE) {
            let (indices, failed): (Vec<usize>, Vec<usize>) =
                indices.iter().partition(|index| pairs[**index].error.is_none());
            let bench = Bench {
                cells: indices.iter().map(|index| plan.cell(*index)).collect(),
                trials: 1,
                precision: None,
                plan: plan.trial,
            };
            let outcomes = bench::run(client, &bench, calibration, progress);
            (0..indices.len() + failed.len()).for_each(|_| progress.advance());
            for (index, outcome) in indices.into_iter().zip(outcomes) {
                let latencies = outcome.trials.iter().map(|trial| Latency::of(&trial.recorder.histogram));
                trials[index].extend(latencies.filter(|latency| latency.samples > 0));
                if let Some(error) = outcome.error {
                    pairs[index].error = Some(error_chain(&error));
                    errors.push(error);
                }
            }
            if errors.last().is_some_and(is_the_end) {
                break 'run;
            }
        }
    }
    let pairs = pairs.into_iter().zip(trials).map(|(pair, trials)| pair.with_trials(&trials)).collect();
    Measured { pairs, errors }
}

/// Whether nothing can succeed after it.
fn is_the_end(error: &ClientError) -> bool {
    matches!(error, ClientError::Link(_) | ClientError::Stopping | ClientError::Unexpected(_))
}
