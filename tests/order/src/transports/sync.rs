//! In place of `src/transports/families/sync.rs`: loom's atomics, and models of the kernel's calls.

use std::time::Duration;

use loom::sync::{Condvar, Mutex};
use rustix::io::Errno;

pub(crate) use loom::sync::atomic::Ordering;

use crate::model::{Fault, Side, has, machine};

/// Polls of a word between checks. More would add nothing for loom to explore.
pub(crate) const POLLS: u32 = 1;

/// A word, and those who sleep on it in the kernel.
#[derive(Debug)]
pub(crate) struct AtomicU32 {
    value: loom::sync::atomic::AtomicU32,
    /// Held by the kernel while it compares, puts to sleep and wakes. Whether waiting is over for good.
    sleepers: Mutex<bool>,
    woken: Condvar,
}

impl AtomicU32 {
    pub(crate) fn new(value: u32) -> Self {
        let value = loom::sync::atomic::AtomicU32::new(value);
        Self { value, sleepers: Mutex::new(false), woken: Condvar::new() }
    }

    pub(crate) fn load(&self, ordering: Ordering) -> u32 {
        machine().interrupt();
        self.value.load(if has(Fault::LoadsDoNotAcquire) { Ordering::Relaxed } else { ordering })
    }

    pub(crate) fn store(&self, value: u32, ordering: Ordering) {
        machine().interrupt();
        self.value.store(value, if has(Fault::StoresDoNotRelease) { Ordering::Relaxed } else { ordering });
    }

    /// Models ticks for a client that sleeps: the next one comes soon, and interrupts a later sleep as well.
    pub(crate) fn tick_for_ever(&self) {
        *self.sleepers.lock().expect("no thread panics") = true;
        self.woken.notify_all();
    }
}

pub(crate) fn fence(ordering: Ordering) {
    let side = machine().side().expect("a side calls it");
    if !has(Fault::NoFences(side)) {
        loom::sync::atomic::fence(ordering);
    }
}

/// loom executes a thread's steps in their order; what the other side sees of them it sees in any order that is allowed.
pub(crate) fn compiler_fence(_: Ordering) {
    machine().interrupt();
}

pub(crate) fn spin_loop() {
    machine().interrupt();
    // Who looks for ever has to let the other side go on; who looks for a while may be done before that does anything.
    if machine().spins() {
        loom::thread::yield_now();
    }
}

pub(crate) fn futex_wait(word: &AtomicU32, seen: u32) -> Result<(), Errno> {
    let mut ticks = word.sleepers.lock().expect("no thread panics");
    if word.value.load(Ordering::Relaxed) != seen && !has(Fault::FutexDoesNotCompare) {
        return Err(Errno::AGAIN);
    }
    // A responder has no ticks.
    let has_ticks = machine().side() == Some(Side::Client);
    if !(has_ticks && *ticks) {
        machine().switch_off();
        ticks = word.woken.wait(ticks).expect("no thread panics");
        machine().switch_on();
    }
    if has_ticks && *ticks { Err(Errno::INTR) } else { Ok(()) }
}

pub(crate) fn futex_wake(word: &AtomicU32) {
    if has(Fault::FutexDoesNotWake) {
        return;
    }
    // A thread about to sleep has compared the word before, or sees the published value when it does.
    drop(word.sleepers.lock());
    word.woken.notify_one();
}

pub(crate) fn barrier_everywhere() -> Result<(), Errno> {
    machine().barrier_everywhere();
    Ok(())
}

pub(crate) fn register() -> Result<(), Errno> {
    Ok(())
}

/// A clock whose time flies.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Instant;

impl Instant {
    pub(crate) fn now() -> Self {
        Self
    }

    pub(crate) fn elapsed(self) -> Duration {
        Duration::MAX
    }
}
