//! What each client that measures has done so far: one line of the log when it is through.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use log::{debug, info};

use super::{ConnectionId, Server};
use crate::transports::Owner;

/// So many kinds of channels are named.
const KINDS_NAMED: usize = 6;

/// A client's time with the lease.
#[derive(Debug)]
pub(super) struct Run {
    client: Owner,
    since: Instant,
    /// How many channels of each kind were opened.
    kinds: BTreeMap<String, u32>,
    broken: u32,
}

impl Run {
    pub(super) fn opened(&mut self, kind: &str) {
        *self.kinds.entry(kind.to_owned()).or_default() += 1;
    }

    pub(super) fn broke(&mut self) {
        self.broken += 1;
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = Duration::from_millis(u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX));
        let channels: u32 = self.kinds.values().sum();
        write!(
            f,
            "user {}, process {} measured for {}: {channels} channel{}",
            self.client.uid,
            self.client.pid,
            humantime::format_duration(time),
            if channels == 1 { "" } else { "s" },
        )?;
        for (index, (kind, count)) in self.kinds.iter().take(KINDS_NAMED).enumerate() {
            write!(f, "{} {count} × {kind}", if index == 0 { ":" } else { ";" })?;
        }
        match self.kinds.len().checked_sub(KINDS_NAMED) {
            None | Some(0) => {}
            Some(more) => write!(f, "; and {more} kinds more")?,
        }
        match self.broken {
            0 => Ok(()),
            broken => write!(f, "; {broken} broke off"),
        }
    }
}

impl Server {
    /// A client has the lease.
    pub(super) fn begin_run(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get(&id) else { return };
        let client = connection.peer;
        self.runs.entry(id).or_insert_with(|| {
            debug!("client {id}: has the lease");
            Run { client, since: Instant::now(), kinds: BTreeMap::new(), broken: 0 }
        });
    }

    /// It has it no more.
    pub(super) fn end_run(&mut self, id: ConnectionId, why: impl fmt::Display) {
        match self.runs.remove(&id) {
            None => {}
            // Nobody wants to read of who only asked.
            Some(run) if run.kinds.is_empty() => debug!("client {id}: {run}; {why}"),
            Some(run) => info!("{run}; {why}"),
        }
    }
}
