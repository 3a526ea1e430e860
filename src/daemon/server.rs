//! The daemon's loop: waits for the next event and passes it to the part that it concerns.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use log::{Level, debug, info, warn};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::getrlimit;

use super::channel::{Channel, Channels, News, READY_PATIENCE, State};
use super::configure::{Config, Signals};
use super::connection::{Connection, ConnectionId, Connections, Gone};
use super::counters::Counters;
use super::lease::{Acquired, Lease};
use super::limits;
use super::logging::RateLimit;
use super::metrics::{MOST_SCRAPES, Metrics};
use super::service_manager::ServiceManager;
use super::socket::{Access, BindError, Bound};
use crate::config::{self, Limits};
use crate::diagnostics::error_chain;
use crate::protocol::{
    ChannelId, End, Event, LimitUse, MethodState, PROTOCOL_VERSION, Refusal, Reply, Request, Resource, Status,
};
use crate::transports::sys::{self, allow_descriptors, find_descriptors};
use crate::transports::{self, Owner};

/// Connections accepted in one batch, so that a flood of them does not keep existing ones waiting.
const ACCEPT_BATCH: u32 = 32;

/// How long no connection is accepted after one could neither be accepted nor turned away.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long responders may take to exit when the daemon stops. They are killed: only the kernel can delay them.
const STOP_PATIENCE: Duration = Duration::from_millis(900);

/// Descriptors that probing a mechanism takes for a moment.
const PROBE_DESCRIPTORS: usize = 8;

/// Serves the one client at the other end of a socket until it disconnects.
///
/// # Errors
/// The system refuses to wait.
pub fn serve_client(socket: OwnedFd, limits: Limits) -> io::Result<()> {
    let measurements = config::DEFAULT_MEASUREMENTS;
    let (revoke_after, access) = (config::DEFAULT_REVOKE_AFTER, Access::default());
    let config = Config { limits, measurements, revoke_after, idle_exit: None, access };
    let mut server = Server::new(&config, ServiceManager::default(), None)?;
    server.welcome(socket);
    server.run(None, None)?;
    server.end(None)
}

/// A daemon. Each part owns its state; the server decides what an event in one means for the others.
pub(super) struct Server {
    limits: Limits,
    connections: Connections,
    /// Until when no connection is accepted.
    accept_paused: Option<Instant>,
    channels: Channels,
    lease: Lease,
    counters: Counters,
    metrics: Option<Metrics>,
    /// Every method's state, shared by the requests of one turn: no other request costs as much as probing the methods.
    methods: Option<Vec<MethodState>>,
    pub(super) manager: ServiceManager,
    /// For lines about peers that ask for too much or misbehave.
    log: RateLimit,
    life: Life,
}

/// When the daemon exits.
struct Life {
    idle_exit: Option<Duration>,
    idle_since: Option<Instant>,
    is_stopping: bool,
}

impl Life {
    fn idle_deadline(&self) -> Option<Instant> {
        Some(self.idle_since? + self.idle_exit?)
    }
}

/// Why [`Server::run`] returns.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wake {
    /// The daemon is to stop.
    Stop,
    /// It is to read its configuration again.
    Reload,
}

/// What became ready.
#[derive(Debug, Clone, Copy)]
enum Source {
    Stop,
    Reload,
    Listener,
    /// The files of a socket may have been deleted.
    Files,
    Connection(ConnectionId),
    Channel(ChannelId),
    Metrics,
}

impl Server {
    pub(super) fn new(
        config: &Config,
        manager: ServiceManager,
        metrics: Option<Metrics>,
    ) -> io::Result<Self> {
        allow_descriptors(descriptors(&config.limits));
        Ok(Self {
            limits: config.limits,
            connections: Connections::new(),
            accept_paused: None,
            channels: Channels::new(),
            lease: Lease::new(config.measurements, config.revoke_after),
            counters: Counters::new(),
            metrics,
            methods: None,
            manager,
            log: RateLimit::default(),
            life: Life { idle_exit: config.idle_exit, idle_since: None, is_stopping: false },
        })
    }

    /// Serves clients until a signal or a client asks for something else, the idle timeout expires or, without a listener,
    /// the last client disconnects.
    ///
    /// # Errors
    /// The system refuses to wait or to accept.
    pub(super) fn run(
        &mut self,
        mut listener: Option<&mut Bound>,
        signals: Option<&Signals>,
    ) -> io::Result<Wake> {
        while !self.life.is_stopping && (listener.is_some() || self.connections.len() > 0) {
            if self.turn(listener.as_deref_mut(), signals)? {
                return Ok(Wake::Reload);
            }
        }
        Ok(Wake::Stop)
    }

    /// Changes the configuration of a running daemon, but for the addresses of its sockets.
    pub(super) fn reconfigure(&mut self, config: &Config) {
        allow_descriptors(descriptors(&config.limits));
        self.limits = config.limits;
        self.life.idle_exit = config.idle_exit;
        self.lease.reconfigure(config.measurements, config.revoke_after);
        self.settle();
    }

    /// Ends every channel and connection, and removes the socket.
    ///
    /// # Errors
    /// The system refuses to wait.
    pub(super) fn end(mut self, listener: Option<Bound>) -> io::Result<()> {
        self.life.is_stopping = true;
        self.manager.stopping();
        self.metrics = None;
        for id in self.connections.ids() {
            self.lease.release(id, "the daemon stops");
            self.connections.send(id, &Reply::Event(Event::Stopping), Vec::new());
        }
        self.channels.end(None);
        self.settle();
        let deadline = Instant::now() + STOP_PATIENCE;
        while self.channels.ids().next().is_some() && Instant::now() < deadline {
            // For the loop to wake then.
            self.accept_paused = Some(deadline);
            self.turn(None, None)?;
        }
        for id in self.channels.ids() {
            warn!("channel {id}: its responder does not exit");
        }
        // Before the connections: a client whose connection ends finds no file left.
        drop(listener);
        Ok(())
    }

    /// Waits for events and handles them; returns whether a reload was requested.
    fn turn(&mut self, listener: Option<&mut Bound>, signals: Option<&Signals>) -> io::Result<bool> {
        self.life.idle_since = self.is_idle().then(|| self.life.idle_since.unwrap_or_else(Instant::now));
        if !self.life.is_stopping {
            self.manager.set_status(&self.lease);
        }
        self.manager.keep_alive();
        self.methods = None;
        let (mut reload, mut scrape, mut files) = (false, false, false);
        for source in self.wait(listener.as_deref(), signals)? {
            match (source, listener.as_deref()) {
                (Source::Stop, _) => {
                    self.life.is_stopping = true;
                    return Ok(false);
                }
                (Source::Reload, _) => reload = true,
                (Source::Channel(id), _) => self.read_channel(id),
                (Source::Connection(id), _) => self.read_connection(id),
                (Source::Listener, Some(listener)) => self.accept(listener)?,
                (Source::Listener, None) => {}
                (Source::Files, _) => files = true,
                (Source::Metrics, _) => scrape = true,
            }
            self.settle();
        }
        let now = Instant::now();
        for bound in self.metrics.iter_mut().filter_map(Metrics::bound_mut).chain(listener) {
            if (files || bound.check_at().is_some_and(|at| at <= now)) && !restore(bound) {
                self.life.is_stopping = true;
            }
        }
        if scrape || !self.metrics.as_ref().is_none_or(Metrics::is_quiet) {
            self.serve_metrics();
        }
        self.enforce_deadlines();
        self.settle();
        Ok(reload)
    }

    fn wait(&self, listener: Option<&Bound>, signals: Option<&Signals>) -> io::Result<Vec<Source>> {
        let readable = |fd| PollFd::from_borrowed_fd(fd, PollFlags::IN);
        let mut watched: Vec<(Source, PollFd<'_>)> = Vec::new();
        if let Some(signals) = signals {
            watched.push((Source::Stop, readable(signals.stop.as_fd())));
            watched.push((Source::Reload, readable(signals.reload.as_fd())));
        }
        let bound = self.metrics.iter().filter_map(Metrics::bound).chain(listener);
        watched.extend(bound.filter_map(Bound::watch).map(|fd| (Source::Files, readable(fd))));
        watched.extend(self.channels.poll_fds().map(|(id, fd)| (Source::Channel(id), fd)));
        watched.extend(self.connections.poll_fds().map(|(id, fd)| (Source::Connection(id), fd)));
        let accepting = listener.filter(|_| self.accept_paused.is_none());
        watched.extend(accepting.map(|listener| (Source::Listener, readable(listener.as_fd()))));
        watched.extend(self.metrics.iter().flat_map(Metrics::poll_fds).map(|fd| (Source::Metrics, fd)));

        let (sources, mut fds): (Vec<_>, Vec<_>) = watched.into_iter().unzip();
        let now = Instant::now();
        let timeout = self.next_deadline(listener).map(|deadline| deadline.saturating_duration_since(now));
        poll_all(&mut fds, timeout)?;
        let is_ready = |fd: &PollFd<'_>| !fd.revents().is_empty();
        Ok(sources.into_iter().zip(&fds).filter(|(_, fd)| is_ready(fd)).map(|(source, _)| source).collect())
    }

    fn next_deadline(&self, listener: Option<&Bound>) -> Option<Instant> {
        let deadlines = [
            self.connections.deadline(),
            self.channels.deadline(),
            self.accept_paused,
            self.life.idle_deadline(),
            self.lease.deadline(),
            self.manager.deadline(),
            self.metrics.as_ref().and_then(Metrics::deadline),
            listener.and_then(Bound::check_at),
            self.metrics.as_ref().and_then(Metrics::bound).and_then(Bound::check_at),
        ];
        deadlines.into_iter().flatten().min()
    }

    fn enforce_deadlines(&mut self) {
        let now = Instant::now();
        let is_over = |deadline: Option<Instant>| deadline.is_some_and(|deadline| deadline <= now);
        if is_over(self.accept_paused) {
            self.accept_paused = None;
        }
        if is_over(self.life.idle_deadline()) && self.is_idle() {
            info!("idle timeout reached, exiting");
            self.life.is_stopping = true;
        }
        self.connections.enforce_deadline(now);
        let patience = self.lease.patience();
        for id in self.lease.stalled(now, sys::process_cpu) {
            let after_ms = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
            self.connections.end(id, Event::Revoked { after_ms }, Gone::Stalled(patience));
        }
        for id in self.channels.overdue(now) {
            match self.channels.get(id) {
                Some(channel) if channel.is_starting() => {
                    channel.kill(State::Killed);
                    let (owner, uid) = (channel.owner, channel.uid());
                    let line = format_args!("channel {id}: its responder is not ready in time and is killed");
                    self.log.write(Some(uid), Level::Warn, line);
                    let deadline_ms = u32::try_from(READY_PATIENCE.as_millis()).unwrap_or(u32::MAX);
                    self.refuse(owner, uid, Refusal::NotReady { deadline_ms });
                }
                _ => self.read_channel(id),
            }
        }
    }

    /// Drops the connections that have ended, and what their clients had; grants the lease to those whose turn it is.
    fn settle(&mut self) {
        loop {
            while let Some(id) = self.lease.grant_next() {
                self.counters.measurements += 1;
                self.connections.send(id, &Reply::Acquired, Vec::new());
            }
            for (id, position) in self.lease.moved() {
                self.connections.send(id, &Reply::Queued { place: count(position) }, Vec::new());
            }
            let Some((id, Owner { pid, uid, .. }, gone)) = self.connections.take_gone() else { return };
            match gone {
                Gone::Closed => debug!("client {id}: {gone}"),
                _ => {
                    let line = format_args!("client {id} (process {pid}, user {uid}): {gone}");
                    self.log.write(Some(uid), Level::Info, line);
                }
            }
            match (&gone, self.channels.open_of(id)) {
                (Gone::Closed, 0) => self.lease.release(id, "done"),
                (gone, open) => self.lease.release(id, format_args!("{gone}, with {open} still open")),
            }
            self.channels.end(Some(id));
        }
    }

    /// Whether no client is connected and no channel open. A scraper counts as a client.
    fn is_idle(&self) -> bool {
        self.connections.len() == 0
            && self.channels.ids().next().is_none()
            && self.metrics.as_ref().is_none_or(Metrics::is_quiet)
    }

    fn serve_metrics(&mut self) {
        let (limits, config_ok) = (self.limit_use(), self.manager.config_error.is_none());
        let Some(metrics) = &mut self.metrics else { return };
        metrics.serve(|| self.counters.families(&limits, self.lease.holders().len(), config_ok));
        self.life.idle_since = None;
    }

    // Connections.

    fn accept(&mut self, listener: &Bound) -> io::Result<()> {
        for _ in 0..ACCEPT_BATCH {
            let error = match listener.accept() {
                Ok(socket) => {
                    self.welcome(socket);
                    continue;
                }
                Err(error) => error,
            };
            match Errno::from_io_error(&error) {
                // The client has disconnected.
                Some(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED) => return Ok(()),
                Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => {
                    if !self.turn_away(&error, listener) {
                        self.pause_accepting(&error);
                        return Ok(());
                    }
                }
                // It is not a listener any more.
                Some(Errno::BADF | Errno::INVAL | Errno::NOTSOCK | Errno::OPNOTSUPP) | None => {
                    return Err(error);
                }
                // This connection's own problem: refused by a filter, a network fault.
                Some(_) => {
                    self.pause_accepting(&error);
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn welcome(&mut self, socket: OwnedFd) {
        let connection = match Connection::new(socket) {
            Ok(connection) => connection,
            Err(gone) => return debug!("a client disconnected at once: {gone}"),
        };
        let Owner { pid, uid, .. } = connection.peer;
        match self.connections.add(connection, self.limits.of(Resource::Connections)) {
            Ok(()) => self.counters.connections += 1,
            Err(over) => {
                let line = format_args!("process {pid} of user {uid} is turned away: {over}");
                self.log.write(Some(uid), Level::Warn, line);
                self.counters.refused(&over.into());
            }
        }
    }

    /// Turns away a client when descriptors or memory are exhausted; returns whether that was possible.
    fn turn_away(&mut self, error: &io::Error, listener: &Bound) -> bool {
        let reason = error_chain(error);
        let refusal = Refusal::Shortage { reason: reason.clone() };
        let turned_away = self.connections.spare.lend(|| {
            let connection = Connection::new(listener.accept().ok()?).ok()?;
            let peer = connection.peer;
            connection.turn_away(refusal.clone());
            Some(peer)
        });
        if let Some(Owner { pid, uid, .. }) = turned_away {
            self.counters.refused(&refusal);
            let line = format_args!("process {pid} of user {uid} is turned away: {reason}");
            self.log.write(Some(uid), Level::Warn, line);
        }
        turned_away.is_some()
    }

    /// Leaves the listener alone for a while: it would be ready again at once.
    fn pause_accepting(&mut self, error: &io::Error) {
        let line = format_args!("cannot accept a connection for now: {}", error_chain(error));
        self.log.write(None, Level::Warn, line);
        self.accept_paused = Some(Instant::now() + ACCEPT_PAUSE);
    }

    fn refuse(&mut self, id: Option<ConnectionId>, uid: u32, refusal: Refusal) {
        let Some(id) = id else { return };
        match &refusal {
            // The host's administrator has to know.
            Refusal::Spawn { .. } | Refusal::Shortage { .. } => {
                self.log.write(Some(uid), Level::Warn, format_args!("client {id}: refused: {refusal}"));
            }
            _ => debug!("client {id}: refused: {refusal}"),
        }
        self.counters.refused(&refusal);
        self.connections.send(id, &Reply::Refused(refusal), Vec::new());
    }

    // Requests.

    fn read_connection(&mut self, id: ConnectionId) {
        let Some((client, request)) = self.connections.receive(id) else { return };
        match self.execute(id, client, request) {
            Ok(Some(reply)) => self.connections.send(id, &reply, Vec::new()),
            Ok(None) => {}
            Err(refusal) => self.refuse(Some(id), client.uid, refusal),
        }
    }

    /// Executes a request; the reply is `None` if it follows when a responder reports.
    fn execute(
        &mut self,
        id: ConnectionId,
        client: Owner,
        request: Request,
    ) -> Result<Option<Reply>, Refusal> {
        Ok(Some(match request {
            Request::Status => Reply::Status(self.status()),
            Request::Confinement => Reply::Confinement(sys::confinement()),
            Request::Methods => {
                find_descriptors(PROBE_DESCRIPTORS)
                    .map_err(|error| Refusal::Shortage { reason: error_chain(&error) })?;
                let states = self.methods.get_or_insert_with(transports::states);
                let groups = self.connections.groups(id);
                Reply::Methods(transports::states_for(states, client, groups.as_deref()))
            }
            Request::Stop => {
                if client.uid != 0 && client.uid != rustix::process::geteuid().as_raw() {
                    return Err(Refusal::NotPermitted { uid: client.uid });
                }
                self.life.is_stopping = true;
                Reply::Stopping
            }
            Request::Acquire { wait } => self.acquire(id, client, wait)?,
            Request::Release => {
                let channels = self.channels.open_of(id);
                if channels > 0 {
                    return Err(Refusal::ChannelsOpen { channels: count(channels) });
                }
                self.lease.release(id, "done");
                Reply::Released
            }
            Request::Open(spec) => {
                if self.life.is_stopping {
                    return Err(Refusal::Stopping);
                }
                if self.lease.run(id).is_none() {
                    return Err(Refusal::NoLease);
                }
                self.channels.start(id, client, &spec, &self.limits)?;
                return Ok(None);
            }
            Request::Usage(channel) => {
                let pid = self.channels.get_own(channel, id)?.responder_pid();
                Reply::Usage(sys::usage(Some(pid)).map_err(|_| Refusal::NoChannel { channel })?)
            }
            Request::Close(channel) => {
                let own = self.channels.get_own(channel, id)?;
                if own.state == State::Closing {
                    return Err(Refusal::NoChannel { channel });
                }
                own.kill(State::Closing);
                return Ok(None);
            }
        }))
    }

    fn acquire(&mut self, id: ConnectionId, client: Owner, wait: bool) -> Result<Reply, Refusal> {
        if self.life.is_stopping {
            return Err(Refusal::Stopping);
        }
        if wait && self.lease.would_queue(id) {
            let limit = self.limits.of(Resource::Queue);
            limits::admit(Resource::Queue, limit, self.used(Resource::Queue), client.uid, 1)?;
        }
        let had_it = self.lease.run(id).is_some();
        match self.lease.acquire(id, client, wait) {
            Acquired::Now => {
                self.counters.measurements += u64::from(!had_it);
                Ok(Reply::Acquired)
            }
            Acquired::Queued(position) => Ok(Reply::Queued { place: count(position) }),
            Acquired::Busy { holder_pid } => Err(Refusal::Busy { holder_pid }),
        }
    }

    fn status(&self) -> Status {
        Status {
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            protocol_version: PROTOCOL_VERSION,
            uptime_ns: u64::try_from(self.counters.uptime().as_nanos()).unwrap_or(u64::MAX),
            connections: count(self.connections.len()),
            lease_holders: self
                .lease
                .holders()
                .iter()
                .take(Status::MOST_LISTED)
                .map(|run| run.client.pid)
                .collect(),
            queue: self.lease.queue().take(Status::MOST_LISTED).map(|client| client.pid).collect(),
            channels: self.channels.status(Status::MOST_LISTED),
            limits: self.limit_use(),
            totals: self.counters.totals(),
        }
    }

    fn limit_use(&self) -> Vec<LimitUse> {
        let usage = |resource| limits::usage(resource, self.limits.of(resource), self.used(resource));
        Resource::ALL.map(usage).to_vec()
    }

    /// How much of a resource each user has.
    fn used(&self, resource: Resource) -> Box<dyn Iterator<Item = (u32, u64)> + '_> {
        match resource {
            Resource::Connections => Box::new(self.connections.used()),
            Resource::Queue => Box::new(self.lease.queue().map(|client| (client.uid, 1))),
            Resource::Channels | Resource::Memory => Box::new(self.channels.used(resource)),
        }
    }

    // Channels.

    fn read_channel(&mut self, id: ChannelId) {
        let Some(channel) = self.channels.get(id) else { return };
        match channel.receive() {
            None => {}
            Some(News::Ready { endpoint, descriptors, cpu }) => {
                let (State::Starting, Some(owner)) = (channel.state, channel.owner) else { return };
                if let Err(error) = channel.lend(&descriptors) {
                    channel.kill(State::Killed);
                    let (uid, reason) = (channel.uid(), error_chain(&io::Error::from(error)));
                    return self.refuse(Some(owner), uid, Refusal::Shortage { reason });
                }
                channel.state = State::Open;
                let reply = Reply::Opened {
                    channel: id,
                    token: channel.token(),
                    endpoint,
                    descriptors: count(descriptors.len()),
                    responder_pid: channel.responder_pid(),
                    responder_cpu: cpu,
                };
                debug!(
                    "client {owner}: channel {id} is open: {}, responder {}",
                    channel.kind,
                    channel.responder_pid()
                );
                if let Some(run) = self.lease.run(owner) {
                    run.opened(&channel.kind);
                }
                self.counters.opened(channel.method());
                self.connections.send(owner, &reply, descriptors);
            }
            Some(News::Ended(end)) => {
                if let Some(channel) = self.channels.remove(id) {
                    // That takes a descriptor.
                    self.connections.spare.lend(|| channel.remove_leftovers());
                    self.channel_ended(&channel, end);
                    self.channels.keep_lent(channel);
                }
            }
        }
    }

    /// Reports the end of a channel to its client.
    fn channel_ended(&mut self, channel: &Channel, end: End) {
        let (id, kind) = (channel.id, &channel.kind);
        let Some(owner) = channel.owner else {
            return debug!("channel {id}: ended, its client is gone");
        };
        match channel.state {
            State::Starting => self.refuse(Some(owner), channel.uid(), Refusal::NotOpened { end }),
            State::Closing => {
                debug!("client {owner}: channel {id} is closed");
                self.connections.send(owner, &Reply::Closed, Vec::new());
            }
            // For being late: its client has had a refusal.
            State::Killed => {}
            State::Open => {
                // With code 0 the client has closed its side, and will ask to close the channel or disconnect.
                if end == End::Exited(0) {
                    debug!("client {owner}: channel {id} ({kind}) was closed by its client's side");
                } else {
                    let line = format_args!("client {owner}: channel {id} ({kind}) ended: {end}");
                    self.log.write(Some(channel.uid()), Level::Warn, line);
                    self.counters.broke(channel.method());
                    if let Some(run) = self.lease.run(owner) {
                        run.broke();
                    }
                }
                let ended = Event::Ended { channel: id, end };
                self.connections.send(owner, &Reply::Event(ended), Vec::new());
            }
        }
    }
}

/// Makes the files of a socket again if they were deleted; returns whether the daemon can go on.
fn restore(bound: &mut Bound) -> bool {
    let path = bound.path().to_owned();
    match bound.restore() {
        Ok(false) => true,
        Ok(true) => {
            warn!("{} or its lock file was deleted; recreated", path.display());
            true
        }
        Err(error @ BindError::AlreadyRunning { .. }) => {
            warn!("the socket's files were deleted, and {error}; exiting");
            false
        }
        Err(error) => {
            warn!(
                "{} was deleted and cannot be recreated yet: {}; will retry",
                path.display(),
                error_chain(&error)
            );
            true
        }
    }
}

/// The descriptors that the limits allow for: one for a connection; one for a channel, one for its memory and, for a moment,
/// those that its responder hands over; one for a scraper.
fn descriptors(limits: &Limits) -> u64 {
    let scrapes = u64::try_from(MOST_SCRAPES).unwrap_or(u64::MAX);
    limits.connections.total.saturating_add(limits.channels.total.saturating_mul(3)).saturating_add(scrapes)
}

/// As poll(2), for any number of descriptors: the kernel refuses more than the process may open, a limit that may have become
/// lower than the number it has open. They are then polled in portions.
fn poll_all(fds: &mut [PollFd<'_>], timeout: Option<Duration>) -> Result<(), Errno> {
    const NOW: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };
    match poll(fds, timeout.map(timespec).as_ref()) {
        Ok(_) | Err(Errno::INTR) => return Ok(()),
        Err(Errno::INVAL) => {}
        Err(error) => return Err(error),
    }
    let most = getrlimit(rustix::process::Resource::Nofile).current;
    let most = most.and_then(|most| usize::try_from(most).ok()).unwrap_or(usize::MAX).max(1);
    let mut ready = 0;
    for portion in fds.chunks_mut(most) {
        // With a limit of zero none is ever ready.
        ready += poll(portion, Some(&NOW)).unwrap_or(0);
    }
    if ready == 0 {
        let _ = poll(&mut [], Some(&timespec(timeout.unwrap_or(ACCEPT_PAUSE).min(ACCEPT_PAUSE))));
    }
    Ok(())
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

fn timespec(duration: Duration) -> Timespec {
    Timespec::try_from(duration).unwrap_or(Timespec { tv_sec: i64::MAX, tv_nsec: 0 })
}
