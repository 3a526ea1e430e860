//! `vsock`: an AF_VSOCK connection over its loopback.

use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SocketFlags, bind, connect, listen, socket_with};

use super::families::stream::{Socket, StreamClient, accept_peer, echo, prove_to_listener};
use super::prelude::*;
use super::sys::VsockAddress;
use crate::shortage::FORBIDDEN;

static INFO: Info = Info {
    name: "vsock",
    group: Group::Sockets,
    summary: "an AF_VSOCK stream over its loopback",
    choose: "Choose it between a virtual machine and its host, where neither needs a network for it. On one host it \
             is only a way to try such a program out.",
    limits: "A stream: messages need framing. The loopback needs the module vsock_loopback, and its cost is \
             not that of the path into a virtual machine. Any process of the machine may connect to the port.",
    round: "One send and one recv on each side; the loopback passes each packet through a kernel worker thread, which \
            is woken for it.",
    exposure: Exposure::Connections(SocketType::STREAM),
    ..Info::DEFAULT
};

/// Connections that may wait to be accepted. Another one is refused, where a unix socket would let it wait.
const BACKLOG: i32 = 128;

/// An AF_VSOCK connection over its loopback.
pub(super) struct Vsock;

impl Mechanism for Vsock {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn probe(&self) -> Result<(), Unavailable> {
        bound().map(drop).map_err(|error| {
            Unavailable(match error {
                Errno::AFNOSUPPORT => "the kernel has no AF_VSOCK; load its module vsock_loopback".to_owned(),
                Errno::ADDRNOTAVAIL => "AF_VSOCK has no loopback; load the module vsock_loopback".to_owned(),
                Errno::PERM | Errno::ACCESS => format!("no AF_VSOCK socket can be bound: {FORBIDDEN}"),
                other => format!("no AF_VSOCK socket can be bound: {other}"),
            })
        })
    }

    fn respond(&self, settings: &Settings, supervisor: &mut Supervisor) -> Result<(), ServeError> {
        let listener = bound().while_doing("binding an AF_VSOCK socket")?;
        listen(&listener, BACKLOG).while_doing("listening")?;
        let address = VsockAddress::of(&listener).while_doing("reading the port")?;
        supervisor.ready(&address.port.to_string(), &[])?;
        let peer = accept_peer(&listener, &settings.token, supervisor)?;
        drop(listener);
        supervisor.proven()?;
        echo(&peer, settings)
    }

    fn connect(&self, settings: &Settings, endpoint: Endpoint, watch: &mut Watch) -> Connected {
        let socket = Socket(dial(endpoint.parse()?, watch)?);
        prove_to_listener(&socket, &settings.token, watch)?;
        Ok(Box::new(StreamClient::new(socket, settings)?))
    }
}

/// A connection to this port of the loopback.
fn dial(port: u32, watch: &mut Watch) -> Result<OwnedFd, ConnectError> {
    watch.restart();
    loop {
        // A new socket each time: an interrupted attempt may have reached the other side, which would take another one from
        // the same port for a part of it.
        let socket = new_socket().while_doing("making an AF_VSOCK socket")?;
        match connect(&socket, &VsockAddress { cid: VsockAddress::LOCAL, port }) {
            Ok(()) => return Ok(socket),
            Err(Errno::INTR) => watch.check(0)?,
            // Other peers fill the queue, or have kept the kernel from answering within its 2 s. Or the responder has ended,
            // which the daemon reports.
            Err(Errno::CONNRESET | Errno::TIMEDOUT) => {
                if watch.due() {
                    watch.check(0)?;
                }
                std::thread::yield_now();
            }
            Err(error) => Err(error).while_doing("connecting")?,
        }
    }
}

fn new_socket() -> Result<OwnedFd, Errno> {
    socket_with(AddressFamily::VSOCK, SocketType::STREAM, SocketFlags::CLOEXEC, None)
}

/// A socket at any port of the loopback, which only exists if its module does.
fn bound() -> Result<OwnedFd, Errno> {
    let socket = new_socket()?;
    bind(&socket, &VsockAddress { cid: VsockAddress::LOCAL, port: VsockAddress::ANY_PORT })?;
    Ok(socket)
}
