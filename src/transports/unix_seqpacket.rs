//! `unix-seqpacket`: a unix socket with connections and messages.

use std::collections::BTreeMap;

use rustix::net::SocketType;

use super::contract::While;
use super::datagram::{self, DatagramClient};
use super::place::{probe_folder, remove_folder};
use super::unix_socket::{NAMESPACE, accept, by_path, dial, message_capabilities};
use super::{
    Capabilities, ConnectError, Delivery, Endpoint, Explanation, Group, Info, Mechanism, Reach, Rounds,
    ServeError, Served, Settings, Supervisor, Watch,
};
use crate::protocol::{Unavailable, Wait};

static INFO: Info = Info {
    name: "unix-seqpacket",
    aliases: &[],
    group: Group::Sockets,
    summary: "a unix socket with connections and messages",
    explanation: Explanation {
        choose: "Choose it instead of a unix stream where messages are what is exchanged: the kernel keeps them apart, in \
                 order and whole, and still tells of the peer's death.",
        limits: "A message fits into the sender's send buffer (net.core.wmem_default, or SO_SNDBUF). macOS and Windows \
                 do not have it.",
        round: "One send and one recv on each side, as with a unix stream; a message is one buffer of the kernel's.",
    },
    delivery: Delivery::Message,
    reach: Reach::Group,
    waits: &[Wait::Block, Wait::Spin, Wait::Adaptive],
    options: &[NAMESPACE],
};

/// A unix socket with connections and messages.
pub(super) struct UnixSeqpacket;

impl Mechanism for UnixSeqpacket {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn capabilities(&self) -> Capabilities {
        message_capabilities()
    }

    fn probe(&self) -> Result<(), Unavailable> {
        Ok(probe_folder()?)
    }

    fn is_probed(&self, options: &BTreeMap<String, String>) -> bool {
        by_path(options)
    }

    fn respond(&self, settings: &Settings, supervisor: &mut Supervisor) -> Result<Served, ServeError> {
        let peer = accept(SocketType::SEQPACKET, settings, supervisor)?;
        supervisor.proven()?;
        datagram::echo(&peer, INFO.delivery, settings)
    }

    fn connect(
        &self,
        settings: &Settings,
        endpoint: Endpoint,
        watch: &mut Watch,
    ) -> Result<Box<dyn Rounds>, ConnectError> {
        let socket = dial(SocketType::SEQPACKET, &endpoint.address, settings, watch)?;
        let client = DatagramClient::new(socket, INFO.delivery, settings);
        Ok(Box::new(client.while_doing("setting the wait strategy")?))
    }

    fn remove_leftovers(&self, name: &str) {
        remove_folder(name);
    }
}
