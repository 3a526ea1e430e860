//! One who asks for metrics: reads the request, writes the answer, and is gone.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown};

use super::request::{LONGEST, Request, Status, parse};

/// How long a request may take.
const REQUEST_PATIENCE: Duration = Duration::from_secs(2);

/// How long reading the answer may take.
const ANSWER_PATIENCE: Duration = Duration::from_secs(5);

/// How long an answered peer may take to close its side. What it sends meanwhile is thrown away: a socket that is closed
/// with unread bytes takes the answer along.
const CLOSE_PATIENCE: Duration = Duration::from_secs(1);

/// A connection. No call on it blocks.
#[derive(Debug)]
pub(super) struct Scrape {
    socket: OwnedFd,
    state: State,
    deadline: Instant,
}

#[derive(Debug)]
enum State {
    Reading(Vec<u8>),
    Writing(Answer),
    Closing,
}

/// An answer: what is its own, and results that others are told too.
#[derive(Debug)]
struct Answer {
    own: Vec<u8>,
    results: Option<Rc<str>>,
    sent: usize,
}

impl Answer {
    /// What is to be sent next.
    fn rest(&self) -> &[u8] {
        match self.sent.checked_sub(self.own.len()) {
            None => &self.own[self.sent..],
            Some(sent) => self.results.as_ref().map_or(&[], |results| &results.as_bytes()[sent..]),
        }
    }
}

impl Scrape {
    pub(super) fn new(socket: OwnedFd, now: Instant) -> Self {
        Self { socket, state: State::Reading(Vec::new()), deadline: now + REQUEST_PATIENCE }
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    pub(super) fn interest(&self) -> PollFlags {
        match self.state {
            State::Reading(_) | State::Closing => PollFlags::IN,
            State::Writing(_) => PollFlags::OUT,
        }
    }

    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Reads what is there: a request to answer, `None` if none is whole yet. An error ends the connection.
    pub(super) fn read(&mut self, now: Instant) -> Result<Option<Request>, ()> {
        let State::Reading(bytes) = &mut self.state else { return Ok(None) };
        let mut buffer = [0; LONGEST];
        loop {
            let room = LONGEST - bytes.len();
            match recv(&self.socket, &mut buffer[..room], RecvFlags::DONTWAIT) {
                Ok((0, _)) => return Err(()),
                Ok((n, _)) => {
                    bytes.extend_from_slice(&buffer[..n]);
                    // A request of the full length is answered in any case.
                    if let Some(request) = parse(bytes) {
                        return Ok(Some(request));
                    }
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) if now >= self.deadline => {
                    return Ok(Some(Request { status: Status::Late, is_head: false }));
                }
                Err(Errno::AGAIN) => return Ok(None),
                Err(_) => return Err(()),
            }
        }
    }

    /// Answers, with these texts one after the other.
    pub(super) fn answer(
        &mut self,
        now: Instant,
        status: Status,
        is_head: bool,
        own: String,
        results: Option<Rc<str>>,
    ) {
        let length = own.len() + results.as_ref().map_or(0, |results| results.len());
        let mut head = status.head(length).into_bytes();
        let results = results.filter(|_| !is_head);
        if !is_head {
            head.extend_from_slice(own.as_bytes());
        }
        self.state = State::Writing(Answer { own: head, results, sent: 0 });
        self.deadline = now + ANSWER_PATIENCE;
    }

    /// Writes what the peer takes; `false` once all is over.
    pub(super) fn write(&mut self, now: Instant) -> bool {
        if let State::Writing(answer) = &mut self.state {
            while !answer.rest().is_empty() {
                match send(&self.socket, answer.rest(), SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                    Ok(n) => answer.sent += n,
                    Err(Errno::INTR) => {}
                    Err(Errno::AGAIN) => return now < self.deadline,
                    Err(_) => return false,
                }
            }
            if shutdown(&self.socket, Shutdown::Write).is_err() {
                return false;
            }
            self.state = State::Closing;
            self.deadline = now + CLOSE_PATIENCE;
        }
        if let State::Closing = self.state {
            let mut buffer = [0; 4096];
            // So much in a turn: whoever sends without end has no more than its second.
            for _ in 0..16 {
                match recv(&self.socket, &mut buffer, RecvFlags::DONTWAIT) {
                    Ok((0, _)) => return false,
                    Ok(_) | Err(Errno::INTR) => {}
                    Err(Errno::AGAIN) => break,
                    Err(_) => return false,
                }
            }
            return now < self.deadline;
        }
        true
    }
}
