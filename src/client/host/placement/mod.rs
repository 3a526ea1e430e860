//! Which CPUs the two sides of a measurement run on: a name for how far apart they are, and a pair of CPUs for it.
//!
//! [`Placement`] is the name, [`Topology`] knows this host's CPUs and finds a [`CpuPair`] for a placement, or says why
//! there is none.

mod topology;

use serde::{Deserialize, Serialize};

use crate::client::host::CpuList;

pub use crate::config::Placement;
pub use topology::Topology;

/// The logical CPUs that the two sides are pinned to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CpuPair {
    /// The client's CPU.
    pub client: u32,
    /// The server's (responder's) CPU.
    pub server: u32,
}

/// Why the two sides cannot be placed so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlacementError {
    /// The kernel did not tell this process's affinity mask.
    #[error("cannot tell which CPUs this process may use")]
    Affinity {
        /// The system call's error.
        #[from]
        source: rustix::io::Errno,
    },
    /// The CPU is not online.
    #[error("CPU {cpu} is not online; online are {online}")]
    Offline {
        /// The CPU asked for.
        cpu: u32,
        /// The CPUs that are online.
        online: CpuList,
    },
    /// The CPU is outside this process's affinity mask and not isolated.
    #[error("CPU {cpu} is not among the allowed CPUs {allowed}")]
    NotAllowed {
        /// The CPU asked for.
        cpu: u32,
        /// The CPUs that this process may use.
        allowed: CpuList,
    },
    /// No CPU is both online and allowed.
    #[error("no allowed CPU is online")]
    NoCpu,
    /// The host does not tell how CPUs share cores.
    #[error("this host does not tell which CPUs share a core")]
    Unknown,
    /// No two allowed CPUs are threads of one core.
    #[error("no SMT siblings among the allowed CPUs {allowed}")]
    NoSiblings {
        /// The CPUs that this process may use.
        allowed: CpuList,
    },
    /// No two allowed CPUs are on two cores of one socket.
    #[error("no two cores of one socket among the allowed CPUs {allowed}")]
    NoCores {
        /// The CPUs that this process may use.
        allowed: CpuList,
    },
    /// The host has one socket, or does not tell of more.
    #[error("this host has one socket only")]
    OneSocket,
    /// The host has several sockets, and all allowed CPUs are on one.
    #[error("the allowed CPUs {allowed} are on one socket")]
    NoSockets {
        /// The CPUs that this process may use.
        allowed: CpuList,
    },
}
