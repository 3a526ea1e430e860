//! Names for how far apart the two sides of a measurement run.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

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
    pub(crate) const ALL: [Self; 5] =
        [Self::Unpinned, Self::SameCore, Self::Smt, Self::CrossCore, Self::CrossSocket];

    /// The name on the command line and in JSON.
    pub(crate) const fn name(self) -> &'static str {
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
    type Err = UnknownPlacement;

    fn from_str(text: &str) -> Result<Self, UnknownPlacement> {
        let named = Self::ALL.into_iter().find(|placement| placement.name() == text);
        named.ok_or_else(|| UnknownPlacement { name: text.to_owned() })
    }
}

/// A text that names no placement.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is no placement; there are {}", Placement::ALL.map(Placement::name).join(", "))]
pub struct UnknownPlacement {
    name: String,
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
