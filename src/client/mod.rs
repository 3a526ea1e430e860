//! The client: finds or starts a daemon, opens data channels, runs timed rounds and reports.
//!
//! A program that measures by itself needs [`Client`], [`Channel`] and perhaps [`Private`]; the rest is what
//! `ipc-client` is made of. A measurement goes through `bench` (the plan), `measure` (the timed blocks), the
//! transport, the histogram, and `report`.

pub(crate) mod bench;
mod channel;
pub(crate) mod cli;
mod connection;
mod error;
pub(crate) mod export;
pub(crate) mod history;
pub(crate) mod host;
pub(crate) mod judge;
pub(crate) mod measure;
pub(crate) mod plan;
mod private;
pub(crate) mod report;
pub(crate) mod stats;
pub(crate) mod sum;

pub use channel::{Channel, Opened};
pub use connection::{Client, LeaseWait};
pub use error::ClientError;
pub(crate) use error::Failure;
pub use private::{Private, PrivateError};
