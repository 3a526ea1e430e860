//! The real client against a daemon that sends it to an impostor: it ends with an error that says what is wrong, not with
//! a wrong number, and does not hang.

use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ipcd::internals::protocol::Link;
use ipcd::internals::protocol::{
    Confinement, Exit, PROTOCOL_VERSION, Reply, Request, Status, Token, Totals, Usage,
};
use ipcd::internals::transports::{Exposure, Naming, states};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::SocketType;
use rustix::net::sockopt::socket_peercred;
use serde_json::Value;

use super::carrying;
use super::ends::{Ends, has_gone};
use super::impostor::{Impostor, Kind, kind};
use crate::harness::{PATIENCE, Sandbox, info, run};

/// How long a client may take while many lose their patience at once, after 10 s each.
const LONG: Duration = PATIENCE.saturating_mul(2);

/// What an impostor does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mischief {
    /// It does not know the token.
    WrongToken,
    /// It answers with the number of the next round.
    AnotherRound,
    /// The end of its answer is another round's.
    AnotherEnd,
    /// A byte in the middle is another.
    AnotherByte,
    /// An answer is a byte shorter than its ping.
    Short,
    /// An answer is a byte longer than its ping.
    Long,
    /// It answers and closes.
    Closes,
    /// It truncates the memory.
    Truncates,
    /// It says nothing, not even its proof.
    Silent,
    /// It proves itself and says nothing more.
    Mute,
    /// It answers a round that is long over, again and again.
    Late,
    /// Its address is not one of the loopback interface, though the kernel would connect to it.
    NotLoopback,
}

use Mischief::{
    AnotherByte, AnotherEnd, AnotherRound, Closes, Late, Long, Mute, NotLoopback, Short, Silent, Truncates,
    WrongToken,
};

/// Those that are noticed at once, and those for which the client has to lose its patience.
const AT_ONCE: [Mischief; 9] =
    [WrongToken, AnotherRound, AnotherEnd, AnotherByte, Short, Long, Closes, Truncates, NotLoopback];
const SLOW: [Mischief; 4] = [Silent, Mute, Late, Short];

const SHORTER: &str = "its length is not the ping's";
const NO_ANSWER: &str = "no answer within 10 s";
const GONE: &str = "the peer closed the channel";

/// What the client says of it; `None` where it cannot be done.
fn expected_words(mischief: Mischief, kind: Kind, method: &str) -> Option<&'static str> {
    Some(match (mischief, kind) {
        (NotLoopback, _) if ["tcp", "tcp6", "udp", "udp6"].contains(&method) => "cannot be understood",
        (NotLoopback, _) => return None,
        // It never gets as far as the token.
        (WrongToken, Kind::Library) if method == "zeromq" => return None,
        (WrongToken, _) => "the peer does not know this channel's token",
        (AnotherRound, Kind::Library) => "",
        (_, Kind::Library) => return None,
        (AnotherRound, Kind::Word) => "it carries another round's number",
        (AnotherRound, _) => "it carries another round's number",
        (Mute, Kind::Datagram) => "5 datagrams in a row were lost",
        (Silent | Mute, _) => NO_ANSWER,
        (Late, Kind::Datagram) => "5 datagrams in a row were lost",
        (Late, _) => return None,
        (AnotherEnd | AnotherByte | Short | Long, Kind::Word) => return None,
        (AnotherEnd, _) => "its end is not this round's",
        (AnotherByte, _) => "its payload is not the one sent",
        // It waits for the byte that is missing: a slow one.
        (Short, Kind::Stream) => NO_ANSWER,
        (Short, Kind::Http) => "it is shorter than the ping",
        // The byte too many is taken for the next answer's first.
        (Long, Kind::Stream) => "it carries another round's number",
        (Long, Kind::Http) => "it is longer than the ping",
        // The queue takes no longer ones.
        (Long, Kind::Message) if info(method).naming == Naming::Queues => return None,
        (Short | Long, Kind::Message | Kind::Datagram) => SHORTER,
        // The layout has no length.
        (Short | Long, Kind::Memory) => return None,
        (Closes, Kind::Stream | Kind::Http) => GONE,
        (Closes, Kind::Message) if is_seqpacket(info(method).exposure) => GONE,
        (Closes, _) => return None,
        (Truncates, Kind::Memory) if info(method).naming != Naming::Unnamed => {
            "another process has truncated the shared memory"
        }
        (Truncates, _) => return None,
    })
}

/// Whether the peer's end shows although messages are carried.
fn is_seqpacket(exposure: Exposure) -> bool {
    matches!(exposure, Exposure::Connections(SocketType::SEQPACKET) | Exposure::Peer(SocketType::SEQPACKET))
}

/// Whether the client has to lose its patience over it.
fn is_slow(mischief: Mischief, kind: Kind) -> bool {
    matches!(mischief, Silent | Mute | Late) || (mischief == Short && kind == Kind::Stream)
}

/// Larger than a proof; small enough for the place beside a word in memory.
fn size_of(kind: Kind) -> usize {
    if kind == Kind::Word { 8 } else { 32 }
}

/// Runs the client against an impostor.
fn pose(sandbox: &Sandbox, method: &str, kind: Kind, mischief: Mischief) {
    let Some(words) = expected_words(mischief, kind, method) else { return };
    let name = format!("{:04x}-{method}-{mischief:?}", (mischief as u32) << 8 | tag(method));
    let socket = sandbox.folder().join(format!("{name}.control"));
    let listener = UnixListener::bind(&socket).unwrap();
    let size = size_of(kind).to_string();
    let bench = [
        "bench",
        "--json",
        "-m",
        method,
        "--size",
        &size,
        "-n",
        "20",
        "--trials",
        "1",
        "--warmup",
        "1",
        "--socket",
        socket.to_str().unwrap(),
    ];
    let client = sandbox.start(&mut sandbox.client(&bench));
    let over = AtomicBool::new(false);
    let resource = format!("ipcd-impostor-{}-{name}", std::process::id());
    let output = std::thread::scope(|scope| {
        scope.spawn(|| {
            let control = listener.accept().unwrap().0;
            be_daemon(scope, control.into(), sandbox, method, &resource, mischief, &over);
        });
        let output = client.wait(LONG);
        over.store(true, Ordering::SeqCst);
        output
    });
    std::fs::remove_file(&socket).unwrap();
    let report: Value = serde_json::from_str(&output.stdout).unwrap_or(Value::Null);
    let output = output.expect(Exit::Broken).says(&[words, method]);
    let cell = &report["results"][0];
    assert_eq!(cell["rounds"], 0, "{method}, {mischief:?}: {output:#?}");
    assert_eq!(cell["latency_ns"]["samples"], 0, "{method}, {mischief:?}");
    assert!(
        cell["error"].as_str().is_some_and(|error| error.contains(words)),
        "{method}, {mischief:?}: {cell:#}"
    );
}

/// A number of this method's own.
fn tag(method: &str) -> u32 {
    let index = ipcd::internals::transports::ALL.iter().position(|one| one.info().name == method);
    u32::try_from(index.unwrap()).unwrap()
}

/// The status of an idle daemon.
fn status() -> Status {
    Status {
        pid: std::process::id(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        protocol_version: PROTOCOL_VERSION,
        uptime_ns: 0,
        connections: 1,
        lease_holders: Vec::new(),
        queue: Vec::new(),
        channels: Vec::new(),
        limits: Vec::new(),
        totals: Totals::default(),
    }
}

/// Answers a client's requests as a daemon does, and sends it to the impostor.
fn be_daemon<'scope>(
    scope: &'scope std::thread::Scope<'scope, '_>,
    control: std::os::fd::OwnedFd,
    sandbox: &Sandbox,
    method: &str,
    name: &str,
    mischief: Mischief,
    over: &'scope AtomicBool,
) {
    let pid = socket_peercred(&control).unwrap().pid.as_raw_nonzero().get();
    let mut link = Link::new(control);
    link.greet(PATIENCE).unwrap();
    let kind = kind(method).unwrap();
    // It ends when the client does.
    while let Ok(request) = link.receive::<Request>(Some(LONG)) {
        let reply = match request {
            Request::Methods => Reply::Methods(states()),
            Request::Confinement => Reply::Confinement(Confinement::default()),
            Request::Acquire { .. } => Reply::Acquired,
            Request::Release => Reply::Released,
            Request::Usage(_) => Reply::Usage(Usage::default()),
            Request::Close(_) => Reply::Closed,
            Request::Open(_) => {
                let token = Token::new([5; 32]);
                let mut impostor = Impostor::stand(method, size_of(kind), sandbox.folder(), name, pid);
                let descriptors = std::mem::take(&mut impostor.descriptors);
                if mischief == NotLoopback {
                    let loopback = impostor.address;
                    impostor.address = loopback.replace("127.0.0.1", "0.0.0.0").replace("::1", "::");
                }
                let endpoint = impostor.address.clone();
                let opened = Reply::Opened {
                    channel: 1,
                    token,
                    endpoint: endpoint.clone(),
                    descriptors: u32::try_from(descriptors.len()).unwrap(),
                    responder_pid: std::process::id(),
                    responder_cpu: None,
                };
                let fds: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
                link.send(&opened, &fds).unwrap();
                drop(fds);
                drop(descriptors);
                let greets = kind != Kind::Library
                    && matches!(info(method).exposure, Exposure::Connections(_) | Exposure::Datagrams);
                scope.spawn(move || be_responder(impostor, &endpoint, token, kind, greets, mischief, over));
                continue;
            }
            // Whether it is still there.
            Request::Status => Reply::Status(status()),
            Request::Stop => panic!("{request:?} was not to be expected"),
        };
        if link.send(&reply, &[]).is_err() {
            return;
        }
    }
}

fn be_responder(
    impostor: Impostor,
    address: &str,
    token: Token,
    kind: Kind,
    greets: bool,
    mischief: Mischief,
    over: &AtomicBool,
) {
    let Some((mut ends, _left)) = impostor.meet(over) else { return };
    if mischief == NotLoopback {
        let came = kind == Kind::Stream || ends.greet(token.hello(), over).is_some();
        assert!(!came, "the client has connected to {address}");
        return;
    }
    let half = if mischief == WrongToken { &[3; Token::HALF_LEN] } else { token.responder_half() };
    // ZeroMQ shakes hands before any token; what it gets is not that.
    let proven = if mischief == Silent || (greets && ends.greet(token.hello(), over).is_none()) {
        None
    } else if address.starts_with("ipc://") {
        Some(())
    } else {
        ends.prove(half, over)
    };
    if proven.is_none() || mischief == WrongToken || mischief == Mute {
        return linger(&ends, over);
    }
    if kind == Kind::Library {
        let _ = ends.send(&[0xff; 200], over);
        return linger(&ends, over);
    }
    while let Some(mut answer) = ends.receive(size_of(kind), over) {
        match mischief {
            // Not to 0, which a counter does not carry.
            AnotherRound => answer[0] ^= 2,
            AnotherEnd => *answer.last_mut().unwrap() ^= 1,
            AnotherByte => answer[12] ^= 1,
            Short => drop(answer.pop()),
            Long => answer.push(0),
            Truncates => {
                ends.truncate();
                return linger(&ends, over);
            }
            Closes => return,
            Late => {
                answer[..8].fill(0);
                while !over.load(Ordering::SeqCst) && ends.send(&answer, over).is_some() {
                    std::thread::yield_now();
                }
                return;
            }
            WrongToken | Silent | Mute | NotLoopback => unreachable!("it has not come so far"),
        }
        if ends.send(&answer, over).is_none() {
            return;
        }
    }
}

/// Stays until the client has gone.
fn linger(ends: &Ends, over: &AtomicBool) {
    let tick = Timespec { tv_sec: 0, tv_nsec: 5_000_000 };
    while !over.load(Ordering::SeqCst) {
        if let Ends::Stream { reader, .. } | Ends::Http { reader, .. } = ends {
            let _ = poll(&mut [PollFd::new(reader, PollFlags::HUP)], Some(&tick));
            if has_gone(reader) {
                return;
            }
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Each of these against each mechanism.
fn all(sandbox: &Sandbox, mischiefs: &[Mischief], slow: bool) {
    std::thread::scope(|scope| {
        for mechanism in carrying() {
            let method = mechanism.info().name;
            let kind = match kind(method) {
                Ok(kind) => kind,
                Err(why) => {
                    eprintln!("no impostor for {method}: {why}");
                    continue;
                }
            };
            let mischiefs = mischiefs.iter().filter(move |one| is_slow(**one, kind) == slow);
            if slow {
                for mischief in mischiefs {
                    scope.spawn(move || pose(sandbox, method, kind, *mischief));
                }
            } else {
                scope.spawn(move || mischiefs.for_each(|mischief| pose(sandbox, method, kind, *mischief)));
            }
        }
    });
}

#[test]
fn a_client_reports_what_is_wrong_with_its_responder() {
    run(|sandbox| all(sandbox, &AT_ONCE, false));
}

#[test]
fn a_client_loses_its_patience_with_a_responder_that_does_not_answer() {
    run(|sandbox| all(sandbox, &SLOW, true));
}
