//! Data channels as the daemon sees them: each is a responder process, from its start to its end.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use rustix::rand::{GetRandomFlags, getrandom};

use super::connection::ConnectionId;
use super::lent::Lent;
use super::limits::admit;
use crate::config::Limits;
use crate::diagnostics::error_chain;
use crate::protocol::frame::{Assembler, frame};
use crate::protocol::link::{receive_part, send_part};
use crate::protocol::{
    ChannelId, ChannelSpec, ChannelStatus, End, Refusal, Resource, Token, decode, encode, role,
};
use crate::shortage::explain_spawn;
use crate::transports::sys::find_descriptors;
use crate::transports::{
    Announcement, Assignment, Grant, Mechanism, Owner, Settings, available_to, unique_name,
};

/// Descriptors that starting a channel takes, most of them for a moment: to probe the mechanism, to start a process, and to
/// receive what that hands over.
const DESCRIPTORS: usize = 12;

/// How long a responder may take to be connectable.
pub(super) const READY_PATIENCE: Duration = Duration::from_secs(5);

/// How long a responder that has closed its socket may take to exit, until it is killed.
const EXIT_PATIENCE: Duration = Duration::from_secs(1);

/// How often such a responder is polled where no descriptor is left for a pidfd.
const EXIT_POLL: Duration = Duration::from_millis(5);

/// How long a responder may take to exit once it is killed and its channel is dropped.
const DROP_PATIENCE: Duration = Duration::from_millis(500);

/// What the service manager passes to the daemon alone.
const NOT_FOR_RESPONDERS: [&str; 6] =
    ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"];

/// All data channels.
pub(super) struct Channels {
    open: BTreeMap<ChannelId, Channel>,
    /// Those that ended early, whose clients have not seen that yet and may read their memory; and, without an owner, those
    /// whose clients still have what they were handed.
    ended: Vec<Channel>,
    next: ChannelId,
}

impl Channels {
    pub(super) fn new() -> Self {
        Self { open: BTreeMap::new(), ended: Vec::new(), next: 1 }
    }

    /// Starts a channel for a client, if the limits allow. It is open once its responder announces itself.
    pub(super) fn start(
        &mut self,
        owner: ConnectionId,
        client: Owner,
        spec: &ChannelSpec,
        limits: &Limits,
    ) -> Result<(), Refusal> {
        self.take_back();
        self.end_grown();
        let id = self.next;
        let mut token = [0; 32];
        retry_on_intr(|| getrandom(&mut token, GetRandomFlags::empty()))
            .map_err(|error| spawn_failed(error.into()))?;
        let name = unique_name().map_err(spawn_failed)?;
        let grant = Grant { token: Token::new(token), name, client };
        let (mechanism, settings) = Settings::of(spec, grant.clone())?;
        let memory = mechanism.holds(settings.size);
        for (resource, asked) in [(Resource::Channels, 1), (Resource::Memory, memory)] {
            admit(resource, limits.of(resource), self.used(resource), client.uid, asked)?;
        }
        // A shortage halfway through would be reported as another error.
        find_descriptors(DESCRIPTORS).map_err(|error| Refusal::Shortage { reason: error_chain(&error) })?;
        if let Err(reason) = available_to(mechanism, &spec.options, client) {
            return Err(Refusal::Unavailable { method: settings.method.to_owned(), reason });
        }
        let title = format!("ipcd: responder for channel {id} ({})", settings.method);
        let process = Process::start(&title, Assignment { spec: spec.clone(), grant })?;
        let cpu = spec.server_cpu.map(|cpu| format!(", on CPU {cpu}")).unwrap_or_default();
        let kind = format!("{}, {} bytes, {}{cpu}", settings.method, settings.size, settings.wait);
        let (owner, state, started) = (Some(owner), State::Starting, Instant::now());
        let lent = Vec::new();
        let channel = Channel { id, owner, state, kind, mechanism, settings, memory, lent, started, process };
        self.open.insert(id, channel);
        self.next += 1;
        Ok(())
    }

    pub(super) fn get(&mut self, id: ChannelId) -> Option<&mut Channel> {
        self.open.get_mut(&id)
    }

    /// A channel that this client opened.
    pub(super) fn get_own(&mut self, id: ChannelId, owner: ConnectionId) -> Result<&mut Channel, Refusal> {
        let own = self.open.get_mut(&id).filter(|channel| channel.owner == Some(owner));
        own.ok_or(Refusal::NoChannel { channel: id })
    }

    /// Removes a channel whose responder has exited.
    pub(super) fn remove(&mut self, id: ChannelId) -> Option<Channel> {
        self.open.remove(&id)
    }

    /// Keeps what a channel has lent until its client has closed it. If it has ended early, its client may read from the
    /// memory until then.
    pub(super) fn keep_lent(&mut self, mut channel: Channel) {
        if channel.state != State::Open {
            channel.owner = None;
        }
        self.ended.push(channel);
        self.take_back();
    }

    /// Empties what is lent by channels that are over, and drops what their clients have closed.
    fn take_back(&mut self) {
        self.ended.retain(|channel| {
            if channel.owner.is_some() {
                return !channel.lent.is_empty();
            }
            let is_held = channel.is_held();
            if is_held {
                // What is not kept is emptied when it is dropped.
                channel.lent.iter().for_each(Lent::revoke);
            }
            is_held
        });
    }

    /// Ends the channels whose memory their clients have made larger, so that it is there for others.
    fn end_grown(&mut self) {
        for channel in self.open.values_mut() {
            if channel.state == State::Open && channel.lent.iter().any(Lent::has_grown) {
                channel.process.fail("its client has made its memory larger".to_owned());
            }
        }
    }

    /// How many channels a client has open and has not asked to close.
    pub(super) fn open_of(&self, owner: ConnectionId) -> usize {
        let is_open = |it: &&Channel| it.owner == Some(owner) && it.state != State::Closing;
        self.open.values().filter(is_open).count()
    }

    /// Ends the channels of a client that is gone, or every channel. The limits count them until their responders have
    /// exited.
    pub(super) fn end(&mut self, owner: Option<ConnectionId>) {
        for channel in self.open.values_mut().filter(|it| owner.is_none() || it.owner == owner) {
            channel.owner = None;
            channel.kill(State::Killed);
        }
        for channel in self.ended.iter_mut().filter(|it| owner.is_none() || it.owner == owner) {
            channel.owner = None;
        }
        self.take_back();
    }

    /// How much of a resource each user's channels have.
    pub(super) fn used(&self, resource: Resource) -> impl Iterator<Item = (u32, u64)> {
        let counts = move |channel: &&Channel| match channel.owner {
            Some(_) => resource == Resource::Memory,
            None => channel.is_held(),
        };
        let ended = self.ended.iter().filter(counts);
        self.open.values().chain(ended).map(move |channel| {
            (channel.uid(), if resource == Resource::Memory { channel.memory } else { 1 })
        })
    }

    pub(super) fn poll_fds(&self) -> impl Iterator<Item = (ChannelId, PollFd<'_>)> {
        self.open.values().filter_map(|channel| Some((channel.id, channel.process.poll_fd()?)))
    }

    /// When the next channel is overdue.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.open.values().filter_map(Channel::deadline).min()
    }

    /// The channels that are overdue.
    pub(super) fn overdue(&self, now: Instant) -> Vec<ChannelId> {
        let is_late = |channel: &&Channel| channel.deadline().is_some_and(|deadline| deadline <= now);
        self.open.values().filter(is_late).map(|channel| channel.id).collect()
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = ChannelId> {
        self.open.keys().copied()
    }

    /// The first `most` channels.
    pub(super) fn status(&self, most: usize) -> Vec<ChannelStatus> {
        self.open.values().take(most).map(Channel::status).collect()
    }
}

/// The state of a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Its client waits until it is connectable.
    Starting,
    /// It is connectable.
    Open,
    /// Its responder was killed, at the request of its client, which waits until it has exited.
    Closing,
    /// Its responder was killed for another reason.
    Killed,
}

/// A data channel and its responder.
pub(super) struct Channel {
    pub(super) id: ChannelId,
    /// `None` once its client is gone.
    pub(super) owner: Option<ConnectionId>,
    pub(super) state: State,
    /// Method, size, wait strategy and the responder's CPU, for the log.
    pub(super) kind: String,
    mechanism: &'static dyn Mechanism,
    settings: Settings,
    /// Bytes that the responder holds for payloads.
    memory: u64,
    /// Of that, what the client was handed.
    lent: Vec<Lent>,
    started: Instant,
    process: Process,
}

impl Channel {
    pub(super) fn method(&self) -> &'static str {
        self.settings.method
    }

    pub(super) fn token(&self) -> Token {
        self.settings.token
    }

    /// The user of its client, also after the client is gone.
    pub(super) fn uid(&self) -> u32 {
        self.settings.client.uid
    }

    pub(super) fn responder_pid(&self) -> u32 {
        self.process.child.id()
    }

    /// Whether its responder has yet to become connectable, and has not failed at that.
    pub(super) fn is_starting(&self) -> bool {
        self.state == State::Starting && self.process.exiting.is_none()
    }

    /// Kills its responder. [`News::Ended`] follows.
    pub(super) fn kill(&mut self, state: State) {
        self.state = state;
        self.process.kill();
    }

    /// What the responder reports next; `None` if there is nothing yet.
    pub(super) fn receive(&mut self) -> Option<News> {
        self.process.receive()
    }

    /// Keeps what is about to be handed to the client, to empty it at the channel's end.
    ///
    /// # Errors
    /// The system allows no more descriptors.
    pub(super) fn lend(&mut self, descriptors: &[OwnedFd]) -> Result<(), Errno> {
        for descriptor in descriptors {
            self.lent.extend(Lent::of(descriptor.as_fd())?);
        }
        Ok(())
    }

    /// Whether its client still has what it was handed.
    fn is_held(&self) -> bool {
        self.lent.iter().any(Lent::is_held)
    }

    /// Removes what a responder that has exited may have left.
    pub(super) fn remove_leftovers(&self) {
        self.mechanism.remove_leftovers(&self.settings.name);
    }

    /// When it has to be connectable, or when to check again whether its responder has exited.
    fn deadline(&self) -> Option<Instant> {
        match &self.process.exiting {
            Some(exiting) => Some(exiting.check_at),
            None => (self.state == State::Starting).then(|| self.started + READY_PATIENCE),
        }
    }

    fn status(&self) -> ChannelStatus {
        ChannelStatus {
            channel: self.id,
            method: self.settings.method.to_owned(),
            size_bytes: u32::try_from(self.settings.size).unwrap_or(u32::MAX),
            responder_pid: self.responder_pid(),
            client_pid: self.owner.map_or(0, |_| self.settings.client.pid),
            age_ns: u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX),
        }
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        if self.process.end() {
            self.remove_leftovers();
        }
    }
}

/// What a responder reports.
#[derive(Debug)]
pub(super) enum News {
    /// The channel is connectable.
    Ready { endpoint: String, descriptors: Vec<OwnedFd>, cpu: Option<u32> },
    /// The responder has exited. The caller [removes](Channel::remove_leftovers) its resources.
    Ended(End),
}

/// A responder's process and the socket to it. No call blocks.
#[derive(Debug)]
struct Process {
    child: Child,
    link: OwnedFd,
    assembler: Assembler,
    descriptors: Vec<OwnedFd>,
    failure: Option<String>,
    exiting: Option<Exiting>,
}

/// A responder that has closed its socket and has not exited yet. That usually takes microseconds, but it may have been
/// stopped in between.
#[derive(Debug)]
struct Exiting {
    since: Instant,
    /// Readable once it has exited. Without one, it is polled.
    pidfd: Option<OwnedFd>,
    check_at: Instant,
}

impl Exiting {
    fn new(child: &Child, since: Instant) -> Self {
        // The process exists until it is waited for, so its number is not reused.
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let pidfd = pid.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        let mut exiting = Self { since, pidfd, check_at: since };
        exiting.check_later(since);
        exiting
    }

    fn check_later(&mut self, now: Instant) {
        self.check_at = now + if self.pidfd.is_some() { EXIT_PATIENCE } else { EXIT_POLL };
    }
}

fn spawn_failed(error: io::Error) -> Refusal {
    Refusal::Spawn { reason: error_chain(&explain_spawn(error)) }
}

impl Process {
    fn start(title: &str, assignment: Assignment) -> Result<Self, Refusal> {
        let (link, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
            .map_err(|error| spawn_failed(error.into()))?;
        let assignment = frame(&encode(&assignment).map_err(spawn_failed)?);
        // A new socket has room for more than a frame.
        let sent = send_part(link.as_fd(), &assignment, &[]).map_err(|error| spawn_failed(error.into()))?;
        if sent != assignment.len() {
            return Err(spawn_failed(io::ErrorKind::WriteZero.into()));
        }
        // This very executable, even if its file was replaced. A separate process group, because Ctrl-C in the daemon's
        // terminal is for the daemon, which then ends its responders in order.
        let child = NOT_FOR_RESPONDERS
            .iter()
            .fold(&mut Command::new("/proc/self/exe"), |command, name| command.env_remove(name))
            .arg0(title)
            .arg(role::RESPONDER)
            .stdin(theirs)
            .stdout(Stdio::null())
            // Peers could fill the log by what libraries print. The responder reports its own errors over the socket.
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(spawn_failed)?;
        Ok(Self::new(child, link))
    }

    fn new(child: Child, link: OwnedFd) -> Self {
        let (assembler, descriptors) = (Assembler::default(), Vec::new());
        Self { child, link, assembler, descriptors, failure: None, exiting: None }
    }

    /// Readable when the responder has sent something or has exited; `None` where it has to be polled.
    fn poll_fd(&self) -> Option<PollFd<'_>> {
        let fd: BorrowedFd<'_> = match &self.exiting {
            None => self.link.as_fd(),
            Some(exiting) => exiting.pidfd.as_ref()?.as_fd(),
        };
        Some(PollFd::from_borrowed_fd(fd, PollFlags::IN))
    }

    fn kill(&mut self) {
        // Fails only if it has exited already.
        let _ = self.child.kill();
    }

    fn fail(&mut self, reason: String) {
        self.failure = Some(reason);
        self.kill();
    }

    fn receive(&mut self) -> Option<News> {
        if self.exiting.is_some() {
            return self.exited();
        }
        let mut buffer = [0; 4096];
        loop {
            let wanted = self.assembler.wanted().min(buffer.len());
            match receive_part(self.link.as_fd(), &mut buffer[..wanted], &mut self.descriptors) {
                Ok(n) if n > 0 => match self.assembler.take_in(&buffer[..n]) {
                    Ok(Some(body)) => match decode(&body) {
                        Ok(Announcement::Ready { endpoint, descriptors: sent, cpu }) => {
                            let descriptors = std::mem::take(&mut self.descriptors);
                            if u32::try_from(descriptors.len()) == Ok(sent) {
                                return Some(News::Ready { endpoint, descriptors, cpu });
                            }
                            // The kernel drops descriptors beyond the limit.
                            let error: io::Error = Errno::MFILE.into();
                            self.fail(format!("its descriptors cannot be received: {}", error_chain(&error)));
                        }
                        Ok(Announcement::Failed { reason }) => self.failure = Some(reason),
                        Err(error) => self.fail(error.to_string()),
                    },
                    Ok(None) => {}
                    Err(error) => self.fail(error.to_string()),
                },
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return None,
                Ok(_) | Err(_) => return self.exited(),
            }
        }
    }

    /// How the responder, which has closed its socket, has exited; `None` if it has not yet.
    fn exited(&mut self) -> Option<News> {
        let status = match self.child.try_wait() {
            Ok(Some(status)) => status,
            Ok(None) => {
                self.await_exit();
                return None;
            }
            Err(error) => return Some(News::Ended(End::Failed(error.to_string()))),
        };
        Some(News::Ended(match (self.failure.take(), status.code(), status.signal()) {
            (Some(reason), ..) => End::Failed(reason),
            (None, Some(code), _) => End::Exited(code),
            (None, None, signal) => End::Signalled(signal.unwrap_or(0)),
        }))
    }

    /// Has the loop wait for the exit, and kills a responder that takes too long.
    fn await_exit(&mut self) {
        let now = Instant::now();
        let exiting = self.exiting.get_or_insert_with(|| Exiting::new(&self.child, now));
        if now < exiting.check_at {
            return;
        }
        exiting.check_later(now);
        if now >= exiting.since + EXIT_PATIENCE {
            self.failure.get_or_insert_with(|| "its responder closed its socket and did not exit".to_owned());
            self.kill();
        }
    }

    /// Ends the process if it still runs; returns whether it did, and has exited now.
    fn end(&mut self) -> bool {
        if !matches!(self.child.try_wait(), Ok(None)) {
            return false;
        }
        self.kill();
        // The kernel may keep a process: it must not keep the daemon, and becomes init's child.
        let deadline = Instant::now() + DROP_PATIENCE;
        let exiting = Exiting::new(&self.child, Instant::now());
        while matches!(self.child.try_wait(), Ok(None)) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let (mut fds, most) = match &exiting.pidfd {
                Some(pidfd) => (vec![PollFd::new(pidfd, PollFlags::IN)], left),
                None => (Vec::new(), left.min(EXIT_POLL)),
            };
            let _ = poll(&mut fds, Timespec::try_from(most).ok().as_ref());
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{Signal, kill_process};

    /// A channel whose responder is a shell, with the link as its standard input.
    fn channel(script: &str) -> Channel {
        let spec = ChannelSpec::new("pipe");
        let (mechanism, settings) = Settings::of_own(&spec, Token::new([0; 32])).expect("pipe is a method");
        let (link, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
        let child = Command::new("sh").arg("-c").arg(script).stdin(theirs).spawn().unwrap();
        Channel {
            id: 1,
            owner: None,
            state: State::Open,
            kind: String::new(),
            mechanism,
            settings: Settings { name: "ipcd-test-no-such-name".to_owned(), ..settings },
            memory: 0,
            lent: Vec::new(),
            started: Instant::now(),
            process: Process::new(child, link),
        }
    }

    /// Waits for what the loop waits for.
    fn wait(channel: &Channel) {
        let mut fds: Vec<_> = channel.process.poll_fd().into_iter().collect();
        let left = channel.deadline().map(|at| at.saturating_duration_since(Instant::now()));
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        poll(&mut fds, left.as_ref()).unwrap();
    }

    fn end(mut channel: Channel) -> End {
        loop {
            wait(&channel);
            if let Some(News::Ended(end)) = channel.receive() {
                return end;
            }
        }
    }

    #[test]
    fn a_responder_that_is_stopped_before_its_exit_does_not_block() {
        let mut channel = channel("exec 0<&-; kill -STOP $$; exit 7");
        wait(&channel);
        // If it blocks, then for as long as the responder is stopped.
        while channel.process.exiting.is_none() {
            assert!(channel.receive().is_none());
        }
        assert!(channel.deadline().is_some());
        let pid = Pid::from_raw(i32::try_from(channel.responder_pid()).unwrap()).unwrap();
        let stat = || std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap();
        while !stat().contains(") T ") {
            std::thread::yield_now();
        }
        assert!(channel.receive().is_none());
        kill_process(pid, Signal::CONT).unwrap();
        assert_eq!(end(channel), End::Exited(7));
    }

    #[test]
    fn a_responder_that_does_not_exit_is_killed() {
        for has_descriptor in [true, false] {
            let mut channel = channel("exec 0<&-; kill -STOP $$");
            while channel.process.exiting.is_none() {
                wait(&channel);
                assert!(channel.receive().is_none());
            }
            if let Some(exiting) = channel.process.exiting.as_mut().filter(|_| !has_descriptor) {
                exiting.pidfd = None;
                exiting.check_at = exiting.since;
            }
            let failed = End::Failed("its responder closed its socket and did not exit".to_owned());
            assert_eq!(end(channel), failed);
        }
    }
}
