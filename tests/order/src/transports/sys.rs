//! Replaces `src/transports/sys/`: memory in which loom tracks what each side has seen.

pub(crate) mod process_vm;
mod semaphore;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use loom::cell::UnsafeCell;

pub(crate) use semaphore::Semaphore;

use super::sync::AtomicU32;
use semaphore::Count;

/// Bytes in a block, which is tracked as a whole.
const BLOCK: usize = 8;

/// Memory that both sides see. A clone is another mapping of it.
#[derive(Debug, Clone)]
pub(crate) struct Region {
    words: Arc<BTreeMap<usize, AtomicU32>>,
    semaphores: Arc<BTreeMap<usize, Count>>,
    /// By block. No two sides hold the lock at once, since loom runs one at a time.
    bytes: Arc<Mutex<BTreeMap<usize, Block>>>,
}

/// A few bytes, and loom's knowledge of who has read and written them.
#[derive(Debug)]
struct Block {
    access: UnsafeCell<()>,
    bytes: [u8; BLOCK],
}

impl Region {
    /// Memory with words at the offsets `words`, and bytes at the (offset, length) pairs `bytes`; all are 0.
    pub(crate) fn new(words: &[usize], bytes: &[(usize, usize)]) -> Self {
        let words = words.iter().map(|offset| (*offset, AtomicU32::new(0))).collect();
        let block = || Block { access: UnsafeCell::new(()), bytes: [0; BLOCK] };
        let blocks = bytes.iter().flat_map(|(offset, len)| offset / BLOCK..(offset + len).div_ceil(BLOCK));
        let blocks = blocks.map(|index| (index, block())).collect();
        Self { words: Arc::new(words), semaphores: Arc::default(), bytes: Arc::new(Mutex::new(blocks)) }
    }

    /// The same with semaphores at these offsets.
    pub(crate) fn with_semaphores(self, offsets: &[usize]) -> Self {
        let counts = offsets.iter().map(|offset| (*offset, Count::new())).collect();
        Self { semaphores: Arc::new(counts), ..self }
    }

    pub(crate) fn word(&self, offset: usize) -> &AtomicU32 {
        &self.words[&offset]
    }

    /// A copy is none of atomics here, though the smaller ones are where it ships: loom then takes it for a race if the words
    /// around it do not order it.
    pub(crate) fn write(&self, offset: usize, bytes: &[u8]) {
        let mut blocks = self.bytes.lock().expect("no thread panics with it");
        for (index, part) in parts(offset, bytes.len()) {
            let block = blocks.get_mut(&index).expect("the layout is inside the region");
            block.access.with_mut(|_| ());
            block.bytes[part.inside].copy_from_slice(&bytes[part.outside]);
        }
    }

    /// See [`write`](Self::write).
    pub(crate) fn read(&self, offset: usize, bytes: &mut [u8]) {
        let blocks = self.bytes.lock().expect("no thread panics with it");
        for (index, part) in parts(offset, bytes.len()) {
            let block = &blocks[&index];
            block.access.with(|_| ());
            bytes[part.outside].copy_from_slice(&block.bytes[part.inside]);
        }
    }

    pub(crate) fn store<const LEN: usize>(&self, offset: usize, bytes: &[u8; LEN]) {
        self.write(offset, bytes);
    }

    pub(crate) fn load<const LEN: usize>(&self, offset: usize, bytes: &mut [u8; LEN]) {
        self.read(offset, bytes);
    }
}

/// The range of a block that a copy covers, and the matching range of the copy.
struct Part {
    inside: Range<usize>,
    outside: Range<usize>,
}

/// The blocks that `len` bytes at `offset` touch.
fn parts(offset: usize, len: usize) -> impl Iterator<Item = (usize, Part)> {
    (offset / BLOCK..(offset + len).div_ceil(BLOCK)).map(move |index| {
        let start = offset.max(index * BLOCK);
        let end = (offset + len).min((index + 1) * BLOCK);
        let (inside, outside) = (start - index * BLOCK..end - index * BLOCK, start - offset..end - offset);
        (index, Part { inside, outside })
    })
}
