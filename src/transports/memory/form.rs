//! Where a payload and its words lie in the memory, and how it is copied: see the layout in [`super`].

use crate::transports::RoundError;
use crate::transports::buffer::Buffer;
use crate::transports::payload::Payload;
use crate::transports::sys::Region;
use crate::transports::turn::Turn;

/// A larger payload's place.
pub(super) fn pong_offset(size: usize) -> usize {
    PAGE + size.next_multiple_of(PAGE)
}

pub(super) const PAGE: usize = 4096;

/// The largest payload that shares the cache line of its word.
pub(super) const MAX_INLINE: usize = 48;

/// Where a payload and its words are, and how it is copied.
pub(super) trait Form: Copy + 'static {
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
    /// # Errors
    /// [`RoundError::WrongPong`].
    fn receive_pong(self, memory: &Region, payload: &mut Payload, round: u64) -> Result<(), RoundError>;

    #[inline(always)]
    fn turn(memory: &Region, (word, sleeps): (usize, usize)) -> Turn<'_> {
        Turn { word: memory.word(word), sleeps: memory.word(sleeps) }
    }
}

/// A payload of up to `LEN` bytes beside its word: a round moves one cache line to and fro. `LEN` bytes are copied,
/// also where the payload has fewer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Beside<const LEN: usize>;

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

/// A payload of any size on pages of its own; words and flags on cache lines of their own: a look at a flag that stood
/// beside its word would wait for the word's line, which the other side polls.
#[derive(Debug, Clone, Copy)]
pub(super) struct Apart {
    pub(super) size: usize,
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
