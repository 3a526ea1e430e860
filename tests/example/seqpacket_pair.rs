//! `seqpacket-pair`: a pair of connected unix sockets that keep messages apart, one for the client.
//!
//! The example of CONTRIBUTING.md. The feature `_example` adds it to the list, and the tests treat it like any other.

use super::families::datagram::{self, DatagramClient};
use super::families::stream::{offer_pair, take_pair};
use super::families::unix_socket::largest_message;
use super::prelude::*;

static INFO: Info = Info {
    name: "seqpacket-pair",
    group: Group::Sockets,
    summary: "a pair of unix sockets that keep messages apart, handed over",
    choose: "Choose it between a process and the child that it starts, where messages are exchanged: the kernel keeps them \
             apart, and nothing has a name.",
    limits: "A message fits into the sender's send buffer (net.core.wmem_default, or SO_SNDBUF).",
    round: "One send and one recv on each side; the kernel queues a buffer at the peer and wakes it.",
    // What differs from the common case, which is a stream: the tests derive from it what arrives, and how a process
    // without the channel's token could get in.
    delivery: Delivery::Message,
    exposure: Exposure::Peer(SocketType::SEQPACKET),
    ..Info::DEFAULT
};

/// A pair of connected unix sockets.
pub(super) struct SeqpacketPair;

impl Mechanism for SeqpacketPair {
    fn info(&self) -> &'static Info {
        &INFO
    }

    /// Only because a setting of the host limits it.
    fn largest(&self) -> (usize, Option<String>) {
        (largest_message(), None)
    }

    fn respond(&self, settings: &Settings, supervisor: &mut Supervisor) -> Result<(), ServeError> {
        // Makes the pair, announces it, checks the peer's token, and reports that no name is left.
        let socket = offer_pair(SocketType::SEQPACKET, settings, supervisor)?;
        datagram::echo(&socket, INFO.delivery, settings)
    }

    fn connect(&self, settings: &Settings, endpoint: Endpoint, watch: &mut Watch) -> Connected {
        let socket = take_pair(settings, endpoint, watch)?;
        Ok(Box::new(DatagramClient::new(socket, INFO.delivery, settings)?))
    }
}
