//! What is around a daemon beside its clients.

use std::os::fd::BorrowedFd;

use super::{Config, Metrics, Notify};

/// How a daemon comes to run by another configuration.
pub struct Reload<'a> {
    /// Readable when it shall.
    pub wanted: BorrowedFd<'a>,
    /// Finds the configuration. What made `wanted` readable is gone afterwards.
    pub again: Box<dyn FnMut() -> Again + 'a>,
}

/// What comes of reading the configuration again.
#[derive(Debug)]
pub enum Again {
    /// This holds from now on.
    Run(Config),
    /// What held holds; why.
    Keep(String),
    /// The daemon shall end.
    Stop,
}

/// What is around a daemon beside its clients.
pub struct Surroundings<'a> {
    /// Readable when it has to end.
    pub stop: BorrowedFd<'a>,
    /// Where a new configuration comes from.
    pub reload: Option<Reload<'a>>,
    /// Who hears how it does.
    pub notify: Notify,
    /// Where metrics are told.
    pub metrics: Option<Metrics>,
}
