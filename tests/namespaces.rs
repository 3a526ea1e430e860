//! A daemon in a separate PID namespace, as in a container whose socket is shared: its clients' processes have no ID there.

use std::process::Command;

use ipcd::internals::protocol::Exit;

use crate::harness::{SOON, Sandbox, is_root, not_tested, run};

/// `ipcd start` as the first process of a namespace.
fn apart(sandbox: &Sandbox) -> Command {
    let start = sandbox.ipcd(&["start"]);
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--mount-proc", "--"]).arg(start.get_program()).args(start.get_args());
    command.env_clear().current_dir(sandbox.folder());
    command.envs(start.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command
}

#[test]
fn a_client_that_the_daemon_cannot_see_is_served() {
    run(|sandbox| {
        let may = is_root()
            && Command::new("unshare")
                .args(["--pid", "--fork", "--mount-proc", "--", "true"])
                .status()
                .is_ok_and(|status| status.success());
        if !may {
            return not_tested("namespaces", "this needs root, and unshare");
        }
        let outside = sandbox.start(&mut apart(sandbox));
        assert_eq!(outside.wait_for_line("ipcd: listening on "), sandbox.socket().to_str().unwrap());
        let bench = |method| sandbox.finish(&mut sandbox.client(&["bench", "-m", method, "-n", "10"]));
        for method in ["tcp", "unix", "pipe", "shmem"] {
            bench(method).expect(Exit::Success);
        }
        // Their peers would be other processes here.
        for method in ["signal", "process-vm"] {
            let refused = bench(method);
            assert!(!refused.status.success(), "{refused:?}");
            refused.says(&["the client's process is in another PID namespace"]);
        }
        sandbox.finish(&mut sandbox.client(&["status"])).expect(Exit::Success);
        sandbox.finish(&mut sandbox.ipcd(&["stop"])).expect(Exit::Success);
        let log = outside.wait(SOON).expect(Exit::Success).stderr;
        assert!(log.contains("tcp, 8 bytes, block"), "the log says who measured: {log}");
    });
}
