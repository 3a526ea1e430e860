//! The protocols as they ship, and models of what they depend on.

#![allow(dead_code, missing_docs, reason = "not all that ships is explored; it is documented where it ships")]

#[path = "../../../../src/transports/buffer.rs"]
mod buffer;
#[path = "../../../../src/transports/payload.rs"]
mod payload;
#[path = "../../../../src/transports/turn.rs"]
mod turn;

pub mod memory;
pub mod process_vm;
pub mod semaphore;
mod sync;
mod sys;
mod watch;

use rustix::io::Errno;

/// What the protocols use of `ipcd::internals::transports::RoundError`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RoundError {
    Ended,
    WrongPong { round: u64, what: &'static str },
    System(Errno),
}

impl From<Errno> for RoundError {
    fn from(error: Errno) -> Self {
        Self::System(error)
    }
}

/// As `ipcd::internals::transports::Alive`.
pub trait Alive {
    fn due(&self) -> bool;

    /// # Errors
    /// It is not worth waiting on.
    fn check(&mut self, round: u64) -> Result<(), RoundError>;
}

/// For a side that is never aborted.
#[derive(Debug, Clone, Copy)]
pub struct Unwatched;

impl Alive for Unwatched {
    fn due(&self) -> bool {
        false
    }

    fn check(&mut self, _: u64) -> Result<(), RoundError> {
        Ok(())
    }
}

mod stream {
    /// The model's time passes as fast as it can.
    pub(super) fn adaptive_spin(_: usize) -> std::time::Duration {
        std::time::Duration::from_micros(50)
    }
}

mod messages {
    use rustix::io::Errno;

    /// As in `src/transports/messages.rs`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(super) enum Else {
        Sleep,
        Return,
    }

    /// As there.
    pub(super) trait Messages {
        const MIN_ROOM: usize = 0;

        fn send(&mut self, message: &[u8], or: Else) -> Result<(), Errno>;
        fn receive(&mut self, buffer: &mut [u8], or: Else) -> Result<usize, Errno>;

        /// Receives one message, waiting like this.
        fn receive_now(&mut self, buffer: &mut [u8], or: Else) -> usize {
            loop {
                match self.receive(buffer, or) {
                    Err(Errno::AGAIN) => {}
                    done => return done.expect("it is never aborted"),
                }
            }
        }
    }
}
