//! The protocol of two sides that share memory: its layout, the proof, and the rounds.
//!
//! Layout, offsets in bytes:
//!
//! | offset | contents |
//! |---|---|
//! | 0 | proof: word, flag of the responder, flag of the client |
//! | 16, 32 | the halves of the token |
//! | 48, 52 | what client and responder report about themselves ([`Facts`]) |
//! | 128 | a payload of up to 48 bytes: word, the flags, payload: one cache line for both directions |
//! | 256, 384 | a larger payload: word of the ping, of the pong |
//! | 512, 640 | and the flags of the sides that wait for them |
//! | 4096 | the ping, then (on a separate page) the pong |
//!
//! Round `r` is published as the word `2r - 1` by the client and as `2r` by the responder.

use crate::protocol::Token;
use crate::transports::families::sync::Ordering;
use crate::transports::families::turn::{Block, Strategy, Turn};
use crate::transports::payload::{Buffer, Payload};
use crate::transports::sys::Region;
use crate::transports::{Alive, RoundError};

/// Where a larger payload's pong starts.
pub(crate) fn pong_offset(size: usize) -> usize {
    PAGE + size.next_multiple_of(PAGE)
}

pub(crate) const PAGE: usize = 4096;

/// The largest payload that shares the cache line of its word.
pub(crate) const MAX_INLINE: usize = 48;

/// Where a payload and its words are, and how the payload is copied.
pub(crate) trait Form: Copy + 'static {
    /// Offsets of the ping's word and of the flag of the side that waits for it.
    const PING: (usize, usize);
    /// Offsets of the pong's.
    const PONG: (usize, usize);

    /// The responder's buffer for a payload.
    type Buffer;

    fn buffer(self) -> Self::Buffer;
    /// Sends the payload with the round's number in it; the payload's own copy is not stamped.
    fn send_ping(self, memory: &Region, payload: &Payload, round: u64);
    fn receive_ping(self, memory: &Region, buffer: &mut Self::Buffer);
    fn send_pong(self, memory: &Region, buffer: &Self::Buffer);
    /// # Errors
    /// [`RoundError::WrongPong`].
    fn receive_pong(self, memory: &Region, payload: &mut Payload, round: u64) -> Result<(), RoundError>;

    #[inline(always)]
    fn turn(memory: &Region, (word, sleeps): (usize, usize)) -> Turn<'_> {
        Turn { word: memory.word(word), sleeps: memory.word(sleeps) }
    }
}

/// A payload of up to `LEN` bytes beside its word: a round moves one cache line back and forth. `LEN` bytes are copied
/// even if the payload is shorter.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Beside<const LEN: usize>;

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
    fn receive_pong(self, memory: &Region, payload: &mut Payload, round: u64) -> Result<(), RoundError> {
        memory.load::<LEN>(Self::PAYLOAD, payload.pong_piece());
        payload.check(round)
    }
}

/// A payload of any size on separate pages; words and flags on separate cache lines: reading a flag beside its word would
/// wait for the word's line, which the other side polls.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Apart {
    pub(crate) size: usize,
}

impl Form for Apart {
    const PING: (usize, usize) = (256, 512);
    const PONG: (usize, usize) = (384, 640);

    type Buffer = Buffer;

    fn buffer(self) -> Buffer {
        Buffer::new(self.size)
    }

    #[inline(always)]
    fn send_ping(self, memory: &Region, payload: &Payload, round: u64) {
        memory.write(PAGE, payload.ping());
        payload.stamps(round, |at, stamp| memory.write(PAGE + at, stamp));
    }

    #[inline(always)]
    fn receive_ping(self, memory: &Region, buffer: &mut Buffer) {
        memory.read(PAGE, buffer);
    }

    #[inline(always)]
    fn send_pong(self, memory: &Region, buffer: &Buffer) {
        memory.write(pong_offset(self.size), buffer);
    }

    #[inline(always)]
    fn receive_pong(self, memory: &Region, payload: &mut Payload, round: u64) -> Result<(), RoundError> {
        memory.read(pong_offset(self.size), payload.pong_in_place());
        payload.check_in_place(round)
    }
}

/// The words of a round: the ping's and the pong's. They wrap around, as both sides' do.
#[inline(always)]
#[allow(clippy::cast_possible_truncation, reason = "wraps around on purpose")]
fn words(round: u64) -> (u32, u32) {
    let pong = (round as u32).wrapping_mul(2);
    (pong.wrapping_sub(1), pong)
}

/// The client's side of a round.
#[inline(always)]
pub(crate) fn ask<F: Form>(
    memory: &Region,
    payload: &mut Payload,
    form: F,
    strategy: impl Strategy,
    alive: &mut impl Alive,
    round: u64,
) -> Result<(), RoundError> {
    let (ping, pong) = words(round);
    // The number is written after the copy: a copy of bytes just stored in pieces of another size would wait for the stores.
    form.send_ping(memory, payload, round);
    strategy.publish(F::turn(memory, F::PING), ping);
    payload.stamp(round);
    strategy.wait_for(F::turn(memory, F::PONG), pong, alive, round)?;
    form.receive_pong(memory, payload, round)
}

/// The responder's side of all rounds.
pub(crate) struct Echo<'a, F: Form, S> {
    memory: &'a Region,
    form: F,
    strategy: S,
    buffer: F::Buffer,
    pings: Turn<'a>,
    pongs: Turn<'a>,
}

impl<'a, F: Form, S: Strategy> Echo<'a, F, S> {
    pub(crate) fn new(memory: &'a Region, form: F, strategy: S) -> Self {
        let (pings, pongs) = (F::turn(memory, F::PING), F::turn(memory, F::PONG));
        Self { memory, form, strategy, buffer: form.buffer(), pings, pongs }
    }

    /// Answers the ping of this round.
    #[inline(always)]
    pub(crate) fn answer(&mut self, alive: &mut impl Alive, round: u64) -> Result<(), RoundError> {
        let (ping, pong) = words(round);
        self.strategy.wait_for(self.pings, ping, alive, round)?;
        self.form.receive_ping(self.memory, &mut self.buffer);
        self.form.send_pong(self.memory, &self.buffer);
        self.strategy.publish(self.pongs, pong);
        Ok(())
    }
}

const WORD: usize = 0;
const RESPONDER_SLEEPS: usize = 4;
const CLIENT_SLEEPS: usize = 8;
const CLIENT_HALF: usize = 16;
const RESPONDER_HALF: usize = 32;
const CLIENT_FACTS: usize = 48;
const RESPONDER_FACTS: usize = 52;

/// Values of the word.
const SHOWN: u32 = 1;
const ANSWERED: u32 = 2;

/// What each side must know about the other to make the same choice. Written before the proof's word is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Facts {
    /// Whether the other side's `membarrier` reaches it.
    pub(crate) registered: bool,
}

impl Facts {
    fn write(self, memory: &Region, at: usize) {
        memory.word(at).store(u32::from(self.registered), Ordering::Relaxed);
    }

    fn read(memory: &Region, at: usize) -> Self {
        Self { registered: memory.word(at).load(Ordering::Relaxed) != 0 }
    }
}

/// The turns of the responder and of the client.
fn turns(memory: &Region) -> (Turn<'_>, Turn<'_>) {
    let word = memory.word(WORD);
    (Turn { word, sleeps: memory.word(RESPONDER_SLEEPS) }, Turn { word, sleeps: memory.word(CLIENT_SLEEPS) })
}

/// The responder's proof; returns what the client reported, or `None` if it showed a wrong token.
pub(crate) fn check_peer(
    memory: &Region,
    token: &Token,
    ours: Facts,
    alive: &mut impl Alive,
) -> Result<Option<Facts>, RoundError> {
    let (shown, answered) = turns(memory);
    let mut half = [0; Token::HALF_LEN];
    Block.wait_for(shown, SHOWN, alive, 0)?;
    memory.read(CLIENT_HALF, &mut half);
    if half != *token.client_half() {
        return Ok(None);
    }
    let theirs = Facts::read(memory, CLIENT_FACTS);
    memory.write(RESPONDER_HALF, token.responder_half());
    ours.write(memory, RESPONDER_FACTS);
    Block.publish(answered, ANSWERED);
    Ok(Some(theirs))
}

/// The client's proof; returns what the responder reported, or `None` if it answered with a wrong token.
pub(crate) fn prove(
    memory: &Region,
    token: &Token,
    ours: Facts,
    alive: &mut impl Alive,
) -> Result<Option<Facts>, RoundError> {
    let (shown, answered) = turns(memory);
    let mut half = [0; Token::HALF_LEN];
    memory.write(CLIENT_HALF, token.client_half());
    ours.write(memory, CLIENT_FACTS);
    Block.publish(shown, SHOWN);
    Block.wait_for(answered, ANSWERED, alive, 0)?;
    memory.read(RESPONDER_HALF, &mut half);
    if half != *token.responder_half() {
        return Ok(None);
    }
    Ok(Some(Facts::read(memory, RESPONDER_FACTS)))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::thread;

    use super::*;
    use crate::transports::families::turn::{Adaptive, Barrier, Spin};
    use crate::transports::watch::patient;

    const ROUNDS: u64 = if cfg!(miri) { 8 } else { 1000 };

    /// Two threads instead of two processes; every byte of every round is compared.
    fn echoes<F: Form + Sync, S: Strategy + Sync>(form: F, size: usize, strategy: S) {
        let len = if size <= 48 { PAGE } else { pong_offset(size) + size.next_multiple_of(8) };
        let [client, responder] = Region::between_threads(len);
        let (control, _theirs) = rustix::pipe::pipe().unwrap();
        thread::scope(|scope| {
            scope.spawn(|| {
                let (memory, mut alive) = (responder(), patient(control.as_fd()));
                let mut echo = Echo::new(&memory, form, strategy);
                (1..=ROUNDS).for_each(|round| echo.answer(&mut alive, round).unwrap());
            });
            let (memory, mut alive) = (client(), patient(control.as_fd()));
            let mut payload = Payload::new(size, &Token::new([3; 32]));
            for round in 1..=ROUNDS {
                ask(&memory, &mut payload, form, strategy, &mut alive, round).unwrap();
                payload.verify().unwrap();
            }
        });
    }

    fn echoes_in_all_forms(strategy: impl Strategy + Sync) {
        echoes(Beside::<8>, 8, strategy);
        echoes(Beside::<48>, 17, strategy);
        echoes(Beside::<48>, 48, strategy);
        echoes(Apart { size: 49 }, 49, strategy);
        echoes(Apart { size: PAGE + 1 }, PAGE + 1, strategy);
    }

    #[test]
    fn a_spinning_side_gets_back_what_it_sent() {
        echoes_in_all_forms(Spin);
    }

    #[test]
    fn a_sleeping_side_gets_back_what_it_sent() {
        echoes_in_all_forms(Block);
    }

    #[test]
    fn an_adaptive_side_gets_back_what_it_sent() {
        echoes_in_all_forms(Adaptive::new(Barrier::Fences, PAGE));
    }
}
