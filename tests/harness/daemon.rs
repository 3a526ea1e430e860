//! A running `ipcd start`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use ipcd::internals::client::{Channel, Client, LeaseWait};
use ipcd::internals::protocol::{ChannelSpec, Exit, SocketAddress, Status};
use ipcd::internals::transports::RoundError;
use ipcd::internals::transports::{ClockSource, MonotonicClock};
use rustix::process::Signal;

use super::leftovers::children;
use super::{Output, PATIENCE, Peer, Process, SOON, Sandbox, eventually};

/// A running daemon. Dropping it sends a stop request, after which it must end in time and leave nothing behind.
#[derive(Debug)]
pub(crate) struct Daemon {
    process: Option<Process>,
    pub(crate) pid: u32,
    pub(crate) socket: PathBuf,
}

impl Daemon {
    /// Runs `command` and waits until it says where it listens.
    pub(crate) fn start(sandbox: &Sandbox, mut command: Command) -> Self {
        let process = sandbox.start(&mut command);
        let pid = process.pid();
        let socket = PathBuf::from(process.wait_for_line("ipcd: listening on "));
        Self { process: Some(process), pid, socket }
    }

    pub(crate) fn process(&self) -> &Process {
        self.process.as_ref().expect("it is taken only at the end")
    }

    /// A connection by the library.
    pub(crate) fn connect(&self) -> Client {
        Client::connect(&SocketAddress::resolve(Some(&self.socket))).unwrap()
    }

    /// A connection by the library that holds the lease.
    pub(crate) fn lease(&self) -> Client {
        let mut client = self.connect();
        client.acquire(LeaseWait::Queue, |_| ()).unwrap();
        client
    }

    /// The daemon's status.
    pub(crate) fn status(&self) -> Status {
        self.connect().status().unwrap()
    }

    /// Waits until a status is as wanted.
    pub(crate) fn wait_for_status(&self, what: &str, wanted: impl Fn(&Status) -> bool) -> Status {
        let mut client = self.connect();
        eventually(what, PATIENCE, || Some(client.status().unwrap()).filter(&wanted))
    }

    /// Checks that a well-behaved client is served.
    pub(crate) fn serves(&self, method: &str) {
        let mut client = self.lease();
        let mut channel = client.open(&ChannelSpec::new(method)).unwrap();
        rounds(&mut channel, 20).unwrap();
        client.close(channel).unwrap();
    }

    /// Checks that it has neither channels nor children nor connections.
    pub(crate) fn is_at_rest(&self) {
        drop(self.at_rest());
    }

    /// The same; returns the only connection that it has.
    pub(crate) fn at_rest(&self) -> Client {
        let mut client = self.connect();
        eventually("the daemon is at rest", PATIENCE, || {
            let status = client.status().unwrap();
            let rest = status.channels.is_empty() && status.lease_holders.is_empty();
            (rest && status.connections == 1).then_some(())
        });
        assert_eq!(children(self.pid), Vec::<String>::new());
        client
    }

    /// Stops its process until it gets a SIGCONT.
    pub(crate) fn pause(&self) {
        self.process().signal(Signal::STOP);
        eventually("it is stopped", SOON, || {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap();
            stat.rsplit(')').next().unwrap().trim_start().starts_with('T').then_some(())
        });
    }

    /// Ends it the hard way.
    pub(crate) fn kill(mut self) -> Output {
        let process = self.process.take().expect("it is taken only at the end");
        process.signal(Signal::KILL);
        process.wait(SOON).expect_signal(Signal::KILL)
    }

    /// Stops it by a signal, and checks that it ends in time and removes its files.
    pub(crate) fn stop_by(mut self, signal: Signal) -> Output {
        self.end(signal)
    }

    /// Waits for its end, which something else has brought about.
    pub(crate) fn ends(mut self) -> Output {
        self.process.take().expect("it is taken only at the end").wait(SOON)
    }

    fn end(&mut self, signal: Signal) -> Output {
        let process = self.process.take().expect("it is taken only at the end");
        process.signal(signal);
        let output = process.wait(SOON).expect(Exit::Success);
        let gone = |path: &Path| path.symlink_metadata().is_err();
        assert!(gone(&self.socket), "the socket is left");
        let mut lock = self.socket.clone().into_os_string();
        lock.push(".lock");
        assert!(gone(Path::new(&lock)), "the lock file is left");
        output
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.process.is_some() && !thread::panicking() {
            self.end(Signal::TERM);
        }
    }
}

/// Runs rounds and compares the bytes of the last one; the library's [`Channel::timed`] without its calibration each
/// time.
pub(crate) fn rounds(channel: &mut Channel, count: usize) -> Result<(), RoundError> {
    let block = channel.timed_block(clock(), &mut vec![0; count]);
    block.stop.map_or(Ok(()), Err)?;
    assert_eq!(block.done, count);
    channel.verify()
}

/// The clock of all rounds that tests run themselves.
pub(super) fn clock() -> ClockSource {
    ClockSource::Monotonic(MonotonicClock)
}

/// Waits until rounds run through the channel that `client` has open, and returns its responder.
pub(crate) fn responder_of(daemon: &Daemon, client: &Process) -> Peer {
    let pid = eventually("its channel is open", PATIENCE, || {
        let status = daemon.status();
        let own = status.channels.iter().find(|channel| channel.client_pid == client.pid())?;
        Some(own.responder_pid)
    });
    let responder = Peer::find(pid).expect("its channel is open");
    wait_until_measuring(client);
    responder
}

/// Waits until rounds of a client with `--interval` are counted. Its CPU use does not show it: connecting with a framework
/// costs more than many rounds.
pub(crate) fn wait_until_measuring(client: &Process) {
    client.wait_for_output(" trial 1 at ");
}
