//! The daemon under a service manager: notifications, socket activation, and the idle exit.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ipcd::internals::client::{Client, LeaseWait};
use ipcd::internals::protocol::{ChannelSpec, Exit, SocketAddress};
use rustix::process::Signal;

use crate::harness::{Daemon, PATIENCE, Peer, Process, SOON, Sandbox, eventually, run};

/// A service manager that receives notifications. Its socket is removed with it.
struct Manager {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Manager {
    fn new(sandbox: &Sandbox) -> Self {
        let path = sandbox.folder().join("notify");
        Self { socket: UnixDatagram::bind(&path).unwrap(), path }
    }

    /// The next notification; `None` if none arrives in time.
    fn hear_within(&self, patience: Duration) -> Option<String> {
        self.socket.set_read_timeout(Some(patience)).unwrap();
        let mut buffer = [0; 4096];
        let n = self.socket.recv(&mut buffer).ok()?;
        Some(String::from_utf8(buffer[..n].to_vec()).unwrap())
    }

    #[track_caller]
    fn hears(&self, wanted: &str) {
        assert_eq!(self.hear_within(PATIENCE).as_deref(), Some(format!("{wanted}\n").as_str()));
    }

    /// Takes what has come so far.
    fn drain(&self) {
        while self.hear_within(Duration::from_millis(1)).is_some() {}
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        std::fs::remove_file(&self.path).unwrap();
    }
}

#[test]
fn it_notifies_its_manager_of_readiness_status_and_stopping() {
    run(|sandbox| {
        let manager = Manager::new(sandbox);
        let mut start = sandbox.ipcd(&["start"]);
        let daemon = Daemon::start(sandbox, {
            start.env("NOTIFY_SOCKET", &manager.path);
            start
        });
        manager.hears("READY=1");
        // Clients are served by then.
        assert_eq!(daemon.status().connections, 1);
        manager.hears("STATUS=idle");

        let mut client = daemon.lease();
        let uid = rustix::process::geteuid().as_raw();
        let busy = format!("STATUS=measuring for user {uid}, process {}", std::process::id());
        manager.hears(&busy);
        let waiting = sandbox.start(&mut sandbox.client(&["bench", "-m", "tcp", "-n", "10"]));
        manager.hears(&format!("{busy}; 1 waiting"));
        let channel = client.open(&ChannelSpec::new("tcp")).unwrap();
        client.close(channel).unwrap();
        drop(client);
        let pid = waiting.pid();
        waiting.wait(PATIENCE).expect(Exit::Success);
        manager.hears(&format!("STATUS=measuring for user {uid}, process {pid}"));
        manager.hears("STATUS=idle");
        // Who only asks changes nothing.
        daemon.status();

        daemon.stop_by(Signal::TERM);
        manager.hears("STOPPING=1\nSTATUS=stopping");
        assert_eq!(manager.hear_within(Duration::from_millis(1)), None);
    });
}

#[test]
fn a_service_manager_that_is_gone_does_no_harm() {
    run(|sandbox| {
        for socket in ["/nowhere/at/all", ""] {
            let mut start = sandbox.ipcd(&["start"]);
            start.env("NOTIFY_SOCKET", socket).env("WATCHDOG_USEC", "1000");
            let daemon = Daemon::start(sandbox, start);
            daemon.serves("tcp");
            let output = daemon.stop_by(Signal::TERM);
            assert_eq!(
                output.stderr.contains("cannot notify the service manager"),
                !socket.is_empty(),
                "{output:?}"
            );
        }
    });
}

#[test]
fn the_watchdog_is_fed_by_the_loop_and_by_nothing_else() {
    run(|sandbox| {
        let manager = Manager::new(sandbox);
        let mut start = sandbox.ipcd(&["start"]);
        start.env("NOTIFY_SOCKET", &manager.path).env("WATCHDOG_USEC", "100000");
        // Before its first: whatever is late here only makes this longer.
        let begun = Instant::now();
        let daemon = Daemon::start(sandbox, start);
        manager.hears("READY=1");
        manager.hears("STATUS=idle");
        for _ in 0..5 {
            manager.hears("WATCHDOG=1");
        }
        assert!(begun.elapsed() >= Duration::from_millis(200), "more often than at half of the time");

        daemon.pause();
        manager.drain();
        assert_eq!(manager.hear_within(Duration::from_millis(500)), None, "a daemon that hangs feeds it not");
        daemon.process().signal(Signal::CONT);
        manager.hears("WATCHDOG=1");
    });
}

#[test]
fn a_watchdog_that_is_another_process_is_not_fed() {
    run(|sandbox| {
        let manager = Manager::new(sandbox);
        let mut start = sandbox.ipcd(&["start"]);
        start.env("NOTIFY_SOCKET", &manager.path);
        start.env("WATCHDOG_USEC", "10000").env("WATCHDOG_PID", "1");
        let _daemon = Daemon::start(sandbox, start);
        manager.hears("READY=1");
        manager.hears("STATUS=idle");
        assert_eq!(manager.hear_within(Duration::from_millis(200)), None);
    });
}

/// `ipcd start` as a service manager starts it that hands over `socket`, `count` times.
fn activated(sandbox: &Sandbox, socket: impl Into<OwnedFd>, count: u32, more: &[&str]) -> Process {
    // The shell takes the descriptor from standard input to where it belongs, and becomes the daemon.
    let script = "exec 3<&0 4<&0 </dev/null; LISTEN_PID=$$ exec \"$0\" start \"$@\"";
    let daemon = sandbox.ipcd(&[]);
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(script).arg(daemon.get_program()).args(more).env_clear();
    shell.envs(daemon.get_envs().filter_map(|(name, value)| Some((name, value?))));
    shell.env("LISTEN_FDS", count.to_string()).current_dir(sandbox.folder());
    sandbox.start_with_stdin(&mut shell, Stdio::from(socket.into()))
}

#[test]
fn a_socket_that_is_handed_over_is_served_and_stays() {
    run(|sandbox| {
        let path = sandbox.folder().join("handed");
        let listener = UnixListener::bind(&path).unwrap();
        let address = SocketAddress::resolve(Some(&path));
        for _ in 0..2 {
            // Who connects before there is a daemon is served by the one that comes.
            let early = UnixStream::connect(&path).unwrap();
            let process = activated(sandbox, listener.try_clone().unwrap(), 1, &[]);
            process.wait_for_line(&format!("ipcd: listening on {}", path.display()));
            let mut client = Client::connect(&address).unwrap();
            assert_eq!(client.status().unwrap().pid, process.pid());
            client.acquire(LeaseWait::No, |_| ()).unwrap();
            let mut channel = client.open(&ChannelSpec::new("pipe")).unwrap();
            channel.timed(10).unwrap();
            client.close(channel).unwrap();
            drop((client, early));
            process.signal(Signal::TERM);
            process.wait(SOON).expect(Exit::Success);
            assert!(path.exists(), "the socket is its manager's");
            assert!(!path.with_extension("lock").exists() && !sandbox.folder().join("handed.lock").exists());
        }
        std::fs::remove_file(&path).unwrap();
    });
}

#[test]
fn an_activated_socket_must_be_a_listening_unix_stream_socket() {
    run(|sandbox| {
        let tcp: OwnedFd = TcpListener::bind("127.0.0.1:0").unwrap().into();
        let datagram: OwnedFd = UnixDatagram::unbound().unwrap().into();
        let connected: OwnedFd = UnixStream::pair().unwrap().0.into();
        let file: OwnedFd = std::fs::File::open("/dev/null").unwrap().into();
        for (socket, count, expected) in [
            (tcp, 1, "a socket of another family"),
            (datagram, 1, "a unix socket of another type"),
            (connected, 1, "one that does not listen"),
            (file.try_clone().unwrap(), 1, "a descriptor that is not a socket"),
            (file.try_clone().unwrap(), 2, "not 2 descriptors"),
            (file, 3, "$LISTEN_FDS: Bad file descriptor"),
        ] {
            let refused = activated(sandbox, socket, count, &[]).wait(PATIENCE).expect(Exit::Usage);
            refused.says(&["one listening unix stream socket, not ", expected]);
        }
    });
}

#[test]
fn sockets_for_another_process_are_not_taken() {
    run(|sandbox| {
        let mut start = sandbox.ipcd(&["start"]);
        let daemon = Daemon::start(sandbox, {
            start.env("LISTEN_FDS", "1").env("LISTEN_PID", "1");
            start
        });
        assert_eq!(daemon.socket, sandbox.socket());
    });
}

#[test]
fn an_idle_daemon_exits_after_its_timeout() {
    run(|sandbox| {
        let daemon = sandbox.daemon_with(&["--idle-exit", "300ms"]);
        // A connection and a channel keep it, however long they are idle.
        let mut client = daemon.lease();
        let channel = client.open(&ChannelSpec::new("tcp")).unwrap();
        assert!(!daemon.process().ends_within(Duration::from_millis(700)));
        client.close(channel).unwrap();
        drop(client);
        daemon.ends().expect(Exit::Success).says(&["idle timeout reached", "ipcd: stopped"]);
        assert_eq!(sandbox.files(), Vec::<PathBuf>::new());

        let path = sandbox.folder().join("handed");
        let listener = UnixListener::bind(&path).unwrap();
        let process = activated(sandbox, listener, 1, &["--idle-exit", "50ms"]);
        process.wait(SOON).expect(Exit::Success);
        std::fs::remove_file(&path).unwrap();
    });
}

#[test]
fn at_rest_it_is_not_woken() {
    run(|sandbox| {
        let manager = Manager::new(sandbox);
        let mut start = sandbox.ipcd(&["start", "--idle-exit", "1h"]);
        let daemon = Daemon::start(sandbox, {
            start.env("NOTIFY_SOCKET", &manager.path);
            start
        });
        manager.hears("READY=1");
        manager.hears("STATUS=idle");
        let switches = || {
            let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid)).unwrap();
            let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).unwrap();
            line.trim().parse::<u64>().unwrap()
        };
        // What it says last it says before it waits: once it sleeps, it sleeps on.
        eventually("it sleeps", SOON, || {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", daemon.pid)).unwrap();
            stat.rsplit(')').next().unwrap().trim_start().starts_with('S').then_some(())
        });
        let before = switches();
        std::thread::sleep(Duration::from_millis(500));
        assert_eq!(switches(), before);
    });
}

/// The log of a daemon whose stderr is a file that `JOURNAL_STREAM` names, if it does.
fn log_of(sandbox: &Sandbox, name: &str, journal: bool, filter: &str) -> String {
    let path = sandbox.folder().join(name);
    let file = std::fs::File::create(&path).unwrap();
    let meta = file.metadata().unwrap();
    let script = "exec 2>&0 </dev/null; exec \"$0\" start";
    let daemon = sandbox.ipcd(&[]);
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(script).arg(daemon.get_program()).env_clear();
    shell.envs(daemon.get_envs().filter_map(|(name, value)| Some((name, value?))));
    shell.env("RUST_LOG", filter).current_dir(sandbox.folder());
    let inode = if journal { meta.ino() } else { meta.ino() + 1 };
    shell.env("JOURNAL_STREAM", format!("{}:{inode}", meta.dev()));
    let process = sandbox.start_with_stdin(&mut shell, Stdio::from(file));
    let address = SocketAddress::resolve(Some(&sandbox.socket()));
    let mut client = eventually("it listens", PATIENCE, || Client::connect(&address).ok());
    client.status().unwrap();
    client.acquire(LeaseWait::No, |_| ()).unwrap();
    let mut spec = ChannelSpec::new("tcp");
    spec.size_bytes = 64;
    for _ in 0..2 {
        let channel = client.open(&spec).unwrap();
        client.close(channel).unwrap();
    }
    // A method may be called anything.
    client.open(&ChannelSpec::new("\x1b[31mred\nREADY=1")).unwrap_err();
    let channel = client.open(&ChannelSpec::new("pipe")).unwrap();
    let responder = Peer::find(channel.responder_pid()).unwrap();
    responder.signal(Signal::KILL);
    assert!(responder.ends_within(SOON));
    client.close(channel).unwrap();
    client.release().unwrap();
    process.signal(Signal::TERM);
    process.wait(SOON).expect(Exit::Success);
    let log = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    own_lines(&log)
}

/// Without lines about another daemon that was killed meanwhile, by another test for example.
fn own_lines(log: &str) -> String {
    log.lines()
        .filter(|line| !line.ends_with("left by a killed daemon"))
        .map(|line| format!("{line}\n"))
        .collect()
}

#[test]
fn the_journal_gets_priorities_and_no_time_and_a_line_for_each_run() {
    run(|sandbox| {
        let log = log_of(sandbox, "journal", true, "info");
        let uid = rustix::process::geteuid().as_raw();
        let lines: Vec<_> = log.lines().collect();
        let who = format!("<6>user {uid}, process {} measured for ", std::process::id());
        assert_eq!(lines[0], format!("<6>listening on {}", sandbox.socket().display()), "{log}");
        assert!(lines[1].starts_with("<4>client ") && lines[1].contains("(pipe, 8 bytes, block)"), "{log}");
        assert!(lines[1].ends_with("ended: its responder was killed by signal 9"), "{log}");
        assert!(lines[2].starts_with(&who), "{log}");
        assert!(
            lines[2].ends_with(
                "s: 3 channels: 1 × pipe, 8 bytes, block; 2 × tcp, 64 bytes, block; 1 ended early; done"
            ),
            "{log}"
        );
        assert_eq!(lines[3..], ["<6>stopped"], "{log}");
    });
}

#[test]
fn elsewhere_lines_have_their_time_and_a_peers_control_characters_are_shown() {
    run(|sandbox| {
        let log = log_of(sandbox, "log", false, "debug");
        assert!(log.starts_with("ipcd: listening on "), "{log}");
        let rest: Vec<_> = log.lines().filter(|line| !line.starts_with("ipcd: ")).collect();
        assert!(rest.iter().all(|line| line.starts_with("[20") && line.contains("Z ")), "{log}");
        assert!(
            rest.iter().any(|line| line.contains("DEBUG") && line.contains("channel 1 is open: tcp, 64")),
            "{log}"
        );
        assert!(log.contains("unknown method \"\\u{1b}[31mred\\nREADY=1\""), "{log}");
        assert!(log.chars().all(|c| c == '\n' || !c.is_control()), "{log:?}");
    });
}

#[test]
fn who_asks_each_second_does_not_fill_the_log() {
    run(|sandbox| {
        let daemon = sandbox.daemon();
        for _ in 0..20 {
            daemon.status();
            sandbox.finish(&mut sandbox.client(&["methods"])).expect(Exit::Success);
            daemon.lease().release().unwrap();
        }
        let output = daemon.stop_by(Signal::TERM);
        let log = own_lines(&output.stderr);
        assert_eq!(log.lines().count(), 2, "{log}");
    });
}

#[test]
fn a_full_daemon_says_so_and_goes_on() {
    run(|sandbox| {
        let daemon = sandbox.daemon_with(&["--max-connections", "4"]);
        let clients = [daemon.lease(), daemon.connect()];
        for command in [
            sandbox.client(&["status"]),
            sandbox.client(&["bench", "-m", "tcp", "-n", "10"]),
            sandbox.ipcd(&["status"]),
            sandbox.ipcd(&["stop"]),
        ] {
            let mut command = command;
            let refused = sandbox.finish(&mut command).expect(Exit::Busy);
            assert_eq!(refused.stdout, "");
            refused.says(&["the daemon's limit max-connections-per-user is 2"]);
        }
        // What the host offers needs no daemon.
        let listed = sandbox.finish(&mut sandbox.client(&["methods"])).expect(Exit::Success);
        listed.says(&["the daemon's limit max-connections-per-user is 2", "without it"]);
        drop(clients);
        daemon.is_at_rest();
        daemon.serves("tcp");
        let output = daemon.stop_by(Signal::TERM);
        assert_eq!(output.stderr.matches("is turned away").count(), 5, "{}", output.stderr);
    });
}
