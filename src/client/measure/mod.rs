//! Measuring: one trial of one cell, as blocks of rounds over an open channel.
//!
//! The client's loop alternates between a block of rounds, in which nothing else happens, and the digestion of what
//! the block has stored: into histograms of fixed size, so that memory does not depend on the number of rounds. Several
//! channels at once have a thread each, which does the same ([`parallel`]).

mod block;
#[cfg(test)]
#[path = "tests/fake.rs"]
mod fake;
mod interval;
mod merge;
pub(crate) mod parallel;
mod recorder;
mod spent;
mod trial;

pub(crate) use crate::config::Timing;
pub(crate) use interval::Interval;
pub(crate) use recorder::Recorder;
pub(crate) use recorder::histogram;
pub(crate) use trial::{CpusSeen, Probe, Trial};
pub(crate) use trial::{Plan, Stop, Warmup, run};
