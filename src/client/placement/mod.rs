//! Which CPUs the two sides of a measurement run on: a name for how far apart they are, and a pair of CPUs for it.
//!
//! [`Placement`] is the name, [`Topology`] knows this host's CPUs and finds a [`CpuPair`] for a placement, or says why
//! there is none.

mod topology;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::environment::CpuList;

pub use topology::{CpuPosition, Topology};

/// How far apart the two sides run. It moves a result more than the mechanism does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Placement {
    /// Wherever the scheduler puts them.
    Unpinned,
    /// Both on the same logical CPU, taking turns.
    SameCore,
    /// On two hardware threads of one core.
    Smt,
    /// On two cores of one socket.
    CrossCore,
    /// On two sockets.
    CrossSocket,
}

impl Placement {
    /// All placements, from no choice to the farthest.
    pub const ALL: [Self; 5] =
        [Self::Unpinned, Self::SameCore, Self::Smt, Self::CrossCore, Self::CrossSocket];

    /// The name on the command line and in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unpinned => "unpinned",
            Self::SameCore => "same-core",
            Self::Smt => "smt",
            Self::CrossCore => "cross-core",
            Self::CrossSocket => "cross-socket",
        }
    }
}

impl fmt::Display for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // `pad` keeps to the width that a table asks for.
        f.pad(self.name())
    }
}

impl FromStr for Placement {
    type Err = PlacementError;

    fn from_str(text: &str) -> Result<Self, PlacementError> {
        let named = Self::ALL.into_iter().find(|placement| placement.name() == text);
        named.ok_or_else(|| PlacementError::UnknownName { name: text.to_owned() })
    }
}

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
    /// The text names no placement.
    #[error("`{name}` is no placement; there are {}", Placement::ALL.map(Placement::name).join(", "))]
    UnknownName {
        /// The text.
        name: String,
    },
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_same_as_text_and_in_json() {
        for placement in Placement::ALL {
            assert_eq!(placement.to_string().parse(), Ok(placement));
            assert_eq!(serde_json::to_value(placement).unwrap(), placement.name());
        }
        assert_eq!(format!("{:>6}", Placement::Smt), "   smt");
    }

    #[test]
    fn a_wrong_name_is_told_with_the_right_ones() {
        let error = "same_core".parse::<Placement>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "`same_core` is no placement; there are unpinned, same-core, smt, cross-core, cross-socket"
        );
    }
}
