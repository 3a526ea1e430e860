//! The plan of a matrix: a cell for every ordered pair of the CPUs that both sides may use.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;

use super::selection::{Meaning, meaning};
use crate::client::Failure;
use crate::client::bench::Cell;
use crate::client::host::placement::{CpuPair, Placement, Topology};
use crate::client::measure::{self, Stop, Timing, Warmup};
use crate::client::stats::MIN_SAMPLES_BEYOND;
use crate::protocol::{ChannelSpec, Wait};
use crate::transports::{Group, Mechanism, Settings};
use crate::units;

/// The time for all trials together where --duration is not given, if that leaves each at least the shortest length.
const ALL_TRIALS: Duration = Duration::from_secs(30);
const SHORTEST_TRIAL: Duration = Duration::from_millis(10);
const LONGEST_TRIAL: Duration = Duration::from_millis(200);

/// What opening and closing a channel takes, roughly: for the estimate only.
const CHANNEL: Duration = Duration::from_millis(5);

/// A median needs this many samples.
const MIN_ROUNDS: u64 = 2 * MIN_SAMPLES_BEYOND;

/// What to measure for each pair, and how long.
#[derive(Debug, Args)]
pub(crate) struct MatrixPlanArgs {
    /// The method.
    #[arg(short, long, value_name = "METHOD", default_value = "shmem")]
    method: String,
    /// Rounds of a trial, at least 20.
    #[arg(short = 'n', long, value_name = "N", value_parser = units::parse_rounds, conflicts_with = "duration")]
    rounds: Option<u64>,
    /// Time of a trial, such as 100ms [default: 10ms to 200ms, less with more pairs].
    #[arg(long, value_name = "TIME", value_parser = units::parse_duration)]
    duration: Option<Duration>,
    /// Trials of each pair, each with a fresh channel and a fresh responder, one pass over all pairs after the other.
    #[arg(long, value_name = "N", default_value = "3", value_parser = units::parse_in_range(1, 10_000))]
    trials: u32,
    /// Payload bytes each way, such as 8, 64, 4k, 1M.
    #[arg(long, value_name = "BYTES", default_value = "8", value_parser = units::parse_size)]
    size: u32,
    /// How both sides wait: block, spin, adaptive [default: the method's own].
    #[arg(long, value_name = "WAIT")]
    wait: Option<Wait>,
}

/// What a matrix measures.
pub(crate) struct MatrixPlan {
    pub mechanism: &'static dyn Mechanism,
    /// The channel of every pair, except for the responder's CPU.
    pub spec: ChannelSpec,
    /// How both sides will wait.
    pub wait: Wait,
    pub trials: u32,
    /// What a trial does.
    pub trial: measure::Plan,
    /// Every ordered pair, and its placement if the host reports it.
    pub pairs: Vec<(CpuPair, Option<Placement>)>,
}

impl MatrixPlanArgs {
    /// Makes the plan, without regard to what the daemon's side of the host can do.
    pub(crate) fn plan(
        &self,
        options: &BTreeMap<String, String>,
        topology: &Topology,
    ) -> Result<MatrixPlan, Failure> {
        let Meaning::One(mechanism) = meaning(&self.method).map_err(Failure::usage)? else {
            let error = format!("a matrix is of one method, and \"{}\" means several", self.method);
            return Err(Failure::usage(error));
        };
        if mechanism.info().group == Group::Tool {
            return Err(Failure::usage(format!(
                "{} carries nothing from one CPU to another: its matrix would be meaningless",
                mechanism.info().name
            )));
        }
        if self.rounds.is_some_and(|rounds| rounds < MIN_ROUNDS) {
            return Err(Failure::usage(format!("a median needs at least {MIN_ROUNDS} rounds")));
        }
        let spec = ChannelSpec {
            size_bytes: self.size,
            wait: self.wait,
            options: options.clone(),
            ..ChannelSpec::new(mechanism.info().name)
        };
        let wait = Settings::check_for(&spec, None).map_err(Failure::unavailable)?.wait;
        let cpus = topology.common();
        let pairs: Vec<_> = cpus
            .iter()
            .flat_map(|client| cpus.iter().map(move |server| CpuPair { client, server }))
            .map(|pair| (pair, topology.classify(pair).ok()))
            .collect();
        if pairs.is_empty() {
            return Err(Failure::unavailable("no online CPU is allowed to both sides"));
        }
        let trial = self.trial(pairs.len());
        Ok(MatrixPlan { mechanism, spec, wait, trials: self.trials, trial, pairs })
    }

    fn trial(&self, pairs: usize) -> measure::Plan {
        let trials = u32::try_from(pairs).unwrap_or(u32::MAX).saturating_mul(self.trials).max(1);
        let (stop, warmup) = match self.rounds {
            Some(rounds) => (
                Stop::Rounds(rounds),
                Warmup { rounds: (rounds / 10).clamp(10, 100_000), time: Duration::from_millis(100) },
            ),
            None => {
                let share = (ALL_TRIALS / trials).clamp(SHORTEST_TRIAL, LONGEST_TRIAL);
                let time = self.duration.unwrap_or(share);
                let warmup = (time / 10).clamp(Duration::from_millis(2), Duration::from_millis(500));
                (Stop::Time(time), Warmup { rounds: u64::MAX, time: warmup })
            }
        };
        // Only medians are shown, which include the cost of timing each round, as in `bench`.
        measure::Plan { stop, warmup, timing: Timing::Round, pace: None, interval: None }
    }
}

impl MatrixPlan {
    /// How long the run will take, roughly; zero if a number of rounds ends a trial.
    pub(crate) fn estimate(&self) -> Duration {
        let Stop::Time(time) = self.trial.stop else { return Duration::ZERO };
        let trials = u32::try_from(self.pairs.len()).unwrap_or(u32::MAX).saturating_mul(self.trials);
        (time + self.trial.warmup.time + CHANNEL).saturating_mul(trials)
    }

    /// The cell of a pair.
    pub(crate) fn cell(&self, index: usize) -> Cell {
        let (CpuPair { client, server }, placement) = self.pairs[index];
        Cell {
            spec: ChannelSpec { server_cpu: Some(server), ..self.spec.clone() },
            wait: self.wait,
            // Not used: the matrix shows its own.
            placement: placement.unwrap_or(Placement::Unpinned),
            client_cpu: Some(client),
            pace: None,
            parallel: 1,
            optional: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::FromArgMatches;

    use super::*;
    use crate::transports::not_built;

    /// The plan for a host that reports nothing but its number of CPUs.
    fn planned(line: &[&str], options: &[(&str, &str)], cpus: u32) -> Result<MatrixPlan, String> {
        let command = MatrixPlanArgs::augment_args(clap::Command::new("matrix"));
        let matches = command.get_matches_from(["matrix"].iter().chain(line));
        let topology = Topology::read_from(Path::new("/nonexistent"), (0..cpus).collect());
        let options = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let args = MatrixPlanArgs::from_arg_matches(&matches).unwrap();
        args.plan(&options, &topology).map_err(|failure| failure.error.to_string())
    }

    fn error(line: &[&str], options: &[(&str, &str)], cpus: u32) -> String {
        planned(line, options, cpus).map(|_| ()).unwrap_err()
    }

    #[test]
    fn every_ordered_pair_is_a_cell_pinned_on_both_sides() {
        let plan = planned(&["-m", "tcp", "--size", "64"], &[("nodelay", "false")], 3).unwrap();
        let cpus: Vec<_> = (0..9)
            .map(|index| plan.cell(index))
            .map(|cell| (cell.client_cpu, cell.spec.server_cpu))
            .collect();
        let pairs = (0..3).flat_map(|client| (0..3).map(move |server| (Some(client), Some(server))));
        assert_eq!(cpus, pairs.collect::<Vec<_>>());
        let cell = plan.cell(4);
        assert_eq!((cell.spec.size_bytes, cell.wait), (64, Wait::Block));
        assert_eq!(cell.spec.options["nodelay"], "false");
        assert_eq!(plan.pairs[1].1, None, "no placement is guessed");
    }

    #[test]
    fn trials_are_shorter_with_more_pairs() {
        let time = |line: &[&str], cpus| planned(line, &[], cpus).unwrap().trial.stop;
        assert_eq!(time(&[], 2), Stop::Time(LONGEST_TRIAL));
        assert_eq!(time(&[], 64), Stop::Time(SHORTEST_TRIAL));
        assert_eq!(time(&["--duration", "1s"], 64), Stop::Time(Duration::from_secs(1)));
        assert_eq!(time(&["-n", "100"], 64), Stop::Rounds(100));
        let minutes = planned(&[], &[], 64).unwrap().estimate().as_secs() / 60;
        assert!((2..5).contains(&minutes), "{minutes} minutes for 64 CPUs");
    }

    #[test]
    fn an_impossible_matrix_is_refused_before_anything_runs() {
        assert_eq!(
            error(&["-m", "sockets"], &[], 2),
            "a matrix is of one method, and \"sockets\" means several"
        );
        assert_eq!(error(&["-n", "19"], &[], 2), "a median needs at least 20 rounds");
        let message = error(&["-m", "shmem"], &[("nodelay", "true")], 2);
        assert!(
            message.starts_with("shmem cannot do that: ") && message.contains("\"nodelay\""),
            "{message}"
        );
        assert!(error(&["-m", "x"], &[], 2).contains("\"x\""));
        for name in not_built() {
            let message = error(&["-m", name], &[], 2);
            assert!(message.contains(&format!("build it with --features {name}")), "{message}");
        }
        assert_eq!(error(&[], &[], 0), "no online CPU is allowed to both sides");
    }
}
