//! `local-socket`: the `interprocess` crate's local socket, through its own reads and writes.

use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd};

use interprocess::local_socket::traits::Stream as _;
use interprocess::local_socket::{
    GenericFilePath, GenericNamespaced, Listener, ListenerOptions, Stream, ToFsName, ToNsName,
};

use super::families::stream::{self, Pipe, accept_peer, echo};
use super::families::unix_socket::{NAMESPACE, Name};
use super::prelude::*;
use super::sys::refuse_descriptors;

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
    reach: Reach::Group,
    options: &[NAMESPACE],
    naming: Naming::Folder,
    exposure: Exposure::Connections(SocketType::STREAM),
    ..Info::DEFAULT
};

/// The `interprocess` crate's local socket.
pub(super) struct LocalSocket;

impl Mechanism for LocalSocket {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn respond(&self, settings: &Settings, supervisor: &mut Supervisor) -> Result<(), ServeError> {
        let name = Name::make(settings)?;
        let listener = local_name(&name.text)
            .and_then(|name| ListenerOptions::new().name(name).create_sync())
            .map_err(|error| name.failed(error))
            .while_doing("listening on a local socket")?;
        let Listener::UdSocket(listener) = listener;
        refuse_descriptors(&listener);
        name.let_client_in(settings)?;
        supervisor.ready(&name.text, &[])?;
        let peer = accept_peer(&listener, &settings.token, supervisor)?;
        drop((listener, name));
        supervisor.proven()?;
        echo(&Local(Stream::UdSocket(peer.0.into())), settings)
    }

    fn connect(&self, settings: &Settings, endpoint: Endpoint, watch: &mut Watch) -> Connected {
        watch.restart();
        let stream = loop {
            let name = local_name(&endpoint.address)
                .map_err(|_| ConnectError::Endpoint(endpoint.address.clone()))?;
            match Stream::connect(name).map_err(|error| (error.kind(), error)) {
                Ok(stream) => break Local(stream),
                // Other peers fill the queue.
                Err((io::ErrorKind::Interrupted, _)) => watch.check(0)?,
                // The responder ended between its announcement and this.
                Err((io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused, _)) => {
                    return Err(RoundError::PeerClosed.into());
                }
                Err((_, error)) => Err(error).while_doing("connecting to the channel's socket")?,
            }
        };
        stream::connect(stream, settings, watch)
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
