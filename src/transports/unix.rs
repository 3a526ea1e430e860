//! `unix`, `unix-seqpacket` and `unix-dgram`: unix sockets of each type.

use super::families::datagram::{self, DatagramClient};
use super::families::stream::{StreamClient, echo, offer, take_pair};
use super::families::unix_socket::{NAMESPACE, connection, datagrams, largest_message};
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
    options: &[NAMESPACE],
    naming: Naming::File,
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
    exposure: Exposure::Peer(SocketType::SEQPACKET),
    ..STREAM_INFO
};

static DATAGRAM_INFO: Info = Info {
    name: "unix-dgram",
    summary: "unix datagram sockets",
    choose: "Choose it for messages from many senders to one receiver, as in system logging: no connection, and \
             none is lost, since a sender waits while the receiver's queue is full.",
    limits: "A message fits into the sender's send buffer (net.core.wmem_default, or SO_SNDBUF). A receiver does not \
             learn that its peer has died. Few messages wait at a receiver (net.unix.max_dgram_qlen).",
    exposure: Exposure::Peer(SocketType::DGRAM),
    ..SEQPACKET_INFO
};

/// A unix stream socket.
pub(super) struct Unix;

impl Mechanism for Unix {
    fn info(&self) -> &'static Info {
        &STREAM_INFO
    }

    fn respond(&self, settings: &Settings, supervisor: &mut Supervisor) -> Result<(), ServeError> {
        let pair = connection(SocketType::STREAM, settings)?;
        echo(&offer(pair, settings, supervisor)?, settings)
    }

    fn connect(&self, settings: &Settings, endpoint: Endpoint, watch: &mut Watch) -> Connected {
        let socket = take_pair(settings, endpoint, watch)?;
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
        let peer = offer(connection(SocketType::SEQPACKET, settings)?, settings, supervisor)?;
        datagram::echo(&peer, SEQPACKET_INFO.delivery, settings)
    }

    fn connect(&self, settings: &Settings, endpoint: Endpoint, watch: &mut Watch) -> Connected {
        let socket = take_pair(settings, endpoint, watch)?;
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
        let socket = offer(datagrams(settings)?, settings, supervisor)?;
        datagram::echo(&socket, DATAGRAM_INFO.delivery, settings)
    }

    fn connect(&self, settings: &Settings, endpoint: Endpoint, watch: &mut Watch) -> Connected {
        let socket = take_pair(settings, endpoint, watch)?;
        Ok(Box::new(DatagramClient::new(socket, DATAGRAM_INFO.delivery, settings)?))
    }
}
