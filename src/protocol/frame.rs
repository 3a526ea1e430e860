//! A frame: the length of its body (`u32`, little endian), then the body.
//!
//! [`Assembler`] puts frames together from whatever pieces a socket yields, for a blocking reader and for an event
//! loop alike.

/// The largest body in bytes. No message comes near it; it bounds what a peer can make the other side hold.
pub const MAX_BODY: usize = 64 * 1024;

/// Length of the header in bytes.
pub const HEADER_LEN: usize = 4;

/// A peer announced a frame that is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a frame of {len} bytes was announced; {MAX_BODY} bytes at most")]
pub struct TooLong {
    /// The announced length in bytes.
    pub len: u32,
}

/// A whole frame, ready to be sent.
///
/// # Panics
/// If the body is larger than [`MAX_BODY`], which [`encode`](super::encode) never returns.
#[must_use]
pub fn frame(body: &[u8]) -> Vec<u8> {
    assert!(body.len() <= MAX_BODY, "encode() bounds the body");
    let len = u32::try_from(body.len()).expect("MAX_BODY fits in a u32");
    let mut bytes = Vec::with_capacity(HEADER_LEN + body.len());
    bytes.extend_from_slice(&len.to_le_bytes());
    bytes.extend_from_slice(body);
    bytes
}

/// Collects bytes until a frame is whole.
///
/// A caller asks how many bytes are [wanted](Self::wanted), reads at most that many and [takes them
/// in](Self::take_in): so no byte of the next frame is ever read early, nor a file descriptor that comes with it.
#[derive(Debug, Default)]
pub struct Assembler {
    bytes: Vec<u8>,
    /// Length of the body, once the header is whole and checked.
    body_len: Option<usize>,
}

impl Assembler {
    /// How many bytes are missing to the end of the header or of the body; never 0.
    #[must_use]
    pub fn wanted(&self) -> usize {
        match self.body_len {
            None => HEADER_LEN - self.bytes.len(),
            Some(len) => len - self.bytes.len(),
        }
    }

    /// Whether a frame has begun and is not whole.
    #[must_use]
    pub fn is_midway(&self) -> bool {
        self.body_len.is_some() || !self.bytes.is_empty()
    }

    /// Takes in bytes, at most as many as [wanted](Self::wanted), and returns the body if that made it whole.
    ///
    /// # Errors
    /// [`TooLong`] for a length above [`MAX_BODY`], before anything is allocated for it.
    pub fn take_in(&mut self, bytes: &[u8]) -> Result<Option<Vec<u8>>, TooLong> {
        debug_assert!(bytes.len() <= self.wanted());
        if let Some(body_len) = self.body_len {
            self.make_room(bytes.len(), body_len);
        }
        self.bytes.extend_from_slice(bytes);
        if self.body_len.is_none()
            && let Ok(header) = <[u8; HEADER_LEN]>::try_from(self.bytes.as_slice())
        {
            let len = u32::from_le_bytes(header);
            let body_len = usize::try_from(len).ok().filter(|&n| n <= MAX_BODY).ok_or(TooLong { len })?;
            self.bytes.clear();
            self.body_len = Some(body_len);
        }
        if self.body_len == Some(self.bytes.len()) {
            self.body_len = None;
            return Ok(Some(std::mem::take(&mut self.bytes)));
        }
        Ok(None)
    }

    /// Grows with what comes, not with what was announced, and never beyond it.
    fn make_room(&mut self, coming: usize, body_len: usize) {
        let len = self.bytes.len();
        if self.bytes.capacity() - len < coming {
            self.bytes.reserve_exact(coming.max(len).min(body_len - len));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(assembler: &mut Assembler, mut bytes: &[u8], step: usize) -> Result<Vec<Vec<u8>>, TooLong> {
        let mut bodies = Vec::new();
        while !bytes.is_empty() {
            let n = assembler.wanted().min(step).min(bytes.len());
            assert!(n > 0, "an assembler always wants something");
            bodies.extend(assembler.take_in(&bytes[..n])?);
            bytes = &bytes[n..];
        }
        Ok(bodies)
    }

    #[test]
    fn frames_come_out_whole_whatever_the_pieces() {
        let sent = [b"ping".to_vec(), Vec::new(), vec![7; 1000]];
        let bytes: Vec<u8> = sent.iter().flat_map(|body| frame(body)).collect();
        for step in [1, 2, 3, 5, 999, 5000] {
            let mut assembler = Assembler::default();
            assert_eq!(feed(&mut assembler, &bytes, step).unwrap(), sent);
            assert!(!assembler.is_midway());
        }
    }

    #[test]
    fn a_length_above_the_limit_is_refused_before_the_body_comes() {
        for len in [u32::try_from(MAX_BODY).unwrap() + 1, u32::MAX] {
            let mut assembler = Assembler::default();
            assert_eq!(assembler.take_in(&len.to_le_bytes()), Err(TooLong { len }));
            assert!(assembler.bytes.capacity() <= 64, "nothing was allocated for it");
        }
    }

    #[test]
    fn a_frame_takes_no_more_room_than_it_is_long() {
        for step in [1, 7, 1000, 4096, MAX_BODY] {
            let mut assembler = Assembler::default();
            let bytes = frame(&vec![7; MAX_BODY]);
            feed(&mut assembler, &bytes[..HEADER_LEN + 5000], step).unwrap();
            assert!(assembler.bytes.capacity() <= 2 * (5000 + step), "it grows with what comes");
            feed(&mut assembler, &bytes[HEADER_LEN + 5000..bytes.len() - 1], step).unwrap();
            assert!(assembler.bytes.capacity() <= MAX_BODY);
        }
    }

    #[test]
    fn a_half_frame_is_midway() {
        let mut assembler = Assembler::default();
        assembler.take_in(&[4, 0]).unwrap();
        assert!(assembler.is_midway());
        assembler.take_in(&[0, 0]).unwrap();
        assert!(assembler.is_midway());
    }
}
