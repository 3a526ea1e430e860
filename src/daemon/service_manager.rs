//! What the service manager is sent: readiness, a status line, keep-alives for its watchdog. Without one, nothing is sent and
//! nothing wakes the daemon.

use std::time::{Duration, Instant};

use log::warn;
use sd_notify::NotifyState;

/// The connection to the service manager, if it started this process.
#[derive(Debug, Default)]
pub(super) struct ServiceManager {
    is_present: bool,
    /// The status sent last.
    status: String,
    /// The interval of keep-alives, half of the watchdog's timeout, and when the next one is due.
    watchdog: Option<(Duration, Instant)>,
    /// Why the configuration that was read last is not in use.
    pub(super) config_error: Option<String>,
}

impl ServiceManager {
    /// The manager that the environment names. ([`Self::default`] is none, whatever the environment says: a private daemon
    /// inherits its client's.)
    pub(super) fn from_environment() -> Self {
        let is_present = std::env::var_os("NOTIFY_SOCKET").is_some_and(|socket| !socket.is_empty());
        let timeout = sd_notify::watchdog_enabled().filter(|timeout| is_present && !timeout.is_zero());
        // The first keep-alive at once: it shows that the loop runs.
        let watchdog = timeout.map(|timeout| (timeout / 2, Instant::now()));
        Self { is_present, watchdog, ..Self::default() }
    }

    /// When the next keep-alive is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.watchdog.map(|(_, due)| due)
    }

    /// Clients can connect, and a reload is complete.
    pub(super) fn ready(&mut self) {
        self.notify(&[NotifyState::Ready]);
    }

    /// The configuration is being read again, until [`Self::ready`].
    pub(super) fn reloading(&mut self) {
        self.config_error = None;
        match NotifyState::monotonic_usec_now() {
            Ok(now) => self.notify(&[NotifyState::Reloading, now]),
            Err(error) => warn!("cannot notify the service manager of the reload: {error}"),
        }
    }

    /// The new configuration, or part of it, cannot be used.
    pub(super) fn reload_failed(&mut self, why: String) {
        warn!("the configuration could not be changed: {why}");
        self.config_error = Some(why);
    }

    pub(super) fn stopping(&mut self) {
        self.notify(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
    }

    /// Sends the status if it has changed.
    pub(super) fn set_status(&mut self, doing: &impl ToString) {
        if !self.is_present {
            return;
        }
        let mut status = doing.to_string();
        if let Some(why) = &self.config_error {
            status.push_str("; the configuration could not be changed: ");
            status.push_str(why);
        }
        if status != self.status {
            self.notify(&[NotifyState::Status(&status)]);
            self.status = status;
        }
    }

    /// Sends a keep-alive if one is due.
    pub(super) fn keep_alive(&mut self) {
        let now = Instant::now();
        if let Some((interval, due)) = &mut self.watchdog
            && *due <= now
        {
            *due = now + *interval;
            self.notify(&[NotifyState::Watchdog]);
        }
    }

    fn notify(&mut self, state: &[NotifyState<'_>]) {
        if self.is_present
            && let Err(error) = sd_notify::notify(state)
        {
            warn!("cannot notify the service manager: {error}");
            // It is gone: one warning is enough.
            self.is_present = false;
            self.watchdog = None;
        }
    }
}
