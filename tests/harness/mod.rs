//! The basis of every test: a private sandbox, a watchdog, and a check for leftovers at its end.

mod announced;
mod daemon;
mod doors;
mod leftovers;
mod preload;
mod process;
mod sandbox;

use std::fmt::Display;
use std::panic::resume_unwind;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

pub(crate) use announced::{Announced, end_of};
pub(crate) use daemon::{Daemon, responder_of, rounds, wait_until_measuring};
pub(crate) use doors::{by_abstract_name, connected, datagrams, exposure, info};
pub(crate) use leftovers::{child_pids, files, responders};
pub(crate) use preload::Preload;
pub(crate) use process::{Output, Peer, Process};
pub(crate) use sandbox::{NOBODY, Sandbox, another_user_can_run, is_root};

/// How long anything may take that is promised at all. Generous: a CI machine has two busy cores.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// How long something may take that is promised within a second.
pub(crate) const SOON: Duration = Duration::from_secs(5);

/// How long a whole test may take before it counts as hanging; some go through every mechanism.
const WATCHDOG: Duration = Duration::from_secs(180);

/// Runs a test in a sandbox, under a watchdog, and checks that nothing is left of it.
///
/// A test that hangs fails under its own name: the watchdog kills the processes that the test has started, which ends
/// every wait for them.
pub(crate) fn run(test: impl FnOnce(&Sandbox) + Send + 'static) {
    run_within(WATCHDOG, test);
}

/// The same, with so much patience.
pub(crate) fn run_within(patience: Duration, test: impl FnOnce(&Sandbox) + Send + 'static) {
    let name = thread::current().name().unwrap_or("a test").to_owned();
    let sandbox = Sandbox::new();
    let processes = sandbox.processes();
    let (done, waiting) = channel();
    let body = thread::Builder::new()
        .name(name.clone())
        .spawn(move || {
            test(&sandbox);
            sandbox.close();
            // Received or not: a watchdog that has given up does not listen any more.
            let _ = done.send(());
        })
        .unwrap();
    match waiting.recv_timeout(patience) {
        Ok(()) => body.join().unwrap(),
        Err(RecvTimeoutError::Disconnected) => {
            let panic = body.join().unwrap_err();
            eprintln!("{}", processes.transcript());
            resume_unwind(panic);
        }
        Err(RecvTimeoutError::Timeout) => {
            eprintln!("{}", processes.transcript());
            processes.kill();
            panic!("{name} hangs: it is not done after {patience:?}");
        }
    }
}

/// Says that this host or user lacks what a test, or a part of it, needs. Where `IPCD_TEST_NOTHING_SKIPPED` lists what may
/// be lacking, such as `vsock,root`, all else is a failure.
#[track_caller]
pub(crate) fn not_tested(lacking: &str, why: impl Display) {
    eprintln!("not tested ({lacking}): {why}");
    if let Ok(listed) = std::env::var("IPCD_TEST_NOTHING_SKIPPED") {
        assert!(
            may_lack(&listed, lacking),
            "not tested ({lacking}), and IPCD_TEST_NOTHING_SKIPPED is {listed}: {why}"
        );
    }
}

fn may_lack(listed: &str, lacking: &str) -> bool {
    listed.split(',').any(|one| one.trim() == lacking)
}

/// Polls `probe` until it returns a value; for events without a notification.
pub(crate) fn eventually<T>(what: &str, patience: Duration, mut probe: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(start.elapsed() < patience, "{what}: not within {patience:?}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// The harness itself: what it promises to find, it finds.
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::process::Command;

    use ipcd::internals::transports::unique_name;

    use super::*;

    /// The message of the panic that a test's body ends with.
    fn failure(patience: Duration, test: impl FnOnce(&Sandbox) + Send + 'static) -> String {
        let panic = catch_unwind(AssertUnwindSafe(|| run_within(patience, test))).unwrap_err();
        panic.downcast_ref::<String>().expect("a formatted message").clone()
    }

    #[test]
    fn a_hang_is_a_failure_with_a_name_and_its_processes_end() {
        let (object, pid) = channel();
        let message = failure(Duration::from_secs(2), move |sandbox| {
            let daemon = sandbox.daemon();
            object.send(daemon.pid).unwrap();
            daemon.ends();
        });
        assert!(message.contains("a_hang_is_a_failure_with_a_name_and_its_processes_end hangs"), "{message}");
        let gone = Peer::find(pid.recv().unwrap()).is_none_or(|peer| peer.ends_within(SOON));
        assert!(gone, "the watchdog has killed it");
    }

    #[test]
    fn a_file_that_is_left_is_found() {
        let message = failure(WATCHDOG, |sandbox| {
            std::fs::write(sandbox.folder().join("forgotten"), "").unwrap();
        });
        assert!(message.contains("left behind") && message.contains("forgotten"), "{message}");
    }

    #[test]
    fn what_may_be_lacking_is_what_is_listed() {
        assert!(may_lack("vsock", "vsock") && may_lack("root, vsock", "vsock"));
        assert!(!may_lack("", "vsock") && !may_lack("vsock", "root") && !may_lack("vsock", "sock"));
    }

    /// What a daemon and a responder leave that are killed together. Not in shared memory, where other tests look, too.
    #[test]
    fn files_with_a_channels_name_are_found() {
        let names = ["", "-ping", "-lock"].map(|end| format!("{}{end}", unique_name().unwrap()));
        let made = names.clone();
        let message = failure(WATCHDOG, move |sandbox| {
            let place = sandbox.folder().join("place");
            std::fs::create_dir(&place).unwrap();
            made.iter().for_each(|name| std::fs::write(place.join(name), "").unwrap());
        });
        for name in names {
            let path = format!("/place/{name}");
            assert!(message.contains("left behind") && message.contains(&path), "no {path} in {message}");
        }
    }

    #[test]
    fn a_process_that_is_left_is_found() {
        let message = failure(WATCHDOG, |sandbox| {
            let mut sleep = Command::new("sleep");
            let sleep = sandbox.start(sleep.arg("60").env("TMPDIR", sandbox.folder()));
            // So that the harness does not know of it.
            std::mem::forget(sleep);
            // A program that has just been started does not show its environment yet.
            eventually("the process shows", SOON, || (!sandbox.left().is_empty()).then_some(()));
        });
        assert!(message.contains("sleep 60"), "{message}");
    }
}
