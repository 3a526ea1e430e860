//! A timer that interrupts the thread which made it, so that no blocking call of it lasts for ever.
//!
//! Whoever waits in the kernel for a peer (`recv` on UDP, a futex, a message queue) is not told when that peer dies.
//! A second thread could watch, but two threads share their descriptor table, which makes every system call of the
//! timed loop dearer. So a timer signals the thread every [`TICK`]: a blocked call returns `EINTR`, and the thread
//! looks around. Between ticks nothing runs, and a tick outside a blocking call costs a microsecond or two.

use std::cell::Cell;
use std::io;
use std::marker::PhantomData;
use std::mem;
use std::ptr;
use std::sync::Once;
use std::time::Duration;

/// How often a waiting thread looks around.
pub(crate) const TICK: Duration = Duration::from_millis(250);

thread_local! {
    /// Ticks of this thread. Written by the signal handler, which runs in this thread: a plain cell, read
    /// volatile, is enough.
    static TICKS: Cell<u32> = const { Cell::new(0) };
}

/// The signal: a real-time one, away from the first, which other software likes to take.
fn signal() -> libc::c_int {
    libc::SIGRTMIN() + 11
}

extern "C" fn on_tick(_: libc::c_int, info: *const libc::siginfo_t, _: *const libc::c_void) {
    // SAFETY: with SA_SIGINFO the kernel hands over a valid siginfo_t. Another process's signal is no tick: many of them
    // must not use up a wait's patience.
    if unsafe { (*info).si_code } != libc::SI_TIMER {
        return;
    }
    TICKS.with(|ticks| {
        let ticks = ticks.as_ptr();
        // SAFETY: the cell is this thread's own and nobody holds a reference into it; the handler does not
        // interrupt itself, since the signal is blocked while it runs.
        unsafe { ticks.write_volatile(ticks.read_volatile().wrapping_add(1)) };
    });
}

/// The timer. Ends with its value; does not leave its thread.
#[derive(Debug)]
pub(crate) struct Ticker {
    timer: libc::timer_t,
    /// The timer signals the thread that made it, and `ticks` counts for the thread that calls it.
    not_send: PhantomData<*const ()>,
}

impl Ticker {
    /// Starts the timer for this thread.
    ///
    /// # Errors
    /// The system's: it allows no more timers or signals.
    pub(crate) fn start() -> io::Result<Self> {
        static HANDLER: Once = Once::new();
        HANDLER.call_once(|| {
            // SAFETY: all-zero is a valid sigaction; the handler only touches a thread-local cell that needs no
            // initialisation. No SA_RESTART: interrupting is the purpose.
            unsafe {
                let mut action: libc::sigaction = mem::zeroed();
                action.sa_sigaction = on_tick as *const () as usize;
                action.sa_flags = libc::SA_SIGINFO;
                libc::sigemptyset(&mut action.sa_mask);
                libc::sigaction(signal(), &action, ptr::null_mut());
            }
        });
        // SAFETY: all-zero is a valid sigset_t, sigevent and itimerspec; every pointer is to a live local.
        unsafe {
            // Whoever started this program may have blocked the signal.
            let mut set: libc::sigset_t = mem::zeroed();
            libc::sigemptyset(&mut set);
            libc::sigaddset(&mut set, signal());
            libc::pthread_sigmask(libc::SIG_UNBLOCK, &set, ptr::null_mut());

            let mut event: libc::sigevent = mem::zeroed();
            event.sigev_notify = libc::SIGEV_THREAD_ID;
            event.sigev_signo = signal();
            event.sigev_notify_thread_id = libc::gettid();
            let mut timer = ptr::null_mut();
            if libc::timer_create(libc::CLOCK_MONOTONIC, &mut event, &mut timer) != 0 {
                return Err(io::Error::last_os_error());
            }
            let ticker = Self { timer, not_send: PhantomData };
            let mut every: libc::itimerspec = mem::zeroed();
            every.it_interval.tv_nsec = libc::c_long::from(TICK.subsec_nanos());
            every.it_value = every.it_interval;
            if libc::timer_settime(ticker.timer, 0, &every, ptr::null_mut()) != 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(ticker)
        }
    }

    /// Ticks of this thread so far, of whichever timer; wraps around.
    #[inline(always)]
    #[must_use]
    pub(crate) fn ticks(&self) -> u32 {
        // SAFETY: as in the handler; volatile, since the handler writes behind the compiler's back.
        TICKS.with(|ticks| unsafe { ticks.as_ptr().read_volatile() })
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        // SAFETY: the timer is this value's own and alive. The kernel takes a pending signal back, or delivers it
        // before this call returns; the handler stays installed in any case.
        unsafe { libc::timer_delete(self.timer) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    /// The handler, called as the kernel does.
    #[test]
    fn a_timers_signal_is_a_tick_and_no_other_is() {
        // SAFETY: all-zero is a valid siginfo_t.
        let mut info: libc::siginfo_t = unsafe { mem::zeroed() };
        let before = TICKS.get();
        for (code, counted) in [(libc::SI_TIMER, 1), (libc::SI_USER, 1), (libc::SI_TIMER, 2)] {
            info.si_code = code;
            on_tick(signal(), &raw const info, ptr::null());
            assert_eq!(TICKS.get() - before, counted);
        }
    }

    /// As another process would: the kernel tells its signals from a timer's.
    #[test]
    #[cfg_attr(miri, ignore = "Miri has no timers and delivers no signal")]
    fn a_strangers_signal_is_no_tick() {
        let ticker = Ticker::start().unwrap();
        let before = ticker.ticks();
        for _ in 0..1000 {
            // SAFETY: takes numbers only; the signal has a handler.
            unsafe { libc::pthread_kill(libc::pthread_self(), signal()) };
        }
        assert!(ticker.ticks().wrapping_sub(before) < 500, "{} ticks", ticker.ticks());
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no timers and delivers no signal")]
    fn a_blocking_call_is_interrupted_again_and_again() {
        let ticker = Ticker::start().unwrap();
        let (reader, _writer) = rustix::pipe::pipe().unwrap();
        let start = Instant::now();
        let before = ticker.ticks();
        for _ in 0..2 {
            let result = rustix::io::read(&reader, &mut [0_u8; 1]);
            assert_eq!(result, Err(rustix::io::Errno::INTR));
        }
        assert!(ticker.ticks().wrapping_sub(before) >= 2);
        assert!(start.elapsed() >= TICK, "two ticks are at least one interval apart");
    }
}
