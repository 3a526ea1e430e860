//! `socketpair`: a pair of connected unix stream sockets, one for the client.

use super::families::stream::{StreamClient, echo, offer_pair, take_pair};
use super::prelude::*;

static INFO: Info = Info {
    name: "socketpair",
    group: Group::Sockets,
    summary: "a pair of unix stream sockets, handed over",
    choose: "Choose it between a process and the child that it starts, or where a unix socket already exists to hand another \
             one over (SCM_RIGHTS): it works both ways through one descriptor, and has no name that other processes could \
             find or that could be left behind.",
    limits: "A stream: messages need framing. Both ends come from one process, which must get one of them to the other.",
    round: "One send and one recv on each side: the same as a unix socket, which it is.",
    ..Info::DEFAULT
};

/// A pair of connected unix stream sockets.
pub(super) struct SocketPair;

impl Mechanism for SocketPair {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn respond(&self, settings: &Settings, supervisor: &mut Supervisor) -> Result<(), ServeError> {
        echo(&offer_pair(SocketType::STREAM, settings, supervisor)?, settings)
    }

    fn connect(&self, settings: &Settings, endpoint: Endpoint, watch: &mut Watch) -> Connected {
        let socket = take_pair(settings, endpoint, watch)?;
        Ok(Box::new(StreamClient::new(socket, settings)?))
    }
}
