//! From where on something is doubtful: each limit with its reason.

use super::Severity;

/// A figure that is slight, doubtful or severe above these limits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    slight: f64,
    doubtful: f64,
    severe: f64,
}

impl Limits {
    /// Whether the figure is worth a warning.
    pub(crate) fn passed(self, figure: f64) -> bool {
        figure > self.slight
    }

    /// How bad a figure is that has passed the limits.
    pub(crate) fn severity(self, figure: f64) -> Severity {
        match figure {
            figure if figure > self.severe => Severity::Severe,
            figure if figure > self.doubtful => Severity::Doubtful,
            _ => Severity::Slight,
        }
    }
}

/// How far the trials' medians lie apart. The same program moves by some percent on a quiet host and by 10 % on a
/// shared one (10–30 % polling); 25 % is more than most mechanisms differ; at 100 % the host decides the figure.
pub(crate) const SPREAD: Limits = Limits { slight: 0.10, doubtful: 0.25, severe: 1.0 };

/// The share of trials left out at either end before their spread is taken, which grows with their number
/// otherwise: none of fewer than ten.
pub(crate) const SPREAD_TRIM: usize = 10;

/// Datagrams lost, as a fraction of all rounds: one alone makes the slowest rounds unknown, one in 1000 the p99.9, one
/// in 100 the p99.
pub(crate) const LOST: Limits = Limits { slight: 0.0, doubtful: 0.001, severe: 0.01 };

/// Steal time, as a fraction of one CPU's time. The kernel counts in steps of 10 ms: less than 0.2 % of a usual run is
/// one step. At 2 % every fiftieth millisecond is somebody else's, which no p99 survives; at 10 % no p90 does.
pub(crate) const STEAL_CPUS: Limits = Limits { slight: 0.002, doubtful: 0.02, severe: 0.1 };

/// CPUs that others kept busy where two are not left for the measurement. A system at rest uses a few percent of one.
/// At a quarter the sides meet others in every time slice, and at 1 a side never has its CPU alone.
pub(crate) const COMPETING_CPUS: Limits = Limits { slight: 0.1, doubtful: 0.25, severe: 1.0 };

/// The share of all CPUs from which on others disturb even where two are left: caches, memory and turbo are shared.
pub(crate) const OTHERS_SHARE: f64 = 0.25;

/// CPUs that a measurement needs: one for each side.
pub(crate) const NEEDED_CPUS: f64 = 2.0;

/// The shortest run over which CPU times are told, in steps of 10 ms on each CPU, to a few percent.
pub(crate) const SHORTEST_FOR_CPU_TIME_MS: u64 = 300;

/// The clock's cost as a fraction of the median: more is seen in the second digit of every figure.
pub(crate) const CLOCK_COST: f64 = 0.10;

/// The shortest suspension that is told. The two clocks by which it is known are read one after the other, between which
/// anything may run; no host goes to sleep and wakes up in less.
pub(crate) const SUSPENDED_MS: u64 = 100;

/// A round this long had something stopped: no scheduler keeps a runnable process waiting for a second, and no
/// deadline of a transport is as long.
pub(crate) const LONG_GAP_NS: f64 = 1e9;

/// Such a round is no gap where most rounds take long: it must be this many times the median.
pub(crate) const LONG_GAP_MEDIANS: f64 = 10.0;

/// Preemptions in a second. Two sides alone on their CPUs were preempted fewer than 60 times a second (kernel threads);
/// with one other task on either CPU more than 300 times.
pub(crate) const PREEMPTED_PER_SECOND: f64 = 100.0;

/// So many preemptions make a rate: of ten, a third more or less is chance, and of one nothing is known.
pub(crate) const PREEMPTED_TIMES: f64 = 10.0;

/// Preemptions in a round from which on they show in the p99.
pub(crate) const PREEMPTED_PER_ROUND: f64 = 0.01;

/// How far a CPU's frequency moves between start and end before it is told; turbo alone moves it by some percent.
pub(crate) const FREQUENCY_MOVED: f64 = 0.10;
