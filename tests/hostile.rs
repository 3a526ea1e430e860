//! Peers that mean no good, or know no better, on the control socket: the daemon lives, holds nothing for them, and serves
//! who behaves. Those on data channels are in `strangers`.

use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use ipcd::internals::protocol::{
    ChannelSpec, End, Event, GREETING_LEN, Greeting, PROTOCOL_VERSION, Refusal, Reply, Request, decode,
    encode,
};
use ipcd::internals::protocol::{Link, LinkError, send_part};
use ipcd::internals::protocol::{MAX_BODY, frame};
use ipcd::internals::transports::{Delivery, usage};
use rustix::io::Errno;
use rustix::process::Signal;

use crate::conformance::here;
use crate::harness::{Announced, Daemon, PATIENCE, eventually, rounds, run};

/// A connection that has said nothing, and waits no longer for anything than a test may.
fn silent(daemon: &Daemon) -> UnixStream {
    let stream = UnixStream::connect(&daemon.socket).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// A connection that has exchanged greetings.
fn greeted(daemon: &Daemon) -> UnixStream {
    let mut stream = silent(daemon);
    stream.write_all(&Greeting::OURS.to_bytes()).unwrap();
    let mut greeting = [0; GREETING_LEN];
    stream.read_exact(&mut greeting).unwrap();
    assert_eq!(Greeting::from_bytes(&greeting), Ok(Greeting::OURS));
    stream
}

/// Waits until the daemon closes the connection.
#[track_caller]
fn is_dropped(mut stream: UnixStream) {
    match stream.read_to_end(&mut Vec::new()) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
        Err(error) => panic!("it is not dropped: {error}"),
    }
}

fn request(request: &Request) -> Vec<u8> {
    frame(&encode(request).unwrap())
}

#[test]
fn who_does_not_greet_is_dropped() {
    run(|sandbox| {
        let daemon = sandbox.daemon();
        let starts: [&[u8]; 5] = [b"", b"ipcd\0c", b"GET / HTTP/1.1\r\n\r\n", &[0; 16], &[0xff; 100_000]];
        let peers = starts.map(|bytes| {
            let mut stream = silent(&daemon);
            // It may be dropped before it has said all.
            let _ = stream.write_all(bytes);
            stream
        });
        daemon.serves("tcp");
        peers.into_iter().for_each(is_dropped);
        daemon.is_at_rest();
    });
}

#[test]
fn who_speaks_another_version_is_greeted_and_dropped() {
    run(|sandbox| {
        let daemon = sandbox.daemon();
        let mut stream = silent(&daemon);
        stream.write_all(&Greeting { version: PROTOCOL_VERSION + 1 }.to_bytes()).unwrap();
        let mut greeting = [0; GREETING_LEN];
        stream.read_exact(&mut greeting).unwrap();
        assert_eq!(
            Greeting::from_bytes(&greeting).unwrap().version,
            PROTOCOL_VERSION,
            "so that the peer can report it"
        );
        is_dropped(stream);
        daemon.is_at_rest();
    });
}

#[test]
fn frames_that_are_none_end_their_connection_and_no_other() {
    run(|sandbox| {
        let daemon = sandbox.daemon();
        let too_long = u32::try_from(MAX_BODY).unwrap() + 1;
        let half = request(&Request::Open(ChannelSpec::new("tcp")));
        let mut trailing = encode(&Request::Status).unwrap();
        trailing.push(0);
        let frames: Vec<Vec<u8>> = vec![
            too_long.to_le_bytes().to_vec(),
            u32::MAX.to_le_bytes().to_vec(),
            frame(&[]),
            frame(&[0xff; 64]),
            frame(&vec![0; MAX_BODY]),
            frame(&trailing),
            // Half a header, half a body: dropped after a while.
            vec![4, 0],
            half[..half.len() - 1].to_vec(),
        ];
        let peers: Vec<_> = frames
            .iter()
            .map(|bytes| {
                let mut stream = greeted(&daemon);
                stream.write_all(bytes).unwrap();
                stream
            })
            .collect();
        daemon.serves("pipe");
        peers.into_iter().for_each(is_dropped);
        daemon.is_at_rest();
    });
}

#[test]
fn a_request_may_come_byte_by_byte_and_several_at_once() {
    run(|sandbox| {
        let daemon = sandbox.daemon();
        let stream = greeted(&daemon);
        let mut link = Link::new(stream.try_clone().unwrap().into());
        let bytes = request(&Request::Status);
        for byte in &bytes {
            (&stream).write_all(&[*byte]).unwrap();
        }
        assert!(matches!(link.receive(Some(PATIENCE)).unwrap(), Reply::Status(_)));
        (&stream).write_all(&bytes.repeat(50)).unwrap();
        for _ in 0..50 {
            assert!(matches!(link.receive(Some(PATIENCE)).unwrap(), Reply::Status(_)));
        }
    });
}

#[test]
fn who_does_not_read_its_replies_costs_a_bounded_amount() {
    run(|sandbox| {
        let daemon = sandbox.daemon();
        let resident = || {
            let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid)).unwrap();
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap().trim();
            line.trim_end_matches(" kB").parse::<u64>().unwrap()
        };
        daemon.serves("tcp");
        let before = resident();
        let mut stream = greeted(&daemon);
        stream.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
        let requests = request(&Request::Methods).repeat(10_000);
        // Until the buffers are full, or it is dropped.
        while stream.write_all(&requests).is_ok() {}
        daemon.serves("tcp");
        assert!(resident() < before + 4096, "{} KiB before, {} after", before, resident());
        drop(stream);
        daemon.is_at_rest();
    });
}

/// A connection that has exchanged greetings, for whole messages.
fn linked(daemon: &Daemon) -> Link {
    let mut link = Link::new(UnixStream::connect(&daemon.socket).unwrap().into());
    link.greet(PATIENCE).unwrap();
    link
}

/// How long the daemon had run when it answered a status request.
fn answered_at(link: &mut Link) -> u64 {
    match link.receive(Some(PATIENCE)).unwrap() {
        Reply::Status(status) => status.uptime_ns,
        other => panic!("{other:?}"),
    }
}

/// However many wait, and however much each has asked for: a peer waits for one request of each other peer.
#[test]
fn a_request_waits_for_one_of_each_other_peer() {
    const PEERS: usize = 50;
    const EACH: usize = 20;
    run(|sandbox| {
        let daemon = sandbox.daemon();
        let mut peers: Vec<_> = (0..PEERS).map(|_| linked(&daemon)).collect();
        let mut bystander = linked(&daemon);
        daemon.pause();
        for peer in &mut peers {
            (0..EACH).for_each(|_| peer.send(&Request::Status, &[]).unwrap());
        }
        bystander.send(&Request::Status, &[]).unwrap();
        daemon.process().signal(Signal::CONT);
        let answered = answered_at(&mut bystander);
        let all: Vec<_> = peers.iter_mut().flat_map(|peer| [(); EACH].map(|()| answered_at(peer))).collect();
        let before = all.into_iter().filter(|at| *at < answered).count();
        println!(
            "{before} of {} requests of {PEERS} peers were answered before the bystander's",
            PEERS * EACH
        );
        assert!(before <= PEERS, "{before}");
        drop((peers, bystander));
        daemon.is_at_rest();
    });
}

/// To probe every method takes milliseconds, which all who ask at the same time share.
#[test]
fn methods_are_probed_once_for_all_who_ask_at_once() {
    const PEERS: usize = 50;
    run(|sandbox| {
        let daemon = sandbox.daemon();
        let mut peers: Vec<_> = (0..PEERS).map(|_| linked(&daemon)).collect();
        let asks = |peer: &mut Link| peer.send(&Request::Methods, &[]).unwrap();
        let is_answered = |peer: &mut Link| {
            let reply = peer.receive(Some(PATIENCE)).unwrap();
            assert!(matches!(reply, Reply::Methods(_)), "{reply:?}");
        };
        let cpu_ns = || usage(Some(daemon.pid)).unwrap().cpu_ns;

        let start = cpu_ns();
        for peer in &mut peers {
            asks(peer);
            is_answered(peer);
        }
        let one_by_one = cpu_ns() - start;
        daemon.pause();
        peers.iter_mut().for_each(asks);
        let start = cpu_ns();
        daemon.process().signal(Signal::CONT);
        peers.iter_mut().for_each(is_answered);
        let at_once = cpu_ns() - start;
        println!("CPU time of {PEERS} requests: {one_by_one} ns one by one, {at_once} ns at once");
        assert!(at_once < one_by_one / 2, "{at_once} of {one_by_one}");
        drop(peers);
        daemon.is_at_rest();
    });
}

#[test]
fn descriptors_that_a_client_sends_are_not_kept() {
    run(|sandbox| {
        let daemon = sandbox.daemon();
        let count = || fs::read_dir(format!("/proc/{}/fd", daemon.pid)).unwrap().count();
        let send = || {
            let stream = greeted(&daemon);
            let mut link = Link::new(stream.try_clone().unwrap().into());
            let null = fs::File::open("/dev/null").unwrap();
            let status = request(&Request::Status);
            match send_part(stream.as_fd(), &status, &[null.as_fd(); 4]) {
                // From Linux 6.16, and the connection goes on.
                Err(Errno::PERM) => {
                    send_part(stream.as_fd(), &status, &[]).unwrap();
                    assert!(matches!(link.receive(Some(PATIENCE)).unwrap(), Reply::Status(_)));
                }
                sent => {
                    assert_eq!(sent.unwrap(), status.len());
                    let ended = link.receive::<Reply>(Some(PATIENCE));
                    assert!(matches!(ended, Err(LinkError::Closed)), "{ended:?}");
                }
            }
        };
        send();
        let client = daemon.at_rest();
        let before = count();
        drop(client);
        for _ in 0..20 {
            send();
        }
        let client = daemon.at_rest();
        assert_eq!(count(), before);
        drop(client);
    });
}

#[test]
fn idle_clients_leave_room_for_another() {
    run(|sandbox| {
        let daemon = sandbox.daemon_with(&["--max-connections", "100", "--max-connections-per-user", "100"]);
        let idle: Vec<_> = (0..99).map(|_| greeted(&daemon)).collect();
        daemon.serves("tcp");
        drop(idle);
        daemon.is_at_rest();
    });
}

#[test]
fn silent_peers_that_fill_every_place_lose_it() {
    run(|sandbox| {
        let daemon = sandbox.daemon_with(&["--max-connections", "20", "--max-connections-per-user", "20"]);
        let silent: Vec<_> = (0..40).map(|_| silent(&daemon)).collect();
        eventually("a client is served", PATIENCE, || daemon.connect().status().ok());
        daemon.serves("tcp");
        silent.into_iter().for_each(is_dropped);
        daemon.is_at_rest();
    });
}

#[test]
fn channels_are_their_own_connections_alone() {
    run(|sandbox| {
        let daemon = sandbox.daemon();
        let mut client = daemon.lease();
        let mut channel = client.open(&ChannelSpec::new("tcp")).unwrap();
        let mut stranger = Link::new(greeted(&daemon).into());
        for wanted in [Request::Close(channel.id()), Request::Usage(channel.id()), Request::Close(u64::MAX)] {
            stranger.send(&wanted, &[]).unwrap();
            match stranger.receive(Some(PATIENCE)).unwrap() {
                Reply::Refused(Refusal::NoChannel { .. }) => {}
                other => panic!("{other:?}"),
            }
        }
        // Nor does giving back what one does not have take it from another.
        stranger.send(&Request::Release, &[]).unwrap();
        assert_eq!(stranger.receive::<Reply>(Some(PATIENCE)).unwrap(), Reply::Released);
        rounds(&mut channel, 10).unwrap();
        client.close(channel).unwrap();
        let another = client.open(&ChannelSpec::new("tcp")).unwrap();
        client.close(another).unwrap();
    });
}

/// All at once, since each waits as long as a client may take.
#[test]
fn a_channel_without_a_connection_ends() {
    run(|sandbox| {
        let daemon = sandbox.daemon_with(&["--measurements", "100"]);
        // A method that carries nothing has no connection.
        let carrying = here().filter(|mechanism| mechanism.info().delivery != Delivery::None);
        let announced: Vec<_> = carrying
            .map(|mechanism| Announced::by(&daemon, &ChannelSpec::new(mechanism.info().name)))
            .collect();
        for mut one in announced {
            match one.link.receive(Some(PATIENCE)).unwrap() {
                Reply::Event(Event::Ended { channel, end: End::Failed(reason) }) => {
                    assert_eq!(channel, one.channel);
                    assert!(reason.contains("no client connected within 10 s"), "{reason}");
                }
                other => panic!("{}: {other:?}", one.settings.method),
            }
        }
        daemon.is_at_rest();
    });
}

#[test]
fn a_reply_is_not_accepted_as_a_request() {
    run(|sandbox| {
        let daemon = sandbox.daemon();
        let mut stream = greeted(&daemon);
        let reply = encode(&Reply::Status(daemon.status())).unwrap();
        assert!(decode::<Request>(&reply).is_err());
        stream.write_all(&frame(&reply)).unwrap();
        is_dropped(stream);
        daemon.is_at_rest();
    });
}
