//! Several channels at once: their rounds add up, one's end is the end of all, and nothing is left.

use ipcd::internals::protocol::Exit;
use ipcd::internals::transports::Delivery;
use ipcd::internals::transports::usage;
use rustix::process::Signal;

use crate::conformance::here;
use crate::harness::{Daemon, PATIENCE, Peer, Process, SOON, Sandbox, eventually, run};

/// A run of three channels that does not end by itself while a test lasts.
fn endless(sandbox: &Sandbox, method: &str) -> Process {
    sandbox.start(&mut sandbox.client(&["bench", "-m", method, "-n", "1000000000", "--parallel", "3"]))
}

/// The responders of its channels in their order, once rounds run through each.
fn busy_responders(daemon: &Daemon) -> Vec<Peer> {
    let status = daemon.wait_for_status("three channels are open", |status| status.channels.len() == 3);
    let pids = status.channels.iter().map(|channel| channel.responder_pid);
    pids.map(|pid| {
        let used = || usage(Some(pid)).unwrap_or_else(|error| panic!("responder {pid} of {status}: {error}"));
        let before = used();
        eventually("rounds run", PATIENCE, || {
            let since = used().since(&before);
            (since.cpu_ns > 2_000_000 || since.voluntary_switches > 50).then_some(())
        });
        Peer::find(pid).expect("its channel is open")
    })
    .collect()
}

/// Mechanisms whose responder does something.
fn methods() -> impl Iterator<Item = &'static str> {
    here()
        .filter(|mechanism| mechanism.info().delivery != Delivery::None)
        .map(|mechanism| mechanism.info().name)
}

#[test]
fn rounds_of_all_channels_add_up_and_nothing_is_left() {
    run(|sandbox| {
        let daemon = sandbox.daemon();
        for (index, mechanism) in (1..).zip(here()) {
            let method = mechanism.info().name;
            let mut command =
                sandbox.client(&["bench", "-m", method, "-n", "200", "--json", "--parallel", "3"]);
            let output = sandbox.finish(&mut command).expect(Exit::Success);
            let report: serde_json::Value = serde_json::from_str(&output.stdout).unwrap();
            let cell = &report["results"][0];
            assert_eq!((&cell["parallel"], &cell["rounds"]), (&3.into(), &600.into()), "{method}");
            assert!(cell["elapsed_ns"].as_f64().unwrap() > 0.0);
            assert!(cell["latency_ns"]["samples"].as_u64().unwrap() >= 300, "{method}: {cell}");
            assert!(cell["cell"].as_str().unwrap().ends_with(":parallel=3"), "{cell}");
            daemon.is_at_rest();
            let totals = daemon.status().totals;
            assert_eq!((totals.channels_opened, totals.channels_broken), (3 * index, 0), "{method}");
        }
    });
}

#[test]
fn a_killed_responder_ends_the_run_of_all() {
    run(|sandbox| {
        let daemon = sandbox.daemon();
        for method in methods() {
            let client = endless(sandbox, method);
            let responders = busy_responders(&daemon);
            responders[1].signal(Signal::KILL);
            let said = format!(
                "channel 2 of 3 ended the run: the {method} channel failed: its responder was killed by signal 9"
            );
            client.wait(SOON).expect(Exit::Broken).says(&[&said]);
            daemon.is_at_rest();
            daemon.serves(method);
        }
    });
}

#[test]
fn a_channel_that_hangs_does_not_keep_a_broken_run() {
    run(|sandbox| {
        let daemon = sandbox.daemon();
        for method in methods() {
            let client = endless(sandbox, method);
            let responders = busy_responders(&daemon);
            responders[2].signal(Signal::STOP);
            responders[0].signal(Signal::KILL);
            client.wait(SOON).expect(Exit::Broken).says(&["channel 1 of 3 ended the run"]);
            assert!(responders[2].ends_within(SOON), "{method}: a responder lives on");
            daemon.is_at_rest();
        }
    });
}

#[test]
fn a_killed_client_leaves_no_responder() {
    run(|sandbox| {
        let daemon = sandbox.daemon();
        for method in methods() {
            let client = endless(sandbox, method);
            let responders = busy_responders(&daemon);
            client.signal(Signal::KILL);
            client.wait(SOON).expect_signal(Signal::KILL);
            assert!(responders.iter().all(|responder| responder.ends_within(SOON)), "{method}");
            daemon.is_at_rest();
        }
    });
}

#[test]
fn a_killed_daemon_is_lost_to_all() {
    run(|sandbox| {
        for method in methods() {
            let daemon = sandbox.daemon();
            let client = endless(sandbox, method);
            busy_responders(&daemon);
            daemon.kill();
            client.wait(SOON).expect(Exit::Broken).says(&["the daemon is lost"]);
            sandbox.settle();
        }
        for file in sandbox.files() {
            std::fs::remove_file(file).unwrap();
        }
    });
}

#[test]
fn more_channels_than_the_daemon_allows_are_refused() {
    run(|sandbox| {
        let daemon = sandbox.daemon_with(&["--max-channels", "4"]);
        let bench = |parallel| {
            let mut command = sandbox.client(&["bench", "-m", "tcp", "-n", "20", "--parallel", parallel]);
            sandbox.finish(&mut command)
        };
        let refused = bench("3").expect(Exit::Unavailable);
        assert_eq!(refused.stdout, "", "no report of a run that was never begun");
        refused.says(&[
            "limit max-channels-per-user is 2",
            "start the daemon with larger --max-channels-per-user",
        ]);
        daemon.is_at_rest();
        assert_eq!(daemon.status().totals.channels_opened, 0);
        bench("2").expect(Exit::Success);
    });
}

#[test]
fn a_private_daemon_allows_as_many_as_its_client_asks_for() {
    run(|sandbox| {
        let mut command = sandbox.client(&[
            "bench",
            "--private",
            "-m",
            "pipe",
            "-n",
            "2",
            "--warmup",
            "1",
            "--parallel",
            "80",
        ]);
        let output = sandbox.finish(&mut command).expect(Exit::Success);
        assert!(output.stdout.contains("160 cycles completed"), "{}", output.stdout);
    });
}

#[test]
fn what_parallel_cannot_be_is_a_usage_error() {
    run(|sandbox| {
        for words in
            [&["--parallel", "0"][..], &["--parallel", "1001"], &["--parallel", "2", "--interval", "1s"]]
        {
            let mut command = sandbox.client(&[&["bench", "-n", "1"], words].concat());
            sandbox.finish(&mut command).expect(Exit::Usage);
        }
    });
}
