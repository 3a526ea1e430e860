//! What turns in shared memory are taken with: atomics, barriers, and the kernel's part in a sleep.
//!
//! The protocols reach all of it through this module. `tests/order` puts a model in its place and has loom explore
//! what may happen to the very code that ships; `tests/tidy.rs` keeps that code from going past it.

pub(super) use std::hint::spin_loop;
pub(super) use std::sync::atomic::{AtomicU32, Ordering, compiler_fence, fence};
pub(super) use std::time::Instant;

use rustix::io::Errno;
#[cfg(not(miri))]
use rustix::thread::futex;
use rustix::thread::{MembarrierCommand, membarrier};

#[cfg(miri)]
use super::sys::futex;

/// Looks at the word before something else is looked at: 1.5 µs, where a pause takes 25 ns.
pub(super) const LOOKS: u32 = 64;

/// Sleeps until the word is woken, unless it is not `seen` any more ([`Errno::AGAIN`]).
///
/// # Errors
/// The system's; [`Errno::INTR`] if a signal handler has run.
#[inline(always)]
pub(super) fn futex_wait(word: &AtomicU32, seen: u32) -> Result<(), Errno> {
    // Shared between processes, hence not PRIVATE.
    futex::wait(word, futex::Flags::empty(), seen, None)
}

/// Wakes one that sleeps on the word.
#[inline(always)]
pub(super) fn futex_wake(word: &AtomicU32) {
    // It fails only for a bad address, which a word's is not.
    let _ = futex::wake(word, futex::Flags::empty(), 1);
}

/// Has every CPU that runs a registered process execute a full barrier, and returns after that.
pub(super) fn barrier_everywhere() -> Result<(), Errno> {
    membarrier(MembarrierCommand::GlobalExpedited)
}

/// Registers this process, so that another's [`barrier_everywhere`] reaches it.
pub(super) fn register() -> Result<(), Errno> {
    membarrier(MembarrierCommand::RegisterGlobalExpedited)
}
