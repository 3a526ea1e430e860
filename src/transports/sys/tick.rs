//! A timer that interrupts the thread that made it, so that no blocking call of it lasts for ever.
//!
//! A thread that waits in the kernel for a peer (`recv` on UDP, a futex, a message queue) does not notice that the peer
//! dies. A second thread could watch, but two threads share their descriptor table, which makes every system call of the
//! timed loop more expensive. So a timer signals the thread every [`TICK`]: a blocked call returns `EINTR`, and the thread
//! checks. Between ticks nothing runs, and a tick outside a blocking call costs a microsecond or two.

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::Once;
use std::time::Duration;
use std::{io, mem, ptr};

use super::{result, signal};

/// How often a waiting thread checks its peer.
pub(crate) const TICK: Duration = Duration::from_millis(250);

thread_local! {
    /// This thread's ticks. Written by the signal handler, which runs in this thread, so that a plain cell, read volatile,
    /// is enough.
    static TICKS: Cell<u32> = const { Cell::new(0) };
}

/// The signal: a real-time one, away from the first, which other software tends to use.
fn number() -> libc::c_int {
    libc::SIGRTMIN() + 11
}

extern "C" fn on_tick(_: libc::c_int, info: *const libc::siginfo_t, _: *const libc::c_void) {
    // SAFETY: the kernel passes a valid siginfo_t. A signal from another process does not count: many of them must not
    // time out a wait.
    if unsafe { (*info).si_code } != libc::SI_TIMER {
        return;
    }
    TICKS.with(|ticks| {
        let ticks = ticks.as_ptr();
        // SAFETY: the cell is this thread's, without a reference into it; the handler does not interrupt itself, since
        // the signal is blocked while it runs.
        unsafe { ticks.write_volatile(ticks.read_volatile().wrapping_add(1)) };
    });
}

/// The timer of the thread that started it. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Ticker {
    timer: libc::timer_t,
    /// The timer signals the thread that made it, and `ticks` counts those of the thread that calls it.
    not_send: PhantomData<*const ()>,
}

impl Ticker {
    /// Starts the timer for this thread, with a tick every [`TICK`].
    ///
    /// # Errors
    /// The system's: it allows no more timers or signals.
    pub(crate) fn start() -> io::Result<Self> {
        Self::every(TICK)
    }

    /// The same with another interval, which is less than a second.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub(crate) fn every(interval: Duration) -> io::Result<Self> {
        static HANDLER: Once = Once::new();
        HANDLER.call_once(|| {
            // SAFETY: the handler only touches a thread-local cell that needs no initialisation.
            let installed = unsafe { signal::install(number(), on_tick, 0) };
            installed.expect("a real-time signal can be handled");
        });
        // The parent process may have blocked the signal.
        signal::mask(libc::SIG_UNBLOCK, number())?;
        // SAFETY: all-zero is a valid sigevent and itimerspec; every pointer is to a live local.
        unsafe {
            let mut event: libc::sigevent = mem::zeroed();
            event.sigev_notify = libc::SIGEV_THREAD_ID;
            event.sigev_signo = number();
            event.sigev_notify_thread_id = libc::gettid();
            let mut timer = ptr::null_mut();
            result(libc::timer_create(libc::CLOCK_MONOTONIC, &mut event, &mut timer))?;
            let ticker = Self { timer, not_send: PhantomData };
            let mut every: libc::itimerspec = mem::zeroed();
            every.it_interval.tv_nsec = libc::c_long::from(interval.subsec_nanos());
            every.it_value = every.it_interval;
            result(libc::timer_settime(ticker.timer, 0, &every, ptr::null_mut()))?;
            Ok(ticker)
        }
    }

    /// This thread's ticks so far, from any timer; wraps around.
    #[inline(always)]
    #[must_use]
    pub(crate) fn ticks(&self) -> u32 {
        // SAFETY: as in the handler; volatile, since the handler writes behind the compiler's back.
        TICKS.with(|ticks| unsafe { ticks.as_ptr().read_volatile() })
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        // SAFETY: the timer is this value's and alive. The kernel cancels a pending signal, or delivers it before this
        // call returns; the handler stays installed.
        unsafe { libc::timer_delete(self.timer) };
    }
}

/// The same for tokio: a timer that it watches as a descriptor, which fires every [`TICK`] and costs nothing in between.
#[cfg(feature = "_tokio")]
#[derive(Debug)]
pub(crate) struct Alarm {
    timer: tokio::io::unix::AsyncFd<std::os::fd::OwnedFd>,
}

#[cfg(feature = "_tokio")]
impl Alarm {
    /// Starts the timer. Call this from within the runtime.
    ///
    /// # Errors
    /// The system allows no more descriptors.
    pub(crate) fn start() -> io::Result<Self> {
        use rustix::time::{
            Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
            timerfd_settime,
        };
        let timer =
            timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
        let every = Timespec { tv_sec: 0, tv_nsec: TICK.subsec_nanos().into() };
        let every = Itimerspec { it_interval: every, it_value: every };
        timerfd_settime(&timer, TimerfdTimerFlags::empty(), &every)?;
        // SAFETY: an owned descriptor stays open and the same until it is dropped, and nothing takes it out of the
        // AsyncFd before that.
        let timer = unsafe { tokio::io::unix::AsyncFd::register(timer) }?;
        Ok(Self { timer })
    }

    /// Waits until the timer fires.
    ///
    /// # Errors
    /// The runtime ends.
    pub(crate) async fn ring(&self) -> io::Result<()> {
        let mut ready = self.timer.readable().await?;
        // The number of expirations does not matter.
        let _ = ready.try_io(|timer| Ok(rustix::io::read(timer, &mut [0; 8])?));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    /// Calls the handler as the kernel does.
    #[test]
    fn only_a_timers_signal_counts_as_a_tick() {
        // SAFETY: all-zero is a valid siginfo_t.
        let mut info: libc::siginfo_t = unsafe { mem::zeroed() };
        let before = TICKS.get();
        for (code, counted) in [(libc::SI_TIMER, 1), (libc::SI_USER, 1), (libc::SI_TIMER, 2)] {
            info.si_code = code;
            on_tick(number(), &raw const info, ptr::null());
            assert_eq!(TICKS.get() - before, counted);
        }
    }

    /// As from another process: the kernel marks such signals differently from a timer's.
    #[test]
    #[cfg_attr(miri, ignore = "Miri has no timers and delivers no signal")]
    fn a_signal_from_elsewhere_is_not_a_tick() {
        let ticker = Ticker::start().unwrap();
        let before = ticker.ticks();
        for _ in 0..1000 {
            // SAFETY: takes numbers only; the signal has a handler.
            unsafe { libc::pthread_kill(libc::pthread_self(), number()) };
        }
        assert!(ticker.ticks().wrapping_sub(before) < 500, "{} ticks", ticker.ticks());
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no timers and delivers no signal")]
    fn a_blocking_call_is_interrupted_at_every_tick() {
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
