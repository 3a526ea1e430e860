//! Many hostile control peers at once: what the daemon holds stays under a bound, and who behaves is served meanwhile.
//!
//! `docs/reliability.md` has the bound's reasoning, and figures: `cargo test --test ipcd -- flood:: --nocapture` prints
//! them.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ipcd::protocol::frame::{MAX_BODY, frame};
use ipcd::protocol::{ChannelSpec, GREETING_LEN, Greeting, Request, Resource, encode};
use ipcd::transports::sys::allow_descriptors;

use rustix::process::Uid;
use rustix::thread::set_thread_res_uid;

use crate::harness::{Daemon, NOBODY, is_root, rounds, run};

/// What a daemon may hold without connections, in KiB: the program, its C library and a decoder at work.
const BASE_KIB: u64 = 16 * 1024;

/// What a connection may make it hold, in KiB: a frame that is not whole, and twice a frame's length in unread replies.
const EACH_KIB: u64 = 3 * 64;

/// The same of one that has never sent more than a greeting and small requests, and reads its replies.
const EACH_IDLE_KIB: u64 = 4;

/// How often the bystander comes.
const VISITS: usize = 25;

/// The most memory that a daemon has had resident.
fn peak_kib(daemon: &Daemon) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid)).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap().trim();
    line.trim_end_matches(" kB").parse().unwrap()
}

fn greeted(daemon: &Daemon) -> io::Result<UnixStream> {
    let mut stream = UnixStream::connect(&daemon.socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(&Greeting::OURS.to_bytes())?;
    stream.read_exact(&mut [0; GREETING_LEN])?;
    Ok(stream)
}

fn request(request: &Request) -> Vec<u8> {
    frame(&encode(request).unwrap())
}

/// Lets `attack` go on in threads, as many as there are `attackers`, until a bystander has come and gone several
/// times; then checks what the daemon has held and that nothing is left.
///
/// The bystander's own patience is the program's: it is told of a failure if it is not greeted within 2 s or not answered
/// within 10 s.
fn attacked_by<const N: usize>(
    what: &'static str,
    bound_kib: u64,
    arguments: &'static [&'static str],
    attackers: [fn(&Daemon, &AtomicBool); N],
) {
    run(move |sandbox| {
        allow_descriptors(4000);
        let daemon = sandbox.daemon_with(arguments);
        // For attackers of another user.
        fs::set_permissions(sandbox.folder(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(&daemon.socket, fs::Permissions::from_mode(0o666)).unwrap();
        daemon.serves("tcp");
        let over = AtomicBool::new(false);
        let (mut status, mut bench) = (Duration::ZERO, Duration::ZERO);
        thread::scope(|scope| {
            let (daemon, over) = (&daemon, &over);
            for attack in attackers {
                scope.spawn(move || attack(daemon, over));
            }
            // However a visit ends: the attackers look at this.
            let visited = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                for _ in 0..VISITS {
                    let start = Instant::now();
                    daemon.status();
                    status = status.max(start.elapsed());
                    let start = Instant::now();
                    let mut client = daemon.lease();
                    let mut channel = client.open(&ChannelSpec::new("unix")).unwrap();
                    rounds(&mut channel, 100).unwrap();
                    client.close(channel).unwrap();
                    bench = bench.max(start.elapsed());
                }
            }));
            over.store(true, Ordering::SeqCst);
            visited.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        });
        let peak = peak_kib(&daemon);
        println!(
            "{what}: the daemon held {peak} KiB at most, of {bound_kib} KiB; of {VISITS} visits the longest waits were \
             {status:.1?} for a status, {bench:.1?} for a bench of 100 rounds"
        );
        assert!(peak <= bound_kib, "{what}: {peak} KiB, of {bound_kib} KiB");
        daemon.is_at_rest();
    });
}

/// Whether the attack goes on.
fn on(over: &AtomicBool) -> bool {
    !over.load(Ordering::SeqCst)
}

/// Makes this thread alone another user's, where it may: who then takes all that a user can leaves the bystander's part.
fn is_another_user() -> bool {
    let nobody = Uid::from_raw(NOBODY);
    is_root() && set_thread_res_uid(nobody, nobody, nobody).is_ok()
}

/// Keeps connections doing something bad; those that the daemon ends are opened anew.
fn keep<T>(
    count: usize,
    over: &AtomicBool,
    pause: Duration,
    connect: impl Fn() -> io::Result<T>,
    act: impl Fn(&mut T) -> io::Result<()>,
) {
    let mut peers: Vec<Option<T>> = (0..count).map(|_| None).collect();
    while on(over) {
        for peer in &mut peers {
            match peer {
                None => *peer = connect().ok(),
                Some(connected) => match act(connected) {
                    Ok(()) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(_) => *peer = None,
                },
            }
            if !on(over) {
                return;
            }
        }
        thread::sleep(pause);
    }
}

#[test]
fn peers_that_send_a_byte_a_second() {
    // Half of them never get their greeting done, half never a request.
    fn slow_greeting(daemon: &Daemon, over: &AtomicBool) {
        let connect =
            || Ok((UnixStream::connect(&daemon.socket)?, Greeting::OURS.to_bytes().into_iter().cycle()));
        keep(60, over, Duration::from_secs(1), connect, |(stream, bytes)| {
            stream.write_all(&[bytes.next().unwrap_or(0)])
        });
    }
    fn slow_request(daemon: &Daemon, over: &AtomicBool) {
        let bytes = request(&Request::Open(ChannelSpec::new("a method with a long name")));
        let connect = || Ok((greeted(daemon)?, bytes.clone().into_iter().cycle()));
        keep(60, over, Duration::from_secs(1), connect, |(stream, bytes)| {
            stream.write_all(&[bytes.next().unwrap_or(0)])
        });
    }
    let bound = BASE_KIB + 128 * EACH_KIB;
    attacked_by("120 peers that send a byte a second", bound, &[], [slow_greeting, slow_request]);
}

#[test]
fn a_thousand_idle_peers() {
    fn idle(daemon: &Daemon, over: &AtomicBool) {
        let mut peers: Vec<_> = (0..1000).map(|_| greeted(daemon).unwrap()).collect();
        assert!(daemon.status().used(Resource::Connections) > 1000);
        while on(over) {
            thread::sleep(Duration::from_millis(10));
        }
        // None of them was forgotten.
        for peer in &mut peers {
            peer.write_all(&request(&Request::Methods)).unwrap();
            peer.read_exact(&mut [0; 100]).unwrap();
        }
    }
    let bound = BASE_KIB + 1010 * EACH_IDLE_KIB;
    let arguments = &["--max-connections", "1500", "--max-connections-per-user", "1500"];
    attacked_by("1000 idle peers", bound, arguments, [idle]);
}

#[test]
fn peers_that_do_not_read() {
    fn deaf(daemon: &Daemon, over: &AtomicBool) {
        let requests = [request(&Request::Status), request(&Request::Methods)].concat().repeat(100);
        let connect = || {
            let stream = greeted(daemon)?;
            stream.set_nonblocking(true)?;
            Ok(stream)
        };
        keep(100, over, Duration::ZERO, connect, |stream| stream.write(&requests).map(drop));
    }
    attacked_by("100 peers that ask and do not read", BASE_KIB + 128 * EACH_KIB, &[], [deaf]);
}

#[test]
fn half_frames() {
    fn half(daemon: &Daemon, over: &AtomicBool) {
        let whole = frame(&vec![0; MAX_BODY]);
        let connect = || {
            let mut stream = greeted(daemon)?;
            stream.write_all(&whole[..whole.len() - 1])?;
            stream.set_nonblocking(true)?;
            Ok(stream)
        };
        // It speaks when it is dropped.
        keep(120, over, Duration::from_millis(50), connect, |stream| match stream.read(&mut [0; 64]) {
            Ok(0) => Err(io::ErrorKind::ConnectionReset.into()),
            other => other.map(drop),
        });
    }
    attacked_by("120 peers that send half a frame of 64 KiB", BASE_KIB + 128 * EACH_KIB, &[], [half]);
}

#[test]
fn floods_of_opens() {
    // Channels as fast as they can be had, up to the limit and beyond, by one who may.
    fn opens(daemon: &Daemon, over: &AtomicBool) {
        let most = if is_another_user() { usize::MAX } else { 20 };
        while on(over) {
            let mut client = daemon.lease();
            let mut channels = Vec::new();
            while channels.len() < most
                && let Ok(channel) = client.ask(&ChannelSpec::new("tcp"))
            {
                channels.push(channel);
            }
            // All at once, by going.
            drop(client);
        }
    }
    // And by one who may not.
    fn refused(daemon: &Daemon, over: &AtomicBool) {
        let requests = request(&Request::Open(ChannelSpec::new("tcp"))).repeat(500);
        let mut stream = greeted(daemon).unwrap();
        stream.set_nonblocking(true).unwrap();
        while on(over) {
            let _ = stream.write(&requests);
            let _ = stream.read(&mut [0; 65536]);
        }
    }
    attacked_by(
        "a flood of opens, with and without the lease",
        BASE_KIB + 4 * EACH_KIB,
        &["--measurements", "2"],
        [opens, refused],
    );
}

#[test]
fn floods_of_connects() {
    fn come_and_go(daemon: &Daemon, over: &AtomicBool) {
        while on(over) {
            drop(UnixStream::connect(&daemon.socket));
        }
    }
    // Where that can be tried, another user, of whom most are turned away.
    fn hoard(daemon: &Daemon, over: &AtomicBool) {
        let count = if is_another_user() { 300 } else { 100 };
        let connect = || {
            let stream = UnixStream::connect(&daemon.socket)?;
            stream.set_nonblocking(true)?;
            Ok(stream)
        };
        keep(count, over, Duration::ZERO, connect, |stream| match stream.read(&mut [0; 64]) {
            Ok(0) => Err(io::ErrorKind::ConnectionReset.into()),
            other => other.map(drop),
        });
    }
    attacked_by("floods of connects", BASE_KIB + 256 * EACH_KIB, &[], [come_and_go, hoard]);
}
