//! Metrics as the daemon's loop knows them. A daemon that has none, as the private ones of clients, has none of their code
//! either: the loop knows a trait, and what implements it is made where an endpoint is.

use std::fmt;
use std::time::Instant;

use rustix::event::PollFd;

use super::{Endpoint, Scrapes};
use crate::daemon::server::Server;

/// Where metrics are told, and those that ask.
pub struct Metrics(Box<dyn Serve>);

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

/// What the loop wants of them.
trait Serve {
    fn interests(&self) -> Vec<PollFd<'_>>;
    fn deadline(&self) -> Option<Instant>;
    fn is_quiet(&self) -> bool;
    fn serve(&mut self, server: &Server);
}

impl Serve for Scrapes {
    fn interests(&self) -> Vec<PollFd<'_>> {
        Scrapes::interests(self).collect()
    }

    fn deadline(&self) -> Option<Instant> {
        Scrapes::deadline(self)
    }

    fn is_quiet(&self) -> bool {
        Scrapes::is_quiet(self)
    }

    fn serve(&mut self, server: &Server) {
        Scrapes::serve(self, |scrapes| server.exposition(scrapes));
    }
}

impl Metrics {
    /// Metrics that are told at this endpoint.
    #[must_use]
    pub(crate) fn at(endpoint: Endpoint) -> Self {
        Self(Box::new(Scrapes::at(endpoint)))
    }

    /// What to wait for.
    pub(in crate::daemon) fn interests(&self) -> Vec<PollFd<'_>> {
        self.0.interests()
    }

    /// By when something has to have happened.
    pub(in crate::daemon) fn deadline(&self) -> Option<Instant> {
        self.0.deadline()
    }

    /// Whether there is nobody, and nothing to wait for.
    pub(in crate::daemon) fn is_quiet(&self) -> bool {
        self.0.is_quiet()
    }

    /// Serves who asks.
    pub(in crate::daemon) fn serve(&mut self, server: &Server) {
        self.0.serve(server);
    }
}
