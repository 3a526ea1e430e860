//! The mechanisms: the contract of each, the list of all, and one file for each.
//!
//! A mechanism's file holds both sides: how the responder makes and serves a channel, and how the client connects and runs
//! a round. Adding one is that file, its `mod` and its entry in [`ALL`]; `tests/example/` has a complete one.

/// What mechanisms of a kind share.
mod families {
    #[cfg(feature = "_tokio")]
    pub(crate) mod async_side;
    pub(crate) mod datagram;
    pub(crate) mod memory;
    pub(crate) mod messages;
    pub(crate) mod stream;
    pub(crate) mod sync;
    pub(crate) mod turn;
    pub(crate) mod unix_socket;
}

pub(crate) mod contract;
mod payload;
mod place;
pub(crate) mod rounds;
pub(crate) mod settings;
pub(crate) mod supervisor;
pub(crate) mod sys;
pub(crate) mod watch;

#[cfg(feature = "dbus")]
mod dbus;
mod epoll;
mod eventfd;
mod fifo;
#[cfg(feature = "grpc")]
mod grpc;
#[cfg(feature = "http")]
mod http;
#[cfg(feature = "iceoryx2")]
mod iceoryx2;
mod io_uring;
mod local_socket;
mod memfd;
mod mmap;
mod mq;
mod null;
mod pipe;
mod process_vm;
mod semaphore;
#[cfg(feature = "_example")]
#[path = "../../tests/example/seqpacket_pair.rs"]
mod seqpacket_pair;
mod shmem;
mod signal;
mod socketpair;
mod sysv_mq;
mod tcp;
#[cfg(feature = "tokio")]
mod tokio;
mod udp;
mod unix;
mod vsock;
#[cfg(feature = "zeromq")]
mod zeromq;

pub(crate) use contract::{
    CallError, Capabilities, ConnectError, Delivery, Endpoint, Group, Mechanism, Reach, RoundError,
};
#[cfg(test)]
pub(crate) use payload::Payload;
pub use place::unique_name;
pub(crate) use rounds::{Block, Pace, Pacer, Round, Rounds};
pub(crate) use settings::{Grant, Owner, Settings, only_cpu};
pub(crate) use supervisor::{Announcement, Assignment, Supervisor};
pub(crate) use watch::{Alive, Unwatched, Watch};

use std::collections::BTreeMap;

use crate::diagnostics::{User, name_of};
use crate::protocol::{ChannelSpec, MethodState, Refusal, Unavailable};

/// What a mechanism's file uses.
mod prelude {
    pub(super) use std::io;

    pub(super) use rustix::io::Errno;
    pub(super) use rustix::net::SocketType;

    pub(super) use super::contract::{
        CallError, Capabilities, ConnectError, Connected, Delivery, Endpoint, Exposure, Group, Info,
        Mechanism, Naming, OptionSpec, Reach, RoundError, ServeError, While, echo_ended,
    };
    pub(super) use super::payload::{Buffer, Payload};
    pub(super) use super::{Alive, Owner, Round, Settings, Supervisor, Unwatched, Watch};
    pub(super) use crate::protocol::{Unavailable, Wait};
}

/// Every mechanism, in display order.
pub static ALL: &[&dyn Mechanism] = &[
    &tcp::TCP,
    &tcp::TCP6,
    &udp::UDP,
    &udp::UDP6,
    &unix::Unix,
    &unix::UnixSeqpacket,
    &unix::UnixDgram,
    &socketpair::SocketPair,
    &epoll::Epoll,
    &io_uring::IoUring,
    &vsock::Vsock,
    &shmem::SharedMemory,
    &memfd::MEMFD,
    &mmap::MappedFile,
    &memfd::FUTEX,
    &semaphore::PosixSemaphore,
    &process_vm::ProcessMemory,
    &pipe::Pipe,
    &fifo::Fifo,
    &eventfd::EventFd,
    &mq::PosixQueue,
    &sysv_mq::SystemVQueue,
    &signal::RealTimeSignal,
    &local_socket::LocalSocket,
    #[cfg(feature = "tokio")]
    &tokio::Tokio,
    #[cfg(feature = "http")]
    &http::Http,
    #[cfg(feature = "grpc")]
    &grpc::Grpc,
    #[cfg(feature = "dbus")]
    &dbus::DBus,
    #[cfg(feature = "zeromq")]
    &zeromq::ZeroMq,
    #[cfg(feature = "iceoryx2")]
    &iceoryx2::Iceoryx2,
    #[cfg(feature = "_example")]
    &seqpacket_pair::SeqpacketPair,
    &null::Null,
];

/// Mechanisms that need the cargo feature of their name.
pub const FEATURES: [&str; 6] = ["tokio", "http", "grpc", "dbus", "zeromq", "iceoryx2"];

/// Those that this build lacks.
pub(crate) fn not_built() -> impl Iterator<Item = &'static str> {
    FEATURES.into_iter().filter(|name| find(name).is_err())
}

/// The mechanism with this name or alias.
///
/// # Errors
/// [`Refusal::UnknownMethod`], which names the known ones.
pub fn find(name: &str) -> Result<&'static dyn Mechanism, Refusal> {
    ALL.iter()
        .copied()
        .find(|mechanism| mechanism.info().name == name || mechanism.info().aliases.contains(&name))
        .ok_or_else(|| Refusal::UnknownMethod {
            method: name.to_owned(),
            known: ALL.iter().map(|mechanism| mechanism.info().name.to_owned()).collect(),
        })
}

/// The most bytes that a responder for `spec` holds for payloads.
///
/// # Errors
/// As [`Settings::check`].
pub fn memory_of(spec: &ChannelSpec) -> Result<u64, Refusal> {
    let settings = Settings::check(spec)?;
    Ok(find(settings.method)?.holds(settings.size))
}

/// Removes what daemons of this user have left that were killed together with their responders, or during a probe.
pub(crate) fn remove_leftovers_of_the_dead() {
    for name in place::dead_names() {
        log::info!("removing {name}, left by a killed daemon");
        for mechanism in ALL {
            mechanism.remove_leftovers(&name);
        }
    }
}

/// The state of every mechanism on this host, for this process itself.
#[must_use]
pub fn states() -> Vec<MethodState> {
    let state = |mechanism: &&dyn Mechanism| {
        let (max_size, max_size_because) = mechanism.largest();
        MethodState {
            name: mechanism.info().name.to_owned(),
            unavailable: mechanism.probe().err(),
            closed: None,
            max_size_bytes: u32::try_from(max_size).unwrap_or(u32::MAX),
            max_size_because,
        }
    };
    ALL.iter().map(state).collect()
}

/// Whether this process can offer a mechanism with these options to this client.
///
/// # Errors
/// What the host lacks, or that the mechanism does not work between the two.
pub(crate) fn available_to(
    mechanism: &dyn Mechanism,
    options: &BTreeMap<String, String>,
    client: Owner,
) -> Result<(), Unavailable> {
    if mechanism.is_probed(options) {
        mechanism.probe()?;
    }
    reaches(mechanism, client)
}

/// Whether a mechanism works between this process and a client.
fn reaches(mechanism: &dyn Mechanism, client: Owner) -> Result<(), Unavailable> {
    if mechanism.info().reach.includes(client) {
        return Ok(());
    }
    Err(Unavailable(format!(
        "it works between processes of one user, and the daemon is of {}, the client of {}; --private measures it",
        User(Owner::this().uid),
        User(client.uid)
    )))
}

/// Why a mechanism's named channels are closed to a client in these supplementary groups (any, if they are not known), if they
/// are: see [`Reach::Group`].
fn closed_to(mechanism: &dyn Mechanism, client: Owner, groups: Option<&[u32]>) -> Option<Unavailable> {
    let own = Owner::this();
    let root = own.uid == 0 || client.uid == 0;
    let is_let_in = root
        || client.uid == own.uid
        || client.gid == own.gid
        || groups.is_none_or(|groups| groups.contains(&own.gid));
    (mechanism.info().reach == Reach::Group && !is_let_in).then(|| {
        Unavailable(format!(
            "it is for {} and members of group {}, and {} is neither; ask for membership in the daemon's group, or use \
             a private daemon (--private)",
            User(own.uid),
            name_of(own.gid, "/etc/group").unwrap_or_else(|| own.gid.to_string()),
            User(client.uid)
        ))
    })
}

/// The [`states`] for this client, which is in these supplementary groups.
#[must_use]
pub(crate) fn states_for(states: &[MethodState], client: Owner, groups: Option<&[u32]>) -> Vec<MethodState> {
    let mut states = states.to_vec();
    for (state, mechanism) in states.iter_mut().zip(ALL) {
        state.unavailable = state.unavailable.take().or_else(|| reaches(*mechanism, client).err());
        state.closed = closed_to(*mechanism, client, groups);
    }
    states
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_and_aliases_are_unique() {
        let mut seen = HashSet::new();
        for mechanism in ALL {
            let info = mechanism.info();
            for name in std::iter::once(&info.name).chain(info.aliases) {
                assert!(seen.insert(*name), "{name} twice");
                assert_ne!(*name, "all", "that means every method");
            }
        }
    }

    #[test]
    fn an_option_of_the_same_name_means_the_same_everywhere() {
        for a in ALL.iter().flat_map(|m| m.info().options) {
            for b in ALL.iter().flat_map(|m| m.info().options) {
                assert!(a.name != b.name || (a.values, a.help) == (b.values, b.help), "{}", a.name);
            }
        }
    }

    #[test]
    fn an_unknown_method_names_the_known_ones() {
        let error = find("carrier-pigeon").map(|m| m.info().name).unwrap_err().to_string();
        assert!(error.contains("carrier-pigeon"), "{error}");
        assert!(ALL.iter().all(|mechanism| error.contains(mechanism.info().name)), "{error}");
    }
}
