//! Memory and the size of files: of the daemon, whose responders inherit it, and of the client.

use std::fs;

use ipcd::internals::protocol::Exit;
use rustix::process::Resource;

use super::{Bystander, Limited, TWO, measure, says, sized, under};
use crate::conformance::here;
use crate::harness::{Daemon, run};

/// More than a process may have that has mapped its program and little else, less than all that a test machine has.
const LARGE: usize = 16 << 20;

/// What a process has mapped.
fn mapped(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmPeak:")).unwrap().trim();
    line.trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

#[test]
fn a_payload_that_the_responder_has_no_memory_for_is_refused() {
    run(|sandbox| {
        let mut start = sandbox.ipcd(&[&["start"][..], &TWO].concat());
        // Else the C library sets 64 MiB apart for the daemon's second thread, which no responder has.
        start.env("MALLOC_ARENA_MAX", "1");
        let daemon = Daemon::start(sandbox, start);
        let mut bystander = Bystander::of(&daemon);
        let most = mapped(daemon.pid) + (16 << 20);
        let mut refused = 0;
        for mechanism in here() {
            let (method, can) = (mechanism.info().name, mechanism.capabilities());
            let small = u32::try_from(can.min_size).unwrap();
            let limited = Limited::to(daemon.pid, Resource::As, most);
            if can.max_size >= LARGE {
                let error = measure(&daemon, &sized(method, 16 << 20)).unwrap_err();
                let limit = format!("(ipcd-responder) may have {most} bytes of memory");
                says(&error, &["finding memory for the payloads failed: ", &limit, "LimitAS="]);
                refused += 1;
            }
            bystander.goes_on();
            measure(&daemon, &sized(method, small)).unwrap();
            drop(limited);
        }
        // The same daemon has room again.
        for method in ["tcp", "shmem", "memfd", "process-vm"] {
            measure(&daemon, &sized(method, 16 << 20)).unwrap();
        }
        assert!(refused >= 15, "{refused}");
        eprintln!("memory of a responder: {refused} mechanisms refused");
        bystander.finishes();
        daemon.is_at_rest();
    });
}

#[test]
fn a_payload_that_the_client_has_no_memory_for_is_refused() {
    run(|sandbox| {
        let daemon = sandbox.daemon_with(&TWO);
        let mut bystander = Bystander::of(&daemon);
        let mut refused = 0;
        for mechanism in here().filter(|mechanism| mechanism.capabilities().max_size >= LARGE) {
            let method = mechanism.info().name;
            let bench = |size: &str| {
                let arguments = [
                    "bench", "--method", method, "--size", size, "-n", "1", "--trials", "1", "--warmup", "1",
                ];
                // With all that it links to, the program itself maps less than half of it.
                sandbox.finish(&mut under(&["prlimit", "--as=67108864", "--"], &sandbox.client(&arguments)))
            };
            let output = bench("16M").expect(Exit::Unavailable);
            output.says(&[
                "finding memory for the payloads failed: ",
                "may have 67108864 bytes of memory",
                "ulimit -v",
            ]);
            bench("64").expect(Exit::Success);
            bystander.goes_on();
            refused += 1;
        }
        assert!(refused >= 15, "{refused}");
        eprintln!("memory of a client: {refused} mechanisms refused");
        bystander.finishes();
        daemon.is_at_rest();
    });
}

#[test]
fn a_file_that_may_not_grow_is_an_error_and_no_signal() {
    run(|sandbox| {
        let daemon = sandbox.daemon_with(&TWO);
        let mut bystander = Bystander::of(&daemon);
        let mut refused = Vec::new();
        for mechanism in here() {
            let (method, can) = (mechanism.info().name, mechanism.capabilities());
            let limited = Limited::to(daemon.pid, Resource::Fsize, 4096);
            let size = u32::try_from(can.max_size.min(100_000)).unwrap();
            if let Err(error) = measure(&daemon, &sized(method, size)) {
                says(&error, &["(ipcd-responder) may make files of 4096 bytes", "LimitFSIZE="]);
                refused.push(method);
            }
            bystander.goes_on();
            drop(limited);
            measure(&daemon, &sized(method, size)).unwrap();
        }
        for method in ["shmem", "memfd", "mmap", "futex", "semaphore"] {
            assert!(refused.contains(&method), "{method} is not among {refused:?}");
        }
        eprintln!("sizes of files: {} mechanisms refused: {refused:?}", refused.len());
        bystander.finishes();
        daemon.is_at_rest();
    });
}

#[test]
fn a_client_whose_files_may_not_grow_says_so() {
    run(|sandbox| {
        let file = sandbox.folder().join("report.json").display().to_string();
        let arguments =
            ["bench", "--private", "-m", "null", "-n", "5", "--format", "json", "--output", &file];
        let client = under(&["prlimit", "--fsize=100", "--"], &sandbox.client(&arguments));
        let output = sandbox.finish(&mut { client }).expect(Exit::Failure);
        output.says(&["report.json", "may make files of 100 bytes", "ulimit -f"]);
        assert_eq!(sandbox.files(), Vec::<&std::path::Path>::new(), "no half of a report is left");
    });
}
