//! Both sides of any mechanism that carries a stream of bytes through file descriptors.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

use super::buffer::Buffer;
use super::contract::While;
use super::payload::Payload;
use super::{Alive, Round, RoundError, ServeError, Served, Settings, Unwatched, Watch};
use crate::protocol::Wait;

/// How long an adaptive wait looks again before it blocks, where the other side has `size` bytes to move meanwhile: about
/// what being woken costs, and the time that a machine takes to move them which does 2 GB a second.
pub(super) fn adaptive_spin(size: usize) -> Duration {
    Duration::from_micros(50) + Duration::from_nanos(size as u64 / 2)
}

/// A stream's descriptors, and the calls that move bytes through them.
pub(super) trait Pipe {
    fn receive(&self, buffer: &mut [u8]) -> Result<usize, Errno>;
    fn send(&self, bytes: &[u8]) -> Result<usize, Errno>;
    fn reader(&self) -> BorrowedFd<'_>;
    fn writer(&self) -> BorrowedFd<'_>;
}

/// A connected socket: `send` and `recv` skip what `write` and `read` do for files.
#[derive(Debug)]
pub(super) struct Socket(pub(super) OwnedFd);

impl Pipe for Socket {
    #[inline(always)]
    fn receive(&self, buffer: &mut [u8]) -> Result<usize, Errno> {
        recv(&self.0, buffer, RecvFlags::empty()).map(|(n, _)| n)
    }

    #[inline(always)]
    fn send(&self, bytes: &[u8]) -> Result<usize, Errno> {
        send(&self.0, bytes, SendFlags::NOSIGNAL)
    }

    fn reader(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    fn writer(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Two descriptors, one for each direction.
#[derive(Debug)]
pub(super) struct Files<R, W> {
    pub(super) reader: R,
    pub(super) writer: W,
}

impl<R: AsFd, W: AsFd> Pipe for Files<R, W> {
    #[inline(always)]
    fn receive(&self, buffer: &mut [u8]) -> Result<usize, Errno> {
        rustix::io::read(&self.reader, buffer)
    }

    #[inline(always)]
    fn send(&self, bytes: &[u8]) -> Result<usize, Errno> {
        rustix::io::write(&self.writer, bytes)
    }

    fn reader(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }

    fn writer(&self) -> BorrowedFd<'_> {
        self.writer.as_fd()
    }
}

/// Makes the descriptors fit the wait strategy: who does not want to block in the call must not.
pub(super) fn set_wait(pipe: &impl Pipe, wait: Wait) -> Result<(), Errno> {
    if wait == Wait::Block {
        return Ok(());
    }
    for fd in [pipe.reader(), pipe.writer()] {
        fcntl_setfl(fd, fcntl_getfl(fd)? | OFlags::NONBLOCK)?;
    }
    Ok(())
}

/// What to do when a descriptor is not ready: the part of the wait strategy that is outside the call.
#[derive(Debug)]
pub(super) struct Patience {
    wait: Wait,
    /// Bytes that the other side moves.
    size: usize,
    /// When an adaptive wait began.
    since: Option<Instant>,
}

impl Patience {
    #[inline(always)]
    pub(super) fn new(wait: Wait, size: usize) -> Self {
        Self { wait, size, since: None }
    }

    /// Called when the call said `error`; returns when it is to be tried again.
    #[cold]
    pub(super) fn again(
        &mut self,
        error: Errno,
        fd: BorrowedFd<'_>,
        flags: PollFlags,
        alive: &mut impl Alive,
        round: u64,
    ) -> Result<(), RoundError> {
        match error {
            Errno::INTR => return alive.check(round),
            Errno::AGAIN => {}
            other => return Err(other.into()),
        }
        if alive.due() {
            alive.check(round)?;
        }
        if self.wait != Wait::Adaptive
            || self.since.get_or_insert_with(Instant::now).elapsed() < adaptive_spin(self.size)
        {
            return Ok(());
        }
        match poll(&mut [PollFd::from_borrowed_fd(fd, flags)], None) {
            Err(Errno::INTR) => alive.check(round),
            Err(error) => Err(error.into()),
            Ok(_) => Ok(()),
        }
    }
}

/// Receives until `buffer` is full.
#[inline(always)]
pub(super) fn receive_exact(
    pipe: &impl Pipe,
    buffer: &mut [u8],
    wait: Wait,
    alive: &mut impl Alive,
    round: u64,
) -> Result<(), RoundError> {
    let size = buffer.len();
    let mut patience = Patience::new(wait, size);
    let mut have = 0;
    while have < size {
        match pipe.receive(&mut buffer[have..]) {
            Ok(0) => return Err(RoundError::PeerClosed),
            Ok(n) => {
                have += n;
                patience = Patience::new(wait, size);
            }
            Err(error) => patience.again(error, pipe.reader(), PollFlags::IN, alive, round)?,
        }
    }
    Ok(())
}

/// Sends all of `bytes`.
#[inline(always)]
pub(super) fn send_all(
    pipe: &impl Pipe,
    mut bytes: &[u8],
    wait: Wait,
    alive: &mut impl Alive,
    round: u64,
) -> Result<(), RoundError> {
    let size = bytes.len();
    let mut patience = Patience::new(wait, size);
    while !bytes.is_empty() {
        match pipe.send(bytes) {
            Ok(n) => {
                bytes = &bytes[n..];
                patience = Patience::new(wait, size);
            }
            Err(error) => patience.again(error, pipe.writer(), PollFlags::OUT, alive, round)?,
        }
    }
    Ok(())
}

/// The client's side.
#[derive(Debug)]
pub(super) struct StreamClient<P> {
    pipe: P,
    wait: Wait,
    payload: Payload,
}

impl<P: Pipe> StreamClient<P> {
    /// A side over a stream whose peer has proved itself.
    pub(super) fn new(pipe: P, settings: &Settings) -> Result<Self, Errno> {
        set_wait(&pipe, settings.wait)?;
        Ok(Self { pipe, wait: settings.wait, payload: Payload::new(settings.size, &settings.token) })
    }
}

impl<P: Pipe> Round for StreamClient<P> {
    #[inline(always)]
    fn round(&mut self, round: u64, watch: &mut Watch) -> Result<(), RoundError> {
        self.payload.stamp(round);
        send_all(&self.pipe, self.payload.ping(), self.wait, watch, round)?;
        receive_exact(&self.pipe, self.payload.pong_in_place(), self.wait, watch, round)?;
        self.payload.check_in_place(round)
    }

    fn payload(&mut self) -> &mut Payload {
        &mut self.payload
    }
}

/// The responder's side: echoes until the peer closes.
pub(super) fn echo(pipe: &impl Pipe, settings: &Settings) -> Result<Served, ServeError> {
    set_wait(pipe, settings.wait).while_doing("setting the wait strategy")?;
    let mut buffer = Buffer::new(settings.size);
    let alive = &mut Unwatched;
    loop {
        let round = receive_exact(pipe, &mut buffer, settings.wait, alive, 0)
            .and_then(|()| send_all(pipe, &buffer, settings.wait, alive, 0));
        match round {
            Ok(()) => {}
            Err(RoundError::PeerClosed) => return Ok(Served::ClientGone),
            Err(error) => Err(std::io::Error::other(error)).while_doing("echoing")?,
        }
    }
}
