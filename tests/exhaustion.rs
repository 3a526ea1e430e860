//! Exhausted resources: the channel is refused with the limit and a remedy, clients that are being served continue, and the same
//! daemon serves the same mechanism once there is more.

mod descriptors;
mod files;
mod memory;
mod ports;
mod processes;
mod queues;

use std::path::Path;
use std::process::Command;

use ipcd::internals::client::{Channel, Client, ClientError, LeaseWait};
use ipcd::internals::protocol::{ChannelSpec, Exit, SocketAddress, error_chain};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

use crate::harness::{Daemon, Output, Sandbox, not_tested, rounds};
use crate::users::User;

/// Of the daemon's that the tests starve: one client beside the one that is starved.
const TWO: [&str; 2] = ["--measurements", "2"];

/// A client that is served while another is not.
struct Bystander {
    client: Client,
    channel: Channel,
}

impl Bystander {
    fn of(daemon: &Daemon) -> Self {
        let mut client = daemon.lease();
        let channel = client.open(&ChannelSpec::new("socketpair")).unwrap();
        let mut bystander = Self { client, channel };
        bystander.goes_on();
        bystander
    }

    #[track_caller]
    fn goes_on(&mut self) {
        rounds(&mut self.channel, 10).unwrap();
    }

    fn finishes(mut self) {
        self.goes_on();
        self.client.close(self.channel).unwrap();
    }
}

/// A client that comes, opens a channel, runs rounds through it, closes it and goes.
fn measure(daemon: &Daemon, spec: &ChannelSpec) -> Result<(), ClientError> {
    let mut client = Client::connect(&SocketAddress::resolve(Some(&daemon.socket)))?;
    client.acquire(LeaseWait::Queue, |_| ())?;
    let mut channel = client.open(spec)?;
    rounds(&mut channel, 10).unwrap_or_else(|error| panic!("{spec:?}: {error:?}"));
    client.close(channel)
}

fn sized(method: &str, size_bytes: u32) -> ChannelSpec {
    ChannelSpec { size_bytes, ..ChannelSpec::new(method) }
}

/// Checks that an error explains a shortage.
#[track_caller]
fn says(error: &ClientError, parts: &[&str]) {
    let message = error_chain(error);
    for part in parts {
        assert!(message.contains(part), "no \"{part}\" in: {message}");
    }
    assert_eq!(error.exit(), Exit::Unavailable, "{message}");
}

/// Checks that a run of a group has left a method out with these words, once, and has measured another.
#[track_caller]
pub(crate) fn skips(output: &Output, method: &str, parts: &[&str], other: &str) {
    assert!(output.status.success(), "{output:#?}");
    let skipped = format!("ipc-client: skipping {method}: ");
    let lines: Vec<_> = output.stderr.lines().filter(|line| line.starts_with(&skipped)).collect();
    let [line] = lines[..] else { panic!("{lines:?} in {output:#?}") };
    assert!(parts.iter().all(|part| line.contains(part)), "no {parts:?} in {line}");
    let is_row = |line: &str, method: &str| {
        let row = line.strip_prefix("IPC method - ").unwrap_or(line);
        row.split(' ').next() == Some(method)
    };
    let measured = |method: &str| output.stdout.lines().any(|line| is_row(line, method));
    assert!(measured(other) && !measured(method), "{output:#?}");
}

/// A process's limit, which is as it was once the value ends.
struct Limited {
    pid: Pid,
    resource: Resource,
    before: Rlimit,
}

impl Limited {
    fn to(pid: u32, resource: Resource, most: u64) -> Self {
        let pid = Pid::from_raw(pid.cast_signed()).unwrap();
        let own = getrlimit(resource);
        let limited = Rlimit { current: Some(most), maximum: own.maximum };
        let before = prlimit(Some(pid), resource, limited).unwrap();
        Self { pid, resource, before }
    }

    fn set(&self, most: u64) {
        let limited = Rlimit { current: Some(most), maximum: self.before.maximum };
        prlimit(Some(self.pid), self.resource, limited).unwrap();
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        let before = Rlimit { current: self.before.current, maximum: self.before.maximum };
        let restored = prlimit(Some(self.pid), self.resource, before);
        assert!(restored.is_ok() || std::thread::panicking(), "a limit can be raised up to the hard one");
    }
}

/// A limit of a process of another user's, set by that user: root itself may not in every container. As [`Limited`].
struct LimitedBy<'a> {
    sandbox: &'a Sandbox,
    user: User,
    pid: u32,
    resource: &'static str,
    before: u64,
}

impl<'a> LimitedBy<'a> {
    fn to(sandbox: &'a Sandbox, user: User, pid: u32, resource: &'static str, most: u64) -> Self {
        let mut limited = Self { sandbox, user, pid, resource, before: 0 };
        let shown = limited.prlimit(&["--raw", "--noheadings", "--output", "SOFT", &format!("--{resource}")]);
        limited.before = shown.trim().parse().unwrap();
        limited.prlimit(&[&format!("--{resource}={most}:")]);
        limited
    }

    fn prlimit(&self, arguments: &[&str]) -> String {
        let pid = self.pid.to_string();
        let starter = [&["prlimit", "--pid", &pid], arguments].concat();
        let mut command = Command::new(starter[0]);
        command.args(&starter[1..]).current_dir("/").env("PATH", PATH);
        self.sandbox.finish(&mut self.user.runs(&command)).expect(Exit::Success).stdout
    }
}

impl Drop for LimitedBy<'_> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.prlimit(&[&format!("--{}={}:", self.resource, self.before)]);
        }
    }
}

/// Where the starters are.
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// The same program with the same environment, started by another: `prlimit`, `unshare`, `nsenter`.
pub(crate) fn under(starter: &[&str], command: &Command) -> Command {
    let mut run = Command::new(starter[0]);
    run.args(&starter[1..]).arg(command.get_program()).args(command.get_args());
    run.env_clear().envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    // The C library finds the starter by it.
    run.env("PATH", PATH);
    run.current_dir(command.get_current_dir().unwrap());
    run
}

/// A daemon in new namespaces, in which a shell has run `prepare` before.
fn daemon_in(sandbox: &Sandbox, namespaces: &[&str], prepare: &str, mut command: Command) -> Daemon {
    let script = format!("{prepare} && exec \"$@\"");
    let starter: Vec<_> =
        ["unshare"].iter().chain(namespaces).copied().chain(["sh", "-c", script.as_str(), "sh"]).collect();
    command.args(TWO);
    Daemon::start(sandbox, under(&starter, &command))
}

/// Whether this user may make namespaces; says so if not.
pub(crate) fn may_unshare(namespaces: &[&str]) -> bool {
    let can =
        Command::new("unshare").args(namespaces).arg("true").status().is_ok_and(|status| status.success());
    if !can {
        let why = format!("no new namespace is available (unshare {})", namespaces.join(" "));
        not_tested("namespaces", why);
    }
    can
}

/// The entries of a folder.
fn entries(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
}
