//! Processes that a test has started, itself or through others, and what they say.

use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, Once};
use std::thread;
use std::time::{Duration, Instant};

use ipcd::internals::protocol::Exit;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::PATIENCE;

/// How much of what a process has said is shown when its test fails.
const LINES_SHOWN: usize = 20;

/// How many processes a test remembers, as long as no more of them run.
const REMEMBERED: usize = 50;

/// A process, held by a descriptor: its id cannot come to mean another one.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) pid: u32,
    pidfd: OwnedFd,
}

impl Peer {
    /// The process with this id, `None` if there is none.
    pub(crate) fn find(pid: u32) -> Option<Self> {
        let pidfd = pidfd_open(Pid::from_raw(pid.cast_signed())?, PidfdFlags::empty()).ok()?;
        Some(Self { pid, pidfd })
    }

    /// Sends a signal; a process that has ended gets none.
    pub(crate) fn signal(&self, signal: Signal) {
        let _ = pidfd_send_signal(&self.pidfd, signal);
    }

    /// Whether the process ends in time.
    pub(crate) fn ends_within(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        loop {
            let left = Timespec::try_from(deadline.saturating_duration_since(Instant::now())).unwrap();
            match poll(&mut [PollFd::new(&self.pidfd, PollFlags::IN)], Some(&left)) {
                Ok(ready) => return ready > 0,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => panic!("waiting for process {}: {error}", self.pid),
            }
        }
    }
}

/// What a process says on a stream, as it comes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Transcript(Arc<(Mutex<Said>, Condvar)>);

#[derive(Debug, Default)]
struct Said {
    bytes: Vec<u8>,
    /// No more output can follow: every process with the stream has ended or closed it.
    ended: bool,
}

impl Transcript {
    fn of(mut stream: impl Read + Send + 'static) -> Self {
        let transcript = Self::default();
        let writer = transcript.clone();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            loop {
                let n = stream.read(&mut buffer).unwrap_or(0);
                let (said, news) = &*writer.0;
                let mut said = said.lock().unwrap();
                said.bytes.extend_from_slice(&buffer[..n]);
                said.ended = n == 0;
                news.notify_all();
                if n == 0 {
                    return;
                }
            }
        });
        transcript
    }

    /// What was said so far.
    pub(crate) fn so_far(&self) -> String {
        String::from_utf8_lossy(&self.0.0.lock().unwrap().bytes).into_owned()
    }

    /// Waits until `found` finds something in what was said; `None` if it ends or takes too long before.
    fn wait_for<T>(&self, patience: Duration, found: impl Fn(&str) -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + patience;
        let (said, news) = &*self.0;
        let mut said = said.lock().unwrap();
        loop {
            if let Some(found) = found(&String::from_utf8_lossy(&said.bytes)) {
                return Some(found);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if said.ended || left.is_zero() {
                return None;
            }
            said = news.wait_timeout(said, left).unwrap().0;
        }
    }

    fn wait_for_end(&self, patience: Duration) -> bool {
        let (said, news) = &*self.0;
        let said = said.lock().unwrap();
        news.wait_timeout_while(said, patience, |said| !said.ended).unwrap().0.ended
    }
}

/// A process that a test has started. It is killed with its value.
#[derive(Debug)]
pub(crate) struct Process {
    what: String,
    child: Child,
    peer: Arc<Peer>,
    stdout: Transcript,
    stderr: Transcript,
}

impl Process {
    /// Starts `command`; `what` names it in messages.
    pub(crate) fn start(what: &str, command: &mut Command, stdin: Stdio) -> Self {
        let command = command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
        hear_signals();
        let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start {what}: {error}"));
        Self {
            what: what.to_owned(),
            peer: Arc::new(Peer::find(child.id()).expect("a child that was not waited for is there")),
            stdout: Transcript::of(child.stdout.take().unwrap()),
            stderr: Transcript::of(child.stderr.take().unwrap()),
            child,
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.peer.pid
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.peer.signal(signal);
    }

    /// Whether its stderr contains this so far.
    pub(crate) fn has_said(&self, part: &str) -> bool {
        self.stderr.so_far().contains(part)
    }

    /// How often its stderr contains this so far.
    pub(crate) fn times_said(&self, part: &str) -> usize {
        self.stderr.so_far().matches(part).count()
    }

    /// Whether it ends in time.
    pub(crate) fn ends_within(&self, patience: Duration) -> bool {
        self.peer.ends_within(patience)
    }

    /// Waits for a line on stderr that begins with `start`, and returns the rest of it.
    pub(crate) fn wait_for_line(&self, start: &str) -> String {
        let line = |text: &str| {
            let whole = &text[..=text.rfind('\n')?];
            whole.lines().find_map(|line| line.strip_prefix(start)).map(str::to_owned)
        };
        self.stderr.wait_for(PATIENCE, line).unwrap_or_else(|| {
            panic!("{} does not say \"{start}…\"; it said:\n{}", self.what, self.stderr.so_far())
        })
    }

    /// Waits for this on stdout.
    pub(crate) fn wait_for_output(&self, part: &str) {
        let found = self.stdout.wait_for(PATIENCE, |text| text.contains(part).then_some(()));
        let printed = || format!("{}{}", self.stdout.so_far(), self.stderr.so_far());
        assert!(found.is_some(), "{} does not say \"{part}\"; it said:\n{}", self.what, printed());
    }

    /// Waits for the end, and for the end of its streams: whatever it has started has ended too.
    pub(crate) fn wait(mut self, patience: Duration) -> Output {
        let ended = self.peer.ends_within(patience);
        assert!(ended, "{} does not end within {patience:?}; it said:\n{}", self.what, self.stderr.so_far());
        let status = self.child.wait().unwrap();
        for (name, stream) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            let closed = stream.wait_for_end(patience);
            assert!(closed, "{} has ended and its {name} is still held by another process", self.what);
        }
        Output { what: self.what.clone(), status, stdout: self.stdout.so_far(), stderr: self.stderr.so_far() }
    }
}

/// Lets the processes that are started from now on die of signals which this one was started to ignore (`nohup`, a shell's
/// `&`): what is ignored stays so in a program that is started, what is handled does not. Here it stays without effect.
fn hear_signals() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
        let ignored = u64::from_str_radix(ignored.trim(), 16).unwrap();
        for signal in [Signal::INT, Signal::QUIT, Signal::HUP, Signal::TERM].map(Signal::as_raw) {
            if ignored & (1 << (signal - 1)) != 0 {
                signal_hook::flag::register(signal, Arc::default()).unwrap();
            }
        }
    });
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How a process ended and what it said.
#[derive(Debug)]
pub(crate) struct Output {
    what: String,
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Output {
    /// Checks the exit code and the absence of a panic.
    #[track_caller]
    pub(crate) fn expect(self, exit: Exit) -> Self {
        assert_eq!(self.status.code(), Some(exit.code().into()), "{self:#?}");
        assert!(!self.stderr.contains("panicked"), "{self:#?}");
        self
    }

    /// Checks that stderr holds each of these.
    #[track_caller]
    pub(crate) fn says(self, parts: &[&str]) -> Self {
        for part in parts {
            assert!(
                self.stderr.contains(part),
                "no \"{part}\" in the stderr of {}:\n{}",
                self.what,
                self.stderr
            );
        }
        self
    }

    /// Checks that it was ended by this signal.
    #[track_caller]
    pub(crate) fn expect_signal(self, signal: Signal) -> Self {
        assert_eq!(self.status.signal(), Some(signal.as_raw()), "{self:#?}");
        self
    }
}

/// The processes of a test, for its watchdog.
#[derive(Debug, Clone, Default)]
pub(crate) struct Processes(Arc<Mutex<Vec<Known>>>);

/// What a watchdog knows of a process.
#[derive(Debug)]
struct Known {
    what: String,
    peer: Arc<Peer>,
    stderr: Transcript,
}

impl Processes {
    pub(super) fn add(&self, process: &Process) {
        let peer = Arc::clone(&process.peer);
        let known = Known { what: process.what.clone(), peer, stderr: process.stderr.clone() };
        let mut processes = self.0.lock().unwrap();
        processes.push(known);
        // A soak starts thousands; those without another owner have been waited for.
        if processes.len() > REMEMBERED
            && let Some(oldest) = processes.iter().position(|known| Arc::strong_count(&known.peer) == 1)
        {
            processes.remove(oldest);
        }
    }

    /// Whether it has been one of them.
    pub(super) fn has(&self, pid: u32) -> bool {
        self.0.lock().unwrap().iter().any(|known| known.peer.pid == pid)
    }

    /// Ends those that have not ended.
    pub(super) fn kill(&self) {
        for known in self.0.lock().unwrap().iter() {
            known.peer.signal(Signal::KILL);
        }
    }

    /// The last that each has said on stderr.
    pub(super) fn transcript(&self) -> String {
        let processes = self.0.lock().unwrap();
        let each = processes.iter().map(|Known { what, peer, stderr }| {
            let said = stderr.so_far();
            let lines: Vec<_> = said.lines().collect();
            let last = &lines[lines.len().saturating_sub(LINES_SHOWN)..];
            format!("--- last of stderr of {what}, process {}:\n{}\n", peer.pid, last.join("\n"))
        });
        each.collect()
    }
}
