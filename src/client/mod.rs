//! The client: finds or starts a daemon, opens data channels, runs timed rounds and reports.
//!
//! A program that measures by itself needs [`Client`], [`Channel`] and perhaps [`Private`]; the rest is what
//! `ipc-client` is made of. A measurement goes through `bench` (the plan), `measure` (the timed blocks), the
//! transport, the histogram, and `report`.

pub mod bench;
mod channel;
pub mod check;
pub mod cli;
pub mod compare;
mod connection;
pub mod doctor;
pub mod environment;
mod error;
pub mod export;
pub mod history;
pub mod html;
pub mod measure;
pub mod placement;
mod private;
pub mod report;
pub mod sum;
pub mod trend;
pub mod warnings;

pub use channel::{Channel, Opened};
pub use connection::{Client, LeaseWait};
pub use error::ClientError;
pub use private::{Private, PrivateError};
