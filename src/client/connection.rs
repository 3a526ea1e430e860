//! The client's end of the control channel.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{Shutdown, shutdown};

use super::private::{Private, PrivateError, Process};
use super::{Channel, ClientError, Opened};
use crate::protocol::link::{Link, LinkError};
use crate::protocol::{
    ChannelId, ChannelSpec, End, Event, MethodState, Refusal, Reply, Request, Resource, SocketAddress,
    Status, Usage, dial,
};
use crate::transports::{CallError, ConnectError, Endpoint, RoundError, Settings, only_cpu};

/// How long a daemon may take to answer. Opening a channel takes it longest, at most 5 s.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long the news of a channel's end may take, once the client has noticed that it is over.
const NEWS_PATIENCE: Duration = Duration::from_secs(1);

/// The same where that was not enough and the daemon is there.
const LATE_NEWS_PATIENCE: Duration = Duration::from_secs(3);

/// Whether to wait for the lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseWait {
    /// In line, behind whoever was first.
    Queue,
    /// Not at all: [`Refusal::Busy`] if it is taken.
    No,
}

/// A connection to a daemon.
#[derive(Debug)]
pub struct Client {
    link: Link,
    /// How channels ended that were not closed yet.
    ended: BTreeMap<ChannelId, End>,
    stopping: bool,
    /// Where the daemon listens; `None` for a private one.
    path: Option<PathBuf>,
    /// Ends what is measured through it, once it is set.
    interrupt: Arc<AtomicBool>,
    /// A private daemon, which ends once `link`, which stands above, is closed.
    _process: Option<Process>,
}

impl Client {
    /// Connects to the daemon that `address` leads to.
    ///
    /// # Errors
    /// [`ClientError::Dial`].
    pub fn connect(address: &SocketAddress) -> Result<Self, ClientError> {
        let (link, path) = dial(address)?;
        Ok(Self {
            link,
            ended: BTreeMap::new(),
            stopping: false,
            path: Some(path),
            interrupt: Arc::default(),
            _process: None,
        })
    }

    /// Talks to a private daemon, which ends with this value.
    ///
    /// # Errors
    /// It does not greet.
    pub fn over(private: Private) -> Result<Self, ClientError> {
        let (socket, process) = private.into_parts();
        let mut link = Link::new(socket);
        match link.greet(PATIENCE) {
            Ok(_) => Ok(Self {
                link,
                ended: BTreeMap::new(),
                stopping: false,
                path: None,
                interrupt: Arc::default(),
                _process: Some(process),
            }),
            Err(LinkError::Closed) => {
                drop(link);
                Err(PrivateError::Ended { code: process.code() }.into())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// What ends a run of trials, once it is set, with [`ClientError::Interrupted`]: the trial that goes on then between
    /// two blocks of its rounds.
    #[must_use]
    pub(crate) fn interrupt(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.interrupt)
    }

    /// Whether it is set.
    pub(super) fn is_interrupted(&self) -> bool {
        self.interrupt.load(Ordering::Relaxed)
    }

    /// Where the daemon listens; `None` for a private one.
    #[must_use]
    pub(crate) fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// What the daemon is doing.
    ///
    /// # Errors
    /// The daemon is lost.
    pub fn status(&mut self) -> Result<Status, ClientError> {
        match self.request(&Request::Status)? {
            Reply::Status(status) => Ok(status),
            other => Err(unexpected(&other)),
        }
    }

    /// The mechanisms, as the daemon's side of this host has them.
    ///
    /// # Errors
    /// The daemon is lost.
    pub fn methods(&mut self) -> Result<Vec<MethodState>, ClientError> {
        match self.request(&Request::Methods)? {
            Reply::Methods(methods) => Ok(methods),
            other => Err(unexpected(&other)),
        }
    }

    /// Whether the daemon ever allows so many channels at a time.
    ///
    /// # Errors
    /// [`Refusal::OverLimit`] if it does not; the daemon is lost.
    pub(crate) fn admits(&mut self, channels: u32) -> Result<(), ClientError> {
        let uid = rustix::process::geteuid().as_raw();
        match self.status()?.limit(Resource::Channels) {
            Some(limit) => Ok(limit.ever_admits(uid, channels.into()).map_err(Refusal::from)?),
            None => Ok(()),
        }
    }

    /// Takes the lease, without which no channel is opened. `on_place` hears each place in line; 1 is next.
    ///
    /// # Errors
    /// [`Refusal::Busy`] with [`LeaseWait::No`]; the daemon is lost.
    pub fn acquire(&mut self, wait: LeaseWait, mut on_place: impl FnMut(u32)) -> Result<(), ClientError> {
        let mut reply = self.request(&Request::Acquire { wait: wait == LeaseWait::Queue })?;
        loop {
            match reply {
                Reply::Acquired => return Ok(()),
                Reply::Queued { place } => on_place(place),
                other => return Err(unexpected(&other)),
            }
            // However long the others take.
            reply = self.reply(None)?;
        }
    }

    /// Gives the lease back.
    ///
    /// # Errors
    /// [`Refusal::ChannelsOpen`]; the daemon is lost.
    pub fn release(&mut self) -> Result<(), ClientError> {
        match self.request(&Request::Release)? {
            Reply::Released => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// Opens a channel and connects to it. It belongs to the calling thread.
    ///
    /// # Errors
    /// The specification does not fit, the host cannot, or the connection fails.
    pub fn open(&mut self, spec: &ChannelSpec) -> Result<Channel, ClientError> {
        let opened = self.ask(spec)?;
        let (id, method) = (opened.id(), opened.method());
        opened.connect(self.as_fd()).map_err(|source| self.not_connected(id, method, source))
    }

    /// Has a channel opened that any thread may connect to.
    ///
    /// # Errors
    /// The specification does not fit, the host cannot, or as many channels are open as the daemon allows.
    pub fn ask(&mut self, spec: &ChannelSpec) -> Result<Opened, ClientError> {
        let spec = ChannelSpec { client_cpu: only_cpu(), ..spec.clone() };
        let (address, channel, token, responder_pid, responder_cpu, expected) =
            match self.request(&Request::Open(spec.clone()))? {
                Reply::Opened { channel, token, endpoint, descriptors, responder_pid, responder_cpu } => {
                    (endpoint, channel, token, responder_pid, responder_cpu, descriptors)
                }
                other => return Err(unexpected(&other)),
            };
        let descriptors = self.link.take_descriptors();
        let (mechanism, settings) = Settings::of_own(&spec, token)?;
        let settings = settings.on_cpus(spec.client_cpu, responder_cpu);
        if u32::try_from(descriptors.len()) != Ok(expected) {
            // The kernel drops what there is no room for.
            let error =
                CallError { what: "taking over its descriptors", source: rustix::io::Errno::MFILE.into() };
            return Err(self.not_connected(channel, settings.method, error.into()));
        }
        Ok(Opened::new(channel, mechanism, settings, Endpoint { address, descriptors }, responder_pid))
    }

    /// What it really was that kept a channel from being connected to; the channel is closed.
    pub(super) fn not_connected(
        &mut self,
        channel: ChannelId,
        method: &str,
        source: ConnectError,
    ) -> ClientError {
        let method = method.to_owned();
        // Who is not let in, or cannot have it here, has not met the responder: there is nothing to be told of it.
        let own = source.is_denied() || source.is_unavailable();
        let news = if own { None } else { self.news_of(&[channel], NEWS_PATIENCE) };
        match news {
            Some((_, end)) => ClientError::Round { method, end: Some(end), source: RoundError::PeerClosed },
            None => match self.close_id(channel) {
                Ok(()) => ClientError::Connect { method, source },
                Err(error) => error,
            },
        }
    }

    /// What the channel's responder has used so far.
    ///
    /// # Errors
    /// It has ended; the daemon is lost.
    pub(crate) fn usage(&mut self, channel: &Channel) -> Result<Usage, ClientError> {
        self.usage_of(channel.id(), channel.method())
    }

    pub(super) fn usage_of(&mut self, channel: ChannelId, method: &str) -> Result<Usage, ClientError> {
        match self.request(&Request::Usage(channel)) {
            Ok(Reply::Usage(usage)) => Ok(usage),
            Ok(other) => Err(unexpected(&other)),
            // The news of its end comes before the refusal.
            Err(ClientError::Refused(_)) if self.ended.contains_key(&channel) => {
                Err(self.explain_one_of(&[channel], method, RoundError::Ended).1)
            }
            Err(error) => Err(error),
        }
    }

    /// Ends a channel. Nothing of it is left when this returns, also if it has ended before.
    ///
    /// # Errors
    /// The daemon is lost.
    pub fn close(&mut self, channel: Channel) -> Result<(), ClientError> {
        self.close_id(channel.id())
    }

    pub(super) fn close_id(&mut self, channel: ChannelId) -> Result<(), ClientError> {
        if self.ended.remove(&channel).is_some() {
            return Ok(());
        }
        match self.request(&Request::Close(channel)) {
            Ok(Reply::Closed) => Ok(()),
            Ok(other) => Err(unexpected(&other)),
            // It has ended while it was asked for.
            Err(ClientError::Refused(_)) if self.ended.remove(&channel).is_some() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// What a round's error really was: asks the daemon how the responder ended.
    #[must_use]
    pub(crate) fn explain(&mut self, channel: &Channel, source: RoundError) -> ClientError {
        self.explain_one_of(&[channel.id()], channel.method(), source).1
    }

    /// The same for channels that end together: which of them was the first, if the daemon tells.
    pub(super) fn explain_one_of(
        &mut self,
        channels: &[ChannelId],
        method: &str,
        source: RoundError,
    ) -> (Option<ChannelId>, ClientError) {
        let method = method.to_owned();
        match source {
            RoundError::PeerClosed | RoundError::Ended => {}
            source => return (None, ClientError::Round { method, end: None, source }),
        }
        let mut told = self.news_of(channels, NEWS_PATIENCE);
        if told.is_none() && !self.stopping {
            // The daemon's own end is the reason, if it has ended. If it is only slow, or the responder is, which closes
            // one descriptor after the other on a host that has no time for it, the reason is still to come.
            if let Err(error) = self.status() {
                return (None, error);
            }
            told = self.news_of(channels, LATE_NEWS_PATIENCE);
        }
        let Some((channel, end)) = told else {
            let reason = if self.stopping {
                ClientError::Stopping
            } else {
                ClientError::Round { method, end: None, source }
            };
            return (None, reason);
        };
        (Some(channel), ClientError::Round { method, end: Some(end), source })
    }

    /// Which of these channels has ended and how, as far as the daemon has told; does not wait.
    ///
    /// # Errors
    /// The daemon is lost, or stops.
    pub(super) fn hear_of(
        &mut self,
        channels: &[ChannelId],
    ) -> Result<Option<(ChannelId, End)>, ClientError> {
        const NOW: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };
        while poll(&mut [PollFd::new(&self.link, PollFlags::IN)], Some(&NOW)).is_ok_and(|ready| ready > 0) {
            let received = self.link.receive(Some(NEWS_PATIENCE));
            if self.stopping && received.is_err() {
                return Err(ClientError::Stopping);
            }
            if let Some(other) = self.note(received?) {
                return Err(unexpected(&other));
            }
        }
        match channels.iter().find_map(|id| Some((*id, self.ended.get(id)?.clone()))) {
            None if self.stopping => Err(ClientError::Stopping),
            ended => Ok(ended),
        }
    }

    /// Which of these channels has ended and how, if the daemon tells within its time.
    fn news_of(&mut self, channels: &[ChannelId], patience: Duration) -> Option<(ChannelId, End)> {
        loop {
            let ended = channels.iter().find_map(|id| Some((*id, self.ended.get(id)?.clone())));
            if ended.is_some() || self.stopping {
                return ended;
            }
            let reply = self.link.receive(Some(patience)).ok()?;
            self.note(reply);
        }
    }

    /// Notes an event; returns any other reply.
    fn note(&mut self, reply: Reply) -> Option<Reply> {
        match reply {
            Reply::Event(Event::Ended { channel, end }) => {
                self.ended.insert(channel, end);
                None
            }
            Reply::Event(Event::Stopping) => {
                self.stopping = true;
                None
            }
            other => Some(other),
        }
    }

    fn request(&mut self, request: &Request) -> Result<Reply, ClientError> {
        let Err(error) = self.link.send(request, &[]) else { return self.reply(Some(PATIENCE)) };
        // What a daemon said before it closed tells more than that it did.
        match self.reply(Some(NEWS_PATIENCE)) {
            Err(said @ (ClientError::Stopping | ClientError::Refused(_))) => Err(said),
            _ => Err(error.into()),
        }
    }

    fn reply(&mut self, patience: Option<Duration>) -> Result<Reply, ClientError> {
        loop {
            let received = self.link.receive(patience);
            if self.stopping && received.is_err() {
                return Err(ClientError::Stopping);
            }
            match self.note(received?) {
                // Its channels have lost their owner by then, which is not what the user wants to know.
                Some(Reply::Refused(_)) if self.stopping => return Err(ClientError::Stopping),
                Some(Reply::Refused(refusal)) => return Err(refusal.into()),
                Some(reply) => return Ok(reply),
                None => {}
            }
        }
    }
}

impl AsFd for Client {
    /// The control connection, for [`Opened::connect`]: it speaks when a channel ends.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.link.as_fd()
    }
}

impl Drop for Client {
    /// Ends the connection, and so its channels and its lease, also where a [`Channel`] that is still held watches
    /// it through a descriptor of its own.
    fn drop(&mut self) {
        // Fails only if the daemon was first.
        let _ = shutdown(self.link.as_fd(), Shutdown::Both);
    }
}

fn unexpected(reply: &Reply) -> ClientError {
    ClientError::Unexpected(format!("{reply:?}"))
}
