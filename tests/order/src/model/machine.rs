//! The machine's part that loom does not have: `membarrier`, and threads that are on no CPU.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use loom::sync::atomic::{AtomicUsize, Ordering, fence};
use loom::thread::{ThreadId, current, yield_now};

use super::{Fault, Side, has};

/// A barrier is asked of this side.
const ASKED: usize = 1;
/// This side is on no CPU.
const OFF: usize = 2;

/// Two processes on a machine with a CPU for each.
#[derive(Debug)]
pub(crate) struct Machine {
    /// What is so of each side, in the order of [`Side::BOTH`]. Read and written by relaxed read-modify-writes alone: they see
    /// what is, and order nothing else.
    states: [AtomicUsize; 2],
    threads: RefCell<[Option<ThreadId>; 2]>,
    /// Whether a side looks until it sees what it waits for.
    spins: Cell<bool>,
}

impl Machine {
    pub(crate) fn new() -> Self {
        Self { states: [OFF; 2].map(AtomicUsize::new), threads: RefCell::default(), spins: Cell::new(false) }
    }

    /// From here on this thread is that side. It ends with the value.
    pub(crate) fn enter(self: &Rc<Self>, side: Side) -> Running {
        self.threads.borrow_mut()[side as usize] = Some(current().id());
        if self.state(side).fetch_and(!(OFF | ASKED), Ordering::Relaxed) & ASKED != 0 {
            fence(Ordering::SeqCst);
        }
        Running(Rc::clone(self))
    }

    /// Which side this thread is.
    pub(crate) fn side(&self) -> Option<Side> {
        let id = Some(current().id());
        let threads = self.threads.borrow();
        Side::BOTH.into_iter().find(|side| threads[*side as usize] == id)
    }

    /// From here on waiting is looking for ever.
    pub(crate) fn spin(&self) {
        self.spins.set(true);
    }

    pub(crate) fn spins(&self) -> bool {
        self.spins.get()
    }

    fn state(&self, side: Side) -> &AtomicUsize {
        &self.states[side as usize]
    }

    /// `membarrier`: returns once the other side has executed a full barrier somewhere in its program order, or is on no
    /// CPU, where it came by one and which it does not leave without another.
    pub(crate) fn barrier_everywhere(&self) {
        fence(Ordering::SeqCst);
        if has(Fault::NoBarrierEverywhere) {
            return;
        }
        let us = self.side().expect("a side calls it");
        let them = self.state(us.other());
        let mut state = them.fetch_or(ASKED, Ordering::Relaxed) | ASKED;
        while state == ASKED {
            // They may ask the same of us.
            self.interrupt();
            yield_now();
            state = them.fetch_or(0, Ordering::Relaxed);
        }
        fence(Ordering::SeqCst);
    }

    /// Between two steps of a side: executes the barrier that is asked of it.
    pub(crate) fn interrupt(&self) {
        let Some(us) = self.side() else { return };
        if self.state(us).fetch_or(0, Ordering::Relaxed) & ASKED != 0 {
            fence(Ordering::SeqCst);
            self.state(us).fetch_and(!ASKED, Ordering::Relaxed);
        }
    }

    /// This side leaves its CPU.
    pub(crate) fn switch_off(&self) {
        let Some(us) = self.side() else { return };
        fence(Ordering::SeqCst);
        self.state(us).fetch_or(OFF, Ordering::Relaxed);
    }

    /// This side is on a CPU again.
    pub(crate) fn switch_on(&self) {
        let Some(us) = self.side() else { return };
        self.state(us).fetch_and(!(OFF | ASKED), Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }
}

/// A side at work.
#[derive(Debug)]
pub(crate) struct Running(Rc<Machine>);

impl Drop for Running {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.0.switch_off();
        }
    }
}
