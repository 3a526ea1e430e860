//! What a daemon holds for its clients, how much of it, and what is said when that is too much.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::diagnostics::User;
use crate::units;

/// What clients can make a daemon hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Resource {
    /// Control connections.
    Connections,
    /// Data channels, each a responder process.
    Channels,
    /// Clients in the queue for the lease.
    Queue,
    /// Bytes that responders hold for payloads.
    Memory,
}

impl Resource {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::Connections, Self::Channels, Self::Queue, Self::Memory];

    /// Its name in a status and in the name of its limit.
    #[must_use]
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::Channels => "channels",
            Self::Queue => "queue",
            Self::Memory => "memory",
        }
    }

    /// So much of it, for a person.
    #[must_use]
    pub(crate) fn show(self, amount: u64) -> String {
        match self {
            Self::Memory => units::size(amount),
            Self::Connections | Self::Channels | Self::Queue => amount.to_string(),
        }
    }
}

/// The scope of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scope {
    /// For each user.
    User {
        /// The one that it is about.
        uid: u32,
    },
    /// For all users together.
    Total,
}

/// A request that would pass a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverLimit {
    /// The resource.
    pub resource: Resource,
    /// For one user or for all.
    pub scope: Scope,
    /// The limit; memory in bytes.
    pub limit: u64,
    /// What is in use.
    pub used: u64,
    /// What the request needs.
    pub asked: u64,
}

impl std::error::Error for OverLimit {}

impl fmt::Display for OverLimit {
    /// Names the limit as the daemon's options do.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { resource, scope, limit, used, asked } = *self;
        let name = resource.name();
        let [limit, used, asked] = [limit, used, asked].map(|amount| resource.show(amount));
        match scope {
            Scope::Total => write!(f, "the daemon's limit max-{name} is {limit}: {used} taken")?,
            Scope::User { uid } => {
                let user = User(uid);
                write!(f, "the daemon's limit max-{name}-per-user is {limit}: {user} has taken {used}")?;
            }
        }
        write!(f, ", and this asks for {asked}")
    }
}

/// How much of a limit is used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitUse {
    /// Of what. Memory is in bytes.
    pub resource: Resource,
    /// By all users together.
    pub used: u64,
    /// The most for all together.
    pub limit: u64,
    /// The most for each user.
    pub limit_per_user: u64,
    /// Who uses most, if anybody uses any.
    pub most: Option<UserUse>,
}

impl LimitUse {
    /// Whether user `uid` could have this amount if nothing were in use.
    ///
    /// # Errors
    /// The limit that it exceeds.
    pub(crate) fn ever_admits(&self, uid: u32, asked: u64) -> Result<(), OverLimit> {
        let each = [(Scope::User { uid }, self.limit_per_user), (Scope::Total, self.limit)];
        match each.into_iter().find(|(_, limit)| asked > *limit) {
            Some((scope, limit)) => Err(OverLimit { resource: self.resource, scope, limit, used: 0, asked }),
            None => Ok(()),
        }
    }
}

/// What one user uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserUse {
    /// The user.
    pub uid: u32,
    /// So much.
    pub used: u64,
}

impl fmt::Display for LimitUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show = |amount| self.resource.show(amount);
        write!(f, "{} of {}", show(self.used), show(self.limit))?;
        if let Some(UserUse { uid, used }) = self.most {
            write!(f, "; most by user {uid}: {} of {}", show(used), show(self.limit_per_user))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_passed_limit_is_named_with_its_value() {
        let mut over = OverLimit {
            resource: Resource::Memory,
            scope: Scope::User { uid: 4_000_000_007 },
            limit: 512 << 20,
            used: 480 << 20,
            asked: (64 << 20) + 1024,
        };
        assert_eq!(
            over.to_string(),
            "the daemon's limit max-memory-per-user is 512 MiB: user 4000000007 has taken 480 MiB, and this asks for \
             65537 KiB"
        );
        over = OverLimit { resource: Resource::Queue, scope: Scope::Total, limit: 9, used: 9, asked: 1 };
        assert_eq!(over.to_string(), "the daemon's limit max-queue is 9: 9 taken, and this asks for 1");
    }
}
