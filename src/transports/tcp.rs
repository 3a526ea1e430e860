//! `tcp` and `tcp6`: a TCP connection over the loopback interface.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};

use super::families::stream::{Socket, StreamClient, accept_peer, echo, prove_to_listener};
use super::prelude::*;
use crate::shortage::{explain, sysctl};

static TCP_INFO: Info = Info {
    name: "tcp",
    group: Group::Sockets,
    summary: "a TCP connection over loopback",
    choose: "Choose it when the peer may move to another host, or when the peer's language supports nothing else. \
             On one host a unix socket does the same at a lower cost.",
    limits: "A stream: messages need framing. Without TCP_NODELAY a small segment may wait for the acknowledgement of \
             the previous one. Any process on the host may connect to the port.",
    round: "One send and one recv on each side; the kernel runs the whole TCP and IP stack for each, in a softirq \
            of the sender.",
    options: &[NODELAY],
    exposure: Exposure::Connections(SocketType::STREAM),
    ..Info::DEFAULT
};

static TCP6_INFO: Info = Info {
    name: "tcp6",
    summary: "a TCP connection over IPv6 loopback",
    choose: "Choose it as you would choose tcp; measure the two to see which IP version is faster on a host, and whether \
             a firewall treats them alike.",
    limits: "As tcp. IPv6 may be disabled on a host or in a container.",
    round: "One send and one recv on each side; the kernel runs the whole TCP and IPv6 stack for each, in a softirq \
            of the sender.",
    ..TCP_INFO
};

const NODELAY: OptionSpec = OptionSpec {
    name: "nodelay",
    values: &["true", "false"],
    help: "tcp: send small segments at once (TCP_NODELAY) instead of waiting for the acknowledgement of earlier ones",
};

/// A TCP connection over IPv4 loopback.
pub(super) static TCP: Tcp = Tcp { info: &TCP_INFO, address: IpAddr::V4(Ipv4Addr::LOCALHOST) };

/// A TCP connection over IPv6 loopback.
pub(super) static TCP6: Tcp = Tcp { info: &TCP6_INFO, address: IpAddr::V6(Ipv6Addr::LOCALHOST) };

/// A TCP connection over the loopback interface with this address.
pub(super) struct Tcp {
    info: &'static Info,
    address: IpAddr,
}

impl Mechanism for Tcp {
    fn info(&self) -> &'static Info {
        self.info
    }

    fn probe(&self) -> Result<(), Unavailable> {
        can_bind(self.address, TcpListener::bind((self.address, 0)).and_then(|bound| bound.local_addr()))
    }

    fn respond(&self, settings: &Settings, supervisor: &mut Supervisor) -> Result<(), ServeError> {
        let listener = TcpListener::bind((self.address, 0))
            .map_err(no_port)
            .while_doing("listening on a port of the loopback interface")?;
        let address = listener.local_addr().while_doing("reading the port")?;
        supervisor.ready(&address.to_string(), &[])?;
        let peer = accept_peer(&listener, &settings.token, supervisor)?;
        drop(listener);
        rustix::net::sockopt::set_tcp_nodelay(&peer.0, settings.is_on(NODELAY.name))
            .while_doing("setting TCP_NODELAY")?;
        supervisor.proven()?;
        echo(&peer, settings)
    }

    fn connect(&self, settings: &Settings, endpoint: Endpoint, watch: &mut Watch) -> Connected {
        let address = endpoint.loopback()?;
        let stream = TcpStream::connect_timeout(&address, Watch::PATIENCE)
            .map_err(no_port)
            .while_doing("connecting")?;
        stream.set_nodelay(settings.is_on(NODELAY.name)).while_doing("setting TCP_NODELAY")?;
        let socket = Socket(stream.into());
        prove_to_listener(&socket, &settings.token, watch)?;
        Ok(Box::new(StreamClient::new(socket, settings)?))
    }
}

/// Explains the error of a socket that asked for any port, if none was left.
pub(super) fn no_port(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::AddrInUse | io::ErrorKind::AddrNotAvailable => {
            let range = sysctl("net/ipv4/ip_local_port_range").unwrap_or_else(|| "for clients".to_owned());
            explain(
                error,
                format_args!(
                    "none of the ports {range} is left; wait, or widen net.ipv4.ip_local_port_range"
                ),
            )
        }
        _ => error,
    }
}

/// Whether a socket can be bound to the loopback interface's `address`, where `bound` is the result of binding one, and be
/// connected to. A lack of ports is temporary: the channel itself reports it.
pub(super) fn can_bind(address: IpAddr, bound: io::Result<SocketAddr>) -> Result<(), Unavailable> {
    match bound.and_then(|bound| UdpSocket::bind((address, 0))?.connect(bound)) {
        Ok(()) => Ok(()),
        Err(error) => match Errno::from_io_error(&error) {
            Some(Errno::ADDRINUSE) => Ok(()),
            // Binding alone succeeds while the interface is down.
            Some(Errno::NETUNREACH) => Err(Unavailable("lo is down (ip link set lo up)".to_owned())),
            Some(Errno::ADDRNOTAVAIL) if address.is_ipv6() => Err(Unavailable(
                "IPv6 is off here (net.ipv6.conf.lo.disable_ipv6), or lo is down or has no ::1".to_owned(),
            )),
            Some(Errno::AFNOSUPPORT) if address.is_ipv6() => Err(Unavailable(
                "the kernel has no IPv6 (ipv6.disable=1, or it was built without)".to_owned(),
            )),
            _ => Err(Unavailable(format!("no socket can be bound to {address}: {error}"))),
        },
    }
}
