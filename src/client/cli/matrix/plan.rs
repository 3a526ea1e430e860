//! What a matrix measures: a cell for every ordered pair of the CPUs that this process may use.

use std::collections::BTreeMap;
use std::time::Duration;

use super::MatrixArgs;
use crate::client::bench::Cell;
use crate::client::cli::Failure;
use crate::client::cli::choice::{self, Meaning};
use crate::client::host::placement::{CpuPair, Placement, Topology};
use crate::client::measure::{self, Stop, Timing, Warmup};
use crate::client::stats::MIN_SAMPLES_BEYOND;
use crate::protocol::{ChannelSpec, Wait};
use crate::transports::{Group, Mechanism, Settings};

/// What all trials together may take where nobody has set a length, if that leaves each the shortest one.
const ALL_TRIALS: Duration = Duration::from_secs(30);
const SHORTEST_TRIAL: Duration = Duration::from_millis(10);
const LONGEST_TRIAL: Duration = Duration::from_millis(200);

/// What opening and closing a channel takes, roughly: for the estimate only.
const CHANNEL: Duration = Duration::from_millis(5);

/// A median has so many samples at least.
const MIN_ROUNDS: u64 = 2 * MIN_SAMPLES_BEYOND;

/// What to measure.
pub(super) struct Plan {
    pub(super) mechanism: &'static dyn Mechanism,
    /// The channel, but for the responder's CPU.
    pub(super) spec: ChannelSpec,
    /// How either side will wait.
    pub(super) wait: Wait,
    pub(super) trials: u32,
    /// What a trial does.
    pub(super) trial: measure::Plan,
    /// Every ordered pair, and its placement if the host tells.
    pub(super) pairs: Vec<(CpuPair, Option<Placement>)>,
}

/// Makes the plan, whatever the daemon's side of the host can do.
pub(super) fn plan(
    args: &MatrixArgs,
    options: &BTreeMap<String, String>,
    topology: &Topology,
) -> Result<Plan, Failure> {
    let mechanism = match choice::meaning(&args.method).map_err(Failure::usage)? {
        Meaning::One(mechanism) => mechanism,
        Meaning::Several(_) => {
            return Err(Failure::usage(format!(
                "a matrix is of one method, and \"{}\" means several",
                args.method
            )));
        }
    };
    if mechanism.info().group == Group::Tool {
        return Err(Failure::usage(format!(
            "{} carries nothing from one CPU to another: a matrix of it would tell nothing",
            mechanism.info().name
        )));
    }
    if args.rounds.is_some_and(|rounds| rounds < MIN_ROUNDS) {
        return Err(Failure::usage(format!("a median takes {MIN_ROUNDS} rounds at least")));
    }
    let spec = ChannelSpec {
        method: mechanism.info().name.to_owned(),
        size_bytes: args.size,
        wait: args.wait,
        server_cpu: None,
        client_cpu: None,
        options: options.clone(),
    };
    let settings = Settings::check_for(&spec, None).map_err(Failure::unavailable)?;
    let cpus = topology.allowed();
    let pairs: Vec<_> = cpus
        .iter()
        .flat_map(|client| cpus.iter().map(move |server| CpuPair { client, server }))
        .map(|pair| (pair, topology.classify(pair).ok()))
        .collect();
    if pairs.is_empty() {
        return Err(Failure::unavailable("no allowed CPU is online"));
    }
    let trial = trial(args, pairs.len());
    Ok(Plan { mechanism, spec, wait: settings.wait, trials: args.trials, trial, pairs })
}

fn trial(args: &MatrixArgs, pairs: usize) -> measure::Plan {
    let trials = u32::try_from(pairs).unwrap_or(u32::MAX).saturating_mul(args.trials).max(1);
    let (stop, warmup) = match args.rounds {
        Some(rounds) => (
            Stop::Rounds(rounds),
            Warmup { rounds: (rounds / 10).clamp(10, 100_000), time: Duration::from_millis(100) },
        ),
        None => {
            let share = (ALL_TRIALS / trials).clamp(SHORTEST_TRIAL, LONGEST_TRIAL);
            let time = args.duration.unwrap_or(share);
            let warmup = (time / 10).clamp(Duration::from_millis(2), Duration::from_millis(500));
            (Stop::Time(time), Warmup { rounds: u64::MAX, time: warmup })
        }
    };
    // Only medians are told, on which the cost of timing each round shows as it does for `bench`.
    measure::Plan { stop, warmup, timing: Timing::Round, pace: None, interval: None }
}

impl Plan {
    /// What the run will take, roughly; nothing where rounds and not time end a trial.
    pub(super) fn estimate(&self) -> Duration {
        let Stop::Time(time) = self.trial.stop else { return Duration::ZERO };
        let trials = u32::try_from(self.pairs.len()).unwrap_or(u32::MAX).saturating_mul(self.trials);
        (time + self.trial.warmup.time + CHANNEL).saturating_mul(trials)
    }

    /// The cell of a pair.
    pub(super) fn cell(&self, index: usize) -> Cell {
        let (CpuPair { client, server }, placement) = self.pairs[index];
        Cell {
            spec: ChannelSpec { server_cpu: Some(server), ..self.spec.clone() },
            wait: self.wait,
            // Nobody reads it there: the matrix tells its own.
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

    use super::super::super::args::{Cli, Command, command, method_options};
    use super::*;
    use crate::transports::not_built;

    /// The plan for a host that tells nothing but how many CPUs there are.
    fn planned(line: &[&str], cpus: u32) -> Result<Plan, String> {
        let line = ["ipc-client", "matrix"].iter().chain(line);
        let matches = command().try_get_matches_from(line).unwrap();
        let Command::Matrix(args) = Cli::from_arg_matches(&matches).unwrap().command else {
            panic!("another command");
        };
        let topology = Topology::read_from(Path::new("/nonexistent"), (0..cpus).collect());
        plan(&args, &method_options(&matches).first(), &topology).map_err(|failure| failure.error.to_string())
    }

    #[test]
    fn every_ordered_pair_is_a_cell_pinned_on_both_sides() {
        let plan = planned(&["-m", "tcp", "--size", "64", "--nodelay", "false"], 3).unwrap();
        let cpus: Vec<_> = (0..9)
            .map(|index| plan.cell(index))
            .map(|cell| (cell.client_cpu, cell.spec.server_cpu))
            .collect();
        let pairs = (0..3).flat_map(|client| (0..3).map(move |server| (Some(client), Some(server))));
        assert_eq!(cpus, pairs.collect::<Vec<_>>());
        let cell = plan.cell(4);
        assert_eq!((cell.spec.size_bytes, cell.wait), (64, Wait::Block));
        assert_eq!(cell.spec.options["nodelay"], "false");
        assert_eq!(plan.pairs[1].1, None, "no guess where the host does not tell");
    }

    #[test]
    fn the_more_pairs_the_shorter_a_trial() {
        let time = |line: &[&str], cpus| planned(line, cpus).unwrap().trial.stop;
        assert_eq!(time(&[], 2), Stop::Time(LONGEST_TRIAL));
        assert_eq!(time(&[], 64), Stop::Time(SHORTEST_TRIAL));
        assert_eq!(time(&["--duration", "1s"], 64), Stop::Time(Duration::from_secs(1)));
        assert_eq!(time(&["-n", "100"], 64), Stop::Rounds(100));
        let minutes = planned(&[], 64).unwrap().estimate().as_secs() / 60;
        assert!((2..5).contains(&minutes), "{minutes} minutes for 64 CPUs");
    }

    #[test]
    fn what_cannot_be_a_matrix_is_refused_before_anything_runs() {
        for (line, told) in [
            (&["-m", "sockets"][..], "a matrix is of one method, and \"sockets\" means several"),
            (&["-n", "19"], "a median takes 20 rounds at least"),
            (
                &["-m", "shmem", "--nodelay", "true"],
                "shmem cannot do that: the option \"nodelay\", which it does not have",
            ),
        ] {
            assert_eq!(planned(line, 2).map(|_| ()).unwrap_err(), told);
        }
        assert!(planned(&["-m", "x"], 2).is_err_and(|told| told.contains("no method and no group \"x\"")));
        for name in not_built() {
            let told = planned(&["-m", name], 2).map(|_| ()).unwrap_err();
            assert!(told.contains(&format!("build it with --features {name}")), "{told}");
        }
        assert_eq!(planned(&[], 0).map(|_| ()).unwrap_err(), "no allowed CPU is online");
    }
}
