//! How the daemon does, for whoever manages it: idle or busy, alive.

use std::time::Instant;

use log::{info, warn};

use super::{Again, Config, Notify, Reload, Server};
use crate::config::Limits;
use crate::daemon::metrics::{MOST_SCRAPES, Metrics};
use crate::daemon::socket::Bound;
use crate::diagnostics::error_chain;
use crate::transports::sys::allow_descriptors;

impl Server {
    /// Whether there is nobody to serve. Who asks for metrics uses the service too.
    pub(super) fn is_idle(&self) -> bool {
        self.connections.is_empty()
            && self.channels.is_empty()
            && self.metrics.as_ref().is_none_or(Metrics::is_quiet)
    }

    /// When it has been idle for too long.
    pub(super) fn idle_deadline(&self) -> Option<Instant> {
        Some(self.idle_since? + self.config.idle_exit?)
    }

    /// Looks how things are before the next wait, and tells the service manager.
    pub(super) fn report(&mut self) {
        match self.is_idle() {
            true => self.idle_since = self.idle_since.or_else(|| Some(Instant::now())),
            false => self.idle_since = None,
        }
        let mut notify = std::mem::replace(&mut self.notify, Notify::nobody());
        if !self.stopping {
            notify.status(|| self.status_line());
        }
        notify.alive();
        self.notify = notify;
    }

    /// Reads the configuration again, and runs by it if it is sound.
    pub(super) fn reload(&mut self, reload: &mut Reload<'_>, bound: Option<&Bound>) {
        self.notify.reloading();
        self.misconfigured = None;
        match (reload.again)() {
            Again::Stop => self.stopping = true,
            Again::Keep(why) => self.keep(&why),
            Again::Run(config) => {
                self.reconfigure(config, bound);
                info!("the configuration was read again");
            }
        }
        self.notify.ready();
    }

    fn reconfigure(&mut self, config: Config, bound: Option<&Bound>) {
        let access = bound.map_or(Ok(()), |bound| bound.set_access(config.access));
        self.config = config;
        allow_descriptors(descriptors(&config.limits));
        let before: Vec<_> = self.lease.queue().collect();
        self.lease.resize(config.measurements);
        self.call_up(&before);
        if let Err(error) = access {
            self.keep(&error_chain(&error));
        }
    }

    /// Something of the new configuration cannot be had.
    fn keep(&mut self, why: &str) {
        warn!("the configuration could not be changed: {why}");
        self.misconfigured = Some(why.to_owned());
    }

    /// What it is doing, in a line, and what is wrong.
    fn status_line(&self) -> String {
        match &self.misconfigured {
            None => self.doing(),
            Some(why) => format!("{}; the configuration could not be changed: {why}", self.doing()),
        }
    }

    fn doing(&self) -> String {
        let holders: Vec<_> = self
            .lease
            .holders()
            .iter()
            .filter_map(|id| self.connections.get(id))
            .map(|connection| format!("user {}, process {}", connection.peer.uid, connection.peer.pid))
            .collect();
        if holders.is_empty() {
            return "idle".to_owned();
        }
        let waiting = match self.lease.queue().count() {
            0 => String::new(),
            count => format!("; {count} waiting"),
        };
        format!("measuring for {}{waiting}", holders.join(" and for "))
    }
}

/// As many descriptors as the limits may take: a connection has one; a channel that of its responder, and for a moment
/// what that hands over; and who asks for metrics one.
pub(super) fn descriptors(limits: &Limits) -> u64 {
    let scrapes = u64::try_from(MOST_SCRAPES).unwrap_or(u64::MAX);
    limits.connections.total.saturating_add(limits.channels.total.saturating_mul(2)).saturating_add(scrapes)
}
