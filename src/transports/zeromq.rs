//! `zeromq`: ZeroMQ's request and reply over ipc://, by the pure Rust crate of that name.

use std::collections::HashSet;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{Either, select};
use futures_util::stream::{BoxStream, StreamExt};
use zeromq::util::PeerIdentity;
use zeromq::{
    RepSocket, ReqSocket, Socket, SocketEvent, SocketOptions, SocketRecv, SocketSend, ZmqError, ZmqMessage,
};

use super::async_side::{self, Exchange, Runtime, broken, rounds};
use super::contract::{While, holds_copies};
use super::payload::Payload;
use super::proof::proof_broke_off;
use super::{
    Capabilities, ConnectError, Delivery, Endpoint, Explanation, Group, Info, Mechanism, Reach, RoundError,
    Rounds, ServeError, Served, Settings, Supervisor, Watch, place,
};
use crate::protocol::{Unavailable, Wait};

// Why not libzmq: its bindings (the crate zmq) compile C++ and link libsodium, both of which a machine that builds this
// would need, and it is under the MPL. This crate speaks the same protocol, is maintained, and stays in one thread.
static INFO: Info = Info {
    name: "zeromq",
    aliases: &["zmq"],
    group: Group::Frameworks,
    summary: "ZeroMQ's REQ and REP over ipc://, by the pure Rust crate zeromq under tokio",
    explanation: Explanation {
        choose: "Choose ZeroMQ for its patterns (publish, push, route) between many processes and languages, and for \
                 peers that come and go. For one peer it is a unix stream with a frame around each message.",
        limits: "Messages in order; a REQ waits for its REP. This is the crate zeromq 0.7, which needs no C library and runs \
                 in one thread; libzmq hands each message to an I/O thread and back, which costs two more wake-ups a \
                 side. Spinning keeps tokio's runtime from sleeping.",
        round: "On each side an empty delimiter frame and the payload's frame are written to a unix socket and read from \
                one, with an epoll_wait. A sent message goes through a queue. The payload is copied into a buffer of its \
                own for each round.",
    },
    delivery: Delivery::Message,
    reach: Reach::Group,
    waits: &[Wait::Block, Wait::Spin],
    options: &[],
};

/// ZeroMQ's request and reply.
pub(super) struct ZeroMq;

impl Mechanism for ZeroMq {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::ANY_SIZE
    }

    /// The library keeps copies of its own.
    fn holds(&self, size: usize) -> u64 {
        holds_copies(4, size)
    }

    fn probe(&self) -> Result<(), Unavailable> {
        place::probe_folder()?;
        Ok(async_side::probe()?)
    }

    fn respond(&self, settings: &Settings, supervisor: &mut Supervisor) -> Result<Served, ServeError> {
        let folder = place::Folder::make(settings)?;
        let path = folder.join("zeromq");
        let listener = UnixListener::bind(&path)
            .map_err(|error| folder.failed(error))
            .while_doing("listening on a unix socket")?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))
            .and_then(|()| place::let_client_in(&path, settings.client))
            .while_doing("letting the client in")?;
        let mut runtime = Runtime::with_timers(settings.wait)?;
        let mut peers = Peers::new();
        let bind = async { peers.socket.bind_listener(listener).await.map_err(refused) };
        let bound = runtime.wait_for(bind, supervisor, 0).map_err(proof_broke_off)?;
        supervisor.ready(&format!("ipc://{}", path.display()), &[])?;

        let check_peer = async {
            // A stranger gets no answer.
            while !peers.next().await.is_some_and(|message| is(&message, settings.token.client_half())) {}
            // No more peers; the folder, and the socket file with it, goes.
            peers.socket.unbind(bound).await.map_err(refused)?;
            let proof = Bytes::copy_from_slice(settings.token.responder_half());
            peers.socket.send(proof.into()).await.map_err(refused)
        };
        runtime.wait_for(check_peer, supervisor, 0).map_err(proof_broke_off)?;
        drop(folder);
        supervisor.proven()?;
        // Its client's coming may be told after a stranger's going.
        peers.catch_up();
        runtime.serve(async {
            while !peers.are_gone() {
                if let Some(message) = peers.next().await {
                    // It fails if the peer is gone, which an event tells.
                    let _ = peers.socket.send(message).await;
                }
            }
        });
        Ok(Served::ClientGone)
    }

    fn connect(
        &self,
        settings: &Settings,
        endpoint: Endpoint,
        watch: &mut Watch,
    ) -> Result<Box<dyn Rounds>, ConnectError> {
        let mut runtime = Runtime::with_timers(settings.wait)?;
        let mut options = SocketOptions::default();
        // The watch has one.
        options.no_connect_timeout();
        let mut socket = ReqSocket::with_options(options);
        watch.restart();
        let prove = async {
            socket.connect(&endpoint.address).await.map_err(refused)?;
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

    fn remove_leftovers(&self, name: &str) {
        place::remove_folder(name);
    }
}

/// The responder's socket and who is connected to it: its client, and strangers who came before it had proved itself.
struct Peers {
    socket: RepSocket,
    events: BoxStream<'static, SocketEvent>,
    /// By their names: of one that sends what is no ZeroMQ, the crate tells twice that it is gone.
    connected: HashSet<PeerIdentity>,
}

impl Peers {
    /// None yet.
    fn new() -> Self {
        let mut socket = RepSocket::new();
        let events = socket.monitor().boxed();
        Self { socket, events, connected: HashSet::new() }
    }

    /// The next message, which the next one sent answers; `None` if somebody came, went, or sent what is none.
    #[inline(always)]
    async fn next(&mut self) -> Option<ZmqMessage> {
        let event = match select(self.socket.recv(), self.events.next()).await {
            // If a peer broke its connection, an event tells that, too.
            Either::Left((received, _)) => return received.ok(),
            Either::Right((event, _)) => event,
        };
        self.note(event);
        None
    }

    /// Notes the events that there are.
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
            // Nobody is left to tell.
            None => self.connected.clear(),
        }
    }

    fn are_gone(&self) -> bool {
        self.connected.is_empty()
    }
}

/// Whether the message is of one frame, and that is `bytes`.
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
        // The peer is gone, or was gone before the message could be sent.
        ZmqError::NoMessage | ZmqError::ReturnToSender { .. } | ZmqError::Other("Server disconnected") => {
            RoundError::PeerClosed
        }
        other => broken(other),
    }
}
