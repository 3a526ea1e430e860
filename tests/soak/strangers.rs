//! Unauthenticated peers at a measured data channel: they connect with no token, half of one, a wrong one, or garbage,
//! reconnect, and flood it with datagrams, before the client connects and while its rounds run. Its rounds complete anyway.
//!
//! Channels that one peer alone can get at are left out: a stranger there ends them, or is not let in (`tests/strangers/`).

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use fastrand::Rng;
use ipcd::internals::protocol::Link;
use ipcd::internals::protocol::{ChannelSpec, Event, Reply, Token, error_chain};
use ipcd::internals::transports::{Exposure, RoundError};
use rustix::net::{SendFlags, send};

use crate::actions::a_moment;
use crate::harness::{Announced, by_abstract_name, connected, datagrams};
use crate::hostile::becomes_another_user;
use crate::invariants::methods;
use crate::storm::Storm;
use crate::tally::Table;

/// Threads of strangers at one channel, how many come of each at most, and how many of them stay.
const THREADS: usize = 2;
const MOST: usize = 400;
const STAY: usize = 30;

/// The longest of their messages: longer than what a channel expects, within what a socket takes at once.
const LONGEST: usize = 2000;

/// How long the reason for a channel's end may take to arrive.
const NEWS: Duration = Duration::from_secs(5);

/// Where strangers come to: by a path or a port, and where it can be had by a name that has no permissions.
fn doors() -> Vec<(Exposure, ChannelSpec)> {
    let mut doors = Vec::new();
    for mechanism in methods() {
        let way = mechanism.info().exposure;
        if matches!(way, Exposure::Connections(_) | Exposure::Datagrams) {
            let specs = [Some(ChannelSpec::new(mechanism.info().name)), by_abstract_name(mechanism)];
            doors.extend(specs.into_iter().flatten().map(|spec| (way, spec)));
        }
    }
    doors
}

/// Measures by a channel that strangers come to.
///
/// # Errors
/// It does not go on although the daemon was there all the while.
pub(crate) fn at_its_channel(storm: &Storm<'_>, random: &mut Rng) -> Result<(), String> {
    let (way, spec) = random.choice(doors()).expect("tcp is everywhere");
    amid_strangers(storm, random, way, &spec)
        .or_else(|error| storm.excuses(&format!("{spec:?}, among strangers: {error}")))
}

fn amid_strangers(
    storm: &Storm<'_>,
    random: &mut Rng,
    way: Exposure,
    spec: &ChannelSpec,
) -> Result<(), String> {
    let announced = Announced::ask(storm.daemon, spec)?.map_err(|reply| format!("{reply:?}"))?;
    let address = announced.endpoint.address.clone();
    let half = announced.settings.token.client_half()[..Token::HALF_LEN / 2].to_vec();
    let over = AtomicBool::new(false);
    let (done, _link) = thread::scope(|scope| {
        for _ in 0..THREADS {
            let mut random = random.fork();
            let door = Door { way, method: &spec.method, address: &address, half: &half };
            let over = &over;
            scope.spawn(move || {
                // As the client's own user, they pass the permissions of its paths.
                if random.bool() {
                    becomes_another_user();
                }
                strangers(storm, &mut random, &door, over);
            });
        }
        a_moment(random, Duration::from_millis(300));
        let done = if random.u8(..8) == 0 {
            (Ok("channel left to strangers by its client"), announced.link)
        } else {
            measures(announced, random)
        };
        // The channel stays open until they are gone: none of them tries an address that another channel may have by then.
        over.store(true, Ordering::SeqCst);
        done
    });
    storm.tally.count(Table::Outcome, done?);
    Ok(())
}

/// Connects and runs rounds as the channel's client; returns the result, and the control connection that owns the channel.
fn measures(announced: Announced, random: &mut Rng) -> (Result<&'static str, String>, Link) {
    let control = announced.link.as_fd().try_clone_to_owned().unwrap();
    let (connected, mut link) = announced.try_connect(control.as_fd());
    let failed = |link: &mut Link, error: String| {
        let reply = match link.receive::<Reply>(Some(NEWS)) {
            Ok(Reply::Event(Event::Ended { end, .. })) => end.to_string(),
            other => format!("{other:?}"),
        };
        Err(format!("{error}; the daemon: {reply}"))
    };
    let mut connected = match connected {
        Ok(connected) => connected,
        Err(error) => return (failed(&mut link, format!("connecting: {}", error_chain(&error))), link),
    };
    for _ in 0..random.usize(1..10) {
        match connected.rounds(20) {
            Ok(()) => {}
            // A datagram may be, by what its mechanism promises.
            Err(RoundError::Lost(_)) => return (Ok("a datagram was lost among strangers'"), link),
            Err(error) => return (failed(&mut link, format!("rounds: {}", error_chain(&error))), link),
        }
    }
    (Ok("all rounds done amid strangers"), link)
}

/// Where a channel's strangers knock, and half of the token that it is waiting for.
struct Door<'a> {
    way: Exposure,
    method: &'a str,
    address: &'a str,
    half: &'a [u8],
}

impl Door<'_> {
    fn knock(&self) -> io::Result<OwnedFd> {
        match self.way {
            Exposure::Datagrams => datagrams(self.address),
            _ => connected(self.method, self.address),
        }
    }
}

/// Come one after the other, until it is over.
fn strangers(storm: &Storm<'_>, random: &mut Rng, door: &Door<'_>, over: &AtomicBool) {
    let mut staying = VecDeque::new();
    for _ in 0..MOST {
        if over.load(Ordering::SeqCst) || storm.is_over() {
            return;
        }
        let what = match door.knock() {
            Ok(socket) if door.way == Exposure::Datagrams => {
                datagrams_of_all_kinds(random, &socket, door.half);
                "senders of datagrams of all lengths"
            }
            Ok(socket) => {
                let (what, says) = speech(random, door.half);
                // It may have been dropped already.
                let _ = File::from(socket.try_clone().unwrap()).write_all(&says);
                if random.bool() {
                    staying.push_back(socket);
                    staying.drain(..staying.len().saturating_sub(STAY));
                }
                what
            }
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                "kept out by the permissions of its path"
            }
            // Once it has its client, it accepts no other.
            Err(_) => "kept out: the channel has its client",
        };
        storm.tally.count(Table::Stranger, what);
        // So that there are still some when the client has come.
        thread::sleep(Duration::from_micros(random.u64(..1000)));
    }
}

/// The bytes that a peer sends after connecting.
fn speech(random: &mut Rng, half: &[u8]) -> (&'static str, Vec<u8>) {
    let mut garbage = vec![0; random.usize(1..=LONGEST)];
    random.fill(&mut garbage);
    match random.u8(..4) {
        0 => ("said nothing", Vec::new()),
        1 => ("showed half a token", half.to_vec()),
        2 => ("showed a wrong token", vec![random.u8(..); Token::HALF_LEN]),
        _ => ("said garbage", garbage),
    }
}

/// Datagrams, as long as a channel's and otherwise.
fn datagrams_of_all_kinds(random: &mut Rng, socket: &OwnedFd, half: &[u8]) {
    for _ in 0..random.usize(1..20) {
        let len = random.choice([0, 8, Token::HALF_LEN, LONGEST]).map(|most| random.usize(most / 2..=most));
        let mut datagram = vec![0; len.unwrap_or_default()];
        random.fill(&mut datagram);
        let datagram = if random.u8(..8) == 0 { half } else { &datagram };
        // Without a receiver, or with a full queue, it is lost.
        let _ = send(socket, datagram, SendFlags::NOSIGNAL | SendFlags::DONTWAIT);
    }
}
