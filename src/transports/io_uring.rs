//! `io-uring`: a unix stream socket through io_uring on both sides.

use super::families::stream::{Socket, offer_pair, take_pair};
use super::prelude::*;
use super::sys::{Ring, RingOptions};
use crate::shortage::{FORBIDDEN, HIDDEN, explain};

static INFO: Info = Info {
    name: "io-uring",
    aliases: &["io_uring"],
    group: Group::Sockets,
    summary: "a unix stream socket through io_uring",
    choose: "Choose it for a process with many operations in flight, which one system call then submits and collects. A single \
             round trip is usually slower: the rings cost more than the system call that they save.",
    limits: "A stream, as unix. Many hosts and sandboxes forbid it (kernel.io_uring_disabled, seccomp). With sqpoll \
             a kernel thread spins for each side, on any CPU, and needs one for itself; with spin as well, four threads \
             spin: on fewer than four CPUs they preempt each other, and rounds take as long as the scheduler's time slices.",
    round: "One io_uring_enter on each side, which submits a send and, linked to it, a receive, and waits for both; a \
            payload above a quarter of the socket's send buffer is sent by a separate call. With spin, the call \
            does not wait and is repeated. With sqpoll the submission is a store that the kernel's thread sees, and with \
            spin the completion is a load: then no system call is made.",
    options: &[SQPOLL],
    ..Info::DEFAULT
};

const SQPOLL: OptionSpec = OptionSpec {
    name: "sqpoll",
    values: &["false", "true"],
    help: "io-uring: let a kernel thread poll for submissions, instead of a system call for each",
};

/// A unix stream socket through io_uring.
pub(super) struct IoUring;

impl Mechanism for IoUring {
    fn info(&self) -> &'static Info {
        &INFO
    }

    /// The kernel has a thread for each side, which spins; of two sides that block, one runs at a time.
    fn busy_cpus(&self, settings: &Settings) -> usize {
        match (settings.is_on(SQPOLL.name), settings.wait) {
            (false, _) => 2,
            (true, Wait::Block) => 3,
            (true, Wait::Spin | Wait::Adaptive) => 4,
        }
    }

    fn probe(&self) -> Result<(), Unavailable> {
        Ring::probe(RingOptions { sqpoll: false, wait: Wait::Block }).map_err(|error| {
            let why = why_not(&error, &disabled(), false);
            Unavailable(why.unwrap_or_else(|| format!("no io_uring can be made: {error}")))
        })
    }

    fn respond(&self, settings: &Settings, supervisor: &mut Supervisor) -> Result<(), ServeError> {
        let mut ring = ring(offer_pair(SocketType::STREAM, settings, supervisor)?, settings)?;
        let mut buffer = Buffer::new(settings.size);
        let mut echoed = ring.receive(&mut buffer, &mut Unwatched, 0);
        loop {
            if let Err(error) = echoed {
                return echo_ended(error);
            }
            echoed = ring.send_and_refill(&mut buffer, &mut Unwatched, 0);
        }
    }

    fn connect(&self, settings: &Settings, endpoint: Endpoint, watch: &mut Watch) -> Connected {
        let socket = take_pair(settings, endpoint, watch)?;
        let ring = ring(socket, settings)?;
        Ok(Box::new(IoUringClient { ring, payload: Payload::new(settings.size, &settings.token) }))
    }
}

/// Either side's ring, with these settings. The probe has tried the plainest one.
fn ring(socket: Socket, settings: &Settings) -> Result<Ring, CallError> {
    let options = RingOptions { sqpoll: settings.is_on(SQPOLL.name), wait: settings.wait };
    Ring::new(socket.0, options)
        // An error without a known reason explains itself.
        .map_err(|error| match why_not(&error, &disabled(), options.sqpoll) {
            Some(why) => explain(error, why),
            None => error,
        })
        .while_doing(if options.sqpoll { "making an io_uring with sqpoll" } else { "making an io_uring" })
}

/// `kernel.io_uring_disabled`; empty if the kernel has no such sysctl.
fn disabled() -> String {
    let sysctl = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled");
    sysctl.unwrap_or_default().trim().to_owned()
}

/// Why the kernel refuses a ring, where `kernel.io_uring_disabled` is `sysctl`; `None` if it is not known from the error.
fn why_not(error: &io::Error, sysctl: &str, sqpoll: bool) -> Option<String> {
    let why = match (error.raw_os_error()?, sysctl) {
        (libc::ENOSYS, _) => return Some(format!("the kernel has no io_uring (Linux 5.1), {HIDDEN}")),
        (libc::EPERM | libc::EACCES, "2") => "the system forbids it: kernel.io_uring_disabled is 2",
        (libc::EPERM | libc::EACCES, "1") => {
            "the system forbids it to processes that are neither privileged nor in kernel.io_uring_group: \
             kernel.io_uring_disabled is 1"
        }
        (libc::EPERM | libc::EACCES, _) if sqpoll => {
            "a sandbox forbids it (seccomp, or a security module its kernel thread), or the kernel grants it to \
             privileged processes only (CAP_SYS_NICE; before Linux 5.13); --sqpoll false does without"
        }
        (libc::EPERM | libc::EACCES, _) => FORBIDDEN,
        (libc::ENOMEM, _) => "no memory may be locked for it (RLIMIT_MEMLOCK)",
        (libc::EAGAIN, _) if sqpoll => {
            "no kernel thread may be started for it (RLIMIT_NPROC, TasksMax= in a unit); --sqpoll false does without"
        }
        _ => return None,
    };
    Some(why.to_owned())
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
        let why = |code, sysctl, sqpoll| why_not(&io::Error::from_raw_os_error(code), sysctl, sqpoll);
        let said =
            |code, sysctl, sqpoll, word| why(code, sysctl, sqpoll).is_some_and(|why| why.contains(word));
        for sqpoll in [false, true] {
            assert!(said(libc::EPERM, "2", sqpoll, "kernel.io_uring_disabled is 2"));
            assert!(said(libc::EPERM, "1", sqpoll, "io_uring_group"));
            assert!(said(libc::EPERM, "0", sqpoll, "seccomp"));
            assert!(said(libc::EPERM, "", sqpoll, "seccomp"));
            assert!(said(libc::ENOSYS, "", sqpoll, "no io_uring"));
            assert_eq!(why(libc::EMFILE, "0", sqpoll), None);
        }
        assert!(said(libc::EPERM, "0", true, "--sqpoll false"));
        assert!(said(libc::EAGAIN, "0", true, "RLIMIT_NPROC"));
        assert_eq!(why(libc::EAGAIN, "0", false), None);
    }
}
