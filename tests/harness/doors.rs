//! How a stranger gets at the channels of a mechanism, whose door is known: by the mechanism's name.

use std::io;
use std::net::{TcpStream, UdpSocket};
use std::os::fd::OwnedFd;

use ipcd::internals::protocol::ChannelSpec;
use ipcd::internals::transports::Mechanism;
use ipcd::internals::transports::sys::VsockAddress;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

/// How an unauthenticated peer reaches a channel before its client, and with what effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Anybody may connect: strangers are dropped, and the client gets in all the same.
    Connect,
    /// Anybody may send a datagram: those of strangers are dropped.
    Datagram,
    /// Who finds its name may leave a message: those of strangers are dropped.
    Message,
    /// A stream for one peer: that it is not the client's ends the channel.
    OneStream,
    /// Memory for one peer: that it is not the client's ends the channel.
    OneMemory,
    /// Counters for one peer: likewise.
    OneCounter,
    /// No way for a stranger that a test can take.
    None(&'static str),
}

/// How a stranger gets at the channels of this mechanism.
pub(crate) fn way_in(method: &str) -> Way {
    match method {
        "tcp" | "tcp6" | "vsock" | "unix" | "unix-seqpacket" | "epoll" | "io-uring" | "local-socket"
        | "zeromq" => Way::Connect,
        "udp" | "udp6" | "unix-dgram" => Way::Datagram,
        "mq" | "sysv-mq" => Way::Message,
        "socketpair" | "pipe" | "fifo" | "tokio" | "http" | "grpc" | "dbus" => Way::OneStream,
        "shmem" | "memfd" | "mmap" | "futex" => Way::OneMemory,
        "eventfd" => Way::OneCounter,
        "semaphore" => Way::None("only its client gets its descriptor, which is sealed"),
        "process-vm" => Way::None("only its client gets the page's descriptor, which is sealed"),
        "signal" => Way::None("a signal that is not from the client's process is dropped by its sender's id"),
        "iceoryx2" => {
            Way::None("there is one place for one client of the same user, which the library keeps")
        }
        "null" => Way::None("it carries nothing"),
        other => panic!("tests/harness/doors.rs does not say how a stranger gets at \"{other}\""),
    }
}

/// A connection to a listening channel.
pub(crate) fn connected(method: &str, address: &str) -> io::Result<OwnedFd> {
    Ok(match method {
        "tcp" | "tcp6" => TcpStream::connect(address)?.into(),
        "vsock" => {
            let socket = socket_with(AddressFamily::VSOCK, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
            connect(&socket, &VsockAddress { cid: VsockAddress::LOCAL, port: address.parse().unwrap() })?;
            socket
        }
        "unix-seqpacket" => unix(SocketType::SEQPACKET, address)?,
        _ => unix(SocketType::STREAM, address.trim_start_matches("ipc://"))?,
    })
}

/// A unix socket that is connected to a path, or to `@` and an abstract name.
fn unix(kind: SocketType, address: &str) -> io::Result<OwnedFd> {
    let socket = socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
    let name = match address.strip_prefix('@') {
        Some(name) => SocketAddrUnix::new_abstract_name(name.as_bytes())?,
        None => SocketAddrUnix::new(address)?,
    };
    connect(&socket, &name)?;
    Ok(socket)
}

/// A socket whose datagrams go to the channel.
pub(crate) fn datagrams(method: &str, address: &str) -> io::Result<OwnedFd> {
    Ok(match method {
        "unix-dgram" => unix(SocketType::DGRAM, address)?,
        _ => {
            let any = if method == "udp6" { "[::1]:0" } else { "127.0.0.1:0" };
            let socket = UdpSocket::bind(any)?;
            socket.connect(address)?;
            socket.into()
        }
    })
}

/// A channel of this mechanism by an abstract name, where it can have one.
pub(crate) fn by_abstract_name(mechanism: &dyn Mechanism) -> Option<ChannelSpec> {
    let has = mechanism.info().options.iter().any(|option| option.name == "namespace");
    has.then(|| {
        let mut spec = ChannelSpec::new(mechanism.info().name);
        spec.options.insert("namespace".to_owned(), "abstract".to_owned());
        spec
    })
}
