//! `tcp`: a TCP connection over the loopback interface.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};

use rustix::io::Errno;

use super::contract::While;
use super::stream::{Socket, StreamClient, echo};
use super::{
    Capabilities, ConnectError, Delivery, Endpoint, Explanation, Group, Info, Mechanism, OptionSpec, Reach,
    Rounds, ServeError, Served, Settings, Supervisor, Watch, proof,
};
use crate::protocol::{Unavailable, Wait};
use crate::shortage::{explain, sysctl};

static INFO: Info = Info {
    name: "tcp",
    aliases: &[],
    group: Group::Sockets,
    summary: "a TCP connection over loopback",
    explanation: Explanation {
        choose: "Choose it when the peer may one day be on another host, or when the peer's language knows nothing else. \
                 On one host a unix socket does the same for less.",
        limits: "A stream: messages need a frame of their own. Without TCP_NODELAY a small segment may wait for the \
                 acknowledgement of the one before. Any process on the host may connect to the port.",
        round: "One send and one recv on each side; the kernel runs the whole TCP and IP stack for each, in a softirq \
                of the sender.",
    },
    delivery: Delivery::Stream,
    reach: Reach::Anyone,
    waits: &[Wait::Block, Wait::Spin, Wait::Adaptive],
    options: &[NODELAY],
};

pub(super) const NODELAY: OptionSpec = OptionSpec {
    name: "nodelay",
    values: &["true", "false"],
    help: "tcp: send small segments at once (TCP_NODELAY) instead of waiting for the acknowledgement of earlier ones",
};

/// A TCP connection over IPv4 loopback.
pub(super) static TCP: TcpOver = TcpOver { info: &INFO, address: IpAddr::V4(Ipv4Addr::LOCALHOST) };

/// A TCP connection over loopback.
pub(super) struct TcpOver {
    pub(super) info: &'static Info,
    /// The loopback interface's address.
    pub(super) address: IpAddr,
}

impl Mechanism for TcpOver {
    fn info(&self) -> &'static Info {
        self.info
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::ANY_SIZE
    }

    fn probe(&self) -> Result<(), Unavailable> {
        can_bind(self.address, TcpListener::bind((self.address, 0)).and_then(|bound| bound.local_addr()))
    }

    fn respond(&self, settings: &Settings, supervisor: &mut Supervisor) -> Result<Served, ServeError> {
        let listener = TcpListener::bind((self.address, 0))
            .map_err(no_port)
            .while_doing("listening on a port of the loopback interface")?;
        let address = listener.local_addr().while_doing("asking for the port")?;
        supervisor.ready(&address.to_string(), &[])?;
        let peer = proof::accept_peer(&listener, &settings.token, supervisor)?;
        drop(listener);
        rustix::net::sockopt::set_tcp_nodelay(&peer.0, settings.is_on(NODELAY.name))
            .while_doing("setting TCP_NODELAY")?;
        supervisor.proven()?;
        echo(&peer, settings)
    }

    fn connect(
        &self,
        settings: &Settings,
        endpoint: Endpoint,
        watch: &mut Watch,
    ) -> Result<Box<dyn Rounds>, ConnectError> {
        let address: SocketAddr =
            endpoint.address.parse().map_err(|_| ConnectError::Endpoint(endpoint.address.clone()))?;
        let stream = TcpStream::connect_timeout(&address, Watch::PATIENCE)
            .map_err(no_port)
            .while_doing("connecting")?;
        stream.set_nodelay(settings.is_on(NODELAY.name)).while_doing("setting TCP_NODELAY")?;
        let socket = Socket(stream.into());
        proof::prove(&socket, &settings.token, watch)?;
        Ok(Box::new(StreamClient::new(socket, settings).while_doing("setting the wait strategy")?))
    }
}

/// The error of a socket that asked for any port: whether none was left.
pub(super) fn no_port(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::AddrInUse | io::ErrorKind::AddrNotAvailable => {
            let range =
                sysctl("net/ipv4/ip_local_port_range").unwrap_or_else(|| "that are given out".to_owned());
            explain(
                error,
                format_args!(
                    "none of the ports {range} is left; wait for some, or widen net.ipv4.ip_local_port_range"
                ),
            )
        }
        _ => error,
    }
}

/// Whether a socket can be bound to the loopback interface's `address` and connected to, by what came of binding one. That no
/// port is left is the host's affair of the moment: the channel itself says so.
pub(super) fn can_bind(address: IpAddr, bound: io::Result<SocketAddr>) -> Result<(), Unavailable> {
    match bound.and_then(|bound| UdpSocket::bind((address, 0))?.connect(bound)) {
        Ok(()) => Ok(()),
        Err(error) => match Errno::from_io_error(&error) {
            Some(Errno::ADDRINUSE) => Ok(()),
            // Binding does not tell: an address may be anybody's whose interface is down.
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
