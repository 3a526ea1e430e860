//! One side of a channel in which each reads the other's memory.
//!
//! Layout of the page, offsets in bytes:
//!
//! | offset | what |
//! |---|---|
//! | 0 | the ping: word, flag of the responder, address and length of the bytes in the client's memory |
//! | 128 | the pong: word, flag of the client, address and length of the bytes in the responder's memory |
//!
//! A word counts its direction's messages; who waits for the next one may sleep on it (`turn.rs`).

use rustix::io::Errno;

use crate::protocol::Token;
use crate::transports::messages::{Else, Messages};
use crate::transports::sync::spin_loop;
use crate::transports::sys::{Region, process_vm};
use crate::transports::turn::{Barrier, Block, Strategy, Turn};

pub(super) const PAGE: usize = 4096;

/// Where each direction begins.
const PING: usize = 0;
const PONG: usize = 128;

/// From there on.
const WORD: usize = 0;
const SLEEPS: usize = 4;
const ADDRESS: usize = 8;
const LEN: usize = 16;

/// One side's end.
#[derive(Debug)]
pub(super) struct End {
    page: Region,
    /// The other side.
    pid: i32,
    sends: usize,
    receives: usize,
    /// Messages so far; they wrap around, as the words do.
    sent: u32,
    received: u32,
}

impl End {
    /// The client's end; `pid` is the responder.
    pub(super) fn of_client(page: Region, pid: i32) -> Self {
        Self { page, pid, sends: PING, receives: PONG, sent: 0, received: 0 }
    }

    /// The responder's end; `pid` is the client.
    pub(super) fn of_responder(page: Region, pid: i32) -> Self {
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
            // No system call stands between this look and the next.
            spin_loop();
            return Err(Errno::AGAIN);
        }
        Ok(())
    }
}

impl Messages for End {
    const MIN_ROOM: usize = Token::HALF_LEN;

    /// Tells where the message is, which stays there until the peer has answered.
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
