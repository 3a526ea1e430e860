//! Ctrl-C and SIGTERM while a run goes on: the first ends it, so that what is complete is told; the next ends the program.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag::{register, register_conditional_default, register_usize};
use signal_hook::low_level::emulate_default_handler;

/// What listens to the signals, from its making on.
pub(super) struct Interrupt {
    /// The signal that came last; 0 if none has.
    signal: Arc<AtomicUsize>,
    /// Whether a signal does what it does to whoever does not listen.
    listens_no_more: Arc<AtomicBool>,
}

impl Interrupt {
    /// The first signal sets `interrupt`. One that this program was started to ignore (a script's `&`) stays ignored.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn set(interrupt: &Arc<AtomicBool>) -> io::Result<Self> {
        // Until all is in place, a signal ends the program at once: half of it would lose the signal.
        let (signal, listens_no_more) = (Arc::<AtomicUsize>::default(), Arc::new(AtomicBool::new(true)));
        let ignored = ignored();
        for number in [SIGINT, SIGTERM].into_iter().filter(|number| ignored & (1 << (number - 1)) == 0) {
            // In the order in which a signal does it all: the first does not find what it sets itself.
            register_conditional_default(number, Arc::clone(&listens_no_more))?;
            register(number, Arc::clone(&listens_no_more))?;
            register_usize(number, Arc::clone(&signal), usize::try_from(number).unwrap_or_default())?;
            register(number, Arc::clone(interrupt))?;
        }
        listens_no_more.store(false, Ordering::Relaxed);
        Ok(Self { signal, listens_no_more })
    }

    /// The run is over: from now on a signal ends the program at once.
    pub(super) fn listen_no_more(&self) {
        self.listens_no_more.store(true, Ordering::Relaxed);
    }

    /// Ends the program by the signal that has ended the run, so that whoever started it sees what a signal does; returns
    /// if none has.
    pub(super) fn pass_on(&self) {
        let signal = self.signal.load(Ordering::Relaxed);
        if let Some(signal) = i32::try_from(signal).ok().filter(|signal| *signal != 0) {
            // It fails for signals only that cannot be handled.
            let _ = emulate_default_handler(signal);
        }
    }
}

/// The signals that are ignored, a bit each from 1; none where the system does not tell.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}
