//! How a model is explored, on what machine, and what may be wrong with it.

mod machine;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

pub(crate) use machine::Machine;

/// Whose code runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The client's.
    Client,
    /// The responder's.
    Responder,
}

impl Side {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::Client, Self::Responder];

    /// The other one.
    #[must_use]
    pub fn other(self) -> Self {
        if self == Self::Client { Self::Responder } else { Self::Client }
    }
}

/// What is taken from the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A store does not release what was written before it.
    StoresDoNotRelease,
    /// A load does not acquire what was written before the store that it sees.
    LoadsDoNotAcquire,
    /// This side's fences do nothing.
    NoFences(Side),
    /// `membarrier` does not reach the other side.
    NoBarrierEverywhere,
    /// A futex sleeps whatever its word is by then.
    FutexDoesNotCompare,
    /// A futex never wakes a waiter.
    FutexDoesNotWake,
    /// `sem_post` releases nothing, `sem_wait` acquires nothing.
    SemaphoresDoNotOrder,
}

thread_local! {
    /// What is wrong with the machine. (loom runs its threads in the thread that explores.)
    static FAULT: Cell<Option<Fault>> = const { Cell::new(None) };
    static MACHINE: RefCell<Option<Rc<Machine>>> = const { RefCell::new(None) };
}

/// Whether this is wrong with the machine.
pub(crate) fn has(fault: Fault) -> bool {
    FAULT.get() == Some(fault)
}

/// The machine of this execution.
pub(crate) fn machine() -> Rc<Machine> {
    MACHINE.with_borrow(|machine| machine.clone().expect("`explore` has made one"))
}

/// Has loom run `model` in every way that two or three preemptions allow, on a machine with this fault; returns how many
/// there were. `preemptions` of `None`: in every way there is.
///
/// # Panics
/// If one of them deadlocks, has a data race or violates an assertion of the model.
pub fn explore(
    fault: Option<Fault>,
    preemptions: Option<usize>,
    model: impl Fn() + Send + Sync + 'static,
) -> usize {
    FAULT.set(fault);
    let executions = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&executions);
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = preemptions;
    builder.max_branches = 10_000;
    builder.check(move || {
        count.fetch_add(1, Ordering::Relaxed);
        MACHINE.set(Some(Rc::new(Machine::new())));
        model();
        MACHINE.set(None);
    });
    executions.load(Ordering::Relaxed)
}
