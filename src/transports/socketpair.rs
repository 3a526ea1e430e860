//! `socketpair`: a pair of connected unix stream sockets, one of which is handed to the client.

use std::os::fd::{AsFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use super::contract::While;
use super::stream::{Socket, StreamClient, echo};
use super::{
    Capabilities, ConnectError, Delivery, Endpoint, Explanation, Group, Info, Mechanism, Reach, Rounds,
    ServeError, Served, Settings, Supervisor, Watch, proof,
};
use crate::protocol::Wait;

static INFO: Info = Info {
    name: "socketpair",
    aliases: &[],
    group: Group::Sockets,
    summary: "a pair of unix stream sockets, handed over",
    explanation: Explanation {
        choose: "Choose it between a process and the child that it starts, or where a unix socket is there already to hand \
                 another one over (SCM_RIGHTS): it works both ways through one descriptor, and nothing has a name that \
                 strangers could find or that could be left behind.",
        limits: "A stream: messages need a frame of their own. Both ends come from one process, which must get one of them \
                 to the other.",
        round: "One send and one recv on each side: the same as of a unix socket, which it is.",
    },
    delivery: Delivery::Stream,
    reach: Reach::Anyone,
    waits: &[Wait::Block, Wait::Spin, Wait::Adaptive],
    options: &[],
};

/// A pair of connected unix stream sockets.
pub(super) struct SocketPair;

impl Mechanism for SocketPair {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::ANY_SIZE
    }

    fn respond(&self, settings: &Settings, supervisor: &mut Supervisor) -> Result<Served, ServeError> {
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
            .while_doing("making a pair of sockets")?;
        supervisor.ready("a socket that comes with this", &[theirs.as_fd()])?;
        // Kept open, it would hide the client's death.
        drop(theirs);
        let socket = Socket(ours);
        proof::check_peer(&socket, &settings.token, supervisor)?;
        supervisor.proven()?;
        echo(&socket, settings)
    }

    fn connect(
        &self,
        settings: &Settings,
        endpoint: Endpoint,
        watch: &mut Watch,
    ) -> Result<Box<dyn Rounds>, ConnectError> {
        let [socket]: [OwnedFd; 1] =
            endpoint.descriptors.try_into().map_err(|_| ConnectError::Endpoint(endpoint.address))?;
        let socket = Socket(socket);
        proof::prove(&socket, &settings.token, watch)?;
        Ok(Box::new(StreamClient::new(socket, settings).while_doing("setting the wait strategy")?))
    }
}
