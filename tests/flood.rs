//! Many hostile control peers at once: what the daemon holds stays under a bound, and who behaves is served meanwhile.
//!
//! `docs/reliability.md` has the bound's reasoning, and figures: `cargo test --test ipcd -- flood:: --nocapture` prints
//! them.

mod attack;

use std::fs;
use std::io::{self, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use ipcd::internals::client::{Client, ClientError, LeaseWait};
use ipcd::internals::protocol::LinkError;
use ipcd::internals::protocol::{
    ChannelSpec, DialError, Greeting, Refusal, Reply, Request, Resource, SocketAddress, encode,
};
use ipcd::internals::protocol::{MAX_BODY, frame};
use ipcd::internals::transports::allow_descriptors;

use rustix::io::Errno;
use rustix::net::sockopt::set_socket_linger;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::process::Uid;
use rustix::thread::set_thread_res_uid;

use self::attack::{Attack, Seen};
use crate::harness::{Daemon, NOBODY, PATIENCE, eventually, is_root, rounds};

/// What a daemon may hold without connections, in KiB: the program, its C library and a decoder at work. The program is larger with
/// frameworks, and of a debug build 17 MiB are resident by themselves.
const BASE_KIB: u64 = if cfg!(feature = "full") { 24 * 1024 } else { 16 * 1024 };

/// What a connection may make it hold, in KiB: a frame that is not whole, and twice a frame's length in unread replies.
const EACH_KIB: u64 = 3 * 64;

/// The same of one that has never sent more than a greeting and small requests, and reads its replies.
const EACH_IDLE_KIB: u64 = 4;

/// How often the bystander comes at the least.
const VISITS: usize = 25;

/// How long it may wait for a status at the most, and for a bench, whatever it does meanwhile. Its program waits 2 s for a
/// greeting and 10 s for an answer; its user may start it again.
const LONGEST: Duration = PATIENCE;

/// How long it goes on coming at the least: longer than slow peers are waited for.
const TIME: Duration = Duration::from_secs(5);

/// One flood at a time: each is held against deadlines of the daemon's and of the bystander's, for which another would take the
/// time.
static ALONE: Mutex<()> = Mutex::new(());

/// The most memory that a daemon has had resident.
fn peak_kib(daemon: &Daemon) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid)).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap().trim();
    line.trim_end_matches(" kB").parse().unwrap()
}

fn request(request: &Request) -> Vec<u8> {
    frame(&encode(request).unwrap())
}

/// What is done to a daemon, and what has to be seen of it.
struct Flood {
    what: &'static str,
    bound_kib: u64,
    arguments: &'static [&'static str],
    attackers: &'static [fn(&Attack<'_>)],
    shows: &'static [Seen],
}

/// How long the bystander has waited, visit by visit.
#[derive(Debug, Default)]
struct Waits {
    came_again: usize,
    status: Vec<Duration>,
    bench: Vec<Duration>,
}

impl std::fmt::Display for Waits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sorted = |waits: &[Duration]| {
            let mut sorted = waits.to_vec();
            sorted.sort_unstable();
            (sorted[sorted.len() / 2], sorted[sorted.len() - 1])
        };
        let (status, bench) = (sorted(&self.status), sorted(&self.bench));
        write!(f, "status {:.1?}, at most {:.1?}; ", status.0, status.1)?;
        write!(f, "bench of 100 rounds {:.1?}, at most {:.1?}", bench.0, bench.1)
    }
}

/// Connects with the program's own patience. Where the daemon does not greet within that, 2 s, it comes again, as the program's user
/// would, and is counted: on a host that has no time for the daemon it may be right to say so.
fn connect(daemon: &Daemon, waits: &mut Waits) -> Client {
    let start = Instant::now();
    loop {
        match Client::connect(&SocketAddress::resolve(Some(&daemon.socket))) {
            Ok(client) => return client,
            Err(ClientError::Dial(DialError::Greeting { source: LinkError::Silent(_), .. }))
                if start.elapsed() < LONGEST =>
            {
                waits.came_again += 1;
            }
            Err(error) => panic!("after {:?}: {error:?}", start.elapsed()),
        }
    }
}

/// A well-behaved client connects repeatedly. It fails without an answer within 10 s, or if one of its two requests takes
/// longer than [`LONGEST`].
fn visit(daemon: &Daemon, waits: &mut Waits) {
    let start = Instant::now();
    connect(daemon, waits).status().unwrap();
    waits.status.push(in_time("a status", start));
    let start = Instant::now();
    let mut client = connect(daemon, waits);
    client.acquire(LeaseWait::Queue, |_| ()).unwrap();
    let mut channel = client.open(&ChannelSpec::new("unix")).unwrap();
    rounds(&mut channel, 100).unwrap();
    client.close(channel).unwrap();
    waits.bench.push(in_time("a bench", start));
}

/// How long something took, which was not too long.
fn in_time(what: &str, start: Instant) -> Duration {
    let took = start.elapsed();
    assert!(took <= LONGEST, "the bystander has waited {took:?} for {what}, which may take {LONGEST:?}");
    took
}

impl Flood {
    /// Lets the attack go on, each attacker in a thread, until a bystander has come and gone several times; then checks that
    /// there was an attack, what the daemon has held, and that nothing is left.
    fn run(self) {
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        crate::harness::run(move |sandbox| {
            allow_descriptors(4000);
            let daemon = sandbox.daemon_with(self.arguments);
            // For attackers of another user.
            fs::set_permissions(sandbox.folder(), fs::Permissions::from_mode(0o755)).unwrap();
            fs::set_permissions(&daemon.socket, fs::Permissions::from_mode(0o666)).unwrap();
            daemon.serves("tcp");
            // For the waits without an attack, on the same host at the same time.
            let other = sandbox.folder().join("other.sock");
            let other = Daemon::start(sandbox, sandbox.ipcd(&["start", "--socket", other.to_str().unwrap()]));
            let before = daemon.status().totals;
            let attack = Attack {
                daemon: &daemon,
                over: AtomicBool::new(false),
                in_place: AtomicUsize::new(0),
                seen: [const { AtomicU64::new(0) }; 6],
            };
            let (mut waits, mut usual) = (Waits::default(), Waits::default());
            thread::scope(|scope| {
                let attack = &attack;
                for attacker in self.attackers {
                    scope.spawn(move || attacker(attack));
                }
                // However a visit ends: the attackers look at this.
                let visited = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                    eventually("the attackers are in place", PATIENCE, || {
                        (attack.in_place.load(Ordering::SeqCst) == self.attackers.len()).then_some(())
                    });
                    let start = Instant::now();
                    while waits.bench.len() < VISITS || start.elapsed() < TIME {
                        visit(&daemon, &mut waits);
                        visit(&other, &mut usual);
                    }
                }));
                attack.over.store(true, Ordering::SeqCst);
                visited.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            });
            let (peak, after) = (peak_kib(&daemon), daemon.at_rest().status().unwrap().totals);
            let received = |seen: &Seen| format!("{seen:?} {}", attack.counted(*seen));
            println!(
                "{}: {}; the daemon held {peak} KiB at most, of {} KiB; {} visits ({} came again) have waited: {waits}; \
                 at a daemon that is not attacked: {usual}",
                self.what,
                self.shows.iter().map(received).collect::<Vec<_>>().join(", "),
                self.bound_kib,
                waits.bench.len(),
                waits.came_again,
            );
            for seen in self.shows {
                assert!(attack.counted(*seen) > 0, "{}: the attack did not happen: no {seen:?}", self.what);
            }
            // The daemon has counted what they have seen, and what they have not waited to see.
            let counted = [
                (Seen::Greeted, after.connections - before.connections + after.refusals - before.refusals),
                (Seen::Opened, after.channels_opened - before.channels_opened),
                (Seen::Refused, after.refusals - before.refusals),
            ];
            for (seen, counted) in counted {
                let of_attackers = attack.counted(seen);
                assert!(counted >= of_attackers, "{}: {of_attackers} {seen:?} of {counted}", self.what);
            }
            assert!(peak <= self.bound_kib, "{}: {peak} KiB, of {} KiB", self.what, self.bound_kib);
        });
    }
}

/// Makes this thread alone another user's, where it may: who then takes all that a user can leaves the bystander's part.
fn is_another_user() -> bool {
    let nobody = Uid::from_raw(NOBODY);
    is_root() && set_thread_res_uid(nobody, nobody, nobody).is_ok()
}

#[test]
fn peers_that_send_a_byte_a_second() {
    // Half of them never get their greeting done, half never a request.
    fn slow_greeting(attack: &Attack<'_>) {
        let connect = || Ok((attack.connect()?, Greeting::OURS.to_bytes().into_iter().cycle()));
        attack.keep(60, Duration::from_secs(1), connect, |(stream, bytes)| {
            attack.send(stream, &[bytes.next().unwrap_or(0)])
        });
    }
    fn slow_request(attack: &Attack<'_>) {
        let bytes = request(&Request::Open(ChannelSpec::new("a method with a long name")));
        let connect = || Ok((attack.greeted()?, bytes.clone().into_iter().cycle()));
        attack.keep(60, Duration::from_secs(1), connect, |(stream, bytes)| {
            attack.send(stream, &[bytes.next().unwrap_or(0)])
        });
    }
    let flood = Flood {
        what: "120 peers that send a byte a second",
        bound_kib: BASE_KIB + 128 * EACH_KIB,
        arguments: &[],
        attackers: &[slow_greeting, slow_request],
        shows: &[Seen::Connected, Seen::Greeted, Seen::Sent, Seen::Dropped],
    };
    flood.run();
}

#[test]
fn a_thousand_idle_peers() {
    fn idle(attack: &Attack<'_>) {
        let mut peers: Vec<_> = (0..1000).map(|_| attack.greeted().unwrap()).collect();
        assert!(attack.daemon.status().used(Resource::Connections) > 1000);
        attack.in_place();
        while attack.goes_on() {
            thread::sleep(Duration::from_millis(10));
        }
        // None of them was forgotten.
        for peer in &mut peers {
            attack.send(peer, &request(&Request::Methods)).unwrap();
            peer.read_exact(&mut [0; 100]).unwrap();
        }
    }
    let flood = Flood {
        what: "1000 idle peers",
        bound_kib: BASE_KIB + 1010 * EACH_IDLE_KIB,
        arguments: &["--max-connections", "1500", "--max-connections-per-user", "1500"],
        attackers: &[idle],
        shows: &[Seen::Greeted, Seen::Sent],
    };
    flood.run();
}

#[test]
fn peers_that_do_not_read() {
    fn deaf(attack: &Attack<'_>) {
        let requests = [request(&Request::Status), request(&Request::Methods)].concat().repeat(100);
        let connect = || {
            let stream = attack.greeted()?;
            stream.set_nonblocking(true)?;
            Ok(stream)
        };
        attack.keep(100, Duration::from_millis(1), connect, |stream| attack.send(stream, &requests));
    }
    let flood = Flood {
        what: "100 peers that ask and do not read",
        bound_kib: BASE_KIB + 128 * EACH_KIB,
        arguments: &[],
        attackers: &[deaf],
        shows: &[Seen::Greeted, Seen::Sent],
    };
    flood.run();
}

#[test]
fn half_frames() {
    fn half(attack: &Attack<'_>) {
        let whole = frame(&vec![0; MAX_BODY]);
        let connect = || {
            let mut stream = attack.greeted()?;
            stream.write_all(&whole[..whole.len() - 1])?;
            attack.count(Seen::Sent, whole.len() - 1);
            stream.set_nonblocking(true)?;
            Ok(stream)
        };
        // It speaks when it is dropped.
        attack.keep(120, Duration::from_millis(50), connect, is_still_there);
    }
    let flood = Flood {
        what: "120 peers that send half a frame of 64 KiB",
        bound_kib: BASE_KIB + 128 * EACH_KIB,
        arguments: &[],
        attackers: &[half],
        shows: &[Seen::Greeted, Seen::Sent, Seen::Dropped],
    };
    flood.run();
}

/// Reads what has come; an error if the daemon has ended the connection.
fn is_still_there(stream: &mut UnixStream) -> io::Result<()> {
    match stream.read(&mut [0; 64]) {
        Ok(0) => Err(io::ErrorKind::ConnectionReset.into()),
        other => other.map(drop),
    }
}

#[test]
fn floods_of_opens() {
    // Channels as fast as they can be had, up to the limit and beyond, by one who may.
    fn opens(attack: &Attack<'_>) {
        let most = if is_another_user() { usize::MAX } else { 20 };
        while attack.goes_on() {
            let mut client = attack.daemon.lease();
            let mut channels = Vec::new();
            // On a slow host the first have ended, unused, before the last are opened: the limit is not always met.
            while channels.len() < most && attack.goes_on() {
                match client.ask(&ChannelSpec::new("tcp")) {
                    Ok(channel) => {
                        if attack.counted(Seen::Opened) == 0 {
                            attack.in_place();
                        }
                        attack.count(Seen::Opened, 1);
                        channels.push(channel);
                    }
                    Err(ClientError::Refused(_)) => {
                        attack.count(Seen::Refused, 1);
                        break;
                    }
                    Err(error) => panic!("{error}"),
                }
            }
            // All at once, by going.
            drop(client);
        }
    }
    // And by one who may not.
    fn refused(attack: &Attack<'_>) {
        let requests = request(&Request::Open(ChannelSpec::new("tcp"))).repeat(500);
        let refusal = request_refused();
        let mut stream = attack.greeted().unwrap();
        stream.set_nonblocking(true).unwrap();
        attack.in_place();
        let mut received = 0;
        while attack.goes_on() {
            // Where it takes no more, its answers are read first.
            let _ = attack.send(&stream, &requests);
            received += stream.read(&mut [0; 65536]).unwrap_or(0);
        }
        attack.count(Seen::Refused, received / refusal);
    }
    let flood = Flood {
        what: "a flood of opens, with and without the lease",
        bound_kib: BASE_KIB + 4 * EACH_KIB,
        arguments: &["--measurements", "2"],
        attackers: &[opens, refused],
        shows: &[Seen::Opened, Seen::Refused, Seen::Sent],
    };
    flood.run();
}

/// How long the answer is to who opens a channel and has no lease.
fn request_refused() -> usize {
    frame(&encode(&Reply::Refused(Refusal::NoLease)).unwrap()).len()
}

#[test]
fn floods_of_connects() {
    fn come_and_go(attack: &Attack<'_>) {
        attack.in_place();
        while attack.goes_on() {
            for _ in 0..16 {
                drop(attack.connect());
            }
            // Some thousands per second. More would fill the kernel's queue of connections, where all clients wait, and on a
            // host with other work for longer than the greeting is waited for.
            thread::sleep(Duration::from_millis(2));
        }
    }
    // As another user if possible, most of whose connections are refused.
    fn hoard(attack: &Attack<'_>) {
        let count = if is_another_user() { 300 } else { 100 };
        let connect = || {
            let stream = attack.connect()?;
            stream.set_nonblocking(true)?;
            Ok(stream)
        };
        attack.keep(count, Duration::from_millis(100), connect, is_still_there);
    }
    let flood = Flood {
        what: "floods of connects",
        bound_kib: BASE_KIB + 256 * EACH_KIB,
        arguments: &[],
        attackers: &[come_and_go, hoard],
        shows: &[Seen::Connected, Seen::Dropped],
    };
    flood.run();
}

#[test]
fn descriptors_that_take_long_to_close() {
    // The last of a socket that waits on close until its peer reads, which it does not.
    fn lingering(attack: &Attack<'_>) {
        let connect = || {
            let (socket, peer) = lingering_socket()?;
            let stream = attack.connect()?;
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            let descriptors = [socket.as_fd()];
            control.push(SendAncillaryMessage::ScmRights(&descriptors));
            let greeting = Greeting::OURS.to_bytes();
            match sendmsg(&stream, &[IoSlice::new(&greeting)], &mut control, SendFlags::NOSIGNAL) {
                Ok(sent) => attack.count(Seen::Sent, sent),
                // From Linux 6.16.
                Err(Errno::PERM) => attack.count(Seen::Sent, 1),
                Err(error) => return Err(error.into()),
            }
            // Where it is refused, or the daemon has been faster, closing it takes long here.
            thread::spawn(move || drop(socket));
            stream.set_nonblocking(true)?;
            Ok((stream, peer))
        };
        attack.keep(50, Duration::from_millis(50), connect, |(stream, _)| is_still_there(stream));
    }
    let flood = Flood {
        what: "50 peers that send descriptors which take 12 s to close",
        bound_kib: BASE_KIB + 128 * EACH_KIB,
        arguments: &[],
        attackers: &[lingering],
        shows: &[Seen::Connected, Seen::Sent],
    };
    flood.run();
}

/// A TCP socket that takes 12 s to close, and its peer.
fn lingering_socket() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut socket = TcpStream::connect(listener.local_addr()?)?;
    let (peer, _) = listener.accept()?;
    set_socket_linger(&socket, Some(Duration::from_secs(12)))?;
    socket.set_nonblocking(true)?;
    while socket.write(&[0; 1 << 16]).is_ok() {}
    Ok((socket, peer))
}
