//! What each client that measures has done so far: one line of the log when it is through.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use log::debug;

use super::{ConnectionId, Server};
use crate::transports::Owner;

/// So many kinds of channels are named.
const KINDS_NAMED: usize = 6;

/// So many kinds are kept apart: a client that opens channels of ever new sizes is no reason to hold ever more.
const KINDS_KEPT: usize = 100;

/// A client's time with the lease.
#[derive(Debug)]
pub(super) struct Run {
    client: Owner,
    since: Instant,
    /// How many channels of each kind were opened.
    kinds: BTreeMap<String, u32>,
    /// Channels of kinds that are not kept apart any more.
    others: u32,
    broken: u32,
}

impl Run {
    pub(super) fn opened(&mut self, kind: &str) {
        if let Some(count) = self.kinds.get_mut(kind) {
            *count = count.saturating_add(1);
        } else if self.kinds.len() < KINDS_KEPT {
            self.kinds.insert(kind.to_owned(), 1);
        } else {
            self.others = self.others.saturating_add(1);
        }
    }

    pub(super) fn broke(&mut self) {
        self.broken = self.broken.saturating_add(1);
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = Duration::from_millis(u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX));
        let channels = self.kinds.values().fold(self.others, |sum, count| sum.saturating_add(*count));
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
            Some(more) if self.others == 0 => write!(f, "; and {more} kinds more")?,
            Some(more) => write!(f, "; and more than {more} kinds more")?,
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
            self.counters.measurements += 1;
            Run { client, since: Instant::now(), kinds: BTreeMap::new(), others: 0, broken: 0 }
        });
    }

    /// It has it no more.
    pub(super) fn end_run(&mut self, id: ConnectionId, why: impl fmt::Display) {
        match self.runs.remove(&id) {
            None => {}
            // Nobody wants to read of who only asked.
            Some(run) if run.kinds.is_empty() => debug!("client {id}: {run}; {why}"),
            // A client may come again and again.
            Some(run) => self.tell_measured(run.client.uid, format_args!("{run}; {why}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_opens_ever_new_kinds_is_not_remembered_in_full() {
        let mut run = Run {
            client: Owner::this(),
            since: Instant::now(),
            kinds: BTreeMap::new(),
            others: 0,
            broken: 0,
        };
        for size in 0..10_000 {
            run.opened(&format!("tcp, {size} bytes"));
        }
        run.opened("tcp, 0 bytes");
        assert_eq!(run.kinds.len(), KINDS_KEPT);
        let told = run.to_string();
        assert!(told.contains(": 10001 channels") && told.contains("more than 94 kinds more"), "{told}");
    }
}
