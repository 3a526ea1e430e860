//! SIGINT, SIGTERM and SIGHUP during a run: completed trials are reported, and a second signal ends the program at once.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::thread::sleep;
use std::time::Duration;

use ipcd::internals::client::Report;
use ipcd::internals::protocol::Exit;
use rustix::process::Signal;

use crate::commands::on_two_cpus;
use crate::harness::{SOON, Sandbox, responder_of, run, wait_until_measuring};
use crate::history::Place;

const MANY: [&str; 6] = ["--warmup", "1", "--interval", "50ms", "--trials", "10000"];

#[test]
fn completed_trials_of_an_interrupted_run_are_reported_and_recorded() {
    run(|sandbox| {
        let place = Place::new(sandbox);
        for (number, signal) in [(1, Signal::INT), (2, Signal::TERM), (3, Signal::HUP)] {
            let bench = ["bench", "--private", "-m", "null,pipe", "--duration", "100ms", "--record"];
            let client = sandbox.start(&mut place.client(sandbox, &[&bench[..], &MANY].concat()));
            client.wait_for_output(" trial 2 at ");
            client.signal(signal);
            let output = client.wait(SOON).expect_signal(signal);
            assert!(output.stdout.contains("failed: the run was interrupted"), "{}", output.stdout);
            let output = output.says(&[
                "the run was interrupted before all of its trials were completed",
                &format!("recorded as run {number}"),
            ]);
            assert_eq!(output.stderr.matches("was interrupted").count(), 1, "{}", output.stderr);

            let mut show = place.client(sandbox, &["history", "show", "last", "--json"]);
            let report: Report =
                serde_json::from_str(&sandbox.finish(&mut show).expect(Exit::Success).stdout).unwrap();
            assert_eq!(report.results.len(), 2);
            for cell in &report.results {
                assert!(
                    !cell.trials.is_empty() && cell.trials.len() < 10_000,
                    "{} trials",
                    cell.trials.len()
                );
                assert!(
                    cell.error.as_ref().is_some_and(|error| error.contains("interrupted")),
                    "{:?}",
                    cell.error
                );
                assert_eq!(cell.grade.to_string(), "F");
            }
        }
    });
}

/// How often a process has slept, which it does once in a round of a pipe.
fn sleeps(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let sleeps = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    sleeps.and_then(|sleeps| sleeps.trim().parse().ok()).unwrap_or(0)
}

#[test]
fn an_interrupted_matrix_shows_what_it_has_measured() {
    run(|sandbox| {
        on_two_cpus();
        let file = sandbox.folder().join("matrix.csv");
        let matrix = ["matrix", "--private", "-m", "futex", "--duration", "50ms", "--trials", "1000"];
        let matrix = [&matrix[..], &["-o", file.to_str().unwrap()]].concat();
        for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
            let client = sandbox.start(sandbox.client(&matrix).env_remove("IPCD_SOCKET"));
            client.wait_for_line("ipc-client: 4 pairs of CPUs, 1000 trials each: about");
            // Longer than a pass takes.
            sleep(Duration::from_secs(2));
            client.signal(signal);
            let output = client.wait(SOON).expect_signal(signal).says(&["the run was interrupted after "]);
            assert!(output.stdout.contains("partial: interrupted after "), "{output:#?}");
            let csv = fs::read_to_string(&file).unwrap();
            assert_eq!(csv.lines().count(), 5, "{csv}");
            assert!(csv.lines().all(|line| line.ends_with(",error") || line.ends_with(',')), "{csv}");
            fs::remove_file(&file).unwrap();
        }
    });
}

#[test]
fn a_first_trial_that_is_interrupted_is_reported_with_its_rounds() {
    run(|sandbox| {
        let daemon = sandbox.daemon();
        let place = Place::new(sandbox);
        let log = place.file("log.hdr");
        let bench = ["bench", "-m", "pipe", "--duration", "1h", "--warmup", "1", "--record"];
        let runs = [&["--hdr-log", log.to_str().unwrap()][..], &["--interval", "50ms"], &["--parallel", "3"]];
        for arguments in runs {
            let client = sandbox.start(&mut place.client(sandbox, &[&bench[..], arguments].concat()));
            let channels = if arguments[0] == "--parallel" { 3 } else { 1 };
            daemon.wait_for_status("rounds are made", |status| {
                let rounds = status.channels.iter().filter(|channel| sleeps(channel.responder_pid) > 500);
                rounds.count() == channels
            });
            client.signal(Signal::INT);
            let output = client.wait(SOON).expect_signal(Signal::INT);
            assert!(output.stdout.contains("failed: the run was interrupted"), "{}", output.stdout);
            daemon.is_at_rest();
            let mut show = place.client(sandbox, &["history", "show", "last", "--json"]);
            let report: Report =
                serde_json::from_str(&sandbox.finish(&mut show).expect(Exit::Success).stdout).unwrap();
            let cell = &report.results[0];
            assert!(cell.rounds > 0 && cell.headline_ns.samples > 0, "{arguments:?}");
            assert_eq!(cell.trials.iter().map(|trial| trial.partial).collect::<Vec<_>>(), [true]);
            assert_eq!(cell.grade.to_string(), "F");
        }
        assert!(std::fs::read_to_string(&log).unwrap().contains("Tag=pipe:8B"), "the log has its rounds");
    });
}

#[test]
fn a_second_signal_does_not_wait_for_a_round_that_hangs() {
    run(|sandbox: &Sandbox| {
        let daemon = sandbox.daemon();
        let bench = ["bench", "-m", "pipe", "--wait", "block", "--duration", "1h"];
        let client = sandbox.start(&mut sandbox.client(&[&bench[..], &MANY].concat()));
        wait_until_measuring(&client);
        let responder = responder_of(&daemon, &client);
        responder.signal(Signal::STOP);
        // Two of one kind could become one.
        client.signal(Signal::INT);
        client.signal(Signal::TERM);
        let signal = client.wait(SOON).status.signal();
        assert!(
            [Signal::INT, Signal::TERM].map(|signal| Some(signal.as_raw())).contains(&signal),
            "{signal:?}"
        );
        assert!(responder.ends_within(SOON), "a stopped responder is ended too");
        daemon.is_at_rest();
    });
}
