//! Connections of unauthenticated peers to a mechanism's channels, as its [`Exposure`] allows them.

use std::io;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;

use ipcd::internals::protocol::ChannelSpec;
use ipcd::internals::transports::VsockAddress;
use ipcd::internals::transports::{Exposure, Info, Mechanism, find};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

/// The facts about this method.
pub(crate) fn info(method: &str) -> &'static Info {
    find(method).unwrap().info()
}

/// How an unauthenticated peer could reach this method's channels.
pub(crate) fn exposure(method: &str) -> Exposure {
    info(method).exposure
}

/// A connection to a listening channel, whose address shows its family: an IP address and port, a port of
/// AF_VSOCK, or a path or abstract name.
pub(crate) fn connected(method: &str, address: &str) -> io::Result<OwnedFd> {
    let Exposure::Connections(kind) = exposure(method) else { panic!("{method} does not listen") };
    if let Ok(address) = address.parse::<SocketAddr>() {
        return Ok(TcpStream::connect(address)?.into());
    }
    if let Ok(port) = address.parse() {
        let socket = socket_with(AddressFamily::VSOCK, kind, SocketFlags::CLOEXEC, None)?;
        connect(&socket, &VsockAddress { cid: VsockAddress::LOCAL, port })?;
        return Ok(socket);
    }
    unix(kind, address.trim_start_matches("ipc://"))
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
pub(crate) fn datagrams(address: &str) -> io::Result<OwnedFd> {
    let Ok(ip) = address.parse::<SocketAddr>() else { return unix(SocketType::DGRAM, address) };
    let socket = UdpSocket::bind(if ip.is_ipv6() { "[::1]:0" } else { "127.0.0.1:0" })?;
    socket.connect(ip)?;
    Ok(socket.into())
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
