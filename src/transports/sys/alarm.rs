//! A timer that tokio watches as a descriptor: it rings every [`TICK`] and costs nothing in between.

use std::io;
use std::os::fd::OwnedFd;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::io::unix::AsyncFd;

use super::TICK;

/// The timer.
#[derive(Debug)]
pub(crate) struct Alarm {
    timer: AsyncFd<OwnedFd>,
}

impl Alarm {
    /// Starts it. To be called from within the runtime.
    ///
    /// # Errors
    /// The system allows no more descriptors.
    pub(crate) fn start() -> io::Result<Self> {
        let timer =
            timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
        let every = Timespec { tv_sec: 0, tv_nsec: TICK.subsec_nanos().into() };
        let every = Itimerspec { it_interval: every, it_value: every };
        timerfd_settime(&timer, TimerfdTimerFlags::empty(), &every)?;
        // SAFETY: an owned descriptor is open and stays the same one until it is dropped, and nothing takes it out of
        // the AsyncFd before that is.
        let timer = unsafe { AsyncFd::register(timer) }?;
        Ok(Self { timer })
    }

    /// Waits until it rings.
    ///
    /// # Errors
    /// The runtime ends.
    pub(crate) async fn ring(&self) -> io::Result<()> {
        let mut ready = self.timer.readable().await?;
        // How often it rang does not matter.
        let _ = ready.try_io(|timer| Ok(rustix::io::read(timer, &mut [0; 8])?));
        Ok(())
    }
}
