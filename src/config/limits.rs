//! What clients can make a daemon hold, each user and all together: the limits and their flags.

use clap::Args;

use super::daemon::parse_limit;
use crate::protocol::Resource;
use crate::units;

/// The most of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// For all users together.
    pub total: u64,
    /// For each user.
    pub per_user: u64,
}

impl Limit {
    /// Each user may have half of the total, so that no user can take all of it.
    #[must_use]
    pub(crate) const fn shared(total: u64) -> Self {
        Self { total, per_user: if total < 2 { total } else { total / 2 } }
    }

    /// A total that one user may take.
    #[must_use]
    pub const fn of_one(total: u64) -> Self {
        Self { total, per_user: total }
    }
}

/// What clients can make a daemon hold. The defaults suit a service that many users share for months.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Control connections at a time.
    pub connections: Limit,
    /// Data channels at a time, each with a responder process.
    pub channels: Limit,
    /// Clients in the queue for the lease.
    pub queue: Limit,
    /// Bytes that the responders of open channels hold for payloads, as their mechanisms
    /// [declare](crate::transports::Mechanism::holds).
    pub memory: Limit,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: Limit::shared(256),
            channels: Limit::shared(128),
            queue: Limit::shared(64),
            memory: Limit::shared(1 << 30),
        }
    }
}

impl Limits {
    /// The limits of a private daemon, whose one client may have up to `channels` channels and any amount of memory.
    pub(crate) fn private(channels: u64) -> Self {
        Self {
            connections: Limit::of_one(1),
            channels: Limit::of_one(channels),
            queue: Limit::of_one(1),
            memory: Limit::of_one(u64::MAX),
        }
    }

    /// The limit of `resource`.
    #[must_use]
    pub(crate) fn of(&self, resource: Resource) -> Limit {
        match resource {
            Resource::Connections => self.connections,
            Resource::Channels => self.channels,
            Resource::Queue => self.queue,
            Resource::Memory => self.memory,
        }
    }
}

/// The flags of the limits.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Limits")]
pub(crate) struct LimitFlags {
    /// Control connections at a time [default: 256].
    #[arg(long, value_name = "N", value_parser = parse_limit)]
    pub max_connections: Option<u64>,
    /// Control connections of one user [default: half of all].
    #[arg(long, value_name = "N", value_parser = parse_limit)]
    pub max_connections_per_user: Option<u64>,
    /// Data channels at a time, each with a responder process [default: 128].
    #[arg(long, value_name = "N", value_parser = parse_limit)]
    pub max_channels: Option<u64>,
    /// Data channels of one user [default: half of all].
    #[arg(long, value_name = "N", value_parser = parse_limit)]
    pub max_channels_per_user: Option<u64>,
    /// Clients in the queue for a measurement [default: 64].
    #[arg(long, value_name = "N", value_parser = parse_limit)]
    pub max_queue: Option<u64>,
    /// Queued clients of one user [default: half of all].
    #[arg(long, value_name = "N", value_parser = parse_limit)]
    pub max_queue_per_user: Option<u64>,
    /// Bytes that the responders of open channels hold for payloads, such as 64M or 2G [default: 1G].
    #[arg(long, value_name = "SIZE", value_parser = units::parse_memory)]
    pub max_memory: Option<u64>,
    /// Bytes of one user [default: half of all].
    #[arg(long, value_name = "SIZE", value_parser = units::parse_memory)]
    pub max_memory_per_user: Option<u64>,
}

impl LimitFlags {
    /// The limits: as given, else the defaults.
    #[must_use]
    pub(super) fn limits(&self) -> Limits {
        let limit = |total: Option<u64>, per_user: Option<u64>, default: Limit| {
            let shared = Limit::shared(total.unwrap_or(default.total));
            Limit { per_user: per_user.unwrap_or(shared.per_user), ..shared }
        };
        let default = Limits::default();
        Limits {
            connections: limit(self.max_connections, self.max_connections_per_user, default.connections),
            channels: limit(self.max_channels, self.max_channels_per_user, default.channels),
            queue: limit(self.max_queue, self.max_queue_per_user, default.queue),
            memory: limit(self.max_memory, self.max_memory_per_user, default.memory),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_default_no_user_can_take_all() {
        for resource in Resource::ALL {
            let limit = Limits::default().of(resource);
            assert!(0 < limit.per_user && limit.per_user < limit.total, "{resource:?}: {limit:?}");
        }
        assert_eq!(LimitFlags::default().limits(), Limits::default());
    }

    #[test]
    fn the_limit_of_a_user_is_half_of_all_unless_given() {
        let flags = LimitFlags {
            max_channels: Some(10),
            max_memory: Some(2 << 30),
            max_memory_per_user: Some(3 << 10),
            max_queue: Some(1),
            ..LimitFlags::default()
        };
        let limits = flags.limits();
        assert_eq!(limits.channels, Limit { total: 10, per_user: 5 });
        assert_eq!(limits.memory, Limit { total: 2 << 30, per_user: 3 << 10 });
        assert_eq!(limits.queue, Limit { total: 1, per_user: 1 });
    }
}
