//! What a mechanism promises: its description, its two sides, and their errors.

use std::collections::BTreeMap;
use std::error::Error;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::io::Errno;

use super::{Owner, Rounds, Settings, Supervisor, Watch};
use crate::diagnostics::error_chain;
use crate::protocol::{Unavailable, Wait};
use crate::shortage::is_shortage;

/// One mechanism. Its file holds both sides.
///
/// A channel comes to be in this order: the responder makes the resource and [announces](Supervisor::ready) where it
/// is; the client connects; both prove themselves with the channel's token; the responder says that this is
/// [done](Supervisor::proven), by when no name of the resource is left anywhere; rounds follow until the client goes.
pub trait Mechanism: Sync {
    /// What it is, whatever the host.
    fn info(&self) -> &'static Info;

    /// What it can do on this host, as this process may.
    fn capabilities(&self) -> Capabilities;

    /// What it can do on a host that sets it no limits: more than [`capabilities`](Self::capabilities) where those depend
    /// on the host.
    fn capabilities_anywhere(&self) -> Capabilities {
        self.capabilities()
    }

    /// Which setting of the host's or of this process's decides the largest size, if one does, with its value.
    fn size_limit(&self) -> Option<String> {
        None
    }

    /// The most bytes that a responder holds for payloads of `size` bytes: its buffers and segments, those that it
    /// shares with its client too. What the kernel holds for it is the kernel's to limit (`SO_SNDBUF` and the like).
    fn holds(&self, size: usize) -> u64 {
        holds_copies(3, size)
    }

    /// How many CPUs are busy at once in a channel with these settings: its two sides, and what the kernel runs for them.
    fn busy_cpus(&self, _settings: &Settings) -> usize {
        2
    }

    /// Whether this process can have it on this host, with the options at their defaults, by making and removing the real
    /// thing where that is cheap. A daemon asks it for each channel and each list of methods, so that it takes microseconds
    /// and leaves nothing, or nothing that the next one does not remove, if the process is killed in the middle.
    ///
    /// # Errors
    /// What the host lacks: module, sysctl, kernel, sandbox, room; which limit stands against it.
    fn probe(&self) -> Result<(), Unavailable> {
        Ok(())
    }

    /// Whether what [`probe`](Self::probe) says holds with these options too.
    fn is_probed(&self, _options: &BTreeMap<String, String>) -> bool {
        true
    }

    /// The responder's whole life: makes the resource, announces it, checks its peer, echoes until the peer goes.
    ///
    /// # Errors
    /// Why it ended otherwise.
    fn respond(&self, settings: &Settings, supervisor: &mut Supervisor) -> Result<Served, ServeError>;

    /// The client's side: connects, proves itself, and is then ready for round 1.
    ///
    /// # Errors
    /// Why there is no connection. Every wait ends by the peer, by the control connection or by a deadline.
    fn connect(
        &self,
        settings: &Settings,
        endpoint: Endpoint,
        watch: &mut Watch,
    ) -> Result<Box<dyn Rounds>, ConnectError>;

    /// Removes what a responder that was killed may have left under [`Settings::name`]. Nothing, if it left nothing.
    fn remove_leftovers(&self, _name: &str) {}
}

/// So many copies of a payload, and 1 MiB for what grows beside them, page by page.
pub(super) fn holds_copies(copies: u64, size: usize) -> u64 {
    u64::try_from(size).unwrap_or(u64::MAX).saturating_mul(copies).saturating_add(1 << 20)
}

/// What a mechanism is, whatever the host.
#[derive(Debug)]
pub struct Info {
    /// Its name on the command line and in results.
    pub name: &'static str,
    /// Other names for it.
    pub aliases: &'static [&'static str],
    /// What `--method` may call it together with others.
    pub group: Group,
    /// What it is, in a line.
    pub summary: &'static str,
    /// What a person who must choose wants to know.
    pub explanation: Explanation,
    /// How a round's bytes are kept apart and whether they arrive.
    pub delivery: Delivery,
    /// Whom a daemon's channel is for, with the options at their defaults.
    pub reach: Reach,
    /// The wait strategies that it can do; the first is its default, what an ordinary program would do.
    pub waits: &'static [Wait],
    /// Its own options.
    pub options: &'static [OptionSpec],
}

/// Mechanisms of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// Sockets of any family.
    Sockets,
    /// Memory that both sides see.
    Memory,
    /// Pipes and what is like them.
    Pipes,
    /// Message queues and signals.
    Queues,
    /// Libraries and runtimes over one of the others.
    Frameworks,
    /// The tool itself, not the host: "all" does not mean it.
    Tool,
}

impl Group {
    /// The groups that `--method` knows.
    pub const ALL: [Self; 5] = [Self::Sockets, Self::Memory, Self::Pipes, Self::Queues, Self::Frameworks];

    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Sockets => "sockets",
            Self::Memory => "memory",
            Self::Pipes => "pipes",
            Self::Queues => "queues",
            Self::Frameworks => "frameworks",
            Self::Tool => "tool",
        }
    }
}

/// What a person who must choose wants to know of a mechanism. Whole sentences.
#[derive(Debug)]
pub struct Explanation {
    /// When to choose it, and when not.
    pub choose: &'static str,
    /// What limits it.
    pub limits: &'static str,
    /// What a round executes, on each side.
    pub round: &'static str,
}

/// How a round's bytes are kept apart and whether they arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// A stream of bytes, in order, none lost.
    Stream,
    /// Messages, in order, none lost.
    Message,
    /// Messages, each of which may be lost.
    UnreliableMessage,
    /// Memory that both sides see.
    Memory,
    /// Nothing is carried anywhere.
    None,
}

impl Delivery {
    /// In a word or two.
    #[must_use]
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Stream => "stream",
            Self::Message => "message",
            Self::UnreliableMessage => "message, may be lost",
            Self::Memory => "memory",
            Self::None => "none",
        }
    }
}

/// Which of those who may use a daemon's control socket its channels reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Everyone: it is handed over with its descriptors, or given to the client's user, or goes through the network and the
    /// token keeps others out.
    Anyone,
    /// Root, the daemon's own user, and its group: it is a socket with a name, whose permissions decide, and the token keeps
    /// others of the group out. A daemon of root gives the name to whoever the client is.
    Group,
    /// The daemon's own user alone: the kernel, or the library, lets no other process in.
    SameUser,
}

impl Reach {
    /// Whether a daemon of this process's user reaches a client.
    #[must_use]
    pub(crate) fn includes(self, client: Owner) -> bool {
        self != Self::SameUser || client.uid == Owner::this().uid
    }

    /// In a few words.
    #[must_use]
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Anyone => "whoever may use the daemon",
            Self::Group => "the daemon's user and group",
            Self::SameUser => "the daemon's own user only",
        }
    }
}

/// An option that a mechanism has of its own. Equal names mean the same in every mechanism.
#[derive(Debug)]
pub struct OptionSpec {
    /// `nodelay` becomes `--nodelay`.
    pub name: &'static str,
    /// What it may be; the first is the default.
    pub values: &'static [&'static str],
    /// What it does, in a line.
    pub help: &'static str,
}

/// What a mechanism can do on this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// The smallest payload in bytes.
    pub min_size: usize,
    /// The largest payload in bytes.
    pub max_size: usize,
}

impl Capabilities {
    /// The largest payload of a mechanism that itself sets no limit: 16 MiB.
    pub(crate) const MAX_SIZE: usize = 16 << 20;

    /// Any payload that holds a round's number.
    pub(crate) const ANY_SIZE: Self = Self { min_size: 8, max_size: Self::MAX_SIZE };

    /// The size of a payload of so many bytes.
    ///
    /// # Errors
    /// It does not fit; what would.
    pub(crate) fn size(&self, size_bytes: u32) -> Result<usize, String> {
        let size = usize::try_from(size_bytes).ok();
        size.filter(|size| (self.min_size..=self.max_size).contains(size)).ok_or_else(|| {
            let carries = match (self.min_size, self.max_size) {
                (min, max) if min == max => format!("{min} and no other"),
                (min, max) => format!("{min} to {max}"),
            };
            format!("a size of {size_bytes} bytes; it carries {carries}")
        })
    }
}

/// Where an announced channel is.
#[derive(Debug)]
pub struct Endpoint {
    /// In the mechanism's own words.
    pub address: String,
    /// What came with it.
    pub descriptors: Vec<OwnedFd>,
}

/// A responder's normal end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Served {
    /// The client closed its side.
    ClientGone,
}

/// A system call that failed.
#[derive(Debug, thiserror::Error)]
#[error("{what} failed")]
pub struct CallError {
    /// What was tried.
    pub what: &'static str,
    /// The system's error.
    pub source: io::Error,
}

impl From<CallError> for Unavailable {
    fn from(error: CallError) -> Self {
        Self(error_chain(&error))
    }
}

/// Why a responder ended without having done its work.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A system call failed.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The peer is not the one that the channel was opened for.
    #[error("a peer with a wrong token")]
    WrongToken,
    /// This mechanism does not reach a client like this one.
    #[error("{0}")]
    Peer(String),
    /// No client came.
    #[error("no client connected within {:.0} s", .0.as_secs_f64())]
    NoClient(Duration),
}

/// Why a client has no connection to a channel that was announced.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// A system call failed.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The announced endpoint makes no sense to the mechanism.
    #[error("the endpoint \"{0}\" cannot be understood")]
    Endpoint(String),
    /// The responder runs in another PID namespace, where process ids mean other processes.
    #[error("the daemon has another PID namespace than this process")]
    OtherNamespace,
    /// The peer is not this channel's responder.
    #[error("the peer does not know this channel's token")]
    WrongToken,
    /// The wait for the proof broke off.
    #[error(transparent)]
    Round(#[from] RoundError),
}

impl ConnectError {
    /// Whether a name's permissions do not let this user in.
    #[must_use]
    pub(crate) fn is_denied(&self) -> bool {
        self.is_any_of(&[Errno::ACCESS])
    }

    /// Whether this process cannot have it here: something has run out, the system forbids the call to whoever makes it, or
    /// the daemon's processes are not to be seen.
    #[must_use]
    pub(crate) fn is_unavailable(&self) -> bool {
        matches!(self, Self::OtherNamespace)
            || is_shortage(self)
            || self.is_any_of(&[Errno::PERM, Errno::NOSYS, Errno::AFNOSUPPORT])
    }

    /// Whether nobody is where the responder, which lives, says that it is: this process sees another network, other files
    /// or other queues than it.
    #[must_use]
    pub(crate) fn is_elsewhere(&self) -> bool {
        matches!(self, Self::OtherNamespace | Self::Round(RoundError::PeerClosed))
    }

    /// Whether this process does not get at the channel of a responder that lives, rather than something being wrong with it.
    #[must_use]
    pub(crate) fn is_lack(&self) -> bool {
        matches!(self, Self::Call(_)) || self.is_denied() || self.is_unavailable() || self.is_elsewhere()
    }

    fn is_any_of(&self, errors: &[Errno]) -> bool {
        let mut cause: Option<&(dyn Error + 'static)> = Some(self);
        while let Some(error) = cause {
            let errno = error.downcast_ref::<io::Error>().and_then(Errno::from_io_error);
            if errno.is_some_and(|errno| errors.contains(&errno)) {
                return true;
            }
            cause = error.source();
        }
        false
    }
}

/// Why a round did not complete.
#[derive(Debug, thiserror::Error)]
pub enum RoundError {
    /// The peer closed its side, or died.
    #[error("the peer closed the channel")]
    PeerClosed,
    /// The control connection has news: the channel's end, or its own.
    #[error("the channel was ended")]
    Ended,
    /// Nothing came, and this mechanism may lose a message. The next round may go on.
    #[error("no answer within {:.1} s: the datagram was lost", .0.as_secs_f64())]
    Lost(Duration),
    /// Nothing came, and this mechanism loses nothing.
    #[error("no answer within {:.0} s", .0.as_secs_f64())]
    TimedOut(Duration),
    /// Another process has truncated the memory that both sides share.
    #[error("the shared memory was taken from under it: another process has truncated it")]
    Truncated,
    /// A pong came that is not this round's.
    #[error("the pong of round {round} is wrong: {what}")]
    WrongPong {
        /// The round.
        round: u64,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A system call failed.
    #[error("the system refused the channel")]
    System(#[from] io::Error),
}

impl From<Errno> for RoundError {
    fn from(error: Errno) -> Self {
        match error {
            Errno::PIPE | Errno::CONNRESET | Errno::CONNREFUSED => Self::PeerClosed,
            other => Self::System(other.into()),
        }
    }
}

/// Names what was tried when a system call failed.
pub(super) trait While<T> {
    /// The error says that it happened while doing `what`.
    fn while_doing(self, what: &'static str) -> Result<T, CallError>;
}

impl<T, E: Into<io::Error>> While<T> for Result<T, E> {
    fn while_doing(self, what: &'static str) -> Result<T, CallError> {
        self.map_err(|error| CallError { what, source: error.into() })
    }
}
