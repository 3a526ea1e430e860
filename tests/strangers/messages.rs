//! Messages from strangers, before a channel's client comes and while its rounds run: datagrams and signals are dropped,
//! since the kernel identifies the sender; in a queue it does not, and the client notices.
//!
//! No process can write to another channel's eventfd, pipe or socket pair: they have no name, and their descriptors are handed
//! to their client alone.

use std::fs::File;
use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use ipcd::internals::protocol::{ChannelSpec, Exit, Token};
use ipcd::internals::transports::Words;
use ipcd::internals::transports::{Exposure, RoundError};
use rustix::net::{RecvFlags, SendFlags, recv, send};

use super::doors::sender_to;
use super::{MANY, attacked, carrying, spec};
use crate::harness::{Announced, PATIENCE, connected, datagrams, eventually, responder_of, run};

#[test]
fn datagrams_of_strangers_are_dropped_before_and_while_rounds_run() {
    run(|sandbox| {
        let daemon = sandbox.daemon_with(&MANY);
        attacked(&daemon, || {
            for mechanism in carrying().filter(|one| one.info().exposure == Exposure::Datagrams) {
                let method = mechanism.info().name;
                let wider = ChannelSpec { size_bytes: 64, ..spec(mechanism) };
                for spec in [spec(mechanism), wider] {
                    let announced = Announced::by(&daemon, &spec);
                    let stranger = datagrams(&announced.endpoint.address).unwrap();
                    let token = announced.settings.token;
                    let hello = token.hello();
                    let shout = || {
                        let datagrams = [&[][..], &[7; 8], &[7; Token::HALF_LEN], &[7; 64], &[7; 1000]];
                        for datagram in datagrams {
                            // Refused once the channel has its client, or is gone.
                            let _ = send(&stranger, datagram, SendFlags::NOSIGNAL | SendFlags::DONTWAIT);
                        }
                    };
                    shout();
                    let over = AtomicBool::new(false);
                    std::thread::scope(|scope| {
                        scope.spawn(|| {
                            while !over.load(Ordering::SeqCst) {
                                shout();
                            }
                        });
                        let (mut connected, link) = announced.connect();
                        for _ in 0..20 {
                            connected.rounds(50).unwrap_or_else(|error| panic!("{method}: {error}"));
                        }
                        over.store(true, Ordering::SeqCst);
                        drop(link);
                    });
                    let mut answer = [0; 2000];
                    while let Ok((n, _)) = recv(&stranger, &mut answer, RecvFlags::DONTWAIT) {
                        assert_eq!(answer[..n], *hello, "{method}: its only answer is to an empty datagram");
                    }
                }
            }
        });
    });
}

/// Leaves a message now and then, whatever becomes of it.
fn leave(over: &AtomicBool, mut send: impl FnMut()) {
    while !over.load(Ordering::SeqCst) {
        send();
        std::thread::yield_now();
    }
}

/// Who has the queue open, or may open it.
#[test]
fn a_strangers_message_in_a_queue_ends_the_channel_and_no_other() {
    run(|sandbox| {
        let daemon = sandbox.daemon_with(&MANY);
        attacked(&daemon, || {
            for mechanism in carrying().filter(|one| one.info().exposure == Exposure::Messages) {
                let method = mechanism.info().name;
                let announced = Announced::by(&daemon, &spec(mechanism));
                let mut send = sender_to(&announced.endpoint).unwrap();
                let (mut connected, link) = announced.connect();
                connected.rounds(10).unwrap();
                let over = AtomicBool::new(false);
                let error = std::thread::scope(|scope| {
                    scope.spawn(|| leave(&over, || send(&[7; 8]).unwrap_or_default()));
                    let error = eventually("a round fails", PATIENCE, || connected.rounds(100).err());
                    over.store(true, Ordering::SeqCst);
                    error
                });
                match error {
                    RoundError::WrongPong { what, .. } => {
                        assert_eq!(what, "it carries another round's number", "{method}");
                    }
                    // A stranger that is always the first to take a free place in a queue keeps the ping out of it.
                    RoundError::TimedOut(_) => {}
                    other => panic!("{method}: {other:?}"),
                }
                drop(link);
            }
        });
    });
}

/// What a REQ of ZeroMQ says first: its greeting, then that it is ready.
const GREETING: [u8; 64] = {
    let mut greeting = [0; 64];
    let (said, _) = greeting.split_at_mut(16);
    said.copy_from_slice(b"\xff\0\0\0\0\0\0\0\0\x7f\x03\0NULL");
    greeting
};
const READY: &[u8] = b"\x04\x19\x05READY\x0bSocket-Type\0\0\0\x03REQ";

/// A library that lets peers in before they have proved themselves keeps its client apart from them.
#[test]
fn peers_of_zeromq_that_go_or_break_its_protocol_do_not_end_the_channel() {
    run(|sandbox| {
        let daemon = sandbox.daemon_with(&MANY);
        attacked(&daemon, || {
            for mechanism in carrying().filter(|one| one.info().name == "zeromq") {
                let announced = Announced::by(&daemon, &spec(mechanism));
                let address = announced.endpoint.address.clone();
                let peer = || {
                    let mut peer = File::from(connected("zeromq", &address).unwrap());
                    peer.write_all(&GREETING).unwrap();
                    // Its greeting, and that it is ready: it waits for the same.
                    peer.read_exact(&mut [0; GREETING.len() + READY.len()]).unwrap();
                    peer.write_all(READY).unwrap();
                    peer
                };
                let (goes, breaks, speaks) = (peer(), peer(), peer());
                drop(peer());
                let (mut connected, link) = announced.connect();
                let mut rounds = || connected.rounds(500).unwrap();
                rounds();
                drop(goes);
                rounds();
                // A flag that no frame has.
                (&breaks).write_all(&[0xff; 64]).unwrap();
                rounds();
                // A request of one frame, which has no delimiter.
                (&speaks).write_all(b"\0\x01x").unwrap();
                rounds();
                drop((breaks, speaks));
                rounds();
                drop(link);
            }
        });
    });
}

/// Whether this user's processes have enough pending signals that one more could deprive others of their timers: the
/// kernel counts both together, and other tests have some of them.
fn signals_pile_up(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let Some(printed) = status.lines().find_map(|line| line.strip_prefix("SigQ:")) else { return false };
    let (waiting, most) = printed.trim().split_once('/').unwrap();
    waiting.parse::<u64>().unwrap() > (most.parse::<u64>().unwrap() / 4).min(1000)
}

#[test]
fn signals_of_strangers_are_dropped() {
    run(|sandbox| {
        let daemon = sandbox.daemon_with(&MANY);
        attacked(&daemon, || {
            let bench = ["bench", "-m", "signal", "--trials", "1", "--warmup", "1", "--duration", "1s"];
            let client = sandbox.start(&mut sandbox.client(&[&bench[..], &["--interval", "50ms"]].concat()));
            // Before it blocks the signal, it would die of it.
            let responder = responder_of(&daemon, &client).pid;
            let over = AtomicBool::new(false);
            let output = std::thread::scope(|scope| {
                scope.spawn(|| {
                    let words = Words::of_this_thread().unwrap();
                    let mut sent = 0;
                    while !over.load(Ordering::SeqCst) {
                        let pid = responder.cast_signed();
                        if signals_pile_up(responder) {
                            std::thread::yield_now();
                            continue;
                        }
                        for _ in 0..16 {
                            sent += usize::from(words.send(pid, pid, sent as u64).is_ok());
                        }
                    }
                    assert!(sent > 0, "no stranger's signal was sent");
                    eprintln!("signal: {sent} signals of a stranger");
                });
                let output = client.wait(PATIENCE);
                over.store(true, Ordering::SeqCst);
                output
            });
            let output = output.expect(Exit::Success);
            assert!(output.stdout.contains("\nsignal "), "{output:#?}");
        });
    });
}
