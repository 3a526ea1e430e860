//! Processes: no responder can be started. The limit is an ordinary user's, since root has none.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};

use ipcd::internals::protocol::Exit;

use super::{Bystander, LimitedBy, TWO, under};
use crate::conformance::here;
use crate::harness::{Daemon, another_user_can_run, run};
use crate::users::Users;

#[test]
fn a_users_process_limit_is_reported_and_the_daemon_goes_on() {
    run(|sandbox| {
        if !another_user_can_run(sandbox) {
            return;
        }
        let owner = Users::pick_after(10).owner;
        chown(sandbox.folder(), Some(owner.uid), Some(owner.gid)).unwrap();
        fs::set_permissions(sandbox.folder(), fs::Permissions::from_mode(0o711)).unwrap();
        let start = [&["start"][..], &TWO].concat();
        let daemon = Daemon::start(sandbox, owner.runs(&sandbox.ipcd(&start)));
        let mut bystander = Bystander::of(&daemon);
        let mut refused = 0;
        for mechanism in here() {
            let method = mechanism.info().name;
            let bench = || {
                let arguments = ["bench", "--method", method, "-n", "5", "--trials", "1", "--warmup", "1"];
                sandbox.finish(&mut owner.runs(&sandbox.client(&arguments)))
            };
            // The daemon itself is one.
            let limited = LimitedBy::to(sandbox, owner, daemon.pid, "nproc", 1);
            let output = bench().expect(Exit::Unavailable);
            let limit = format!("user {} may have 1 processes and threads", owner.uid);
            output.says(&["the responder could not be started: ", &limit, "RLIMIT_NPROC", "TasksMax="]);
            refused += 1;
            bystander.goes_on();
            drop(limited);
            bench().expect(Exit::Success);
        }
        assert!(
            daemon.process().has_said("WARN") && daemon.process().has_said("RLIMIT_NPROC"),
            "the log says it"
        );
        eprintln!("processes of the daemon: {refused} mechanisms refused");
        bystander.finishes();
        daemon.is_at_rest();
    });
}

#[test]
fn a_client_with_no_process_left_has_no_private_daemon_and_says_so() {
    run(|sandbox| {
        if !another_user_can_run(sandbox) {
            return;
        }
        let owner = Users::pick_after(20).owner;
        fs::set_permissions(sandbox.folder(), fs::Permissions::from_mode(0o777)).unwrap();
        let client = |arguments: &[&str]| {
            // After the user has become another: the limit is looked at when a process is started.
            let client = under(&["prlimit", "--nproc=1", "--"], &sandbox.client(arguments));
            sandbox.finish(&mut owner.runs(&client)).expect(Exit::Unavailable)
        };
        let limit = format!("user {} may have 1 processes and threads", owner.uid);
        client(&["bench", "--private", "-n", "5"]).says(&[
            "a private daemon cannot be started",
            &limit,
            "ulimit -u",
        ]);
        // Several channels take a thread each.
        let daemon = sandbox.daemon();
        fs::set_permissions(&daemon.socket, fs::Permissions::from_mode(0o666)).unwrap();
        let several = ["bench", "--parallel", "4", "-m", "tcp", "-n", "5"];
        client(&several).says(&["this process cannot drive this many channels at once", &limit]);
        daemon.serves("tcp");
        daemon.is_at_rest();
    });
}
