//! Signals that ask a program to end: SIGINT, SIGTERM and SIGHUP, in process 1 of a container too, where no signal has a
//! default action.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag::{
    register, register_conditional_default, register_conditional_shutdown, register_usize,
};
use signal_hook::low_level::emulate_default_handler;

/// Those signals.
const ENDING: [i32; 3] = [SIGINT, SIGTERM, SIGHUP];

/// Whether such a signal ends the program at once.
static ENDS: LazyLock<Arc<AtomicBool>> = LazyLock::new(|| Arc::new(AtomicBool::new(true)));

/// Whether this is process 1, for which the kernel drops every signal without a handler.
fn is_init() -> bool {
    std::process::id() == 1
}

/// The exit status of a program that a signal has ended, as a shell reports it.
fn status(signal: i32) -> i32 {
    128 + signal
}

/// Gives these signals their usual effect in process 1. In any other process they have it already.
pub(crate) fn end_as_init() {
    if !is_init() {
        return;
    }
    for signal in heeded() {
        // Fails only for signals that cannot be handled.
        let _ = register_conditional_shutdown(signal, status(signal), Arc::clone(&ENDS));
    }
}

/// From now on the program's own handlers decide what these signals do.
pub(crate) fn leave_to_handlers() {
    ENDS.store(false, Ordering::Relaxed);
}

/// Those of the signals that were not ignored at startup (`nohup`, a script's `&`).
fn heeded() -> impl Iterator<Item = i32> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    ENDING.into_iter().filter(move |signal| ignored & (1 << (signal - 1)) == 0)
}

/// The signals during a run: the first ends the run, so that what is complete is reported; the next ends the program.
pub(crate) struct Interrupt {
    /// The last signal; 0 if there was none.
    signal: Arc<AtomicUsize>,
}

impl Interrupt {
    /// Has the first signal set `interrupt`.
    ///
    /// # Errors
    /// The system refuses to install a handler.
    pub(crate) fn listen(interrupt: &Arc<AtomicBool>) -> io::Result<Self> {
        let signal = Arc::<AtomicUsize>::default();
        // Until every handler is installed, a signal ends the program: half of them would lose it.
        for number in heeded() {
            // They run in this order: the first must not see what the second sets.
            if !is_init() {
                register_conditional_default(number, Arc::clone(&ENDS))?;
            }
            register(number, Arc::clone(&ENDS))?;
            register_usize(number, Arc::clone(&signal), usize::try_from(number).unwrap_or_default())?;
            register(number, Arc::clone(interrupt))?;
        }
        leave_to_handlers();
        Ok(Self { signal })
    }

    /// From now on a signal ends the program.
    pub(crate) fn restore_default(&self) {
        ENDS.store(true, Ordering::Relaxed);
    }

    /// Ends the program by the signal that interrupted the run, so that its parent sees the right status; returns if
    /// there was none.
    pub(crate) fn raise_again(&self) {
        let signal = self.signal.load(Ordering::Relaxed);
        let Some(signal) = i32::try_from(signal).ok().filter(|signal| *signal != 0) else { return };
        if !is_init() {
            // Fails only for signals that cannot be handled.
            let _ = emulate_default_handler(signal);
        }
        std::process::exit(status(signal));
    }
}
