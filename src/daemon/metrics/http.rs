//! A scraper's HTTP connection: reads one request, writes one answer, and ends.

use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use httparse::{EMPTY_HEADER, Error};
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::{SendFlags, Shutdown, send, shutdown};

use crate::daemon::peer::PeerSocket;
use crate::exposition::CONTENT_TYPE;

/// The longest request, its headers included.
const LONGEST: usize = 8 << 10;

/// The most headers of a request.
const MOST_HEADERS: usize = 64;

const PATH: &str = "/metrics";

/// How long a request may take.
const REQUEST_PATIENCE: Duration = Duration::from_secs(2);

/// How long reading the answer may take.
const ANSWER_PATIENCE: Duration = Duration::from_secs(5);

/// How long an answered peer may take to close its side. What it sends meanwhile is discarded: closing a socket with unread
/// bytes would discard the answer.
const CLOSE_PATIENCE: Duration = Duration::from_secs(1);

/// A scraper's connection. No call on it blocks.
#[derive(Debug)]
pub(super) struct Scrape {
    socket: PeerSocket,
    state: State,
    deadline: Instant,
}

#[derive(Debug)]
enum State {
    Reading(Vec<u8>),
    Writing(Answer),
    Closing,
}

/// An answer: a text, then results that are shared with other answers.
#[derive(Debug)]
struct Answer {
    own: Vec<u8>,
    results: Option<Rc<str>>,
    sent: usize,
}

impl Answer {
    /// What remains to be sent.
    fn rest(&self) -> &[u8] {
        match self.sent.checked_sub(self.own.len()) {
            None => &self.own[self.sent..],
            Some(sent) => self.results.as_ref().map_or(&[], |results| &results.as_bytes()[sent..]),
        }
    }
}

impl Scrape {
    pub(super) fn new(socket: OwnedFd, now: Instant) -> Self {
        Self {
            socket: PeerSocket::new(socket),
            state: State::Reading(Vec::new()),
            deadline: now + REQUEST_PATIENCE,
        }
    }

    pub(super) fn poll_fd(&self) -> PollFd<'_> {
        let interest = match self.state {
            State::Reading(_) | State::Closing => PollFlags::IN,
            State::Writing(_) => PollFlags::OUT,
        };
        PollFd::from_borrowed_fd(self.socket.as_fd(), interest)
    }

    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Reads a request to answer; `None` if none is complete yet. An error ends the connection.
    pub(super) fn read(&mut self, now: Instant) -> Result<Option<Request>, ()> {
        let State::Reading(bytes) = &mut self.state else { return Ok(None) };
        let mut buffer = [0; LONGEST];
        loop {
            let room = LONGEST - bytes.len();
            match self.socket.receive(&mut buffer[..room]) {
                Ok(0) => return Err(()),
                Ok(n) => {
                    bytes.extend_from_slice(&buffer[..n]);
                    // A request of the full length is always answered.
                    if let Some(request) = parse(bytes) {
                        return Ok(Some(request));
                    }
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) if now >= self.deadline => {
                    return Ok(Some(Request { status: Status::LATE, is_head: false }));
                }
                Err(Errno::AGAIN) => return Ok(None),
                Err(_) => return Err(()),
            }
        }
    }

    /// Answers with these texts, one after the other.
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

    /// Writes what the socket takes; `false` once the connection has ended.
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
            // A bounded amount in a turn: a peer that keeps sending has until the deadline.
            for _ in 0..16 {
                match self.socket.receive(&mut buffer) {
                    Ok(0) => return false,
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

/// How a request is answered: the code and the reason phrase of HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Status(u16, &'static str);

impl Status {
    pub(super) const OK: Self = Self(200, "OK");
    const BAD: Self = Self(400, "Bad Request");
    const NOT_FOUND: Self = Self(404, "Not Found");
    const NOT_ALLOWED: Self = Self(405, "Method Not Allowed");
    const LATE: Self = Self(408, "Request Timeout");
    const TOO_LONG: Self = Self(431, "Request Header Fields Too Large");
    pub(super) const BUSY: Self = Self(503, "Service Unavailable");
    const VERSION: Self = Self(505, "HTTP Version Not Supported");

    pub(super) fn code(self) -> u16 {
        self.0
    }

    /// The body of an error.
    pub(super) fn text(self) -> String {
        format!("{}: metrics are at {PATH}, for GET and HEAD\n", self.1)
    }

    /// The head of an answer with a body of `length` bytes.
    fn head(self, length: usize) -> String {
        let kind = if self == Self::OK { CONTENT_TYPE } else { "text/plain" };
        let more = match self {
            Self::NOT_ALLOWED => "Allow: GET, HEAD\r\n",
            Self::BUSY => "Retry-After: 1\r\n",
            _ => "",
        };
        let Self(code, reason) = self;
        format!(
            "HTTP/1.1 {code} {reason}\r\nContent-Type: {kind}; charset=utf-8\r\nContent-Length: {length}\r\n{more}\
             Connection: close\r\n\r\n"
        )
    }
}

/// A request and how it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) status: Status,
    /// Only the head of the answer is wanted.
    pub(super) is_head: bool,
}

/// Parses a request; `None` if it is incomplete.
fn parse(bytes: &[u8]) -> Option<Request> {
    let mut headers = [EMPTY_HEADER; MOST_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let status = match request.parse(bytes) {
        Ok(parsed) if parsed.is_complete() => status(&request),
        Ok(_) if bytes.len() < LONGEST => return None,
        Ok(_) | Err(Error::TooManyHeaders) => Status::TOO_LONG,
        Err(Error::Version) => Status::VERSION,
        Err(_) => Status::BAD,
    };
    Some(Request { status, is_head: request.method == Some("HEAD") })
}

fn status(request: &httparse::Request<'_, '_>) -> Status {
    let hosts = request.headers.iter().filter(|header| header.name.eq_ignore_ascii_case("host")).count();
    // HTTP/1.1 requires it.
    if hosts > 1 || (hosts == 0 && request.version == Some(1)) {
        return Status::BAD;
    }
    let target = request.path.unwrap_or_default();
    // A proxy may send the whole URL.
    let path = match target.split_once("://") {
        Some(("http" | "https", rest)) => rest.find('/').map_or("/", |at| &rest[at..]),
        _ => target,
    };
    match (request.method, path.split(['?', '#']).next()) {
        (Some("GET" | "HEAD"), Some(PATH)) => Status::OK,
        (Some("GET" | "HEAD"), _) => Status::NOT_FOUND,
        _ => Status::NOT_ALLOWED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> Option<u16> {
        parse(text.as_bytes()).map(|request| request.status.code())
    }

    #[test]
    fn each_request_has_its_answer() {
        for (text, expected) in [
            ("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n", 200),
            ("GET /metrics HTTP/1.0\r\n\r\n", 200),
            ("HEAD /metrics?name[]=a HTTP/1.1\r\nhost: a\r\nAccept-Encoding: gzip\r\n\r\n", 200),
            ("GET http://a:9464/metrics HTTP/1.1\r\nHost: a\r\n\r\n", 200),
            ("GET /metrics HTTP/1.1\nHost: a\n\n", 200),
            ("GET /metrics HTTP/1.1\r\n\r\n", 400),
            ("GET /metrics HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", 404),
            ("GET http://a HTTP/1.1\r\nHost: a\r\n\r\n", 404),
            ("GET /metricsx HTTP/1.0\r\n\r\n", 404),
            ("GET /../metrics HTTP/1.0\r\n\r\n", 404),
            ("POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n", 405),
            ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 405),
            ("CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", 405),
            ("GET /metrics HTTP/2.0\r\n\r\n", 505),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
            ("\u{16}\u{3}\u{1}", 400),
            ("GET /metrics\r\n\r\n", 400),
            ("GET /a b HTTP/1.1\r\n\r\n", 505),
            ("GET /metrics HTTP/1.1\r\nHost : a\r\n\r\n", 400),
            ("GET /metrics HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n", 400),
        ] {
            assert_eq!(code(text), Some(expected), "{text:?}");
        }
        assert!(parse(b"HEAD /metrics HTTP/1.0\r\n\r\n").unwrap().is_head);
    }

    #[test]
    fn what_is_not_whole_is_waited_for_up_to_a_length() {
        let whole = "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n";
        for end in 0..whole.len() {
            assert_eq!(code(&whole[..end]), None, "{:?}", &whole[..end]);
        }
        let long = format!("GET /metrics HTTP/1.1\r\nHost: {}", "a".repeat(LONGEST));
        assert_eq!(code(&long[..LONGEST - 1]), None);
        assert_eq!(code(&long[..LONGEST]), Some(431));
        let many = format!("GET /metrics HTTP/1.0\r\n{}\r\n", "a: b\r\n".repeat(MOST_HEADERS + 1));
        assert_eq!(code(&many), Some(431));
    }

    #[test]
    fn whatever_comes_is_answered_or_waited_for() {
        let mut state = 1_u32;
        for length in 0..2000 {
            // Bytes of a xorshift generator, with the letters of a request among them.
            let bytes: Vec<u8> = (0..length % 97)
                .map(|at| {
                    state ^= state << 13;
                    state ^= state >> 17;
                    state ^= state << 5;
                    let request = b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n";
                    if state & 7 > 0 { request[at % request.len()] } else { (state >> 8) as u8 }
                })
                .collect();
            if let Some(request) = parse(&bytes) {
                assert!(request.status.head(0).starts_with("HTTP/1.1 "));
            }
        }
    }
}
