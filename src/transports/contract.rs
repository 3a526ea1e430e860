//! What a mechanism promises: its description, its two sides, and their errors.

use std::collections::BTreeMap;
use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::str::FromStr;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::SocketType;

use super::families::unix_socket::{NAMESPACE, is_abstract};
use super::{Owner, Rounds, Settings, Supervisor, Watch};
use crate::diagnostics::error_chain;
use crate::protocol::{Unavailable, Wait};
use crate::shortage::is_shortage;

/// One mechanism. Its file holds both sides.
///
/// A channel opens in this order: the responder makes the resource and [announces](Supervisor::ready) where it is; the
/// client connects; both prove themselves with the channel's token; the responder reports that this is
/// [done](Supervisor::proven), and by then no name of the resource is left; rounds follow until the client leaves.
pub trait Mechanism: Sync {
    /// What it is, on any host.
    fn info(&self) -> &'static Info;

    /// The largest payload in bytes that this process may send here, and the setting that limits it, if one does.
    fn largest(&self) -> (usize, Option<String>) {
        (self.info().sizes.max_size, None)
    }

    /// What it can do on this host, within this process's limits.
    fn capabilities(&self) -> Capabilities {
        Capabilities { max_size: self.largest().0, ..self.info().sizes }
    }

    /// The most bytes that a responder holds for payloads of `size` bytes: its copies, and 1 MiB for what grows with them
    /// page by page. What the kernel holds for it is for the kernel to limit (`SO_SNDBUF` and the like).
    fn holds(&self, size: usize) -> u64 {
        u64::try_from(size).unwrap_or(u64::MAX).saturating_mul(self.info().copies).saturating_add(1 << 20)
    }

    /// How many CPUs a channel with these settings keeps busy at once: its two sides, and the kernel threads that work for
    /// them.
    fn busy_cpus(&self, _settings: &Settings) -> usize {
        2
    }

    /// Whether this process can use it on this host, with the options at their defaults. Makes and removes the real thing
    /// where that is cheap: a daemon asks for each channel and each list of methods, so it takes microseconds. If the
    /// process is killed half-way, it leaves nothing that the next probe does not remove.
    ///
    /// # Errors
    /// What is missing or in the way: module, sysctl, kernel, sandbox, space, limit.
    fn probe(&self) -> Result<(), Unavailable> {
        Ok(self.info().naming.probe()?)
    }

    /// Whether the result of [`probe`](Self::probe) applies with these options too.
    fn is_probed(&self, options: &BTreeMap<String, String>) -> bool {
        !is_abstract(options.get(NAMESPACE.name).map(String::as_str))
    }

    /// The responder's whole life: makes the resource, announces it, checks its peer, and echoes until the peer leaves.
    ///
    /// # Errors
    /// Why it ended otherwise.
    fn respond(&self, settings: &Settings, supervisor: &mut Supervisor) -> Result<(), ServeError>;

    /// The client's side: connects, proves itself, and is then ready for round 1.
    ///
    /// # Errors
    /// Why it could not connect. Every wait ends by the peer, by the control connection or by a deadline.
    fn connect(&self, settings: &Settings, endpoint: Endpoint, watch: &mut Watch) -> Connected;

    /// Removes what a killed responder may have left under [`Settings::name`], if anything.
    fn remove_leftovers(&self, name: &str) {
        self.info().naming.remove_leftovers(name);
    }
}

/// The client's side of a channel, or why there is none.
pub(crate) type Connected = Result<Box<dyn Rounds>, ConnectError>;

/// What a mechanism is, on any host: facts for the command line, the daemon and the tests.
#[derive(Debug)]
pub struct Info {
    /// Its name on the command line and in results.
    pub name: &'static str,
    /// Other names for it.
    pub aliases: &'static [&'static str],
    /// The name under which `--method` selects it together with others.
    pub group: Group,
    /// What it is, in a line.
    pub summary: &'static str,
    /// When to choose it, and when not. Whole sentences, like the next two.
    pub choose: &'static str,
    /// What limits it.
    pub limits: &'static str,
    /// What a round executes, on each side.
    pub round: &'static str,
    /// How a round's bytes are kept apart and whether they arrive.
    pub delivery: Delivery,
    /// Which users' clients a daemon's channel reaches, with the options at their defaults.
    pub reach: Reach,
    /// The wait strategies that it supports; the first is its default, which is what an ordinary program would do.
    pub waits: &'static [Wait],
    /// Its own options.
    pub options: &'static [OptionSpec],
    /// The payloads that it carries on a host without limits.
    pub sizes: Capabilities,
    /// How many copies of a payload its responder holds, its libraries' and the shared ones included.
    pub copies: u64,
    /// What is named after the channel.
    pub naming: Naming,
    /// How an unauthenticated peer could reach a channel.
    pub exposure: Exposure,
}

impl Info {
    /// The common case: a stream of bytes for one peer, which is handed its descriptors.
    pub(crate) const DEFAULT: Self = Self {
        name: "",
        aliases: &[],
        group: Group::Tool,
        summary: "",
        choose: "",
        limits: "",
        round: "",
        delivery: Delivery::Stream,
        reach: Reach::Anyone,
        waits: &[Wait::Block, Wait::Spin, Wait::Adaptive],
        options: &[],
        sizes: Capabilities::ANY_SIZE,
        copies: 3,
        naming: Naming::Unnamed,
        exposure: Exposure::Peer(SocketType::STREAM),
    };
}

/// What is named after a channel while its responder makes it; a responder that is killed then leaves it behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Naming {
    /// Nothing: it has no name, or the kernel chooses a free port or process id.
    Unnamed,
    /// A socket, pipe or file, in the service's runtime directory or the temporary folder.
    File,
    /// A POSIX shared memory segment.
    SharedMemory,
    /// A folder in `/dev/shm`, `NAME-root`, until the client has proved itself.
    SharedFolder,
    /// POSIX message queues, `NAME-ping` and `NAME-pong`.
    Queues,
    /// A System V key, computed from the name, as long as the channel lives.
    Key,
}

/// How a process without the channel's token could reach a channel before its client, and what happens to it. The tests
/// attack every mechanism accordingly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exposure {
    /// It connects a socket of this type, and is dropped; the client still gets in.
    Connections(SocketType),
    /// It sends a datagram, which is dropped.
    Datagrams,
    /// It leaves a message in a queue, where messages without the token are dropped.
    Messages,
    /// It holds the only peer's end of a socket of this type, or of a pair of pipes; a wrong token ends the channel.
    Peer(SocketType),
    /// It has mapped the memory; a wrong token ends the channel.
    Memory,
    /// It holds the counters; a wrong token ends the channel.
    Counters,
    /// It cannot, for this reason.
    Unreachable(&'static str),
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

/// How a round's bytes are kept apart and whether they arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// A stream of bytes, in order, none lost.
    Stream,
    /// Messages, in order, none lost.
    Message,
    /// Messages, any of them may be lost.
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

/// Which users' clients its channels reach, of those that may use a daemon's control socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// All: it is handed over with its descriptors, or goes through the network, where the token keeps others out.
    Anyone,
    /// Root, the daemon's own user, and its group: it is a socket with a name, whose permissions decide, and the token keeps
    /// others of the group out. A daemon of root gives the name to the client's user.
    Group,
    /// The daemon's own user alone: the kernel or the library admits no other process.
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
            Self::Anyone => "all users of the daemon",
            Self::Group => "the daemon's user and group",
            Self::SameUser => "the daemon's own user only",
        }
    }
}

/// An option of a mechanism. Equal names mean the same in every mechanism.
#[derive(Debug)]
pub struct OptionSpec {
    /// `nodelay` becomes `--nodelay`.
    pub name: &'static str,
    /// Its values; the first is the default.
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

    /// This size, if it is within the limits.
    ///
    /// # Errors
    /// It is not, and which sizes are.
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

/// Where an announced channel is, as a daemon says that is not trusted: a client opens no file, queue or socket by a name that
/// it gets.
#[derive(Debug)]
pub struct Endpoint {
    /// Its address, in the mechanism's own format.
    pub address: String,
    /// The descriptors that came with it.
    pub descriptors: Vec<OwnedFd>,
    /// The daemon, as the kernel reports it.
    pub daemon: Owner,
}

impl Endpoint {
    /// Its address, as something that is parsed.
    pub(crate) fn parse<T: FromStr>(&self) -> Result<T, ConnectError> {
        self.address.parse().map_err(|_| ConnectError::Endpoint(self.address.clone()))
    }

    /// The address of a socket, which must be one of the loopback interface.
    pub(crate) fn loopback(&self) -> Result<SocketAddr, ConnectError> {
        let address: SocketAddr = self.parse()?;
        if address.ip().is_loopback() {
            Ok(address)
        } else {
            Err(ConnectError::Endpoint(self.address.clone()))
        }
    }

    /// Whether something of this user can be the responder's. A responder of root may have become this user.
    pub(crate) fn is_from(&self, uid: u32) -> bool {
        uid == self.daemon.uid || (self.daemon.uid == 0 && uid == Owner::this().uid)
    }

    /// Its `N` descriptors.
    pub(crate) fn handed<const N: usize>(self) -> Result<[OwnedFd; N], ConnectError> {
        self.descriptors.try_into().map_err(|_| ConnectError::Endpoint(self.address))
    }
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

/// A wait for the client failed before the first round.
impl From<RoundError> for ServeError {
    fn from(error: RoundError) -> Self {
        match error {
            RoundError::TimedOut(patience) => Self::NoClient(patience),
            other => {
                CallError { what: "waiting for the client's proof", source: io::Error::other(other) }.into()
            }
        }
    }
}

/// How a responder ends whose echo ended with this: the client's leaving is its normal end.
pub(crate) fn echo_ended(error: RoundError) -> Result<(), ServeError> {
    match error {
        RoundError::PeerClosed => Ok(()),
        error => Err(io::Error::other(error)).while_doing("echoing")?,
    }
}

impl From<CallError> for Unavailable {
    fn from(error: CallError) -> Self {
        Self(error_chain(&error))
    }
}

/// Why a responder failed.
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
    /// No client has come.
    #[error("no client connected within {:.0} s", .0.as_secs_f64())]
    NoClient(Duration),
}

/// Why a client has no connection to a channel that was announced.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// A system call failed.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The mechanism cannot parse the announced endpoint.
    #[error("the endpoint \"{0}\" cannot be understood")]
    Endpoint(String),
    /// The responder runs in another PID namespace, where process ids mean other processes.
    #[error("the daemon has another PID namespace than this process")]
    OtherNamespace,
    /// It works between processes of one user, and the daemon is another's.
    #[error("it works between processes of one user, and the daemon is user {0}'s; --private measures it")]
    OtherUser(u32),
    /// The peer is not this channel's responder.
    #[error("the peer does not know this channel's token")]
    WrongToken,
    /// The wait for the proof was aborted.
    #[error(transparent)]
    Round(#[from] RoundError),
}

impl ConnectError {
    /// Whether a name's permissions do not let this user in.
    #[must_use]
    pub(crate) fn is_denied(&self) -> bool {
        self.is_any_of(&[Errno::ACCESS])
    }

    /// Whether it is unavailable to this process: a resource has run out, the system forbids the call to any process, or
    /// the daemon's processes are invisible.
    #[must_use]
    pub(crate) fn is_unavailable(&self) -> bool {
        matches!(self, Self::OtherNamespace | Self::OtherUser(_))
            || is_shortage(self)
            || self.is_any_of(&[Errno::PERM, Errno::NOSYS, Errno::AFNOSUPPORT])
    }

    /// Whether this process sees another network, other files or other queues than the responder, which runs but is not
    /// found where it announced itself.
    #[must_use]
    pub(crate) fn is_elsewhere(&self) -> bool {
        matches!(self, Self::OtherNamespace | Self::Round(RoundError::PeerClosed))
    }

    /// Whether this process cannot reach the channel of a running responder, as opposed to a fault of the channel.
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
    /// Nothing arrived, and this mechanism may lose a message. The next round may succeed.
    #[error("no answer within {:.1} s: the datagram was lost", .0.as_secs_f64())]
    Lost(Duration),
    /// Nothing arrived, and this mechanism loses nothing.
    #[error("no answer within {:.0} s", .0.as_secs_f64())]
    TimedOut(Duration),
    /// Another process has truncated the memory that both sides share.
    #[error("another process has truncated the shared memory")]
    Truncated,
    /// A pong arrived that is not this round's.
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
pub(crate) trait While<T> {
    /// Adds what the call was for to its error.
    fn while_doing(self, what: &'static str) -> Result<T, CallError>;
}

impl<T, E: Into<io::Error>> While<T> for Result<T, E> {
    fn while_doing(self, what: &'static str) -> Result<T, CallError> {
        self.map_err(|error| CallError { what, source: error.into() })
    }
}
