//! The bytes that a round carries, on the client's side.

use super::RoundError;
use crate::protocol::Token;

/// Length of a round's number in bytes: the smallest payload.
const STAMP_LEN: usize = 8;

/// What is sent and what came back.
///
/// A ping carries its round's number in its first 8 bytes, and in its last 8 where there is room for both; the rest
/// is a pattern that [changes](Self::refresh) between blocks of rounds. Both numbers are compared in every round; all
/// bytes when a block is [verified](Self::verify), outside the timed region.
#[derive(Debug)]
pub struct Payload {
    ping: Vec<u8>,
    pong: Vec<u8>,
    pattern: u64,
}

impl Payload {
    /// A payload of `size` bytes.
    ///
    /// # Panics
    /// If it cannot hold a round's number: [`Settings`](super::Settings) are checked before.
    #[must_use]
    pub fn new(size: usize, token: &Token) -> Self {
        assert!(size >= STAMP_LEN, "the settings are checked");
        let seed = token.client_half().first_chunk().expect("16 bytes hold 8");
        let mut payload =
            Self { ping: vec![0; size], pong: vec![0; size], pattern: u64::from_le_bytes(*seed) | 1 };
        payload.refresh();
        payload
    }

    /// Writes the round's number into the ping.
    #[inline(always)]
    pub fn stamp(&mut self, round: u64) {
        let stamp = round.to_le_bytes();
        self.ping[..STAMP_LEN].copy_from_slice(&stamp);
        let len = self.ping.len();
        if len >= 2 * STAMP_LEN {
            self.ping[len - STAMP_LEN..].copy_from_slice(&stamp);
        }
    }

    /// What to send.
    #[inline(always)]
    #[must_use]
    pub fn ping(&self) -> &[u8] {
        &self.ping
    }

    /// Where to receive.
    #[inline(always)]
    pub fn pong(&mut self) -> &mut [u8] {
        &mut self.pong
    }

    /// What to send, and where to receive meanwhile.
    #[inline(always)]
    pub fn both(&mut self) -> (&[u8], &mut [u8]) {
        (&self.ping, &mut self.pong)
    }

    /// The pong is the ping: for a side that echoes to itself.
    #[inline(always)]
    pub fn echo(&mut self) {
        self.pong.copy_from_slice(&self.ping);
    }

    /// Receives into a newly allocated buffer from now on.
    pub fn reallocate(&mut self) {
        self.pong = vec![0; self.ping.len()];
    }

    /// The round that the pong claims to be of.
    #[inline(always)]
    #[must_use]
    pub fn pong_round(&self) -> u64 {
        u64::from_le_bytes(*self.pong.first_chunk().expect("a payload holds a round's number"))
    }

    /// Whether the pong is this round's, by its numbers.
    ///
    /// # Errors
    /// [`RoundError::WrongPong`].
    #[inline(always)]
    pub fn check(&self, round: u64) -> Result<(), RoundError> {
        let stamp = round.to_le_bytes();
        let len = self.pong.len();
        if self.pong[..STAMP_LEN] != stamp {
            return Err(RoundError::WrongPong { round, what: "it carries another round's number" });
        }
        if len >= 2 * STAMP_LEN && self.pong[len - STAMP_LEN..] != stamp {
            return Err(RoundError::WrongPong { round, what: "its end is not this round's" });
        }
        Ok(())
    }

    /// Whether the last pong is the last ping, byte by byte; then changes the pattern, so that the next block cannot
    /// pass with this one's bytes.
    ///
    /// # Errors
    /// [`RoundError::WrongPong`].
    pub fn verify(&mut self) -> Result<(), RoundError> {
        let round = u64::from_le_bytes(*self.ping.first_chunk().expect("a payload holds a round's number"));
        if self.ping != self.pong {
            return Err(RoundError::WrongPong { round, what: "its payload is not the one sent" });
        }
        self.refresh();
        Ok(())
    }

    /// Fills the ping with other bytes.
    fn refresh(&mut self) {
        // xorshift64: any bytes do, as long as they differ from block to block and along the payload.
        for chunk in self.ping.chunks_mut(8) {
            self.pattern ^= self.pattern << 13;
            self.pattern ^= self.pattern >> 7;
            self.pattern ^= self.pattern << 17;
            chunk.copy_from_slice(&self.pattern.to_le_bytes()[..chunk.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn echoed(size: usize, round: u64) -> Payload {
        let mut payload = Payload::new(size, &Token::new([3; 32]));
        payload.stamp(round);
        payload.pong = payload.ping.clone();
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
}
