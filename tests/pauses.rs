//! A laptop that is stopped in mid-run: client, responder and daemon stand still for a while and go on. The run completes,
//! the pause is its longest round, or block of rounds, or lies between two rounds, and a warning names it; what most rounds took is not touched.

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::time::Duration;

use ipcd::internals::protocol::{Exit, GREETING_LEN, Greeting, Wait};
use ipcd::internals::transports::Delivery;
use rustix::process::Signal;
use serde_json::Value;

use crate::conformance::here;
use crate::harness::{Daemon, PATIENCE, Peer, Process, Sandbox, eventually, run};

/// Longer than the shortest gap that is reported (a second), and than the wait for a datagram.
const PAUSE: Duration = Duration::from_millis(1500);

/// Longer than a client's patience with a peer that does not answer.
const LONG_PAUSE: Duration = Duration::from_millis(10_500);

/// What a run lasts beside the pause: longer than it takes to stop what was started, and more than the rounds of a moment.
const RUN: Duration = Duration::from_secs(2);

/// A client in mid-run, its responder, and where its report will be.
struct Running {
    what: String,
    /// Whether its responder sleeps while it has nothing to do.
    blocks: bool,
    client: Process,
    responder: Peer,
    report: PathBuf,
}

/// Starts a run, waits until its rounds are counted, and stops it.
fn start(
    (sandbox, daemon): (&Sandbox, &Daemon),
    pause: Duration,
    method: &str,
    wait: Wait,
    more: &[&str],
) -> Running {
    let what = format!("{method} {}", more.join(" "));
    let report = sandbox.folder().join(format!("{}.json", what.trim().replace([' ', '/'], "_")));
    let duration = format!("{}ms", (pause + RUN).as_millis());
    let bench = ["bench", "-m", method, "--trials", "1", "--warmup", "1", "--duration", &duration];
    let printed =
        ["--wait", wait.name(), "--interval", "50ms", "--json-stream", "--output", report.to_str().unwrap()];
    let client = sandbox.start(&mut sandbox.client(&[&bench[..], &printed, more].concat()));
    client.wait_for_output("\"interval\"");
    let status = daemon.status();
    let own = status.channels.iter().find(|channel| channel.client_pid == client.pid());
    let responder = Peer::find(own.expect("its channel is open").responder_pid).expect("its channel is open");
    // At once: the others, which are started after it, would outlast its run.
    client.signal(Signal::STOP);
    responder.signal(Signal::STOP);
    Running { what, blocks: wait == Wait::Block, client, responder, report }
}

/// What a process does: `T` if it is stopped, `S` if it sleeps.
fn state(pid: u32) -> char {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().unwrap().trim_start().chars().next().unwrap_or('X')
}

/// Checks the report of a run that was suspended for a while.
fn check(running: Running, pause: Duration) {
    let what = running.what;
    running.client.wait(PATIENCE).expect(Exit::Success);
    let text = std::fs::read_to_string(&running.report).unwrap();
    std::fs::remove_file(&running.report).unwrap();
    let report: Value = serde_json::from_str(&text).unwrap();
    let cell = &report["results"][0];
    let pause_ns = pause.as_nanos() as f64;

    let gap = cell["warnings"].as_array().unwrap().iter().find(|warning| warning["kind"] == "long_gap");
    let gap = gap.unwrap_or_else(|| panic!("{what}: the pause is not reported: {cell:#}"));
    assert!(gap["max_ns"].as_f64().unwrap() >= pause_ns, "{what}: {gap:#}");
    let longest = cell["latency_ns"]["max"].as_f64().unwrap();
    let block = cell["longest_gap"]["elapsed_ns"].as_f64().unwrap_or(0.0);
    assert!(longest.max(block) >= pause_ns, "{what}: {cell:#}");
    assert_eq!(cell["lost"], 0, "{what}: nothing was lost, only late: {cell:#}");
    // A round in a hundred is more than one round: they take what they take, however long the pause.
    for quantile in ["p50", "p90", "p99"] {
        if let Some(ns) = cell["latency_ns"][quantile].as_f64() {
            assert!(ns < pause_ns / 2.0, "{what}: {quantile} is {ns} ns");
        }
    }
    // A framework beside all the others on a busy machine may have done fewer than a median takes.
    let enough = cell["latency_ns"]["samples"].as_u64().unwrap() >= 20;
    assert_eq!(cell["latency_ns"]["p50"].is_number(), enough, "{what}: {cell:#}");
}

fn stopped_and_continued(pause: Duration, runs: impl Fn(&Sandbox, &Daemon) -> Vec<Running> + Send + 'static) {
    run(move |sandbox| {
        let daemon = sandbox.daemon_with(&["--measurements", "100"]);
        let running = runs(sandbox, &daemon);
        daemon.process().signal(Signal::STOP);
        std::thread::sleep(pause);
        daemon.process().signal(Signal::CONT);
        // One after the other: if all processes resumed at once, a datagram could be late.
        for one in &running {
            one.responder.signal(Signal::CONT);
            if one.blocks {
                eventually("what has come is answered", PATIENCE, || {
                    (state(one.responder.pid) == 'S').then_some(())
                });
            }
        }
        for one in &running {
            one.client.signal(Signal::CONT);
        }
        running.into_iter().for_each(|one| check(one, pause));
        daemon.is_at_rest();
        daemon.serves("tcp");
    });
}

/// All at once, since each takes as long as the pause.
#[test]
fn a_pause_of_the_host_is_an_outlier_and_a_warning() {
    stopped_and_continued(LONG_PAUSE, |sandbox, daemon| {
        let blocking = here().filter(|mechanism| mechanism.info().delivery != Delivery::None);
        blocking
            .map(|mechanism| {
                // The spinning sides of all these runs would only wait for each other's CPU.
                let waits = mechanism.info().waits;
                let wait = waits.iter().find(|wait| **wait == Wait::Block).unwrap_or(&waits[0]);
                start((sandbox, daemon), LONG_PAUSE, mechanism.info().name, *wait, &[])
            })
            .collect()
    });
}

/// At a fixed rate, and with a pause before each round; in blocks that are timed as a whole.
#[test]
fn so_it_is_where_rounds_are_paced_or_timed_in_blocks() {
    stopped_and_continued(PAUSE, |sandbox, daemon| {
        [&["--rate", "100/s"][..], &["--gap", "10ms"], &["--timing", "batch:10"]]
            .map(|more| start((sandbox, daemon), PAUSE, "unix", Wait::Block, more))
            .into()
    });
}

/// Longer than a greeting is waited for (2 s); the daemon stands still, too, and says nothing before the client goes on.
#[test]
fn a_daemon_that_stood_still_with_its_client_is_not_taken_for_silent() {
    run(|sandbox| {
        let listener = UnixListener::bind(sandbox.socket()).unwrap();
        let client = sandbox.start(&mut sandbox.client(&["status"]));
        let mut daemon = listener.accept().unwrap().0;
        daemon.read_exact(&mut [0; GREETING_LEN]).unwrap();
        client.signal(Signal::STOP);
        std::thread::sleep(Duration::from_millis(2500));
        client.signal(Signal::CONT);
        eventually("it goes on", PATIENCE, || matches!(state(client.pid()), 'S' | 'Z' | 'X').then_some(()));
        daemon.write_all(&Greeting::OURS.to_bytes()).unwrap();
        // It asks for something: it was greeted.
        daemon.read_exact(&mut [0; 4]).unwrap();
        drop(daemon);
        client.wait(PATIENCE).expect(Exit::Broken);
        std::fs::remove_file(sandbox.socket()).unwrap();
    });
}
