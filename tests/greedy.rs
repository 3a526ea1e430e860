//! Clients that send their own responder more than the channel's size: it holds no more than its bound, the channel ends
//! with a reason, and the daemon serves on.

#[cfg(feature = "dbus")]
mod dbus;
#[cfg(feature = "grpc")]
mod grpc;

use std::fs;

use ipcd::internals::protocol::ChannelSpec;

use crate::conformance::here;
use crate::harness::{Sandbox, run};

/// What a responder may have beside its payloads: see `src/daemon/responder.rs`.
const ROOM: u64 = 16 << 20;

/// Where memory runs out for all: how much sooner than others a responder is ended, of 1000.
const OOM_SCORE_ADJ: i32 = 900;

/// What it may have given back since the bound was set.
const FREED: u64 = 1 << 20;

/// What the kernel adds to a process's share of memory when it looks for one to end.
fn oom_score_adj(pid: u32) -> i32 {
    fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap().trim().parse().unwrap()
}

/// A number of `/proc/PID/status`, in bytes; `None` once the process has ended.
fn status(pid: u32, key: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    Some(line.trim_start_matches(':').trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024)
}

#[test]
fn no_responder_can_have_much_more_than_its_mechanism_declares_and_each_goes_first() {
    run(|sandbox: &Sandbox| {
        let daemon = sandbox.daemon();
        let own = oom_score_adj(std::process::id());
        assert_eq!(oom_score_adj(daemon.pid), own, "the daemon is as who has started it");
        let mut client = daemon.lease();
        for mechanism in here() {
            let channel = client.open(&ChannelSpec::new(mechanism.info().name)).unwrap();
            let pid = channel.responder_pid();
            let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
            let line = limits.lines().find_map(|line| line.strip_prefix("Max data size")).unwrap();
            let most: u64 = line.split_whitespace().next().unwrap().parse().expect("a limit");
            let has = status(pid, "VmData").unwrap() + status(pid, "VmStk").unwrap();
            let declared = mechanism.holds(8);
            assert!(
                most <= has + 2 * declared + ROOM + FREED,
                "{}: {line}, it has {has}",
                mechanism.info().name
            );
            assert_eq!(oom_score_adj(pid), OOM_SCORE_ADJ, "{}", mechanism.info().name);
            client.close(channel).unwrap();
        }
        drop(client);
        daemon.is_at_rest();
    });
}

#[cfg(any(feature = "http", feature = "grpc", feature = "dbus", feature = "zeromq"))]
#[cfg_attr(
    not(feature = "full"),
    allow(dead_code, unused_imports, reason = "one alone does not use all of it")
)]
mod frameworks {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use ipcd::internals::protocol::{ChannelSpec, Token};
    use ipcd::internals::transports::find;

    use super::{ROOM, status};
    use crate::harness::{Announced, Daemon, PATIENCE, eventually, responders, run};

    /// A channel of 8 bytes whose client is yet to come, and its responder's process.
    pub(super) fn opened(daemon: &Daemon, method: &str) -> (Announced, u32) {
        let announced = Announced::by(daemon, &ChannelSpec::new(method));
        let responder = eventually("a responder", PATIENCE, || responders(daemon.pid).first().copied());
        (announced, responder)
    }

    /// What none may be made to hold.
    const FLOOD: u64 = 256 << 20;

    /// A process's own memory, in bytes: pages of the program are in none's way. `None` once it has ended.
    pub(super) fn anonymous(pid: u32) -> Option<u64> {
        status(pid, "RssAnon")
    }

    /// Opens a channel of 8 bytes, has `enter` send up to the message that is too long, and sends the rest of that until the
    /// responder gives up. Returns why the channel ended, and by how much the responder grew meanwhile.
    pub(super) fn flooded(
        daemon: &Daemon,
        method: &str,
        enter: impl FnOnce(&mut Announced) -> std::io::Result<UnixStream>,
    ) -> (String, u64) {
        let (mut announced, responder) = opened(daemon, method);
        let mut stream = enter(&mut announced).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        let before = anonymous(responder).expect("it serves");
        let (mut sent, mut peak) = (0, before);
        while let Some(now) = anonymous(responder) {
            peak = peak.max(now);
            match stream.write(&[0; 1 << 16]) {
                Ok(n) => sent += u64::try_from(n).unwrap(),
                Err(error) => {
                    assert_ne!(error.kind(), std::io::ErrorKind::WouldBlock, "{method}: it hangs");
                    break;
                }
            }
            assert!(sent < FLOOD, "{method}: it took all");
        }
        (announced.ends().to_string(), peak - before)
    }

    /// The proof over a stream that was handed over.
    pub(super) fn proven(announced: &mut Announced) -> std::io::Result<UnixStream> {
        let mut stream = UnixStream::from(announced.endpoint.descriptors.pop().expect("a socket pair"));
        stream.set_nonblocking(false)?;
        stream.write_all(announced.settings.token.client_half())?;
        stream.read_exact(&mut [0; Token::HALF_LEN])?;
        Ok(stream)
    }

    #[cfg(feature = "http")]
    #[test]
    fn http_takes_no_body_longer_than_the_channels_size() {
        run(|sandbox| {
            let daemon = sandbox.daemon();
            for body in
                ["content-length: 1073741824\r\n\r\n", "transfer-encoding: chunked\r\n\r\n40000000\r\n"]
            {
                let (end, grown) = flooded(&daemon, "http", |announced| {
                    let mut stream = proven(announced)?;
                    stream.write_all(format!("POST / HTTP/1.1\r\nhost: localhost\r\n{body}").as_bytes())?;
                    Ok(stream)
                });
                assert!(end.contains("the request's body is longer than the channel's 8 bytes"), "{end}");
                assert!(grown <= find("http").unwrap().holds(8), "{grown}");
                daemon.is_at_rest();
                daemon.serves("http");
            }
        });
    }

    /// The crate makes room for whatever length a frame claims.
    #[cfg(feature = "zeromq")]
    #[test]
    fn zeromq_holds_no_frame_beyond_its_bound() {
        run(|sandbox| {
            let daemon = sandbox.daemon();
            let (end, grown) = flooded(&daemon, "zeromq", |announced| {
                let path = announced.endpoint.address.strip_prefix("ipc://").expect("an address of ZeroMQ");
                let mut stream = UnixStream::connect(path)?;
                let mut greeting = [0; 64];
                (greeting[0], greeting[9], greeting[10]) = (0xff, 0x7f, 3);
                greeting[12..16].copy_from_slice(b"NULL");
                stream.write_all(&greeting)?;
                stream.read_exact(&mut greeting)?;
                let ready = b"\x05READY\x0bSocket-Type\0\0\0\x03REQ";
                stream.write_all(&[&[4, u8::try_from(ready.len()).unwrap()][..], &ready[..]].concat())?;
                let mut head = [0; 2];
                stream.read_exact(&mut head)?;
                stream.read_exact(&mut vec![0; usize::from(head[1])])?;
                // The delimiter's frame, and the proof's.
                let half = announced.settings.token.client_half();
                stream.write_all(&[&[1, 0, 0, u8::try_from(half.len()).unwrap()][..], &half[..]].concat())?;
                stream.read_exact(&mut [0; 4 + Token::HALF_LEN])?;
                // A frame of 1 GiB.
                stream.write_all(&[&[1, 0, 2][..], &(1_u64 << 30).to_be_bytes()].concat())?;
                Ok(stream)
            });
            assert!(grown <= 2 * find("zeromq").unwrap().holds(8) + ROOM, "{grown}, {end}");
            daemon.is_at_rest();
            daemon.serves("zeromq");
        });
    }
}
