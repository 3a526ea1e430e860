//! Bytes that a payload is sent from and received into: they begin where a page does.
//!
//! The kernel copies from and to pages of its own. A copy between places that lie differently in their pages takes longer:
//! 3 to 4 % more a round of 1 MiB, 16 bytes beside a page's beginning, where an allocator puts large pieces
//! (`docs/measurements.md`).

use std::ops::{Deref, DerefMut};

const PAGE: usize = 4096;

/// Zeros at first.
#[derive(Debug)]
pub(super) struct Buffer {
    bytes: Vec<u8>,
    /// Of what is used.
    start: usize,
    len: usize,
}

impl Buffer {
    pub(super) fn new(len: usize) -> Self {
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
