//! `dbus`: a D-Bus method call from peer to peer over a unix socket, by zbus.

use std::os::unix::net::UnixStream;

use serde_bytes::{ByteBuf, Bytes};
use zbus::Connection;
use zbus::connection::{AuthMechanism, Builder};

use super::families::async_side::{self, Exchange, broken, offer, rounds, take};
use super::prelude::*;

static INFO: Info = Info {
    name: "dbus",
    group: Group::Frameworks,
    summary: "a D-Bus method call from peer to peer over a unix socket, by zbus under tokio",
    choose: "Choose D-Bus for the desktop's and systemd's own interfaces, and where a service must be found, described \
             and started by name. Through a bus, a third process receives and sends every message once more: what is \
             measured here is without one.",
    limits: "A message carries 128 MiB and an array 64 MiB at most. The payload is an array of bytes. zbus copies it \
             into a message and out of it. Both sides run tokio's current-thread runtime, in which zbus runs its own tasks; the responder answers a call before it takes the next.",
    round: "The client builds a message with its header fields and waits for the reply of that serial number; the \
            responder finds the object, the interface and the method by their names, and replies. A sendmsg, \
            two recvmsgs (the header's fixed part, and the rest) and one or two epoll_waits on each side.",
    delivery: Delivery::Message,
    waits: &[Wait::Block, Wait::Spin],
    copies: 5,
    ..Info::DEFAULT
};

const PATH: &str = "/ipcd/Echo";
const INTERFACE: &str = "ipcd.Echo";
const METHOD: &str = "Echo";

/// D-Bus from peer to peer.
pub(super) struct DBus;

impl Mechanism for DBus {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn probe(&self) -> Result<(), Unavailable> {
        Ok(async_side::probe()?)
    }

    fn respond(&self, settings: &Settings, supervisor: &mut Supervisor) -> Result<(), ServeError> {
        let (runtime, socket) = offer(settings, supervisor)?;
        runtime.serve(async {
            let connection = peer(socket.into())
                .server(zbus::Guid::generate())
                .serve_at(PATH, Echo)
                .build()
                .await
                .map_err(io::Error::other)
                .while_doing("performing the D-Bus handshake")?;
            connection.closed().await;
            Ok(())
        })
    }

    fn connect(&self, settings: &Settings, endpoint: Endpoint, watch: &mut Watch) -> Connected {
        let (mut runtime, socket) = take(settings, endpoint, watch)?;
        let shake_hands = async { peer(socket.into()).build().await.map_err(broken) };
        let connection = runtime.wait_for(shake_hands, watch, 0)?;
        Ok(rounds(connection, runtime, settings))
    }
}

/// Either end. The peer has proved itself, whatever its user: D-Bus need not authenticate it again.
fn peer<'a>(stream: UnixStream) -> Builder<'a> {
    Builder::unix_stream(stream).p2p().auth_mechanism(AuthMechanism::Anonymous)
}

/// The object that is called.
struct Echo;

// One call at a time: several would each need the memory that the channel has for one. zbus limits neither how many are
// queued nor how long each is; the bound on the responder's memory does.
#[zbus::interface(name = "ipcd.Echo", spawn = false)]
impl Echo {
    fn echo(&self, bytes: ByteBuf) -> ByteBuf {
        bytes
    }
}

/// One method call, and its reply.
impl Exchange for Connection {
    #[inline(always)]
    async fn exchange(&mut self, payload: &mut Payload, round: u64) -> Result<(), RoundError> {
        let ping = Bytes::new(payload.ping());
        let reply =
            self.call_method(None::<&str>, PATH, Some(INTERFACE), METHOD, &ping).await.map_err(broken)?;
        let body = reply.body();
        let pong: &Bytes = body.deserialize().map_err(broken)?;
        payload.take_pong(pong, round)
    }
}
