//! Replaces the semaphores of `src/transports/sys/region.rs`: what POSIX says of semaphores, which order memory between who posts and who
//! takes.

use loom::sync::atomic::{AtomicU32, Ordering};
use loom::sync::{Condvar, Mutex};
use loom::thread::yield_now;
use rustix::io::Errno;

use super::Region;
use crate::model::{Fault, has};

/// What a semaphore counts.
#[derive(Debug)]
pub(super) struct Count {
    count: Mutex<u32>,
    posted: Condvar,
    /// In place of it where semaphores do not order memory.
    unordered: AtomicU32,
}

impl Count {
    pub(super) fn new() -> Self {
        Self { count: Mutex::new(0), posted: Condvar::new(), unordered: AtomicU32::new(0) }
    }
}

/// A semaphore in memory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Semaphore<'a>(&'a Count);

impl<'a> Semaphore<'a> {
    pub(crate) fn at(region: &'a Region, offset: usize) -> Self {
        Self(&region.semaphores[&offset])
    }

    pub(crate) fn make(self) -> Result<(), Errno> {
        *self.0.count.lock().expect("no thread panics") = 0;
        Ok(())
    }

    pub(crate) fn post(self) -> Result<(), Errno> {
        if has(Fault::SemaphoresDoNotOrder) {
            self.0.unordered.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        }
        *self.0.count.lock().expect("no thread panics") += 1;
        self.0.posted.notify_one();
        Ok(())
    }

    pub(crate) fn take(self, wait: bool) -> Result<(), Errno> {
        if has(Fault::SemaphoresDoNotOrder) {
            return self.take_unordered(wait);
        }
        let mut count = self.0.count.lock().expect("no thread panics");
        while *count == 0 {
            if !wait {
                return Err(Errno::AGAIN);
            }
            count = self.0.posted.wait(count).expect("no thread panics");
        }
        *count -= 1;
        Ok(())
    }

    fn take_unordered(self, wait: bool) -> Result<(), Errno> {
        while self
            .0
            .unordered
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1))
            .is_err()
        {
            if !wait {
                return Err(Errno::AGAIN);
            }
            yield_now();
        }
        Ok(())
    }
}
