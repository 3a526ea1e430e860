//! Descriptors: the limit of the daemon, of a responder and of a client goes from what nothing works with to what all does.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use ipcd::internals::protocol::{ChannelSpec, Exit, Token, role};
use ipcd::internals::protocol::{Link, LinkError};
use ipcd::internals::transports::{Announcement, Assignment, Grant, Mechanism, Owner, unique_name};
use rustix::process::{Resource, Signal};

use super::{Bystander, Limited, TWO, entries, measure, says, under};
use crate::conformance::here;
use crate::harness::{PATIENCE, Sandbox, run};

/// The number that the next descriptor of the process will have.
fn next_descriptor(pid: u32) -> u64 {
    let numbers = entries(Path::new(&format!("/proc/{pid}/fd")));
    (0..).find(|number| !numbers.contains(&number.to_string())).unwrap()
}

#[test]
fn a_daemon_without_descriptors_says_so_and_goes_on() {
    run(|sandbox| {
        let daemon = sandbox.daemon_with(&TWO);
        let mut bystander = Bystander::of(&daemon);
        let (mut steps, mut mechanisms) = (0, 0);
        for mechanism in here() {
            let method = mechanism.info().name;
            let least = next_descriptor(daemon.pid);
            let limited = Limited::to(daemon.pid, Resource::Nofile, least);
            let mut enough = 0;
            for most in least.. {
                assert!(most < least + 40, "{method}: it never needs this many more");
                limited.set(most);
                match measure(&daemon, &ChannelSpec::new(method)) {
                    Ok(()) => enough += 1,
                    Err(error) => {
                        assert_eq!(enough, 0, "{method}: fewer were enough than {most}");
                        let own = format!("process {} (ipcd) may have {most} descriptors", daemon.pid);
                        says(&error, &[&own, "LimitNOFILE="]);
                        steps += 1;
                    }
                }
                bystander.goes_on();
                if enough == 2 {
                    break;
                }
            }
            assert!(limited_steps_were_seen(steps, mechanisms), "{method}: no limit was too low");
            drop(limited);
            measure(&daemon, &ChannelSpec::new(method)).unwrap();
            mechanisms += 1;
        }
        eprintln!("descriptors of the daemon: {mechanisms} mechanisms, {steps} refusals");
        bystander.finishes();
        daemon.is_at_rest();
    });
}

/// Each mechanism was refused at least where no connection could be accepted.
fn limited_steps_were_seen(steps: u32, mechanisms_before: u32) -> bool {
    steps > mechanisms_before
}

#[test]
fn a_responder_without_descriptors_says_so_and_leaves_nothing() {
    run(|sandbox| {
        let (mut steps, mut mechanisms) = (0, 0);
        for mechanism in here() {
            let method = mechanism.info().name;
            let name = unique_name().unwrap();
            let mut ready = false;
            for most in 4..64 {
                match respond(sandbox, mechanism, &name, most) {
                    Ok(()) => {
                        ready = true;
                        break;
                    }
                    Err(reason) => {
                        let limit = format!("(ipcd-responder) may have {most} descriptors");
                        assert!(
                            reason.contains(&limit) && reason.contains("RLIMIT_NOFILE"),
                            "{method}: {reason}"
                        );
                        assert_eq!(entries(sandbox.folder()), Vec::<String>::new(), "{method}");
                        steps += 1;
                    }
                }
            }
            assert!(ready, "{method}: 64 are not enough");
            mechanisms += 1;
        }
        assert!(steps > mechanisms, "with 4, no responder can take over its socket");
        eprintln!("descriptors of a responder: {mechanisms} mechanisms, {steps} refusals");
    });
}

/// Starts a responder as a daemon does, with at most `most` descriptors. An error is why it ended before it was ready.
fn respond(sandbox: &Sandbox, mechanism: &dyn Mechanism, name: &str, most: u32) -> Result<(), String> {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut link = Link::new(ours.into());
    let grant = Grant { token: Token::new([7; 32]), name: name.to_owned(), client: Owner::this() };
    let assignment = Assignment { spec: ChannelSpec::new(mechanism.info().name), grant };
    link.send(&assignment, &[]).unwrap();
    let limit = format!("--nofile={most}");
    let mut command = under(&["prlimit", &limit, "--"], &sandbox.ipcd(&[role::RESPONDER]));
    let responder = sandbox.start_with_stdin(&mut command, Stdio::from(OwnedFd::from(theirs)));
    // Held by the command as well, it would hide the responder's end.
    drop(command);
    match link.receive(Some(PATIENCE)) {
        Ok(Announcement::Ready { .. }) => {
            responder.signal(Signal::KILL);
            responder.wait(PATIENCE).expect_signal(Signal::KILL);
            // What its daemon would do.
            mechanism.remove_leftovers(name);
            // Its folder is not this process's.
            let _ = fs::remove_file(sandbox.folder().join(name));
            Ok(())
        }
        Ok(Announcement::Failed { reason }) => {
            responder.wait(PATIENCE).expect(Exit::Broken);
            Err(reason)
        }
        Err(LinkError::Closed) => Err(format!("it ended without a word: {:?}", responder.wait(PATIENCE))),
        Err(error) => panic!("{error:?}"),
    }
}

/// Runs a client with rising limits, from the lowest that can load it to one that works.
fn sweep_client(sandbox: &Sandbox, private: bool, by: usize) -> (u32, u32) {
    let (mut steps, mut mechanisms) = (0, 0);
    for mechanism in here() {
        let method = mechanism.info().name;
        let arguments = ["bench", "--method", method, "-n", "5", "--trials", "1", "--warmup", "1"];
        let arguments = if private { [&arguments[..], &["--private"]].concat() } else { arguments.to_vec() };
        let before = steps;
        for most in (4..).step_by(by) {
            assert!(most < 64, "{method}: it never needs this many");
            let limit = format!("--nofile={most}");
            let mut command = under(&["prlimit", &limit, "--"], &sandbox.client(&arguments));
            let output = sandbox.finish(&mut command);
            if output.status.success() {
                break;
            }
            let output = output.expect(Exit::Unavailable).says(&["RLIMIT_NOFILE"]);
            assert!(output.stderr.contains(&format!(") may have {most} descriptors")), "{output:#?}");
            steps += 1;
        }
        assert!(steps > before, "{method}: 4 suffice for a connection");
        mechanisms += 1;
    }
    (mechanisms, steps)
}

#[test]
fn a_client_without_descriptors_says_so_and_its_daemon_goes_on() {
    run(|sandbox| {
        let daemon = sandbox.daemon_with(&TWO);
        let mut bystander = Bystander::of(&daemon);
        let (mechanisms, steps) = sweep_client(sandbox, false, 1);
        eprintln!("descriptors of a client: {mechanisms} mechanisms, {steps} refusals");
        bystander.goes_on();
        bystander.finishes();
        daemon.is_at_rest();
    });
}

#[test]
fn a_client_and_its_private_daemon_without_descriptors_say_so() {
    run(|sandbox| {
        // All of them take half a minute.
        let by = if std::env::var_os("IPCD_TEST_ALL_STEPS").is_some() { 1 } else { 6 };
        let (mechanisms, steps) = sweep_client(sandbox, true, by);
        eprintln!(
            "descriptors of a client and its private daemon: {mechanisms} mechanisms, {steps} refusals"
        );
    });
}

/// What a process has used of the CPU, and how often it has gone to sleep.
fn used(pid: u32) -> (Duration, u64) {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = [11, 12].iter().map(|field| fields[*field].parse::<u64>().unwrap()).sum();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let slept = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).unwrap();
    // 100 a second, whatever the kernel's own are.
    (Duration::from_millis(ticks * 10), slept.trim().parse().unwrap())
}

#[test]
fn a_daemon_that_cannot_accept_waits_without_spinning() {
    run(|sandbox| {
        let daemon = sandbox.daemon_with(&TWO);
        let mut bystander = Bystander::of(&daemon);
        // Fewer than it has open, and than it waits for.
        let limited = Limited::to(daemon.pid, Resource::Nofile, 3);
        let (start, before) = (Instant::now(), used(daemon.pid));
        let waiting = [(); 3].map(|()| sandbox.start(&mut sandbox.client(&["status"])));
        for client in waiting {
            bystander.goes_on();
            let output = client.wait(PATIENCE).expect(Exit::NotIpcd);
            output.says(&["the peer sent nothing for 2.0 s", "starved of CPU or descriptors"]);
        }
        let (after, wall) = (used(daemon.pid), start.elapsed());
        assert!(after.0 - before.0 < wall / 4, "{:?} of CPU in {wall:?}", after.0 - before.0);
        let woken = after.1 - before.1;
        assert!(u128::from(woken) < wall.as_millis() / 5, "woken {woken} times in {wall:?}");
        eprintln!(
            "a daemon that can accept no connection: {:?} of CPU, woken {woken} times in {wall:?}",
            after.0 - before.0
        );
        drop(limited);
        daemon.wait_for_status("those who have gone are forgotten", |status| status.connections <= 2);
        bystander.finishes();
        daemon.serves("tcp");
        daemon.is_at_rest();
    });
}
