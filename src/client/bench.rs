//! A benchmark: cells, each measured in several trials, interleaved.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rustix::io::Errno;

use super::measure::{self, Interval, Plan, Recorder, Trial, WakeUp, histogram};
use super::{Client, ClientError};
use crate::client::host::placement::Placement;
use crate::client::stats::{median, median_interval, relative_half_width};
use crate::protocol::{ChannelSpec, Wait};
use crate::transports::Pace;
use crate::transports::sys::Affinity;
use crate::transports::sys::clock::{Calibration, ClockChoice, TscRefusal};

/// One configuration to measure.
#[derive(Debug, Clone)]
pub(crate) struct Cell {
    /// The channel to open; `method` is the mechanism's own name.
    pub spec: ChannelSpec,
    /// The channel's wait strategy, with the default filled in.
    pub wait: Wait,
    /// How the two CPUs relate.
    pub placement: Placement,
    /// The client's CPU; `None` if unpinned. The responder's is in `spec`.
    pub client_cpu: Option<u32>,
    /// When a round starts; `None` for at once after the previous one.
    pub pace: Option<Pace>,
    /// Channels open at once, each driven by its own thread; a single one is driven by the calling thread.
    pub parallel: u32,
    /// Whether it may be left out, because only a group selected its method.
    pub optional: bool,
}

#[cfg(test)]
impl Cell {
    /// One of a method, for tests: blocking, on any CPU, one channel.
    pub(crate) fn sample(method: &str) -> Self {
        Self {
            spec: ChannelSpec::new(method),
            wait: Wait::Block,
            placement: Placement::Unpinned,
            client_cpu: None,
            pace: None,
            parallel: 1,
            optional: false,
        }
    }
}

/// When the trials are precise enough.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Precision {
    /// The sufficient half width of the median's confidence interval, as a fraction of the median.
    pub fraction: f64,
    /// When to give up.
    pub max_time: Duration,
}

/// What to measure and how often.
#[derive(Debug, Clone)]
pub(crate) struct Bench {
    /// The cells.
    pub cells: Vec<Cell>,
    /// Trials of each cell, each with a fresh channel and a fresh responder process. With a precision, the fewest.
    pub trials: u32,
    /// If given, trials are added until it is reached.
    pub precision: Option<Precision>,
    /// What a trial does; the cell's pace overrides its pace.
    pub plan: Plan,
}

impl Bench {
    /// Calibrates the clock on the CPU on which the client will read it.
    ///
    /// # Errors
    /// The client cannot run on that CPU; or, inside, the requested clock is unavailable.
    pub(crate) fn calibrate(
        &self,
        choice: ClockChoice,
    ) -> Result<Result<Calibration, TscRefusal>, ClientError> {
        let cpu = self.cells.first().and_then(|cell| cell.client_cpu);
        let _pinned = cpu.map(Pinned::to).transpose()?;
        Ok(Calibration::run(choice))
    }

    /// What waking an idle CPU costs, for the CPUs of each cell whose sides block on two of them.
    pub(crate) fn idle_wake_ups(&self) -> Vec<WakeUp> {
        let blocking = self.cells.iter().filter(|cell| cell.wait == Wait::Block);
        let pairs: BTreeSet<(u32, u32)> =
            blocking.filter_map(|cell| Some((cell.client_cpu?, cell.spec.server_cpu?))).collect();
        let apart = pairs.into_iter().filter(|(client, server)| client != server);
        apart.filter_map(|(client, server)| WakeUp::measure(client, server)).collect()
    }
}

/// The result of a cell's trials.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// The cell.
    pub cell: Cell,
    /// The completed trials, in their order.
    pub trials: Vec<Trial>,
    /// The latencies of all of them, in picoseconds.
    pub histogram: Histogram<u64>,
    /// The same from each round's intended start, at a fixed rate.
    pub response_histogram: Option<Histogram<u64>>,
    /// The error that ended the cell's trials early.
    pub error: Option<ClientError>,
    /// With a precision: the half width that was reached, as a fraction of the median.
    pub precision_reached: Option<f64>,
    /// Half the width of the median's confidence interval, as a fraction of the median, after each trial.
    pub(crate) half_width: Option<f64>,
    /// Time spent opening and closing channels.
    pub overhead: Duration,
}

/// Is notified while a benchmark runs, between blocks of rounds.
pub(crate) trait Observer {
    /// A trial begins. `median_ns` is the median over the cell's trials so far.
    fn begins(&mut self, cell: &Cell, trial: u32, median_ns: Option<f64>);
    /// The rounds of the trial so far, the time that they took, and, of a single channel, their latencies in picoseconds.
    fn progress(&mut self, rounds: u64, elapsed: Duration, latencies: Option<&Histogram<u64>>);
    /// An interval of the trial is over. A break ends the whole run.
    fn interval(&mut self, cell: &Cell, trial: u32, interval: &Interval<'_>) -> ControlFlow<()>;
    /// The trial is complete.
    fn ends(&mut self, cell: &Cell, latencies: &Recorder);
}

/// Runs all trials. Each pass goes through the cells in a different order, so that a disturbance does not always affect the
/// same cell. Once the client is [interrupted](Client::interrupt), each cell that lacks trials has that as its error.
pub(crate) fn run(
    client: &mut Client,
    bench: &Bench,
    calibration: &Calibration,
    observer: &mut dyn Observer,
) -> Vec<Outcome> {
    let start = Instant::now();
    let mut outcomes: Vec<Outcome> = bench.cells.iter().map(|cell| Outcome::of(cell.clone())).collect();
    let mut trial = 0;
    loop {
        for index in order(outcomes.len(), trial) {
            if client.is_interrupted() {
                outcomes.iter_mut().filter(|outcome| !outcome.is_complete(bench)).for_each(|outcome| {
                    outcome.error.get_or_insert(ClientError::Interrupted);
                });
                return outcomes;
            }
            let outcome = &mut outcomes[index];
            if outcome.error.is_some() || outcome.is_complete(bench) {
                continue;
            }
            observer.begins(&outcome.cell, trial, median(&outcome.medians()));
            let flow = match run_trial(client, bench, calibration, outcome, trial, observer) {
                Ok((result, latencies, flow)) => {
                    if result.partial {
                        outcome.error = Some(ClientError::Interrupted);
                    }
                    // Beside complete trials it has no weight that would be right.
                    if !result.partial || outcome.trials.is_empty() {
                        observer.ends(&outcome.cell, &latencies);
                        outcome.add(result, &latencies);
                    }
                    flow
                }
                Err(error) => {
                    outcome.error = Some(error);
                    ControlFlow::Continue(())
                }
            };
            if flow.is_break() {
                return outcomes;
            }
            if let Some(precision) = bench.precision {
                outcome.precision_reached = outcome.half_width;
                if trial >= bench.trials && start.elapsed() > precision.max_time {
                    return outcomes;
                }
            }
        }
        trial += 1;
        let more = |precision| outcomes.iter().any(|o| o.error.is_none() && !o.is_precise(precision));
        let time_left = bench.precision.is_some_and(|p| start.elapsed() < p.max_time && more(p));
        if trial >= bench.trials && !time_left {
            return outcomes;
        }
    }
}

fn run_trial(
    client: &mut Client,
    bench: &Bench,
    calibration: &Calibration,
    outcome: &mut Outcome,
    trial: u32,
    observer: &mut dyn Observer,
) -> Result<(Trial, Recorder, ControlFlow<()>), ClientError> {
    let cell = &outcome.cell;
    // New threads inherit this thread's CPUs.
    let _pinned = cell.client_cpu.map(Pinned::to).transpose()?;
    let plan = Plan { pace: cell.pace.or(bench.plan.pace), ..bench.plan };
    let mut flow = ControlFlow::Continue(());
    if cell.parallel > 1 {
        let overhead = &mut outcome.overhead;
        let mut progress = |rounds, elapsed| observer.progress(rounds, elapsed, None);
        let (spec, count) = (&cell.spec, cell.parallel);
        let (trial, latencies) =
            measure::parallel::run(client, spec, count, calibration, &plan, overhead, &mut progress)?;
        return Ok((trial, latencies, flow));
    }
    let opening = Instant::now();
    let mut channel = client.open(&cell.spec)?;
    outcome.overhead += opening.elapsed();
    // Two closures cannot both borrow the observer.
    let observer = std::cell::RefCell::new(observer);
    let result = measure::run(
        client,
        &mut channel,
        calibration,
        &plan,
        &mut |rounds, elapsed, latencies| observer.borrow_mut().progress(rounds, elapsed, Some(latencies)),
        &mut |interval| {
            flow = observer.borrow_mut().interval(cell, trial, interval);
            flow
        },
    );
    let closing = Instant::now();
    let closed = client.close(channel);
    outcome.overhead += closing.elapsed();
    let (trial, latencies) = result?;
    closed?;
    Ok((trial, latencies, flow))
}

impl Outcome {
    /// Nothing is measured yet.
    #[must_use]
    pub(crate) fn of(cell: Cell) -> Self {
        Self {
            cell,
            trials: Vec::new(),
            histogram: histogram(),
            response_histogram: None,
            error: None,
            precision_reached: None,
            half_width: None,
            overhead: Duration::ZERO,
        }
    }

    /// Adds a trial. Its latencies are kept only as part of the cell's, so that a trial takes a few hundred bytes.
    pub(crate) fn add(&mut self, trial: Trial, latencies: &Recorder) {
        // The bounds are the same in all histograms, so that it cannot fail.
        let _ = self.histogram.add(&latencies.histogram);
        if let Some(response) = &latencies.response {
            let _ = self.response_histogram.get_or_insert_with(histogram).add(response);
        }
        self.trials.push(trial);
        let medians = self.medians();
        self.half_width =
            median_interval(&medians).and_then(|interval| relative_half_width(interval, median(&medians)?));
    }

    /// The median of each trial, in nanoseconds: of its response times at a fixed rate.
    #[must_use]
    pub(crate) fn medians(&self) -> Vec<f64> {
        let typical = self.trials.iter().map(Trial::headline);
        typical.filter_map(|latency| latency.p50.or(latency.mean)).collect()
    }

    /// Whether it has all requested trials.
    fn is_complete(&self, bench: &Bench) -> bool {
        self.trials.len() >= usize::try_from(bench.trials).unwrap_or(usize::MAX)
            && bench.precision.is_none_or(|precision| self.is_precise(precision))
    }

    fn is_precise(&self, precision: Precision) -> bool {
        self.half_width.is_some_and(|half_width| half_width <= precision.fraction)
    }
}

/// The order of the cells in a pass: a permutation that depends on the pass's number only.
pub(super) fn order(cells: usize, trial: u32) -> Vec<usize> {
    let mut order: Vec<usize> = (0..cells).collect();
    if trial == 0 {
        return order; // As requested.
    }
    // A Fisher-Yates shuffle with SplitMix64, seeded with the number: the same benchmark always runs in the same order.
    let mut state = u64::from(trial);
    for last in (1..cells).rev() {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut random = state;
        random = (random ^ (random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        random = (random ^ (random >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        random ^= random >> 31;
        let bound = u64::try_from(last).map_or(u64::MAX, |last| last + 1);
        order.swap(last, usize::try_from(random % bound).unwrap_or(0));
    }
    order
}

/// Pins this thread to one CPU; dropping it restores the previous affinity.
struct Pinned {
    before: Affinity,
}

impl Pinned {
    fn to(cpu: u32) -> Result<Self, ClientError> {
        let pinning = |source: Errno| ClientError::Pin { cpu, source: source.into() };
        let before = Affinity::of_thread().map_err(pinning)?;
        Affinity::only(cpu).apply().map_err(pinning)?;
        Ok(Self { before })
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // This affinity was allowed before.
        let _ = self.before.apply();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_pass_is_in_the_given_order_and_others_are_permutations() {
        assert_eq!(order(4, 0), [0, 1, 2, 3]);
        let orders: Vec<_> = (1..20).map(|trial| order(4, trial)).collect();
        for order in &orders {
            let mut sorted = order.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, [0, 1, 2, 3]);
        }
        assert!(orders.windows(2).any(|pair| pair[0] != pair[1]));
        for first in 0..4 {
            assert!(orders.iter().any(|order| order[0] == first), "each cell is first in some pass");
        }
        assert_eq!(order(0, 3), Vec::<usize>::new());
        assert_eq!(order(1, 3), [0]);
    }
}
