//! A data channel, as the daemon sees it: a responder process from its start to its end.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::diagnostics::error_chain;
use crate::protocol::frame::{Assembler, frame};
use crate::protocol::link::{receive_part, send_part};
use crate::protocol::{ChannelId, ChannelSpec, ChannelStatus, End, Refusal, Token, decode, encode, role};
use crate::shortage::explain_spawn;
use crate::transports::sys::find_descriptors;
use crate::transports::{Announcement, Assignment, Grant, Mechanism, Owner, Settings, available_to};

/// A channel's start takes so many, most of them for a moment: to see whether the host has the mechanism, to start a process,
/// and for what that hands over.
const DESCRIPTORS: usize = 12;

/// How long a responder may take to be connectable.
pub(super) const READY_PATIENCE: Duration = Duration::from_secs(5);

/// How long a responder that has closed its socket may take to end, until it is killed.
const LEAVE_PATIENCE: Duration = Duration::from_secs(1);

/// How often such a one is looked at where the system has no descriptor left that would tell of its end.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// How long it may take to end once it is killed and its channel is dropped.
const DROP_PATIENCE: Duration = Duration::from_millis(500);

/// What the service manager says to the daemon alone.
const NOT_FOR_RESPONDERS: [&str; 6] =
    ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"];

/// How far a channel has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Its client waits to hear where it is.
    Starting,
    /// It is connectable.
    Open,
    /// Its responder was killed and has not ended yet.
    Ending,
}

/// What a responder's socket told.
#[derive(Debug)]
pub(super) enum News {
    /// The channel is connectable.
    Ready { endpoint: String, descriptors: Vec<OwnedFd>, cpu: Option<u32> },
    /// The responder is no more. What it made is to be [removed](Channel::remove_leftovers).
    Ended(End),
}

/// A data channel and its responder. The responder ends with its value, if not before.
pub(super) struct Channel {
    pub(super) id: ChannelId,
    pub(super) state: State,
    pub(super) token: Token,
    mechanism: &'static dyn Mechanism,
    method: &'static str,
    size_bytes: u32,
    /// What it is, for the log.
    kind: String,
    name: String,
    child: Child,
    link: OwnedFd,
    assembler: Assembler,
    descriptors: Vec<OwnedFd>,
    failure: Option<String>,
    started: Instant,
    leaving: Option<Leaving>,
}

/// A responder that has closed its socket and has not ended yet. Mostly that is a matter of microseconds; but it may have
/// been stopped in between.
#[derive(Debug)]
struct Leaving {
    since: Instant,
    /// Readable when it has ended. Without one, it is looked at now and then.
    process: Option<OwnedFd>,
    /// When to look at it again.
    again: Instant,
}

impl Leaving {
    fn of(child: &Child, now: Instant) -> Self {
        // The process is there until it is waited for: its number is nobody else's.
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let process = pid.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        let again = now + if process.is_some() { LEAVE_PATIENCE } else { LOOK_AGAIN };
        Self { since: now, process, again }
    }
}

impl Channel {
    /// Starts a responder for `spec`, for `client`. `name` is what a resource of it that needs a name will be called.
    pub(super) fn start(
        id: ChannelId,
        spec: &ChannelSpec,
        name: String,
        client: Owner,
    ) -> Result<Self, Refusal> {
        let spawn_failed = |error: io::Error| Refusal::Spawn { reason: error_chain(&explain_spawn(error)) };
        // What fails for the lack of one in the midst of it would be told as something else.
        find_descriptors(DESCRIPTORS).map_err(|error| Refusal::Shortage { reason: error_chain(&error) })?;
        let mut bytes = [0; 32];
        fill_random(&mut bytes).map_err(|error| spawn_failed(error.into()))?;
        let token = Token::new(bytes);
        let grant = Grant { token, name: name.clone(), client };
        let (mechanism, settings) = Settings::of(spec, grant.clone())?;
        if let Err(reason) = available_to(mechanism, &spec.options, client) {
            return Err(Refusal::Unavailable { method: settings.method.to_owned(), reason });
        }

        let (link, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
            .map_err(|error| spawn_failed(error.into()))?;
        let assignment = Assignment { spec: spec.clone(), grant };
        let assignment = frame(&encode(&assignment).map_err(spawn_failed)?);
        // A fresh socket takes more than a frame can hold.
        let sent = send_part(link.as_fd(), &assignment, &[]).map_err(|error| spawn_failed(error.into()))?;
        if sent != assignment.len() {
            return Err(spawn_failed(io::ErrorKind::WriteZero.into()));
        }
        // This very executable, also if another has taken its place on the disk. A process group of its own: Ctrl-C
        // in the daemon's terminal is for the daemon, which then ends its responders in order.
        let child = NOT_FOR_RESPONDERS
            .iter()
            .fold(&mut Command::new("/proc/self/exe"), |command, name| command.env_remove(name))
            .arg0(format!("ipcd: responder for channel {id} ({})", settings.method))
            .arg(role::RESPONDER)
            .stdin(theirs)
            .stdout(Stdio::null())
            // What its libraries say is not for the log, which peers could fill by it; what it fails for it tells itself.
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(spawn_failed)?;
        Ok(Self {
            id,
            state: State::Starting,
            token,
            mechanism,
            method: settings.method,
            size_bytes: spec.size_bytes,
            kind: kind(spec, &settings),
            name,
            child,
            link,
            assembler: Assembler::default(),
            descriptors: Vec::new(),
            failure: None,
            started: Instant::now(),
            leaving: None,
        })
    }

    /// What is readable when the responder has told something or has ended; `None` where only its deadline brings it up.
    pub(super) fn waits_on(&self) -> Option<BorrowedFd<'_>> {
        match &self.leaving {
            None => Some(self.link.as_fd()),
            Some(leaving) => leaving.process.as_ref().map(AsFd::as_fd),
        }
    }

    /// By when something has to have happened: by when it has to be connectable, or when to look again whether its
    /// responder has ended.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match &self.leaving {
            Some(leaving) => Some(leaving.again),
            None => (self.state == State::Starting).then(|| self.started + READY_PATIENCE),
        }
    }

    /// Whether its responder has closed its socket and has not ended yet.
    pub(super) fn is_leaving(&self) -> bool {
        self.leaving.is_some()
    }

    /// The responder's process.
    pub(super) fn responder_pid(&self) -> u32 {
        self.child.id()
    }

    /// Its mechanism's name.
    pub(super) fn method(&self) -> &'static str {
        self.method
    }

    /// What it is, for the log: method, size, wait strategy, the responder's CPU.
    pub(super) fn kind(&self) -> &str {
        &self.kind
    }

    /// What `status` tells of it.
    pub(super) fn status(&self, client_pid: u32) -> ChannelStatus {
        ChannelStatus {
            channel: self.id,
            method: self.method.to_owned(),
            size_bytes: self.size_bytes,
            responder_pid: self.child.id(),
            client_pid,
            age_ns: u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX),
        }
    }

    /// Begins the end. [`News::Ended`] follows.
    pub(super) fn kill(&mut self) {
        self.state = State::Ending;
        // Fails only if it has ended already.
        let _ = self.child.kill();
    }

    /// Reads what the responder tells; `None` if that is not whole yet, or if the responder has not ended yet. Never blocks.
    pub(super) fn receive(&mut self) -> Option<News> {
        if self.is_leaving() {
            return self.ended();
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
                            // The kernel drops what there is no room for.
                            let error: io::Error = Errno::MFILE.into();
                            self.fail(format!("what it hands over cannot be taken: {}", error_chain(&error)));
                        }
                        Ok(Announcement::Failed { reason }) => self.failure = Some(reason),
                        // It is this program itself: not to be expected, and not to be trusted on.
                        Err(error) => self.fail(error.to_string()),
                    },
                    Ok(None) => {}
                    Err(error) => self.fail(error.to_string()),
                },
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return None,
                Ok(_) | Err(_) => return self.ended(),
            }
        }
    }

    fn fail(&mut self, reason: String) {
        self.failure = Some(reason);
        let _ = self.child.kill();
    }

    /// Removes what a responder that has ended may have left.
    pub(super) fn remove_leftovers(&self) {
        self.mechanism.remove_leftovers(&self.name);
    }

    /// What the responder, which has closed its socket, has come to.
    fn ended(&mut self) -> Option<News> {
        let status = match self.child.try_wait() {
            Ok(Some(status)) => status,
            Ok(None) => {
                self.wait_on();
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

    /// Waits for its end without waiting here, and for so long only.
    fn wait_on(&mut self) {
        let now = Instant::now();
        let leaving = self.leaving.get_or_insert_with(|| Leaving::of(&self.child, now));
        if now < leaving.again {
            return;
        }
        leaving.again = now + if leaving.process.is_some() { LEAVE_PATIENCE } else { LOOK_AGAIN };
        if now >= leaving.since + LEAVE_PATIENCE {
            let _ = self.child.kill();
            if self.state != State::Ending {
                self.failure
                    .get_or_insert_with(|| "its responder closed its socket and did not end".to_owned());
            }
        }
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        let _ = self.child.kill();
        // A process that the kernel does not let go must not keep the daemon: it is then init's to wait for.
        let deadline = Instant::now() + DROP_PATIENCE;
        let leaving = Leaving::of(&self.child, Instant::now());
        while matches!(self.child.try_wait(), Ok(None)) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let (mut fds, most) = match &leaving.process {
                Some(process) => (vec![PollFd::new(process, PollFlags::IN)], left),
                None => (Vec::new(), left.min(LOOK_AGAIN)),
            };
            let _ = poll(&mut fds, Timespec::try_from(most).ok().as_ref());
        }
        self.remove_leftovers();
    }
}

fn kind(spec: &ChannelSpec, settings: &Settings) -> String {
    let cpu = spec.server_cpu.map(|cpu| format!(", on CPU {cpu}")).unwrap_or_default();
    format!("{}, {} bytes, {}{cpu}", settings.method, settings.size, settings.wait)
}

fn fill_random(mut bytes: &mut [u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match rustix::rand::getrandom(&mut *bytes, rustix::rand::GetRandomFlags::empty()) {
            Ok(n) => bytes = &mut bytes[n..],
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{Signal, kill_process};

    /// A channel whose responder is this shell's, with the link as its standard input.
    fn channel(script: &str) -> Channel {
        let spec = ChannelSpec::new("pipe");
        let (mechanism, settings) =
            Settings::of_own(&spec, Token::new([0; 32])).expect("there is such a mechanism");
        let (link, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
        let child = Command::new("sh").arg("-c").arg(script).stdin(theirs).spawn().unwrap();
        Channel {
            id: 1,
            state: State::Open,
            token: settings.token,
            mechanism,
            method: settings.method,
            size_bytes: spec.size_bytes,
            kind: kind(&spec, &settings),
            name: "ipcd-test-no-such-name".to_owned(),
            child,
            link,
            assembler: Assembler::default(),
            descriptors: Vec::new(),
            failure: None,
            started: Instant::now(),
            leaving: None,
        }
    }

    /// Waits for what the loop waits for.
    fn wait(channel: &Channel) {
        let mut fds: Vec<_> =
            channel.waits_on().iter().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
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
    fn a_responder_that_is_stopped_before_its_end_is_not_waited_for() {
        let mut channel = channel("exec 0<&-; kill -STOP $$; exit 7");
        wait(&channel);
        // It blocks for as long as it is stopped, if it blocks.
        while !channel.is_leaving() {
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
    fn one_that_does_not_end_by_itself_is_killed() {
        for has_descriptor in [true, false] {
            let mut channel = channel("exec 0<&-; kill -STOP $$");
            while !channel.is_leaving() {
                wait(&channel);
                assert!(channel.receive().is_none());
            }
            if let Some(leaving) = channel.leaving.as_mut().filter(|_| !has_descriptor) {
                leaving.process = None;
                leaving.again = leaving.since;
            }
            let told = end(channel);
            assert_eq!(told, End::Failed("its responder closed its socket and did not end".to_owned()));
        }
    }
}
