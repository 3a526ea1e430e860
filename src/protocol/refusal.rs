//! Why a daemon refuses a request: the reasons, their exit codes, and what the user can do.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{OverLimit, Resource};
use crate::diagnostics::User;
use crate::exit::Exit;

/// Names a data channel for as long as the daemon runs.
pub type ChannelId = u64;

/// How a responder ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    /// By itself, with this exit code.
    Exited(i32),
    /// By this signal.
    Signalled(i32),
    /// By an error that it reported.
    Failed(#[serde(deserialize_with = "super::codec::text")] String),
}

/// The signal for memory that is not there.
const SIGBUS: i32 = rustix::process::Signal::BUS.as_raw();

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "its responder exited with code {code}"),
            Self::Signalled(SIGBUS) => write!(
                f,
                "its responder was killed by signal {SIGBUS}: memory that it shared was taken from under it \
                 (truncated), or could not be had"
            ),
            Self::Signalled(signal) => write!(f, "its responder was killed by signal {signal}"),
            Self::Failed(reason) => write!(f, "its responder failed: {reason}"),
        }
    }
}

/// Why this host cannot do a mechanism: what it lacks (module, sysctl, kernel, sandbox).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{0}")]
pub struct Unavailable(#[serde(deserialize_with = "super::codec::text")] pub String);

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// Another client holds the lease.
    #[error("another measurement runs, for process {holder_pid}")]
    Busy {
        /// The client that holds it.
        holder_pid: u32,
    },
    /// The daemon holds as much of something as it may, for this user or in all.
    #[error(transparent)]
    OverLimit(#[from] OverLimit),
    /// A channel was asked for without the lease.
    #[error("a channel needs the lease, which this connection does not hold")]
    NoLease,
    /// No such mechanism.
    #[error("unknown method \"{method}\"; methods are {}", .known.join(", "))]
    UnknownMethod {
        /// What was asked for.
        #[serde(deserialize_with = "super::codec::text")]
        method: String,
        /// What there is.
        #[serde(deserialize_with = "super::codec::text")]
        known: Vec<String>,
    },
    /// The daemon's side of this host cannot do it.
    #[error("{method} is unavailable on this host: {reason}")]
    Unavailable {
        /// The mechanism.
        #[serde(deserialize_with = "super::codec::text")]
        method: String,
        /// What is missing.
        reason: Unavailable,
    },
    /// The specification does not fit the mechanism.
    #[error("{method} cannot do that: {reason}")]
    Unfit {
        /// The mechanism.
        #[serde(deserialize_with = "super::codec::text")]
        method: String,
        /// What does not fit, and what would.
        #[serde(deserialize_with = "super::codec::text")]
        reason: String,
    },
    /// The lease is not given back while its channels are open: they would disturb the next measurement.
    #[error("this connection still has {channels} open channels, which need the lease")]
    ChannelsOpen {
        /// How many.
        channels: u32,
    },
    /// No such channel, or not this connection's.
    #[error("this connection has no channel {channel}")]
    NoChannel {
        /// What was asked for.
        channel: ChannelId,
    },
    /// The responder could not be started.
    #[error("the responder could not be started: {reason}")]
    Spawn {
        /// The system's error.
        #[serde(deserialize_with = "super::codec::text")]
        reason: String,
    },
    /// The responder ended before the channel was connectable.
    #[error("the channel could not be opened: {end}")]
    NotOpened {
        /// How it ended.
        end: End,
    },
    /// The responder was not ready in time.
    #[error("the responder was not ready within {deadline_ms} ms")]
    NotReady {
        /// The deadline.
        deadline_ms: u32,
    },
    /// Not allowed to this user.
    #[error("only the daemon's own user and root may ask for that; this is {}", User(*uid))]
    NotPermitted {
        /// The client's user.
        uid: u32,
    },
    /// The daemon is stopping.
    #[error("the daemon is stopping")]
    Stopping,
    /// The system gives the daemon no more of something: descriptors, memory.
    #[error("the daemon cannot do that now: {reason}")]
    Shortage {
        /// What it lacks, the limit, and where that is raised.
        #[serde(deserialize_with = "super::codec::text")]
        reason: String,
    },
}

impl Refusal {
    /// The exit code for this refusal.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Busy { .. } => Exit::Busy,
            Self::OverLimit(over) => match over.resource {
                // Others will go.
                Resource::Connections | Resource::Queue => Exit::Busy,
                Resource::Channels | Resource::Memory => Exit::Unavailable,
            },
            Self::UnknownMethod { .. } => Exit::Usage,
            Self::NotPermitted { .. } => Exit::Permission,
            // A responder that reported why could not make what the mechanism needs; any other was killed.
            Self::Unavailable { .. }
            | Self::Unfit { .. }
            | Self::Spawn { .. }
            | Self::NotOpened { end: End::Failed(_) }
            | Self::Shortage { .. } => Exit::Unavailable,
            Self::NotOpened { .. } | Self::NotReady { .. } | Self::Stopping => Exit::Broken,
            Self::NoLease | Self::ChannelsOpen { .. } | Self::NoChannel { .. } => Exit::Failure,
        }
    }

    /// What the user can do, where that is not plain from the reason.
    #[must_use]
    pub fn advice(&self) -> Option<&'static str> {
        match self {
            Self::Busy { .. } => {
                Some("omit --no-wait to wait in the queue, or set a limit with --wait-at-most")
            }
            Self::Unavailable { .. } | Self::Unfit { .. } => {
                Some("\"ipc-client methods\" shows what each method can do on this host")
            }
            Self::OverLimit(over) => Some(match over.resource {
                Resource::Connections => {
                    "end some of the clients, or start the daemon with larger --max-connections"
                }
                Resource::Queue => "try again later, or start the daemon with larger --max-queue",
                Resource::Channels => {
                    "ask for fewer at once, or start the daemon with larger --max-channels-per-user and --max-channels"
                }
                Resource::Memory => {
                    "ask for smaller payloads or fewer channels, or start the daemon with larger --max-memory"
                }
            }),
            Self::Shortage { .. } => Some("try again when other clients have ended, or give the daemon more"),
            // The loader and the allocator report to the responder's stderr, and the kernel to its log.
            Self::NotOpened { end: End::Exited(_) | End::Signalled(_) } => {
                Some("look into the daemon's log, and the kernel's, for a lack of memory or of descriptors")
            }
            _ => None,
        }
    }
}
