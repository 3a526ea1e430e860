//! The client: finds or starts a daemon, opens data channels, runs timed rounds and reports.
//!
//! [`Client`], [`Channel`] and [`Private`] are the crate's interface; the rest is `ipc-client`. A measurement goes through
//! `cli` (arguments), `plan` (cells), `bench` (trials), `measure` (blocks of rounds), the transport, and `report`.

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
pub(crate) mod merge;
pub(crate) mod plan;
mod private;
pub(crate) mod report;
pub(crate) mod stats;

pub use self::{
    channel::{Channel, Opened},
    connection::{Client, LeaseWait},
    error::ClientError,
    private::{Private, PrivateError},
};
pub(crate) use error::Failure;
