//! Who may have more of what the daemon holds, and how often it is written down that somebody may not.

use std::fmt;
use std::time::Instant;

use log::{Level, log};

use super::Server;
use crate::daemon::limits::Used;
use crate::protocol::{OverLimit, Resource};

impl Server {
    /// How much of `resource` each user has.
    pub(super) fn used(&self, resource: Resource) -> Used {
        let connections = self.connections.iter();
        match resource {
            Resource::Connections => connections.map(|(_, connection)| (connection.peer.uid, 1)).collect(),
            Resource::Queue => self.lease.queue().map(|id| (self.uid_of(id), 1)).collect(),
            // Until their responders are gone, also those whose client is.
            Resource::Channels => self.channels.values().map(|held| (held.uid, 1)).collect(),
            Resource::Memory => self.channels.values().map(|held| (held.uid, held.memory)).collect(),
        }
    }

    /// Whether user `uid` may have `asked` more of `resource`.
    pub(super) fn admit(&self, resource: Resource, uid: u32, asked: u64) -> Result<(), OverLimit> {
        self.used(resource).admit(resource, self.config.limits.of(resource), uid, asked)
    }

    /// Writes a line about a user, who can cause as many as it likes, or about what is no user's doing.
    pub(super) fn tell_rationed(&mut self, user: Option<u32>, level: Level, line: fmt::Arguments<'_>) {
        tell(self.rations.take(user, Instant::now()), level, line);
    }

    /// Writes what a user has measured. What else is written about it takes nothing of that.
    pub(super) fn tell_measured(&mut self, user: u32, line: fmt::Arguments<'_>) {
        tell(self.rations_of_runs.take(Some(user), Instant::now()), Level::Info, line);
    }
}

fn tell(allowed: Option<u64>, level: Level, line: fmt::Arguments<'_>) {
    match allowed {
        Some(0) => log!(level, "{line}"),
        Some(withheld) => log!(level, "{line} ({withheld} lines like this were withheld)"),
        None => {}
    }
}
