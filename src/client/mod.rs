//! The client: finds or starts a daemon, opens data channels, runs timed rounds and reports.
//!
//! A program that measures by itself needs [`Client`], [`Channel`] and perhaps [`Private`]; the rest is what
//! `ipc-client` is made of. A measurement goes through `bench` (the plan), `measure` (the timed blocks), the
//! transport, the histogram, and `report`.

pub mod bench;
mod channel;
pub mod cli;
mod connection;
mod error;
pub mod export;
pub mod history;
pub mod host;
pub mod judge;
pub mod measure;
mod private;
pub mod report;
pub mod stats;
pub mod sum;

pub use channel::{Channel, Opened};
pub use connection::{Client, LeaseWait};
pub use error::ClientError;
pub use private::{Private, PrivateError};
