//! `dbus`: a D-Bus method call from peer to peer over a unix socket, by zbus.

use std::os::unix::net::UnixStream;

use serde_bytes::{ByteBuf, Bytes};
use zbus::Connection;
use zbus::connection::{AuthMechanism, Builder};

use super::async_side::{self, Exchange, broken, offer, rounds, take};
use super::contract::{While, holds_copies};
use super::payload::Payload;
use super::{
    Capabilities, ConnectError, Delivery, Endpoint, Explanation, Group, Info, Mechanism, Reach, RoundError,
    Rounds, ServeError, Served, Settings, Supervisor, Watch,
};
use crate::protocol::{Unavailable, Wait};

static INFO: Info = Info {
    name: "dbus",
    aliases: &[],
    group: Group::Frameworks,
    summary: "a D-Bus method call from peer to peer over a unix socket, by zbus under tokio",
    explanation: Explanation {
        choose: "Choose D-Bus for the desktop's and systemd's own interfaces, and where a service shall be found, described \
                 and started by name. Through a bus, a third process receives and sends every message once more: what is \
                 measured here is without one.",
        limits: "A message carries 128 MiB and an array 64 MiB at most. The payload is an array of bytes. zbus copies it \
                 into a message and out of it. Both sides run tokio's current-thread runtime, in which zbus has tasks of \
                 its own; the responder answers a call before it takes the next.",
        round: "The client builds a message with its header fields and waits for the reply of that serial number; the \
                responder finds the object, the interface and the method by their names, and replies. A sendmsg, \
                two recvmsgs (the header's fixed part, and the rest) and one or two epoll_waits on each side.",
    },
    delivery: Delivery::Message,
    reach: Reach::Anyone,
    waits: &[Wait::Block, Wait::Spin],
    options: &[],
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

    fn capabilities(&self) -> Capabilities {
        Capabilities::ANY_SIZE
    }

    /// The library keeps copies of its own.
    fn holds(&self, size: usize) -> u64 {
        holds_copies(5, size)
    }

    fn probe(&self) -> Result<(), Unavailable> {
        Ok(async_side::probe()?)
    }

    fn respond(&self, settings: &Settings, supervisor: &mut Supervisor) -> Result<Served, ServeError> {
        let (runtime, socket) = offer(settings, supervisor)?;
        runtime.serve(async {
            let connection = peer(socket.into())
                .server(zbus::Guid::generate())
                .serve_at(PATH, Echo)
                .build()
                .await
                .map_err(std::io::Error::other)
                .while_doing("shaking hands as D-Bus does")?;
            connection.closed().await;
            Ok(Served::ClientGone)
        })
    }

    fn connect(
        &self,
        settings: &Settings,
        endpoint: Endpoint,
        watch: &mut Watch,
    ) -> Result<Box<dyn Rounds>, ConnectError> {
        let (mut runtime, socket) = take(settings, endpoint, watch)?;
        let shake_hands = async { peer(socket.into()).build().await.map_err(broken) };
        let connection = runtime.wait_for(shake_hands, watch, 0)?;
        Ok(rounds(connection, runtime, settings))
    }
}

/// Either end. The peer has proved itself, whatever its user: D-Bus need not ask again.
fn peer<'a>(stream: UnixStream) -> Builder<'a> {
    Builder::unix_stream(stream).p2p().auth_mechanism(AuthMechanism::Anonymous)
}

/// The object that is called.
struct Echo;

// A call at a time: several would each hold what the channel has room for once. How many are queued, and how long each is,
// zbus leaves to the bound of the responder's memory.
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
