//! The protocols as they ship, and models of what they depend on.

#![allow(dead_code, missing_docs, reason = "not all that ships is explored; it is documented where it ships")]

#[path = "../../../../src/transports/payload.rs"]
mod payload;

mod families;
pub mod memory;
pub mod process_vm;
pub mod semaphore;
pub(crate) mod sync;
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
    /// The wait is over.
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
