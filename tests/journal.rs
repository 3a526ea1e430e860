//! What both programs write to stderr: a priority on each line for the journal, even if the command line is wrong; and never
//! more than its reader reads.

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};

use ipcd::internals::client::{Client, LeaseWait};
use ipcd::internals::protocol::{ChannelSpec, Exit, SocketAddress};
use rustix::process::Signal;

use crate::config;
use crate::harness::{PATIENCE, Process, SOON, Sandbox, eventually, run};

/// Starts a program whose stderr is a file that `JOURNAL_STREAM` names.
fn start(sandbox: &Sandbox, command: &Command, log: &str) -> Process {
    let file = File::create(sandbox.folder().join(log)).unwrap();
    let meta = file.metadata().unwrap();
    let mut shell = with_stdin_as_stderr(sandbox, command);
    shell.env("JOURNAL_STREAM", format!("{}:{}", meta.dev(), meta.ino()));
    sandbox.start_with_stdin(&mut shell, Stdio::from(file))
}

/// The same program, whose stderr is what it is started with as stdin.
fn with_stdin_as_stderr(sandbox: &Sandbox, command: &Command) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", "exec 2>&0 </dev/null; exec \"$@\"", "sh"]).arg(command.get_program());
    shell.args(command.get_args()).env_clear().current_dir(sandbox.folder());
    shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    shell
}

fn take(sandbox: &Sandbox, log: &str) -> String {
    let path = sandbox.folder().join(log);
    let text = fs::read_to_string(&path).unwrap();
    fs::remove_file(path).unwrap();
    text
}

/// What a program that is run to its end writes.
fn journal_lines(sandbox: &Sandbox, command: &Command, exit: Exit) -> Vec<String> {
    start(sandbox, command, "log").wait(PATIENCE).expect(exit);
    take(sandbox, "log").lines().map(str::to_owned).collect()
}

#[test]
fn an_error_has_its_priority_in_both_programs() {
    run(|sandbox| {
        let wrong = config::File::new(sandbox, "wrong.toml", "[daemon]\nmode = \"9\"\n");
        let place = format!("{}:2: mode", wrong.path());
        for (command, exit, what) in [
            // As "systemctl reload" runs it.
            (sandbox.ipcd(&["config", "check", wrong.path()]), Exit::Usage, place.as_str()),
            (sandbox.client(&["bench", "--no-such-flag"]), Exit::Usage, "--no-such-flag"),
            (sandbox.ipcd(&["start", "--no-such-flag"]), Exit::Usage, "--no-such-flag"),
            (sandbox.ipcd(&["start", "--socket", "/nowhere/s"]), Exit::Failure, "/nowhere"),
            (sandbox.client(&["bench", "--profile", "none"]), Exit::Usage, "unknown profile \"none\""),
            (sandbox.client(&["status"]), Exit::NoDaemon, "ipcd.sock"),
            (
                sandbox.client(&["bench", "--private", "-m", "tcp", "-n", "10", "--size", "900M"]),
                Exit::Unavailable,
                "size",
            ),
        ] {
            let lines = journal_lines(sandbox, &command, exit);
            let (errors, others): (Vec<_>, Vec<_>) = lines.iter().partition(|line| line.starts_with("<3>"));
            assert!(errors.iter().any(|line| line.contains(what)), "{command:?}: {lines:?}");
            // Naming the daemon that serves is a notice.
            let notice = |line: &&String| line.starts_with("<6>") && line.contains("a private daemon");
            assert!(others.iter().all(notice), "{command:?}: {lines:?}");
            assert!(!lines.iter().any(|line| line.contains('\x1b')), "{command:?}: {lines:?}");
        }
    });
}

#[test]
fn what_is_skipped_is_a_warning() {
    run(|sandbox| {
        let words = ["bench", "--private", "-m", "memory", "-n", "10", "--wait", "adaptive"];
        let lines = journal_lines(sandbox, &sandbox.client(&words), Exit::Success);
        // It can block, and no more.
        assert!(
            lines.iter().any(|line| line.starts_with("<4>skipping") && line.contains("futex")),
            "{lines:?}"
        );
        assert!(!lines.iter().any(|line| line.starts_with("<3>")), "{lines:?}");
    });
}

#[test]
fn the_filter_holds_for_all_that_the_journal_gets_but_for_errors() {
    run(|sandbox| {
        let log_of = |filter: &str| {
            let file = config::File::new(sandbox, "ipcd.toml", &format!("[daemon]\nlog = \"{filter}\"\n"));
            let daemon = start(sandbox, &config::with(sandbox.ipcd(&["start"]), &[&file]), "log");
            let status = || sandbox.finish(&mut sandbox.ipcd(&["status"]));
            eventually("it listens", PATIENCE, || {
                sandbox.socket().exists().then(status).filter(|output| output.status.success())
            });
            sandbox.finish(&mut sandbox.ipcd(&["stop"])).expect(Exit::Success);
            daemon.wait(SOON).expect(Exit::Success);
            take(sandbox, "log")
        };
        let all = log_of("info");
        assert!(all.starts_with("<6>listening on ") && all.ends_with("<6>stopped\n"), "{all}");
        for quiet in ["warn", "off"] {
            assert_eq!(log_of(quiet), "", "{quiet}");
        }
    });
}

#[test]
fn a_daemon_whose_stderr_is_not_read_serves_and_stops() {
    run(|sandbox| {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let mut shell = with_stdin_as_stderr(sandbox, &sandbox.ipcd(&["start", "--log", "trace"]));
        let daemon = sandbox.start_with_stdin(&mut shell, Stdio::from(OwnedFd::from(writer)));
        let address = SocketAddress::resolve(Some(&sandbox.socket()));
        let connect = || eventually("it serves", PATIENCE, || Client::connect(&address).ok());
        let mut client = connect();
        // Each connection causes two lines of more than 20 bytes: twice what a pipe holds.
        for _ in 0..(2 << 16) / 40 {
            connect().status().unwrap();
        }
        // One line is longer than what a pipe takes at once.
        let mut buffer = vec![0; 1 << 20];
        let n = reader.read(&mut buffer).unwrap();
        assert!(n > 1 << 15, "{n} bytes: the pipe was not full");
        let long =
            ChannelSpec { options: [("x".repeat(20_000), "y".to_owned())].into(), ..ChannelSpec::new("tcp") };
        client.acquire(LeaseWait::No, |_| ()).unwrap();
        client.open(&long).unwrap_err();
        drop(connect());
        let n = reader.read(&mut buffer).unwrap();
        let text = String::from_utf8_lossy(&buffer[..n]);
        assert!(text.contains(" lines before this one were lost: stderr was not read)"), "{text}");
        // Full again when it stops.
        for _ in 0..(2 << 16) / 40 {
            connect().status().unwrap();
        }
        daemon.signal(Signal::TERM);
        assert!(daemon.ends_within(SOON));
        drop(reader);
        daemon.wait(SOON).expect(Exit::Success);
    });
}
