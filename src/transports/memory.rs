//! Both sides of any mechanism over memory that both sides see: the layout, the proof, and the rounds.
//!
//! Layout, offsets in bytes:
//!
//! | offset | what |
//! |---|---|
//! | 0 | proof: word, flag of the responder, flag of the client |
//! | 16, 32 | the halves of the token |
//! | 48, 56 | what client and responder tell of themselves |
//! | 128 | a payload of up to 48 bytes: word, the flags, payload: one cache line for both directions |
//! | 256, 384 | a larger payload: word of the ping, of the pong |
//! | 512, 640 | and the flags of those who wait for them |
//! | 4096 | the ping, then (on a page of its own) the pong |
//!
//! Round `r` is published as the word `2r - 1` by the client and as `2r` by the responder.

use std::sync::atomic::Ordering;

use rustix::thread::{CpuSet, sched_getaffinity};

use super::contract::While;
use super::payload::Payload;
use super::proof::proof_broke_off;
use super::sys::Region;
use super::turn::{Adaptive, Barrier, Block, Spin, Strategy, Turn};
use super::{
    ConnectError, Round, RoundError, Rounds, ServeError, Served, Settings, Supervisor, Unwatched, Watch,
};
use crate::protocol::{Token, Wait};

/// Bytes of memory that a channel needs.
pub(super) fn len(settings: &Settings) -> usize {
    let size = settings.size;
    if size <= MAX_INLINE { PAGE } else { pong_offset(size) + size }
}

/// The responder's side. `remove_name` is called when the client has proved itself.
pub(super) fn serve(
    memory: &Region,
    settings: &Settings,
    supervisor: &mut Supervisor,
    remove_name: impl FnOnce(),
) -> Result<Served, ServeError> {
    let ours = Facts::ours(settings);
    let theirs = check_peer(memory, &settings.token, ours, supervisor)?;
    remove_name();
    supervisor.proven()?;
    let error = choose(Echo { memory }, settings, ours, theirs);
    Err(std::io::Error::other(error)).while_doing("echoing")?
}

/// The client's side.
pub(super) fn connect(
    memory: Region,
    settings: &Settings,
    watch: &mut Watch,
) -> Result<Box<dyn Rounds>, ConnectError> {
    let memory = memory.outliving_truncation().while_doing("preparing for the memory's truncation")?;
    let ours = Facts::ours(settings);
    let theirs = prove(&memory, &settings.token, ours, watch)?;
    let payload = Payload::new(settings.size, &settings.token);
    Ok(choose(MakeClient { memory, payload }, settings, ours, theirs))
}

const PROOF_WORD: usize = 0;
const PROOF_RESPONDER_SLEEPS: usize = 4;
const PROOF_CLIENT_SLEEPS: usize = 8;
const PROOF_CLIENT_HALF: usize = 16;
const PROOF_RESPONDER_HALF: usize = 32;
const CLIENT_FACTS: usize = 48;
const RESPONDER_FACTS: usize = 56;

/// Values of the proof's word.
const SHOWN: u32 = 1;
const ANSWERED: u32 = 2;

/// A larger payload's place.
fn pong_offset(size: usize) -> usize {
    PAGE + size.next_multiple_of(PAGE)
}

const PAGE: usize = 4096;

/// The largest payload that shares the cache line of its word.
const MAX_INLINE: usize = 48;

/// Where a payload and its words are, and how it is copied.
trait Form: Copy + 'static {
    /// Offsets of the ping's word and of the flag of the side that waits for it.
    const PING: (usize, usize);
    /// Offsets of the pong's.
    const PONG: (usize, usize);

    /// What the responder keeps a payload in.
    type Buffer;

    fn buffer(self) -> Self::Buffer;
    /// Sends the payload with the round's number in it; the payload's own copy is not stamped.
    fn send_ping(self, memory: &Region, payload: &Payload, round: u64);
    fn receive_ping(self, memory: &Region, buffer: &mut Self::Buffer);
    fn send_pong(self, memory: &Region, buffer: &Self::Buffer);
    fn receive_pong(self, memory: &Region, payload: &mut Payload);

    #[inline(always)]
    fn turn(memory: &Region, (word, sleeps): (usize, usize)) -> Turn<'_> {
        Turn { word: memory.word(word), sleeps: memory.word(sleeps) }
    }
}

/// A payload of up to `LEN` bytes beside its word: a round moves one cache line to and fro. `LEN` bytes are copied,
/// also where the payload has fewer.
#[derive(Debug, Clone, Copy)]
struct Beside<const LEN: usize>;

impl<const LEN: usize> Beside<LEN> {
    const PAYLOAD: usize = 144;
}

impl<const LEN: usize> Form for Beside<LEN> {
    const PING: (usize, usize) = (128, 132);
    const PONG: (usize, usize) = (128, 136);

    type Buffer = [u8; LEN];

    fn buffer(self) -> [u8; LEN] {
        [0; LEN]
    }

    #[inline(always)]
    fn send_ping(self, memory: &Region, payload: &Payload, round: u64) {
        memory.store::<LEN>(Self::PAYLOAD, payload.ping_piece());
        payload.stamps(round, |at, stamp| memory.write(Self::PAYLOAD + at, stamp));
    }

    #[inline(always)]
    fn receive_ping(self, memory: &Region, buffer: &mut [u8; LEN]) {
        memory.load(Self::PAYLOAD, buffer);
    }

    #[inline(always)]
    fn send_pong(self, memory: &Region, buffer: &[u8; LEN]) {
        memory.store(Self::PAYLOAD, buffer);
    }

    #[inline(always)]
    fn receive_pong(self, memory: &Region, payload: &mut Payload) {
        memory.load::<LEN>(Self::PAYLOAD, payload.pong_piece());
    }
}

/// A payload of any size on pages of its own; words and flags on cache lines of their own: a look at a flag that stood
/// beside its word would wait for the word's line, which the other side polls.
#[derive(Debug, Clone, Copy)]
struct Apart {
    size: usize,
}

impl Form for Apart {
    const PING: (usize, usize) = (256, 512);
    const PONG: (usize, usize) = (384, 640);

    type Buffer = Vec<u8>;

    fn buffer(self) -> Vec<u8> {
        vec![0; self.size]
    }

    #[inline(always)]
    fn send_ping(self, memory: &Region, payload: &Payload, round: u64) {
        memory.write(PAGE, payload.ping());
        payload.stamps(round, |at, stamp| memory.write(PAGE + at, stamp));
    }

    #[inline(always)]
    fn receive_ping(self, memory: &Region, buffer: &mut Vec<u8>) {
        memory.read(PAGE, buffer);
    }

    #[inline(always)]
    fn send_pong(self, memory: &Region, buffer: &Vec<u8>) {
        memory.write(pong_offset(self.size), buffer);
    }

    #[inline(always)]
    fn receive_pong(self, memory: &Region, payload: &mut Payload) {
        memory.read(pong_offset(self.size), payload.pong());
    }
}

/// Something that is compiled once for each form and wait strategy.
trait Job {
    type Result;
    fn with(self, form: impl Form, strategy: impl Strategy) -> Self::Result;
}

/// Does the job with the form that the size asks for, and with a strategy.
fn with_form<J: Job>(job: J, size: usize, strategy: impl Strategy) -> J::Result {
    match size {
        0..=8 => job.with(Beside::<8>, strategy),
        9..=MAX_INLINE => job.with(Beside::<MAX_INLINE>, strategy),
        _ => job.with(Apart { size }, strategy),
    }
}

/// Does the job as the settings, and what both sides know of each other, ask for.
fn choose<J: Job>(job: J, settings: &Settings, ours: Facts, theirs: Facts) -> J::Result {
    let barrier = if ours.registered && theirs.registered { Barrier::Asymmetric } else { Barrier::Fences };
    match settings.wait {
        Wait::Spin => with_form(job, settings.size, Spin),
        // Looking again is in vain while the other side cannot run.
        Wait::Adaptive if ours.cpu.is_some() && ours.cpu == theirs.cpu => {
            with_form(job, settings.size, Block)
        }
        Wait::Adaptive => with_form(job, settings.size, Adaptive(barrier)),
        Wait::Block => with_form(job, settings.size, Block),
    }
}

/// What the other side must know of a side to choose as it does. Told before the proof's word is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Facts {
    /// The only CPU that it may run on.
    cpu: Option<u32>,
    /// Whether the other side's `membarrier` reaches it.
    registered: bool,
}

impl Facts {
    fn ours(settings: &Settings) -> Self {
        let cpu = sched_getaffinity(None)
            .ok()
            .filter(|cpus| cpus.count() == 1)
            .and_then(|cpus| (0..CpuSet::MAX_CPU).find(|cpu| cpus.is_set(*cpu)))
            .and_then(|cpu| u32::try_from(cpu).ok());
        Self { cpu, registered: settings.wait == Wait::Adaptive && Barrier::register() }
    }

    fn tell(self, memory: &Region, at: usize) {
        memory.word(at).store(self.cpu.map_or(0, |cpu| cpu + 1), Ordering::Relaxed);
        memory.word(at + 4).store(u32::from(self.registered), Ordering::Relaxed);
    }

    fn told(memory: &Region, at: usize) -> Self {
        Self {
            cpu: memory.word(at).load(Ordering::Relaxed).checked_sub(1),
            registered: memory.word(at + 4).load(Ordering::Relaxed) != 0,
        }
    }
}

/// The words of a round: the ping's and the pong's. They wrap around, as both sides' do.
#[inline(always)]
#[allow(clippy::cast_possible_truncation, reason = "wraps around on purpose")]
fn words(round: u64) -> (u32, u32) {
    let pong = (round as u32).wrapping_mul(2);
    (pong.wrapping_sub(1), pong)
}

fn proof_turns(memory: &Region) -> (Turn<'_>, Turn<'_>) {
    let word = memory.word(PROOF_WORD);
    (
        Turn { word, sleeps: memory.word(PROOF_RESPONDER_SLEEPS) },
        Turn { word, sleeps: memory.word(PROOF_CLIENT_SLEEPS) },
    )
}

/// The responder's proof; returns what the client has told.
fn check_peer(
    memory: &Region,
    token: &Token,
    ours: Facts,
    supervisor: &mut Supervisor,
) -> Result<Facts, ServeError> {
    let (shown, answered) = proof_turns(memory);
    let mut half = [0; Token::HALF_LEN];
    Block.wait_for(shown, SHOWN, supervisor, 0).map_err(proof_broke_off)?;
    memory.read(PROOF_CLIENT_HALF, &mut half);
    if half != *token.client_half() {
        return Err(ServeError::WrongToken);
    }
    let theirs = Facts::told(memory, CLIENT_FACTS);
    memory.write(PROOF_RESPONDER_HALF, token.responder_half());
    ours.tell(memory, RESPONDER_FACTS);
    Block.publish(answered, ANSWERED);
    Ok(theirs)
}

/// The client's proof; returns what the responder has told.
fn prove(memory: &Region, token: &Token, ours: Facts, watch: &mut Watch) -> Result<Facts, ConnectError> {
    watch.restart();
    let (shown, answered) = proof_turns(memory);
    let mut half = [0; Token::HALF_LEN];
    memory.write(PROOF_CLIENT_HALF, token.client_half());
    ours.tell(memory, CLIENT_FACTS);
    Block.publish(shown, SHOWN);
    Block.wait_for(answered, ANSWERED, watch, 0)?;
    memory.read(PROOF_RESPONDER_HALF, &mut half);
    if half != *token.responder_half() {
        return Err(ConnectError::WrongToken);
    }
    Ok(Facts::told(memory, RESPONDER_FACTS))
}

/// The client's side.
struct Client<F, S> {
    memory: Region,
    payload: Payload,
    form: F,
    strategy: S,
}

/// Makes the client's side.
struct MakeClient {
    memory: Region,
    payload: Payload,
}

impl Job for MakeClient {
    type Result = Box<dyn Rounds>;

    fn with(self, form: impl Form, strategy: impl Strategy) -> Box<dyn Rounds> {
        Box::new(Client { memory: self.memory, payload: self.payload, form, strategy })
    }
}

impl<F: Form, S: Strategy> Round for Client<F, S> {
    #[inline(always)]
    fn round(&mut self, round: u64, watch: &mut Watch) -> Result<(), RoundError> {
        let (ping, pong) = words(round);
        // Numbered where it is sent: a copy of what was just stored in pieces of another size would wait for the stores.
        self.form.send_ping(&self.memory, &self.payload, round);
        self.strategy.publish(F::turn(&self.memory, F::PING), ping);
        self.payload.stamp(round);
        self.strategy.wait_for(F::turn(&self.memory, F::PONG), pong, watch, round)?;
        self.form.receive_pong(&self.memory, &mut self.payload);
        self.payload.check(round)
    }

    fn payload(&mut self) -> &mut Payload {
        &mut self.payload
    }
}

/// The responder's side: echoes until it is ended, since memory does not tell that the client has gone.
struct Echo<'a> {
    memory: &'a Region,
}

impl Job for Echo<'_> {
    type Result = RoundError;

    fn with(self, form: impl Form, strategy: impl Strategy) -> RoundError {
        echo(self.memory, form, strategy)
    }
}

fn echo<F: Form>(memory: &Region, form: F, strategy: impl Strategy) -> RoundError {
    let mut buffer = form.buffer();
    let (pings, pongs) = (F::turn(memory, F::PING), F::turn(memory, F::PONG));
    for round in 1.. {
        let (ping, pong) = words(round);
        if let Err(error) = strategy.wait_for(pings, ping, &mut Unwatched, round) {
            return error;
        }
        form.receive_ping(memory, &mut buffer);
        form.send_pong(memory, &buffer);
        strategy.publish(pongs, pong);
    }
    unreachable!("rounds do not run out")
}
