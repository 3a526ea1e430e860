//! The primitives of the protocols in shared memory: atomics, barriers, and the kernel's part in a sleep.
//!
//! The protocols use no others: `tests/order` replaces this module by a model and has loom explore the code that ships, and
//! `tests/tidy.rs` keeps that code from bypassing it.

pub(crate) use std::hint::spin_loop;
pub(crate) use std::sync::atomic::{AtomicU32, Ordering, compiler_fence, fence};
pub(crate) use std::time::Instant;

use rustix::io::Errno;
#[cfg(not(miri))]
use rustix::thread::futex;
use rustix::thread::{MembarrierCommand, membarrier};

#[cfg(miri)]
use crate::transports::sys::futex;

/// Loads of the word between two other checks: 1.5 µs, where a pause takes 25 ns.
pub(crate) const POLLS: u32 = 64;

/// Sleeps until the word is woken, unless it is not `seen` any more ([`Errno::AGAIN`]).
///
/// # Errors
/// The system's; [`Errno::INTR`] if a signal handler has run.
#[inline(always)]
pub(crate) fn futex_wait(word: &AtomicU32, seen: u32) -> Result<(), Errno> {
    // Shared between processes, hence not PRIVATE.
    futex::wait(word, futex::Flags::empty(), seen, None)
}

/// Wakes a thread that sleeps on the word.
#[inline(always)]
pub(crate) fn futex_wake(word: &AtomicU32) {
    // It fails only for a bad address, which a word's is not.
    let _ = futex::wake(word, futex::Flags::empty(), 1);
}

/// Has every CPU that runs a registered process execute a full barrier, and returns after that.
pub(crate) fn barrier_everywhere() -> Result<(), Errno> {
    membarrier(MembarrierCommand::GlobalExpedited)
}

/// Registers this process, so that another's [`barrier_everywhere`] reaches it.
pub(crate) fn register() -> Result<(), Errno> {
    membarrier(MembarrierCommand::RegisterGlobalExpedited)
}
