//! A daemon's status, and its text form.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{ChannelId, LimitUse, Resource};
use crate::units;

/// What the daemon is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The daemon's process.
    pub pid: u32,
    /// The daemon's release.
    #[serde(deserialize_with = "super::codec::text")]
    pub version: String,
    /// The protocol version that it speaks.
    pub protocol_version: u16,
    /// Since its start.
    pub uptime_ns: u64,
    /// Control connections, this one included.
    pub connections: u32,
    /// Processes of the clients that hold the lease; [`MOST_LISTED`](Self::MOST_LISTED) at most.
    pub lease_holders: Vec<u32>,
    /// Processes of the clients in the queue for the lease, the next one first; as many at most. `limits` has their number.
    pub queue: Vec<u32>,
    /// Open channels, as many at most. `limits` has their number.
    pub channels: Vec<ChannelStatus>,
    /// What clients hold, of what they may.
    pub limits: Vec<LimitUse>,
    /// Since its start.
    pub totals: Totals,
}

/// An open channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelStatus {
    /// Its id.
    pub channel: ChannelId,
    /// Its mechanism.
    #[serde(deserialize_with = "super::codec::text")]
    pub method: String,
    /// Bytes carried each way in a round.
    pub size_bytes: u32,
    /// The responder's process.
    pub responder_pid: u32,
    /// The client's process.
    pub client_pid: u32,
    /// Since it was asked for.
    pub age_ns: u64,
}

/// What happened since the daemon's start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Control connections accepted.
    pub connections: u64,
    /// Channels opened.
    pub channels_opened: u64,
    /// Channels that ended before their client closed them.
    pub channels_broken: u64,
    /// Requests refused.
    pub refusals: u64,
}

impl Status {
    /// How many of a kind are listed one by one: a status fits into a frame, whatever the limits are.
    pub(crate) const MOST_LISTED: usize = 500;

    /// The use and the limit of `resource`.
    #[must_use]
    pub fn limit(&self, resource: Resource) -> Option<&LimitUse> {
        self.limits.iter().find(|limit| limit.resource == resource)
    }

    /// The use of `resource`.
    #[must_use]
    pub fn used(&self, resource: Resource) -> u64 {
        self.limit(resource).map_or(0, |limit| limit.used)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pids = |pids: &[u32]| match pids {
            [] => "none".to_owned(),
            pids => pids.iter().map(|pid| format!("process {pid}")).collect::<Vec<_>>().join(", "),
        };
        writeln!(
            f,
            "ipcd {} (protocol version {}), process {}",
            self.version, self.protocol_version, self.pid
        )?;
        writeln!(f, "uptime       {}", units::age(Duration::from_nanos(self.uptime_ns)))?;
        writeln!(f, "connections  {} now, {} in total", self.connections, self.totals.connections)?;
        writeln!(f, "measuring    {}", pids(&self.lease_holders))?;
        writeln!(f, "queue        {}", pids(&self.queue))?;
        writeln!(
            f,
            "channels     {} open, {} opened in total, {} of them ended early",
            self.used(Resource::Channels),
            self.totals.channels_opened,
            self.totals.channels_broken
        )?;
        write!(f, "refusals     {}", self.totals.refusals)?;
        for limit in &self.limits {
            write!(f, "\n  limit of {:<12} {limit}", limit.resource.name())?;
        }
        for channel in &self.channels {
            write!(
                f,
                "\n  channel {}: {}, {} bytes, responder process {}, client process {}, open for {}",
                channel.channel,
                channel.method,
                channel.size_bytes,
                channel.responder_pid,
                channel.client_pid,
                units::age(Duration::from_nanos(channel.age_ns))
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Reply, UserUse, decode, encode};

    #[test]
    fn the_longest_status_fits_into_a_frame() {
        let channel = ChannelStatus {
            channel: u64::MAX,
            method: "unix-seqpacket".into(),
            size_bytes: u32::MAX,
            responder_pid: u32::MAX,
            client_pid: u32::MAX,
            age_ns: u64::MAX,
        };
        let most = Some(UserUse { uid: u32::MAX, used: u64::MAX });
        let limit =
            |resource| LimitUse { resource, used: 0, limit: u64::MAX, limit_per_user: u64::MAX, most };
        let status = Status {
            pid: u32::MAX,
            version: env!("CARGO_PKG_VERSION").into(),
            protocol_version: u16::MAX,
            uptime_ns: u64::MAX,
            connections: u32::MAX,
            lease_holders: vec![u32::MAX; Status::MOST_LISTED],
            queue: vec![u32::MAX; Status::MOST_LISTED],
            channels: vec![channel; Status::MOST_LISTED],
            limits: Resource::ALL.map(limit).to_vec(),
            totals: Totals {
                connections: u64::MAX,
                channels_opened: u64::MAX,
                channels_broken: u64::MAX,
                refusals: u64::MAX,
            },
        };
        let reply = Reply::Status(status);
        assert_eq!(decode::<Reply>(&encode(&reply).unwrap()).unwrap(), reply);
    }
}
