//! Findings: every warning about a result or a host with its severity, its text and its advice, and the limits above
//! which it is given, each with its reason.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::client::stats::{Drift, Statistic};
use crate::units::{latency, percent, rate, three_digits, time_unit};

/// How much a warning affects a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Severity {
    /// Information; no figure shown is affected.
    Note,
    /// The figures hold; a quieter host or another plan would narrow them.
    Slight,
    /// Some figures may be off by more than their intervals say.
    Doubtful,
    /// Something other than the mechanism determined the figures.
    Severe,
    /// No result.
    Fatal,
}

impl Severity {
    /// The word that a line of the warning begins with.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Slight => "slight",
            Self::Doubtful => "doubtful",
            Self::Severe => "severe",
            Self::Fatal => "failed",
        }
    }
}

/// Something to know before trusting a result, about the result itself or about the host. It has a severity, a finding
/// in one line, and advice.
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
        /// The range of the trials' medians, as a fraction of their median.
        spread: f64,
        /// Whether both sides were pinned.
        pinned: bool,
    },
    /// The fixed rate was not reached.
    RateMissed {
        /// Rounds a second that were requested.
        requested_hz: f64,
        /// Those that were reached.
        achieved_hz: f64,
    },
    /// The trials are in two groups: the host was in one of two states.
    TwoStates {
        /// The median of the faster trials.
        low_ns: f64,
        /// The median of the slower trials.
        high_ns: f64,
        /// How many those are.
        high_trials: usize,
        /// All trials.
        trials: usize,
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
    /// The latency rose or fell, within each trial or over the run.
    Drifts {
        /// By how much, as a fraction of the median; [`Drift::of_start`] converts it to a fraction of the start.
        change: f64,
        /// Whether it did so in each trial.
        #[serde(default)]
        within_trials: bool,
    },
    /// Reading the clock takes a large part of the time measured.
    ClockCost {
        /// What it adds to a sample.
        cost_ns: f64,
        /// As a fraction of the median.
        fraction: f64,
        /// Whether the report also has the mean of rounds without that cost.
        untimed_mean: bool,
        /// Whether `--timing auto` was in force.
        #[serde(default)]
        auto: bool,
    },
    /// A quantile that reports show needs more samples.
    TooFewSamples {
        /// The lowest such quantile.
        quantile: Statistic,
        /// Samples taken.
        samples: u64,
        /// Samples it needs.
        needed: u64,
    },
    /// One trial: how much another would differ is unknown.
    SingleTrial,
    /// Trials that are too few or too different to say much about the median.
    WideInterval {
        /// Half of its 95 % confidence interval, as a fraction.
        half_width: f64,
    },
    /// Both sides spin on one CPU.
    CpuShared {
        /// The CPU, if known.
        #[serde(skip_serializing_if = "Option::is_none")]
        cpu: Option<u32>,
        /// Why they share it.
        sharing: Sharing,
        /// Whether they stop spinning after a while.
        adaptive: bool,
    },
    /// The host has fewer CPUs than the mechanism keeps busy.
    TooFewCpus {
        /// CPUs that the mechanism keeps busy.
        wanted: usize,
        /// CPUs online.
        cpus: usize,
    },
    /// Datagrams were lost.
    LostDatagrams {
        /// How many.
        lost: u64,
        /// As a fraction of all rounds.
        fraction: f64,
    },
    /// A round took so long that the host or a process must have been stopped.
    LongGap {
        /// The longest round, or block of rounds.
        max_ns: f64,
        /// The rounds of the block, if it was timed as a whole; 0 for a gap between two rounds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        block_rounds: Option<u64>,
    },
    /// The scheduler preempted a side.
    Preempted {
        /// How often per round, on the side where it happened more.
        per_round: f64,
        /// How often per second, on that side.
        per_second: f64,
    },
    /// The requested precision was not reached in the time allowed.
    PrecisionMissed {
        /// The requested half-width of the median's interval, as a fraction of the median.
        wanted: f64,
        /// The half-width reached; `None` if too few trials were completed.
        #[serde(skip_serializing_if = "Option::is_none")]
        reached: Option<f64>,
    },
    /// A large part of the latency is the time that a sleeping CPU takes to wake up.
    IdleWakeUp {
        /// What the wake-ups of both sides take in a round trip on this host.
        wake_up_ns: f64,
        /// The median latency.
        median_ns: f64,
    },
    /// The program was built without optimization.
    DebugBuild,
    /// The hypervisor ran something else.
    StealTime {
        /// The share of one CPU's time that it took.
        cpus: f64,
    },
    /// The control group used up its CPU quota.
    Throttled {
        /// The periods in which it was throttled.
        periods: u64,
        /// For how long, summed over CPUs.
        time_ns: u64,
        /// Whether it is that of the responders of a daemon that is not private.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        responder: bool,
    },
    /// The CPUs' frequency is not fixed.
    FrequencyScaling {
        /// Governors in use other than `performance`.
        governors: Vec<String>,
        /// How far the frequency of a CPU in use changed from start to end, as a fraction, if it changed much.
        #[serde(skip_serializing_if = "Option::is_none")]
        moved: Option<f64>,
    },
    /// The host was suspended.
    Suspended {
        /// For how long.
        time_ns: u64,
    },
    /// A setting of the host changed during the run.
    EnvironmentChanged {
        /// What changed, as sentences.
        changes: Vec<String>,
    },
    /// Other processes ran.
    OtherLoad {
        /// On how many CPUs, on average.
        busy_cpus: f64,
        /// CPUs online.
        cpus: usize,
        /// Whether they left too few for the two sides.
        competing: bool,
        /// Whether `busy_cpus` counts processes ready to run before and after a run that was too short for CPU times.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        counted: bool,
    },
    /// A cell measured against itself showed a difference.
    SelfTestDiffers {
        /// The change observed where there is none.
        change: f64,
    },
    /// The host allows this process at most one CPU.
    OneCpu {
        /// The number of allowed CPUs: 0 or 1.
        allowed: usize,
        /// CPUs online.
        cpus: usize,
        /// Whether it is that of the responders of a daemon that is not private.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        responder: bool,
    },
    /// No CPUs are isolated from the scheduler.
    NoIsolatedCpus,
    /// The control group's CPU quota is below two CPUs or was used up.
    CpuQuota {
        /// The quota.
        cpus: f64,
        /// The periods in which it was used up.
        periods: u64,
        /// Whether it is that of the responders of a daemon that is not private.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        responder: bool,
    },
    /// The host is a guest of a hypervisor.
    Virtualized {
        /// The hypervisor's name, if known.
        hypervisor: Option<String>,
    },
    /// Turbo frequencies are allowed.
    Turbo,
    /// Idle CPUs enter deep idle states.
    IdleStates {
        /// The cpuidle driver, and its governor if known.
        driver: String,
    },
    /// Cores run several threads at once.
    Smt,
    /// Reading the kernel's clock takes a system call.
    SlowClockSource {
        /// The clock source.
        name: String,
    },
    /// Reading the clock takes long.
    SlowClock {
        /// The cost of a reading.
        cost_ns: f64,
    },
    /// The kernel merges pages into huge ones unasked.
    HugePages,
}

/// Why both sides are on one CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sharing {
    /// Both are pinned to it.
    Pinned,
    /// The scheduler placed them there.
    Seen,
    /// They may use no other.
    OnlyOne,
}

impl Warning {
    /// How much it affects the result.
    pub(crate) fn severity(&self) -> Severity {
        self.describe().0
    }

    /// What was found.
    pub(crate) fn finding(&self) -> String {
        self.describe().1
    }

    /// What it means, where that is not obvious, and what to do.
    pub(crate) fn advice(&self) -> &'static str {
        self.describe().2
    }

    /// How bad it is among those of one kind and severity: more is worse.
    pub(crate) fn magnitude(&self) -> f64 {
        match self {
            Self::NoisyHost { spread, .. } => *spread,
            Self::TwoModes { low_ns, high_ns, .. } | Self::TwoStates { low_ns, high_ns, .. } => {
                high_ns / low_ns
            }
            Self::Drifts { change, .. } | Self::SelfTestDiffers { change } => change.abs(),
            Self::WideInterval { half_width } => *half_width,
            Self::RateMissed { requested_hz, achieved_hz } => requested_hz / achieved_hz,
            Self::ClockCost { fraction, .. } | Self::LostDatagrams { fraction, .. } => *fraction,
            Self::TooFewSamples { needed, samples, .. } => *needed as f64 / (*samples).max(1) as f64,
            Self::LongGap { max_ns, .. } => *max_ns,
            Self::Preempted { per_second, .. } => *per_second,
            Self::PrecisionMissed { reached, .. } => reached.unwrap_or(f64::INFINITY),
            Self::IdleWakeUp { wake_up_ns, median_ns } => wake_up_ns / median_ns,
            _ => 0.0,
        }
    }

    /// How much of a cell's latency wakes an idle CPU, if the warning is about that.
    pub(crate) fn wake_up(&self) -> Option<String> {
        let Self::IdleWakeUp { wake_up_ns, median_ns } = self else { return None };
        let (unit_ns, unit) = time_unit(*median_ns);
        let share = match three_digits(wake_up_ns / unit_ns) {
            _ if wake_up_ns >= median_ns => "nearly all".to_owned(),
            share => format!("about {share}"),
        };
        Some(format!("{share} of {} {unit} wakes an idle CPU", three_digits(median_ns / unit_ns)))
    }

    fn describe(&self) -> (Severity, String, &'static str) {
        use Severity::{Doubtful, Fatal, Note, Severe, Slight};
        match self {
            Self::BrokenOff { rounds } => (
                Fatal,
                format!("the trials ended early: {rounds} rounds were completed in whole trials"),
                "See the error, and measure again.",
            ),
            Self::NoisyHost { spread, pinned } => (
                SPREAD.severity(*spread),
                format!("the trials' medians are up to {} apart", percent(*spread)),
                match pinned {
                    true => {
                        "The host has other load: stop it, or take more trials. \"ipc-client doctor\" checks the host."
                    }
                    false => {
                        "The host has other load, or the scheduler moved the sides: pin both (--placement), stop the \
                         load, or take more trials. \"ipc-client doctor\" checks the host."
                    }
                },
            ),
            Self::RateMissed { requested_hz, achieved_hz } => (
                Severe,
                format!("rate not reached: {} of {}", rate(*achieved_hz), rate(*requested_hz)),
                "Response times grow as long as such a trial lasts and are not shown: request less (--rate), or use \
                 --parallel.",
            ),
            Self::TwoStates { low_ns, high_ns, high_trials, trials } => (
                if high_ns / low_ns > STATES_FAR_APART { Severe } else { Doubtful },
                format!(
                    "two states: {} of {trials} trials near {}, {high_trials} near {}",
                    trials - high_trials,
                    latency(*low_ns),
                    latency(*high_ns)
                ),
                "The figure is that of the state that most trials met (where the hypervisor puts a CPU, the CPU \
                 frequency): pin both sides, stop other load, and measure again.",
            ),
            Self::TwoModes { low_ns, high_ns, high_fraction } => (
                Doubtful,
                format!(
                    "two peaks: near {} ({}), near {} ({})",
                    latency(*low_ns),
                    percent(1.0 - high_fraction),
                    latency(*high_ns),
                    percent(*high_fraction)
                ),
                "The scheduler moves the unpinned sides between CPUs: choose one of the two cases with --placement, \
                 or measure --placement all.",
            ),
            Self::Drifts { change, within_trials } => {
                let direction = if *change > 0.0 { "rose" } else { "fell" };
                let change = percent(Drift::of_start(*change).abs());
                let (course, advice) = match within_trials {
                    true => ("of each trial", "The warm-up is too short: use a longer --warmup."),
                    false => (
                        "of the run",
                        "The host warmed up, changed its clock rate, or got other load: fix the CPU frequency, and \
                         measure again.",
                    ),
                };
                (
                    Doubtful,
                    format!("the latency {direction} by {change} from the start {course} to its end"),
                    advice,
                )
            }
            Self::ClockCost { cost_ns, fraction, untimed_mean, auto } => (
                if *untimed_mean { Slight } else { Doubtful },
                format!(
                    "reading the clock takes {}, {} of the median",
                    latency(*cost_ns),
                    percent(*fraction)
                ),
                match (untimed_mean, auto) {
                    (true, _) => "The quantiles include it; the mean of rounds timed in blocks does not.",
                    (false, true) => "All figures include it: use --timing batch:1000.",
                    (false, false) => "All figures include it: use --timing auto or --timing batch:1000.",
                },
            ),
            Self::TooFewSamples { quantile, samples, needed } => (
                match quantile {
                    Statistic::P50 => Severe,
                    Statistic::P90 | Statistic::P99 => Slight,
                    _ => Note,
                },
                format!("{} needs {needed} samples (have {samples})", quantile.label()),
                "Run more rounds (-n) or longer (--duration).",
            ),
            Self::SingleTrial => {
                (Slight, "no confidence interval: only one trial".to_owned(), "Use --trials 5 or more.")
            }
            Self::WideInterval { half_width } => (
                HALF_WIDTH.severity(*half_width),
                format!("the median is known to ±{}", percent(*half_width)),
                "Use --trials 5 or more, or a quieter host.",
            ),
            Self::CpuShared { cpu, sharing, adaptive } => {
                let cpu = cpu.map_or("one CPU".to_owned(), |cpu| format!("CPU {cpu}"));
                let (why, advice) = match sharing {
                    Sharing::Pinned => ("to which both are pinned", SPIN_ON_TWO),
                    Sharing::Seen => ("where the scheduler put them", SPIN_ON_TWO),
                    Sharing::OnlyOne => ("the only one that this process may use", ALLOW_A_SECOND_CPU),
                };
                (
                    // Adaptive sides block there.
                    if *adaptive { Note } else { Severe },
                    format!("both sides wait by spinning on {cpu}, {why}"),
                    advice,
                )
            }
            Self::TooFewCpus { wanted, cpus } => (
                Severe,
                format!(
                    "the two sides and their kernel threads keep {wanted} CPUs busy, and this host has {cpus}"
                ),
                "They preempt each other for whole time slices: measure on a host with more CPUs, or without the \
                 option that starts those threads (\"ipc-client explain METHOD\").",
            ),
            Self::LostDatagrams { lost, fraction } => (
                LOST.severity(*fraction),
                format!("datagrams lost: {lost} ({} of all rounds)", percent(*fraction)),
                "Quantiles leave them out. Reduce --size or --rate, or raise net.core.rmem_max and rmem_default.",
            ),
            Self::LongGap { max_ns, block_rounds: Some(0) } => (
                // No figure includes it.
                Slight,
                format!("nothing was measured for {} between two rounds", latency(*max_ns)),
                "The host or a process was stopped (suspended, paused, swapped out), or the output was not read; no \
                 figure includes it.",
            ),
            Self::LongGap { max_ns, block_rounds } => (
                Doubtful,
                match block_rounds {
                    Some(rounds) => format!("a block of {rounds} rounds took {}", latency(*max_ns)),
                    None => format!("a round took {}", latency(*max_ns)),
                },
                "The host or a process was stopped (suspended, paused, swapped out): check the system log, and \
                 measure again.",
            ),
            Self::Preempted { per_round, per_second } => (
                if *per_round > PREEMPTED_PER_ROUND { Doubtful } else { Slight },
                format!(
                    "a side was preempted {per_second:.0} times a second, in {} of all rounds",
                    percent(*per_round)
                ),
                "Stop other load, or pin to isolated CPUs (isolcpus=).",
            ),
            Self::PrecisionMissed { wanted, reached } => {
                let reached = match reached {
                    Some(reached) => format!("the median is known to {}", percent(*reached)),
                    None => "too few trials were completed".to_owned(),
                };
                (
                    Doubtful,
                    format!("precision {} not reached within --max-time: {reached}", percent(*wanted)),
                    "Allow more time, stop other load (\"ipc-client doctor\"), or request less precision.",
                )
            }
            Self::IdleWakeUp { .. } => (
                Slight,
                format!("{}: --wait spin measures the mechanism alone", self.wake_up().unwrap_or_default()),
                "Both CPUs go to sleep while they wait. A program that blocks pays for that too, on a host with as little \
                 load; boot with idle=poll, or keep the CPUs busy, to pay less.",
            ),
            Self::DebugBuild => (
                Severe,
                "this is a debug build, whose overhead is a large part of what was measured".to_owned(),
                "Build with --release.",
            ),
            Self::StealTime { cpus } => (
                STEAL_CPUS.severity(*cpus),
                format!("the hypervisor took {} of a CPU's time", percent(*cpus)),
                "Use a host with dedicated CPUs, or measure at a quieter time.",
            ),
            Self::Throttled { periods, time_ns, responder } => (
                Doubtful,
                format!(
                    "the CPU quota throttled {} control group in {periods} periods, for {} in total",
                    if *responder { "the daemon's" } else { "this process's" },
                    latency(*time_ns as f64)
                ),
                "Raise the quota (cpu.max, CPUQuota=, docker --cpus, a pod's CPU limit) above 2 CPUs.",
            ),
            Self::FrequencyScaling { governors, moved } => {
                let mut text = "the CPU frequency is not fixed".to_owned();
                if !governors.is_empty() {
                    text.push_str(&format!(" (governor {})", governors.join(" and ")));
                }
                if let Some(moved) = moved {
                    text.push_str(&format!(", and changed by {} over the run", percent(*moved)));
                }
                (
                    Slight,
                    text,
                    "Use the governor performance (cpupower frequency-set -g performance), and disable turbo to \
                     compare runs.",
                )
            }
            Self::Suspended { time_ns } => (
                Severe,
                format!("the host was suspended for {} during the run", latency(*time_ns as f64)),
                "The round it interrupted may include that time or lack it, and at a fixed rate it counts as delay: \
                 measure again, and keep the host awake (systemd-inhibit).",
            ),
            Self::EnvironmentChanged { changes } => (
                Severe,
                format!("the host changed during the run: {}", changes.join("; ")),
                "Find the cause, and measure again.",
            ),
            Self::OtherLoad { busy_cpus, cpus, competing, counted } => {
                let left = if *competing { ", leaving fewer than two for the two sides" } else { "" };
                (
                    if *competing { COMPETING_CPUS.severity(*busy_cpus) } else { Slight },
                    match counted {
                        true => format!(
                            "before and after this short run, other processes were ready to run on {busy_cpus:.0} of \
                             {cpus} CPUs"
                        ),
                        false => format!("other processes kept {busy_cpus:.1} of {cpus} CPUs busy{left}"),
                    },
                    match competing {
                        true => "Stop them, or wait until they have finished.",
                        false => {
                            "They share caches, memory and turbo with the two sides: stop them to compare runs."
                        }
                    },
                )
            }
            Self::SelfTestDiffers { change } => (
                Doubtful,
                format!("the same cell measured twice differs by {}", percent(change.abs())),
                "That happens by chance in one self-test of twenty; if it persists, do not trust differences of \
                 that size.",
            ),
            Self::OneCpu { allowed, cpus, responder } => {
                (Slight, format!("{}only {allowed} of {cpus} CPUs", side(*responder)), ALLOW_A_SECOND_CPU)
            }
            Self::NoIsolatedCpus => (
                Slight,
                "no CPU is isolated".to_owned(),
                "Other tasks and the timer tick may interrupt rounds on every CPU: for the shortest tail, boot with \
                 isolcpus= and nohz_full=, and use these CPUs with --client-cpu and --server-cpu.",
            ),
            Self::CpuQuota { cpus, periods, responder } => (
                Slight,
                match periods {
                    0 => format!("{}{cpus} CPUs", side(*responder)),
                    _ => format!("{}{cpus} CPUs, used up in {periods} periods so far", side(*responder)),
                },
                "A used-up quota stops both sides for about 10 ms, and two spinning sides need 2 CPUs: raise it \
                 (cpu.max, CPUQuota=, docker --cpus, a pod's CPU limit), or use --wait block.",
            ),
            Self::Virtualized { hypervisor } => (
                Slight,
                format!("a guest of {}", hypervisor.as_deref().unwrap_or("an unknown hypervisor")),
                "Waking an idle CPU of a guest takes tens of microseconds, and load from neighbours is invisible: \
                 compare only with results from guests of the same kind.",
            ),
            Self::Turbo => (
                Slight,
                "turbo is on".to_owned(),
                "The frequency depends on temperature and on the load of other cores. To compare runs, disable it: \
                 write 1 to /sys/devices/system/cpu/intel_pstate/no_turbo, or 0 to \
                 /sys/devices/system/cpu/cpufreq/boost.",
            ),
            Self::IdleStates { driver } => (
                Slight,
                format!("idle CPUs sleep ({driver})"),
                "Waking a CPU can take longer than the mechanism. To measure the mechanism alone, use --wait spin or \
                 --placement same-core, or boot with idle=poll.",
            ),
            Self::Smt => (
                Slight,
                "SMT is on".to_owned(),
                "Load on a core's other thread slows a side down unnoticed: keep the siblings of the CPUs in use \
                 idle, or disable SMT (write off to /sys/devices/system/cpu/smt/control).",
            ),
            Self::SlowClockSource { name } => (
                Slight,
                format!("reading {name} takes a system call"),
                "This affects every program on this host: find out why the kernel rejected the TSC \
                 (dmesg | grep -i clocksource).",
            ),
            Self::SlowClock { cost_ns } => (
                Slight,
                format!("{} per reading", latency(*cost_ns)),
                "Use --timing batch:1000 for fast mechanisms, and see the clock source.",
            ),
            Self::HugePages => (
                Slight,
                "always on".to_owned(),
                "The kernel occasionally stops a process to merge its pages: write madvise to \
                 /sys/kernel/mm/transparent_hugepage/enabled.",
            ),
        }
    }
}

const SPIN_ON_TWO: &str = "They delay each other: use --wait block, or two CPUs (--placement cross-core).";
/// The start of a finding about the daemon's side of the host.
fn side(responder: bool) -> &'static str {
    if responder { "the daemon: " } else { "" }
}

const ALLOW_A_SECOND_CPU: &str =
    "Both sides delay each other there: use --wait block, or allow a second CPU (taskset, cpuset).";

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (_, finding, advice) = self.describe();
        write!(f, "{finding}. {advice}")
    }
}

/// The limits above which a figure is slight, doubtful or severe.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    slight: f64,
    doubtful: f64,
    severe: f64,
}

impl Limits {
    /// Whether the figure deserves a warning.
    pub(super) fn exceeded(self, figure: f64) -> bool {
        figure > self.slight
    }

    /// The severity of a figure above the first limit.
    fn severity(self, figure: f64) -> Severity {
        match figure {
            figure if figure > self.severe => Severity::Severe,
            figure if figure > self.doubtful => Severity::Doubtful,
            _ => Severity::Slight,
        }
    }
}

/// The spread of the trials' medians. The same program varies by some percent on a quiet host and by 10 % on a shared
/// one (10–30 % polling); 25 % is more than most mechanisms differ; at 100 % the host decides the figure.
pub(super) const SPREAD: Limits = Limits { slight: 0.10, doubtful: 0.25, severe: 1.0 };

/// The least distance between two groups of trials, from the slowest of one to the fastest of the other: as SPREAD, more
/// than most mechanisms differ.
pub(super) const STATES_APART: f64 = 1.2;

/// States further apart than this make the figure that of a state, and not of the mechanism.
const STATES_FAR_APART: f64 = 2.0;

/// Half of the median's confidence interval, as a fraction. Unchanged runs differ by 5 %, which hides differences as large; beyond
/// 15 % most mechanisms cannot be distinguished, and at 50 % not even those of different kinds.
pub(super) const HALF_WIDTH: Limits = Limits { slight: 0.05, doubtful: 0.15, severe: 0.5 };

/// One in this many trials is left out at either end before the spread is computed, which would otherwise grow with
/// their number: none of fewer than ten.
pub(super) const SPREAD_TRIM: usize = 10;

/// Datagrams lost, as a fraction of all rounds: a single one hides the slowest rounds, one in 1000 the p99.9, one
/// in 100 the p99.
pub(super) const LOST: Limits = Limits { slight: 0.0, doubtful: 0.001, severe: 0.01 };

/// Steal time, as a fraction of one CPU's time. The kernel counts in steps of 10 ms: less than 0.2 % of a usual run is
/// one step. At 2 % every fiftieth millisecond is lost, which no p99 survives; at 10 % no p90 does.
pub(super) const STEAL_CPUS: Limits = Limits { slight: 0.002, doubtful: 0.02, severe: 0.1 };

/// CPUs that other processes kept busy where fewer than two were left for the measurement. An idle system uses a few
/// percent of one. At a quarter the sides compete in every time slice, and at 1 a side never has its CPU alone.
pub(super) const COMPETING_CPUS: Limits = Limits { slight: 0.1, doubtful: 0.25, severe: 1.0 };

/// The share of all CPUs above which other load matters even if two are left: caches, memory and turbo are shared.
pub(super) const OTHERS_SHARE: f64 = 0.25;

/// CPUs that a measurement needs: one for each side.
pub(crate) const NEEDED_CPUS: f64 = 2.0;

/// The shortest run whose CPU times, counted in steps of 10 ms on each CPU, are accurate to a few percent.
pub(super) const SHORTEST_FOR_CPU_TIME_MS: u64 = 300;

/// The clock's cost as a fraction of the median: more shows in the second digit of every figure.
pub(crate) const CLOCK_COST: f64 = 0.10;

/// The shortest suspension reported. The two clocks that reveal it are read one after the other, with anything running
/// in between; no host suspends and resumes in less.
pub(super) const SUSPENDED_MS: u64 = 100;

/// A round this long means that something was stopped: no scheduler keeps a runnable process waiting for a second, and
/// no transport has a deadline that long.
pub(super) const LONG_GAP_NS: f64 = 1e9;

/// A long round is a gap only if it takes this many times the median: most rounds may take long.
pub(super) const LONG_GAP_MEDIANS: f64 = 10.0;

/// Preemptions in a second. Two sides alone on their CPUs were preempted fewer than 60 times a second (by kernel threads);
/// with one other task on either CPU more than 300 times.
pub(super) const PREEMPTED_PER_SECOND: f64 = 100.0;

/// The fewest preemptions that make a rate: of ten, a third more or less is chance.
pub(super) const PREEMPTED_TIMES: f64 = 10.0;

/// Preemptions per round above which they show in the p99.
pub(super) const PREEMPTED_PER_ROUND: f64 = 0.01;

/// From this share of the median on, a cell mostly measures how fast idle CPUs wake up.
pub(super) const WAKE_UP_SHARE: f64 = 0.5;

/// The smallest change of a CPU's frequency between start and end that is reported; turbo alone changes it by some
/// percent.
pub(super) const FREQUENCY_MOVED: f64 = 0.10;
