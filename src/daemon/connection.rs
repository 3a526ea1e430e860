//! Clients' control connections: bytes to requests, replies to bytes, and deadlines for incomplete input.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use log::debug;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, fcntl_dupfd_cloexec};

use super::limits;
use super::peer::{PeerSocket, SENT_DESCRIPTORS};
use crate::config::Limit;
use crate::protocol::frame::{Assembler, MAX_BODY, frame};
use crate::protocol::link::send_part;
use crate::protocol::{
    Event, GREETING_LEN, Greeting, OverLimit, Refusal, Reply, Request, Resource, decode, encode,
};
use crate::transports::sys::unread_by_peer;
use crate::transports::{Owner, sys};

/// Numbers connections in the order of their arrival.
pub(super) type ConnectionId = u64;

/// How long a greeting or a frame may take from its first byte to its last.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often a peer that has descriptors unread is checked: reading them makes nothing ready.
const UNREAD_POLL: Duration = Duration::from_millis(5);

/// Bytes of replies that a peer may leave unread before it is dropped.
///
/// Requests are not read while a reply waits, so that only events, a few bytes each, are added to it.
const MAX_UNREAD: usize = 2 * MAX_BODY;

/// Why a connection has ended.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Gone {
    #[error("closed by the client")]
    Closed,
    #[error("{0}")]
    Misbehaved(String),
    #[error("no complete greeting or frame within {} s", PATIENCE.as_secs())]
    TooSlow,
    #[error("it does not read its replies")]
    DoesNotRead,
    #[error("its lease is revoked: no progress for {} while others waited", humantime::format_duration(*.0))]
    Stalled(Duration),
}

/// A reply that is not sent in full yet.
#[derive(Debug)]
struct Outgoing {
    bytes: Vec<u8>,
    sent: usize,
    descriptors: Vec<OwnedFd>,
}

/// A client's control connection. No call on it blocks.
#[derive(Debug)]
pub(super) struct Connection {
    socket: PeerSocket,
    /// The client's process and user, as the kernel reports them. The process is 0 if it is not visible in this namespace.
    pub(super) peer: Owner,
    /// The start of the peer's greeting; `None` once it is complete.
    greeting: Option<Vec<u8>>,
    assembler: Assembler,
    outgoing: VecDeque<Outgoing>,
    unread: usize,
    deadline: Option<Instant>,
    /// Descriptors were sent, and the peer was not seen to have read them.
    has_sent_descriptors: bool,
    held: Option<Held>,
}

/// A peer that sends requests and does not read the descriptors it was sent, which would be in flight without a limit. Its
/// requests are not read.
#[derive(Debug, Clone, Copy)]
struct Held {
    since: Instant,
    check_at: Instant,
}

impl Connection {
    /// A connection over an accepted socket.
    pub(super) fn new(socket: OwnedFd) -> Result<Self, Gone> {
        let peer = sys::peer(&socket).map_err(|error| Gone::Misbehaved(error.to_string()))?;
        Ok(Self {
            socket: PeerSocket::new(socket),
            peer,
            greeting: Some(Vec::with_capacity(GREETING_LEN)),
            assembler: Assembler::default(),
            outgoing: VecDeque::new(),
            unread: 0,
            deadline: Some(Instant::now() + PATIENCE),
            has_sent_descriptors: false,
            held: None,
        })
    }

    /// Greets the peer, sends it a refusal, and ends the connection.
    pub(super) fn turn_away(self, refusal: Refusal) {
        let mut bytes = Greeting::OURS.to_bytes().to_vec();
        if let Ok(body) = encode(&Reply::Refused(refusal)) {
            bytes.extend_from_slice(&frame(&body));
        }
        // A new socket has room for it; a peer that is gone does not need it.
        let _ = send_part(self.socket.as_fd(), &bytes, &[]);
    }

    fn poll_fd(&self) -> PollFd<'_> {
        // No more requests are read from a peer that does not read its replies.
        let interest = match (self.outgoing.is_empty(), self.held) {
            (true, None) => PollFlags::IN,
            // The end of the connection is reported all the same.
            (true, Some(_)) => PollFlags::empty(),
            (false, _) => PollFlags::OUT,
        };
        PollFd::from_borrowed_fd(self.socket.as_fd(), interest)
    }

    /// Whether the peer has yet to read descriptors; then it is checked again later.
    fn hold(&mut self) -> bool {
        self.has_sent_descriptors = self.has_sent_descriptors && unread_by_peer(&self.socket) != Ok(0);
        self.held = self.has_sent_descriptors.then(|| {
            let now = Instant::now();
            Held { since: self.held.map_or(now, |held| held.since), check_at: now + UNREAD_POLL }
        });
        self.held.is_some()
    }

    /// Whether the peer has closed its side of the connection in both directions.
    fn has_hung_up(&self) -> bool {
        const NOW: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };
        let mut end = [PollFd::from_borrowed_fd(self.socket.as_fd(), PollFlags::empty())];
        poll(&mut end, Some(&NOW)).is_ok_and(|ready| ready > 0)
    }

    /// Reads a request; `None` if none is complete yet, or if the peer has yet to read descriptors.
    fn receive(&mut self) -> Result<Option<Request>, Gone> {
        if self.hold() {
            // Otherwise the end would be reported again and again while descriptors are unread.
            return if self.has_hung_up() { Err(Gone::Closed) } else { Ok(None) };
        }
        loop {
            let wanted = match &self.greeting {
                Some(greeting) => GREETING_LEN - greeting.len(),
                None => self.assembler.wanted(),
            };
            let mut buffer = [0; 4096];
            let wanted = wanted.min(buffer.len());
            match self.socket.receive(&mut buffer[..wanted]) {
                Ok(0) => return Err(Gone::Closed),
                Ok(n) => {
                    if let Some(request) = self.take_in(&buffer[..n])? {
                        return Ok(Some(request));
                    }
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(None),
                Err(SENT_DESCRIPTORS) => {
                    return Err(Gone::Misbehaved("it sends file descriptors".to_owned()));
                }
                Err(_) => return Err(Gone::Closed),
            }
        }
    }

    fn take_in(&mut self, bytes: &[u8]) -> Result<Option<Request>, Gone> {
        let misbehaved = |error: &dyn std::fmt::Display| Gone::Misbehaved(error.to_string());
        if let Some(greeting) = &mut self.greeting {
            greeting.extend_from_slice(bytes);
            if !Greeting::may_start_with(greeting) {
                return Err(Gone::Misbehaved("it does not greet as an ipcd client does".to_owned()));
            }
            if let Ok(whole) = <[u8; GREETING_LEN]>::try_from(greeting.as_slice()) {
                let greeting = Greeting::from_bytes(&whole).map_err(|error| misbehaved(&error))?;
                greeting.accept().map_err(|error| misbehaved(&error))?;
                self.greeting = None;
                self.deadline = None;
            }
            return Ok(None);
        }
        let body = self.assembler.take_in(bytes).map_err(|error| misbehaved(&error))?;
        self.deadline = match (self.assembler.is_midway(), self.deadline) {
            (true, None) => Some(Instant::now() + PATIENCE),
            (true, deadline) => deadline,
            (false, _) => None,
        };
        body.map(|body| decode(&body)).transpose().map_err(|error| misbehaved(&error))
    }

    /// Sends a reply, now or when the peer reads on.
    fn send(&mut self, reply: &Reply, descriptors: Vec<OwnedFd>) -> Result<(), Gone> {
        let body = encode(reply).map_err(|error| Gone::Misbehaved(error.to_string()))?;
        self.push(frame(&body), descriptors)
    }

    fn push(&mut self, bytes: Vec<u8>, descriptors: Vec<OwnedFd>) -> Result<(), Gone> {
        self.unread += bytes.len();
        if self.unread > MAX_UNREAD {
            return Err(Gone::DoesNotRead);
        }
        self.outgoing.push_back(Outgoing { bytes, sent: 0, descriptors });
        self.flush()
    }

    /// Sends what the socket takes.
    fn flush(&mut self) -> Result<(), Gone> {
        while let Some(next) = self.outgoing.front_mut() {
            let descriptors: Vec<_> = next.descriptors.iter().map(AsFd::as_fd).collect();
            match send_part(self.socket.as_fd(), &next.bytes[next.sent..], &descriptors) {
                Ok(n) => {
                    next.sent += n;
                    self.unread -= n;
                    // They went with the first byte.
                    self.has_sent_descriptors |= !next.descriptors.is_empty();
                    next.descriptors.clear();
                    if next.sent == next.bytes.len() {
                        self.outgoing.pop_front();
                    }
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(()),
                Err(_) => return Err(Gone::Closed),
            }
        }
        Ok(())
    }
}

/// All control connections.
#[derive(Debug)]
pub(super) struct Connections {
    open: BTreeMap<ConnectionId, Connection>,
    /// Those that have ended, until [`take_gone`](Self::take_gone).
    gone: Vec<(ConnectionId, Gone)>,
    next: ConnectionId,
    /// Descriptors to give up where the system has no more.
    pub(super) spare: Spare,
}

impl Connections {
    pub(super) fn new() -> Self {
        Self { open: BTreeMap::new(), gone: Vec::new(), next: 1, spare: Spare::new() }
    }

    /// How many each user has.
    pub(super) fn used(&self) -> impl Iterator<Item = (u32, u64)> {
        self.open.values().map(|connection| (connection.peer.uid, 1))
    }

    /// Greets the client of a connection and serves it from now on, or turns it away if that exceeds `limit`.
    pub(super) fn add(&mut self, connection: Connection, limit: Limit) -> Result<(), OverLimit> {
        let Owner { pid, uid, .. } = connection.peer;
        if let Err(over) = limits::admit(Resource::Connections, limit, self.used(), uid, 1) {
            connection.turn_away(over.into());
            return Err(over);
        }
        let id = self.next;
        self.next += 1;
        debug!("client {id}: process {pid}, user {uid}");
        let connection = self.open.entry(id).or_insert(connection);
        if let Err(gone) = connection.push(Greeting::OURS.to_bytes().to_vec(), Vec::new()) {
            self.gone.push((id, gone));
        }
        Ok(())
    }

    /// Sends what waits, then reads a request and returns it with the client's identity.
    pub(super) fn receive(&mut self, id: ConnectionId) -> Option<(Owner, Request)> {
        let connection = self.open.get_mut(&id)?;
        match connection.flush().and_then(|()| connection.receive()) {
            Ok(request) => request.map(|request| (connection.peer, request)),
            Err(gone) => {
                self.gone.push((id, gone));
                None
            }
        }
    }

    /// Sends a reply, if the client is still connected.
    pub(super) fn send(&mut self, id: ConnectionId, reply: &Reply, descriptors: Vec<OwnedFd>) {
        if let Some(Err(gone)) = self.open.get_mut(&id).map(|connection| connection.send(reply, descriptors))
        {
            self.gone.push((id, gone));
        }
    }

    /// Sends a client the reason for which its connection ends, and ends it.
    pub(super) fn end(&mut self, id: ConnectionId, event: Event, gone: Gone) {
        self.send(id, &Reply::Event(event), Vec::new());
        self.gone.push((id, gone));
    }

    /// Drops a connection that has ended. Its client's channels and lease are for the caller to end.
    pub(super) fn take_gone(&mut self) -> Option<(ConnectionId, Owner, Gone)> {
        loop {
            let (id, gone) = self.gone.pop()?;
            if let Some(connection) = self.open.remove(&id) {
                return Some((id, connection.peer, gone));
            }
        }
    }

    /// When the next greeting or frame is overdue, or the next check of a peer that has descriptors unread.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let deadlines = |it: &Connection| [it.deadline, it.held.map(|held| held.check_at)];
        self.open.values().flat_map(deadlines).flatten().min()
    }

    /// Ends the connections that are overdue.
    pub(super) fn enforce_deadline(&mut self, now: Instant) {
        for (id, connection) in &mut self.open {
            if connection.held.is_some_and(|held| held.check_at <= now)
                && connection.hold()
                && connection.held.is_some_and(|held| held.since + PATIENCE <= now)
            {
                self.gone.push((*id, Gone::DoesNotRead));
            }
        }
        let is_late = |connection: &Connection| connection.deadline.is_some_and(|deadline| deadline <= now);
        let late = self.open.iter().filter(|(_, connection)| is_late(connection));
        self.gone.extend(late.map(|(id, _)| (*id, Gone::TooSlow)));
    }

    pub(super) fn poll_fds(&self) -> impl Iterator<Item = (ConnectionId, PollFd<'_>)> {
        self.open.iter().map(|(id, connection)| (*id, connection.poll_fd()))
    }

    pub(super) fn ids(&self) -> Vec<ConnectionId> {
        self.open.keys().copied().collect()
    }

    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    /// The supplementary groups of a client; `None` where the kernel does not report them (before Linux 4.13).
    pub(super) fn groups(&self, id: ConnectionId) -> Option<Vec<u32>> {
        self.open.get(&id).and_then(|connection| sys::peer_groups(connection.socket.as_fd()).ok())
    }
}

/// Enough to turn a client away, and to remove nested folders.
const SPARE: usize = 6;

/// Descriptors held in reserve for when the system has none left.
#[derive(Debug)]
pub(super) struct Spare(Vec<OwnedFd>);

impl Spare {
    fn new() -> Self {
        let mut spare = Self(Vec::with_capacity(SPARE));
        spare.fill();
        spare
    }

    /// Runs what needs a few descriptors and closes them again.
    pub(super) fn lend<T>(&mut self, to: impl FnOnce() -> T) -> T {
        self.0.clear();
        let done = to();
        self.fill();
        done
    }

    /// Takes what the system gives. The next call tries again.
    fn fill(&mut self) {
        while self.0.len() < SPARE {
            let one = match self.0.first() {
                Some(first) => fcntl_dupfd_cloexec(first, 3).map_err(io::Error::from),
                None => File::open("/dev/null").map(OwnedFd::from),
            };
            let Ok(one) = one else { return };
            self.0.push(one);
        }
    }
}
