//! A data channel, as the daemon sees it: a responder process from its start to its end.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use crate::protocol::frame::{Assembler, frame};
use crate::protocol::link::{receive_part, send_part};
use crate::protocol::shortage::no_process;
use crate::protocol::{
    ChannelId, ChannelSpec, ChannelStatus, End, Refusal, Token, chain, decode, encode, role,
};
use crate::transports::sys::find_descriptors;
use crate::transports::{Announcement, Assignment, Grant, Mechanism, Owner, Settings, available_to};

/// A channel's start takes so many, most of them for a moment: to see whether the host has the mechanism, to start a process,
/// and for what that hands over.
const DESCRIPTORS: usize = 12;

/// How long a responder may take to be connectable.
pub(super) const READY_PATIENCE: Duration = Duration::from_secs(5);

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
}

impl AsFd for Channel {
    /// Readable when the responder has told something or has ended.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.link.as_fd()
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
        let spawn_failed = |error: io::Error| Refusal::Spawn { reason: chain(&no_process(error)) };
        // What fails for the lack of one in the midst of it would be told as something else.
        find_descriptors(DESCRIPTORS).map_err(|error| Refusal::Shortage { reason: chain(&error) })?;
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
        })
    }

    /// By when it has to be connectable.
    pub(super) fn deadline(&self) -> Option<Instant> {
        (self.state == State::Starting).then(|| self.started + READY_PATIENCE)
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

    /// Reads what the responder tells; `None` if that is not whole yet. Never blocks for long.
    pub(super) fn receive(&mut self) -> Option<News> {
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
                            self.fail(format!("what it hands over cannot be taken: {}", chain(&error)));
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
                Ok(_) | Err(_) => return Some(News::Ended(self.reap())),
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

    /// Waits for the responder, which has closed its socket and so is all but gone.
    fn reap(&mut self) -> End {
        let status = self.child.wait();
        match (self.failure.take(), status) {
            (Some(reason), _) => End::Failed(reason),
            (None, Ok(status)) => match (status.code(), status.signal()) {
                (Some(code), _) => End::Exited(code),
                (None, signal) => End::Signalled(signal.unwrap_or(0)),
            },
            (None, Err(error)) => End::Failed(error.to_string()),
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
        let mut fds = [PollFd::new(&self.link, PollFlags::IN)];
        if poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 500_000_000 })).is_ok_and(|ready| ready > 0) {
            self.reap();
            self.remove_leftovers();
        }
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
