//! `zeromq`: ZeroMQ's request and reply over ipc://, by the pure Rust crate of that name.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::{Either, select};
use zeromq::{
    RepSocket, ReqSocket, Socket, SocketEvent, SocketOptions, SocketRecv, SocketSend, ZmqError, ZmqMessage,
};

use super::async_side::{Exchange, Runtime, broken, rounds};
use super::contract::{While, holds_copies};
use super::payload::Payload;
use super::proof::proof_broke_off;
use super::{
    Capabilities, ConnectError, Delivery, Endpoint, Explanation, Group, Info, Mechanism, Reach, RoundError,
    Rounds, ServeError, Served, Settings, Supervisor, Watch, place,
};
use crate::protocol::Wait;

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
        let mut socket = RepSocket::new();
        let mut events = socket.monitor();
        let bind = async { socket.bind_listener(listener).await.map_err(refused) };
        let bound = runtime.wait_for(bind, supervisor, 0).map_err(proof_broke_off)?;
        supervisor.ready(&format!("ipc://{}", path.display()), &[])?;

        let check_peer = async {
            loop {
                // A stranger gets no answer.
                match socket.recv().await {
                    Ok(message) if is(&message, settings.token.client_half()) => break,
                    Ok(_) | Err(_) => {}
                }
            }
            // No more peers; the folder, and the socket file with it, goes.
            socket.unbind(bound).await.map_err(refused)?;
            socket.send(Bytes::copy_from_slice(settings.token.responder_half()).into()).await.map_err(refused)
        };
        runtime.wait_for(check_peer, supervisor, 0).map_err(proof_broke_off)?;
        drop(folder);
        supervisor.proven()?;
        runtime.serve(async {
            // What had connected before the proof.
            let mut peers = 0;
            loop {
                let next = match select(socket.recv(), events.next()).await {
                    Either::Left((received, _)) => Either::Left(received),
                    Either::Right((event, _)) => Either::Right(event),
                };
                let event = match next {
                    Either::Left(Ok(message)) => {
                        // It fails if the peer is gone, which an event tells.
                        let _ = socket.send(message).await;
                        continue;
                    }
                    // A peer that broke its connection: an event tells that, too.
                    Either::Left(Err(_)) => continue,
                    Either::Right(event) => event,
                };
                match event {
                    Some(SocketEvent::Accepted(..)) => peers += 1,
                    Some(SocketEvent::Disconnected(_)) => peers -= 1,
                    Some(_) => continue,
                    None => return Ok(Served::ClientGone),
                }
                if peers == 0 {
                    return Ok(Served::ClientGone);
                }
            }
        })
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
