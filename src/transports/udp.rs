//! `udp` and `udp6`: datagrams over the loopback interface.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

use super::families::datagram::{self, DatagramClient};
use super::families::stream::Socket;
use super::prelude::*;
use super::tcp::{can_bind, no_port};

static UDP_INFO: Info = Info {
    name: "udp",
    group: Group::Sockets,
    summary: "UDP datagrams over loopback",
    choose: "Choose it when messages may be lost and late ones are worthless, or for multicast.",
    limits: "65507 bytes a datagram over IPv4. A datagram is lost when the receiver's buffer is full, and neither side \
             is notified. Any process on the host may send to the port.",
    round: "One send and one recv on each side; the kernel runs the UDP and IP stack for each.",
    delivery: Delivery::UnreliableMessage,
    // 65,535 less the IP header (20) and the UDP header (8).
    sizes: Capabilities { max_size: 65_507, ..Capabilities::ANY_SIZE },
    exposure: Exposure::Datagrams,
    ..Info::DEFAULT
};

static UDP6_INFO: Info = Info {
    name: "udp6",
    summary: "UDP datagrams over IPv6 loopback",
    choose: "Choose it as you would choose udp. The checksum, which IPv4 may omit, is computed here unless the \
             interface offloads it.",
    limits: "65527 bytes a datagram over IPv6, the largest of them in two fragments, since the loopback interface \
             takes 65536 with headers. A datagram is lost when the receiver's buffer is full, and neither side is notified.",
    round: "One send and one recv on each side; the kernel runs the UDP and IPv6 stack for each.",
    // 65,535 less the UDP header (8); IPv6 does not count its own header.
    sizes: Capabilities { max_size: 65_527, ..Capabilities::ANY_SIZE },
    ..UDP_INFO
};

/// UDP datagrams over IPv4 loopback.
pub(super) static UDP: Udp = Udp { info: &UDP_INFO, address: IpAddr::V4(Ipv4Addr::LOCALHOST) };

/// UDP datagrams over IPv6 loopback.
pub(super) static UDP6: Udp = Udp { info: &UDP6_INFO, address: IpAddr::V6(Ipv6Addr::LOCALHOST) };

/// UDP datagrams over the loopback interface with this address.
pub(super) struct Udp {
    info: &'static Info,
    address: IpAddr,
}

impl Udp {
    fn bind(&self) -> Result<UdpSocket, CallError> {
        UdpSocket::bind((self.address, 0))
            .map_err(no_port)
            .while_doing("binding a port of the loopback interface")
    }
}

impl Mechanism for Udp {
    fn info(&self) -> &'static Info {
        self.info
    }

    fn probe(&self) -> Result<(), Unavailable> {
        can_bind(self.address, UdpSocket::bind((self.address, 0)).and_then(|bound| bound.local_addr()))
    }

    fn respond(&self, settings: &Settings, supervisor: &mut Supervisor) -> Result<(), ServeError> {
        let socket = self.bind()?;
        let address = socket.local_addr().while_doing("reading the port")?;
        supervisor.ready(&address.to_string(), &[])?;
        let socket = Socket(socket.into());
        datagram::meet(&socket, settings, supervisor)?;
        supervisor.proven()?;
        datagram::echo(&socket, self.info.delivery, settings)
    }

    fn connect(&self, settings: &Settings, endpoint: Endpoint, watch: &mut Watch) -> Connected {
        let address = endpoint.loopback()?;
        let socket = self.bind()?;
        socket.connect(address).while_doing("connecting")?;
        Ok(Box::new(DatagramClient::prove(socket.into(), self.info.delivery, settings, watch)?))
    }
}
