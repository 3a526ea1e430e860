//! The operating system calls that have no safe wrapper elsewhere. All unsafe code of the crate stands here.
#![allow(unsafe_code, reason = "each block stands behind a safe interface and says why it is sound")]

pub mod clock;
mod region;
mod ring;
mod tick;
mod usage;
mod vsock;

pub use region::Region;
pub use ring::{Ring, RingOptions};
pub use tick::{TICK, Ticker};
pub use usage::usage;
pub use vsock::VsockAddress;
