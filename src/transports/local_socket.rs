//! `local-socket`: the `interprocess` crate's local socket, through its own reading and writing.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use interprocess::local_socket::traits::Stream as _;
use interprocess::local_socket::{
    GenericFilePath, GenericNamespaced, Listener, ListenerOptions, Stream, ToFsName, ToNsName,
};
use rustix::io::Errno;

use super::contract::While;
use super::place::{probe_folder, remove_folder};
use super::stream::{Pipe, StreamClient, echo};
use super::unix_socket::{NAMESPACE, Name, by_path};
use super::{
    Alive, Capabilities, ConnectError, Delivery, Endpoint, Explanation, Group, Info, Mechanism, Reach,
    RoundError, Rounds, ServeError, Served, Settings, Supervisor, Watch, proof,
};
use crate::protocol::{Unavailable, Wait};

static INFO: Info = Info {
    name: "local-socket",
    aliases: &[],
    group: Group::Frameworks,
    summary: "the interprocess crate's local socket, portable between systems",
    explanation: Explanation {
        choose: "Choose it for a Rust program that has to run on Windows too: there it is a named pipe, here a unix \
                 socket. Beside unix it tells what the library adds.",
        limits: "A stream: messages need a frame of their own. What only unix sockets can do, such as handing over file \
                 descriptors, is out of reach.",
        round: "One write and one read of the library on each side, each of which is one system call on a unix stream \
                socket.",
    },
    delivery: Delivery::Stream,
    reach: Reach::Group,
    waits: &[Wait::Block, Wait::Spin, Wait::Adaptive],
    options: &[NAMESPACE],
};

/// The `interprocess` crate's local socket.
pub(super) struct LocalSocket;

impl Mechanism for LocalSocket {
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
        let name = Name::make(settings)?;
        let listener = local_name(&name.text)
            .and_then(|name| ListenerOptions::new().name(name).create_sync())
            .map_err(|error| name.failed(error))
            .while_doing("listening on a local socket")?;
        name.let_client_in(settings)?;
        supervisor.ready(&name.text, &[])?;
        let Listener::UdSocket(listener) = listener;
        let peer = proof::accept_peer(&listener, &settings.token, supervisor)?;
        drop((listener, name));
        supervisor.proven()?;
        echo(&Local::from(peer.0), settings)
    }

    fn connect(
        &self,
        settings: &Settings,
        endpoint: Endpoint,
        watch: &mut Watch,
    ) -> Result<Box<dyn Rounds>, ConnectError> {
        watch.restart();
        let stream = loop {
            let name = local_name(&endpoint.address)
                .map_err(|_| ConnectError::Endpoint(endpoint.address.clone()))?;
            match Stream::connect(name) {
                Ok(stream) => break Local(stream),
                // Others fill the queue.
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => watch.check(0)?,
                // The responder ended between its announcement and this.
                Err(error)
                    if matches!(
                        error.kind(),
                        std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused
                    ) =>
                {
                    return Err(RoundError::PeerClosed.into());
                }
                Err(error) => Err(error).while_doing("connecting to the channel's socket")?,
            }
        };
        proof::prove(&stream, &settings.token, watch)?;
        Ok(Box::new(StreamClient::new(stream, settings).while_doing("setting the wait strategy")?))
    }

    fn remove_leftovers(&self, name: &str) {
        remove_folder(name);
    }
}

/// The library's name for what the client is told.
fn local_name(text: &str) -> std::io::Result<interprocess::local_socket::Name<'_>> {
    match text.strip_prefix('@') {
        Some(name) => name.to_ns_name::<GenericNamespaced>(),
        None => text.to_fs_name::<GenericFilePath>(),
    }
}

/// A connected local socket. What it sends and receives goes through the library.
struct Local(Stream);

impl From<OwnedFd> for Local {
    fn from(socket: OwnedFd) -> Self {
        Self(Stream::UdSocket(socket.into()))
    }
}

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

    fn writer(&self) -> BorrowedFd<'_> {
        self.reader()
    }
}

/// The library passes on what the system says.
fn system_error(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}
