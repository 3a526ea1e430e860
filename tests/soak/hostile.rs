//! Hostile peers at the control socket: garbage, half frames, floods, silence, slowness, deafness.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;
use ipcd::internals::protocol::{ChannelSpec, GREETING_LEN, Greeting, Request, decode, encode};
use ipcd::internals::protocol::{MAX_BODY, frame};
use rustix::process::Uid;
use rustix::thread::set_thread_res_uid;

use crate::harness::{NOBODY, is_root};
use crate::storm::Storm;
use crate::tally::Table;

/// Connections at once: with both threads fewer than one user may have, where they are the bystander's user, too.
const PEERS: usize = 40;

/// How long a group of peers stays.
const STAY_MS: std::ops::Range<u64> = 50..800;

/// Makes this thread alone another user's, where it may.
pub(crate) fn becomes_another_user() {
    let nobody = Uid::from_raw(NOBODY);
    // Where it may not, it stays who it is.
    let _ = is_root() && set_thread_res_uid(nobody, nobody, nobody).is_ok();
}

/// An attack; returns how many peers took part.
type Attack = fn(&Storm<'_>, &mut Rng) -> u64;

/// One attack. What the daemon does about it is for the check points and the bystander to see.
pub(crate) fn act(storm: &Storm<'_>, random: &mut Rng) {
    let attacks: [(&str, Attack); 8] = [
        ("no greeting but garbage", garbage_for_a_greeting),
        ("frames of garbage", garbage_frames),
        ("messages with flipped bits", flipped_bits),
        ("half frames", half_frames),
        ("connections that come and go", come_and_go),
        ("silent peers", silent),
        ("slow peers", slow),
        ("deaf peers", deaf),
    ];
    let (what, attack) = random.choice(attacks).unwrap();
    storm.tally.add(Table::Hostile, what, attack(storm, random));
}

fn connect(storm: &Storm<'_>) -> io::Result<UnixStream> {
    let stream = UnixStream::connect(&storm.daemon.socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    stream.set_write_timeout(Some(Duration::from_secs(2)))?;
    Ok(stream)
}

fn greeted(storm: &Storm<'_>) -> io::Result<UnixStream> {
    let mut stream = connect(storm)?;
    stream.write_all(&Greeting::OURS.to_bytes())?;
    stream.read_exact(&mut [0; GREETING_LEN])?;
    Ok(stream)
}

/// As many peers as could be had, each after its `start`.
fn peers(
    storm: &Storm<'_>,
    random: &mut Rng,
    start: impl Fn(&mut Rng) -> io::Result<UnixStream>,
) -> Vec<UnixStream> {
    let wanted = random.usize(1..=PEERS);
    (0..wanted).take_while(|_| !storm.is_over()).filter_map(|_| start(random).ok()).collect()
}

/// Keeps peers for a while, in which they do something now and then.
fn stay(
    storm: &Storm<'_>,
    random: &mut Rng,
    mut peers: Vec<UnixStream>,
    mut act: impl FnMut(&mut UnixStream),
) -> u64 {
    let end = Instant::now() + Duration::from_millis(random.u64(STAY_MS));
    while Instant::now() < end && !storm.is_over() {
        peers.iter_mut().for_each(&mut act);
        thread::sleep(Duration::from_millis(10));
    }
    peers.len() as u64
}

fn bytes(random: &mut Rng, most: usize) -> Vec<u8> {
    let mut bytes = vec![0; random.usize(0..=most)];
    random.fill(&mut bytes);
    bytes
}

fn request(random: &mut Rng) -> Vec<u8> {
    let requests = [
        Request::Status,
        Request::Methods,
        Request::Acquire { wait: true },
        Request::Release,
        Request::Close(random.u64(..)),
        Request::Usage(random.u64(..)),
        Request::Open(ChannelSpec::new("a method that is none")),
        Request::Open(ChannelSpec::new("tcp")),
        Request::Stop,
    ];
    encode(&random.choice(requests).unwrap()).unwrap()
}

/// Sends a frame, unless it asks for the daemon's end: another user may not, and this one shall not.
fn send(stream: &mut UnixStream, whole: &[u8]) -> io::Result<()> {
    let ends_it = whole.get(4..).is_some_and(|body| matches!(decode(body), Ok(Request::Stop)));
    if ends_it { Ok(()) } else { stream.write_all(whole) }
}

fn garbage_for_a_greeting(storm: &Storm<'_>, random: &mut Rng) -> u64 {
    let peers = peers(storm, random, |random| {
        let mut stream = connect(storm)?;
        stream.write_all(&bytes(random, 200))?;
        Ok(stream)
    });
    stay(storm, random, peers, |_| ())
}

fn garbage_frames(storm: &Storm<'_>, random: &mut Rng) -> u64 {
    let peers = peers(storm, random, |random| {
        let mut stream = greeted(storm)?;
        let body = bytes(random, 300);
        send(&mut stream, &if random.bool() { frame(&body) } else { body })?;
        Ok(stream)
    });
    stay(storm, random, peers, |_| ())
}

fn flipped_bits(storm: &Storm<'_>, random: &mut Rng) -> u64 {
    let peers = peers(storm, random, |random| {
        let mut stream = greeted(storm)?;
        let mut whole = frame(&request(random));
        let bit = random.usize(..whole.len() * 8);
        whole[bit / 8] ^= 1 << (bit % 8);
        send(&mut stream, &whole)?;
        Ok(stream)
    });
    stay(storm, random, peers, |_| ())
}

fn half_frames(storm: &Storm<'_>, random: &mut Rng) -> u64 {
    let peers = peers(storm, random, |random| {
        let mut stream = greeted(storm)?;
        let whole = if random.bool() { frame(&vec![0; MAX_BODY]) } else { frame(&request(random)) };
        stream.write_all(&whole[..random.usize(..whole.len())])?;
        Ok(stream)
    });
    stay(storm, random, peers, |_| ())
}

fn come_and_go(storm: &Storm<'_>, random: &mut Rng) -> u64 {
    let count = random.u64(1..1000);
    (0..count)
        .take_while(|_| !storm.is_over())
        .filter(|_| UnixStream::connect(&storm.daemon.socket).is_ok())
        .count() as u64
}

fn silent(storm: &Storm<'_>, random: &mut Rng) -> u64 {
    let peers = peers(storm, random, |random| if random.bool() { connect(storm) } else { greeted(storm) });
    stay(storm, random, peers, |_| ())
}

fn slow(storm: &Storm<'_>, random: &mut Rng) -> u64 {
    let peers = peers(storm, random, |random| if random.bool() { connect(storm) } else { greeted(storm) });
    let mut next = Greeting::OURS.to_bytes().into_iter().cycle();
    stay(storm, random, peers, |stream| {
        // It may have been dropped.
        let _ = stream.write_all(&[next.next().unwrap_or_default()]);
    })
}

fn deaf(storm: &Storm<'_>, random: &mut Rng) -> u64 {
    let ask = [Request::Status, Request::Methods].map(|request| frame(&encode(&request).unwrap())).concat();
    let ask = ask.repeat(100);
    let peers = peers(storm, random, |_| {
        let stream = greeted(storm)?;
        stream.set_nonblocking(true)?;
        Ok(stream)
    });
    stay(storm, random, peers, |stream| {
        // Until the daemon reads no more, or drops the connection.
        let _ = stream.write(&ask);
    })
}
