//! Unix sockets that have a name until the client has proved itself: by path, in the channel's folder, or in the
//! abstract namespace.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::OnceLock;

use rustix::fs::{Mode, chmod};
use rustix::io::Errno;
use rustix::net::sockopt::socket_send_buffer_size;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen,
    recv, send, socket_with, socketpair,
};

use super::stream::{Socket, accept_peer, prove};
use crate::transports::contract::{
    CallError, Capabilities, ConnectError, OptionSpec, RoundError, ServeError, While,
};
use crate::transports::place::{Folder, let_client_in};
use crate::transports::sys::refuse_descriptors;
use crate::transports::{Alive, Settings, Supervisor, Watch};

/// The namespace of the socket's name.
pub(crate) const NAMESPACE: OptionSpec = OptionSpec {
    name: "namespace",
    values: &["path", ABSTRACT],
    help: "unix sockets: find the socket by a path, or by an abstract name, which no permission guards",
};

const ABSTRACT: &str = "abstract";

/// Whether this value of the option, if it is set, is an abstract name, which needs no folder.
pub(crate) fn is_abstract(namespace: Option<&str>) -> bool {
    namespace == Some(ABSTRACT)
}

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 16;

/// A socket's name. A path is removed with this value; an abstract name goes with the socket.
#[derive(Debug)]
pub(crate) struct Name {
    /// As announced to the client: a path, or `@` and an abstract name.
    pub(crate) text: String,
    folder: Option<Folder>,
}

impl Name {
    /// The name of this channel's socket, in the namespace that the option names; a path if the mechanism has no such option.
    /// A path's folder exists then, and is empty.
    pub(crate) fn make(settings: &Settings) -> Result<Self, CallError> {
        if is_abstract(settings.options.get(NAMESPACE.name).copied()) {
            return Ok(Self { text: format!("@{}", settings.name), folder: None });
        }
        let folder = Folder::make(settings)?;
        let text = folder.join("socket").into_os_string().into_string();
        let text = text.map_err(|_| Errno::ILSEQ).while_doing("naming a socket in the channel's folder")?;
        Ok(Self { text, folder: Some(folder) })
    }

    /// The error of binding a socket to it.
    pub(crate) fn failed(&self, error: impl Into<std::io::Error>) -> std::io::Error {
        match &self.folder {
            Some(folder) => folder.failed(error),
            None => error.into(),
        }
    }

    /// Lets the client alone connect to the socket that now has this name.
    pub(crate) fn let_client_in(&self, settings: &Settings) -> Result<(), CallError> {
        if self.folder.is_none() {
            return Ok(());
        }
        chmod(&*self.text, Mode::RUSR | Mode::WUSR).while_doing("closing the socket to others")?;
        let_client_in(Path::new(&self.text), settings.client).while_doing("opening the socket to the client")
    }
}

/// A new socket under the channel's name.
pub(crate) fn bound(kind: SocketType, settings: &Settings) -> Result<(OwnedFd, Name), CallError> {
    let socket = new_socket(kind)?;
    // Peers without the token could delay this process by what closing them takes.
    refuse_descriptors(&socket);
    let name = Name::make(settings)?;
    let address = address(&name.text).while_doing("naming the socket")?;
    bind(&socket, &address)
        .map_err(|error| name.failed(error))
        .while_doing("binding the socket to its name")?;
    name.let_client_in(settings)?;
    Ok((socket, name))
}

/// The responder's side of a connection: listens, announces, and returns the peer that knows the token. Then no name is
/// left, and the supervisor knows.
pub(crate) fn accept(
    kind: SocketType,
    settings: &Settings,
    supervisor: &mut Supervisor,
) -> Result<Socket, ServeError> {
    let (listener, name) = bound(kind, settings)?;
    listen(&listener, BACKLOG).while_doing("listening")?;
    supervisor.ready(&name.text, &[])?;
    let peer = accept_peer(&listener, &settings.token, supervisor)?;
    drop((listener, name));
    supervisor.proven()?;
    Ok(peer)
}

/// The client's side of a connection, whose peer has proved itself.
pub(crate) fn dial(
    kind: SocketType,
    name: &str,
    settings: &Settings,
    watch: &mut Watch,
) -> Result<Socket, ConnectError> {
    let socket = new_socket(kind)?;
    connect_to(&socket, name, watch)?;
    let socket = Socket(socket);
    prove(&socket, &settings.token, watch)?;
    Ok(socket)
}

/// A unix socket without a name.
pub(crate) fn new_socket(kind: SocketType) -> Result<OwnedFd, CallError> {
    socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).while_doing("making a unix socket")
}

/// Connects to the socket of this name.
pub(crate) fn connect_to(socket: &OwnedFd, name: &str, watch: &mut Watch) -> Result<(), ConnectError> {
    let address = address(name).map_err(|_| ConnectError::Endpoint(name.to_owned()))?;
    watch.restart();
    loop {
        match connect(socket, &address) {
            Ok(()) => return Ok(()),
            // Other peers fill the queue.
            Err(Errno::INTR) => watch.check(0)?,
            // The responder ended between its announcement and this.
            Err(Errno::NOENT | Errno::CONNREFUSED) => return Err(RoundError::PeerClosed.into()),
            Err(error) => Err(error).while_doing("connecting to the channel's socket")?,
        }
    }
}

/// The address of a name.
fn address(name: &str) -> Result<SocketAddrUnix, Errno> {
    match name.strip_prefix('@') {
        Some(name) => SocketAddrUnix::new_abstract_name(name.as_bytes()),
        None if name.starts_with('/') => SocketAddrUnix::new(name),
        None => Err(Errno::INVAL),
    }
}

/// Slightly less than the kernel's default send buffer, which few hosts change.
const DEFAULT_LARGEST: usize = 200 << 10;

/// The largest message that the kernel takes from a socket with the default send buffer (`net.core.wmem_default`):
/// the buffer's size less what the kernel keeps for itself, found by trying.
pub(crate) fn largest_message() -> usize {
    static LARGEST: OnceLock<usize> = OnceLock::new();
    // Without descriptors or memory for the trial, the channel itself fails with the reason; the next call tries again.
    LARGEST
        .get()
        .copied()
        .or_else(|| find_largest_message().ok())
        .map_or(DEFAULT_LARGEST, |largest| *LARGEST.get_or_init(|| largest))
}

fn find_largest_message() -> Result<usize, Errno> {
    let limit = try_pair(None)?.min(Capabilities::MAX_SIZE);
    let (mut fits, mut too_long) = (0, limit + 1);
    while too_long - fits > 1 {
        let middle = fits + (too_long - fits) / 2;
        match try_pair(Some(middle)) {
            Ok(_) => fits = middle,
            Err(Errno::MSGSIZE | Errno::NOBUFS) => too_long = middle,
            Err(error) => return Err(error),
        }
    }
    Ok(fits.max(Capabilities::ANY_SIZE.min_size))
}

/// Sends a message through a fresh pair of sockets, and returns the size of the sender's buffer.
fn try_pair(message_len: Option<usize>) -> Result<usize, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
    if let Some(len) = message_len {
        send(&ours, &vec![0; len], SendFlags::NOSIGNAL)?;
        recv(&theirs, &mut [0_u8; 1], RecvFlags::empty())?;
    }
    socket_send_buffer_size(&ours)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_message_is_nearly_the_send_buffer() {
        let largest = largest_message();
        let buffer = try_pair(None).unwrap();
        assert!(
            largest <= buffer && largest + 1024 > buffer.min(Capabilities::MAX_SIZE),
            "{largest} {buffer}"
        );
        try_pair(Some(largest)).unwrap();
        if largest < Capabilities::MAX_SIZE {
            try_pair(Some(largest + 1)).unwrap_err();
        }
    }

    #[test]
    fn a_name_is_a_path_or_abstract() {
        assert_eq!(address("@a").unwrap().abstract_name(), Some(&b"a"[..]));
        assert_eq!(address("/a/b").unwrap().path_bytes(), Some(&b"/a/b"[..]));
        assert_eq!(address("a").unwrap_err(), Errno::INVAL);
        assert_eq!(address(&format!("/{}", "a".repeat(200))).unwrap_err(), Errno::NAMETOOLONG);
    }
}
