//! The messages of the control channel.
//!
//! A client sends a [`Request`] and gets [`Reply`]s: one for each request, but for a queued [`Request::Acquire`],
//! which gets a [`Reply::Queued`] for each position in the queue before its [`Reply::Acquired`]. [`Reply::Event`] comes
//! unasked. Any change here is a new [`PROTOCOL_VERSION`](super::PROTOCOL_VERSION).

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{ChannelId, End, Refusal, Status, Unavailable};

/// What a client asks of the daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// What the daemon is doing: [`Reply::Status`].
    Status,
    /// Which mechanisms the daemon's side of this host offers: [`Reply::Methods`].
    Methods,
    /// End the daemon: [`Reply::Stopping`], or refused to anyone but its own user and root.
    Stop,
    /// Take the lease, without which no channel is opened: [`Reply::Acquired`].
    Acquire {
        /// Wait in the queue; else [`Refusal::Busy`] if it is taken.
        wait: bool,
    },
    /// Give the lease back, or leave the queue: [`Reply::Released`], or refused while channels are open.
    Release,
    /// Open a data channel: [`Reply::Opened`] once it is connectable.
    Open(ChannelSpec),
    /// What a channel's responder has used so far: [`Reply::Usage`].
    Usage(ChannelId),
    /// End a channel: [`Reply::Closed`] once its responder is gone and its resources are freed.
    Close(ChannelId),
    /// What confines the responders: [`Reply::Confinement`].
    Confinement,
}

/// What the daemon sends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// Answers [`Request::Status`].
    Status(Status),
    /// Answers [`Request::Methods`], in the order of the list.
    Methods(Vec<MethodState>),
    /// Answers [`Request::Stop`].
    Stopping,
    /// The lease is this client's.
    Acquired,
    /// The client waits for the lease.
    Queued {
        /// Position in the queue; 1 is next.
        place: u32,
    },
    /// Answers [`Request::Release`].
    Released,
    /// The channel exists and can be connected to. File descriptors that belong to it come with this frame.
    Opened {
        /// The channel.
        channel: ChannelId,
        /// The secret of both sides.
        token: Token,
        /// Where it is, in the mechanism's own words.
        endpoint: String,
        /// How many file descriptors come with the frame.
        descriptors: u32,
        /// The responder's process.
        responder_pid: u32,
        /// The only CPU that it may run on, if there is only one.
        responder_cpu: Option<u32>,
    },
    /// Answers [`Request::Usage`].
    Usage(Usage),
    /// Answers [`Request::Close`].
    Closed,
    /// The request is refused; the connection goes on.
    Refused(Refusal),
    /// An event, which answers no request.
    Event(Event),
    /// Answers [`Request::Confinement`].
    Confinement(Confinement),
}

/// What a daemon reports without a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// A channel ended before its client closed it.
    Ended {
        /// The channel.
        channel: ChannelId,
        /// How its responder ended.
        end: End,
    },
    /// The daemon stops and ends this connection.
    Stopping,
    /// The daemon takes the lease from this client and ends the connection: the client made no progress while others waited.
    Revoked {
        /// For how long.
        after_ms: u64,
    },
}

/// Which data channel to open: the method and its parameters.
///
/// [`ChannelSpec::new`] has an 8-byte payload, the method's default wait, unpinned sides and no options.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ChannelSpec {
    /// The method's name, such as `tcp`, or an alias.
    pub method: String,
    /// Payload bytes each way in a round.
    pub size_bytes: u32,
    /// How both sides wait; `None` for the method's default.
    pub wait: Option<Wait>,
    /// The CPU to pin the responder to; `None` for unpinned.
    pub server_cpu: Option<u32>,
    /// The only CPU that the client may run on, if there is only one: an adaptive wait does not poll where both sides share a
    /// CPU. [`Client`](crate::Client) sets it.
    pub client_cpu: Option<u32>,
    /// The method's own options, such as `nodelay`: `true`; absent ones have their defaults.
    pub options: BTreeMap<String, String>,
}

impl ChannelSpec {
    /// The smallest payload: it holds the round's number.
    pub(crate) const DEFAULT_SIZE_BYTES: u32 = 8;

    /// A channel of this mechanism with everything at its default.
    #[must_use]
    pub fn new(method: impl Into<String>) -> Self {
        Self {
            method: method.into(),
            size_bytes: Self::DEFAULT_SIZE_BYTES,
            wait: None,
            server_cpu: None,
            client_cpu: None,
            options: BTreeMap::new(),
        }
    }
}

/// How a side waits for the other's message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Wait {
    /// Blocks in the kernel at once.
    Block,
    /// Polls continuously and never yields the CPU.
    Spin,
    /// Polls for a short time, then blocks in the kernel.
    Adaptive,
}

impl Wait {
    /// Every strategy.
    pub const ALL: [Self; 3] = [Self::Block, Self::Spin, Self::Adaptive];

    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Block => "block",
            Self::Spin => "spin",
            Self::Adaptive => "adaptive",
        }
    }
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Wait {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|wait| wait.name() == text).ok_or_else(|| {
            format!("unknown wait strategy \"{text}\"; strategies are block, spin and adaptive")
        })
    }
}

/// 32 random bytes that only the two ends of one channel know: the client proves itself with the first half, the
/// responder answers with the second. Where any process may listen, the responder shows its [hello](Self::hello) before.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token([u8; 32]);

impl Token {
    /// Length of either half in bytes.
    pub const HALF_LEN: usize = 16;

    /// Length of the responder's hello in bytes.
    pub const HELLO_LEN: usize = 8;

    /// A token of these bytes, which come from the kernel's random source.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// What the client shows.
    #[must_use]
    pub fn client_half(&self) -> &[u8; Self::HALF_LEN] {
        self.0.first_chunk().expect("32 bytes hold 16")
    }

    /// What the responder shows.
    #[must_use]
    pub fn responder_half(&self) -> &[u8; Self::HALF_LEN] {
        self.0.last_chunk().expect("32 bytes hold 16")
    }

    /// The start of the responder's half, which any process that reaches its socket may read: the rest stays secret.
    #[must_use]
    pub fn hello(&self) -> &[u8; Self::HELLO_LEN] {
        self.responder_half().first_chunk().expect("16 bytes hold 8")
    }
}

impl fmt::Debug for Token {
    /// A secret is not for logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// A method (an IPC mechanism) and its state on the daemon's side of this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MethodState {
    /// The method's name.
    #[serde(deserialize_with = "super::codec::text")]
    pub name: String,
    /// Why the host lacks it; `None` if it is available.
    pub unavailable: Option<Unavailable>,
    /// Why this client's user and groups may not use its channels, with the options at their defaults; `None` if they may.
    pub closed: Option<Unavailable>,
    /// The largest payload in bytes.
    pub max_size_bytes: u32,
    /// The setting of the host that limits the size, with its value, if there is one.
    #[serde(deserialize_with = "super::codec::text")]
    pub max_size_because: Option<String>,
}

impl MethodState {
    /// Why this client cannot use it, for either reason, as far as the daemon knows.
    #[must_use]
    pub(crate) fn lacking(&self) -> Option<&Unavailable> {
        self.unavailable.as_ref().or(self.closed.as_ref())
    }
}

/// What confines a daemon and its responders, beside what confines their client.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confinement {
    /// The CPUs that they may run on.
    pub cpus: Vec<u32>,
    /// The control group that may limit their CPU time.
    #[serde(deserialize_with = "super::codec::text")]
    pub cgroup: Option<String>,
    /// The tightest CPU quota of that group and those above it, in thousandths of a CPU.
    pub quota_millicpus: Option<u64>,
    /// How that has throttled them.
    pub throttling: Option<Throttling>,
}

/// How often and for how long the CPU quota throttled a process's control groups, since their creation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Throttling {
    /// Periods in which a group had used up its quota.
    pub periods: u64,
    /// How long they were throttled, summed over CPUs and groups: it can exceed the wall-clock time.
    pub time_ns: u64,
}

/// What a process has used, by the kernel's accounting.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// CPU time.
    pub cpu_ns: u64,
    /// Context switches because it waited.
    pub voluntary_switches: u64,
    /// Context switches because its time was up or another was more urgent.
    pub involuntary_switches: u64,
    /// Page faults without I/O.
    pub minor_faults: u64,
    /// Page faults with I/O.
    pub major_faults: u64,
    /// Moves from one CPU to another, where the kernel counts them.
    pub migrations: Option<u64>,
    /// The CPU it ran on last.
    pub cpu: Option<u32>,
}

impl Usage {
    /// What was used between `earlier` and this; the CPU is this one's.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            cpu_ns: self.cpu_ns.saturating_sub(earlier.cpu_ns),
            voluntary_switches: self.voluntary_switches.saturating_sub(earlier.voluntary_switches),
            involuntary_switches: self.involuntary_switches.saturating_sub(earlier.involuntary_switches),
            minor_faults: self.minor_faults.saturating_sub(earlier.minor_faults),
            major_faults: self.major_faults.saturating_sub(earlier.major_faults),
            migrations: self.migrations.zip(earlier.migrations).map(|(now, then)| now.saturating_sub(then)),
            cpu: self.cpu,
        }
    }

    /// What was used by both together.
    #[must_use]
    pub(crate) fn plus(&self, other: &Self) -> Self {
        Self {
            cpu_ns: self.cpu_ns + other.cpu_ns,
            voluntary_switches: self.voluntary_switches + other.voluntary_switches,
            involuntary_switches: self.involuntary_switches + other.involuntary_switches,
            minor_faults: self.minor_faults + other.minor_faults,
            major_faults: self.major_faults + other.major_faults,
            migrations: self.migrations.zip(other.migrations).map(|(a, b)| a + b),
            cpu: other.cpu,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{decode, encode};

    #[test]
    fn messages_survive_the_wire() {
        let mut spec = ChannelSpec::new("tcp");
        spec.options.insert("nodelay".into(), "false".into());
        spec.wait = Some(Wait::Adaptive);
        let request = Request::Open(spec);
        assert_eq!(decode::<Request>(&encode(&request).unwrap()).unwrap(), request);

        let reply = Reply::Event(Event::Ended { channel: u64::MAX, end: End::Signalled(9) });
        assert_eq!(decode::<Reply>(&encode(&reply).unwrap()).unwrap(), reply);
    }

    #[test]
    fn a_length_inside_a_body_cannot_make_the_decoder_allocate() {
        // Open, then a method whose length claims 2^60 bytes.
        let body = [5, 253, 0, 0, 0, 0, 0, 0, 0, 16];
        assert!(decode::<Request>(&body).is_err());
    }

    #[test]
    fn left_over_bytes_are_an_error() {
        let mut body = encode(&Request::Status).unwrap();
        body.push(0);
        assert!(decode::<Request>(&body).unwrap_err().to_string().contains("holds a message of 1 bytes"));
    }

    #[test]
    fn a_token_does_not_show_itself() {
        assert_eq!(format!("{:?}", Token::new([42; 32])), "Token(…)");
    }
}
