//! `zeromq`: ZeroMQ's request and reply over ipc://, by the pure Rust crate of that name.

use std::collections::HashSet;
use std::fs::{Permissions, set_permissions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixListener;
use std::path::Path;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{Either, select};
use futures_util::stream::{BoxStream, StreamExt};
use rustix::fs::{FileType, Mode, OFlags, fstat, open};
use zeromq::util::PeerIdentity;
use zeromq::{
    RepSocket, ReqSocket, Socket, SocketEvent, SocketOptions, SocketRecv, SocketSend, ZmqError, ZmqMessage,
};

use super::families::async_side::{self, Exchange, Runtime, broken, rounds};
use super::place::Entry;
use super::prelude::*;

// Not libzmq: its bindings (the crate zmq) compile C++ and link libsodium, which every build machine would then need, and it is
// under the MPL. This crate speaks the same protocol, is maintained, and stays in one thread.
static INFO: Info = Info {
    name: "zeromq",
    aliases: &["zmq"],
    group: Group::Frameworks,
    summary: "ZeroMQ's REQ and REP over ipc://, by the pure Rust crate zeromq under tokio",
    choose: "Choose ZeroMQ for its patterns (publish, push, route) between many processes and languages, and for \
             peers that come and go. For one peer it is a unix stream with a frame around each message.",
    limits: "Messages in order; a REQ waits for its REP. This is the crate zeromq 0.7, which needs no C library and runs \
             in one thread; libzmq hands each message to an I/O thread and back, which costs two more wake-ups a \
             side. Spinning keeps tokio's runtime from sleeping.",
    round: "On each side an empty delimiter frame and the payload's frame are written to a unix socket and read from \
            one, with an epoll_wait. A sent message goes through a queue. The payload is copied into a new buffer for each round.",
    delivery: Delivery::Message,
    reach: Reach::Group,
    waits: &[Wait::Block, Wait::Spin],
    copies: 4,
    naming: Naming::File,
    exposure: Exposure::Connections(SocketType::STREAM),
    ..Info::DEFAULT
};

/// ZeroMQ's request and reply.
pub(super) struct ZeroMq;

impl Mechanism for ZeroMq {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn probe(&self) -> Result<(), Unavailable> {
        INFO.naming.probe()?;
        Ok(async_side::probe()?)
    }

    fn respond(&self, settings: &Settings, supervisor: &mut Supervisor) -> Result<(), ServeError> {
        let entry = Entry::of(settings, "");
        let listener = UnixListener::bind(&entry.0)
            .map_err(|error| entry.failed(error))
            .while_doing("listening on a unix socket")?;
        let_client_in(&entry.0, settings.client).while_doing("letting the client in")?;
        let mut runtime = Runtime::with_timers(settings.wait)?;
        let mut peers = Peers::new();
        let bind = async { peers.socket.bind_listener(listener).await.map_err(refused) };
        let bound = runtime.wait_for(bind, supervisor, 0)?;
        supervisor.ready(&format!("ipc://{}", entry.0.display()), &[])?;

        let check_peer = async {
            // Other peers get no answer.
            while !peers.next().await.is_some_and(|message| is(&message, settings.token.client_half())) {}
            // No more peers; the socket's file goes.
            peers.socket.unbind(bound).await.map_err(refused)?;
            let proof = Bytes::copy_from_slice(settings.token.responder_half());
            peers.socket.send(proof.into()).await.map_err(refused)
        };
        runtime.wait_for(check_peer, supervisor, 0)?;
        drop(entry);
        supervisor.proven()?;
        // The client's arrival may be reported after another peer's departure.
        peers.catch_up();
        runtime.serve(async {
            while !peers.have_left() {
                if let Some(message) = peers.next().await {
                    // It fails if the peer has left, which an event reports.
                    let _ = peers.socket.send(message).await;
                }
            }
        });
        Ok(())
    }

    fn connect(&self, settings: &Settings, endpoint: Endpoint, watch: &mut Watch) -> Connected {
        let mut runtime = Runtime::with_timers(settings.wait)?;
        let mut options = SocketOptions::default();
        // The watch has a timeout.
        options.no_connect_timeout();
        let mut socket = ReqSocket::with_options(options);
        watch.restart();
        // The library connects by name only: to a socket that is the responder's, whatever has its name by then.
        let unknown = || ConnectError::Endpoint(endpoint.address.clone());
        let path = endpoint.address.strip_prefix("ipc://").ok_or_else(unknown)?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let there = open(path, flags, Mode::empty()).while_doing("finding the channel's socket")?;
        let stat = fstat(&there).while_doing("finding the channel's socket")?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Socket || !endpoint.is_from(stat.st_uid) {
            return Err(unknown());
        }
        let address = format!("ipc:///proc/self/fd/{}", there.as_raw_fd());
        let prove = async {
            socket.connect(&address).await.map_err(refused)?;
            let proof = Bytes::copy_from_slice(settings.token.client_half());
            socket.send(proof.into()).await.map_err(refused)?;
            socket.recv().await.map_err(refused)
        };
        let answer = runtime.wait_for(prove, watch, 0)?;
        if !is(&answer, settings.token.responder_half()) {
            return Err(ConnectError::WrongToken);
        }
        Ok(rounds(socket, runtime, settings))
    }
}

/// Lets the client connect. A client of the same user may already, and root gives the socket away. Any other daemon admits its
/// group, which is how a client of another user reaches its control socket; one that reached it otherwise is refused.
fn let_client_in(path: &Path, client: Owner) -> io::Result<()> {
    let own = Owner::this();
    let mode = if own.uid == client.uid || own.uid == 0 { 0o600 } else { 0o660 };
    set_permissions(path, Permissions::from_mode(mode))?;
    if own.uid == 0 { chown(path, Some(client.uid), Some(client.gid)) } else { Ok(()) }
}

/// The responder's socket and its peers: its client, and others that connected before the client had proved itself.
struct Peers {
    socket: RepSocket,
    events: BoxStream<'static, SocketEvent>,
    /// By identity: the crate reports twice that a peer has left which sends invalid frames.
    connected: HashSet<PeerIdentity>,
}

impl Peers {
    fn new() -> Self {
        let mut socket = RepSocket::new();
        let events = socket.monitor().boxed();
        Self { socket, events, connected: HashSet::new() }
    }

    /// The next message, which the next one sent answers; `None` if a peer has connected, left, or sent an invalid one.
    #[inline(always)]
    async fn next(&mut self) -> Option<ZmqMessage> {
        let event = match select(self.socket.recv(), self.events.next()).await {
            // If a peer broke its connection, an event reports that, too.
            Either::Left((received, _)) => return received.ok(),
            Either::Right((event, _)) => event,
        };
        self.note(event);
        None
    }

    /// Handles the pending events.
    fn catch_up(&mut self) {
        while let Some(Some(event)) = self.events.next().now_or_never() {
            self.note(Some(event));
        }
    }

    fn note(&mut self, event: Option<SocketEvent>) {
        match event {
            Some(SocketEvent::Accepted(_, peer)) => {
                self.connected.insert(peer);
            }
            Some(SocketEvent::Disconnected(peer)) => {
                self.connected.remove(&peer);
            }
            Some(_) => {}
            // The monitor has ended.
            None => self.connected.clear(),
        }
    }

    fn have_left(&self) -> bool {
        self.connected.is_empty()
    }
}

/// Whether the message consists of the one frame `bytes`.
fn is(message: &ZmqMessage, bytes: &[u8]) -> bool {
    message.len() == 1 && message.get(0).is_some_and(|frame| frame == bytes)
}

impl Exchange for ReqSocket {
    #[inline(always)]
    async fn exchange(&mut self, payload: &mut Payload, round: u64) -> Result<(), RoundError> {
        self.send(Bytes::copy_from_slice(payload.ping()).into()).await.map_err(refused)?;
        let message = self.recv().await.map_err(refused)?;
        match message.get(0) {
            Some(frame) if message.len() == 1 => payload.take_pong(frame, round),
            _ => Err(RoundError::WrongPong { round, what: "it is not of one frame" }),
        }
    }
}

/// What an error of the crate means to a round.
fn refused(error: ZmqError) -> RoundError {
    match error {
        // The peer has left, perhaps before the message could be sent.
        ZmqError::NoMessage | ZmqError::ReturnToSender { .. } | ZmqError::Other("Server disconnected") => {
            RoundError::PeerClosed
        }
        other => broken(other),
    }
}
