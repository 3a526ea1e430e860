//! Daemon and client of different users, as the service and its clients are.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::process::Command;

use ipcd::protocol::Exit;

use crate::harness::{Daemon, NOBODY, Sandbox, nobody_can_run, run};

/// The daemon's user, and the group that its clients are in.
const SERVICE: u32 = NOBODY - 1;

/// A daemon of user [`SERVICE`] whose socket its group may use.
fn service(sandbox: &Sandbox) -> Daemon {
    fs::set_permissions(sandbox.folder(), fs::Permissions::from_mode(0o755)).unwrap();
    chown(sandbox.folder(), Some(SERVICE), Some(SERVICE)).unwrap();
    let mut start = sandbox.ipcd(&["start"]);
    let daemon = Daemon::start(sandbox, {
        start.uid(SERVICE).gid(SERVICE);
        start
    });
    fs::set_permissions(&daemon.socket, fs::Permissions::from_mode(0o660)).unwrap();
    daemon
}

/// A client of another user in that group.
fn member(sandbox: &Sandbox, arguments: &[&str]) -> Command {
    let mut client = sandbox.client(arguments);
    client.uid(NOBODY).gid(SERVICE);
    client
}

#[test]
fn a_member_of_the_group_measures_everything_that_crosses_users() {
    run(|sandbox| {
        if !nobody_can_run(sandbox) {
            return;
        }
        let daemon = service(sandbox);
        let mut bench = member(sandbox, &["bench", "--method", "all", "-n", "50"]);
        let mut output = sandbox.finish(&mut bench).expect(Exit::Success);
        for method in ["tcp", "unix", "unix-dgram", "shmem", "mmap", "semaphore", "fifo", "mq", "sysv-mq"] {
            let measured = output.stdout.contains(&format!("IPC method - {method}\n"));
            assert!(
                measured || output.stderr.contains(&format!("skipping {method}:")),
                "{method}: {output:?}"
            );
        }
        for method in ["process-vm", "signal"] {
            output = output.says(&[&format!("skipping {method}: it works between processes of one user")]);

            let mut named = member(sandbox, &["bench", "--method", method, "-n", "50"]);
            let users = format!("the daemon is user {SERVICE}'s, the client user {NOBODY}'s");
            sandbox.finish(&mut named).expect(Exit::Unavailable).says(&[method, &users, "--private"]);
        }
        daemon.is_at_rest();
    });
}

#[test]
fn who_is_not_in_the_group_is_told_so() {
    run(|sandbox| {
        if !nobody_can_run(sandbox) {
            return;
        }
        let daemon = service(sandbox);
        let mut bench = sandbox.client(&["bench", "--method", "tcp", "-n", "50"]);
        let output = sandbox.finish(bench.uid(NOBODY).gid(NOBODY)).expect(Exit::Permission);
        assert_eq!(output.stdout, "");
        let user = format!("user {NOBODY} may not use the socket");
        output.says(&[&user, &format!("members of the group {SERVICE}"), "--private"]);
        daemon.is_at_rest();
    });
}
