//! Methods that a sandbox or a namespace lacks: `methods` lists them as unavailable, a group leaves them out, and naming one is
//! refused with the reason.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use ipcd::internals::protocol::Exit;
use ipcd::internals::transports;
use rustix::io::Errno;

use crate::exhaustion::{may_unshare, skips, under};
use crate::harness::{Output, Sandbox, not_tested, run};

/// A system call, its number on x86-64, the methods that need it, and the group of the first one.
struct Call {
    name: &'static str,
    number: u32,
    group: &'static str,
    methods: &'static [&'static str],
}

const CALLS: [Call; 7] = [
    Call {
        name: "eventfd2",
        number: 290,
        group: "pipes",
        methods: &["eventfd", "tokio", "http", "grpc", "dbus", "zeromq"],
    },
    Call {
        name: "epoll_create1",
        number: 291,
        group: "sockets",
        methods: &["epoll", "tokio", "http", "grpc", "dbus", "zeromq"],
    },
    Call { name: "mknodat", number: 259, group: "pipes", methods: &["fifo"] },
    Call { name: "rt_tgsigqueueinfo", number: 297, group: "queues", methods: &["signal"] },
    Call { name: "msgsnd", number: 69, group: "queues", methods: &["sysv-mq"] },
    Call {
        name: "fallocate",
        number: 285,
        group: "memory",
        methods: &["shmem", "memfd", "mmap", "futex", "semaphore", "process-vm"],
    },
    Call { name: "io_uring_enter", number: 426, group: "sockets", methods: &["io-uring"] },
];

/// What the reason says, whichever the call and its error.
const SANDBOX: [&str; 2] = ["sandbox", "(seccomp)"];

/// The program, for which this call fails so.
fn without(call: &Call, errno: Errno, command: &Command) -> Command {
    let helper = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/lacking/forbid.py");
    let (number, errno) = (call.number.to_string(), errno.raw_os_error().to_string());
    under(&["python3", helper, &number, &errno], command)
}

/// Whether calls can be forbidden; says so if not.
fn may_forbid(sandbox: &Sandbox) -> bool {
    if cfg!(not(target_arch = "x86_64")) {
        not_tested("python3", "the numbers of system calls are those of x86-64");
        return false;
    }
    // Nothing calls the kernel by this number.
    let nothing = Call { name: "none", number: 1 << 20, group: "", methods: &[] };
    let mut version = without(&nothing, Errno::PERM, &sandbox.client(&["--version"]));
    let can = version.output().is_ok_and(|output| output.status.success());
    if !can {
        not_tested("python3", "no system call can be forbidden (python3, seccomp)");
    }
    can
}

/// The methods that are available only outside, each with the reason that `methods` shows inside.
fn lacking(output: &Output) -> Vec<(String, String)> {
    let listed: Vec<serde_json::Value> = serde_json::from_str(&output.stdout).unwrap();
    let here: BTreeSet<_> = transports::states()
        .into_iter()
        .filter(|state| state.unavailable.is_none())
        .map(|state| state.name)
        .collect();
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    listed
        .iter()
        .filter(|method| method["available"] == false)
        .map(|method| (text(&method["name"]), text(&method["unavailable_because"])))
        .filter(|(name, _)| here.contains(name))
        .collect()
}

/// `methods` of a host that no daemon runs on: as a private one would have them.
fn methods(sandbox: &Sandbox) -> Command {
    let mut command = sandbox.client(&["methods", "--json"]);
    command.env_remove("IPCD_SOCKET");
    command
}

/// Whether no daemon of this host's answers instead; says so if not.
fn no_daemon() -> bool {
    let none = !Path::new("/run/ipcd/ipcd.sock").exists();
    if !none {
        not_tested("no-daemon", "this host has a daemon");
    }
    none
}

/// A short run of these methods.
fn bench(sandbox: &Sandbox, methods: &str) -> Command {
    sandbox.client(&["bench", "-n", "5", "--trials", "1", "--warmup", "1", "--private", "--method", methods])
}

#[test]
fn what_a_sandbox_forbids_is_reported_and_skipped() {
    run(|sandbox| {
        if !may_forbid(sandbox) || !no_daemon() {
            return;
        }
        for call in &CALLS {
            // A host that lacks it all the same shows nothing.
            let first = call.methods[0];
            let expected: Vec<_> = transports::states()
                .into_iter()
                .filter(|state| state.unavailable.is_none() && call.methods.contains(&&*state.name))
                .map(|state| state.name)
                .collect();
            if !expected.iter().any(|name| name == first) {
                not_tested(first, "this host has it not");
                continue;
            }
            for errno in [Errno::PERM, Errno::NOSYS] {
                let forbidden = |command: &Command| sandbox.finish(&mut without(call, errno, command));
                let listed = forbidden(&methods(sandbox)).expect(Exit::Success);
                let lacking = lacking(&listed);
                let names: BTreeSet<_> = lacking.iter().map(|(name, _)| name).collect();
                assert_eq!(names, expected.iter().collect(), "{} with {errno:?}: {lacking:?}", call.name);
                for (name, reason) in &lacking {
                    assert!(SANDBOX.iter().all(|part| reason.contains(part)), "{name}: {reason}");
                }
                let group = forbidden(&bench(sandbox, &format!("{},tcp", call.group)));
                skips(&group, first, &SANDBOX, "tcp");
                forbidden(&bench(sandbox, first)).expect(Exit::Unavailable).says(&SANDBOX);
            }
        }
    });
}

/// The daemon may do what its client may not, which no group's membership changes.
#[test]
fn a_client_in_a_sandbox_measures_the_rest_of_a_group_and_reports_what_is_missing() {
    run(|sandbox| {
        if !may_forbid(sandbox) {
            return;
        }
        let daemon = sandbox.daemon();
        let states = transports::states();
        for call in &CALLS {
            let method = call.methods[0];
            if states.iter().any(|state| state.name == method && state.unavailable.is_some()) {
                continue;
            }
            let group = format!("{},tcp", call.group);
            for errno in [Errno::PERM, Errno::NOSYS] {
                let bench = |methods: &str| {
                    let bench = ["bench", "-n", "5", "--trials", "1", "--warmup", "1", "--method", methods];
                    sandbox.finish(&mut without(call, errno, &sandbox.client(&bench)))
                };
                // These are the responder's calls alone.
                if ["eventfd", "fifo", "shmem"].contains(&method) {
                    bench(method).expect(Exit::Success);
                    let stderr = bench(&group).expect(Exit::Success).stderr;
                    assert!(!stderr.contains(&format!("skipping {method}: ")), "{stderr}");
                    continue;
                }
                let reason = [format!("cannot connect to the {method} channel: "), system(errno)];
                let reason = reason.each_ref().map(String::as_str);
                let named = bench(method);
                assert!(!named.stderr.contains("membership"), "{named:#?}");
                named.expect(Exit::Unavailable).says(&reason);
                skips(&bench(&group), method, &reason, "tcp");
            }
        }
        daemon.is_at_rest();
    });
}

/// An error, in the system's words.
fn system(errno: Errno) -> String {
    std::io::Error::from(errno).to_string()
}

/// A client in a container whose socket is shared, where the daemon's loopback interface is another one.
#[test]
fn a_client_in_another_network_measures_the_rest_of_a_group() {
    run(|sandbox| {
        if !may_unshare(&["--net"]) {
            return;
        }
        let daemon = sandbox.daemon();
        let bench = ["bench", "-n", "5", "--trials", "1", "--warmup", "1", "--method", "sockets"];
        let output =
            sandbox.finish(&mut under(&["unshare", "--net"], &sandbox.client(&bench))).expect(Exit::Success);
        for method in ["tcp", "udp"] {
            skips(&output, method, &[&format!("cannot connect to the {method} channel: ")], "unix");
        }
        // Sockets that are handed over are of the daemon's network, whatever name they had there.
        let bench = [&bench[..], &["--namespace", "path,abstract"]].concat();
        let output =
            sandbox.finish(&mut under(&["unshare", "--net"], &sandbox.client(&bench))).expect(Exit::Success);
        let rows: Vec<_> = output.stdout.lines().filter(|line| line.starts_with("unix ")).collect();
        let has = |namespace: &str| {
            let row = format!("unix namespace={namespace} ");
            rows.iter().filter(|line| line.starts_with(&row)).count() == 1
        };
        assert!(rows.len() == 2 && has("path") && has("abstract"), "{output:#?}");
        daemon.is_at_rest();
    });
}

/// Runs `methods`, a group and a method by its name in new namespaces that a shell has prepared.
fn in_namespace(
    sandbox: &Sandbox,
    namespace: &str,
    prepare: &str,
    group: &str,
    methods: &[&str],
    reason_text: &str,
    other: &str,
) {
    let script = format!("{prepare} && exec \"$@\"");
    let inside = |command: &Command| {
        sandbox.finish(&mut under(&["unshare", namespace, "sh", "-c", &script, "sh"], command))
    };
    let output = inside(&self::methods(sandbox)).expect(Exit::Success);
    let lacking = lacking(&output);
    for method in methods {
        let reason = lacking.iter().find(|(name, _)| name == method).map(|(_, reason)| reason);
        assert!(
            reason.is_some_and(|reason| reason.contains(reason_text)),
            "{method} is not among {lacking:?}"
        );
        inside(&bench(sandbox, method)).expect(Exit::Unavailable).says(&[reason_text]);
    }
    skips(&inside(&bench(sandbox, group)), methods[0], &[reason_text], other);
}

#[test]
fn a_loopback_interface_that_is_down_is_reported() {
    run(|sandbox| {
        if no_daemon() && may_unshare(&["--net"]) {
            let reason_text = "lo is down";
            in_namespace(sandbox, "--net", "true", "sockets", &["tcp", "udp"], reason_text, "unix");
        }
    });
}

#[test]
fn queues_that_take_less_than_the_smallest_message_are_reported() {
    run(|sandbox| {
        if !no_daemon() || !may_unshare(&["--ipc"]) {
            return;
        }
        for name in ["msgmax", "msgmnb"] {
            let prepare = format!("echo 4 > /proc/sys/kernel/{name}");
            let reason_text = format!("kernel.{name} is 4, and the smallest message has 8 bytes");
            in_namespace(sandbox, "--ipc", &prepare, "queues", &["sysv-mq"], &reason_text, "signal");
        }
    });
}
