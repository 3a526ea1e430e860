//! The mechanisms: the contract that each fulfils, the list that names them all, and one file for each.
//!
//! A mechanism's file holds both sides: how the responder opens and serves it, and how the client connects and runs
//! a round. Adding one touches that file and one line of [`ALL`].

#[cfg(feature = "_tokio")]
mod async_side;
mod buffer;
mod contract;
mod datagram;
mod memory;
mod messages;
mod pace;
mod payload;
mod place;
mod process;
mod proof;
mod rounds;
mod sealed;
mod settings;
mod stream;
mod supervisor;
mod sync;
pub(crate) mod sys;
mod turn;
mod unix_socket;
mod watch;

#[cfg(feature = "dbus")]
mod dbus;
mod epoll;
mod eventfd;
mod fifo;
mod futex;
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
mod shmem;
mod signal;
mod socketpair;
mod sysv_mq;
mod tcp;
mod tcp6;
#[cfg(feature = "tokio")]
mod tokio;
mod udp;
mod udp6;
mod unix;
mod unix_dgram;
mod unix_seqpacket;
mod vsock;
#[cfg(feature = "zeromq")]
mod zeromq;

pub(crate) use contract::{CallError, Capabilities, Explanation, Info, OptionSpec, ServeError, Served};
pub use contract::{ConnectError, Delivery, Endpoint, Group, Mechanism, Reach, RoundError};
pub(crate) use pace::Pace;
pub(crate) use pace::Pacer;
#[cfg(test)]
pub(crate) use payload::Payload;
pub use rounds::Rounds;
pub(crate) use rounds::{Block, Round};
pub(crate) use settings::only_cpu;
pub use settings::{Grant, Owner, Settings};
pub(crate) use supervisor::Supervisor;
pub use supervisor::{Announcement, Assignment};
pub use watch::Watch;
pub(crate) use watch::{Alive, Unwatched};

use std::collections::BTreeMap;

use crate::protocol::{ChannelSpec, MethodState, Refusal, Unavailable};

/// Every mechanism, in the order in which they are shown.
pub static ALL: &[&dyn Mechanism] = &[
    &tcp::TCP,
    &tcp6::TCP6,
    &udp::UDP,
    &udp6::UDP6,
    &unix::Unix,
    &unix_seqpacket::UnixSeqpacket,
    &unix_dgram::UnixDgram,
    &socketpair::SocketPair,
    &epoll::Epoll,
    &io_uring::IoUring,
    &vsock::Vsock,
    &shmem::SharedMemory,
    &memfd::SealedMemory,
    &mmap::MappedFile,
    &futex::Futex,
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
    &null::Null,
];

/// Mechanisms that only a build with the cargo feature of their name has.
pub const FEATURES: [&str; 6] = ["tokio", "http", "grpc", "dbus", "zeromq", "iceoryx2"];

/// Those of them that this build lacks.
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
/// The specification does not fit: see [`Settings::check`].
pub fn memory_of(spec: &ChannelSpec) -> Result<u64, Refusal> {
    let settings = Settings::check(spec)?;
    Ok(find(settings.method)?.holds(settings.size))
}

/// Begins the names of a daemon's resources: no other process on this host has had it since boot.
///
/// # Errors
/// `/proc` does not tell when this process was started.
pub fn instance_name() -> std::io::Result<String> {
    let pid = std::process::id();
    let start = place::start_time(&pid.to_string()).map_err(|source| {
        std::io::Error::other(CallError { what: "asking /proc when this process was started", source })
    })?;
    Ok(format!("ipcd-{pid}-{start}"))
}

/// Removes what daemons of this user have left that were killed together with their responders, or while they looked at what
/// the host has.
pub(crate) fn remove_leftovers_of_the_dead() {
    ALL.iter().for_each(|mechanism| mechanism.remove_leftovers(&place::probe_name()));
    for name in place::dead_names() {
        log::info!("removing {name}, which a killed daemon has left");
        for mechanism in ALL {
            mechanism.remove_leftovers(&name);
        }
    }
}

/// Every mechanism, as this process has it on this host for itself.
#[must_use]
pub fn states() -> Vec<MethodState> {
    states_for(Owner::this(), None)
}

/// Whether this process can offer a mechanism with these options to this client.
///
/// # Errors
/// What the host lacks, or what stands between the two.
pub(crate) fn available_to(
    mechanism: &dyn Mechanism,
    options: &BTreeMap<String, String>,
    client: Owner,
) -> Result<(), Unavailable> {
    if mechanism.is_probed(options) {
        mechanism.probe()?;
    }
    if mechanism.info().reach.includes(client) {
        return Ok(());
    }
    Err(Unavailable(format!(
        "it works between processes of one user, and the daemon is user {}'s, the client user {}'s; --private measures it",
        Owner::this().uid,
        client.uid
    )))
}

/// Why a mechanism's channels with a name are closed to a client who is in these further groups (all, if that is not known), if they
/// are: see
/// [`Reach::Group`].
fn closed_to(mechanism: &dyn Mechanism, client: Owner, groups: Option<&[u32]>) -> Option<Unavailable> {
    let own = Owner::this();
    let root = own.uid == 0 || client.uid == 0;
    let is_let_in = root
        || client.uid == own.uid
        || client.gid == own.gid
        || groups.is_none_or(|groups| groups.contains(&own.gid));
    (mechanism.info().reach == Reach::Group && !is_let_in).then(|| {
        Unavailable(format!(
            "it is for user {} and members of the group {}, and user {} is none; ask for membership in the daemon's group, or use \
             a daemon of your own (--private)",
            own.uid, own.gid, client.uid
        ))
    })
}

/// Every mechanism, as this process has it on this host for this client, who is in these further groups.
#[must_use]
pub(crate) fn states_for(client: Owner, groups: Option<&[u32]>) -> Vec<MethodState> {
    ALL.iter()
        .map(|mechanism| MethodState {
            name: mechanism.info().name.to_owned(),
            unavailable: available_to(*mechanism, &BTreeMap::new(), client).err(),
            closed: closed_to(*mechanism, client, groups),
            max_size_bytes: u32::try_from(mechanism.capabilities().max_size).unwrap_or(u32::MAX),
            max_size_because: mechanism.size_limit(),
        })
        .collect()
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
