//! Both sides of any mechanism over memory that both sides see: the layout, the proof, and the rounds.
//!
//! Layout, offsets in bytes:
//!
//! | offset | what |
//! |---|---|
//! | 0 | proof: word, flag of the responder, flag of the client |
//! | 16, 32 | the halves of the token |
//! | 128 | a payload of up to 48 bytes: word, the flags, payload: one cache line for both directions |
//! | 256, 384 | a larger payload: word and flag of the ping, of the pong, on lines of their own |
//! | 4096 | the ping, then (on a page of its own) the pong |
//!
//! Round `r` is published as the word `2r - 1` by the client and as `2r` by the responder.

use super::contract::While;
use super::payload::Payload;
use super::proof::proof_broke_off;
use super::sys::Region;
use super::turn::{Turn, on_these_cpus};
use super::{
    ConnectError, Round, RoundError, Rounds, ServeError, Served, Settings, Supervisor, Unwatched, Watch,
};
use crate::protocol::{Token, Wait};

/// Bytes of memory that a channel needs.
pub(super) fn len(settings: &Settings) -> usize {
    Layout::of(settings.size).len
}

/// The responder's side. `remove_name` is called when the client has proved itself.
pub(super) fn serve(
    memory: &Region,
    settings: &Settings,
    supervisor: &mut Supervisor,
    remove_name: impl FnOnce(),
) -> Result<Served, ServeError> {
    check_peer(memory, &settings.token, supervisor)?;
    remove_name();
    supervisor.proven()?;
    echo(memory, &Layout::of(settings.size), settings)
}

/// The client's side.
pub(super) fn connect(
    memory: Region,
    settings: &Settings,
    watch: &mut Watch,
) -> Result<Box<dyn Rounds>, ConnectError> {
    prove(&memory, &settings.token, watch)?;
    Ok(Box::new(MemoryClient {
        memory,
        layout: Layout::of(settings.size),
        wait: on_these_cpus(settings.wait),
        payload: Payload::new(settings.size, &settings.token),
    }))
}

const PROOF_WORD: usize = 0;
const PROOF_RESPONDER_SLEEPS: usize = 4;
const PROOF_CLIENT_SLEEPS: usize = 8;
const PROOF_CLIENT_HALF: usize = 16;
const PROOF_RESPONDER_HALF: usize = 32;

/// Values of the proof's word.
const SHOWN: u32 = 1;
const ANSWERED: u32 = 2;

/// The largest payload that shares the cache line of its word.
const MAX_INLINE: usize = 48;

/// Where everything is.
#[derive(Debug)]
struct Layout {
    ping_word: usize,
    responder_sleeps: usize,
    ping: usize,
    pong_word: usize,
    client_sleeps: usize,
    pong: usize,
    len: usize,
}

impl Layout {
    fn of(size: usize) -> Self {
        if size <= MAX_INLINE {
            Self {
                ping_word: 128,
                responder_sleeps: 132,
                ping: 144,
                pong_word: 128,
                client_sleeps: 136,
                pong: 144,
                len: 4096,
            }
        } else {
            let pong = 4096 + size.next_multiple_of(4096);
            Self {
                ping_word: 256,
                responder_sleeps: 260,
                ping: 4096,
                pong_word: 384,
                client_sleeps: 388,
                pong,
                len: pong + size,
            }
        }
    }

    fn ping_turn<'a>(&self, memory: &'a Region) -> Turn<'a> {
        Turn { word: memory.word(self.ping_word), sleeps: memory.word(self.responder_sleeps) }
    }

    fn pong_turn<'a>(&self, memory: &'a Region) -> Turn<'a> {
        Turn { word: memory.word(self.pong_word), sleeps: memory.word(self.client_sleeps) }
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

fn check_peer(memory: &Region, token: &Token, supervisor: &mut Supervisor) -> Result<(), ServeError> {
    let (shown, answered) = proof_turns(memory);
    let mut half = [0; Token::HALF_LEN];
    shown.wait_for(SHOWN, Wait::Block, supervisor, 0).map_err(proof_broke_off)?;
    memory.read(PROOF_CLIENT_HALF, &mut half);
    if half != *token.client_half() {
        return Err(ServeError::WrongToken);
    }
    memory.write(PROOF_RESPONDER_HALF, token.responder_half());
    answered.publish(ANSWERED, Wait::Block);
    Ok(())
}

fn prove(memory: &Region, token: &Token, watch: &mut Watch) -> Result<(), ConnectError> {
    watch.restart();
    let (shown, answered) = proof_turns(memory);
    let mut half = [0; Token::HALF_LEN];
    memory.write(PROOF_CLIENT_HALF, token.client_half());
    shown.publish(SHOWN, Wait::Block);
    answered.wait_for(ANSWERED, Wait::Block, watch, 0)?;
    memory.read(PROOF_RESPONDER_HALF, &mut half);
    if half != *token.responder_half() {
        return Err(ConnectError::WrongToken);
    }
    Ok(())
}

/// The client's side.
struct MemoryClient {
    memory: Region,
    layout: Layout,
    wait: Wait,
    payload: Payload,
}

impl Round for MemoryClient {
    #[inline(always)]
    fn round(&mut self, round: u64, watch: &mut Watch) -> Result<(), RoundError> {
        let (ping, pong) = words(round);
        self.payload.stamp(round);
        self.memory.write(self.layout.ping, self.payload.ping());
        self.layout.ping_turn(&self.memory).publish(ping, self.wait);
        self.layout.pong_turn(&self.memory).wait_for(pong, self.wait, watch, round)?;
        self.memory.read(self.layout.pong, self.payload.pong());
        self.payload.check(round)
    }

    fn payload(&mut self) -> &mut Payload {
        &mut self.payload
    }
}

/// The responder's side: echoes until it is ended, since memory does not tell that the client has gone.
fn echo(memory: &Region, layout: &Layout, settings: &Settings) -> Result<Served, ServeError> {
    let wait = on_these_cpus(settings.wait);
    let mut buffer = vec![0; settings.size];
    let (pings, pongs) = (layout.ping_turn(memory), layout.pong_turn(memory));
    for round in 1.. {
        let (ping, pong) = words(round);
        pings
            .wait_for(ping, wait, &mut Unwatched, round)
            .map_err(std::io::Error::other)
            .while_doing("echoing")?;
        memory.read(layout.ping, &mut buffer);
        memory.write(layout.pong, &buffer);
        pongs.publish(pong, wait);
    }
    unreachable!("rounds do not run out")
}
