//! The plan of a benchmark: from the arguments to the cells, and whether each can be measured.

pub(crate) mod matrix;
pub(crate) mod selection;

use std::collections::BTreeSet;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, FromArgMatches};

use self::selection::{ALL, MethodOptions, Selected, label, select, skip};
use crate::client::Failure;
use crate::client::bench::{Bench, Cell, Precision};
use crate::client::host::CpuList;
use crate::client::host::placement::{CpuPair, Placement, Topology};
use crate::client::measure::{Plan, Stop, Timing, Warmup};
use crate::protocol::{ChannelSpec, MethodState, Refusal, Wait};
use crate::transports::{Pace, Settings};
use crate::units;

/// The length of a trial by default.
const TRIAL: Duration = Duration::from_millis(600);
/// How many of those a cell has by default.
const TRIALS: u32 = 5;
/// When --precision gives up by default.
const PRECISION_TIME: Duration = Duration::from_secs(60);
/// The fewest trials with --precision. Stopping as soon as the trials happen to agree yields intervals that contain the
/// true median less often than they claim: 86 to 94 % of the time if checked from the second trial on, 91 to 95 % from
/// the sixth ([`relative_half_width`](crate::client::stats::relative_half_width)).
const TRIALS_BEFORE_PRECISION: u32 = 6;

/// A placement in a list of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PlacementArg {
    /// Every placement that this host has.
    All,
    /// This one.
    One(Placement),
}

impl FromStr for PlacementArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "all" => Ok(Self::All),
            text => text.parse().map(Self::One).map_err(|error| format!("{error}, or all")),
        }
    }
}

/// How a trial's warm-up is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WarmupArg {
    /// By a number of rounds, which may be 0.
    Rounds(u64),
    /// By time.
    Time(Duration),
}

impl FromStr for WarmupArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match units::parse_count(text) {
            Ok(n) if n <= units::MAX_ROUNDS => Ok(Self::Rounds(n)),
            Ok(_) => Err(format!("a number of rounds up to {} (1000G) is needed", units::MAX_ROUNDS)),
            Err(_) => match units::parse_gap(text).or_else(|_| units::parse_duration(text)) {
                Ok(time) => Ok(Self::Time(time)),
                Err(why) => {
                    Err(format!("a number of rounds or a time is needed, such as 1000, 5k or 50ms: {why}"))
                }
            },
        }
    }
}

/// What to measure, and how long.
#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    /// Methods or groups: all, sockets, memory, pipes, queues, frameworks; "ipc-client methods" lists them [default: all].
    #[arg(id = "named", value_name = "METHOD", value_delimiter = ',')]
    pub named: Vec<String>,
    /// More methods or groups, separated by commas.
    #[arg(short, long = "method", value_name = "METHOD,...", value_delimiter = ',')]
    pub methods: Vec<String>,
    /// Rounds of a trial. One trial, unless --trials is given.
    #[arg(short = 'n', long, value_name = "N", value_parser = units::parse_rounds, conflicts_with = "duration", allow_negative_numbers = true)]
    pub rounds: Option<u64>,
    /// Time of a trial, such as 10s. One trial, unless --trials is given.
    #[arg(long, value_name = "TIME", value_parser = units::parse_duration)]
    pub duration: Option<Duration>,
    /// Trials of each cell, each with a fresh channel and a fresh responder [default: 5 of 600 ms; 1 with -n or
    /// --duration]. With --precision, the fewest.
    #[arg(long, value_name = "N", value_parser = units::parse_in_range(1, 10_000))]
    pub trials: Option<u32>,
    /// Warm-up before each trial, as a number of rounds (5M is five million) or a time (5m is five minutes) [default: a tenth of the trial: 20 to 500 ms, or with
    /// -n 100 to 100000 rounds in at most 100 ms].
    #[arg(long, value_name = "N|TIME")]
    pub warmup: Option<WarmupArg>,
    /// Run more trials until the half width of the median's 95 % confidence interval is at most this, such as 2%.
    #[arg(long, value_name = "PERCENT", value_parser = units::parse_percent)]
    pub precision: Option<f64>,
    /// When --precision gives up; six trials are run in any case, since fewer say too little [default: 60s].
    #[arg(long, value_name = "TIME", value_parser = units::parse_duration, requires = "precision")]
    pub max_time: Option<Duration>,

    /// Payload bytes each way, such as 8, 64, 4k, 1M (M is 1048576); several make a sweep.
    #[arg(long = "size", value_name = "BYTES,...", value_delimiter = ',', default_value = "8", value_parser = units::parse_size)]
    pub sizes: Vec<u32>,
    /// How both sides wait: block, spin, adaptive; several make a sweep [default: the method's own].
    #[arg(long = "wait", value_name = "WAIT,...", value_delimiter = ',')]
    pub waits: Vec<Wait>,
    /// Where the two sides run: unpinned, same-core, smt, cross-core, cross-socket, or "all" that this host has; several
    /// make a sweep.
    #[arg(
        long = "placement", value_name = "PLACEMENT,...", value_delimiter = ',',
        conflicts_with_all = ["client_cpu", "server_cpu"],
    )]
    pub placements: Vec<PlacementArg>,
    /// The CPU that the client runs on.
    #[arg(long, value_name = "CPU", value_parser = units::parse_cpu, allow_negative_numbers = true)]
    pub client_cpu: Option<u32>,
    /// The CPU that the responder runs on.
    #[arg(long, value_name = "CPU", value_parser = units::parse_cpu, allow_negative_numbers = true)]
    pub server_cpu: Option<u32>,

    /// Channels open at once, each with its own responder and client thread. The reported rate is that of all channels
    /// together; --rate applies to each.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = units::parse_in_range(1, 1000))]
    pub parallel: u32,

    /// Start rounds at a fixed rate, such as 10k/s, on each channel, and report latencies from the intended start beside
    /// service times; several make a sweep, which shows where the host cannot keep up.
    #[arg(
        long = "rate", value_name = "RATE,...", value_delimiter = ',', value_parser = units::parse_rate,
        conflicts_with = "gaps",
    )]
    pub rates: Vec<Duration>,
    /// Idle time before each round, such as 0, 10us, 1ms; several make a sweep.
    #[arg(long = "gap", value_name = "TIME,...", value_delimiter = ',', value_parser = units::parse_gap)]
    pub gaps: Vec<Duration>,
    /// What is timed: each round, batches of K rounds, or (auto) each round and, where rounds are fast, batches beside.
    #[arg(long, value_name = "round|batch:K|auto", default_value = "auto")]
    pub timing: Timing,
}

impl Default for PlanArgs {
    fn default() -> Self {
        let matches = Self::augment_args(clap::Command::new("plan")).get_matches_from(["plan"]);
        Self::from_arg_matches(&matches).expect("no argument is required")
    }
}

/// Where the two sides of a cell run.
struct Cpus {
    placement: Placement,
    client: Option<u32>,
    server: Option<u32>,
}

impl PlanArgs {
    /// The names of the methods, all if none is given.
    fn names(&self) -> Vec<String> {
        let names: Vec<_> = self.named.iter().chain(&self.methods).cloned().collect();
        if names.is_empty() { vec![ALL.to_owned()] } else { names }
    }

    /// Checks what can be checked without a daemon.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        if let (Timing::Batch(batch), Some(rounds)) = (self.timing, self.rounds)
            && rounds < u64::from(batch)
        {
            return Err(Failure::usage(format!(
                "--timing batch:{batch} needs trials of at least {batch} rounds, not {rounds}"
            )));
        }
        selection::meanings(&self.names()).map(drop).map_err(Failure::usage)
    }

    /// Makes the plan for a host whose daemon reports `states`, and that its responders may use the CPUs `server`. Cells that only a group has selected and that cannot be
    /// measured are skipped with a warning.
    ///
    /// # Errors
    /// A method, size, wait or placement that was named cannot be measured here, or nothing is left.
    pub(crate) fn plan(
        &self,
        options: &MethodOptions,
        states: &[MethodState],
        server: &CpuList,
    ) -> Result<Bench, Failure> {
        let selected = select(&self.names(), options, states)?;
        let cpus = self.cpus(server)?;
        let waits: Vec<Option<Wait>> = match &self.waits[..] {
            [] => vec![None],
            waits => waits.iter().copied().map(Some).collect(),
        };
        let paces: Vec<Option<Pace>> = match (&self.rates[..], &self.gaps[..]) {
            ([], []) => vec![None],
            (rates @ [_, ..], _) => rates.iter().map(|interval| Some(Pace::Every(*interval))).collect(),
            ([], gaps) => gaps.iter().map(|gap| (!gap.is_zero()).then_some(Pace::Gap(*gap))).collect(),
        };
        let mut seen = BTreeSet::new();
        let sizes: Vec<u32> = self.sizes.iter().copied().filter(|size| seen.insert(*size)).collect();

        let mut cells = Vec::new();
        for method in &selected {
            for (size, wait) in sizes.iter().flat_map(|size| waits.iter().map(move |wait| (*size, *wait))) {
                let spec = method.spec(size, wait);
                match Settings::check_for(&spec, method.state) {
                    Ok(settings) => cells.extend(cpus.iter().flat_map(|cpus| {
                        paces.iter().map(|pace| Cell {
                            spec: ChannelSpec { server_cpu: cpus.server, ..spec.clone() },
                            wait: settings.wait,
                            placement: cpus.placement,
                            client_cpu: cpus.client,
                            pace: *pace,
                            parallel: self.parallel,
                            optional: method.optional,
                        })
                    })),
                    Err(refusal) if method.optional => {
                        let label = label(&spec.method, &spec.options);
                        match refusal {
                            Refusal::Unfit { reason, .. } => {
                                skip(label, format_args!("it cannot do {reason}"))
                            }
                            other => skip(label, other),
                        }
                    }
                    Err(refusal) => {
                        let advice = what_fits(&spec, method, &sizes, &selected);
                        return Err(Failure { advice, ..Failure::unavailable(refusal) });
                    }
                }
            }
        }
        if cells.is_empty() {
            return Err(Failure::unavailable("nothing is left to measure"));
        }
        let max_time = self.max_time.unwrap_or(PRECISION_TIME);
        Ok(Bench {
            cells,
            trials: self.trials(),
            precision: self.precision.map(|fraction| Precision { fraction, max_time }),
            plan: self.trial(),
        })
    }

    fn trials(&self) -> u32 {
        let one = self.rounds.is_some() || self.duration.is_some();
        let trials = self.trials.unwrap_or(if one { 1 } else { TRIALS });
        if self.precision.is_some() { trials.max(TRIALS_BEFORE_PRECISION) } else { trials }
    }

    fn trial(&self) -> Plan {
        let stop = match self.rounds {
            Some(rounds) => Stop::Rounds(rounds),
            None => Stop::Time(self.duration.unwrap_or(TRIAL)),
        };
        let warmup = match (self.warmup, stop) {
            (Some(WarmupArg::Rounds(rounds)), _) => Warmup { rounds, time: Duration::MAX },
            (Some(WarmupArg::Time(time)), _) => Warmup { rounds: u64::MAX, time },
            // Enough for caches, branch predictors and a connection's window; the time limit is for slow rounds.
            (None, Stop::Rounds(rounds)) => {
                Warmup { rounds: (rounds / 10).clamp(100, 100_000), time: Duration::from_millis(100) }
            }
            (None, Stop::Time(time)) => Warmup {
                rounds: u64::MAX,
                time: (time / 10).clamp(Duration::from_millis(20), Duration::from_millis(500)),
            },
        };
        Plan { stop, warmup, timing: self.timing, pace: None, interval: None }
    }

    fn cpus(&self, server_allowed: &CpuList) -> Result<Vec<Cpus>, Failure> {
        let (client, server) = (self.client_cpu, self.server_cpu);
        if client.is_none() && server.is_none() && self.placements.is_empty() {
            return Ok(vec![Cpus { placement: Placement::Unpinned, client, server }]);
        }
        let topology = Topology::read().map_err(Failure::unavailable)?.with_responder(server_allowed);
        if self.placements.is_empty() {
            topology.check(client, server).map_err(Failure::unavailable)?;
            let placement = match (client, server) {
                (Some(client), Some(server)) => {
                    topology.classify(CpuPair { client, server }).map_err(Failure::unavailable)?
                }
                _ => Placement::Unpinned,
            };
            return Ok(vec![Cpus { placement, client, server }]);
        }
        let mut found = Vec::new();
        for named in &self.placements {
            let (wanted, optional) = match named {
                PlacementArg::All => (Placement::ALL.to_vec(), true),
                PlacementArg::One(placement) => (vec![*placement], false),
            };
            for placement in wanted {
                match topology.resolve(placement) {
                    Ok(pair) => found.push(Cpus {
                        placement,
                        client: pair.map(|pair| pair.client),
                        server: pair.map(|pair| pair.server),
                    }),
                    Err(error) if optional => skip(format_args!("placement {placement}"), error),
                    Err(error) => return Err(Failure::unavailable(error)),
                }
            }
        }
        Ok(found)
    }
}

/// Which of the requested sizes or methods would work, where this method with this size does not.
fn what_fits(
    spec: &ChannelSpec,
    method: &Selected<'_>,
    sizes: &[u32],
    selected: &[Selected<'_>],
) -> Option<String> {
    let fits = |method: &Selected<'_>, size| {
        Settings::check_for(&method.spec(size, spec.wait), method.state).is_ok()
    };
    let sizes: Vec<_> = sizes.iter().filter(|size| fits(method, **size)).map(u32::to_string).collect();
    if !sizes.is_empty() {
        return Some(format!("of the requested sizes, {} carries {}", spec.method, sizes.join(", ")));
    }
    let methods = selected.iter().filter(|method| fits(method, spec.size_bytes));
    let mut methods: Vec<_> = methods.map(|method| method.mechanism.info().name).collect();
    methods.dedup();
    (!methods.is_empty()).then(|| format!("of the requested methods, {} can do it", methods.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transports::states;

    #[test]
    fn no_argument_is_required() {
        assert_eq!(PlanArgs::default().sizes, [8]);
    }

    #[test]
    fn option_values_make_cells_of_the_methods_that_have_the_option() {
        let args = PlanArgs {
            methods: ["tcp", "udp"].map(str::to_owned).to_vec(),
            sizes: vec![8, 64],
            ..PlanArgs::default()
        };
        let mut states = states();
        states.iter_mut().for_each(|state| state.unavailable = None);
        let options = MethodOptions::named("nodelay", &["true", "false"]);
        let bench = args.plan(&options, &states, &CpuList::default()).unwrap();
        let cells = bench.cells.iter().map(|cell| {
            let spec = &cell.spec;
            (spec.method.as_str(), spec.options.get("nodelay").map(String::as_str), spec.size_bytes)
        });
        assert!(
            cells.eq([
                ("tcp", Some("true"), 8),
                ("tcp", Some("true"), 64),
                ("tcp", Some("false"), 8),
                ("tcp", Some("false"), 64),
                ("udp", None, 8),
                ("udp", None, 64),
            ]),
            "{:?}",
            bench.cells
        );
    }
}
