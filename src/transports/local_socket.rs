//! `local-socket`: the `interprocess` crate's local socket, through its own reads and writes.

use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use interprocess::local_socket::traits::{Listener as _, Stream as _};
use interprocess::local_socket::{
    GenericFilePath, GenericNamespaced, ListenerOptions, Stream, ToFsName, ToNsName,
};

use super::families::stream::{Pipe, StreamClient, echo, offer, take_pair};
use super::families::unix_socket::{NAMESPACE, Name};
use super::prelude::*;
use super::sys::peer;

static INFO: Info = Info {
    name: "local-socket",
    group: Group::Frameworks,
    summary: "the interprocess crate's local socket, portable between systems",
    choose: "Choose it for a Rust program that must also run on Windows: there it is a named pipe, here a unix \
             socket. Compared with unix it shows what the library adds.",
    limits: "A stream: messages need framing. Features of unix sockets alone, such as handing over file \
             descriptors, are out of reach.",
    round: "One write and one read of the library on each side, each of which is one system call on a unix stream \
            socket.",
    options: &[NAMESPACE],
    naming: Naming::File,
    ..Info::DEFAULT
};

/// The `interprocess` crate's local socket.
pub(super) struct LocalSocket;

impl Mechanism for LocalSocket {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn respond(&self, settings: &Settings, supervisor: &mut Supervisor) -> Result<(), ServeError> {
        let socket = offer(connection(settings)?, settings, supervisor)?;
        echo(&Local(Stream::UdSocket(socket.0.into())), settings)
    }

    fn connect(&self, settings: &Settings, endpoint: Endpoint, watch: &mut Watch) -> Connected {
        let socket = take_pair(settings, endpoint, watch)?;
        Ok(Box::new(StreamClient::new(Local(Stream::UdSocket(socket.0.into())), settings)?))
    }
}

/// Both ends of a connection, made by the library: the responder's and its client's.
fn connection(settings: &Settings) -> Result<(OwnedFd, OwnedFd), CallError> {
    const CONNECTING: &str = "connecting a local socket";
    let name = Name::of(settings)?;
    let listener = local_name(name.text())
        .and_then(|name| ListenerOptions::new().name(name).create_sync())
        .map_err(|error| name.failed(error))
        .while_doing(CONNECTING)?;
    let theirs = local_name(name.text()).and_then(Stream::connect).while_doing(CONNECTING)?;
    loop {
        let Stream::UdSocket(ours) = listener.accept().while_doing(CONNECTING)?;
        // An abstract name has no permissions: another process may have been faster.
        if peer(&ours).while_doing(CONNECTING)?.pid == std::process::id() {
            let Stream::UdSocket(theirs) = theirs;
            return Ok((ours.into(), theirs.into()));
        }
    }
}

/// The library's name for an announced one.
fn local_name(text: &str) -> io::Result<interprocess::local_socket::Name<'_>> {
    match text.strip_prefix('@') {
        Some(name) => name.to_ns_name::<GenericNamespaced>(),
        None => text.to_fs_name::<GenericFilePath>(),
    }
}

/// A connected local socket, which sends and receives through the library.
struct Local(Stream);

impl Pipe for Local {
    #[inline(always)]
    fn receive(&self, buffer: &mut [u8]) -> Result<usize, Errno> {
        (&self.0).read(buffer).map_err(|error| system_error(&error))
    }

    #[inline(always)]
    fn send(&self, bytes: &[u8]) -> Result<usize, Errno> {
        (&self.0).write(bytes).map_err(|error| system_error(&error))
    }

    fn reader(&self) -> BorrowedFd<'_> {
        let Stream::UdSocket(stream) = &self.0;
        stream.as_fd()
    }
}

/// The library passes the system's errors on.
fn system_error(error: &io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}
