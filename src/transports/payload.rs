//! The bytes that a round carries, on the client's side.

use std::mem;
use std::ops::{Deref, DerefMut};

use super::RoundError;
use crate::protocol::Token;

/// Length of a round's number in bytes: the smallest payload.
const STAMP_LEN: usize = 8;

/// A small payload is kept with room for this many bytes, so that it can be copied as a piece of fixed size.
const MIN_ROOM: usize = 48;

/// From this size on, what is [received in place](Payload::pong_in_place) takes the place of what was sent: both would
/// not stay in a core's own cache.
const IN_PLACE_FROM: usize = 128 << 10;

/// What is sent and what came back.
///
/// A ping carries its round's number in its first 8 bytes, and in its last 8 where there is room for both; the rest
/// is a pattern that changes between blocks of rounds. Both numbers are compared in every round; all
/// bytes when a block is [verified](Self::verify), outside the timed region.
#[derive(Debug)]
pub(crate) struct Payload {
    /// What is sent, filled up with zeros to [`MIN_ROOM`].
    ping: Buffer,
    /// What came back, filled up likewise.
    pong: Buffer,
    /// Without what fills it up.
    size: usize,
    pattern: u64,
    /// Whether pongs may be received in place, as [`pong_in_place`](Self::pong_in_place) says.
    may_share: bool,
    /// Whether pongs now are: then `pong` is the ping of the block's first round.
    in_place: bool,
}

impl Payload {
    /// A payload of `size` bytes.
    ///
    /// # Panics
    /// If it cannot hold a round's number: [`Settings`](super::Settings) are checked before.
    #[must_use]
    pub(crate) fn new(size: usize, token: &Token) -> Self {
        assert!(size >= STAMP_LEN, "the settings are checked");
        let seed = token.client_half().first_chunk().expect("16 bytes hold 8");
        let room = size.max(MIN_ROOM);
        let mut payload = Self {
            ping: Buffer::new(room),
            pong: Buffer::new(room),
            size,
            pattern: u64::from_le_bytes(*seed) | 1,
            may_share: size >= IN_PLACE_FROM,
            in_place: false,
        };
        payload.refresh();
        payload
    }

    /// Writes the round's number into the ping.
    #[inline(always)]
    pub(crate) fn stamp(&mut self, round: u64) {
        let (size, ping) = (self.size, &mut self.ping);
        stamps(size, round, |at, stamp| ping[at..at + STAMP_LEN].copy_from_slice(stamp));
    }

    /// Calls `write` with each position of this round's number in a ping, and its bytes.
    #[inline(always)]
    pub(crate) fn stamps(&self, round: u64, write: impl FnMut(usize, &[u8; STAMP_LEN])) {
        stamps(self.size, round, write);
    }

    /// What to send.
    #[inline(always)]
    #[must_use]
    pub(crate) fn ping(&self) -> &[u8] {
        &self.ping[..self.size]
    }

    /// What to send and what fills it up: the first `LEN` bytes.
    ///
    /// # Panics
    /// If neither the payload nor its room is so long.
    #[inline(always)]
    #[must_use]
    pub(crate) fn ping_piece<const LEN: usize>(&self) -> &[u8; LEN] {
        self.ping.first_chunk().expect("no piece is longer than the room")
    }

    /// Where to receive.
    #[inline(always)]
    pub(crate) fn pong(&mut self) -> &mut [u8] {
        &mut self.pong[..self.size]
    }

    /// Where to receive what [`ping_piece`](Self::ping_piece) sends.
    ///
    /// # Panics
    /// As there.
    #[inline(always)]
    pub(crate) fn pong_piece<const LEN: usize>(&mut self) -> &mut [u8; LEN] {
        self.pong.first_chunk_mut().expect("no piece is longer than the room")
    }

    /// Takes a pong that was received elsewhere, as a library hands it over.
    ///
    /// # Errors
    /// [`RoundError::WrongPong`], if its length is not the ping's.
    #[cfg(any(feature = "dbus", feature = "grpc", feature = "iceoryx2", feature = "zeromq"))]
    #[inline(always)]
    pub(super) fn take_pong(&mut self, pong: &[u8], round: u64) -> Result<(), RoundError> {
        take(pong, &mut self.pong[..self.size], round)
    }

    /// What to send, and where to receive meanwhile.
    #[inline(always)]
    pub(crate) fn both(&mut self) -> (&[u8], &mut [u8]) {
        (&self.ping[..self.size], &mut self.pong[..self.size])
    }

    /// The pong is the ping: for a side that echoes to itself.
    #[inline(always)]
    pub(crate) fn echo(&mut self) {
        self.pong.copy_from_slice(&self.ping);
    }

    /// Receives into a newly allocated buffer from now on.
    pub(crate) fn reallocate(&mut self) {
        self.may_share = false;
        self.pong = Buffer::new(self.ping.len());
    }

    /// Where to receive once the ping is sent, if the round ends with [`check_in_place`](Self::check_in_place).
    ///
    /// A large payload is received where it was sent from, as in a program with one buffer. In a block's first round
    /// it is not, so that all bytes have come through the channel once, and any that is changed later stays so: what
    /// [`verify`](Self::verify) finds is the same. The numbers are wiped: they have to come back.
    #[inline(always)]
    pub(crate) fn pong_in_place(&mut self) -> &mut [u8] {
        if !self.in_place {
            return self.pong();
        }
        // Rounds are numbered from 1.
        self.stamp(0);
        &mut self.ping[..self.size]
    }

    /// As [`check`](Self::check), of what was received where [`pong_in_place`](Self::pong_in_place) said.
    ///
    /// # Errors
    /// [`RoundError::WrongPong`].
    #[inline(always)]
    pub(crate) fn check_in_place(&mut self, round: u64) -> Result<(), RoundError> {
        if self.in_place {
            return self.check_of(&self.ping, round);
        }
        self.check(round)?;
        if self.may_share {
            mem::swap(&mut self.ping, &mut self.pong);
            self.in_place = true;
        }
        Ok(())
    }

    /// The round that the pong claims to be of.
    #[inline(always)]
    #[must_use]
    pub(crate) fn pong_round(&self) -> u64 {
        u64::from_le_bytes(*self.pong.first_chunk().expect("a payload holds a round's number"))
    }

    /// Whether the pong is this round's, by its numbers.
    ///
    /// # Errors
    /// [`RoundError::WrongPong`].
    #[inline(always)]
    pub(crate) fn check(&self, round: u64) -> Result<(), RoundError> {
        self.check_of(&self.pong, round)
    }

    #[inline(always)]
    fn check_of(&self, pong: &[u8], round: u64) -> Result<(), RoundError> {
        let stamp = round.to_le_bytes();
        if pong[..STAMP_LEN] != stamp {
            return Err(RoundError::WrongPong { round, what: "it carries another round's number" });
        }
        if self.size >= 2 * STAMP_LEN && pong[self.size - STAMP_LEN..self.size] != stamp {
            return Err(RoundError::WrongPong { round, what: "its end is not this round's" });
        }
        Ok(())
    }

    /// Whether the last pong is the last ping, byte by byte; then changes the pattern, so that the next block cannot
    /// pass with this one's bytes.
    ///
    /// # Errors
    /// [`RoundError::WrongPong`].
    pub(crate) fn verify(&mut self) -> Result<(), RoundError> {
        let round = u64::from_le_bytes(*self.ping.first_chunk().expect("a payload holds a round's number"));
        if mem::take(&mut self.in_place) {
            // But for its number, which is the first round's.
            stamps(self.size, round, |at, stamp| self.pong[at..at + STAMP_LEN].copy_from_slice(stamp));
        }
        if self.ping[..self.size] != self.pong[..self.size] {
            return Err(RoundError::WrongPong { round, what: "its payload is not the one sent" });
        }
        self.refresh();
        Ok(())
    }

    /// Fills the ping with other bytes.
    fn refresh(&mut self) {
        // xorshift64: any bytes do, as long as they differ from block to block and along the payload.
        for chunk in self.ping[..self.size].chunks_mut(8) {
            self.pattern ^= self.pattern << 13;
            self.pattern ^= self.pattern >> 7;
            self.pattern ^= self.pattern << 17;
            chunk.copy_from_slice(&self.pattern.to_le_bytes()[..chunk.len()]);
        }
    }
}

/// Calls `write` with each position of the round's number in a payload of `size` bytes, and its bytes.
#[inline(always)]
fn stamps(size: usize, round: u64, mut write: impl FnMut(usize, &[u8; STAMP_LEN])) {
    let stamp = round.to_le_bytes();
    write(0, &stamp);
    if size >= 2 * STAMP_LEN {
        write(size - STAMP_LEN, &stamp);
    }
}

/// Copies what a library hands over, which must be as long as the ping.
///
/// # Errors
/// [`RoundError::WrongPong`], if it is not.
#[cfg(any(feature = "dbus", feature = "grpc", feature = "iceoryx2", feature = "zeromq"))]
#[inline(always)]
pub(super) fn take(bytes: &[u8], buffer: &mut [u8], round: u64) -> Result<(), RoundError> {
    if bytes.len() != buffer.len() {
        return Err(RoundError::WrongPong { round, what: "its length is not the ping's" });
    }
    buffer.copy_from_slice(bytes);
    Ok(())
}

const PAGE: usize = 4096;

/// Bytes that start on a page boundary; zeros at first.
///
/// The kernel copies from and to its own pages, and a copy between different offsets within a page takes longer: 3 to 4 % more
/// a round of 1 MiB, 16 bytes past the boundary, where an allocator puts large blocks (`benches/floor`).
#[derive(Debug)]
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    /// Where the used bytes start.
    start: usize,
    len: usize,
}

impl Buffer {
    pub(crate) fn new(len: usize) -> Self {
        let bytes = vec![0; len + PAGE];
        // What moves a value does not move what it has allocated.
        let start = bytes.as_ptr().addr().next_multiple_of(PAGE) - bytes.as_ptr().addr();
        Self { bytes, start, len }
    }
}

impl Deref for Buffer {
    type Target = [u8];

    #[inline(always)]
    fn deref(&self) -> &[u8] {
        &self.bytes[self.start..self.start + self.len]
    }
}

impl DerefMut for Buffer {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn echoed(size: usize, round: u64) -> Payload {
        let mut payload = Payload::new(size, &Token::new([3; 32]));
        payload.stamp(round);
        payload.echo();
        payload
    }

    #[test]
    fn an_echo_passes() {
        for size in [8, 9, 15, 16, 17, 4096] {
            let mut payload = echoed(size, 77);
            payload.check(77).unwrap();
            payload.verify().unwrap();
        }
    }

    #[test]
    fn in_place_every_byte_counts_all_the_same() {
        let size = IN_PLACE_FROM;
        // The channel carries what was sent, but for what is done to it.
        let round = |payload: &mut Payload, round: u64, channel: &dyn Fn(&[u8], &mut [u8])| {
            payload.stamp(round);
            let sent = payload.ping().to_vec();
            channel(&sent, payload.pong_in_place());
            payload.check_in_place(round)
        };
        let whole = |sent: &[u8], to: &mut [u8]| to.copy_from_slice(sent);
        let fresh = |count: u64| {
            let mut payload = Payload::new(size, &Token::new([3; 32]));
            for number in 1..=count {
                round(&mut payload, number, &whole).unwrap();
            }
            payload.verify().unwrap();
            payload
        };
        for count in [1, 2, 3] {
            for at in [8, 77, size - 9] {
                let mut payload = fresh(count);
                for number in 1..=count {
                    let without = |sent: &[u8], to: &mut [u8]| {
                        let was = to[at];
                        to.copy_from_slice(sent);
                        to[at] = was;
                    };
                    round(&mut payload, number, &without).unwrap();
                }
                payload.verify().expect_err("a byte was not carried");
                let mut payload = fresh(count);
                for number in 1..=count {
                    round(&mut payload, number, &whole).unwrap();
                }
                let changed = |sent: &[u8], to: &mut [u8]| {
                    to.copy_from_slice(sent);
                    to[at] ^= 4;
                };
                round(&mut payload, count + 1, &changed).unwrap();
                round(&mut payload, count + 2, &whole).unwrap();
                payload.verify().expect_err("a byte was changed");
            }
            let mut payload = fresh(count);
            round(&mut payload, 1, &whole).unwrap();
            assert!(payload.in_place);
            round(&mut payload, 2, &|_, _| {}).expect_err("nothing came back");
        }
    }

    #[test]
    fn another_rounds_pong_does_not() {
        assert!(echoed(8, 77).check(78).is_err());
    }

    #[test]
    fn a_changed_byte_does_not() {
        for byte in 0..64 {
            let mut payload = echoed(64, 77);
            payload.pong[byte] ^= 1;
            assert!(payload.check(77).is_err() || payload.verify().is_err(), "byte {byte}");
        }
    }

    #[test]
    fn the_last_blocks_bytes_do_not() {
        let mut payload = echoed(64, 77);
        payload.verify().unwrap();
        payload.stamp(78);
        payload.pong[..8].copy_from_slice(&78_u64.to_le_bytes());
        payload.pong[56..].copy_from_slice(&78_u64.to_le_bytes());
        payload.check(78).unwrap();
        assert!(payload.verify().is_err());
    }

    #[test]
    fn it_begins_where_a_page_does() {
        for len in [0, 1, 48, PAGE - 1, PAGE, PAGE + 1, 1 << 20] {
            let mut buffer = Buffer::new(len);
            assert_eq!((buffer.len(), buffer.as_ptr().addr() % PAGE), (len, 0));
            buffer.fill(7);
            assert!(buffer.iter().all(|byte| *byte == 7));
        }
    }
}
