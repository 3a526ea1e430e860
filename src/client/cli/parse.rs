//! Values of the command line that are not plain quantities.

pub(super) use crate::config::values::{PlacementArg, WarmupArg, placement, timing, wait, warmup};
