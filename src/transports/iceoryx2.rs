//! `iceoryx2`: publish and subscribe through shared memory, by iceoryx2.

use std::error::Error;
use std::fmt::Debug;
use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use iceoryx2::port::listener::Listener;
use iceoryx2::port::notifier::Notifier;
use iceoryx2::port::publisher::Publisher;
use iceoryx2::port::subscriber::Subscriber;
use iceoryx2::prelude::{
    Config, FileName, LogLevel, Node, NodeBuilder, SemanticString, SignalHandlingMode, ipc, set_log_level,
};
use rustix::process::{Resource, getrlimit};

use super::payload::take;
use super::place::{SHARED_MEMORY, is_own, probe_shared_memory, room};
use super::prelude::*;
use crate::protocol::Token;
use crate::shortage::explain;

static INFO: Info = Info {
    name: "iceoryx2",
    aliases: &["iox2"],
    group: Group::Frameworks,
    summary: "publish and subscribe through shared memory, a topic for each direction, by iceoryx2",
    choose: "Choose it for large messages to many readers: a sample that is written in place is never copied, and what \
             a message costs does not grow with its size. It handles queues, histories and the death of peers, \
             which shared memory alone (shmem) does not.",
    limits: "Processes of one user only, as iceoryx2 makes its memory. Each topic keeps room for four samples in \
             /dev/shm. To block, each message is announced by an iceoryx2 event beside it, which is a datagram of a \
             unix socket; to spin, nothing is announced and the subscriber polls.",
    round: "On each side a sample is loaned, the payload is copied into it, and its offset goes through a lock-free \
            queue; the other side takes it out and copies the payload, where a program could use it in place. \
            To block, on each side in addition the event's sendto, a recvfrom that waits and one that finds nothing \
            more, and five calls in which iceoryx2 sets its socket to block and not to block (fcntl, setsockopt).",
    delivery: Delivery::Message,
    reach: Reach::SameUser,
    waits: &[Wait::Block, Wait::Spin],
    copies: 4,
    naming: Naming::SharedFolder,
    exposure: Exposure::Unreachable(
        "there is one place for one client of the same user, which the library keeps",
    ),
    ..Info::DEFAULT
};

/// Samples that a topic reserves: queued, read and written, and one that iceoryx2 adds.
const SAMPLES: u64 = 4;

/// Publish and subscribe.
pub(super) struct Iceoryx2;

impl Mechanism for Iceoryx2 {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn probe(&self) -> Result<(), Unavailable> {
        probe_shared_memory()?;
        Ok(())
    }

    fn respond(&self, settings: &Settings, supervisor: &mut Supervisor) -> Result<(), ServeError> {
        require_limits(settings.size).while_doing("making iceoryx2's topics")?;
        require_room(settings.size).while_doing("finding room in /dev/shm")?;
        let names = Names(settings.name.clone());
        let root = names.make_root().while_doing("making a folder for iceoryx2's files")?;
        let ports = Ports::open(&names.0, &root, Side::Responder, settings)?;
        supervisor.ready(&format!("{}:{root}", names.0), &[])?;

        ports.receive(supervisor, 0, is_half(settings.token.client_half()))?;
        ports.send(settings.token.responder_half())?;
        // The client has opened all that it ever will.
        ports.receive(supervisor, 0, is_half(settings.token.client_half()))?;
        drop(names);
        supervisor.proven()?;
        ports.send(settings.token.responder_half())?;
        ports.echo(settings)
    }

    fn connect(&self, settings: &Settings, endpoint: Endpoint, watch: &mut Watch) -> Connected {
        let unknown = || ConnectError::Endpoint(endpoint.address.clone());
        let (name, root) = endpoint.address.split_once(':').ok_or_else(unknown)?;
        require_limits(settings.size).while_doing("making iceoryx2's topics")?;
        // If the responder dies before it has removed them, no other process removes what this side has made meanwhile.
        let _names = Names(name.to_owned());
        let ports = Ports::open(name, root, Side::Client, settings)?;
        watch.restart();
        // Twice: after the first answer, this side has opened all that it ever will; with the second, its names are gone.
        for _ in 0..2 {
            ports.send(settings.token.client_half())?;
            match ports.receive(watch, 0, is_half(settings.token.responder_half())) {
                Err(RoundError::WrongPong { .. }) => return Err(ConnectError::WrongToken),
                other => other?,
            }
        }
        Ok(Box::new(Client { ports, payload: Payload::new(settings.size, &settings.token) }))
    }

    fn remove_leftovers(&self, name: &str) {
        drop(Names(name.to_owned()));
    }
}

/// The prefix of everything that both sides make in /dev/shm, which is removed with this value.
struct Names(String);

impl Names {
    /// The folder of iceoryx2's own files. In memory, since it syncs each of two dozen to the disk while it connects,
    /// which takes seconds where the disk is busy.
    fn make_root(&self) -> io::Result<String> {
        let root = format!("{SHARED_MEMORY}/{}root/", prefix(&self.0));
        DirBuilder::new().mode(0o700).create(&root)?;
        Ok(root)
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        let prefix = prefix(&self.0);
        let entries = fs::read_dir(SHARED_MEMORY).into_iter().flatten().filter_map(Result::ok);
        for entry in entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix)) {
            if !is_own(&entry.path()) {
                continue;
            }
            let is_folder = entry.file_type().is_ok_and(|file_type| file_type.is_dir());
            // It may be gone already.
            let _ = match is_folder {
                true => remove_folder(&entry.path()),
                false => fs::remove_file(entry.path()),
            };
        }
    }
}

/// Removes a folder in which the other side may be making something at the same time.
fn remove_folder(path: &Path) -> io::Result<()> {
    const TRIES: usize = 16;
    (1..TRIES)
        .map(|_| fs::remove_dir_all(path))
        .find(|removed| {
            !removed.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::DirectoryNotEmpty)
        })
        .unwrap_or_else(|| fs::remove_dir_all(path))
}

/// No other channel's name has this prefix.
fn prefix(name: &str) -> String {
    format!("{name}-")
}

/// A full /dev/shm is an error here instead of a SIGBUS on the first write.
fn require_room(size: usize) -> io::Result<()> {
    let folder = File::open(SHARED_MEMORY)?;
    let there = rustix::fs::fstatvfs(&folder)?;
    let needed = 2 * topic_bytes(size);
    if there.f_bavail * there.f_frsize < needed {
        let needed = usize::try_from(needed).unwrap_or(usize::MAX);
        return Err(explain(Errno::NOSPC, room(&folder, needed)));
    }
    Ok(())
}

/// iceoryx2's errors do not say which limit was reached. Checked before anything is made, since removing it takes
/// descriptors too.
fn require_limits(size: usize) -> io::Result<()> {
    // One side's topics and events with their files, and what is open for a moment.
    const DESCRIPTORS: usize = 24;
    let folder = File::open(SHARED_MEMORY)?;
    (0..DESCRIPTORS).map(|_| folder.try_clone()).collect::<io::Result<Vec<_>>>()?;
    match getrlimit(Resource::Fsize).current {
        Some(most) if most < topic_bytes(size) => Err(Errno::FBIG.into()),
        _ => Ok(()),
    }
}

/// The most bytes that the files of one side's topic take.
fn topic_bytes(size: usize) -> u64 {
    const BOOKKEEPING: u64 = 1 << 19;
    SAMPLES * u64::try_from(size).expect("a usize fits in a u64") + BOOKKEEPING
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Responder,
    Client,
}

/// Accepts this half of the token alone.
fn is_half(half: &[u8; Token::HALF_LEN]) -> impl FnMut(&[u8]) -> Result<(), RoundError> {
    move |bytes| {
        if bytes == half {
            Ok(())
        } else {
            Err(RoundError::WrongPong { round: 0, what: "it is not the token" })
        }
    }
}

/// One side's ends of both topics. Dropped in this order: ports, then their node.
struct Ports {
    publisher: Publisher<ipc::Service, [u8], ()>,
    subscriber: Subscriber<ipc::Service, [u8], ()>,
    /// To block.
    events: Option<(Notifier<ipc::Service>, Listener<ipc::Service>)>,
    _node: Node<ipc::Service>,
}

impl Ports {
    fn open(name: &str, root: &str, side: Side, settings: &Settings) -> Result<Self, CallError> {
        let made = Self::try_open(name, root, side, settings);
        made.map_err(|error| io::Error::other(error.to_string())).while_doing("making iceoryx2's topics")
    }

    /// The responder makes the services, the client opens them.
    fn try_open(name: &str, root: &str, side: Side, settings: &Settings) -> Result<Self, Box<dyn Error>> {
        // Failures are reported by their errors; what is missing because its name was removed is not worth a message.
        set_log_level(LogLevel::Fatal);
        // A private configuration: no other process may find these topics.
        let mut config = Config::default();
        config.global.prefix = FileName::new(prefix(name).as_bytes())?;
        config.global.set_root_path(&iceoryx2::prelude::Path::new(root.as_bytes())?);
        // The supervisor does that.
        config.global.service.cleanup_dead_nodes_on_open = false;
        config.global.node.cleanup_dead_nodes_on_creation = false;
        config.global.node.cleanup_dead_nodes_on_destruction = false;
        let node = NodeBuilder::new()
            .config(&config)
            .signal_handling_mode(SignalHandlingMode::Disabled)
            .create::<ipc::Service>()?;

        let topic = |name: &str| -> Result<_, Box<dyn Error>> {
            let topic = node
                .service_builder(&name.try_into()?)
                .publish_subscribe::<[u8]>()
                .enable_safe_overflow(false)
                .subscriber_max_buffer_size(1)
                .subscriber_max_borrowed_samples(1)
                .history_size(0)
                .max_publishers(1)
                .max_subscribers(1)
                .max_nodes(2);
            Ok(if side == Side::Responder { topic.create()? } else { topic.open()? })
        };
        let event = |name: &str| -> Result<_, Box<dyn Error>> {
            let event = node.service_builder(&name.try_into()?).event();
            let event = event.max_notifiers(1).max_listeners(1).max_nodes(2);
            Ok(if side == Side::Responder { event.create()? } else { event.open()? })
        };
        let (pings, pongs) = (topic("ping")?, topic("pong")?);
        let (outgoing, incoming) = if side == Side::Responder { (pongs, pings) } else { (pings, pongs) };
        let events = if settings.wait == Wait::Block {
            let (pings, pongs) = (event("ping")?, event("pong")?);
            let (outgoing, incoming) = if side == Side::Responder { (pongs, pings) } else { (pings, pongs) };
            Some((outgoing.notifier_builder().create()?, incoming.listener_builder().create()?))
        } else {
            None
        };
        Ok(Self {
            // Neither side writes before the other has connected.
            subscriber: incoming.subscriber_builder().create()?,
            publisher: outgoing
                .publisher_builder()
                .initial_max_slice_len(settings.size.max(Token::HALF_LEN))
                .max_loaned_samples(1)
                .create()?,
            events,
            _node: node,
        })
    }

    /// Publishes `bytes`.
    #[inline(always)]
    fn send(&self, bytes: &[u8]) -> Result<(), RoundError> {
        let sample = self.publisher.loan_slice_uninit(bytes.len()).map_err(refused)?;
        sample.write_from_slice(bytes).send().map_err(refused)?;
        if let Some((notifier, _)) = &self.events {
            notifier.notify().map_err(refused)?;
        }
        Ok(())
    }

    /// Waits for the next message and hands it over in place.
    #[inline(always)]
    fn receive<T>(
        &self,
        alive: &mut impl Alive,
        round: u64,
        mut take: impl FnMut(&[u8]) -> Result<T, RoundError>,
    ) -> Result<T, RoundError> {
        loop {
            match &self.events {
                // One for each message, which came before it.
                Some((_, listener)) => wait(listener)?,
                None => std::hint::spin_loop(),
            }
            if let Some(sample) = self.subscriber.receive().map_err(refused)? {
                return take(&sample);
            }
            if alive.due() {
                alive.check(round)?;
            }
        }
    }

    /// The responder's side: echoes until it is ended, since memory does not show that the client has left.
    fn echo(&self, settings: &Settings) -> Result<(), ServeError> {
        let mut buffer = vec![0; settings.size];
        loop {
            let received = self.receive(&mut Unwatched, 0, |bytes| take(bytes, &mut buffer, 0));
            let echoed = received.and_then(|()| self.send(&buffer));
            echoed.map_err(io::Error::other).while_doing("echoing")?;
        }
    }
}

/// Waits until something is announced, or a signal comes.
fn wait(listener: &Listener<ipc::Service>) -> Result<(), RoundError> {
    use iceoryx2::port::listener::ListenerWaitError;
    match listener.blocking_wait(|_| {}) {
        Ok(_) | Err(ListenerWaitError::InterruptSignal) => Ok(()),
        Err(error) => Err(refused(error)),
    }
}

#[cold]
fn refused(error: impl Debug) -> RoundError {
    RoundError::System(io::Error::other(format!("iceoryx2: {error:?}")))
}

struct Client {
    ports: Ports,
    payload: Payload,
}

impl Round for Client {
    #[inline(always)]
    fn round(&mut self, round: u64, watch: &mut Watch) -> Result<(), RoundError> {
        self.payload.stamp(round);
        self.ports.send(self.payload.ping())?;
        let Self { ports, payload } = self;
        ports.receive(watch, round, |bytes| payload.take_pong(bytes, round))?;
        self.payload.check(round)
    }

    fn payload(&mut self) -> &mut Payload {
        &mut self.payload
    }
}
