//! The timed loops: generic code, compiled once for each mechanism, and where each round is timed, for each clock.
//!
//! Between two clock reads there is one round and nothing else: no allocation, no lock, no log line, no virtual call.
//! One clock read serves as the end of a round and the start of the next, where nothing separates them.
//! No difference is assumed to be positive: a time stamp counter may restart while the host is suspended.

use std::hint::spin_loop;
use std::time::Duration;

use rustix::thread::{ClockId, clock_nanosleep_relative};
use rustix::time::Timespec;

use super::payload::Payload;
use super::sys::clock::{Clock, ClockSource, Scale};
use super::{RoundError, Watch};

/// The client's side of one mechanism: a single round.
pub(crate) trait Round {
    /// Sends the ping of `round` and waits for its pong. Rounds are numbered from 1, without a gap.
    ///
    /// # Errors
    /// See [`RoundError`].
    fn round(&mut self, round: u64, watch: &mut Watch) -> Result<(), RoundError>;

    /// What it sends and receives.
    fn payload(&mut self) -> &mut Payload;
}

/// The result of a block of rounds.
#[derive(Debug)]
pub struct Block {
    /// Rounds that completed.
    pub done: usize,
    /// Clock ticks from the start of the block to its end, including a failed round.
    pub ticks: u64,
    /// Why it ended before its last round, which is then the round after those that completed.
    pub stop: Option<RoundError>,
}

/// The client's side of any mechanism: a block of rounds for one virtual call. The latencies are stored in clock
/// ticks.
pub trait Rounds {
    /// Runs `service.len()` rounds from round `first` on, and stores what each took.
    fn timed(&mut self, first: u64, clock: ClockSource, service: &mut [u64], watch: &mut Watch) -> Block;

    /// Runs `count` rounds from round `first` on, and times them as a whole.
    fn untimed(&mut self, first: u64, clock: ClockSource, count: usize, watch: &mut Watch) -> Block;

    /// As [`timed`](Self::timed), but each round starts when the pacer says; `response`, as long as `service`, gets
    /// the time from then to its end.
    fn paced(
        &mut self,
        first: u64,
        clock: ClockSource,
        pacer: &mut Pacer,
        service: &mut [u64],
        response: &mut [u64],
        watch: &mut Watch,
    ) -> Block;

    /// Compares the last pong with the last ping, byte by byte, and changes the payload for the rounds to come.
    ///
    /// # Errors
    /// [`RoundError::WrongPong`].
    fn verify(&mut self) -> Result<(), RoundError>;
}

impl<R: Round> Rounds for R {
    fn timed(&mut self, first: u64, clock: ClockSource, service: &mut [u64], watch: &mut Watch) -> Block {
        match clock {
            ClockSource::Tsc(clock) => timed(self, first, clock, service, watch),
            ClockSource::Monotonic(clock) => timed(self, first, clock, service, watch),
        }
    }

    fn untimed(&mut self, first: u64, clock: ClockSource, count: usize, watch: &mut Watch) -> Block {
        untimed(self, first, clock, count, watch)
    }

    fn paced(
        &mut self,
        first: u64,
        clock: ClockSource,
        pacer: &mut Pacer,
        service: &mut [u64],
        response: &mut [u64],
        watch: &mut Watch,
    ) -> Block {
        paced(self, first, clock, pacer, service, response, watch)
    }

    fn verify(&mut self) -> Result<(), RoundError> {
        self.payload().verify()
    }
}

fn timed<R: Round, C: Clock>(
    side: &mut R,
    first: u64,
    clock: C,
    service: &mut [u64],
    watch: &mut Watch,
) -> Block {
    let start = clock.now();
    let mut last = start;
    let mut round = first;
    for slot in service.iter_mut() {
        if let Err(stop) = side.round(round, watch) {
            return Block {
                done: done(first, round),
                ticks: clock.now().saturating_sub(start),
                stop: Some(stop),
            };
        }
        let now = clock.now();
        *slot = now.saturating_sub(last);
        last = now;
        round += 1;
    }
    Block { done: done(first, round), ticks: last.saturating_sub(start), stop: None }
}

fn untimed<R: Round>(side: &mut R, first: u64, clock: ClockSource, count: usize, watch: &mut Watch) -> Block {
    let start = clock.now();
    let mut round = first;
    for _ in 0..count {
        if let Err(stop) = side.round(round, watch) {
            return Block {
                done: done(first, round),
                ticks: clock.now().saturating_sub(start),
                stop: Some(stop),
            };
        }
        round += 1;
    }
    Block { done: done(first, round), ticks: clock.now().saturating_sub(start), stop: None }
}

fn paced<R: Round>(
    side: &mut R,
    first: u64,
    clock: ClockSource,
    pacer: &mut Pacer,
    service: &mut [u64],
    response: &mut [u64],
    watch: &mut Watch,
) -> Block {
    let start = clock.now();
    let mut round = first;
    for (service, response) in service.iter_mut().zip(response) {
        let intended = pacer.wait(clock);
        let sent = clock.now();
        let result = side.round(round, watch);
        let now = clock.now();
        pacer.done(now);
        if let Err(stop) = result {
            return Block { done: done(first, round), ticks: now.saturating_sub(start), stop: Some(stop) };
        }
        *service = now.saturating_sub(sent);
        *response = now.saturating_sub(intended);
        round += 1;
    }
    Block { done: done(first, round), ticks: clock.now().saturating_sub(start), stop: None }
}

fn done(first: u64, next: u64) -> usize {
    usize::try_from(next - first).expect("a block's length is a usize")
}

/// The spinning part of a wait, since the kernel's timers are not exact: their default slack is 50 µs, and waking up
/// takes as long again.
const SPUN: Duration = Duration::from_micros(100);

/// What decides when a round starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// This long after the end of the last one: each starts from rest.
    Gap(Duration),
    /// One per interval, whether the last one is done or not: a late one starts at once, and its response time counts from
    /// when it should have started.
    Every(Duration),
}

/// Keeps the pace. The client sleeps while there is time, and spins for the last 100 µs before a start.
#[derive(Debug)]
pub struct Pacer {
    pace: Pace,
    interval: u64,
    scale: Scale,
    /// When the next round starts, in clock ticks; `None` before the first.
    next: Option<u64>,
}

impl Pacer {
    /// A pacer for a clock of this scale.
    #[must_use]
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a duration's ticks are no more than that"
    )]
    pub(crate) fn new(pace: Pace, scale: Scale) -> Self {
        let (Pace::Gap(interval) | Pace::Every(interval)) = pace;
        Self { pace, interval: (interval.as_nanos() as f64 * scale.ticks_per_ns()) as u64, scale, next: None }
    }

    /// Waits for the next start, and returns when it should have been.
    #[inline(never)]
    fn wait(&mut self, clock: ClockSource) -> u64 {
        let mut intended = *self.next.get_or_insert_with(|| clock.now());
        loop {
            let now = clock.now();
            let Some(left) = intended.checked_sub(now).filter(|left| *left > 0) else { break };
            // No start is further away than that, unless the clock has gone back: it may while the host is suspended.
            if left > self.interval {
                intended = now;
                break;
            }
            let left = Duration::from_nanos(self.scale.to_ps(left) / 1000);
            if left > SPUN {
                let sleep = left - SPUN;
                let sleep = Timespec::try_from(sleep).unwrap_or(Timespec { tv_sec: 1, tv_nsec: 0 });
                // A tick may interrupt it; the loop then waits for the rest.
                let _ = clock_nanosleep_relative(ClockId::Monotonic, &sleep);
            } else {
                spin_loop();
            }
        }
        if let Pace::Every(_) = self.pace {
            self.next = Some(intended + self.interval);
        }
        intended
    }

    /// The round has ended at `now`.
    #[inline]
    fn done(&mut self, now: u64) {
        if let Pace::Gap(_) = self.pace {
            self.next = Some(now + self.interval);
        }
    }
}
