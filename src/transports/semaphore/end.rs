//! One side of a channel in shared memory that waits on semaphores.
//!
//! Layout, offsets in bytes:
//!
//! | offset | what |
//! |---|---|
//! | 0, 64 | the ping: semaphore, length |
//! | 128, 192 | the pong: semaphore, length |
//! | 4096 | the ping's bytes, then (on a page of its own) the pong's |

use rustix::io::Errno;

use crate::protocol::Token;
use crate::transports::messages::{Else, Messages};
use crate::transports::sync::{Ordering, spin_loop};
use crate::transports::sys::{Region, Semaphore};

const PAGE: usize = 4096;

/// Where a direction's things are.
#[derive(Debug)]
struct Slot {
    semaphore: usize,
    len: usize,
    bytes: usize,
}

/// The ping's slot and the pong's.
fn slots(size: usize) -> [Slot; 2] {
    let room = room(size);
    [Slot { semaphore: 0, len: 64, bytes: PAGE }, Slot { semaphore: 128, len: 192, bytes: PAGE + room }]
}

/// Bytes for messages of one direction.
fn room(size: usize) -> usize {
    size.max(End::MIN_ROOM).next_multiple_of(PAGE)
}

/// Bytes of memory that a channel needs whose payload has `size`.
pub(super) fn len(size: usize) -> usize {
    PAGE + 2 * room(size)
}

/// One side's end.
#[derive(Debug)]
pub(super) struct End {
    memory: Region,
    sends: Slot,
    receives: Slot,
}

impl End {
    /// The client's end.
    pub(super) fn of_client(memory: Region, size: usize) -> Self {
        let [ping, pong] = slots(size);
        Self { memory, sends: ping, receives: pong }
    }

    /// The responder's end.
    pub(super) fn of_responder(memory: Region, size: usize) -> Self {
        let [ping, pong] = slots(size);
        Self { memory, sends: pong, receives: ping }
    }

    /// Makes the semaphores, for both sides.
    pub(super) fn make(&self) -> Result<(), Errno> {
        for slot in [&self.sends, &self.receives] {
            Semaphore::at(&self.memory, slot.semaphore).make()?;
        }
        Ok(())
    }
}

impl Messages for End {
    const MIN_ROOM: usize = Token::HALF_LEN;

    #[inline(always)]
    fn send(&mut self, message: &[u8], _: Else) -> Result<(), Errno> {
        let slot = &self.sends;
        let len = u32::try_from(message.len()).map_err(|_| Errno::MSGSIZE)?;
        self.memory.write(slot.bytes, message);
        self.memory.word(slot.len).store(len, Ordering::Relaxed);
        Semaphore::at(&self.memory, slot.semaphore).post()
    }

    #[inline(always)]
    fn receive(&mut self, buffer: &mut [u8], or: Else) -> Result<usize, Errno> {
        let slot = &self.receives;
        let taken = Semaphore::at(&self.memory, slot.semaphore).take(or == Else::Sleep);
        if taken == Err(Errno::AGAIN) {
            // No system call stands between this look and the next.
            spin_loop();
        }
        taken?;
        let len = self.memory.word(slot.len).load(Ordering::Relaxed) as usize;
        let part = buffer.get_mut(..len).ok_or(Errno::MSGSIZE)?;
        self.memory.read(slot.bytes, part);
        Ok(len)
    }
}
