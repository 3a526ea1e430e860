//! Sets of CPU numbers in the kernel's list form, such as `0-3,8,10-11`.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Larger numbers are rejected, so that a mistyped range does not fill the memory. Linux supports up to 8192 CPUs.
const HIGHEST_CPU: u32 = 65_535;

/// A set of CPU numbers. As text and in JSON it is the kernel's list form (`"0-3,8"`; no CPUs: `""`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct CpuList(BTreeSet<u32>);

/// Why a text is not a list of CPUs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CpuListError {
    /// A part between two commas is neither a number nor a range.
    #[error("`{0}` is not a CPU number or a range such as 0-3")]
    Malformed(String),
    /// A range whose end is below its start.
    #[error("the range `{0}` ends before it starts")]
    Reversed(String),
    /// A number that no CPU can have.
    #[error("CPU number {0} is above {HIGHEST_CPU}")]
    TooHigh(u32),
}

impl CpuList {
    /// Whether `cpu` is in the set.
    pub(crate) fn contains(&self, cpu: u32) -> bool {
        self.0.contains(&cpu)
    }

    /// The CPUs, in ascending order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.0.iter().copied()
    }

    /// The number of CPUs.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the set is empty.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The CPUs that are in both sets.
    pub(crate) fn intersection(&self, other: &Self) -> Self {
        Self(&self.0 & &other.0)
    }
}

impl FromIterator<u32> for CpuList {
    fn from_iter<I: IntoIterator<Item = u32>>(cpus: I) -> Self {
        Self(cpus.into_iter().collect())
    }
}

impl FromStr for CpuList {
    type Err = CpuListError;

    fn from_str(text: &str) -> Result<Self, CpuListError> {
        let text = text.trim();
        if text.is_empty() {
            return Ok(Self::default());
        }
        let mut cpus = BTreeSet::new();
        for part in text.split(',').map(str::trim) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (number(first, part)?, number(last, part)?);
            if last < first {
                return Err(CpuListError::Reversed(part.to_owned()));
            }
            cpus.extend(first..=last);
        }
        Ok(Self(cpus))
    }
}

fn number(digits: &str, part: &str) -> Result<u32, CpuListError> {
    let cpu = digits.parse().map_err(|_| CpuListError::Malformed(part.to_owned()))?;
    if cpu > HIGHEST_CPU { Err(CpuListError::TooHigh(cpu)) } else { Ok(cpu) }
}

impl fmt::Display for CpuList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut cpus = self.iter().peekable();
        let mut separator = "";
        while let Some(first) = cpus.next() {
            let mut last = first;
            while let Some(next) = cpus.next_if_eq(&(last + 1)) {
                last = next;
            }
            write!(f, "{separator}{first}")?;
            if last > first {
                write!(f, "-{last}")?;
            }
            separator = ",";
        }
        Ok(())
    }
}

impl From<CpuList> for String {
    fn from(list: CpuList) -> Self {
        list.to_string()
    }
}

impl TryFrom<String> for CpuList {
    type Error = CpuListError;

    fn try_from(text: String) -> Result<Self, CpuListError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> CpuList {
        text.parse().unwrap()
    }

    #[test]
    fn the_kernel_form_survives_a_round_trip() {
        for text in ["", "0", "0-3,8,10-11", "1,3,5", "0-127"] {
            assert_eq!(list(text).to_string(), text);
        }
        assert_eq!(list("0-3,8,10-11").iter().collect::<Vec<_>>(), [0, 1, 2, 3, 8, 10, 11]);
    }

    #[test]
    fn any_order_overlap_and_white_space_are_normalised() {
        assert_eq!(list(" 3, 1,2,2-4 \n").to_string(), "1-4");
    }

    #[test]
    fn a_malformed_part_is_named() {
        let error = |text: &str| text.parse::<CpuList>().unwrap_err().to_string();
        assert_eq!(error("0,x"), "`x` is not a CPU number or a range such as 0-3");
        assert_eq!(error("0-"), "`0-` is not a CPU number or a range such as 0-3");
        assert_eq!(error("1,,2"), "`` is not a CPU number or a range such as 0-3");
        assert_eq!(error("(null)"), "`(null)` is not a CPU number or a range such as 0-3");
        assert_eq!(error("5-2"), "the range `5-2` ends before it starts");
        assert_eq!(error("0-4000000000"), "CPU number 4000000000 is above 65535");
    }

    #[test]
    fn json_holds_the_list_as_text() {
        assert_eq!(serde_json::to_string(&list("0-2,7")).unwrap(), "\"0-2,7\"");
        assert_eq!(serde_json::from_str::<CpuList>("\"0-2,7\"").unwrap(), list("0-2,7"));
        assert!(serde_json::from_str::<CpuList>("\"0-\"").is_err());
    }

    #[test]
    fn an_intersection_has_the_cpus_of_both() {
        assert_eq!(list("0-5").intersection(&list("4-9")), list("4-5"));
        assert!(list("0").intersection(&list("1")).is_empty());
    }
}
