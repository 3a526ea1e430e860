//! A laptop that is stopped in mid-run: client, responder and daemon stand still for a while and go on. The run completes,
//! the pause is its longest round, or block of rounds, or lies between two rounds, and a warning names it; what most rounds took is not touched.

use std::path::PathBuf;
use std::time::Duration;

use ipcd::protocol::{Exit, Wait};
use ipcd::transports::Delivery;
use rustix::process::Signal;
use serde_json::Value;

use crate::conformance::here;
use crate::harness::{Daemon, PATIENCE, Peer, Process, Sandbox, run};

/// Longer than what is told as a gap (a second), and than a datagram is waited for.
const PAUSE: Duration = Duration::from_millis(1500);

/// Longer than it takes to stop what was started.
const RUN: Duration = Duration::from_secs(3);

/// A client in mid-run, its responder, and where its report will be.
struct Running {
    what: String,
    client: Process,
    responder: Peer,
    report: PathBuf,
}

/// Starts a run, waits until its rounds are counted, and stops it.
fn start(sandbox: &Sandbox, daemon: &Daemon, method: &str, more: &[&str]) -> Running {
    let what = format!("{method} {}", more.join(" "));
    let report = sandbox.folder().join(format!("{}.json", what.trim().replace([' ', '/'], "_")));
    let duration = format!("{}ms", RUN.as_millis());
    let bench = ["bench", "-m", method, "--trials", "1", "--warmup", "1", "--duration", &duration];
    let told = ["--interval", "50ms", "--json-stream", "--output", report.to_str().unwrap()];
    let client = sandbox.start(&mut sandbox.client(&[&bench[..], &told, more].concat()));
    client.wait_for_output("\"interval\"");
    let status = daemon.status();
    let own = status.channels.iter().find(|channel| channel.client_pid == client.pid());
    let responder = Peer::find(own.expect("its channel is open").responder_pid).expect("its channel is open");
    // At once: the others, which are started after it, would outlast its run.
    client.signal(Signal::STOP);
    responder.signal(Signal::STOP);
    Running { what, client, responder, report }
}

/// Checks what a run tells that was stopped for a while.
fn check(running: Running) {
    let what = running.what;
    running.client.wait(PATIENCE).expect(Exit::Success);
    let text = std::fs::read_to_string(&running.report).unwrap();
    std::fs::remove_file(&running.report).unwrap();
    let report: Value = serde_json::from_str(&text).unwrap();
    let cell = &report["results"][0];
    let pause_ns = PAUSE.as_nanos() as f64;

    let gap = cell["warnings"].as_array().unwrap().iter().find(|warning| warning["kind"] == "long_gap");
    let gap = gap.unwrap_or_else(|| panic!("{what}: the pause is not told: {cell:#}"));
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
    assert!(cell["latency_ns"]["p50"].is_number(), "{what}: {cell:#}");
}

fn stopped_and_continued(runs: impl Fn(&Sandbox, &Daemon) -> Vec<Running> + Send + 'static) {
    run(move |sandbox| {
        let daemon = sandbox.daemon_with(&["--measurements", "100"]);
        let running = runs(sandbox, &daemon);
        daemon.process().signal(Signal::STOP);
        std::thread::sleep(PAUSE);
        daemon.process().signal(Signal::CONT);
        for one in &running {
            one.responder.signal(Signal::CONT);
            one.client.signal(Signal::CONT);
        }
        running.into_iter().for_each(check);
        daemon.is_at_rest();
        daemon.serves("tcp");
    });
}

/// All at once, since each takes as long as the pause.
#[test]
fn a_host_that_stands_still_is_an_outlier_and_a_warning() {
    stopped_and_continued(|sandbox, daemon| {
        let blocking = here().filter(|mechanism| mechanism.info().delivery != Delivery::None);
        blocking
            .map(|mechanism| {
                // Spinning sides of so many runs would only wait for each other's CPU.
                let waits = mechanism.info().waits;
                let wait = waits.iter().find(|wait| **wait == Wait::Block).unwrap_or(&waits[0]);
                start(sandbox, daemon, mechanism.info().name, &["--wait", wait.name()])
            })
            .collect()
    });
}

/// At a fixed rate, and with a pause before each round; in blocks that are timed as a whole.
#[test]
fn so_it_is_where_rounds_are_paced_or_timed_in_blocks() {
    stopped_and_continued(|sandbox, daemon| {
        [&["--rate", "100/s"][..], &["--gap", "10ms"], &["--timing", "batch:10"]]
            .map(|more| start(sandbox, daemon, "unix", more))
            .into()
    });
}
