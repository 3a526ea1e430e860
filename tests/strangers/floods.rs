//! More strangers at a channel's door than it looks at together: its client gets in, and where none comes, the channel ends in
//! its time.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use ipcd::internals::protocol::{ChannelSpec, End};
use ipcd::internals::transports::allow_descriptors;
use ipcd::internals::transports::{Endpoint, Exposure, Mechanism};

use super::doors::knock;
use super::{MANY, attacked, every_door};
use crate::harness::{Announced, Daemon, PATIENCE, connected, eventually, exposure, run};

/// Channels that anybody may connect to.
fn listening() -> impl Iterator<Item = ChannelSpec> {
    let listens = |mechanism: &dyn Mechanism| matches!(mechanism.info().exposure, Exposure::Connections(_));
    every_door().filter(move |(mechanism, _)| listens(*mechanism)).map(|(_, spec)| spec)
}

/// As many as there is a queue for, and none of them says anything.
#[test]
fn strangers_that_fill_a_channels_queue_do_not_keep_its_client_out() {
    run(|sandbox| {
        let daemon = sandbox.daemon_with(&MANY);
        attacked(&daemon, || {
            for spec in listening() {
                let announced = Announced::by(&daemon, &spec);
                let address = announced.endpoint.address.clone();
                let silent: Vec<_> = (0..60).map(|_| connected(&spec.method, &address).unwrap()).collect();
                announced.serves_its_client();
                drop(silent);
            }
        });
    });
}

/// A flood of strangers, from before the client comes until after its rounds.
#[test]
fn a_flood_of_connections_does_not_keep_the_client_out() {
    run(|sandbox| {
        let daemon = sandbox.daemon_with(&MANY);
        attacked(&daemon, || {
            for spec in listening() {
                flood(&daemon, &spec, 0);
            }
        });
    });
}

/// The same, of strangers who stay and say nothing: more than are looked at together.
#[test]
fn a_flood_of_silent_connections_that_stay_does_not_keep_the_client_out() {
    run(|sandbox| {
        allow_descriptors(2000);
        let daemon = sandbox.daemon_with(&MANY);
        attacked(&daemon, || {
            for spec in listening() {
                for _ in 0..3 {
                    flood(&daemon, &spec, 500);
                }
            }
        });
    });
}

/// Connections without end, the last `stay` of them kept open; the client comes once that many are open.
fn flood(daemon: &Daemon, spec: &ChannelSpec, stay: usize) {
    let announced = Announced::by(daemon, spec);
    let method = &*spec.method;
    let address = announced.endpoint.address.clone();
    let (over, came) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut staying = VecDeque::new();
            while !over.load(Ordering::SeqCst) {
                // Refused once the channel has its client.
                if let Ok(stranger) = connected(method, &address) {
                    came.fetch_add(1, Ordering::SeqCst);
                    staying.push_back(stranger);
                    staying.drain(..staying.len().saturating_sub(stay));
                }
            }
        });
        let served = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            eventually("strangers come", PATIENCE, || (came.load(Ordering::SeqCst) > stay).then_some(()));
            announced.serves_its_client();
        }));
        over.store(true, Ordering::SeqCst);
        eprintln!("{method} ({address}): {} strangers came", came.load(Ordering::SeqCst));
        served.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
}

/// Who is only waited for is not waited for any longer because others come.
#[test]
fn a_flood_does_not_keep_a_channel_whose_client_does_not_come() {
    run(|sandbox| {
        let daemon = sandbox.daemon_with(&MANY);
        let daemon = &daemon;
        attacked(daemon, || {
            std::thread::scope(|scope| {
                for method in ["tcp", "udp", "sysv-mq"] {
                    scope.spawn(move || {
                        let announced = Announced::by(daemon, &ChannelSpec::new(method));
                        let over = AtomicBool::new(false);
                        let end = std::thread::scope(|scope| {
                            let (endpoint, over) = (announced.endpoint(), &over);
                            scope.spawn(move || {
                                while !over.load(Ordering::SeqCst) {
                                    let endpoint = Endpoint {
                                        address: endpoint.address.clone(),
                                        descriptors: Vec::new(),
                                        daemon: endpoint.daemon,
                                    };
                                    // It fails once the channel has ended.
                                    let _ = knock(exposure(method), method, endpoint, &[7; 8]);
                                }
                            });
                            let end = announced.ends();
                            over.store(true, Ordering::SeqCst);
                            end
                        });
                        let no_client = End::Failed("no client connected within 10 s".to_owned());
                        assert_eq!(end, no_client, "{method}");
                    });
                }
            });
        });
    });
}
