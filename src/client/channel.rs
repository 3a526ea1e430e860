//! An open data channel, ready for rounds.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use crate::protocol::ChannelId;
use crate::transports::sys::clock::{Calibration, ClockChoice, ClockSource};
use crate::transports::sys::find_room;
use crate::transports::{
    Block, CallError, ConnectError, Endpoint, Mechanism, Pacer, RoundError, Rounds, Settings, Watch,
};

/// A data channel that the daemon has opened and nobody has connected to yet. Unlike a [`Channel`] it belongs to no
/// thread: it goes to the one that is to run its rounds.
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

    /// The daemon's number for it.
    #[must_use]
    pub(crate) fn id(&self) -> ChannelId {
        self.id
    }

    /// The mechanism's name.
    #[must_use]
    pub(crate) fn method(&self) -> &'static str {
        self.settings.method
    }

    /// Connects to it. The channel belongs to the calling thread, which gives up a wait for its peer once `news` can be
    /// read: the control connection, if this thread alone speaks through it, or what another thread holds that does.
    ///
    /// # Errors
    /// The connection fails, or the system allows no more descriptors or timers.
    pub(crate) fn connect(self, news: BorrowedFd<'_>) -> Result<Channel, ConnectError> {
        let Self { id, mechanism, settings, endpoint, responder_pid } = self;
        find_room(mechanism.holds(settings.size))
            .map_err(|source| CallError { what: "finding memory for the payloads", source })?;
        let watching = |source| CallError { what: "watching the control connection", source };
        let mut watch = Watch::new(news).map_err(watching)?;
        let rounds = mechanism.connect(&settings, endpoint, &mut watch)?;
        Ok(Channel::new(id, settings, responder_pid, rounds, watch))
    }
}

/// An open data channel. It belongs to the thread that connected it, since a timer interrupts that thread's waits.
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

    /// The daemon's number for it.
    #[must_use]
    pub fn id(&self) -> ChannelId {
        self.id
    }

    /// The mechanism's name.
    #[must_use]
    pub fn method(&self) -> &'static str {
        self.settings.method
    }

    /// The responder's process.
    #[must_use]
    pub fn responder_pid(&self) -> u32 {
        self.responder_pid
    }

    /// Runs `count` rounds and returns the latency of each round trip.
    ///
    /// # Errors
    /// The first round that fails, a lost datagram included.
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

    /// Runs a block of rounds and stores what each took in clock ticks.
    pub fn timed_block(&mut self, clock: ClockSource, ticks: &mut [u64]) -> Block {
        let block = self.rounds.timed(self.next, clock, ticks, &mut self.watch);
        self.advance(&block);
        block
    }

    /// Runs a block of rounds and times it as a whole.
    pub fn untimed_block(&mut self, clock: ClockSource, count: usize) -> Block {
        let block = self.rounds.untimed(self.next, clock, count, &mut self.watch);
        self.advance(&block);
        block
    }

    /// Runs a block of rounds that start when the pacer says; `response`, as long as `service`, gets the time from then.
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

    /// Compares the last pong with the last ping, byte by byte, and changes the payload for the rounds to come.
    ///
    /// # Errors
    /// [`RoundError::WrongPong`].
    pub fn verify(&mut self) -> Result<(), RoundError> {
        self.rounds.verify()
    }

    /// A round that failed is not run again: its late answer must not be taken for the next one's.
    fn advance(&mut self, block: &Block) {
        let failed = u64::from(block.stop.is_some());
        self.next += u64::try_from(block.done).expect("a usize fits in a u64") + failed;
    }
}
