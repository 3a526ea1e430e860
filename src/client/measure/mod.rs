//! Measuring: one trial of one cell, as blocks of rounds over an open channel.
//!
//! The client's loop alternates between a block of rounds, in which nothing else happens, and the digestion of what
//! the block has stored: into histograms of fixed size, so that memory does not depend on the number of rounds. They go
//! into the cell's once the trial's figures are taken, so that it does not depend on the number of trials either. Several
//! channels at once have a thread each, which does the same ([`parallel`]).

mod block;
#[cfg(test)]
#[path = "tests/fake.rs"]
mod fake;
mod interval;
pub(crate) mod parallel;
mod recorder;
mod spent;
mod trial;
mod wake_up;

use std::str::FromStr;

pub(crate) use interval::Interval;
pub(crate) use recorder::{Recorder, histogram};
pub(crate) use trial::{CpusSeen, Plan, Probe, Stop, Trial, Warmup, run};
pub(crate) use wake_up::WakeUp;

/// What is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Timing {
    /// Each round.
    Round,
    /// This many rounds as a whole.
    Batch(u32),
    /// Each round; where rounds are fast, as many again as a whole, for a mean without the cost of the clock.
    Auto,
}

impl FromStr for Timing {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.strip_prefix("batch:").map(str::parse)) {
            ("round", _) => Ok(Self::Round),
            ("auto", _) => Ok(Self::Auto),
            (_, Some(Ok(rounds @ 2..=1_000_000))) => Ok(Self::Batch(rounds)),
            _ => {
                Err("it may be round, auto, or batch:K with K from 2 to 1000000, such as batch:1000"
                    .to_owned())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timings_are_parsed() {
        assert_eq!("batch:100".parse(), Ok(Timing::Batch(100)));
        for text in ["batch", "batch:", "batch:0", "batch:1", "each"] {
            assert!(text.parse::<Timing>().is_err(), "{text}");
        }
    }
}
