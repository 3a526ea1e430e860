//! `udp6`: datagrams over the IPv6 loopback interface.

use std::net::{IpAddr, Ipv6Addr};

use super::udp::UdpOver;
use super::{Delivery, Explanation, Group, Info, Reach};
use crate::protocol::Wait;

static INFO: Info = Info {
    name: "udp6",
    aliases: &[],
    group: Group::Sockets,
    summary: "UDP datagrams over IPv6 loopback",
    explanation: Explanation {
        choose: "Choose it as you would choose udp. The checksum, which IPv4 may leave out, is computed here unless the \
                 interface offers to.",
        limits: "65527 bytes a datagram over IPv6, the largest of them in two fragments, since the loopback interface \
                 takes 65536 with headers. A datagram is lost when the receiver's buffer is full, and nobody is told.",
        round: "One send and one recv on each side; the kernel runs the UDP and IPv6 stack for each.",
    },
    delivery: Delivery::UnreliableMessage,
    reach: Reach::Anyone,
    waits: &[Wait::Block, Wait::Spin, Wait::Adaptive],
    options: &[],
};

/// The largest UDP payload over IPv6: 65,535 less the UDP header (8); IPv6 does not count its own.
const MAX_SIZE: usize = 65_527;

/// UDP datagrams over IPv6 loopback.
pub(super) static UDP6: UdpOver =
    UdpOver { info: &INFO, address: IpAddr::V6(Ipv6Addr::LOCALHOST), max_size: MAX_SIZE };
