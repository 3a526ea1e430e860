//! The client's side of the control channel.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{Shutdown, shutdown};

use super::private::{Private, PrivateError, Process};
use super::{Channel, ClientError, Opened};
use crate::protocol::link::{Deadline, Link, LinkError};
use crate::protocol::{
    ChannelId, ChannelSpec, Confinement, End, Event, MethodState, Refusal, Reply, Request, Resource,
    SocketAddress, Status, Usage, dial,
};
use crate::transports::sys::{reveal_sender, sender};
use crate::transports::{CallError, ConnectError, Endpoint, Owner, Reach, RoundError, Settings, only_cpu};

/// How long the daemon may take to reply. Opening a channel takes longest, at most 5 s.
const REPLY_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the daemon may take to report the end of a channel, after the client has noticed it.
const EVENT_TIMEOUT: Duration = Duration::from_secs(1);

/// The same, if that was not enough and the daemon still replies.
const LATE_EVENT_TIMEOUT: Duration = Duration::from_secs(3);

/// What [`Client::acquire`] does while another client holds the lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseWait {
    /// Waits in a queue, first come, first served.
    Queue,
    /// Waits in the queue for this time at most, then fails with [`ClientError::StillBusy`].
    AtMost(Duration),
    /// Fails at once, with [`ClientError::Refused`].
    No,
}

/// A connection to a daemon: the control channel, through which data channels are opened and closed.
///
/// Only one client measures at a time: it holds the *lease* ([`acquire`](Self::acquire)) while it opens channels
/// ([`open`](Self::open)) and runs rounds on them ([`Channel`]). Dropping the value ends the connection, and with it the
/// lease and every channel.
#[derive(Debug)]
pub struct Client {
    link: Link,
    /// The channels that are not closed yet, and how those have ended that have.
    channels: BTreeMap<ChannelId, Option<End>>,
    /// Why the daemon ends the connection, if it has said so.
    ending: Option<Ending>,
    /// Who has sent the first reply. The socket's own peer would be the process that listened: a service manager.
    daemon: Option<Owner>,
    /// The daemon's socket; `None` for a private daemon.
    path: Option<PathBuf>,
    /// Once set, ends what is being measured through this connection.
    interrupt: Arc<AtomicBool>,
    /// A private daemon, which ends when `link` is closed; so it is dropped after `link`.
    _process: Option<Process>,
}

impl Client {
    /// Connects to the daemon at `address`.
    ///
    /// # Errors
    /// [`ClientError::Dial`]: no daemon listens there, it does not greet, or it speaks another version of the protocol.
    pub fn connect(address: &SocketAddress) -> Result<Self, ClientError> {
        let (link, path) = dial(address)?;
        Ok(Self::new(link, Some(path), None))
    }

    /// Connects to a private daemon, which ends with this value.
    ///
    /// # Errors
    /// [`ClientError::Private`] if it ended; [`ClientError::Link`] if it does not greet within 10 s.
    pub fn over(private: Private) -> Result<Self, ClientError> {
        let (socket, process) = private.into_parts();
        let mut link = Link::new(socket);
        match link.greet(REPLY_TIMEOUT) {
            Ok(_) => Ok(Self::new(link, None, Some(process))),
            Err(LinkError::Closed) => {
                drop(link);
                Err(PrivateError::Ended { code: process.code() }.into())
            }
            Err(error) => Err(error.into()),
        }
    }

    fn new(link: Link, path: Option<PathBuf>, process: Option<Process>) -> Self {
        let (channels, interrupt) = (BTreeMap::new(), Arc::default());
        // Without it, what depends on the daemon's user is refused.
        let _ = reveal_sender(&link);
        Self { link, channels, ending: None, daemon: None, path, interrupt, _process: process }
    }

    /// A flag that, once set, ends a run of trials with [`ClientError::Interrupted`], the current trial between two
    /// blocks of rounds.
    #[must_use]
    pub(crate) fn interrupt(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.interrupt)
    }

    /// Whether the flag is set.
    pub(crate) fn is_interrupted(&self) -> bool {
        self.interrupt.load(Ordering::Relaxed)
    }

    /// The daemon's socket; `None` for a private daemon.
    #[must_use]
    pub(crate) fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// The daemon's status: its limits, channels, lease and queue.
    ///
    /// # Errors
    /// The connection is lost.
    pub fn status(&mut self) -> Result<Status, ClientError> {
        match self.request(&Request::Status)? {
            Reply::Status(status) => Ok(status),
            other => Err(unexpected(&other)),
        }
    }

    /// What confines the responders: CPUs, control group, CPU quota.
    ///
    /// # Errors
    /// The connection is lost.
    pub(crate) fn confinement(&mut self) -> Result<Confinement, ClientError> {
        match self.request(&Request::Confinement)? {
            Reply::Confinement(confinement) => Ok(confinement),
            other => Err(unexpected(&other)),
        }
    }

    /// The methods (IPC mechanisms) that the daemon knows, in its order, and whether each is available on the daemon's
    /// side of this host.
    ///
    /// # Errors
    /// The connection is lost.
    pub fn methods(&mut self) -> Result<Vec<MethodState>, ClientError> {
        match self.request(&Request::Methods)? {
            Reply::Methods(methods) => Ok(methods),
            other => Err(unexpected(&other)),
        }
    }

    /// Checks that the daemon's limits allow this many channels at once.
    ///
    /// # Errors
    /// [`Refusal::OverLimit`] if they do not; the connection is lost.
    pub(crate) fn admits(&mut self, channels: u32) -> Result<(), ClientError> {
        let uid = rustix::process::geteuid().as_raw();
        match self.status()?.limit(Resource::Channels) {
            Some(limit) => Ok(limit.ever_admits(uid, channels.into()).map_err(Refusal::from)?),
            None => Ok(()),
        }
    }

    /// Acquires the lease, which opening a channel requires. Calls `on_position` with each position in the queue, 1 being
    /// next. With [`LeaseWait::Queue`] it blocks for as long as other clients measure. The daemon revokes the lease
    /// ([`ClientError::Revoked`]) if this process uses no CPU time for long while others wait; an open [`Channel`] uses some.
    ///
    /// # Errors
    /// [`ClientError::Refused`] if the lease is held and `wait` is [`LeaseWait::No`], [`ClientError::StillBusy`] if it is held
    /// for too long; the connection is lost.
    pub fn acquire(&mut self, wait: LeaseWait, mut on_position: impl FnMut(u32)) -> Result<(), ClientError> {
        let start = Instant::now();
        let mut reply = self.request(&Request::Acquire { wait: wait != LeaseWait::No })?;
        let mut position = u32::MAX;
        loop {
            match reply {
                Reply::Acquired => return Ok(()),
                // The queue moves forwards only.
                Reply::Queued { place } if place < position => {
                    position = place;
                    on_position(place);
                }
                other => return Err(unexpected(&other)),
            }
            // Other clients may take any time.
            let LeaseWait::AtMost(limit) = wait else {
                reply = self.reply(None)?;
                continue;
            };
            reply = match self.reply(Some(limit.saturating_sub(start.elapsed()))) {
                Err(ClientError::Link(LinkError::Silent(_))) => return Err(self.leave_queue(limit)),
                reply => reply?,
            };
        }
    }

    /// Leaves the queue. What the daemon has sent before it read that is not wanted any more, the lease included.
    fn leave_queue(&mut self, waited: Duration) -> ClientError {
        let start = Instant::now();
        let mut reply = self.request(&Request::Release);
        loop {
            match reply {
                Ok(Reply::Released) => return ClientError::StillBusy { waited },
                Ok(Reply::Acquired | Reply::Queued { .. }) if start.elapsed() < REPLY_TIMEOUT => {
                    reply = self.reply(Some(REPLY_TIMEOUT))
                }
                Ok(other) => return unexpected(&other),
                Err(error) => return error,
            }
        }
    }

    /// Releases the lease, for the next client in the queue.
    ///
    /// # Errors
    /// [`ClientError::Refused`] while channels are open, since they would disturb the next measurement; the connection is
    /// lost.
    pub fn release(&mut self) -> Result<(), ClientError> {
        match self.request(&Request::Release)? {
            Reply::Released => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// Opens a data channel, which starts a responder process, and connects to it. The channel belongs to the calling
    /// thread.
    ///
    /// # Errors
    /// The method cannot do what `spec` asks for, the host lacks it, a limit is reached, or connecting fails.
    pub fn open(&mut self, spec: &ChannelSpec) -> Result<Channel, ClientError> {
        let opened = self.ask(spec)?;
        let (id, method) = (opened.id(), opened.method());
        opened.connect(self.as_fd()).map_err(|source| self.not_connected(id, method, source))
    }

    /// Opens a data channel without connecting to it, so that another thread can.
    ///
    /// # Errors
    /// The method cannot do what `spec` asks for, the host lacks it, or a limit is reached.
    pub fn ask(&mut self, spec: &ChannelSpec) -> Result<Opened, ClientError> {
        let spec = ChannelSpec { client_cpu: only_cpu(), ..spec.clone() };
        let (address, channel, token, responder_pid, responder_cpu, expected) =
            match self.request(&Request::Open(spec.clone()))? {
                Reply::Opened { channel, token, endpoint, descriptors, responder_pid, responder_cpu } => {
                    (endpoint, channel, token, responder_pid, responder_cpu, descriptors)
                }
                other => return Err(unexpected(&other)),
            };
        self.channels.insert(channel, None);
        let descriptors = self.link.take_descriptors();
        let (mechanism, settings) = Settings::of_own(&spec, token)?;
        let settings = settings.on_cpus(spec.client_cpu, responder_cpu);
        if u32::try_from(descriptors.len()) != Ok(expected) {
            // The kernel drops those for which this process has no room.
            let error =
                CallError { what: "taking over its descriptors", source: rustix::io::Errno::MFILE.into() };
            return Err(self.not_connected(channel, settings.method, error.into()));
        }
        let own = Owner::this();
        let daemon = self.daemon.unwrap_or(Owner { pid: 0, uid: u32::MAX, gid: u32::MAX });
        if mechanism.info().reach == Reach::SameUser && daemon.uid != own.uid {
            return Err(self.not_connected(channel, settings.method, ConnectError::OtherUser(daemon.uid)));
        }
        let endpoint = Endpoint { address, descriptors, daemon };
        Ok(Opened::new(channel, mechanism, settings, endpoint, responder_pid))
    }

    /// Finds out from the daemon why connecting failed, and closes the channel.
    pub(super) fn not_connected(
        &mut self,
        channel: ChannelId,
        method: &str,
        source: ConnectError,
    ) -> ClientError {
        let method = method.to_owned();
        // These errors arise before the responder is reached, so that it has not ended.
        let own = source.is_denied() || source.is_unavailable();
        let ended = if own { None } else { self.wait_for_end(&[channel], EVENT_TIMEOUT) };
        match ended {
            Some((_, end)) => ClientError::Round { method, end: Some(end), source: RoundError::PeerClosed },
            None => match self.close_id(channel) {
                Ok(()) => ClientError::Connect { method, source },
                Err(error) => error,
            },
        }
    }

    /// The resources that the channel's responder has used so far.
    ///
    /// # Errors
    /// The responder has ended; the connection is lost.
    pub(crate) fn usage(&mut self, channel: &Channel) -> Result<Usage, ClientError> {
        self.usage_of(channel.id(), channel.method())
    }

    pub(super) fn usage_of(&mut self, channel: ChannelId, method: &str) -> Result<Usage, ClientError> {
        match self.request(&Request::Usage(channel)) {
            Ok(Reply::Usage(usage)) => Ok(usage),
            Ok(other) => Err(unexpected(&other)),
            // The event of its end precedes the refusal.
            Err(ClientError::Refused(_)) if self.ended_of(&[channel]).is_some() => {
                Err(self.explain_one_of(&[channel], method, RoundError::Ended).1)
            }
            Err(error) => Err(error),
        }
    }

    /// Closes a channel. When this returns, its responder process and its resources are gone.
    ///
    /// # Errors
    /// The connection is lost. It is not an error if the channel has ended by itself.
    pub fn close(&mut self, channel: Channel) -> Result<(), ClientError> {
        self.close_id(channel.id())
    }

    pub(super) fn close_id(&mut self, channel: ChannelId) -> Result<(), ClientError> {
        if self.ended_of(&[channel]).is_none() {
            match self.request(&Request::Close(channel)) {
                Ok(Reply::Closed) => {}
                Ok(other) => return Err(unexpected(&other)),
                // It ended meanwhile.
                Err(ClientError::Refused(_)) if self.ended_of(&[channel]).is_some() => {}
                Err(error) => return Err(error),
            }
        }
        self.channels.remove(&channel);
        Ok(())
    }

    /// Finds out from the daemon how the responder ended, where that is why a round failed.
    #[must_use]
    pub fn explain(&mut self, channel: &Channel, source: RoundError) -> ClientError {
        self.explain_one_of(&[channel.id()], channel.method(), source).1
    }

    /// The same for channels that end together; returns the one that ended first, if the daemon reports it.
    pub(super) fn explain_one_of(
        &mut self,
        channels: &[ChannelId],
        method: &str,
        source: RoundError,
    ) -> (Option<ChannelId>, ClientError) {
        let method = method.to_owned();
        match source {
            RoundError::PeerClosed | RoundError::Ended => {}
            source => {
                // The daemon has emptied the memory of a client whose lease it revoked, which does not hold a pong then.
                let _ = self.poll_end(channels);
                let sent_away = self.ending.map(Ending::error);
                return (None, sent_away.unwrap_or(ClientError::Round { method, end: None, source }));
            }
        }
        let mut ended = self.wait_for_end(channels, EVENT_TIMEOUT);
        if ended.is_none() && self.ending.is_none() {
            // If the daemon has ended, that is the reason. If it is slow, or the responder is, whose descriptors close one
            // after the other on an overloaded host, the event is still to come.
            if let Err(error) = self.status() {
                return (None, error);
            }
            ended = self.wait_for_end(channels, LATE_EVENT_TIMEOUT);
        }
        let Some((channel, end)) = ended else {
            let reason = self.ending.map(Ending::error);
            return (None, reason.unwrap_or(ClientError::Round { method, end: None, source }));
        };
        (Some(channel), ClientError::Round { method, end: Some(end), source })
    }

    /// Which of these channels has ended, and how, as far as the daemon has reported it. Does not wait.
    ///
    /// # Errors
    /// The connection is lost, or the daemon is stopping.
    pub(super) fn poll_end(
        &mut self,
        channels: &[ChannelId],
    ) -> Result<Option<(ChannelId, End)>, ClientError> {
        const NOW: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };
        while poll(&mut [PollFd::new(&self.link, PollFlags::IN)], Some(&NOW)).is_ok_and(|ready| ready > 0) {
            let received = self.link.receive(Some(EVENT_TIMEOUT));
            if let (Some(ending), true) = (self.ending, received.is_err()) {
                return Err(ending.error());
            }
            if let Some(other) = self.note(received?)? {
                return Err(unexpected(&other));
            }
        }
        match (self.ended_of(channels), self.ending) {
            (None, Some(ending)) => Err(ending.error()),
            (ended, _) => Ok(ended),
        }
    }

    /// Which of these channels has ended, and how, once the daemon reports it; `None` after the timeout.
    fn wait_for_end(&mut self, channels: &[ChannelId], timeout: Duration) -> Option<(ChannelId, End)> {
        loop {
            let ended = self.ended_of(channels);
            if ended.is_some() || self.ending.is_some() {
                return ended;
            }
            let reply = self.link.receive(Some(timeout)).ok()?;
            self.note(reply).ok()?;
        }
    }

    fn ended_of(&self, channels: &[ChannelId]) -> Option<(ChannelId, End)> {
        channels.iter().find_map(|id| Some((*id, self.channels.get(id)?.clone()?)))
    }

    /// Notes an event; returns any other reply.
    ///
    /// # Errors
    /// No daemon reports a second end of a channel, or the end of one that this client has not open.
    fn note(&mut self, reply: Reply) -> Result<Option<Reply>, ClientError> {
        match reply {
            Reply::Event(Event::Ended { channel, ref end }) => match self.channels.get_mut(&channel) {
                Some(ended @ None) => *ended = Some(end.clone()),
                _ => return Err(unexpected(&reply)),
            },
            Reply::Event(_) if self.ending.is_some() => return Err(unexpected(&reply)),
            Reply::Event(Event::Stopping) => self.ending = Some(Ending::Stopping),
            Reply::Event(Event::Revoked { after_ms }) => {
                self.ending = Some(Ending::Revoked { after: Duration::from_millis(after_ms) });
            }
            other => return Ok(Some(other)),
        }
        Ok(None)
    }

    fn request(&mut self, request: &Request) -> Result<Reply, ClientError> {
        let Err(error) = self.link.send(request, &[]) else {
            let mut deadline = Deadline::after(REPLY_TIMEOUT);
            if self.daemon.is_none() {
                self.link.wait(&mut deadline)?;
                self.daemon = sender(&self.link).ok();
            }
            return self.reply_by(Some(&mut deadline));
        };
        // Its last reply says more than that it closed the connection.
        match self.reply(Some(EVENT_TIMEOUT)) {
            Err(reason @ (ClientError::Stopping | ClientError::Revoked { .. } | ClientError::Refused(_))) => {
                Err(reason)
            }
            _ => Err(error.into()),
        }
    }

    fn reply(&mut self, timeout: Option<Duration>) -> Result<Reply, ClientError> {
        self.reply_by(timeout.map(Deadline::after).as_mut())
    }

    fn reply_by(&mut self, mut deadline: Option<&mut Deadline>) -> Result<Reply, ClientError> {
        loop {
            let received = self.link.receive_by(deadline.as_deref_mut());
            if let (Some(ending), true) = (self.ending, received.is_err()) {
                return Err(ending.error());
            }
            match self.note(received?)? {
                // A daemon that ends the connection refuses because the channels are gone: that end is the reason.
                Some(Reply::Refused(refusal)) => {
                    return Err(self.ending.map_or_else(|| refusal.into(), Ending::error));
                }
                Some(reply) => return Ok(reply),
                None => {}
            }
        }
    }
}

impl AsFd for Client {
    /// The control connection, readable when a channel ends: for [`Opened::connect`].
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.link.as_fd()
    }
}

impl Drop for Client {
    /// Shuts the connection down, which ends its channels and its lease even if a [`Channel`] still holds a duplicate of
    /// the descriptor.
    fn drop(&mut self) {
        // Fails only if the daemon has closed it.
        let _ = shutdown(self.link.as_fd(), Shutdown::Both);
    }
}

/// Why the daemon ends the connection.
#[derive(Debug, Clone, Copy)]
enum Ending {
    Stopping,
    Revoked { after: Duration },
}

impl Ending {
    fn error(self) -> ClientError {
        match self {
            Self::Stopping => ClientError::Stopping,
            Self::Revoked { after } => ClientError::Revoked { after },
        }
    }
}

fn unexpected(reply: &Reply) -> ClientError {
    ClientError::Unexpected(format!("{reply:?}"))
}
