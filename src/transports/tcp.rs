//! `tcp`: a TCP connection over the loopback interface.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};

use super::contract::While;
use super::stream::{Socket, StreamClient, echo};
use super::{
    Capabilities, ConnectError, Delivery, Endpoint, Explanation, Group, Info, Mechanism, OptionSpec, Reach,
    Rounds, ServeError, Served, Settings, Supervisor, Watch, proof,
};
use crate::protocol::{Unavailable, Wait};

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
        TcpListener::bind((self.address, 0)).map(drop).map_err(|error| no_loopback(self.address, &error))
    }

    fn respond(&self, settings: &Settings, supervisor: &mut Supervisor) -> Result<Served, ServeError> {
        let listener = TcpListener::bind((self.address, 0))
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
        let stream = TcpStream::connect_timeout(&address, Watch::PATIENCE).while_doing("connecting")?;
        stream.set_nodelay(settings.is_on(NODELAY.name)).while_doing("setting TCP_NODELAY")?;
        let socket = Socket(stream.into());
        proof::prove(&socket, &settings.token, watch)?;
        Ok(Box::new(StreamClient::new(socket, settings).while_doing("setting the wait strategy")?))
    }
}

/// Why there is no socket at the loopback interface's `address`.
pub(super) fn no_loopback(address: IpAddr, error: &std::io::Error) -> Unavailable {
    Unavailable(format!("no socket can be bound to {address}: {error}"))
}
