//! An open data channel, ready for rounds.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use crate::protocol::ChannelId;
use crate::transports::sys::clock::{Calibration, ClockChoice, ClockSource};
use crate::transports::sys::find_room;
use crate::transports::{
    Block, CallError, ConnectError, Endpoint, Mechanism, Pacer, RoundError, Rounds, Settings, Watch,
};

/// A data channel that is open but not connected yet ([`Client::ask`](super::Client::ask)). Unlike a [`Channel`] it can be
/// sent to another thread.
pub struct Opened {
    id: ChannelId,
    mechanism: &'static dyn Mechanism,
    settings: Settings,
    endpoint: Endpoint,
    responder_pid: u32,
}

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Opened({}, {})", self.id, self.settings.method)
    }
}

impl Opened {
    pub(super) fn new(
        id: ChannelId,
        mechanism: &'static dyn Mechanism,
        settings: Settings,
        endpoint: Endpoint,
        responder_pid: u32,
    ) -> Self {
        Self { id, mechanism, settings, endpoint, responder_pid }
    }

    /// The daemon's number of the channel.
    #[must_use]
    pub(crate) fn id(&self) -> ChannelId {
        self.id
    }

    /// The method's name, such as `tcp`.
    #[must_use]
    pub(crate) fn method(&self) -> &'static str {
        self.settings.method
    }

    /// Connects to the channel, which then belongs to the calling thread. A wait for the peer ends once `events` is readable:
    /// the control connection, if no other thread reads from it, else a pipe of the thread that does.
    ///
    /// # Errors
    /// Connecting fails, or the system allows no more descriptors or timers.
    pub fn connect(self, events: BorrowedFd<'_>) -> Result<Channel, ConnectError> {
        let Self { id, mechanism, settings, endpoint, responder_pid } = self;
        find_room(mechanism.holds(settings.size))
            .map_err(|source| CallError { what: "finding memory for the payloads", source })?;
        let watching = |source| CallError { what: "watching the control connection", source };
        let mut watch = Watch::new(events).map_err(watching)?;
        let rounds = mechanism.connect(&settings, endpoint, &mut watch)?;
        Ok(Channel::new(id, settings, responder_pid, rounds, watch))
    }
}

/// An open data channel to a responder process, on which rounds are run.
///
/// A round is a ping with a payload of the channel's size and a pong with the same; only a pong with the round's number
/// counts. The channel belongs to the thread that connected it, since a timer interrupts that thread's waits. Close it with
/// [`Client::close`](super::Client::close).
pub struct Channel {
    id: ChannelId,
    settings: Settings,
    responder_pid: u32,
    rounds: Box<dyn Rounds>,
    watch: Watch,
    next: u64,
}

impl std::fmt::Debug for Channel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Channel({}, {}, round {})", self.id, self.settings.method, self.next)
    }
}

impl Channel {
    pub(super) fn new(
        id: ChannelId,
        settings: Settings,
        responder_pid: u32,
        rounds: Box<dyn Rounds>,
        watch: Watch,
    ) -> Self {
        Self { id, settings, responder_pid, rounds, watch, next: 1 }
    }

    /// The daemon's number of the channel.
    #[must_use]
    pub fn id(&self) -> ChannelId {
        self.id
    }

    /// The method's name, such as `tcp`.
    #[must_use]
    pub fn method(&self) -> &'static str {
        self.settings.method
    }

    /// The process ID of the responder.
    #[must_use]
    pub fn responder_pid(&self) -> u32 {
        self.responder_pid
    }

    /// Runs `count` rounds and returns the latency of each: the time from sending the ping to receiving its pong.
    ///
    /// # Errors
    /// The first round that fails; a lost datagram is a failure too.
    pub fn timed(&mut self, count: usize) -> Result<Vec<Duration>, RoundError> {
        let calibration = Calibration::run(ClockChoice::Auto).map_err(std::io::Error::other)?;
        let mut ticks = vec![0; count];
        let block = self.timed_block(calibration.source, &mut ticks);
        if let Some(error) = block.stop {
            return Err(error);
        }
        self.verify()?;
        Ok(ticks.into_iter().map(|ticks| Duration::from_secs_f64(calibration.to_ns(ticks) / 1e9)).collect())
    }

    #[doc(hidden)]
    /// Runs `ticks.len()` rounds and stores the latency of each in `ticks`, in ticks of `clock`.
    pub fn timed_block(&mut self, clock: ClockSource, ticks: &mut [u64]) -> Block {
        let block = self.rounds.timed(self.next, clock, ticks, &mut self.watch);
        self.advance(&block);
        block
    }

    #[doc(hidden)]
    /// Runs `count` rounds and times them as a whole.
    pub fn untimed_block(&mut self, clock: ClockSource, count: usize) -> Block {
        let block = self.rounds.untimed(self.next, clock, count, &mut self.watch);
        self.advance(&block);
        block
    }

    /// Runs rounds that start when the pacer says. `service` receives their latencies; `response`, of the same length, the
    /// times from their intended starts. Both are in ticks of `clock`.
    pub(crate) fn paced_block(
        &mut self,
        clock: ClockSource,
        pacer: &mut Pacer,
        service: &mut [u64],
        response: &mut [u64],
    ) -> Block {
        let block = self.rounds.paced(self.next, clock, pacer, service, response, &mut self.watch);
        self.advance(&block);
        block
    }

    /// Compares every byte of the last pong with the last ping, and changes the payload for later rounds.
    ///
    /// # Errors
    /// [`RoundError::WrongPong`] if they differ.
    pub fn verify(&mut self) -> Result<(), RoundError> {
        self.rounds.verify()
    }

    /// The number of a failed round is not reused: its late pong must not be taken for that of the next round.
    fn advance(&mut self, block: &Block) {
        let failed = u64::from(block.stop.is_some());
        self.next += u64::try_from(block.done).expect("a usize fits in a u64") + failed;
    }
}
