//! Values of the command line: those that the configuration has too are read as it reads them.

pub(super) use crate::config::values::{
    PlacementArg, WarmupArg, age, cpu, duration, from_to, gap, increase, interval, percent, placement, rate,
    rounds, size, timing, wait, warmup,
};
