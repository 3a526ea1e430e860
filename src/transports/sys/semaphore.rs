//! POSIX semaphores in memory that processes share.

use std::marker::PhantomData;

use rustix::io::Errno;

use super::{Region, result};

/// A semaphore in shared memory.
///
/// The other process may write anything into it, as into the rest of the memory. It holds numbers only, so that the
/// worst that comes of it is a wait that lasts too long or not long enough.
#[derive(Debug, Clone, Copy)]
pub struct Semaphore<'a> {
    semaphore: *mut libc::sem_t,
    region: PhantomData<&'a Region>,
}

impl<'a> Semaphore<'a> {
    /// The semaphore at `offset` bytes. One side [makes](Self::make) it before the other knows of it.
    ///
    /// # Panics
    /// If it is not aligned or not inside.
    #[inline(always)]
    #[must_use]
    pub fn at(region: &'a Region, offset: usize) -> Self {
        Self { semaphore: region.place(offset), region: PhantomData }
    }

    /// Makes it, with the value 0.
    ///
    /// # Errors
    /// The system's: it has no semaphores between processes.
    pub fn make(self) -> Result<(), Errno> {
        // SAFETY: aligned, inside the mapping, and used for nothing else.
        result(unsafe { libc::sem_init(self.semaphore, 1, 0) })
    }

    /// Adds one, and wakes who waits.
    ///
    /// # Errors
    /// The system's: it cannot count so far.
    #[inline(always)]
    pub fn post(self) -> Result<(), Errno> {
        // SAFETY: as in `make`, which one side has called.
        result(unsafe { libc::sem_post(self.semaphore) })
    }

    /// Takes one away.
    ///
    /// # Errors
    /// [`Errno::AGAIN`] if there is none and it may not `wait`; [`Errno::INTR`] if a signal handler has run.
    #[inline(always)]
    pub fn take(self, wait: bool) -> Result<(), Errno> {
        // SAFETY: as in `make`, which one side has called.
        result(unsafe {
            if wait { libc::sem_wait(self.semaphore) } else { libc::sem_trywait(self.semaphore) }
        })
    }
}
