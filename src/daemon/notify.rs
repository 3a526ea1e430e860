//! What the service manager is told: ready, what goes on, still alive. Without one, nothing, and it costs nothing.

use std::time::{Duration, Instant};

use log::warn;
use sd_notify::NotifyState;

/// The line to the service manager.
#[derive(Debug)]
pub struct Notify {
    /// Nobody listens, or it is not for this process.
    mute: bool,
    /// The last status told.
    status: String,
    watchdog: Option<Watchdog>,
}

/// The service manager ends a process that is silent for too long.
#[derive(Debug)]
struct Watchdog {
    /// Half of what the manager waits.
    interval: Duration,
    next: Instant,
}

impl Notify {
    /// The manager that has started this process, if one has and wants to hear of it.
    #[must_use]
    pub(crate) fn from_environment() -> Self {
        let mute = std::env::var_os("NOTIFY_SOCKET").is_none_or(|socket| socket.is_empty());
        let patience = sd_notify::watchdog_enabled().filter(|patience| !patience.is_zero() && !mute);
        // The first one at once: it shows that the loop runs.
        let watchdog = patience.map(|patience| Watchdog { interval: patience / 2, next: Instant::now() });
        Self { mute, status: String::new(), watchdog }
    }

    /// Nobody, whatever the environment says.
    #[must_use]
    pub fn nobody() -> Self {
        Self { mute: true, status: String::new(), watchdog: None }
    }

    /// Clients can connect.
    pub(super) fn ready(&mut self) {
        self.tell(&[NotifyState::Ready]);
    }

    /// The configuration is read again; [`Self::ready`] ends it.
    pub(super) fn reloading(&mut self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => self.tell(&[NotifyState::Reloading, now]),
            Err(error) => {
                warn!("the service manager cannot be told when the configuration was read: {error}")
            }
        }
    }

    /// The end has begun.
    pub(super) fn stopping(&mut self) {
        self.tell(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
    }

    /// What goes on. `status` is called only where somebody listens, and told only where it has changed.
    pub(super) fn status(&mut self, status: impl FnOnce() -> String) {
        if self.mute {
            return;
        }
        let status = status();
        if status != self.status {
            self.tell(&[NotifyState::Status(&status)]);
            self.status = status;
        }
    }

    /// By when [`Self::alive`] has to be called.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.watchdog.as_ref().map(|watchdog| watchdog.next)
    }

    /// The loop runs.
    pub(super) fn alive(&mut self) {
        let now = Instant::now();
        if let Some(watchdog) = self.watchdog.as_mut().filter(|watchdog| watchdog.next <= now) {
            watchdog.next = now + watchdog.interval;
            self.tell(&[NotifyState::Watchdog]);
        }
    }

    fn tell(&mut self, news: &[NotifyState<'_>]) {
        if self.mute {
            return;
        }
        if let Err(error) = sd_notify::notify(news) {
            // It is gone, which is said once.
            warn!("the service manager cannot be told anything: {error}");
            *self = Self::nobody();
        }
    }
}
