//! How the daemon does, for whoever manages it: idle or busy, alive.

use std::time::Instant;

use super::{Notify, Server};

impl Server {
    /// Whether there is nobody to serve.
    pub(super) fn is_idle(&self) -> bool {
        self.connections.is_empty() && self.channels.is_empty()
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

    /// What it is doing, in a line.
    fn status_line(&self) -> String {
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
