//! `unix-dgram`: unix datagram sockets.

use std::collections::BTreeMap;

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, socket_with};

use super::contract::While;
use super::datagram::{self, DatagramClient};
use super::place::{probe_folder, remove_folder};
use super::stream::Socket;
use super::unix_socket::{NAMESPACE, bound, by_path, connect_to, message_capabilities};
use super::{
    Capabilities, ConnectError, Delivery, Endpoint, Explanation, Group, Info, Mechanism, Reach, Rounds,
    ServeError, Served, Settings, Supervisor, Watch,
};
use crate::protocol::{Unavailable, Wait};

static INFO: Info = Info {
    name: "unix-dgram",
    aliases: &[],
    group: Group::Sockets,
    summary: "unix datagram sockets",
    explanation: Explanation {
        choose: "Choose it for messages from many senders to one receiver, as system logs have them: no connection, and \
                 none is lost, since a sender waits while the receiver's queue is full.",
        limits: "A message fits into the sender's send buffer (net.core.wmem_default, or SO_SNDBUF). A receiver is not \
                 told that its peer has died. Few messages wait at a receiver (net.unix.max_dgram_qlen).",
        round: "One send and one recv on each side; the kernel queues a buffer at the peer and wakes it.",
    },
    delivery: Delivery::Message,
    reach: Reach::Group,
    waits: &[Wait::Block, Wait::Spin, Wait::Adaptive],
    options: &[NAMESPACE],
};

/// Unix datagram sockets.
pub(super) struct UnixDgram;

impl Mechanism for UnixDgram {
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
        let (socket, name) = bound(SocketType::DGRAM, settings)?;
        supervisor.ready(&name.text, &[])?;
        let socket = Socket(socket);
        datagram::meet(&socket, settings, supervisor)?;
        drop(name);
        supervisor.proven()?;
        datagram::echo(&socket, INFO.delivery, settings)
    }

    fn connect(
        &self,
        settings: &Settings,
        endpoint: Endpoint,
        watch: &mut Watch,
    ) -> Result<Box<dyn Rounds>, ConnectError> {
        let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
            .while_doing("making a unix socket")?;
        // The kernel gives it an abstract name of its own, which the answers go to.
        bind(&socket, &SocketAddrUnix::new_unnamed()).while_doing("binding the client's socket")?;
        connect_to(&socket, &endpoint.address, watch)?;
        Ok(Box::new(DatagramClient::prove(socket, INFO.delivery, settings, watch)?))
    }

    fn remove_leftovers(&self, name: &str) {
        remove_folder(name);
    }
}
