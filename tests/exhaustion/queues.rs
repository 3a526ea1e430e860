//! Queues, signals and locked memory: what the kernel counts for a user or for all.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};

use ipcd::internals::protocol::{ChannelSpec, Exit};
use rustix::process::Resource;

use super::{Bystander, Limited, LimitedBy, TWO, daemon_in, may_unshare, measure, says, skips, under};
use crate::conformance::here;
use crate::harness::{Daemon, another_user_can_run, run};
use crate::users::Users;

#[test]
fn message_queues_of_a_user_are_limited_by_their_bytes() {
    run(|sandbox| {
        let daemon = sandbox.daemon_with(&TWO);
        let mut bystander = Bystander::of(&daemon);
        let limited = Limited::to(daemon.pid, Resource::Msgqueue, 0);
        let mut refused = Vec::new();
        for mechanism in here() {
            let method = mechanism.info().name;
            if let Err(error) = measure(&daemon, &ChannelSpec::new(method)) {
                says(
                    &error,
                    &["making a message queue failed: ", "may take 0 bytes together", "LimitMSGQUEUE="],
                );
                refused.push(method);
            }
            bystander.goes_on();
        }
        assert_eq!(refused, ["mq"]);
        let bench = |arguments: &[&str]| {
            let short = ["bench", "-n", "5", "--trials", "1", "--warmup", "1", "--method"];
            sandbox.finish(&mut sandbox.client(&[&short[..], arguments].concat()))
        };
        let limit = "making a message queue failed: the queues of user ";
        let raised = "may take 0 bytes together; raise RLIMIT_MSGQUEUE (ulimit -q, LimitMSGQUEUE= in a unit)";
        bench(&["mq"]).expect(Exit::Unavailable).says(&["mq is unavailable on this host: ", limit, raised]);
        skips(&bench(&["queues"]), "mq", &[limit, raised], "sysv-mq");
        bystander.goes_on();
        // A size that would not fit, whatever else there is.
        limited.set(1000);
        bench(&["mq", "--size", "4096"]).expect(Exit::Unavailable).says(&[
            "mq cannot do that: a size of 4096 bytes; it carries 8 to ",
            "(a user's queues may take 1000 bytes together, and a channel has two; raise RLIMIT_MSGQUEUE",
        ]);
        drop(limited);
        measure(&daemon, &ChannelSpec::new("mq")).unwrap();
        // It is the daemon whose responders make the queues.
        let client =
            sandbox.client(&["bench", "-n", "5", "--trials", "1", "--method", "mq", "--size", "4096"]);
        sandbox.finish(&mut under(&["prlimit", "--msgqueue=0", "--"], &client)).expect(Exit::Success);
        bystander.finishes();
        daemon.is_at_rest();
    });
}

#[test]
fn message_queues_of_all_are_limited_by_their_number() {
    run(|sandbox| {
        if !another_user_can_run(sandbox) || !may_unshare(&["--ipc"]) {
            return;
        }
        // Root may have more POSIX queues than the limit says.
        let owner = Users::pick_after(30).owner;
        chown(sandbox.folder(), Some(owner.uid), Some(owner.gid)).unwrap();
        fs::set_permissions(sandbox.folder(), fs::Permissions::from_mode(0o711)).unwrap();
        let set = |most: u32| {
            format!("echo {most} > /proc/sys/fs/mqueue/queues_max && echo {most} > /proc/sys/kernel/msgmni")
        };
        let daemon = daemon_in(sandbox, &["--ipc"], &set(0), owner.runs(&sandbox.ipcd(&["start"])));
        let mut bystander = Bystander::of(&daemon);
        let pid = daemon.pid.to_string();
        let inside = ["nsenter", "--ipc", "--target", &pid, "--"];
        let bench = |method: &str| {
            let arguments = ["bench", "--method", method, "-n", "5", "--trials", "1", "--warmup", "1"];
            sandbox.finish(&mut under(&inside, &owner.runs(&sandbox.client(&arguments))))
        };
        for (method, limit) in [("mq", "fs.mqueue.queues_max"), ("sysv-mq", "kernel.msgmni")] {
            let output = bench(method).expect(Exit::Unavailable);
            output.says(&["making a message queue failed: there may be 0 queues; raise ", limit]);
            skips(&bench("queues"), method, &["there may be 0 queues; raise ", limit], "signal");
            bystander.goes_on();
        }
        let shell = ["nsenter", "--ipc", "--target", &pid, "--", "sh", "-c", &set(64)];
        sandbox.finish(&mut under(&shell, &sandbox.client(&[]))).expect(Exit::Success);
        for method in ["mq", "sysv-mq"] {
            bench(method).expect(Exit::Success);
        }
        // This user has no other queues: a size that is reported to fit does fit.
        let limited = LimitedBy::to(sandbox, owner, daemon.pid, "msgqueue", 1000);
        let sized = |size: &str| {
            let bench =
                ["bench", "--method", "mq", "--size", size, "-n", "5", "--trials", "1", "--warmup", "1"];
            sandbox.finish(&mut under(&inside, &owner.runs(&sandbox.client(&bench))))
        };
        let printed = sized("8,450").expect(Exit::Unavailable);
        let printed = printed.says(&["RLIMIT_MSGQUEUE", "of the requested sizes, mq carries 8"]);
        let most =
            printed.stderr.split("it carries 8 to ").nth(1).unwrap().split(' ').next().unwrap().to_owned();
        sized(&most).expect(Exit::Success);
        let more = (most.parse::<u32>().unwrap() + 1).to_string();
        sized(&more).expect(Exit::Unavailable).says(&["it carries 8 to ", "RLIMIT_MSGQUEUE"]);
        drop(limited);
        sized(&more).expect(Exit::Success);
        bystander.finishes();
        daemon.is_at_rest();
    });
}

#[test]
fn signals_and_timers_of_a_user_are_limited() {
    run(|sandbox| {
        let daemon = sandbox.daemon_with(&TWO);
        let mut bystander = Bystander::of(&daemon);
        let mut refused = 0;
        for mechanism in here() {
            let method = mechanism.info().name;
            let limited = Limited::to(daemon.pid, Resource::Sigpending, 0);
            let error = measure(&daemon, &ChannelSpec::new(method)).unwrap_err();
            if method == "signal" {
                // The limit shows beforehand that the mechanism is unavailable.
                says(&error, &["RLIMIT_SIGPENDING is 0"]);
            } else {
                says(&error, &["watching the supervisor failed: ", "may have 0 timers", "LimitSIGPENDING="]);
            }
            bystander.goes_on();
            drop(limited);
            let bench = ["bench", "--method", method, "-n", "5", "--trials", "1", "--warmup", "1"];
            let client = under(&["prlimit", "--sigpending=0", "--"], &sandbox.client(&bench));
            let output = sandbox.finish(&mut { client }).expect(Exit::Unavailable);
            if method != "signal" {
                output.says(&["watching the control connection failed: ", "may have 0 timers", "ulimit -i"]);
            }
            measure(&daemon, &ChannelSpec::new(method)).unwrap();
            refused += 2;
        }
        eprintln!("timers and signals: {refused} refusals");
        bystander.finishes();
        daemon.is_at_rest();
    });
}

/// A tick's timer takes one, so that none is left for a word.
#[test]
fn a_signal_that_cannot_be_queued_is_reported_when_the_channel_is_opened() {
    run(|sandbox| {
        if !another_user_can_run(sandbox) {
            return;
        }
        let owner = Users::pick_after(40).owner;
        chown(sandbox.folder(), Some(owner.uid), Some(owner.gid)).unwrap();
        let daemon = Daemon::start(sandbox, owner.runs(&sandbox.ipcd(&["start"])));
        let bench = ["bench", "--method", "signal", "-n", "5", "--trials", "1", "--warmup", "1"];
        // The daemon's user has no other: its client has none yet when the responder tries.
        let limited = LimitedBy::to(sandbox, owner, daemon.pid, "sigpending", 1);
        let output = sandbox.finish(&mut owner.runs(&sandbox.client(&bench)));
        drop(limited);
        output.expect(Exit::Unavailable).says(&["RLIMIT_SIGPENDING"]);
        sandbox.finish(&mut owner.runs(&sandbox.client(&bench))).expect(Exit::Success);
        daemon.is_at_rest();
    });
}

/// The memory of a ring has not counted as locked since Linux 5.12.
#[test]
fn rings_need_no_locked_memory_or_say_so() {
    run(|sandbox| {
        let daemon = sandbox.daemon_with(&TWO);
        let mut bystander = Bystander::of(&daemon);
        let limited = Limited::to(daemon.pid, Resource::Memlock, 0);
        for mechanism in here() {
            match measure(&daemon, &ChannelSpec::new(mechanism.info().name)) {
                Ok(()) => {}
                Err(error) => says(&error, &["io-uring", "RLIMIT_MEMLOCK"]),
            }
            bystander.goes_on();
        }
        drop(limited);
        bystander.finishes();
        daemon.is_at_rest();
    });
}
