//! The daemon's loop: waits for whatever comes next and deals with it.

mod admission;
mod channels;
mod counters;
mod manager;
mod requests;
mod runs;
mod shortage;
mod surroundings;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use log::{Level, debug, info};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;

use self::shortage::{Spare, poll_all};
pub use self::surroundings::Surroundings;
pub(crate) use self::surroundings::{Again, Reload};
use super::channel::Channel;
use super::connection::{Connection, Gone};
use super::lease::Lease;
use super::metrics::Metrics;
use super::notify::Notify;
use super::ration::Rations;
use super::socket::{Access, Bound};

use crate::config::{self, Limits};
use crate::diagnostics::error_chain;
use crate::protocol::{ChannelId, Refusal, Reply, Resource, Totals};
use crate::transports;
use crate::transports::sys::allow_descriptors;

/// Connections accepted before those that there are get their turn: a flood is gone through in strides.
const ACCEPTED_AT_ONCE: u32 = 32;

/// How a daemon runs.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// What a peer can make it hold.
    pub limits: Limits,
    /// How many clients may measure at the same time. More than one disturb each other.
    pub measurements: usize,
    /// After how long without connections and channels to end; never if `None`.
    pub idle_exit: Option<Duration>,
    /// Who may use the control socket.
    pub access: Access,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            measurements: config::DEFAULT_MEASUREMENTS,
            idle_exit: None,
            access: Access::default(),
        }
    }
}

/// Where a daemon's clients come from.
#[derive(Debug)]
pub enum Sources {
    /// Whoever connects; until it is stopped.
    Socket(Bound),
    /// This one; until it goes.
    Connection(OwnedFd),
}

type ConnectionId = u64;

/// Serves clients until it is told to stop (or, with one connection, until that is gone), a client asks it to stop,
/// nobody has come for too long, or the system refuses.
///
/// # Errors
/// The system refuses to wait or to accept.
pub fn run(sources: Sources, config: Config, surroundings: Surroundings<'_>) -> io::Result<()> {
    let Surroundings { stop, mut reload, notify, metrics } = surroundings;
    allow_descriptors(manager::descriptors(&config.limits));
    let mut server = Server::new(config, notify, metrics)?;
    let bound = match sources {
        Sources::Socket(bound) => {
            transports::remove_leftovers_of_the_dead();
            Some(bound)
        }
        Sources::Connection(socket) => {
            server.welcome(socket);
            None
        }
    };
    server.notify.ready();
    while !server.stopping && (bound.is_some() || !server.connections.is_empty()) {
        let wanted = reload.as_ref().map(|reload| reload.wanted);
        let again = server.turn(bound.as_ref(), Some(stop), wanted)?;
        if let Some(reload) = reload.as_mut().filter(|_| again) {
            server.reload(reload, bound.as_ref());
        }
    }
    server.notify.stopping();
    server.metrics = None;
    let result = server.end_channels();
    // The files go before the connections: a client that sees its connection end finds nothing left.
    drop(bound);
    drop(server);
    result
}

/// An open channel and whose it is.
struct Held {
    channel: Channel,
    /// `None` once its client is gone.
    owner: Option<ConnectionId>,
    /// The user for whom it was opened.
    uid: u32,
    /// Bytes that its responder holds for payloads.
    memory: u64,
    /// Whether its client waits for its end.
    closing: bool,
}

pub(super) struct Server {
    config: Config,
    /// Begins the names of resources; unique on this host.
    instance: String,
    started: Instant,
    connections: BTreeMap<ConnectionId, Connection>,
    channels: BTreeMap<ChannelId, Held>,
    lease: Lease<ConnectionId>,
    /// Of those that have the lease.
    runs: BTreeMap<ConnectionId, runs::Run>,
    totals: Totals,
    spare: Spare,
    counters: counters::Counters,
    metrics: Option<Metrics>,
    /// Of lines about peers that ask for too much or misbehave.
    rations: Rations,
    /// Of lines about who has measured what.
    rations_of_runs: Rations,
    next_connection: ConnectionId,
    next_channel: ChannelId,
    accept_again: Option<Instant>,
    /// Since when there is neither a connection nor a channel.
    idle_since: Option<Instant>,
    /// Why the configuration that was read last does not hold.
    misconfigured: Option<String>,
    notify: Notify,
    stopping: bool,
}

/// What a turn's waiting found.
struct Ready {
    stop: bool,
    reload: bool,
    accept: bool,
    scrapes: bool,
    connections: Vec<ConnectionId>,
    channels: Vec<ChannelId>,
}

impl Server {
    fn new(config: Config, notify: Notify, metrics: Option<Metrics>) -> io::Result<Self> {
        Ok(Self {
            config,
            instance: transports::instance_name()?,
            started: Instant::now(),
            spare: Spare::new(),
            rations: Rations::default(),
            rations_of_runs: Rations::default(),
            next_connection: 1,
            connections: BTreeMap::new(),
            channels: BTreeMap::new(),
            lease: Lease::new(config.measurements),
            runs: BTreeMap::new(),
            totals: Totals::default(),
            counters: counters::Counters::new(),
            metrics,
            next_channel: 1,
            accept_again: None,
            idle_since: None,
            misconfigured: None,
            notify,
            stopping: false,
        })
    }

    /// Waits for something to happen and deals with it; returns whether `reload` is readable.
    fn turn(
        &mut self,
        bound: Option<&Bound>,
        stop: Option<BorrowedFd<'_>>,
        reload: Option<BorrowedFd<'_>>,
    ) -> io::Result<bool> {
        self.report();
        let ready = self.wait(bound, stop, reload)?;
        if ready.stop {
            self.stopping = true;
            return Ok(false);
        }
        for id in ready.channels {
            self.hear_channel(id);
        }
        for id in ready.connections {
            self.hear_connection(id);
        }
        if let Some(bound) = bound.filter(|_| ready.accept) {
            let mut at_once = 0..ACCEPTED_AT_ONCE;
            while at_once.next().is_some() && self.accept(bound)? {}
        }
        if ready.scrapes || !self.metrics.as_ref().is_none_or(Metrics::is_quiet) {
            self.serve_metrics();
        }
        self.enforce_deadlines();
        Ok(ready.reload)
    }

    fn wait(
        &self,
        bound: Option<&Bound>,
        stop: Option<BorrowedFd<'_>>,
        reload: Option<BorrowedFd<'_>>,
    ) -> io::Result<Ready> {
        let listener = bound.filter(|_| self.accept_again.is_none()).map(AsFd::as_fd);
        let mut fds = Vec::with_capacity(3 + self.connections.len() + self.channels.len());
        fds.extend(stop.into_iter().chain(reload).map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
        fds.extend(listener.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
        fds.extend(self.connections.values().map(|c| PollFd::from_borrowed_fd(c.as_fd(), c.interest())));
        let channels = self.channels.values().filter_map(|held| held.channel.waits_on());
        fds.extend(channels.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
        fds.extend(self.metrics.iter().flat_map(Metrics::interests));

        let now = Instant::now();
        let timeout = self.next_deadline().map(|deadline| deadline.saturating_duration_since(now));
        poll_all(&mut fds, timeout)?;
        let mut happened = fds.iter().map(|fd| !fd.revents().is_empty());
        let mut next = || happened.next().unwrap_or(false);
        Ok(Ready {
            stop: stop.is_some() && next(),
            reload: reload.is_some() && next(),
            accept: listener.is_some() && next(),
            connections: self.connections.keys().copied().filter(|_| next()).collect(),
            channels: self
                .channels
                .iter()
                .filter(|(_, held)| held.channel.waits_on().is_some())
                .map(|(id, _)| *id)
                .filter(|_| next())
                .collect(),
            scrapes: happened.any(|ready| ready),
        })
    }

    fn next_deadline(&self) -> Option<Instant> {
        let connections = self.connections.values().filter_map(Connection::deadline);
        let channels = self.channels.values().filter_map(|held| held.channel.deadline());
        let own = [
            self.accept_again,
            self.idle_deadline(),
            self.notify.deadline(),
            self.metrics.as_ref().and_then(Metrics::deadline),
        ];
        connections.chain(channels).chain(own.into_iter().flatten()).min()
    }

    fn enforce_deadlines(&mut self) {
        let now = Instant::now();
        let over = |deadline: Option<Instant>| deadline.is_some_and(|deadline| deadline <= now);
        if over(self.accept_again) {
            self.accept_again = None;
        }
        if over(self.idle_deadline()) && self.is_idle() {
            info!("nobody has come for a while: the end, as --idle-exit asks");
            self.stopping = true;
        }
        let slow: Vec<_> =
            self.connections.iter().filter(|(_, c)| over(c.deadline())).map(|(id, _)| *id).collect();
        for id in slow {
            self.forget(id, &Gone::TooSlow);
        }
        let slow: Vec<_> = self
            .channels
            .values()
            .filter(|held| over(held.channel.deadline()))
            .map(|held| held.channel.id)
            .collect();
        slow.into_iter().for_each(|id| self.wait_no_longer(id));
    }

    // Connections.

    /// Accepts a connection; `false` if there is none or there can be none.
    fn accept(&mut self, bound: &Bound) -> io::Result<bool> {
        match bound.accept() {
            Ok(socket) => {
                self.welcome(socket);
                return Ok(true);
            }
            Err(error) => match Errno::from_io_error(&error) {
                // It went away again, or was another's.
                Some(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED) => {}
                Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => {
                    return Ok(self.turn_away_for(&error, bound));
                }
                // It is no listener any more.
                Some(Errno::BADF | Errno::INVAL | Errno::NOTSOCK | Errno::OPNOTSUPP) | None => {
                    return Err(error);
                }
                // One connection's trouble: a filter's refusal, a fault of the network's.
                Some(_) => self.accept_later(&error_chain(&error)),
            },
        }
        Ok(false)
    }

    fn welcome(&mut self, socket: OwnedFd) {
        let connection = match Connection::new(socket) {
            Ok(connection) => connection,
            Err(gone) => return debug!("a client that was gone at once: {gone}"),
        };
        let (pid, uid) = (connection.peer.pid, connection.peer.uid);
        if let Err(over) = self.admit(Resource::Connections, uid, 1) {
            self.totals.refusals += 1;
            self.counters.refused_over(&over);
            self.tell_rationed(
                Some(uid),
                Level::Warn,
                format_args!("process {pid} of user {uid} is turned away: {over}"),
            );
            return connection.turn_away(over.into());
        }
        let id = self.next_connection;
        self.next_connection += 1;
        match connection.greet() {
            Ok(connection) => {
                debug!("client {id}: process {pid}, user {uid}");
                self.totals.connections += 1;
                self.connections.insert(id, connection);
            }
            Err(gone) => debug!("client {id}: {gone}"),
        }
    }

    fn hear_connection(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        match connection.flush().and_then(|()| connection.receive()) {
            Ok(None) => {}
            Ok(Some(request)) => self.answer(id, request),
            Err(gone) => self.forget(id, &gone),
        }
    }

    /// Ends a connection and all that it had.
    fn forget(&mut self, id: ConnectionId, gone: &Gone) {
        let Some(connection) = self.connections.remove(&id) else { return };
        match gone {
            Gone::Closed => debug!("client {id}: {gone}"),
            _ => {
                let (pid, uid) = (connection.peer.pid, connection.peer.uid);
                self.tell_rationed(
                    Some(uid),
                    Level::Info,
                    format_args!("client {id} (process {pid}, user {uid}): {gone}"),
                );
            }
        }
        drop(connection);
        let mut open = 0;
        for held in self.channels.values_mut().filter(|held| held.owner == Some(id)) {
            open += u32::from(!held.closing);
            held.owner = None;
            held.channel.kill();
        }
        match (gone, open) {
            (Gone::Closed, 0) => self.end_run(id, "done"),
            (gone, open) => self.end_run(id, format!("{gone}, with {open} still open")),
        }
        self.pass_on_lease(id);
    }

    fn send(&mut self, id: ConnectionId, reply: &Reply, descriptors: Vec<OwnedFd>) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if let Err(gone) = connection.send(reply, descriptors) {
            self.forget(id, &gone);
        }
    }

    fn refuse(&mut self, id: Option<ConnectionId>, refusal: Refusal) {
        let Some(id) = id else { return };
        match &refusal {
            // Whoever administers the host has to know.
            Refusal::Spawn { .. } | Refusal::Shortage { .. } => {
                let uid = self.uid_of(id);
                self.tell_rationed(Some(uid), Level::Warn, format_args!("client {id}: refused: {refusal}"));
            }
            _ => debug!("client {id}: refused: {refusal}"),
        }
        self.totals.refusals += 1;
        self.counters.refused(&refusal);
        self.send(id, &Reply::Refused(refusal), Vec::new());
    }

    fn pid_of(&self, id: ConnectionId) -> u32 {
        self.connections.get(&id).map_or(0, |connection| connection.peer.pid)
    }

    fn uid_of(&self, id: ConnectionId) -> u32 {
        self.connections.get(&id).map_or(u32::MAX, |connection| connection.peer.uid)
    }

    /// Takes the lease, or the place in line, from `id`, and tells everybody else in line.
    fn pass_on_lease(&mut self, id: ConnectionId) {
        let before: Vec<_> = self.lease.queue().collect();
        self.lease.release(id);
        self.call_up(&before);
    }

    /// Gives the lease to those whose turn it is, and tells the others their place if it has changed since `before`.
    fn call_up(&mut self, before: &[ConnectionId]) {
        while let Some(next) = self.lease.call_up() {
            self.begin_run(next);
            self.send(next, &Reply::Acquired, Vec::new());
        }
        let after: Vec<_> = self.lease.queue().collect();
        for (index, waiting) in after.iter().enumerate() {
            if before.get(index) != Some(waiting) {
                self.send(*waiting, &Reply::Queued { place: count(index + 1) }, Vec::new());
            }
        }
    }
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

fn timespec(duration: Duration) -> Timespec {
    Timespec::try_from(duration).unwrap_or(Timespec { tv_sec: i64::MAX, tv_nsec: 0 })
}
