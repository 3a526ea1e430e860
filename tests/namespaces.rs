//! Programs in a separate PID namespace, as in a container: signals to its first process, and a daemon whose socket is shared
//! and whose clients' processes have no ID there.

use std::fs;
use std::process::Command;

use ipcd::internals::protocol::Exit;
use ipcd::internals::transports::{find, usage};
use rustix::process::Signal;

use crate::commands::on_two_cpus;
use crate::harness::{
    Peer, Process, SOON, Sandbox, eventually, is_root, not_tested, run, wait_until_measuring,
};

/// A program as the first process of a namespace.
fn apart(sandbox: &Sandbox, program: Command) -> Command {
    let mut command = Command::new("unshare");
    command
        .args(["--pid", "--fork", "--mount-proc", "--"])
        .arg(program.get_program())
        .args(program.get_args());
    command.env_clear().current_dir(sandbox.folder());
    command.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command
}

/// Whether this user can make a namespace; prints so if not.
fn can_be_apart() -> bool {
    let may = is_root()
        && Command::new("unshare")
            .args(["--pid", "--fork", "--mount-proc", "--", "true"])
            .status()
            .is_ok_and(|status| status.success());
    if !may {
        not_tested("namespaces", "this needs root, and unshare");
    }
    may
}

/// The process that `unshare` has started, process 1 of its namespace.
fn first_in(unshare: &Process) -> Peer {
    let children = format!("/proc/{0}/task/{0}/children", unshare.pid());
    eventually("unshare has started a process", SOON, || {
        let pid = fs::read_to_string(&children).ok()?.trim().parse().ok()?;
        // Until it executes the program, it is a copy of unshare.
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
        name.starts_with("ipc").then(|| Peer::find(pid)).flatten()
    })
}

/// A client that measures until it is ended.
fn measuring(sandbox: &Sandbox, method: &str) -> Process {
    let bench = ["bench", "-m", method, "--duration", "1h", "--interval", "50ms"];
    let client = sandbox.start(&mut sandbox.client(&bench));
    wait_until_measuring(&client);
    client
}

#[test]
fn every_command_can_be_stopped_as_process_1() {
    run(|sandbox| {
        if !can_be_apart() {
            return;
        }
        on_two_cpus();
        let daemon = sandbox.daemon();
        let holder = measuring(sandbox, "pipe");
        for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
            let status = Some(128 + signal.as_raw());
            for (arguments, ready) in [
                (&["bench", "--private", "-m", "tcp", "--duration", "1h"][..], "a private daemon"),
                (&["matrix", "--private", "-m", "futex", "--duration", "1h"], "about"),
                (&["doctor", "--private", "-m", "futex", "--pairs", "1000"], "a private daemon"),
                (&["bench", "-m", "tcp", "-n", "10"], "position 1 in the queue"),
                (&["matrix", "-n", "20"], "position 1 in the queue"),
            ] {
                let mut client = sandbox.client(arguments);
                if arguments.contains(&"--private") {
                    client.env_remove("IPCD_SOCKET");
                }
                let unshare = sandbox.start(&mut apart(sandbox, client));
                let first = first_in(&unshare);
                eventually("it waits or measures", SOON, || unshare.has_said(ready).then_some(()));
                first.signal(signal);
                let output = unshare.wait(SOON);
                assert_eq!(output.status.code(), status, "{output:#?}");
            }
        }
        holder.signal(Signal::TERM);
        holder.wait(SOON);
        daemon.is_at_rest();
    });
}

#[test]
fn a_daemon_is_stopped_as_process_1_and_leaves_nothing() {
    run(|sandbox| {
        if !can_be_apart() {
            return;
        }
        for signal in [Signal::TERM, Signal::INT] {
            let unshare = sandbox.start(&mut apart(sandbox, sandbox.ipcd(&["start"])));
            unshare.wait_for_line("ipcd: listening on ");
            let client = measuring(sandbox, "pipe");
            first_in(&unshare).signal(signal);
            unshare.wait(SOON).expect(Exit::Success);
            client.wait(SOON).expect(Exit::Broken);
            assert!(sandbox.files().is_empty(), "{:?}", sandbox.files());
        }
    });
}

#[test]
fn a_client_that_the_daemon_cannot_see_is_served() {
    run(|sandbox| {
        if !can_be_apart() {
            return;
        }
        let outside = sandbox.start(&mut apart(sandbox, sandbox.ipcd(&["start"])));
        assert_eq!(outside.wait_for_line("ipcd: listening on "), sandbox.socket().to_str().unwrap());
        let bench = |method| sandbox.finish(&mut sandbox.client(&["bench", "-m", method, "-n", "10"]));
        for method in ["tcp", "unix", "pipe", "shmem"] {
            bench(method).expect(Exit::Success);
        }
        // Their peers would be other processes here.
        for method in ["signal", "process-vm"] {
            let refused = bench(method);
            assert!(!refused.status.success(), "{refused:?}");
            refused.says(&["the client's process is in another PID namespace"]);
        }
        sandbox.finish(&mut sandbox.client(&["status"])).expect(Exit::Success);
        sandbox.finish(&mut sandbox.ipcd(&["stop"])).expect(Exit::Success);
        let log = outside.wait(SOON).expect(Exit::Success).stderr;
        assert!(log.contains("tcp, 8 bytes, block"), "the log says who measured: {log}");
    });
}

/// Where processes have other IDs, it cannot see that the queue's owner lives, and has the same rights.
#[test]
fn a_daemon_in_another_pid_namespace_leaves_live_queues_alone() {
    run(|sandbox| {
        if !can_be_apart() || find("sysv-mq").unwrap().probe().is_err() {
            return;
        }
        let daemon = sandbox.daemon();
        let client = measuring(sandbox, "sysv-mq");
        let responder = daemon.status().channels[0].responder_pid;
        let own = ["bench", "--private", "-m", "sysv-mq", "-n", "10", "--trials", "1"];
        sandbox.finish(&mut apart(sandbox, sandbox.client(&own))).expect(Exit::Success);
        let other = sandbox.folder().join("other.sock");
        let start = ["start", "--socket", other.to_str().unwrap()];
        let unshare = sandbox.start(&mut apart(sandbox, sandbox.ipcd(&start)));
        unshare.wait_for_line("ipcd: listening on ");
        first_in(&unshare).signal(Signal::TERM);
        unshare.wait(SOON).expect(Exit::Success);
        let waits = || usage(Some(responder)).map_or(0, |usage| usage.voluntary_switches);
        let before = waits();
        eventually("it measures on", SOON, || (waits() > before + 100).then_some(()));
        client.signal(Signal::INT);
        client.wait(SOON).expect_signal(Signal::INT);
        daemon.is_at_rest();
    });
}
