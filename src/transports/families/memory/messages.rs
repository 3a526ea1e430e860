//! Messages of one place for each direction in shared memory: with POSIX semaphores, or with `process_vm_readv`.
//!
//! Layout for semaphores, offsets in bytes:
//!
//! | offset | contents |
//! |---|---|
//! | 0, 64 | the ping: semaphore, length |
//! | 128, 192 | the pong: semaphore, length |
//! | 4096 | the ping's bytes, then (on a separate page) the pong's |
//!
//! Layout of the page for `process_vm_readv`:
//!
//! | offset | contents |
//! |---|---|
//! | 0 | the ping: word, flag of the responder, address and length of the bytes in the client's memory |
//! | 128 | the pong: word, flag of the client, address and length of the bytes in the responder's memory |
//!
//! A word counts its direction's messages; the side that waits for the next one may sleep on it (`turn.rs`).

use rustix::io::Errno;

use crate::protocol::Token;
use crate::transports::families::memory::protocol::PAGE;
use crate::transports::families::messages::{Else, Messages};
use crate::transports::families::sync::{Ordering, spin_loop};
use crate::transports::families::turn::{Barrier, Block, Strategy, Turn};
use crate::transports::sys::{Region, Semaphore, process_vm};

/// The offsets of one direction's semaphore, length and bytes.
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
    size.max(SemaphoreEnd::MIN_ROOM).next_multiple_of(PAGE)
}

/// Bytes of memory that a channel with payloads of `size` bytes needs.
pub(crate) fn semaphore_len(size: usize) -> usize {
    PAGE + 2 * room(size)
}

/// One side's end of a channel that waits on semaphores.
#[derive(Debug)]
pub(crate) struct SemaphoreEnd {
    memory: Region,
    sends: Slot,
    receives: Slot,
}

impl SemaphoreEnd {
    /// The client's end.
    pub(crate) fn of_client(memory: Region, size: usize) -> Self {
        let [ping, pong] = slots(size);
        Self { memory, sends: ping, receives: pong }
    }

    /// The responder's end.
    pub(crate) fn of_responder(memory: Region, size: usize) -> Self {
        let [ping, pong] = slots(size);
        Self { memory, sends: pong, receives: ping }
    }

    /// Makes the semaphores, for both sides.
    pub(crate) fn make(&self) -> Result<(), Errno> {
        for slot in [&self.sends, &self.receives] {
            Semaphore::at(&self.memory, slot.semaphore).make()?;
        }
        Ok(())
    }
}

impl Messages for SemaphoreEnd {
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
            // No system call separates this poll from the next.
            spin_loop();
        }
        taken?;
        let len = self.memory.word(slot.len).load(Ordering::Relaxed) as usize;
        let part = buffer.get_mut(..len).ok_or(Errno::MSGSIZE)?;
        self.memory.read(slot.bytes, part);
        Ok(len)
    }
}

/// Where each direction starts.
const PING: usize = 0;
const PONG: usize = 128;

/// Offsets from there.
const WORD: usize = 0;
const SLEEPS: usize = 4;
const ADDRESS: usize = 8;
const LEN: usize = 16;

/// One side's end of a channel in which each side reads the other's memory.
#[derive(Debug)]
pub(crate) struct ProcessEnd {
    page: Region,
    /// The other side.
    pid: i32,
    sends: usize,
    receives: usize,
    /// Messages so far; they wrap around, as the words do.
    sent: u32,
    received: u32,
}

impl ProcessEnd {
    /// The client's end; `pid` is the responder.
    pub(crate) fn of_client(page: Region, pid: i32) -> Self {
        Self { page, pid, sends: PING, receives: PONG, sent: 0, received: 0 }
    }

    /// The responder's end; `pid` is the client.
    pub(crate) fn of_responder(page: Region, pid: i32) -> Self {
        Self { page, pid, sends: PONG, receives: PING, sent: 0, received: 0 }
    }

    #[inline(always)]
    fn turn(&self, direction: usize) -> Turn<'_> {
        Turn { word: self.page.word(direction + WORD), sleeps: self.page.word(direction + SLEEPS) }
    }

    /// Waits for the message of this number.
    #[inline(always)]
    fn wait(&self, number: u32, or: Else) -> Result<(), Errno> {
        let turn = self.turn(self.receives);
        if or == Else::Sleep {
            return turn.sleep(number, Barrier::Fences);
        }
        if !turn.is(number) {
            // No system call separates this poll from the next.
            spin_loop();
            return Err(Errno::AGAIN);
        }
        Ok(())
    }
}

impl Messages for ProcessEnd {
    const MIN_ROOM: usize = Token::HALF_LEN;

    /// Publishes where the message is; it stays there until the peer has answered.
    #[inline(always)]
    fn send(&mut self, message: &[u8], _: Else) -> Result<(), Errno> {
        let address = message.as_ptr().expose_provenance() as u64;
        self.page.write(self.sends + ADDRESS, &address.to_ne_bytes());
        self.page.write(self.sends + LEN, &(message.len() as u64).to_ne_bytes());
        self.sent = self.sent.wrapping_add(1);
        Block.publish(self.turn(self.sends), self.sent);
        Ok(())
    }

    #[inline(always)]
    fn receive(&mut self, buffer: &mut [u8], or: Else) -> Result<usize, Errno> {
        let number = self.received.wrapping_add(1);
        self.wait(number, or)?;
        let (mut address, mut len) = ([0; 8], [0; 8]);
        self.page.read(self.receives + ADDRESS, &mut address);
        self.page.read(self.receives + LEN, &mut len);
        let len = usize::try_from(u64::from_ne_bytes(len)).map_err(|_| Errno::MSGSIZE)?;
        let part = buffer.get_mut(..len).ok_or(Errno::MSGSIZE)?;
        process_vm::read(self.pid, u64::from_ne_bytes(address), part)?;
        self.received = number;
        Ok(len)
    }
}
