//! The operating system calls that have no safe wrapper elsewhere. All unsafe code of the crate stands here.
#![allow(unsafe_code, reason = "each block stands behind a safe interface and says why it is sound")]

#[cfg(feature = "_tokio")]
mod alarm;
pub mod clock;
mod region;
mod tick;
mod usage;

#[cfg(feature = "_tokio")]
pub use alarm::Alarm;
pub use region::Region;
pub use tick::{TICK, Ticker};
pub use usage::usage;
