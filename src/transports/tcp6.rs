//! `tcp6`: a TCP connection over the IPv6 loopback interface.

use std::net::{IpAddr, Ipv6Addr};

use super::tcp::{NODELAY, TcpOver};
use super::{Delivery, Explanation, Group, Info, Reach};
use crate::protocol::Wait;

static INFO: Info = Info {
    name: "tcp6",
    aliases: &[],
    group: Group::Sockets,
    summary: "a TCP connection over IPv6 loopback",
    explanation: Explanation {
        choose: "Choose it as you would choose tcp; which version of IP is the faster one on a host, and whether a firewall \
                 treats them alike, is what the two measure.",
        limits: "As of tcp. A host or container may have IPv6 switched off.",
        round: "One send and one recv on each side; the kernel runs the whole TCP and IPv6 stack for each, in a softirq \
                of the sender.",
    },
    delivery: Delivery::Stream,
    reach: Reach::Anyone,
    waits: &[Wait::Block, Wait::Spin, Wait::Adaptive],
    options: &[NODELAY],
};

/// A TCP connection over IPv6 loopback.
pub(super) static TCP6: TcpOver = TcpOver { info: &INFO, address: IpAddr::V6(Ipv6Addr::LOCALHOST) };
