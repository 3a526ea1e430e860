//! One trial over several channels at once, each driven by its own thread.
//!
//! The control connection stays with the thread that calls. It opens the channels one by one, and then leads the others
//! through `Phase`s. It alone hears of a channel's end; the others watch a pipe, which it closes when all is over.

use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::pipe::{PipeFlags, pipe_with};

use super::spent::{Own, Spent};
use super::trial::{Runner, silent};
use super::{CpusSeen, Plan, Probe, Recorder, Trial};
use crate::client::stats::Latency;
use crate::client::{Client, ClientError, Opened};
use crate::protocol::{ChannelId, ChannelSpec, Usage};
use crate::shortage::explain_spawn;
use crate::transports::sys::allow_descriptors;
use crate::transports::sys::clock::Calibration;
use crate::transports::{ConnectError, RoundError};

/// How often progress is reported and ended channels are looked for.
const PROGRESS: Duration = Duration::from_millis(200);

/// The most descriptors that a channel needs: its own, and one that watches the control connection.
const DESCRIPTORS: u64 = 6;

/// Runs one trial over `count` fresh channels, and closes them. Rounds begin once all channels are open and warm.
/// `progress` hears now and then how many rounds each channel has done on average; `overhead` grows by what opening and
/// closing took. The plan's interval is not heeded.
///
/// # Errors
/// A channel cannot be opened, or breaks off: [`ClientError::OneOf`] says which; or [`ClientError::Interrupted`].
pub(crate) fn run(
    client: &mut Client,
    spec: &ChannelSpec,
    count: u32,
    calibration: &Calibration,
    plan: &Plan,
    overhead: &mut Duration,
    progress: &mut dyn FnMut(u64, Duration),
) -> Result<(Trial, Recorder), ClientError> {
    allow_descriptors(DESCRIPTORS * u64::from(count));
    let (end, writer) = pipe_with(PipeFlags::CLOEXEC).map_err(|error| ClientError::Thread(error.into()))?;
    let gate = Gate::default();
    let (sender, messages) = channel();
    thread::scope(|scope| {
        // Whatever the outcome, no thread is left waiting.
        let stop = Stopper { gate: &gate, _writer: writer };
        let mut lead = Lead { client, gate: &gate, messages, count, measuring: false, sides: Vec::new() };
        let opening = Instant::now();
        let outcome = (0..count)
            .try_for_each(|number| {
                lead.open(spec, |opened| {
                    let (sender, end, gate) = (sender.clone(), end.as_fd(), &gate);
                    let side = move || Side { number, sender, gate }.run(opened, end, calibration, plan);
                    thread::Builder::new().spawn_scoped(scope, side).map(|_| ())
                })
            })
            .and_then(|()| {
                *overhead += opening.elapsed();
                lead.measure(progress)
            });
        let closing = Instant::now();
        // A healthy channel lives until it is closed; one that hangs must not block the others.
        let stop = outcome.is_ok().then_some(stop);
        let closed = lead.close();
        drop(stop);
        *overhead += closing.elapsed();
        let trial = outcome?;
        closed.map(|()| trial)
    })
}

/// The progress of the trial. Each thread reports each completed phase once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    #[default]
    Opening,
    WarmUp,
    Rounds,
    /// Nothing runs any more, and the usage is looked at.
    Telling,
    Over,
}

/// Where threads wait for a phase.
#[derive(Debug, Default)]
struct Gate {
    phase: Mutex<Phase>,
    moved: Condvar,
    /// Ends rounds that run, as soon as a block of them is done.
    over: AtomicBool,
    /// Rounds done, by all.
    rounds: AtomicU64,
}

impl Gate {
    fn open(&self, phase: Phase) {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner) = phase;
        self.moved.notify_all();
    }

    /// Waits for a phase; returns whether it was reached, rather than the end.
    fn wait_for(&self, phase: Phase) -> bool {
        let mut now = self.phase.lock().unwrap_or_else(PoisonError::into_inner);
        while *now < phase {
            now = self.moved.wait(now).unwrap_or_else(PoisonError::into_inner);
        }
        *now == phase
    }
}

/// Ends all waits of all threads with its value.
struct Stopper<'a> {
    gate: &'a Gate,
    /// The other end of what they watch.
    _writer: OwnedFd,
}

impl Drop for Stopper<'_> {
    fn drop(&mut self) {
        self.gate.over.store(true, Ordering::Relaxed);
        self.gate.open(Phase::Over);
    }
}

/// A message from a thread.
enum News {
    Unconnected(ConnectError),
    Failed(RoundError),
    Connected,
    Warm,
    /// Its rounds began and ended.
    Done(Instant, Instant),
    Trial(Box<(Trial, Recorder)>),
    Panicked,
}

/// A thread with its channel.
struct Side<'a> {
    number: u32,
    sender: Sender<(u32, News)>,
    gate: &'a Gate,
}

impl Side<'_> {
    fn send(&self, news: News) {
        // The receiver is gone if the trial is over.
        let _ = self.sender.send((self.number, news));
    }

    fn run(&self, opened: Opened, end: BorrowedFd<'_>, calibration: &Calibration, plan: &Plan) {
        let mut channel = match opened.connect(end) {
            Ok(channel) => channel,
            Err(error) => return self.send(News::Unconnected(error)),
        };
        self.send(News::Connected);
        if !self.gate.wait_for(Phase::WarmUp) {
            return;
        }
        let mut runner = Runner::new(&mut channel, calibration, plan).until(&self.gate.over);
        let warmup = match runner.warm_up() {
            Ok(warmup) => warmup,
            Err(error) => return self.send(News::Failed(error)),
        };
        self.send(News::Warm);
        if !self.gate.wait_for(Phase::Rounds) {
            return;
        }
        let own = Own::now();
        let mut counted = 0;
        let mut count = |rounds| {
            self.gate.rounds.fetch_add(rounds - counted, Ordering::Relaxed);
            counted = rounds;
        };
        let start = Instant::now();
        let outcome = runner.measure(&mut |rounds, _, _| count(rounds), &mut |_| ControlFlow::Continue(()));
        let end = Instant::now();
        let spent = own.spent();
        if let Err(error) = outcome {
            return self.send(News::Failed(error));
        }
        self.send(News::Done(start, end));
        if !self.gate.wait_for(Phase::Telling) {
            return;
        }
        self.send(News::Trial(Box::new(runner.into_trial(warmup, spent, Spent::default()))));
        // The channel lives until it is closed.
        self.gate.wait_for(Phase::Over);
    }
}

impl Drop for Side<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.send(News::Panicked);
        }
    }
}

/// The thread that holds the control connection.
struct Lead<'a> {
    client: &'a mut Client,
    gate: &'a Gate,
    messages: Receiver<(u32, News)>,
    count: u32,
    /// Whether rounds are being made, which an interruption ends as time does.
    measuring: bool,
    /// Channels in the order of their numbers.
    sides: Vec<(ChannelId, &'static str)>,
}

impl Lead<'_> {
    /// Opens one more channel, and waits until the thread that `start` starts has connected to it.
    fn open(
        &mut self,
        spec: &ChannelSpec,
        start: impl FnOnce(Opened) -> std::io::Result<()>,
    ) -> Result<(), ClientError> {
        let opened = self.client.ask(spec)?;
        let (id, method) = (opened.id(), opened.method());
        self.sides.push((id, method));
        start(opened).map_err(|error| ClientError::Thread(explain_spawn(error)))?;
        match self.next(&mut || ())? {
            (_, News::Connected) => Ok(()),
            (number, News::Unconnected(error)) => {
                let error = self.client.not_connected(id, method, error);
                self.sides.pop();
                Err(self.one(number, error))
            }
            _ => Err(panicked()),
        }
    }

    fn measure(&mut self, progress: &mut dyn FnMut(u64, Duration)) -> Result<(Trial, Recorder), ClientError> {
        self.gate.open(Phase::WarmUp);
        self.collect(&mut || ())?;
        let before = self.usages()?;

        let start = Instant::now();
        self.gate.open(Phase::Rounds);
        let (gate, count) = (self.gate, u64::from(self.count));
        let mut report_progress = || progress(gate.rounds.load(Ordering::Relaxed) / count, start.elapsed());
        self.measuring = true;
        let times = self.collect(&mut report_progress)?;
        self.measuring = false;
        report_progress();

        let after = self.usages()?;
        self.gate.open(Phase::Telling);
        let mut trials = Vec::new();
        let mut span: Option<(Instant, Instant)> = None;
        for news in times {
            if let News::Done(start, end) = news {
                span = Some(span.map_or((start, end), |(first, last)| (first.min(start), last.max(end))));
            }
        }
        for (news, (before, after)) in self.collect(&mut || ())?.into_iter().zip(before.iter().zip(&after)) {
            if let News::Trial(trial) = news {
                let Spent { usage, cpus } = Spent::between(before, after);
                let (mut trial, recorder) = *trial;
                (trial.server_usage, trial.cpus.server) = (usage, cpus);
                trials.push((trial, recorder));
            }
        }
        let (trials, recorders): (Vec<_>, Vec<_>) = trials.into_iter().unzip();
        Ok(Trial::together(&trials, &recorders, span.map_or(Duration::ZERO, |(first, last)| last - first)))
    }

    /// The message of each thread at the end of a phase, in the order of the threads.
    fn collect(&mut self, meanwhile: &mut dyn FnMut()) -> Result<Vec<News>, ClientError> {
        let mut all: Vec<Option<News>> = (0..self.count).map(|_| None).collect();
        let mut left = self.count;
        while left > 0 {
            match self.next(meanwhile)? {
                (number, News::Failed(error)) => return Err(self.failed(number, error)),
                (_, News::Panicked) => return Err(panicked()),
                (number, news) => {
                    if let Some(slot) = usize::try_from(number).ok().and_then(|number| all.get_mut(number)) {
                        *slot = Some(news);
                    }
                    left -= 1;
                }
            }
        }
        Ok(all.into_iter().flatten().collect())
    }

    /// The next message from any thread.
    fn next(&mut self, meanwhile: &mut dyn FnMut()) -> Result<(u32, News), ClientError> {
        loop {
            match self.messages.recv_timeout(PROGRESS) {
                Ok(message) => return Ok(message),
                Err(RecvTimeoutError::Timeout) => {
                    meanwhile();
                    if self.client.is_interrupted() {
                        if !self.measuring {
                            return Err(ClientError::Interrupted);
                        }
                        self.gate.over.store(true, Ordering::Relaxed);
                    }
                    self.look_around()?;
                }
                Err(RecvTimeoutError::Disconnected) => return Err(panicked()),
            }
        }
    }

    /// Checks for a channel that has ended without its thread noticing.
    fn look_around(&mut self) -> Result<(), ClientError> {
        let ids = self.ids();
        let Some((id, end)) = self.client.poll_end(&ids)? else { return Ok(()) };
        let number = self.number_of(id).unwrap_or(0);
        let method = self.method().to_owned();
        Err(self.one(number, ClientError::Round { method, end: Some(end), source: RoundError::Ended }))
    }

    /// Why the trial is over, which thread `number` was the first to report.
    fn failed(&mut self, number: u32, error: RoundError) -> ClientError {
        if let RoundError::Lost(_) = error {
            return self.one(number, silent(self.method()));
        }
        // Several may have ended: the daemon knows which.
        let (ids, method) = (self.ids(), self.method());
        let (culprit, error) = self.client.explain_one_of(&ids, method, error);
        let culprit = culprit.and_then(|id| self.number_of(id));
        self.one(culprit.unwrap_or(number), error)
    }

    fn ids(&self) -> Vec<ChannelId> {
        self.sides.iter().map(|(id, _)| *id).collect()
    }

    fn method(&self) -> &'static str {
        self.sides.first().map_or("", |(_, method)| method)
    }

    fn number_of(&self, channel: ChannelId) -> Option<u32> {
        (0..).zip(&self.sides).find_map(|(number, (id, _))| (*id == channel).then_some(number))
    }

    /// Names the channel that failed, if a single one did.
    fn one(&self, number: u32, error: ClientError) -> ClientError {
        match error {
            error
            @ (ClientError::Round { .. } | ClientError::Silent { .. } | ClientError::Connect { .. }) => {
                ClientError::OneOf { number: number + 1, count: self.count, source: Box::new(error) }
            }
            all => all,
        }
    }

    fn usages(&mut self) -> Result<Vec<Usage>, ClientError> {
        let mut usages = Vec::new();
        for (number, (id, method)) in (0..).zip(self.sides.clone()) {
            usages.push(self.client.usage_of(id, method).map_err(|error| self.one(number, error))?);
        }
        Ok(usages)
    }

    /// Ends all channels.
    fn close(&mut self) -> Result<(), ClientError> {
        self.sides.drain(..).try_for_each(|(id, _)| self.client.close_id(id))
    }
}

/// The scope of the threads panics for it too, once the others have ended.
fn panicked() -> ClientError {
    ClientError::Thread(std::io::Error::other("a thread of this program has panicked"))
}

impl Trial {
    /// These trials as one, in `elapsed` from the start of the first one's rounds to the end of the last
    /// one's, and its interval at a fixed rate: counts and usages are sums, latencies those of all rounds.
    fn together(trials: &[Self], recorders: &[Recorder], elapsed: Duration) -> (Self, Recorder) {
        let recorder = Recorder::together(recorders.iter());
        let usage = |side: fn(&Self) -> &Usage| {
            trials.iter().map(side).fold(Usage { migrations: Some(0), ..Usage::default() }, |a, b| a.plus(b))
        };
        let trial = Self {
            latency: Latency::of(&recorder.histogram),
            response: recorder.response.as_ref().map(Latency::of),
            series: recorder.series(),
            rounds: trials.iter().map(|trial| trial.rounds).sum(),
            lost: trials.iter().map(|trial| trial.lost).sum(),
            elapsed_ps: trials
                .iter()
                .map(|trial| trial.elapsed_ps)
                .chain([u64::try_from(elapsed.as_nanos() * 1000).unwrap_or(u64::MAX)])
                .max()
                .unwrap_or(0),
            probe: probe(trials.iter().filter_map(|trial| trial.probe)),
            longest_gap: trials.iter().filter_map(|trial| trial.longest_gap).max(),
            warmup_rounds: trials.iter().map(|trial| trial.warmup_rounds).sum(),
            warmup_time: trials.iter().map(|trial| trial.warmup_time).max().unwrap_or_default(),
            client_usage: usage(|trial| &trial.client_usage),
            server_usage: usage(|trial| &trial.server_usage),
            cpus: CpusSeen {
                client: seen(trials.iter().map(|trial| &trial.cpus.client)),
                server: seen(trials.iter().map(|trial| &trial.cpus.server)),
            },
            partial: trials.iter().any(|trial| trial.partial),
        };
        (trial, recorder)
    }
}

fn probe(probes: impl Iterator<Item = Probe>) -> Option<Probe> {
    let (sum_ps, rounds) = probes.fold((0.0, 0), |(sum_ps, rounds), probe| {
        (sum_ps + probe.untimed_mean_ps * probe.untimed_rounds as f64, rounds + probe.untimed_rounds)
    });
    (rounds > 0).then(|| Probe { untimed_mean_ps: sum_ps / rounds as f64, untimed_rounds: rounds })
}

fn seen<'a>(sides: impl Iterator<Item = &'a Vec<u32>>) -> Vec<u32> {
    let mut cpus: Vec<u32> = sides.flatten().copied().collect();
    cpus.sort_unstable();
    cpus.dedup();
    cpus
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trials_side_by_side_add_up() {
        let trial = |cpu: u32, mean: f64| Trial {
            latency: Latency::default(),
            response: None,
            series: Vec::new(),
            rounds: 100,
            lost: 1,
            elapsed_ps: 7,
            probe: Some(Probe { untimed_mean_ps: mean, untimed_rounds: 10 }),
            longest_gap: None,
            warmup_rounds: 5,
            warmup_time: Duration::from_millis(u64::from(cpu)),
            client_usage: Usage { cpu_ns: 50, migrations: Some(2), ..Usage::default() },
            server_usage: Usage { cpu_ns: 30, ..Usage::default() },
            cpus: CpusSeen { client: vec![cpu, 0], server: vec![1] },
            partial: false,
        };
        let (both, _) = Trial::together(&[trial(3, 10.0), trial(1, 20.0)], &[], Duration::from_nanos(9));
        assert_eq!((both.rounds, both.lost, both.elapsed_ps, both.warmup_rounds), (200, 2, 9000, 10));
        let paced = Trial { elapsed_ps: 12_000, ..trial(0, 10.0) };
        let (both_paced, _) = Trial::together(&[trial(3, 10.0), paced], &[], Duration::from_nanos(9));
        assert_eq!(both_paced.elapsed_ps, 12_000, "it has its last interval");
        assert_eq!(both.warmup_time, Duration::from_millis(3), "they were side by side too");
        assert_eq!(both.probe, Some(Probe { untimed_mean_ps: 15.0, untimed_rounds: 20 }));
        assert_eq!((both.client_usage.cpu_ns, both.client_usage.migrations), (100, Some(4)));
        assert_eq!((both.server_usage.cpu_ns, both.server_usage.migrations), (60, None));
        assert_eq!((both.cpus.client, both.cpus.server), (vec![0, 1, 3], vec![1]));
    }
}
