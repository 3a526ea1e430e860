//! `udp`: datagrams over the loopback interface.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use super::contract::While;
use super::datagram::{self, DatagramClient};
use super::{
    Capabilities, ConnectError, Delivery, Endpoint, Explanation, Group, Info, Mechanism, Rounds, ServeError,
    Served, Settings, Supervisor, Watch,
};
use crate::protocol::Wait;

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
    waits: &[Wait::Block, Wait::Spin, Wait::Adaptive],
    options: &[],
};

/// The largest UDP payload over IPv4: 65,535 less the IP header (20) and the UDP header (8).
const MAX_SIZE: usize = 65_507;

/// UDP datagrams over loopback.
pub(super) struct Udp;

impl Mechanism for Udp {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { max_size: MAX_SIZE, ..Capabilities::ANY_SIZE }
    }

    fn respond(&self, settings: &Settings, supervisor: &mut Supervisor) -> Result<Served, ServeError> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).while_doing("binding a port of 127.0.0.1")?;
        let address = socket.local_addr().while_doing("asking for the port")?;
        supervisor.ready(&address.to_string(), &[])?;
        datagram::serve(socket.into(), settings, supervisor)
    }

    fn connect(
        &self,
        settings: &Settings,
        endpoint: Endpoint,
        watch: &mut Watch,
    ) -> Result<Box<dyn Rounds>, ConnectError> {
        let address: SocketAddr =
            endpoint.address.parse().map_err(|_| ConnectError::Endpoint(endpoint.address.clone()))?;
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).while_doing("binding a port of 127.0.0.1")?;
        socket.connect(address).while_doing("connecting")?;
        Ok(Box::new(DatagramClient::prove(socket.into(), settings, watch)?))
    }
}
