//! `io-uring`: a unix stream socket through io_uring on both sides.

use std::convert::Infallible;

use rustix::net::SocketType;

use super::buffer::Buffer;
use super::contract::While;
use super::payload::Payload;
use super::place::{probe_folder, remove_folder};
use super::sys::{Ring, RingOptions};
use super::unix_socket::{accept, dial};
use super::{
    Capabilities, ConnectError, Delivery, Endpoint, Explanation, Group, Info, Mechanism, OptionSpec, Reach,
    Round, RoundError, Rounds, ServeError, Served, Settings, Supervisor, Unwatched, Watch,
};
use crate::protocol::{Unavailable, Wait};

static INFO: Info = Info {
    name: "io-uring",
    aliases: &["io_uring"],
    group: Group::Sockets,
    summary: "a unix stream socket through io_uring",
    explanation: Explanation {
        choose: "Choose it for a process with many operations in flight, which one system call then submits and collects. One \
                 round trip at a time loses by it, as a rule: what the rings cost is more than the system call that they \
                 save (two sides on one core of the machine in the README: 10.6 µs a round, and 7.85 µs with unix).",
        limits: "A stream, as of unix. Many hosts and sandboxes forbid it (kernel.io_uring_disabled, seccomp). With sqpoll \
                 a thread of the kernel spins for each side and wants a CPU of its own; with spin as well there are four \
                 that spin.",
        round: "One io_uring_enter on each side, which submits a send and, linked to it, a receive, and waits for both; a \
                payload above a quarter of the socket's send buffer is sent by a call of its own. With sqpoll the \
                submission is a store that the kernel's thread sees, and with spin the completion is a load: no system \
                call is then made.",
    },
    delivery: Delivery::Stream,
    reach: Reach::Group,
    waits: &[Wait::Block, Wait::Spin],
    options: &[SQPOLL],
};

const SQPOLL: OptionSpec = OptionSpec {
    name: "sqpoll",
    values: &["false", "true"],
    help: "io-uring: let a thread of the kernel look for submissions, instead of a system call for each",
};

/// A unix stream socket through io_uring.
pub(super) struct IoUring;

impl Mechanism for IoUring {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::ANY_SIZE
    }

    fn probe(&self) -> Result<(), Unavailable> {
        Ring::probe(RingOptions { sqpoll: false, spin: false }).map_err(|error| {
            let sysctl = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").unwrap_or_default();
            why_not(&error, sysctl.trim())
        })?;
        Ok(probe_folder()?)
    }

    fn respond(&self, settings: &Settings, supervisor: &mut Supervisor) -> Result<Served, ServeError> {
        let socket = accept(SocketType::STREAM, settings, supervisor)?;
        let mut ring = Ring::new(socket.0, options(settings)).while_doing("making an io_uring")?;
        supervisor.proven()?;
        match echo(&mut ring, settings.size) {
            Err(RoundError::PeerClosed) => Ok(Served::ClientGone),
            Err(error) => Err(std::io::Error::other(error)).while_doing("echoing")?,
        }
    }

    fn connect(
        &self,
        settings: &Settings,
        endpoint: Endpoint,
        watch: &mut Watch,
    ) -> Result<Box<dyn Rounds>, ConnectError> {
        let socket = dial(SocketType::STREAM, &endpoint.address, settings, watch)?;
        let ring = Ring::new(socket.0, options(settings)).while_doing("making an io_uring")?;
        Ok(Box::new(IoUringClient { ring, payload: Payload::new(settings.size, &settings.token) }))
    }

    fn remove_leftovers(&self, name: &str) {
        remove_folder(name);
    }
}

/// Echoes until something ends it.
fn echo(ring: &mut Ring, size: usize) -> Result<Infallible, RoundError> {
    let mut buffer = Buffer::new(size);
    ring.receive(&mut buffer, &mut Unwatched, 0)?;
    loop {
        ring.send_and_refill(&mut buffer, &mut Unwatched, 0)?;
    }
}

fn options(settings: &Settings) -> RingOptions {
    RingOptions { sqpoll: settings.is_on(SQPOLL.name), spin: settings.wait == Wait::Spin }
}

/// What the kernel means by refusing a ring, where `kernel.io_uring_disabled` is `sysctl`.
fn why_not(error: &std::io::Error, sysctl: &str) -> Unavailable {
    Unavailable(match error.raw_os_error() {
        Some(libc::ENOSYS) => {
            "the kernel has no io_uring (Linux 5.1), or a sandbox hides it (seccomp)".to_owned()
        }
        Some(libc::EPERM | libc::EACCES) if sysctl == "2" => {
            "the system forbids it: kernel.io_uring_disabled is 2".to_owned()
        }
        Some(libc::EPERM | libc::EACCES) if sysctl == "1" => {
            "the system forbids it to those who are neither \
                                                              privileged nor in kernel.io_uring_group: \
                                                              kernel.io_uring_disabled is 1"
                .to_owned()
        }
        Some(libc::EPERM | libc::EACCES) => "a sandbox forbids it (seccomp)".to_owned(),
        Some(libc::ENOMEM) => "no memory may be locked for it (RLIMIT_MEMLOCK)".to_owned(),
        _ => format!("no io_uring can be made: {error}"),
    })
}

/// The client's side.
struct IoUringClient {
    ring: Ring,
    payload: Payload,
}

impl Round for IoUringClient {
    #[inline(always)]
    fn round(&mut self, round: u64, watch: &mut Watch) -> Result<(), RoundError> {
        self.payload.stamp(round);
        let (ping, pong) = self.payload.both();
        self.ring.send_and_receive(ping, pong, watch, round)?;
        self.payload.check(round)
    }

    fn payload(&mut self) -> &mut Payload {
        &mut self.payload
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_names_what_forbids_it() {
        let why = |code, sysctl| why_not(&std::io::Error::from_raw_os_error(code), sysctl).to_string();
        assert!(why(libc::EPERM, "2").contains("kernel.io_uring_disabled is 2"));
        assert!(why(libc::EPERM, "1").contains("io_uring_group"));
        assert!(why(libc::EPERM, "0").contains("seccomp"));
        assert!(why(libc::EPERM, "").contains("seccomp"));
        assert!(why(libc::ENOSYS, "").contains("no io_uring"));
        assert!(why(libc::EMFILE, "0").contains("os error 24"));
    }
}
