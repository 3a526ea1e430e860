//! `unix`, `unix-seqpacket` and `unix-dgram`: unix sockets of each type.

use rustix::net::{SocketAddrUnix, bind};

use super::families::datagram::{self, DatagramClient};
use super::families::stream::{Socket, StreamClient, echo};
use super::families::unix_socket::{NAMESPACE, accept, bound, connect_to, dial, largest_message, new_socket};
use super::prelude::*;

static STREAM_INFO: Info = Info {
    name: "unix",
    aliases: &["uds"],
    group: Group::Sockets,
    summary: "a unix stream socket, by path or by abstract name",
    choose: "Choose it first between processes of one host: file permissions guard it, the kernel identifies the peer, \
             file descriptors can be handed over, and the end of file reports the peer's death.",
    limits: "A stream: messages need framing. A path is at most 107 bytes long and outlives a process that does not \
             remove it; an abstract name does not, but has no permissions and belongs to a network namespace.",
    round: "One send and one recv on each side; the kernel queues a buffer at the peer and wakes it, and no network \
            stack is run.",
    reach: Reach::Group,
    options: &[NAMESPACE],
    naming: Naming::Folder,
    exposure: Exposure::Connections(SocketType::STREAM),
    ..Info::DEFAULT
};

static SEQPACKET_INFO: Info = Info {
    name: "unix-seqpacket",
    aliases: &[],
    summary: "a unix socket with connections and messages",
    choose: "Choose it instead of a unix stream where messages are exchanged: the kernel keeps them apart, in order and \
             whole, and still reports the peer's death.",
    limits: "A message fits into the sender's send buffer (net.core.wmem_default, or SO_SNDBUF). macOS and Windows \
             do not have it.",
    round: "One send and one recv on each side; the kernel queues a buffer at the peer and wakes it.",
    delivery: Delivery::Message,
    exposure: Exposure::Connections(SocketType::SEQPACKET),
    ..STREAM_INFO
};

static DATAGRAM_INFO: Info = Info {
    name: "unix-dgram",
    summary: "unix datagram sockets",
    choose: "Choose it for messages from many senders to one receiver, as in system logging: no connection, and \
             none is lost, since a sender waits while the receiver's queue is full.",
    limits: "A message fits into the sender's send buffer (net.core.wmem_default, or SO_SNDBUF). A receiver does not \
             learn that its peer has died. Few messages wait at a receiver (net.unix.max_dgram_qlen).",
    exposure: Exposure::Datagrams,
    ..SEQPACKET_INFO
};

/// A unix stream socket.
pub(super) struct Unix;

impl Mechanism for Unix {
    fn info(&self) -> &'static Info {
        &STREAM_INFO
    }

    fn respond(&self, settings: &Settings, supervisor: &mut Supervisor) -> Result<(), ServeError> {
        echo(&accept(SocketType::STREAM, settings, supervisor)?, settings)
    }

    fn connect(&self, settings: &Settings, endpoint: Endpoint, watch: &mut Watch) -> Connected {
        let socket = dial(SocketType::STREAM, &endpoint.address, settings, watch)?;
        Ok(Box::new(StreamClient::new(socket, settings)?))
    }
}

/// A unix socket with connections and messages.
pub(super) struct UnixSeqpacket;

impl Mechanism for UnixSeqpacket {
    fn info(&self) -> &'static Info {
        &SEQPACKET_INFO
    }

    fn largest(&self) -> (usize, Option<String>) {
        (largest_message(), None)
    }

    fn respond(&self, settings: &Settings, supervisor: &mut Supervisor) -> Result<(), ServeError> {
        let peer = accept(SocketType::SEQPACKET, settings, supervisor)?;
        datagram::echo(&peer, SEQPACKET_INFO.delivery, settings)
    }

    fn connect(&self, settings: &Settings, endpoint: Endpoint, watch: &mut Watch) -> Connected {
        let socket = dial(SocketType::SEQPACKET, &endpoint.address, settings, watch)?;
        Ok(Box::new(DatagramClient::new(socket, SEQPACKET_INFO.delivery, settings)?))
    }
}

/// Unix datagram sockets.
pub(super) struct UnixDgram;

impl Mechanism for UnixDgram {
    fn info(&self) -> &'static Info {
        &DATAGRAM_INFO
    }

    fn largest(&self) -> (usize, Option<String>) {
        (largest_message(), None)
    }

    fn respond(&self, settings: &Settings, supervisor: &mut Supervisor) -> Result<(), ServeError> {
        let (socket, name) = bound(SocketType::DGRAM, settings)?;
        supervisor.ready(&name.text, &[])?;
        let socket = Socket(socket);
        datagram::meet(&socket, settings, supervisor)?;
        drop(name);
        supervisor.proven()?;
        datagram::echo(&socket, DATAGRAM_INFO.delivery, settings)
    }

    fn connect(&self, settings: &Settings, endpoint: Endpoint, watch: &mut Watch) -> Connected {
        let socket = new_socket(SocketType::DGRAM)?;
        // The kernel chooses an abstract name, which the answers go to.
        bind(&socket, &SocketAddrUnix::new_unnamed()).while_doing("binding the client's socket")?;
        connect_to(&socket, &endpoint.address, watch)?;
        Ok(Box::new(DatagramClient::prove(socket, DATAGRAM_INFO.delivery, settings, watch)?))
    }
}
