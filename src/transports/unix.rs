//! `unix`: a unix stream socket.

use std::collections::BTreeMap;

use rustix::net::SocketType;

use super::contract::While;
use super::place::{probe_folder, remove_folder};
use super::stream::{StreamClient, echo};
use super::unix_socket::{NAMESPACE, accept, by_path, dial};
use super::{
    Capabilities, ConnectError, Delivery, Endpoint, Explanation, Group, Info, Mechanism, Reach, Rounds,
    ServeError, Served, Settings, Supervisor, Watch,
};
use crate::protocol::{Unavailable, Wait};

static INFO: Info = Info {
    name: "unix",
    aliases: &["uds"],
    group: Group::Sockets,
    summary: "a unix stream socket, by path or by abstract name",
    explanation: Explanation {
        choose: "Choose it first between processes of one host: file permissions guard it, the kernel tells who the \
                 peer is, file descriptors can be handed over, and the end of file tells of the peer's death.",
        limits: "A stream: messages need a frame of their own. A path is at most 107 bytes long and outlives a process \
                 that does not remove it; an abstract name does not, but is guarded by no permission and belongs to a \
                 network namespace.",
        round: "One send and one recv on each side; the kernel queues a buffer at the peer and wakes it, and no network \
                stack is run.",
    },
    delivery: Delivery::Stream,
    reach: Reach::Group,
    waits: &[Wait::Block, Wait::Spin, Wait::Adaptive],
    options: &[NAMESPACE],
};

/// A unix stream socket.
pub(super) struct Unix;

impl Mechanism for Unix {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::ANY_SIZE
    }

    fn probe(&self) -> Result<(), Unavailable> {
        Ok(probe_folder()?)
    }

    fn is_probed(&self, options: &BTreeMap<String, String>) -> bool {
        by_path(options)
    }

    fn respond(&self, settings: &Settings, supervisor: &mut Supervisor) -> Result<Served, ServeError> {
        let peer = accept(SocketType::STREAM, settings, supervisor)?;
        supervisor.proven()?;
        echo(&peer, settings)
    }

    fn connect(
        &self,
        settings: &Settings,
        endpoint: Endpoint,
        watch: &mut Watch,
    ) -> Result<Box<dyn Rounds>, ConnectError> {
        let socket = dial(SocketType::STREAM, &endpoint.address, settings, watch)?;
        Ok(Box::new(StreamClient::new(socket, settings).while_doing("setting the wait strategy")?))
    }

    fn remove_leftovers(&self, name: &str) {
        remove_folder(name);
    }
}
