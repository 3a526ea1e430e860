//! Whatever dies in mid-run, in whichever mechanism: who is left ends its part in time and says what happened, the
//! daemon serves the next client, and nothing is left.

use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::thread;

use ipcd::internals::protocol::{ChannelSpec, Exit};
use ipcd::internals::transports::{Delivery, Mechanism};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::conformance::{here, with_options};
use crate::harness::{
    Daemon, PATIENCE, Peer, Preload, Process, SOON, Sandbox, child_pids, eventually, responder_of,
    responders, run, wait_until_measuring,
};

/// A run that does not end by itself while a test lasts.
const ENDLESS: &str = "1000000000";

fn endless(sandbox: &Sandbox, mechanism: &dyn Mechanism) -> Process {
    sandbox.start(&mut endless_bench(sandbox, mechanism))
}

/// A client that measures until it is ended, and says when it does.
pub(crate) fn endless_bench(sandbox: &Sandbox, mechanism: &dyn Mechanism) -> Command {
    let bench = ["bench", "--method", mechanism.info().name, "-n", ENDLESS];
    sandbox.client(&[&bench[..], &INTERVALS].concat())
}

/// The run reports each interval, so that a test knows when connecting is over.
const INTERVALS: [&str; 4] = ["--warmup", "1", "--interval", "50ms"];

/// A private daemon in mid-run: its client, itself, its responder.
fn private(sandbox: &Sandbox, mechanism: &dyn Mechanism) -> (Process, Peer, Peer) {
    let method = mechanism.info().name;
    let bench = ["bench", "--private", "--method", method, "-n", ENDLESS];
    let mut command = sandbox.client(&[&bench[..], &INTERVALS].concat());
    // As in a terminal, whose Ctrl-C reaches the whole group.
    let client = sandbox.start(command.process_group(0));
    let pid = client.wait_for_line("ipc-client: as asked for: a private daemon, process ");
    let daemon = pid.split(',').next().unwrap().parse().unwrap();
    let responder =
        eventually("the private daemon has a responder", PATIENCE, || responders(daemon).first().copied());
    let daemon = Peer::find(daemon).expect("its client runs");
    let responder = Peer::find(responder).expect("its client runs");
    wait_until_measuring(&client);
    (client, daemon, responder)
}

#[test]
fn the_client_is_killed() {
    run(|sandbox| {
        let daemon = sandbox.daemon();
        for mechanism in here() {
            let client = endless(sandbox, mechanism);
            let responder = responder_of(&daemon, &client);
            client.signal(Signal::KILL);
            assert!(responder.ends_within(SOON), "{}: the responder lives on", mechanism.info().name);
            client.wait(SOON).expect_signal(Signal::KILL);
            daemon.is_at_rest();
            daemon.serves(mechanism.info().name);
        }
    });
}

#[test]
fn the_client_is_interrupted() {
    run(|sandbox| {
        let daemon = sandbox.daemon();
        for mechanism in here() {
            let client = endless(sandbox, mechanism);
            let responder = responder_of(&daemon, &client);
            client.signal(Signal::INT);
            assert!(responder.ends_within(SOON), "{}: the responder lives on", mechanism.info().name);
            client.wait(SOON).expect_signal(Signal::INT);
            daemon.is_at_rest();
        }
    });
}

#[test]
fn the_responder_is_killed() {
    run(|sandbox| {
        let daemon = sandbox.daemon();
        for (index, mechanism) in here().enumerate() {
            let client = endless(sandbox, mechanism);
            responder_of(&daemon, &client).signal(Signal::KILL);
            let method = mechanism.info().name;
            let said = format!("the {method} channel failed: its responder was killed by signal 9");
            client.wait(SOON).expect(Exit::Broken).says(&[&said]);
            daemon.is_at_rest();
            assert_eq!(daemon.status().totals.channels_broken, u64::try_from(index).unwrap() + 1);
            daemon.serves(method);
        }
    });
}

#[test]
fn the_responder_is_killed_whatever_the_options_and_the_wait() {
    run(|sandbox| {
        let daemon = sandbox.daemon();
        for (mechanism, spec) in here().flat_map(|one| with_options(one).map(move |spec| (one, spec))) {
            let method = mechanism.info().name;
            let mut arguments = vec!["bench".to_owned(), "--method".to_owned(), method.to_owned()];
            arguments.extend(["-n", ENDLESS, "--wait", spec.wait.unwrap().name()].map(str::to_owned));
            arguments
                .extend(spec.options.iter().flat_map(|(name, value)| [format!("--{name}"), value.clone()]));
            arguments.extend(INTERVALS.map(str::to_owned));
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            let client = sandbox.start(&mut sandbox.client(&arguments));
            responder_of(&daemon, &client).signal(Signal::KILL);
            let said = format!("the {method} channel failed: its responder was killed by signal 9");
            client.wait(SOON).expect(Exit::Broken).says(&[&said]);
            daemon.is_at_rest();
            daemon.serves(method);
        }
    });
}

#[test]
fn the_daemon_is_killed_and_the_next_one_takes_its_place() {
    run(|sandbox| {
        for mechanism in here() {
            let method = mechanism.info().name;
            let daemon = sandbox.daemon();
            let client = endless(sandbox, mechanism);
            let responder = responder_of(&daemon, &client);
            daemon.kill();
            assert!(responder.ends_within(SOON), "{method}: the responder lives on");
            client.wait(SOON).expect(Exit::Broken).says(&["the daemon is lost"]);
            sandbox.settle();
            let lock = sandbox.folder().join("ipcd.sock.lock");
            let mut files = sandbox.files();
            files.sort();
            assert_eq!(files, [sandbox.socket(), lock], "{method}: the socket and its lock, nothing else");

            let next = sandbox.daemon();
            assert_eq!(next.socket, sandbox.socket());
            next.serves(method);
        }
    });
}

/// The process about to start still has the daemon's end of every responder's link, so that these do not see its death there.
#[test]
fn the_daemon_is_killed_while_it_starts_another_responder() {
    run(|sandbox| {
        let Some(stuck_spawn) = Preload::build(sandbox, "spawn") else { return };
        let methods = ["tcp", "unix", "pipe", "shmem", "sysv-mq"];
        for mechanism in here().filter(|mechanism| methods.contains(&mechanism.info().name)) {
            let mut start = stuck_spawn.put_into(sandbox.ipcd(&["start", "--measurements", "2"]));
            start.env("IPCD_TEST_SPAWN", "2");
            let daemon = Daemon::start(sandbox, start);
            let (mut client, mut other) = (daemon.lease(), daemon.lease());
            let spec = ChannelSpec::new(mechanism.info().name);
            let opened = client.ask(&spec).unwrap();
            let responder = daemon.status().channels[0].responder_pid;
            let asking = thread::spawn(move || other.ask(&spec).map(drop).unwrap_err());
            let stuck = eventually("another is about to start", PATIENCE, || {
                child_pids(daemon.pid).find(|pid| *pid != responder)
            });
            let [stuck, responder] = [stuck, responder].map(|pid| Peer::find(pid).unwrap());
            daemon.kill();
            // The client connects without looking at its connection to the daemon, as one that is a moment ahead of the kill.
            let (events, _open) = rustix::pipe::pipe().unwrap();
            let connected = opened.connect(events.as_fd());
            let ends = responder.ends_within(SOON);
            stuck.signal(Signal::KILL);
            assert!(ends, "{}: the responder lives on, {connected:?}", mechanism.info().name);
            assert!(stuck.ends_within(SOON));
            asking.join().unwrap();
        }
        // It removes what the last one has left.
        drop(sandbox.daemon());
    });
}

#[test]
fn the_daemon_is_stopped_by_a_signal_and_says_so() {
    run(|sandbox| {
        for mechanism in here() {
            let daemon = sandbox.daemon();
            let client = endless(sandbox, mechanism);
            let responder = responder_of(&daemon, &client);
            daemon.stop_by(Signal::TERM);
            assert!(responder.ends_within(SOON), "{}: the responder lives on", mechanism.info().name);
            client.wait(SOON).expect(Exit::Broken).says(&["the daemon is stopping"]);
        }
    });
}

/// All at once, since each takes the client's whole patience.
#[test]
fn the_responder_hangs() {
    run(|sandbox| {
        let daemon = sandbox.daemon_with(&["--measurements", "100"]);
        let mut stopped = Vec::new();
        // Where the client does not wait for its responder, it does not miss it.
        for mechanism in here().filter(|mechanism| mechanism.info().delivery != Delivery::None) {
            let client = endless(sandbox, mechanism);
            let responder = responder_of(&daemon, &client);
            responder.signal(Signal::STOP);
            stopped.push((mechanism, client, responder));
        }
        for (mechanism, client, responder) in stopped {
            let output = client.wait(PATIENCE).expect(Exit::Broken);
            let method = mechanism.info().name;
            output.says(&[
                &format!("the {method} channel failed"),
                match mechanism.info().delivery {
                    Delivery::UnreliableMessage => "datagrams in a row were lost",
                    _ => "no answer within 10 s",
                },
            ]);
            assert!(responder.ends_within(SOON), "{method}: the responder lives on");
        }
        daemon.is_at_rest();
    });
}

#[test]
fn the_client_of_a_private_daemon_is_killed() {
    run(|sandbox| {
        for mechanism in here() {
            let (client, daemon, responder) = private(sandbox, mechanism);
            client.signal(Signal::KILL);
            client.wait(SOON).expect_signal(Signal::KILL);
            assert!(daemon.ends_within(SOON) && responder.ends_within(SOON));
            sandbox.settle();
        }
    });
}

#[test]
fn a_private_daemon_is_killed() {
    run(|sandbox| {
        for mechanism in here() {
            let (client, daemon, responder) = private(sandbox, mechanism);
            daemon.signal(Signal::KILL);
            client.wait(SOON).expect(Exit::Broken).says(&["the daemon is lost"]);
            assert!(responder.ends_within(SOON));
            sandbox.settle();
        }
    });
}

/// As the end of a control group does. What is left has no owner, and the next run of any kind removes it.
#[test]
fn a_private_run_is_killed_whole_and_the_next_one_removes_what_it_leaves() {
    run(|sandbox| {
        for mechanism in here() {
            let (client, daemon, responder) = private(sandbox, mechanism);
            for signal in [Signal::STOP, Signal::KILL] {
                client.signal(signal);
                daemon.signal(signal);
                responder.signal(signal);
            }
            client.wait(SOON).expect_signal(Signal::KILL);
            assert!(daemon.ends_within(SOON) && responder.ends_within(SOON));
            let next = ["bench", "--private", "-m", "pipe", "-n", "10", "--trials", "1"];
            sandbox.finish(&mut sandbox.client(&next)).expect(Exit::Success);
            sandbox.settle();
        }
    });
}

#[test]
fn ctrl_c_ends_a_private_run_whole() {
    run(|sandbox| {
        for mechanism in here() {
            let (client, daemon, responder) = private(sandbox, mechanism);
            let group = Pid::from_raw(client.pid().cast_signed()).unwrap();
            kill_process_group(group, Signal::INT).unwrap();
            client.wait(SOON).expect_signal(Signal::INT);
            assert!(daemon.ends_within(SOON) && responder.ends_within(SOON));
            sandbox.settle();
        }
    });
}

#[test]
fn a_private_daemon_leaves_no_file() {
    run(|sandbox| {
        let mut command = sandbox.client(&["bench", "--private", "-n", "100"]);
        sandbox.finish(&mut command).expect(Exit::Success).says(&["as asked for: a private daemon"]);
        assert_eq!(sandbox.files(), Vec::<&Path>::new());
    });
}
