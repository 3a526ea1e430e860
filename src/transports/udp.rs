//! `udp`: datagrams over the loopback interface.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

use super::contract::While;
use super::datagram::{self, DatagramClient};
use super::stream::Socket;
use super::tcp::{can_bind, no_port};
use super::{
    Capabilities, ConnectError, Delivery, Endpoint, Explanation, Group, Info, Mechanism, Reach, Rounds,
    ServeError, Served, Settings, Supervisor, Watch,
};
use crate::protocol::{Unavailable, Wait};

static INFO: Info = Info {
    name: "udp",
    aliases: &[],
    group: Group::Sockets,
    summary: "UDP datagrams over loopback",
    explanation: Explanation {
        choose: "Choose it when messages may be lost and late ones are worthless, or for multicast.",
        limits: "65507 bytes a datagram over IPv4. A datagram is lost when the receiver's buffer is full, and nobody \
                 is told. Any process on the host may send to the port.",
        round: "One send and one recv on each side; the kernel runs the UDP and IP stack for each.",
    },
    delivery: Delivery::UnreliableMessage,
    reach: Reach::Anyone,
    waits: &[Wait::Block, Wait::Spin, Wait::Adaptive],
    options: &[],
};

/// The largest UDP payload over IPv4: 65,535 less the IP header (20) and the UDP header (8).
const MAX_SIZE: usize = 65_507;

/// UDP datagrams over IPv4 loopback.
pub(super) static UDP: UdpOver =
    UdpOver { info: &INFO, address: IpAddr::V4(Ipv4Addr::LOCALHOST), max_size: MAX_SIZE };

/// UDP datagrams over loopback.
pub(super) struct UdpOver {
    pub(super) info: &'static Info,
    /// The loopback interface's address.
    pub(super) address: IpAddr,
    /// The largest payload in bytes.
    pub(super) max_size: usize,
}

impl Mechanism for UdpOver {
    fn info(&self) -> &'static Info {
        self.info
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { max_size: self.max_size, ..Capabilities::ANY_SIZE }
    }

    fn probe(&self) -> Result<(), Unavailable> {
        can_bind(self.address, UdpSocket::bind((self.address, 0)).and_then(|bound| bound.local_addr()))
    }

    fn respond(&self, settings: &Settings, supervisor: &mut Supervisor) -> Result<Served, ServeError> {
        let socket = UdpSocket::bind((self.address, 0))
            .map_err(no_port)
            .while_doing("binding a port of the loopback interface")?;
        let address = socket.local_addr().while_doing("asking for the port")?;
        supervisor.ready(&address.to_string(), &[])?;
        let socket = Socket(socket.into());
        datagram::meet(&socket, settings, supervisor)?;
        supervisor.proven()?;
        datagram::echo(&socket, self.info.delivery, settings)
    }

    fn connect(
        &self,
        settings: &Settings,
        endpoint: Endpoint,
        watch: &mut Watch,
    ) -> Result<Box<dyn Rounds>, ConnectError> {
        let address: SocketAddr =
            endpoint.address.parse().map_err(|_| ConnectError::Endpoint(endpoint.address.clone()))?;
        let socket = UdpSocket::bind((self.address, 0))
            .map_err(no_port)
            .while_doing("binding a port of the loopback interface")?;
        socket.connect(address).while_doing("connecting")?;
        Ok(Box::new(DatagramClient::prove(socket.into(), self.info.delivery, settings, watch)?))
    }
}
