//! What can make a result doubtful, and what to do about each.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Severity, limits};
use crate::client::stats::{Drift, Statistic};
use crate::units::latency;

/// Something that a reader should know before trusting a result. Shown, it says what was seen and what to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Warning {
    /// The cell's trials ended early, or have no rounds.
    BrokenOff {
        /// Rounds completed.
        rounds: u64,
    },
    /// The trials do not agree.
    NoisyHost {
        /// How far the trials' medians lie apart, as a fraction of their median.
        spread: f64,
        /// Whether both sides were pinned.
        pinned: bool,
    },
    /// Not pinned, and the latencies have two peaks.
    TwoModes {
        /// The faster peak.
        low_ns: f64,
        /// The slower peak.
        high_ns: f64,
        /// The share of the samples around the slower one.
        high_fraction: f64,
    },
    /// The latency went up or down over the run.
    Drifts {
        /// By how much, as a fraction of the median: [`Drift::of_start`] makes one of the start of it.
        change: f64,
    },
    /// Reading the clock is a large part of what was timed.
    ClockCost {
        /// What reading it adds to a sample.
        cost_ns: f64,
        /// As a fraction of the median.
        fraction: f64,
        /// Whether the report also has the mean of rounds without that cost.
        untimed_mean: bool,
        /// Whether it was left to `--timing auto` what is timed.
        #[serde(default)]
        auto: bool,
    },
    /// A quantile that a report shows cannot be told.
    TooFewSamples {
        /// The lowest such quantile.
        quantile: Statistic,
        /// Samples there are.
        samples: u64,
        /// Samples it takes.
        needed: u64,
    },
    /// One trial: how much the next one would differ is not known.
    SingleTrial,
    /// Both sides spin on one CPU.
    CpuShared {
        /// The CPU, where it is known.
        #[serde(skip_serializing_if = "Option::is_none")]
        cpu: Option<u32>,
        /// Why they share it.
        sharing: Sharing,
        /// Whether they stop spinning after a while.
        adaptive: bool,
    },
    /// The host has fewer CPUs than the mechanism keeps busy.
    TooFewCpus {
        /// CPUs that it keeps busy.
        wanted: usize,
        /// CPUs there are.
        cpus: usize,
    },
    /// Datagrams did not arrive.
    LostDatagrams {
        /// How many.
        lost: u64,
        /// As a fraction of all rounds.
        fraction: f64,
    },
    /// A round took so long that something was stopped.
    LongGap {
        /// The longest round, or block of rounds.
        max_ns: f64,
        /// How many rounds the block has, if it is one that was timed as a whole; 0 if it lay between two rounds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        block_rounds: Option<u64>,
    },
    /// The scheduler took the CPU from a side for something else.
    Preempted {
        /// How often in a round, on the side where it happened more.
        per_round: f64,
        /// How often in a second, on that side.
        per_second: f64,
    },
    /// The precision that was asked for was not reached in the time allowed.
    PrecisionMissed {
        /// Half of the interval's width as a fraction of the median, as asked for.
        wanted: f64,
        /// What was reached; `None` if too few trials were completed.
        #[serde(skip_serializing_if = "Option::is_none")]
        reached: Option<f64>,
    },
    /// The program was built without optimization.
    DebugBuild,
    /// The hypervisor ran something else.
    StealTime {
        /// For how much of the run, as a fraction of one CPU's time.
        cpus: f64,
    },
    /// The control group's quota was used up.
    Throttled {
        /// In how many periods.
        periods: u64,
        /// For how long, summed over CPUs.
        time_ns: u64,
    },
    /// The CPUs' frequency is not fixed.
    FrequencyScaling {
        /// Governors in use other than `performance`.
        governors: Vec<String>,
        /// How far the frequency of a CPU that took part moved from start to end, as a fraction, if that is much.
        #[serde(skip_serializing_if = "Option::is_none")]
        moved: Option<f64>,
    },
    /// The host slept.
    Suspended {
        /// For how long.
        time_ns: u64,
    },
    /// A setting of the host was changed while it was measured.
    EnvironmentChanged {
        /// What changed, as sentences.
        changes: Vec<String>,
    },
    /// Other processes ran.
    OtherLoad {
        /// On how many CPUs, on average.
        busy_cpus: f64,
        /// CPUs there are.
        cpus: usize,
        /// Whether too few are left for the two sides.
        competing: bool,
        /// Whether that is a count of processes that were ready to run before the run and after it, which was too short for
        /// CPU times.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        counted: bool,
    },
    /// A thing measured against itself showed a difference.
    SelfTestDiffers {
        /// The change seen where there is none.
        change: f64,
    },
}

/// Why both sides are on one CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sharing {
    /// They were pinned to it.
    Pinned,
    /// The scheduler put them there.
    Seen,
    /// They may use no other.
    OnlyOne,
}

impl Warning {
    /// How much it takes from the result.
    #[must_use]
    pub(crate) fn severity(&self) -> Severity {
        use Severity::{Doubtful, Fatal, Note, Severe, Slight};
        match self {
            Self::BrokenOff { .. } => Fatal,
            Self::NoisyHost { spread, .. } => limits::SPREAD.severity(*spread),
            Self::Drifts { .. }
            | Self::TwoModes { .. }
            | Self::PrecisionMissed { .. }
            | Self::Throttled { .. }
            | Self::SelfTestDiffers { .. } => Doubtful,
            Self::ClockCost { untimed_mean, .. } => {
                if *untimed_mean {
                    Slight
                } else {
                    Doubtful
                }
            }
            Self::TooFewSamples { quantile, .. } => match quantile {
                Statistic::P50 => Severe,
                Statistic::P90 | Statistic::P99 => Slight,
                _ => Note,
            },
            Self::SingleTrial => Note,
            // No figure holds it.
            Self::LongGap { block_rounds: Some(0), .. } => Slight,
            Self::LongGap { .. } => Doubtful,
            Self::CpuShared { adaptive, .. } => {
                if *adaptive {
                    Slight
                } else {
                    Severe
                }
            }
            Self::TooFewCpus { .. } => Severe,
            Self::LostDatagrams { fraction, .. } => limits::LOST.severity(*fraction),
            Self::Preempted { per_round, .. } => {
                if *per_round > limits::PREEMPTED_PER_ROUND {
                    Doubtful
                } else {
                    Slight
                }
            }
            Self::DebugBuild | Self::EnvironmentChanged { .. } | Self::Suspended { .. } => Severe,
            Self::StealTime { cpus } => limits::STEAL_CPUS.severity(*cpus),
            Self::FrequencyScaling { .. } => Slight,
            Self::OtherLoad { busy_cpus, competing: true, .. } => limits::COMPETING_CPUS.severity(*busy_cpus),
            Self::OtherLoad { .. } => Slight,
        }
    }

    /// What was seen.
    #[must_use]
    pub(crate) fn finding(&self) -> String {
        match self {
            Self::BrokenOff { rounds } => {
                format!("the trials ended early: {rounds} rounds were completed in whole trials")
            }
            Self::NoisyHost { spread, .. } => {
                format!("the medians of the trials lie {} apart", percent(*spread))
            }
            Self::TwoModes { low_ns, high_ns, high_fraction } => format!(
                "latencies gather around {} and, {} of them, around {}",
                latency(*low_ns),
                percent(*high_fraction),
                latency(*high_ns)
            ),
            Self::Drifts { change } => {
                let direction = if *change > 0.0 { "up" } else { "down" };
                let change = percent(Drift::of_start(*change).abs());
                format!("the latency went {direction} by {change} from the run's start to its end")
            }
            Self::ClockCost { cost_ns, fraction, .. } => {
                format!("reading the clock is {} of the median ({})", percent(*fraction), latency(*cost_ns))
            }
            Self::TooFewSamples { quantile, samples, needed } => {
                let noun = if *samples == 1 { "sample" } else { "samples" };
                format!("{samples} {noun} cannot tell {}, which takes {needed}", quantile.label())
            }
            Self::SingleTrial => "one trial carries no confidence interval".to_owned(),
            Self::CpuShared { cpu, sharing, .. } => {
                let cpu = cpu.map_or("one CPU".to_owned(), |cpu| format!("CPU {cpu}"));
                let why = match sharing {
                    Sharing::Pinned => "to which they are pinned",
                    Sharing::Seen => "where the scheduler put them",
                    Sharing::OnlyOne => "since this process may use no other",
                };
                format!("both sides wait by spinning, on {cpu}, {why}")
            }
            Self::TooFewCpus { wanted, cpus } => {
                let noun = if *cpus == 1 { "CPU" } else { "CPUs" };
                format!(
                    "the two sides and the kernel's threads for them keep {wanted} CPUs busy, and there are {cpus} {noun}"
                )
            }
            Self::LostDatagrams { lost, fraction } => {
                format!("datagrams lost: {lost} ({} of all rounds)", percent(*fraction))
            }
            Self::LongGap { max_ns, block_rounds: None } => format!("a round took {}", latency(*max_ns)),
            Self::LongGap { max_ns, block_rounds: Some(0) } => {
                format!("nothing was measured for {} between two rounds", latency(*max_ns))
            }
            Self::LongGap { max_ns, block_rounds: Some(rounds) } => {
                format!("a block of {rounds} rounds took {}", latency(*max_ns))
            }
            Self::Preempted { per_round, per_second } => format!(
                "a side lost its CPU to something else {per_second:.0} times a second, in {} of all rounds",
                percent(*per_round)
            ),
            Self::PrecisionMissed { wanted, reached } => {
                let reached = match reached {
                    Some(reached) => format!("the median is known to {}", percent(*reached)),
                    None => "too few trials were completed".to_owned(),
                };
                format!("the precision of {} was not reached within --max-time: {reached}", percent(*wanted))
            }
            Self::DebugBuild => "this is a debug build, whose own cost is a large part of a round".to_owned(),
            Self::StealTime { cpus } => {
                format!("the hypervisor took {} of a CPU's time for something else", percent(*cpus))
            }
            Self::Throttled { periods, time_ns } => format!(
                "the CPU quota stopped this process's control group in {periods} periods, for {} in all",
                latency(*time_ns as f64)
            ),
            Self::FrequencyScaling { governors, moved } => {
                let mut text = match &governors[..] {
                    [] => "the CPUs' frequency is not fixed".to_owned(),
                    names => format!("the CPUs' frequency is scaled by the governor {}", names.join(" and ")),
                };
                if let Some(moved) = moved {
                    text.push_str(&format!(", and moved by {} over the run", percent(*moved)));
                }
                text
            }
            Self::Suspended { time_ns } => {
                format!("the host was suspended for {} while it was measured", latency(*time_ns as f64))
            }
            Self::EnvironmentChanged { changes } => {
                format!("the host was changed while it was measured: {}", changes.join("; "))
            }
            Self::OtherLoad { busy_cpus, cpus, counted: true, .. } => format!(
                "before and after this short run, other processes were ready to run on {busy_cpus:.0} of {cpus} CPUs"
            ),
            Self::OtherLoad { busy_cpus, cpus, competing, .. } => {
                let left = if *competing { ", and the two sides had to share the rest" } else { "" };
                format!("other processes kept {busy_cpus:.1} of {cpus} CPUs busy{left}")
            }
            Self::SelfTestDiffers { change } => {
                format!("the same thing, measured against itself, differs by {}", percent(change.abs()))
            }
        }
    }

    /// What it means, where that is not plain, and what to do.
    #[must_use]
    pub(crate) fn advice(&self) -> &'static str {
        match self {
            Self::BrokenOff { .. } => "See the error, and measure again.",
            Self::NoisyHost { pinned: false, .. } => {
                "Something else used the host, or the scheduler moved the sides: pin both (--placement), end what \
                 else runs, or take more trials; \"ipc-client doctor\" tells what this host can show."
            }
            Self::NoisyHost { pinned: true, .. } => {
                "Something else used the host: end it, or take more trials; \"ipc-client doctor\" tells what this \
                 host can show."
            }
            Self::TwoModes { .. } => {
                "The scheduler moves the unpinned sides between CPUs: choose one of the two with --placement, or \
                 measure --placement all."
            }
            Self::Drifts { .. } => {
                "The host warmed up, changed its clock rate, or got other work: use a longer --warmup, fix the \
                 frequency, and measure again."
            }
            Self::ClockCost { untimed_mean: true, .. } => {
                "The quantiles contain it; the mean of rounds timed as a whole does not."
            }
            Self::ClockCost { untimed_mean: false, auto: true, .. } => {
                "Every figure contains it: use --timing batch:1000."
            }
            Self::ClockCost { untimed_mean: false, auto: false, .. } => {
                "Every figure contains it: use --timing auto or --timing batch:1000."
            }
            Self::TooFewSamples { .. } => "Run more rounds (-n) or longer (--duration).",
            Self::SingleTrial => "How much the next one would differ is not known: use --trials 5 or more.",
            Self::CpuShared { sharing: Sharing::OnlyOne, .. } => {
                "They only hinder each other: use --wait block, or allow a second CPU (taskset, cpuset)."
            }
            Self::CpuShared { .. } => {
                "They only hinder each other: use --wait block, or two CPUs (--placement cross-core)."
            }
            Self::TooFewCpus { .. } => {
                "They take CPUs from each other for whole time slices: measure on a host with more, or without the option \
                 that asks for those threads (\"ipc-client explain METHOD\")."
            }
            Self::LostDatagrams { .. } => {
                "Quantiles leave them out. Send smaller or fewer ones (--size, --rate), or raise \
                 net.core.rmem_max and rmem_default."
            }
            Self::LongGap { block_rounds: Some(0), .. } => {
                "The host or a process was stopped for so long (suspended, paused, swapped out), or nobody took what it \
                 told; no figure holds it."
            }
            Self::LongGap { .. } => {
                "The host or a process was stopped for so long (suspended, paused, swapped out): look into the \
                 system's log, and measure again."
            }
            Self::Preempted { .. } => "End what else runs, or pin to isolated CPUs (isolcpus=).",
            Self::PrecisionMissed { .. } => {
                "Allow more time, quiet the host (\"ipc-client doctor\"), or ask for less."
            }
            Self::DebugBuild => "Build with --release.",
            Self::StealTime { .. } => "Use a host with CPUs of its own, or measure at a quieter hour.",
            Self::Throttled { .. } => {
                "Raise the quota (cpu.max, docker --cpus, a pod's CPU limit) above 2 CPUs."
            }
            Self::FrequencyScaling { .. } => {
                "Use the governor performance (cpupower frequency-set -g performance), and switch turbo off to \
                 compare runs."
            }
            Self::Suspended { .. } => {
                "A round that it fell into may have taken that long, or seem to have taken no time, and times at a fixed \
                 rate count it; measure again, and keep the host awake (systemd-inhibit)."
            }
            Self::EnvironmentChanged { .. } => "Find out by what, and measure again.",
            Self::OtherLoad { competing: true, .. } => "End them, or wait until they have ended.",
            Self::OtherLoad { .. } => {
                "They share caches, memory and turbo with the two sides: end them to compare runs."
            }
            Self::SelfTestDiffers { .. } => {
                "By chance that happens in one test of twenty; if it stays, trust no difference of that size."
            }
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}. {}", self.finding(), self.advice())
    }
}

/// A fraction, in percent.
pub(crate) fn percent(fraction: f64) -> String {
    match fraction * 100.0 {
        0.0 => "0 %".to_owned(),
        percent if percent < 0.005 => "less than 0.01 %".to_owned(),
        percent if percent < 0.095 => format!("{percent:.2} %"),
        percent if percent < 9.95 => format!("{percent:.1} %"),
        percent if percent < 9_999.5 => format!("{percent:.0} %"),
        _ => ">9999 %".to_owned(),
    }
}
