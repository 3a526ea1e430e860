//! One trial over several channels at once, each run by a thread of its own.
//!
//! The control connection stays with the thread that calls. It opens the channels one by one, and then leads the others
//! through [`Phase`]s: while rounds run, it says nothing, since whoever waits for a peer takes whatever the daemon says
//! for news of its channel's end.

use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::trial::{Runner, Spent, silent};
use super::{Plan, Trial};
use crate::client::{Client, ClientError, Opened};
use crate::protocol::{ChannelId, ChannelSpec, Usage};
use crate::transports::sys::clock::Calibration;
use crate::transports::sys::usage;
use crate::transports::{ConnectError, RoundError};

/// How often progress is told.
const PROGRESS: Duration = Duration::from_millis(200);

/// Runs one trial over `count` fresh channels, and closes them. Rounds begin once all channels are open and warm.
/// `progress` hears now and then how many rounds each channel has done on average; `overhead` grows by what opening and
/// closing took. The plan's interval is not heeded.
///
/// # Errors
/// A channel cannot be opened, or breaks off: [`ClientError::OneOf`] says which.
pub fn run(
    client: &mut Client,
    spec: &ChannelSpec,
    count: u32,
    calibration: &Calibration,
    plan: &Plan,
    overhead: &mut Duration,
    progress: &mut dyn FnMut(u64, Duration),
) -> Result<Trial, ClientError> {
    let control = client.as_fd().try_clone_to_owned().map_err(ClientError::Thread)?;
    let gate = Gate::default();
    let (tell, told) = channel();
    thread::scope(|scope| {
        // However this ends, nobody waits at the gate for ever.
        let _end = EndsWithMe(&gate);
        let mut lead = Lead { client, gate: &gate, told, count, sides: Vec::new() };
        let opening = Instant::now();
        let outcome = (0..count)
            .try_for_each(|number| {
                lead.open(spec, |opened| {
                    let (tell, control, gate) = (tell.clone(), control.as_fd(), &gate);
                    let side = move || Side { number, tell, gate }.run(opened, control, calibration, plan);
                    thread::Builder::new().spawn_scoped(scope, side).map(|_| ())
                })
            })
            .and_then(|()| {
                *overhead += opening.elapsed();
                lead.measure(progress)
            });
        let closing = Instant::now();
        gate.over.store(true, Ordering::Relaxed);
        let closed = lead.close();
        *overhead += closing.elapsed();
        let trial = outcome?;
        closed.map(|()| trial)
    })
}

/// How far the trial has come. Each thread tells once that it is through with a phase.
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

    /// Waits for a phase; tells whether it has come, and not the end.
    fn wait_for(&self, phase: Phase) -> bool {
        let mut now = self.phase.lock().unwrap_or_else(PoisonError::into_inner);
        while *now < phase {
            now = self.moved.wait(now).unwrap_or_else(PoisonError::into_inner);
        }
        *now == phase
    }
}

struct EndsWithMe<'a>(&'a Gate);

impl Drop for EndsWithMe<'_> {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::Relaxed);
        self.0.open(Phase::Over);
    }
}

/// What a thread tells.
enum News {
    Unconnected(ConnectError),
    Failed(RoundError),
    Connected,
    Warm,
    /// Its rounds began and ended.
    Done(Instant, Instant),
    Trial(Box<Trial>),
    Panicked,
}

/// A thread with its channel.
struct Side<'a> {
    number: u32,
    tell: Sender<(u32, News)>,
    gate: &'a Gate,
}

impl Side<'_> {
    fn tell(&self, news: News) {
        // Nobody listens any more if the trial is over.
        let _ = self.tell.send((self.number, news));
    }

    fn run(&self, opened: Opened, control: BorrowedFd<'_>, calibration: &Calibration, plan: &Plan) {
        let mut channel = match opened.connect(control) {
            Ok(channel) => channel,
            Err(error) => return self.tell(News::Unconnected(error)),
        };
        self.tell(News::Connected);
        if !self.gate.wait_for(Phase::WarmUp) {
            return;
        }
        let mut runner = Runner::new(&mut channel, calibration, plan).until(&self.gate.over);
        let warmup = match runner.warm_up() {
            Ok(warmup) => warmup,
            Err(error) => return self.tell(News::Failed(error)),
        };
        let before = usage(None).unwrap_or_default();
        self.tell(News::Warm);
        if !self.gate.wait_for(Phase::Rounds) {
            return;
        }
        let mut counted = 0;
        let mut count = |rounds| {
            self.gate.rounds.fetch_add(rounds - counted, Ordering::Relaxed);
            counted = rounds;
        };
        let start = Instant::now();
        let outcome = runner.measure(&mut |rounds, _| count(rounds), &mut |_| ControlFlow::Continue(()));
        let end = Instant::now();
        if let Err(error) = outcome {
            return self.tell(News::Failed(error));
        }
        self.tell(News::Done(start, end));
        if !self.gate.wait_for(Phase::Telling) {
            return;
        }
        let spent = Spent::between(&before, &usage(None).unwrap_or_default());
        self.tell(News::Trial(Box::new(runner.into_trial(warmup, spent, Spent::default()))));
        // The channel lives until it is closed.
        self.gate.wait_for(Phase::Over);
    }
}

impl Drop for Side<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.tell(News::Panicked);
        }
    }
}

/// The thread that holds the control connection.
struct Lead<'a> {
    client: &'a mut Client,
    gate: &'a Gate,
    told: Receiver<(u32, News)>,
    count: u32,
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
        start(opened).map_err(ClientError::Thread)?;
        match self.told.recv() {
            Ok((_, News::Connected)) => Ok(()),
            Ok((number, News::Unconnected(error))) => {
                let error = self.client.not_connected(id, method, error);
                self.sides.pop();
                Err(self.one(number, error))
            }
            Ok(_) | Err(_) => Err(panicked()),
        }
    }

    fn measure(&mut self, progress: &mut dyn FnMut(u64, Duration)) -> Result<Trial, ClientError> {
        self.gate.open(Phase::WarmUp);
        self.collect(&mut || ())?;
        let before = self.usages()?;

        let start = Instant::now();
        self.gate.open(Phase::Rounds);
        let (gate, count) = (self.gate, u64::from(self.count));
        let mut tell_progress = || progress(gate.rounds.load(Ordering::Relaxed) / count, start.elapsed());
        let times = self.collect(&mut tell_progress)?;
        tell_progress();

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
                let mut trial = *trial;
                (trial.server_usage, trial.cpus.server) = (usage, cpus);
                trials.push(trial);
            }
        }
        Ok(Trial::together(&trials, span.map_or(Duration::ZERO, |(first, last)| last - first)))
    }

    /// What each thread tells at the end of a phase, in their order.
    fn collect(&mut self, meanwhile: &mut dyn FnMut()) -> Result<Vec<News>, ClientError> {
        let mut all: Vec<Option<News>> = (0..self.count).map(|_| None).collect();
        let mut left = self.count;
        while left > 0 {
            match self.told.recv_timeout(PROGRESS) {
                Ok((number, News::Failed(error))) => return Err(self.failed(number, error)),
                Ok((_, News::Panicked)) | Err(RecvTimeoutError::Disconnected) => return Err(panicked()),
                Ok((number, news)) => {
                    if let Some(slot) = usize::try_from(number).ok().and_then(|number| all.get_mut(number)) {
                        *slot = Some(news);
                    }
                    left -= 1;
                }
                Err(RecvTimeoutError::Timeout) => meanwhile(),
            }
        }
        Ok(all.into_iter().flatten().collect())
    }

    /// Why the trial is over, of which thread `number` was the first to tell.
    fn failed(&mut self, number: u32, error: RoundError) -> ClientError {
        self.gate.over.store(true, Ordering::Relaxed);
        let method = self.sides.first().map_or("", |(_, method)| method);
        if let RoundError::Lost(_) = error {
            return self.one(number, silent(method));
        }
        let ids: Vec<ChannelId> = self.sides.iter().map(|(id, _)| *id).collect();
        // All watch the one connection, so that any of them may have seen that another channel has ended.
        let (culprit, error) = self.client.explain_one_of(&ids, method, error);
        let culprit = culprit.and_then(|id| ids.iter().position(|own| *own == id));
        self.one(culprit.and_then(|index| u32::try_from(index).ok()).unwrap_or(number), error)
    }

    /// Says which channel it was that broke off, where it was one.
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

    /// Ends all channels, which ends a wait for a round too.
    fn close(&mut self) -> Result<(), ClientError> {
        self.sides.drain(..).try_for_each(|(id, _)| self.client.close_id(id))
    }
}

/// The scope of the threads panics for it too, once the others have ended.
fn panicked() -> ClientError {
    ClientError::Thread(std::io::Error::other("a thread of this program has panicked"))
}
