//! What a daemon tells of itself, and how a person is shown it.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ChannelId;

/// What the daemon is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The daemon's process.
    pub pid: u32,
    /// The daemon's release.
    pub version: String,
    /// The protocol version that it speaks.
    pub protocol_version: u16,
    /// Since its start.
    pub uptime_ns: u64,
    /// Control connections, this one included.
    pub connections: u32,
    /// How many of them it allows at a time.
    pub max_connections: u32,
    /// Processes of the clients that hold the lease.
    pub lease_holders: Vec<u32>,
    /// Processes of the clients in line for the lease, the next one first.
    pub queue: Vec<u32>,
    /// Open channels.
    pub channels: Vec<ChannelStatus>,
    /// How many of them it allows at a time.
    pub max_channels: u32,
    /// Since its start.
    pub totals: Totals,
}

/// An open channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelStatus {
    /// Its id.
    pub channel: ChannelId,
    /// Its mechanism.
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
        writeln!(f, "uptime       {}", show_age(self.uptime_ns))?;
        writeln!(
            f,
            "connections  {} now, {} at most, {} in total",
            self.connections, self.max_connections, self.totals.connections
        )?;
        writeln!(f, "measuring    {}", pids(&self.lease_holders))?;
        writeln!(f, "queue        {}", pids(&self.queue))?;
        writeln!(
            f,
            "channels     {} open, {} at most, {} opened in total, {} of them ended early",
            self.channels.len(),
            self.max_channels,
            self.totals.channels_opened,
            self.totals.channels_broken
        )?;
        write!(f, "refusals     {}", self.totals.refusals)?;
        for channel in &self.channels {
            write!(
                f,
                "\n  channel {}: {}, {} bytes, responder process {}, client process {}, open for {}",
                channel.channel,
                channel.method,
                channel.size_bytes,
                channel.responder_pid,
                channel.client_pid,
                show_age(channel.age_ns)
            )?;
        }
        Ok(())
    }
}

/// In the two largest units, which is as much as a person wants to know.
fn show_age(ns: u64) -> String {
    let age = Duration::from_nanos(ns);
    let shown = if age.as_secs() > 0 {
        Duration::from_secs(age.as_secs())
    } else {
        Duration::from_millis(ns / 1_000_000)
    };
    humantime::format_duration(shown).to_string()
}
