//! Ports: the range that is given out is narrow, and another channel has what there is.

use ipcd::internals::protocol::Exit;
use rustix::process::Signal;

use super::{daemon_in, may_unshare, under};
use crate::conformance::here;
use crate::harness::{SOON, run, wait_until_measuring};

#[test]
fn the_port_range_is_reported_when_it_is_exhausted() {
    run(|sandbox| {
        if !may_unshare(&["--net"]) {
            return;
        }
        let range = |last: u32| format!("echo 50000 {last} > /proc/sys/net/ipv4/ip_local_port_range");
        let prepare = format!("ip link set lo up && {}", range(50_001));
        let daemon = daemon_in(sandbox, &["--net"], &prepare, sandbox.ipcd(&["start"]));
        let pid = daemon.pid.to_string();
        let inside = ["nsenter", "--net", "--target", &pid, "--"];
        let (mut by_responder, mut by_client) = (0, 0);
        for mechanism in
            here().filter(|mechanism| ["tcp", "tcp6", "udp", "udp6"].contains(&mechanism.info().name))
        {
            let method = mechanism.info().name;
            let set = |last: u32| {
                let script = range(last);
                let shell = [&inside[..], &["sh", "-c", &script]].concat();
                sandbox.finish(&mut under(&shell, &sandbox.client(&[]))).expect(Exit::Success);
            };
            let bench = || {
                let arguments = ["bench", "--method", method, "-n", "5", "--trials", "1", "--warmup", "1"];
                sandbox.finish(&mut under(&inside, &sandbox.client(&arguments)))
            };
            set(50_001);
            // Both of them are its own.
            let arguments =
                ["bench", "--method", method, "-n", "1000000000", "--warmup", "1", "--interval", "50ms"];
            let bystander = sandbox.start(&mut under(&inside, &sandbox.client(&arguments)));
            wait_until_measuring(&bystander);
            for last in [50_001, 50_002] {
                set(last);
                let limit = format!("none of the ports 50000 {last} is left");
                let output =
                    bench().expect(Exit::Unavailable).says(&[&limit, "net.ipv4.ip_local_port_range"]);
                if output.stderr.contains("its responder failed") {
                    by_responder += 1
                } else {
                    by_client += 1
                }
                // Methods that need no port do not notice.
                let other = ["bench", "--method", "unix", "-n", "5", "--trials", "1", "--warmup", "1"];
                sandbox.finish(&mut under(&inside, &sandbox.client(&other))).expect(Exit::Success);
            }
            set(50_015);
            bench().expect(Exit::Success);
            assert!(!bystander.ends_within(std::time::Duration::ZERO), "{method}: the bystander has ended");
            bystander.signal(Signal::INT);
            bystander.wait(SOON).expect_signal(Signal::INT);
            // A port that was used rests for a minute: another range for the next.
            set(50_000);
        }
        assert!(by_responder >= 2 && by_client >= 2, "{by_responder} {by_client}");
        eprintln!("ports: {by_responder} refusals of the responder's, {by_client} of the client's");
        daemon.is_at_rest();
    });
}
