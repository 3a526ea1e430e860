//! One trial: a warm-up, then rounds until enough are done.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::block::{BlockLen, MAX_ROUNDS};
use super::interval::Intervals;
use super::spent::{Own, Spent};
use super::{Interval, Recorder, Timing};
use crate::client::stats::Latency;
use crate::client::{Channel, Client, ClientError};
use crate::protocol::Usage;
use crate::transports::sys::clock::Calibration;
use crate::transports::{Block, Pace, Pacer, RoundError};

/// Consecutive losses after which the responder counts as silent.
const MAX_LOSSES: u32 = 5;

/// Rounds this fast are not timed one by one alone, since the clock would cost too much of them.
const FAST_PS: f64 = 1_000_000.0;

/// When a trial has enough rounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// After this many rounds.
    Rounds(u64),
    /// After this time.
    Time(Duration),
}

/// The rounds before those that count. They end when either limit is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Warmup {
    /// The limit on rounds.
    pub rounds: u64,
    /// The limit on time.
    pub time: Duration,
}

/// What a trial does.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// When it has enough rounds.
    pub stop: Stop,
    /// The rounds before.
    pub warmup: Warmup,
    /// What is timed.
    pub timing: Timing,
    /// When a round starts; at once after the last one if `None`.
    pub pace: Option<Pace>,
    /// How often [`Interval`]s are reported.
    pub interval: Option<Duration>,
}

impl Plan {
    /// At a fixed rate: how many rounds are due within this time.
    fn due(&self, time: Duration) -> Option<u64> {
        let Some(Pace::Every(interval)) = self.pace else { return None };
        Some(u64::try_from(time.as_nanos().div_ceil(interval.as_nanos().max(1))).unwrap_or(u64::MAX))
    }
}

/// How long after a trial of this length overdue rounds are still made. If that is too short, the rate is one that cannot
/// be reached.
fn catch_up(time: Duration) -> Duration {
    time.min((time / 10).max(Duration::from_secs(1)))
}

/// What timing rounds one by one costs, found by timing as many as a whole.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Probe {
    /// Mean of the rounds that were timed as a whole.
    pub untimed_mean_ps: f64,
    /// How many those were.
    pub untimed_rounds: u64,
}

/// A long time that is in no round's latency: a block of rounds that was timed as a whole, or what lay between
/// two rounds beyond their pace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Gap {
    /// How long it was.
    pub elapsed_ps: u64,
    /// How many rounds the block had; 0 between two rounds.
    pub rounds: u64,
}

impl Gap {
    /// The shortest that is kept, a second. A block takes 10 ms, and next to nothing is done between two.
    const SHORTEST_PS: u64 = 1_000_000_000_000;
}

/// The result of a trial, without the histograms that its [`Recorder`] has.
#[derive(Debug, Clone)]
pub(crate) struct Trial {
    /// Latencies: of each round, or means of batches.
    pub latency: Latency,
    /// With [`Pace::Every`]: from when each round should have started.
    pub response: Option<Latency>,
    /// Means of successive parts of the rounds, in picoseconds.
    pub series: Vec<f64>,
    /// Rounds completed, timed or not, without the warm-up's.
    pub rounds: u64,
    /// Datagrams lost.
    pub lost: u64,
    /// Time of those rounds, gaps and losses included; at a fixed rate, the last one's interval too.
    pub elapsed_ps: u64,
    /// Rounds timed as a whole beside those timed one by one.
    pub probe: Option<Probe>,
    /// The longest time that is in no round's latency, if there was one of a second or more.
    pub longest_gap: Option<Gap>,
    /// Rounds of the warm-up.
    pub warmup_rounds: u64,
    /// Time of the warm-up.
    pub warmup_time: Duration,
    /// What the client used for the rounds.
    pub client_usage: Usage,
    /// What the responder used for the rounds.
    pub server_usage: Usage,
    /// CPUs on which the two sides were seen, before and after the rounds.
    pub cpus: CpusSeen,
    /// Whether it was interrupted.
    pub partial: bool,
}

impl Trial {
    /// What the trial is judged by: response times at a fixed rate, otherwise round trips.
    pub(crate) fn headline(&self) -> Latency {
        self.response.unwrap_or(self.latency)
    }
}

/// CPUs on which a side was seen, without repetition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct CpusSeen {
    /// The client's.
    pub client: Vec<u32>,
    /// The responder's.
    pub server: Vec<u32>,
}

/// Called between blocks with the rounds done, the time they took, and their latencies in picoseconds.
pub(super) type Progress<'a> = dyn FnMut(u64, Duration, &Histogram<u64>) + 'a;

/// Runs one trial over a fresh channel. `on_interval` is called with each of the plan's intervals, and ends
/// the trial by a break.
///
/// # Errors
/// The channel fails, with the reason if the daemon reports one; or [`ClientError::Interrupted`].
pub(crate) fn run(
    client: &mut Client,
    channel: &mut Channel,
    calibration: &Calibration,
    plan: &Plan,
    progress: &mut Progress<'_>,
    on_interval: &mut dyn FnMut(&Interval<'_>) -> ControlFlow<()>,
) -> Result<(Trial, Recorder), ClientError> {
    let interrupt = client.interrupt();
    let mut runner = Runner::new(channel, calibration, plan).until(&interrupt);
    let failed = |client: &mut Client, channel: &Channel, error| match error {
        RoundError::Lost(_) => silent(channel.method()),
        error => client.explain(channel, error),
    };
    let outcome = runner.warm_up();
    let (warmup_rounds, warmup_time) = outcome.map_err(|error| failed(client, runner.channel, error))?;
    if runner.is_over() {
        return Err(ClientError::Interrupted);
    }
    let server_before = client.usage(runner.channel)?;
    let own = Own::now();
    if let Err(error) = runner.measure(progress, on_interval) {
        return Err(failed(client, runner.channel, error));
    }
    if runner.partial && runner.rounds == 0 {
        return Err(ClientError::Interrupted);
    }
    let client_spent = own.spent();
    let server_after = client.usage(runner.channel)?;
    Ok(runner.into_trial(
        (warmup_rounds, warmup_time),
        client_spent,
        Spent::between(&server_before, &server_after),
    ))
}

/// The error of a responder that does not answer.
pub(super) fn silent(method: &str) -> ClientError {
    ClientError::Silent { method: method.to_owned(), losses: MAX_LOSSES }
}

/// The state of a running trial.
pub(super) struct Runner<'a> {
    channel: &'a mut Channel,
    calibration: &'a Calibration,
    plan: &'a Plan,
    /// Rounds timed as a whole, if all are.
    batch: Option<usize>,
    /// Whether blocks that are timed as a whole alternate with those that are not.
    alternate: bool,
    len: BlockLen,
    service: Vec<u64>,
    response_ticks: Vec<u64>,
    recorder: Recorder,
    rounds: u64,
    lost: u64,
    elapsed_ps: u64,
    untimed_rounds: u64,
    untimed_ps: u64,
    longest_gap: Option<Gap>,
    /// With a pace: the most that is waited before a round.
    idle_ps: Option<u64>,
    losses_in_a_row: u32,
    /// Whether it ended before the plan's end.
    partial: bool,
    /// Ends the trial between two blocks, as soon as it is set.
    over: Option<&'a AtomicBool>,
}

impl<'a> Runner<'a> {
    pub(super) fn new(channel: &'a mut Channel, calibration: &'a Calibration, plan: &'a Plan) -> Self {
        let paced = plan.pace.is_some();
        Self {
            channel,
            calibration,
            plan,
            batch: match plan.timing {
                Timing::Batch(rounds) => usize::try_from(rounds).ok(),
                _ => None,
            },
            alternate: false,
            len: BlockLen::default(),
            // Written to now, so that no page of it is touched for the first time between two clock reads.
            service: vec![1; MAX_ROUNDS],
            response_ticks: vec![1; if paced { MAX_ROUNDS } else { 0 }],
            recorder: Recorder::new(matches!(plan.pace, Some(Pace::Every(_)))),
            rounds: 0,
            lost: 0,
            elapsed_ps: 0,
            untimed_rounds: 0,
            untimed_ps: 0,
            longest_gap: None,
            idle_ps: plan.pace.map(|pace| {
                let (Pace::Gap(idle) | Pace::Every(idle)) = pace;
                u64::try_from(idle.as_nanos() * 1000).unwrap_or(u64::MAX)
            }),
            losses_in_a_row: 0,
            partial: false,
            over: None,
        }
    }

    /// Until it is set, whatever the plan says: by an interruption, or by one of several channels, which end together.
    pub(super) fn until(self, over: &'a AtomicBool) -> Self {
        Self { over: Some(over), ..self }
    }

    fn is_over(&self) -> bool {
        self.over.is_some_and(|over| over.load(Ordering::Relaxed))
    }

    /// Runs the warm-up as the rounds that follow will run, but for their pace.
    pub(super) fn warm_up(&mut self) -> Result<(u64, Duration), RoundError> {
        let start = Instant::now();
        let mut done = 0;
        let Warmup { rounds, time } = self.plan.warmup;
        while done < rounds && start.elapsed() < time && !self.is_over() {
            let want = self.len.next().min(usize::try_from(rounds - done).unwrap_or(MAX_ROUNDS));
            let block = self.channel.timed_block(self.calibration.source, &mut self.service[..want]);
            self.len.learn(block.done, self.calibration.to_ps(block.ticks));
            done += u64::try_from(block.done).unwrap_or(0);
            self.settle(block)?;
        }
        self.lost = 0;
        if self.plan.timing == Timing::Auto && self.plan.pace.is_none() {
            let block = self.channel.untimed_block(self.calibration.source, self.len.next().min(64));
            let rounds = block.done.max(1) as f64;
            self.alternate = (self.calibration.to_ps(block.ticks) as f64) < FAST_PS * rounds;
            done += u64::try_from(block.done).unwrap_or(0);
            self.settle(block)?;
            self.lost = 0;
        }
        Ok((done, start.elapsed()))
    }

    pub(super) fn measure(
        &mut self,
        progress: &mut Progress<'_>,
        on_interval: &mut dyn FnMut(&Interval<'_>) -> ControlFlow<()>,
    ) -> Result<(), RoundError> {
        let scale = self.calibration.scale();
        let mut pacer = self.plan.pace.map(|pace| Pacer::new(pace, scale));
        if let Some(Pace::Gap(time) | Pace::Every(time)) = self.plan.pace {
            self.len.pace(time.as_secs_f64() * 1e12);
        }
        let mut intervals =
            self.plan.interval.map(|every| Intervals::new(every, self.recorder.response.is_some()));
        let start = Instant::now();
        let mut overdue_until = None;
        let mut looked = start;
        let mut whole = false;
        loop {
            let done = self.rounds + self.lost;
            let left = match self.plan.stop {
                Stop::Rounds(rounds) => rounds.saturating_sub(done),
                Stop::Time(time) => match self.plan.due(time) {
                    Some(due) if start.elapsed() < time => due.saturating_sub(done),
                    // Rounds that a stall has delayed beyond the end count too: without them the stall would hide itself.
                    Some(due) => {
                        let until = overdue_until.get_or_insert_with(|| Instant::now() + catch_up(time));
                        if Instant::now() < *until { due.saturating_sub(done) } else { 0 }
                    }
                    None if start.elapsed() < time => u64::MAX,
                    None => 0,
                },
            };
            if left == 0 {
                break;
            }
            if self.is_over() {
                self.partial = true;
                break;
            }
            let left = usize::try_from(left).unwrap_or(usize::MAX);
            whole = self.alternate && !whole && self.rounds > 0;
            let before_ps = self.elapsed_ps;
            let block = self.block(left, whole, pacer.as_mut(), intervals.as_mut());
            looked = self.note_time_outside_of_blocks(looked, self.elapsed_ps - before_ps);
            self.settle(block)?;
            progress(self.rounds, start.elapsed(), &self.recorder.histogram);
            if let Some(intervals) = &mut intervals
                && intervals.report(self.rounds, self.lost, false, on_interval).is_break()
            {
                return Ok(());
            }
        }
        self.note_time_outside_of_blocks(looked, 0);
        if let Some(intervals) = &mut intervals {
            let _ = intervals.report(self.rounds, self.lost, true, on_interval);
        }
        Ok(())
    }

    /// Runs a block of at most `left` rounds and takes in what it stored.
    fn block(
        &mut self,
        left: usize,
        whole: bool,
        pacer: Option<&mut Pacer>,
        intervals: Option<&mut Intervals>,
    ) -> Block {
        let (clock, scale) = (self.calibration.source, self.calibration.scale());
        let want = self.len.next().min(left);
        let batch = self.batch.map(|rounds| rounds.min(left));
        let (block, timed) = match pacer {
            Some(pacer) => {
                let (service, response) = (&mut self.service[..want], &mut self.response_ticks[..want]);
                (self.channel.paced_block(clock, pacer, service, response), true)
            }
            None if batch.is_some() || whole => {
                (self.channel.untimed_block(clock, batch.unwrap_or(want)), false)
            }
            None => (self.channel.timed_block(clock, &mut self.service[..want]), true),
        };
        let ps = scale.to_ps(block.ticks);
        self.len.learn(block.done, ps);
        self.elapsed_ps += ps;
        let done = u64::try_from(block.done).unwrap_or(0);
        self.rounds += done;
        let (mut now, mut now_response) = match intervals {
            Some(intervals) => (Some(&mut intervals.histogram), intervals.response.as_mut()),
            None => (None, None),
        };
        if timed {
            let service = &self.service[..block.done];
            if let Some(planned_ps) = self.idle_ps {
                // Nothing but the rounds' own time, and the pauses before them, belongs there.
                let busy_ps: u64 = service.iter().map(|ticks| scale.to_ps(*ticks)).sum();
                let planned_ps = planned_ps.saturating_mul(done);
                self.note_gap(ps.saturating_sub(busy_ps).saturating_sub(planned_ps), 0);
            }
            let service = &self.service[..block.done];
            self.recorder.record(service, scale);
            if let Some(now) = &mut now {
                service.iter().for_each(|ticks| now.saturating_record(scale.to_ps(*ticks).max(1)));
            }
            if let Some(response) = &mut self.recorder.response {
                for ticks in &self.response_ticks[..block.done] {
                    let ps = scale.to_ps(*ticks).max(1);
                    response.saturating_record(ps);
                    if let Some(now) = &mut now_response {
                        now.saturating_record(ps);
                    }
                }
            }
        } else if block.stop.is_none() {
            self.untimed_rounds += done;
            self.untimed_ps += ps;
            self.note_gap(ps, done);
            if self.batch.is_some() {
                self.recorder.record_batch(block.ticks, block.done, scale);
                if let (Some(now), Some(mean)) = (&mut now, ps.checked_div(done)) {
                    now.saturating_record(mean.max(1));
                }
            }
        }
        block
    }

    fn note_gap(&mut self, elapsed_ps: u64, rounds: u64) {
        if elapsed_ps >= Gap::SHORTEST_PS {
            self.longest_gap = self.longest_gap.max(Some(Gap { elapsed_ps, rounds }));
        }
    }

    /// Records the time since `looked` that passed outside of blocks. Returns the moment at which the next interval starts, so
    /// that no time is left out, such as that for recording a block.
    fn note_time_outside_of_blocks(&mut self, looked: Instant, blocks_ps: u64) -> Instant {
        let now = Instant::now();
        let elapsed_ps = u64::try_from((now - looked).as_nanos() * 1000).unwrap_or(u64::MAX);
        self.note_gap(elapsed_ps.saturating_sub(blocks_ps), 0);
        now
    }

    /// Rounds at a fixed rate have an interval each, the last one too: of N of them there are N intervals, and not the
    /// N - 1 between their starts.
    fn elapsed_ps(&self) -> u64 {
        match self.plan.pace {
            Some(Pace::Every(_)) => {
                let intended_ps = self.idle_ps.unwrap_or(0).saturating_mul(self.rounds + self.lost);
                self.elapsed_ps.max(intended_ps)
            }
            _ => self.elapsed_ps,
        }
    }

    /// The finished trial.
    pub(super) fn into_trial(
        self,
        warmup: (u64, Duration),
        client: Spent,
        server: Spent,
    ) -> (Trial, Recorder) {
        let probed = self.untimed_rounds > 0 && !self.recorder.histogram.is_empty() && self.batch.is_none();
        let trial = Trial {
            latency: Latency::of(&self.recorder.histogram),
            response: self.recorder.response.as_ref().map(Latency::of),
            series: self.recorder.series(),
            rounds: self.rounds,
            lost: self.lost,
            elapsed_ps: self.elapsed_ps(),
            probe: probed.then(|| Probe {
                untimed_mean_ps: self.untimed_ps as f64 / self.untimed_rounds as f64,
                untimed_rounds: self.untimed_rounds,
            }),
            longest_gap: self.longest_gap,
            warmup_rounds: warmup.0,
            warmup_time: warmup.1,
            client_usage: client.usage,
            server_usage: server.usage,
            cpus: CpusSeen { client: client.cpus, server: server.cpus },
            partial: self.partial,
        };
        (trial, self.recorder)
    }

    /// Verifies a block's last pong, or deals with what ended the block.
    fn settle(&mut self, block: Block) -> Result<(), RoundError> {
        match block.stop {
            None => {
                self.losses_in_a_row = 0;
                self.channel.verify()
            }
            Some(error @ RoundError::Lost(_)) => {
                self.lost += 1;
                self.losses_in_a_row = if block.done > 0 { 1 } else { self.losses_in_a_row + 1 };
                if self.losses_in_a_row >= MAX_LOSSES { Err(error) } else { Ok(()) }
            }
            Some(error) => Err(error),
        }
    }
}
