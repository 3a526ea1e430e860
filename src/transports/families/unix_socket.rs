//! Unix sockets that are connected by a name: by path, or in the abstract namespace. The responder connects both ends, and hands
//! one to its client.

use std::os::fd::OwnedFd;
use std::sync::OnceLock;

use rustix::io::{Errno, retry_on_intr};
use rustix::net::sockopt::socket_send_buffer_size;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, connect,
    getsockname, listen, recv, send, socket_with, socketpair,
};

use super::datagram::drop_queued;
use crate::transports::Settings;
use crate::transports::contract::{CallError, Capabilities, OptionSpec, While};
use crate::transports::place::Entry;
use crate::transports::sys::peer;

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

/// A socket's name while a connection to it is made. A path is removed with this value; an abstract name goes with the socket.
#[derive(Debug)]
pub(crate) struct Name {
    /// A path, or `@` and an abstract name.
    text: String,
    entry: Option<Entry>,
}

impl Name {
    /// The name of this channel's socket, in the namespace that the option names; a path if the mechanism has no such option.
    pub(crate) fn of(settings: &Settings) -> Result<Self, CallError> {
        if is_abstract(settings.options.get(NAMESPACE.name).copied()) {
            return Ok(Self { text: format!("@{}", settings.name), entry: None });
        }
        let entry = Entry::of(settings, "");
        let text = entry.0.to_str().map(str::to_owned).ok_or(Errno::ILSEQ).while_doing(NAMING)?;
        Ok(Self { text, entry: Some(entry) })
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The error of binding a socket to it.
    pub(crate) fn failed(&self, error: impl Into<std::io::Error>) -> std::io::Error {
        match &self.entry {
            Some(entry) => entry.failed(error),
            None => error.into(),
        }
    }

    fn bind(&self, socket: &OwnedFd) -> Result<SocketAddrUnix, CallError> {
        let address = address(&self.text).while_doing(NAMING)?;
        bind(socket, &address).map_err(|error| self.failed(error)).while_doing(NAMING)?;
        Ok(address)
    }
}

/// More than the connections of other processes that can arrive before this process makes its own, one system call later.
const BACKLOG: i32 = 128;

const NAMING: &str = "binding the socket to its name";
const CONNECTING: &str = "connecting to the channel's own socket";

/// Both ends of a connection: the responder's and its client's. The socket that listened and its name are gone.
pub(crate) fn connection(kind: SocketType, settings: &Settings) -> Result<(OwnedFd, OwnedFd), CallError> {
    let (listener, theirs) = (new_socket(kind)?, new_socket(kind)?);
    let name = Name::of(settings)?;
    let address = name.bind(&listener)?;
    listen(&listener, BACKLOG).while_doing(CONNECTING)?;
    retry_on_intr(|| connect(&theirs, &address)).while_doing(CONNECTING)?;
    loop {
        let ours = retry_on_intr(|| accept_with(&listener, SocketFlags::CLOEXEC)).while_doing(CONNECTING)?;
        // An abstract name has no permissions: another process may have been faster.
        if peer(&ours).while_doing(CONNECTING)?.pid == std::process::id() {
            return Ok((ours, theirs));
        }
    }
}

/// Two datagram sockets that are connected to each other: the responder's, whose name is gone if it was a path, and its
/// client's.
pub(crate) fn datagrams(settings: &Settings) -> Result<(OwnedFd, OwnedFd), CallError> {
    let (ours, theirs) = (new_socket(SocketType::DGRAM)?, new_socket(SocketType::DGRAM)?);
    let name = Name::of(settings)?;
    let address = name.bind(&ours)?;
    // The kernel chooses an abstract name, which the answers go to.
    bind(&theirs, &SocketAddrUnix::new_unnamed()).while_doing(NAMING)?;
    connect(&theirs, &address).while_doing(CONNECTING)?;
    connect(&ours, &getsockname(&theirs).while_doing(CONNECTING)?).while_doing(CONNECTING)?;
    // From here on the kernel drops other senders' datagrams.
    for socket in [&ours, &theirs] {
        drop_queued(socket, &mut [0]);
    }
    Ok((ours, theirs))
}

/// A unix socket without a name.
fn new_socket(kind: SocketType) -> Result<OwnedFd, CallError> {
    socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).while_doing("making a unix socket")
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
