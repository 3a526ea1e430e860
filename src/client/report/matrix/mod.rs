//! The matrix of CPUs: the median round trip for every ordered pair of them, and its formats.

pub(crate) mod csv;
mod levels;
mod measured;
pub(crate) mod svg;
pub(crate) mod text;

use std::collections::BTreeMap;

pub(in crate::client) use levels::{COLOURS as HEAT, Levels, ONE_CPU};
pub(crate) use measured::Measured;

use super::Span;
use crate::client::host::placement::Placement;
use crate::client::stats::{median, median_interval};
use crate::protocol::Wait;
use crate::units::{latency, size};

/// What was measured for every ordered pair of CPUs.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Matrix {
    /// The mechanism.
    pub method: String,
    /// The mechanism's options that were named.
    pub options: BTreeMap<String, String>,
    /// Bytes carried each way in a round.
    pub size_bytes: u64,
    /// How either side waited.
    pub wait: Wait,
    /// Trials of each pair.
    pub trials: u32,
    /// The host, its CPUs and its kernel, as far as it tells them.
    pub host: String,
    /// The CPUs, in ascending order.
    pub cpus: Vec<u32>,
    /// Every ordered pair of them: all of the first client's CPU, then all of the next one's.
    pub pairs: Vec<Pair>,
}

/// What was measured for one client's and one responder's CPU.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Pair {
    /// Where the client ran.
    pub client_cpu: u32,
    /// Where the responder ran.
    pub server_cpu: u32,
    /// How far apart they are; `None` if the host does not tell.
    pub placement: Option<Placement>,
    /// What each completed trial told, in their order.
    pub trials: Vec<PairTrial>,
    /// What ended the pair's trials early.
    pub error: Option<String>,
}

/// What one trial of a pair tells. Its histogram is not kept: a host of 64 CPUs has 12,288 of them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct PairTrial {
    /// Rounds completed.
    pub rounds: u64,
    /// The shortest round trip.
    pub min_ns: f64,
    /// The median; `None` with fewer than ten samples beyond it.
    pub p50_ns: Option<f64>,
}

impl Pair {
    /// The median of the trials' medians.
    #[must_use]
    pub(crate) fn p50_ns(&self) -> Option<f64> {
        median(&self.medians())
    }

    /// Its 95 % confidence interval, over trials; none for a single trial.
    #[must_use]
    pub(crate) fn p50_95_ns(&self) -> Option<Span> {
        median_interval(&self.medians()).map(|interval| Span { low: interval.low, high: interval.high })
    }

    /// The shortest round trip of all trials.
    #[must_use]
    pub(crate) fn min_ns(&self) -> Option<f64> {
        self.trials.iter().map(|trial| trial.min_ns).reduce(f64::min)
    }

    /// Whether both sides took turns on one CPU.
    #[must_use]
    pub(crate) fn is_of_one_cpu(&self) -> bool {
        self.client_cpu == self.server_cpu
    }

    /// Rounds of all trials.
    #[must_use]
    pub(crate) fn rounds(&self) -> u64 {
        self.trials.iter().map(|trial| trial.rounds).sum()
    }

    fn medians(&self) -> Vec<f64> {
        self.trials.iter().filter_map(|trial| trial.p50_ns).collect()
    }

    /// All of it in a line.
    fn figures(&self) -> String {
        let Self { client_cpu, server_cpu, .. } = self;
        let mut told = format!("client on CPU {client_cpu}, responder on CPU {server_cpu}");
        if let Some(placement) = self.placement {
            told.push_str(&format!(" ({placement})"));
        }
        match self.p50_ns() {
            Some(p50) => told.push_str(&format!(": median {}", latency(p50))),
            None if self.error.is_none() => told.push_str(": too few rounds for a median"),
            None => {}
        }
        if let Some(Span { low, high }) = self.p50_95_ns() {
            told.push_str(&format!(", 95 % from {} to {}", latency(low), latency(high)));
        }
        if let Some(min) = self.min_ns() {
            told.push_str(&format!(", min {}; {} rounds", latency(min), self.rounds()));
        }
        if let Some(error) = &self.error {
            told.push_str(&format!("; failed: {error}"));
        }
        told
    }
}

impl Matrix {
    /// What was measured, in a line.
    fn title(&self) -> String {
        let options: String = self.options.iter().map(|(name, value)| format!(", {name}={value}")).collect();
        format!("Median round trip: {}, {}, {}{options}", self.method, size(self.size_bytes), self.wait)
    }

    /// How and on what it was measured, in a line.
    fn subtitle(&self) -> String {
        let trials = if self.trials == 1 { "1 trial" } else { &format!("{} trials", self.trials) };
        if self.host.is_empty() { trials.to_owned() } else { format!("{trials}; {}", self.host) }
    }

    /// The pairs of each client's CPU.
    fn rows(&self) -> impl Iterator<Item = (u32, &[Pair])> {
        // No CPUs, no pairs.
        self.cpus.iter().copied().zip(self.pairs.chunks(self.cpus.len().max(1)))
    }
}

/// Made-up matrices.
#[cfg(test)]
pub(super) mod fixture {
    use super::*;

    /// A matrix of these CPUs, each pair with three trials around its median.
    pub(in crate::client::report) fn matrix(
        cpus: &[u32],
        p50_ns: impl Fn(u32, u32) -> (Placement, f64),
    ) -> Matrix {
        let pair = |client_cpu, server_cpu| {
            let (placement, p50) = p50_ns(client_cpu, server_cpu);
            let trial = |factor: f64| PairTrial {
                rounds: 1000,
                min_ns: p50 * 0.9 * factor,
                p50_ns: Some(p50 * factor),
            };
            Pair {
                client_cpu,
                server_cpu,
                placement: Some(placement),
                trials: [1.0, 0.99, 1.02].map(trial).to_vec(),
                error: None,
            }
        };
        Matrix {
            method: "shmem".to_owned(),
            options: BTreeMap::new(),
            size_bytes: 8,
            wait: Wait::Adaptive,
            trials: 3,
            host: "lab <1>, CPUs & Sons 3000, Linux 6.12".to_owned(),
            cpus: cpus.to_vec(),
            pairs: cpus.iter().flat_map(|client| cpus.iter().map(|server| pair(*client, *server))).collect(),
        }
    }

    /// Two cores, one direction of which failed in its second trial.
    pub(in crate::client::report) fn two_cpus() -> Matrix {
        let mut matrix = matrix(&[0, 1], |client, server| match (client, server) {
            (0, 1) => (Placement::CrossCore, 214.0),
            (1, 0) => (Placement::CrossCore, 228.0),
            _ => (Placement::SameCore, 2_512.0),
        });
        matrix.pairs[2].trials.truncate(1);
        matrix.pairs[2].error = Some("the \"shmem\" channel broke off".to_owned());
        matrix
    }

    /// Two sockets of 32 CPUs each, numbered one after the other.
    pub(in crate::client::report) fn two_sockets() -> Matrix {
        let cpus: Vec<u32> = (0..64).collect();
        matrix(&cpus, |client, server| match (client, server) {
            (client, server) if client == server => (Placement::SameCore, 2_400.0),
            (client, server) if client / 32 != server / 32 => (Placement::CrossSocket, 420.0),
            (client, server) if client / 8 != server / 8 => (Placement::CrossCore, 210.0),
            _ => (Placement::CrossCore, 105.0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pairs_figures_are_those_over_its_trials() {
        let matrix = fixture::two_cpus();
        let pair = &matrix.pairs[1];
        assert_eq!((pair.p50_ns(), pair.rounds()), (Some(214.0), 3000));
        let span = pair.p50_95_ns().unwrap();
        assert!(span.low < 214.0 && span.high > 214.0, "{span:?}");
        assert!(
            pair.figures()
                .starts_with("client on CPU 0, responder on CPU 1 (cross-core): median 214 ns, 95 % from ")
        );
    }

    #[test]
    fn too_few_rounds_and_failures_are_told_instead_of_a_median() {
        let mut pair = fixture::two_cpus().pairs.remove(0);
        pair.trials.iter_mut().for_each(|trial| (trial.rounds, trial.p50_ns) = (3, None));
        assert!(pair.figures().contains("too few rounds for a median"), "{}", pair.figures());
        pair.trials.clear();
        pair.error = Some("no such CPU".to_owned());
        assert_eq!(pair.figures(), "client on CPU 0, responder on CPU 0 (same-core); failed: no such CPU");
    }
}
