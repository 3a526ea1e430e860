//! Connections that the system does not let the daemon accept, for reasons other than a full table of descriptors
//! (`tests/exhaustion/descriptors.rs`): it says so, leaves the listener alone for a moment, and then serves the clients that wait. The
//! errors come from a C library of the tests (`tests/preload/accept.c`).

use std::time::{Duration, Instant};

use ipcd::internals::client::{Client, ClientError};
use ipcd::internals::protocol::{Exit, Refusal, SocketAddress};
use rustix::io::Errno;
use rustix::process::Signal;

use crate::harness::{Daemon, Preload, Sandbox, run};

/// How long the daemon leaves its listener alone: `src/daemon/server/shortage.rs`.
const PAUSE: Duration = Duration::from_millis(100);

/// A daemon that cannot accept the first connections.
fn daemon(sandbox: &Sandbox, failing: &Preload, errors: &[Errno]) -> Daemon {
    let mut start = failing.put_into(sandbox.ipcd(&["start", "--log", "debug"]));
    let listed: Vec<_> = errors.iter().map(|error| error.raw_os_error().to_string()).collect();
    start.env("IPCD_TEST_ACCEPT", listed.join(","));
    Daemon::start(sandbox, start)
}

fn cannot_accept(error: Errno) -> String {
    format!("cannot accept a connection for now: {}", std::io::Error::from(error))
}

#[test]
fn a_connection_that_cannot_be_accepted_for_now_is_logged_and_accepted_later() {
    run(|sandbox| {
        let Some(failing) = Preload::build(sandbox, "accept") else { return };
        for error in [Errno::PERM, Errno::PROTO, Errno::NETDOWN, Errno::TIMEDOUT] {
            let daemon = daemon(sandbox, &failing, &[error; 3]);
            let began = Instant::now();
            daemon.serves("unix");
            // It does not try again at once, and again, while it cannot.
            assert!(began.elapsed() >= PAUSE * 3, "{error}: {:?}", began.elapsed());
            daemon.is_at_rest();
            daemon.stop_by(Signal::TERM).says(&[&cannot_accept(error)]);
        }
    });
}

#[test]
fn a_connection_that_was_closed_early_is_not_logged() {
    run(|sandbox| {
        let Some(failing) = Preload::build(sandbox, "accept") else { return };
        for error in [Errno::AGAIN, Errno::INTR, Errno::CONNABORTED] {
            let daemon = daemon(sandbox, &failing, &[error; 3]);
            daemon.serves("unix");
            let output = daemon.stop_by(Signal::TERM);
            assert!(!output.stderr.contains("cannot accept"), "{error}: {output:#?}");
        }
    });
}

/// What the spare descriptors cannot help against.
#[test]
fn who_cannot_be_accepted_for_lack_of_something_is_turned_away_or_waits() {
    run(|sandbox| {
        let Some(failing) = Preload::build(sandbox, "accept") else { return };
        for error in [Errno::NFILE, Errno::NOBUFS, Errno::NOMEM] {
            let short = daemon(sandbox, &failing, &[error]);
            let refused = Client::connect(&SocketAddress::resolve(Some(&short.socket)))
                .and_then(|mut client| client.status());
            match refused {
                Err(ClientError::Refused(Refusal::Shortage { reason })) => {
                    assert!(reason.contains(&std::io::Error::from(error).to_string()), "{error}: {reason}");
                }
                other => panic!("{error}: {other:?}"),
            }
            short.serves("unix");
            short.stop_by(Signal::TERM).says(&["is turned away: "]);

            let shorter = daemon(sandbox, &failing, &[error; 2]);
            shorter.serves("unix");
            shorter.stop_by(Signal::TERM).says(&["cannot accept a connection for now: "]);
        }
    });
}

/// Without a listener the daemon cannot continue: it exits with the reason, and its files are removed.
#[test]
fn a_listener_that_is_none_any_more_ends_the_daemon() {
    run(|sandbox| {
        let Some(failing) = Preload::build(sandbox, "accept") else { return };
        let daemon = daemon(sandbox, &failing, &[Errno::INVAL]);
        let address = SocketAddress::resolve(Some(&daemon.socket));
        let lost = Client::connect(&address).and_then(|mut client| client.status());
        assert!(lost.is_err(), "{lost:?}");
        daemon.ends().expect(Exit::Failure).says(&[&std::io::Error::from(Errno::INVAL).to_string()]);
    });
}
