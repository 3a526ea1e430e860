//! A client's control connection: bytes to requests, replies to bytes, and deadlines for what is half done.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

use crate::protocol::frame::{Assembler, MAX_BODY, frame};
use crate::protocol::link::send_part;
use crate::protocol::{GREETING_LEN, Greeting, Refusal, Reply, Request, decode, encode};
use crate::transports::{Owner, sys};

/// How long a greeting or a frame may take from its first byte to its last.
const PATIENCE: Duration = Duration::from_secs(2);

/// Bytes of replies that a peer may leave unread before it is dropped.
///
/// Requests are not read while a reply waits: what comes on top of that reply is news, a few bytes each.
const MAX_UNREAD: usize = 2 * MAX_BODY;

/// Why a connection is over.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Gone {
    #[error("closed by the client")]
    Closed,
    #[error("{0}")]
    Misbehaved(String),
    #[error("no whole greeting or frame within {} s", PATIENCE.as_secs())]
    TooSlow,
    #[error("it does not read its replies")]
    DoesNotRead,
}

/// A reply on its way.
#[derive(Debug)]
struct Outgoing {
    bytes: Vec<u8>,
    sent: usize,
    descriptors: Vec<OwnedFd>,
}

/// A client's control connection. No call on it blocks.
#[derive(Debug)]
pub(super) struct Connection {
    socket: OwnedFd,
    /// Who is at the other end, by the kernel's word. Its process is 0 where that is not to be seen from here.
    pub(super) peer: Owner,
    /// The start of the peer's greeting; `None` once it is whole.
    greeting: Option<Vec<u8>>,
    assembler: Assembler,
    outgoing: VecDeque<Outgoing>,
    unread: usize,
    deadline: Option<Instant>,
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Connection {
    /// A connection over an accepted socket.
    pub(super) fn new(socket: OwnedFd) -> Result<Self, Gone> {
        let peer = sys::peer(&socket).map_err(|error| Gone::Misbehaved(error.to_string()))?;
        Ok(Self {
            socket,
            peer,
            greeting: Some(Vec::with_capacity(GREETING_LEN)),
            assembler: Assembler::default(),
            outgoing: VecDeque::new(),
            unread: 0,
            deadline: Some(Instant::now() + PATIENCE),
        })
    }

    /// Greets the peer, who may have gone already.
    pub(super) fn greet(mut self) -> Result<Self, Gone> {
        self.push(Greeting::OURS.to_bytes().to_vec(), Vec::new())?;
        Ok(self)
    }

    /// Greets the peer, tells it why it is not served, and is over.
    pub(super) fn turn_away(self, refusal: Refusal) {
        let mut bytes = Greeting::OURS.to_bytes().to_vec();
        if let Ok(body) = encode(&Reply::Refused(refusal)) {
            bytes.extend_from_slice(&frame(&body));
        }
        // A fresh socket takes so much at once; a peer that is gone does not need to know.
        let _ = send_part(self.socket.as_fd(), &bytes, &[]);
    }

    /// What to wait for.
    pub(super) fn interest(&self) -> PollFlags {
        // Who does not read its replies is not asked for more requests.
        if self.outgoing.is_empty() { PollFlags::IN } else { PollFlags::OUT }
    }

    /// By when something has to have happened.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Reads what is there: a request, or `None` if none is whole yet.
    pub(super) fn receive(&mut self) -> Result<Option<Request>, Gone> {
        loop {
            let wanted = match &self.greeting {
                Some(greeting) => GREETING_LEN - greeting.len(),
                None => self.assembler.wanted(),
            };
            let mut buffer = [0; 4096];
            let wanted = wanted.min(buffer.len());
            // Without room for control messages: a descriptor that a client sends is dropped by the kernel.
            match recv(&self.socket, &mut buffer[..wanted], RecvFlags::DONTWAIT) {
                Ok((0, _)) => return Err(Gone::Closed),
                Ok((n, _)) => {
                    if let Some(request) = self.take_in(&buffer[..n])? {
                        return Ok(Some(request));
                    }
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(None),
                Err(_) => return Err(Gone::Closed),
            }
        }
    }

    fn take_in(&mut self, bytes: &[u8]) -> Result<Option<Request>, Gone> {
        let misbehaved = |error: &dyn std::fmt::Display| Gone::Misbehaved(error.to_string());
        if let Some(greeting) = &mut self.greeting {
            greeting.extend_from_slice(bytes);
            if !Greeting::may_start_with(greeting) {
                return Err(Gone::Misbehaved("it does not greet as an ipcd client does".to_owned()));
            }
            if let Ok(whole) = <[u8; GREETING_LEN]>::try_from(greeting.as_slice()) {
                let greeting = Greeting::from_bytes(&whole).map_err(|error| misbehaved(&error))?;
                greeting.accept().map_err(|error| misbehaved(&error))?;
                self.greeting = None;
                self.deadline = None;
            }
            return Ok(None);
        }
        let body = self.assembler.take_in(bytes).map_err(|error| misbehaved(&error))?;
        self.deadline = match (self.assembler.is_midway(), self.deadline) {
            (true, None) => Some(Instant::now() + PATIENCE),
            (true, deadline) => deadline,
            (false, _) => None,
        };
        body.map(|body| decode(&body)).transpose().map_err(|error| misbehaved(&error))
    }

    /// Sends a reply, now or when the peer reads on.
    pub(super) fn send(&mut self, reply: &Reply, descriptors: Vec<OwnedFd>) -> Result<(), Gone> {
        let body = encode(reply).map_err(|error| Gone::Misbehaved(error.to_string()))?;
        self.push(frame(&body), descriptors)
    }

    fn push(&mut self, bytes: Vec<u8>, descriptors: Vec<OwnedFd>) -> Result<(), Gone> {
        self.unread += bytes.len();
        if self.unread > MAX_UNREAD {
            return Err(Gone::DoesNotRead);
        }
        self.outgoing.push_back(Outgoing { bytes, sent: 0, descriptors });
        self.flush()
    }

    /// Sends what the socket takes.
    pub(super) fn flush(&mut self) -> Result<(), Gone> {
        while let Some(next) = self.outgoing.front_mut() {
            let descriptors: Vec<_> = next.descriptors.iter().map(AsFd::as_fd).collect();
            match send_part(self.socket.as_fd(), &next.bytes[next.sent..], &descriptors) {
                Ok(n) => {
                    next.sent += n;
                    self.unread -= n;
                    // They went with the first byte.
                    next.descriptors.clear();
                    if next.sent == next.bytes.len() {
                        self.outgoing.pop_front();
                    }
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(()),
                Err(_) => return Err(Gone::Closed),
            }
        }
        Ok(())
    }
}
