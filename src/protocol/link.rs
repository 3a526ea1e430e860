//! A blocking, typed end of a control channel, and the two calls that move bytes and file descriptors together.
//!
//! File descriptors (`SCM_RIGHTS`) arrive with the first byte of the frame that they were sent with. They are
//! close-on-exec on arrival, so that no other process inherits them.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::frame::{Assembler, TooLong, frame};
use super::{DecodeError, GREETING_LEN, Greeting, GreetingError, decode, encode};

/// The most file descriptors that come with one frame.
pub(crate) const MAX_DESCRIPTORS: usize = 4;

/// Sends what the socket takes of `bytes`, and `descriptors` with the first of them.
///
/// # Errors
/// The system's; [`Errno::AGAIN`] if it takes nothing now.
pub fn send_part(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> Result<usize, Errno> {
    debug_assert!(descriptors.len() <= MAX_DESCRIPTORS);
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(descriptors));
    }
    sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)
}

/// Receives what is there, at most `buffer` full, and appends the file descriptors that come with it.
///
/// # Errors
/// The system's; [`Errno::AGAIN`] if there is nothing now.
pub(crate) fn receive_part(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    descriptors: &mut Vec<OwnedFd>,
) -> Result<usize, Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let received = recvmsg(socket, &mut [IoSliceMut::new(buffer)], &mut control, flags)?;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    Ok(received.bytes)
}

/// Why a control channel cannot be used any more.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The peer closed it.
    #[error("the peer closed the connection")]
    Closed,
    /// The peer said nothing in time.
    #[error("the peer sent nothing for {:.1} s", .0.as_secs_f64())]
    Silent(Duration),
    /// The peer's greeting is refused.
    #[error(transparent)]
    Greeting(#[from] GreetingError),
    /// The peer announced too long a frame.
    #[error(transparent)]
    TooLong(#[from] TooLong),
    /// The peer sent something unknown.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The system refused.
    #[error("the connection failed")]
    Io(#[from] io::Error),
}

impl From<Errno> for LinkError {
    fn from(error: Errno) -> Self {
        match error {
            Errno::PIPE | Errno::CONNRESET => Self::Closed,
            other => Self::Io(other.into()),
        }
    }
}

/// A blocking, typed end of a control channel.
#[derive(Debug)]
pub struct Link {
    socket: OwnedFd,
    assembler: Assembler,
    descriptors: Vec<OwnedFd>,
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Link {
    /// An end over a connected stream socket.
    #[must_use]
    pub fn new(socket: OwnedFd) -> Self {
        Self { socket, assembler: Assembler::default(), descriptors: Vec::new() }
    }

    /// Exchanges greetings.
    ///
    /// # Errors
    /// The peer is not ipcd, has another version, or has not finished after `patience`.
    pub fn greet(&mut self, patience: Duration) -> Result<Greeting, LinkError> {
        let mut deadline = Deadline::after(patience);
        // A peer that is not ipcd may have closed already; what it sent before explains more.
        let sent = self.send_all(&Greeting::OURS.to_bytes(), &[]);
        let mut bytes = [0; GREETING_LEN];
        let mut have = 0;
        while have < GREETING_LEN {
            match self.receive_part(&mut bytes[have..], Some(&mut deadline)) {
                Ok(n) => have += n,
                Err(LinkError::Closed) if have > 0 => {
                    return Err(GreetingError::NotIpcd(bytes[..have].to_vec()).into());
                }
                Err(error) => return Err(error),
            }
            if !Greeting::may_start_with(&bytes[..have]) {
                return Err(GreetingError::NotIpcd(bytes[..have].to_vec()).into());
            }
        }
        let greeting = Greeting::from_bytes(&bytes)?;
        greeting.accept()?;
        match sent {
            // It has turned this side away after its greeting, and said why, which is there to be received.
            Err(LinkError::Closed) => Ok(greeting),
            sent => sent.map(|()| greeting),
        }
    }

    /// Sends a message, and file descriptors with it.
    ///
    /// # Errors
    /// The peer is gone, or the system's error.
    pub fn send<T: Serialize>(
        &mut self,
        message: &T,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), LinkError> {
        self.send_all(&frame(&encode(message)?), descriptors)
    }

    /// Sends a request and receives the reply.
    ///
    /// # Errors
    /// As [`send`](Self::send) and [`receive`](Self::receive). A message that the peer sent before it closed takes
    /// priority over the failure to send.
    pub fn ask<T: Serialize, R: DeserializeOwned>(
        &mut self,
        message: &T,
        patience: Duration,
    ) -> Result<R, LinkError> {
        let sent = self.send(message, &[]);
        let received = self.receive(Some(patience));
        match (sent, received) {
            (Err(error), Err(_)) => Err(error),
            (_, received) => received,
        }
    }

    fn send_all(&self, mut bytes: &[u8], mut descriptors: &[BorrowedFd<'_>]) -> Result<(), LinkError> {
        while !bytes.is_empty() {
            match send_part(self.as_fd(), bytes, descriptors) {
                Ok(n) => {
                    bytes = &bytes[n..];
                    descriptors = &[];
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    wait_for(self.as_fd(), PollFlags::OUT, None)?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Receives a message; its file descriptors are then [taken](Self::take_descriptors).
    ///
    /// # Errors
    /// The peer is gone, sent what cannot be understood, or (with `patience`) sent no whole message in time.
    pub fn receive<T: DeserializeOwned>(&mut self, patience: Option<Duration>) -> Result<T, LinkError> {
        self.receive_by(patience.map(Deadline::after).as_mut())
    }

    /// The same under a deadline that other calls share.
    ///
    /// # Errors
    /// As [`receive`](Self::receive).
    pub(crate) fn receive_by<T: DeserializeOwned>(
        &mut self,
        mut deadline: Option<&mut Deadline>,
    ) -> Result<T, LinkError> {
        let mut buffer = [0; 4096];
        loop {
            let wanted = self.assembler.wanted().min(buffer.len());
            let n = self.receive_part(&mut buffer[..wanted], deadline.as_deref_mut())?;
            if let Some(body) = self.assembler.take_in(&buffer[..n])? {
                return Ok(decode(&body)?);
            }
        }
    }

    /// Waits until something can be received, or the peer has closed.
    ///
    /// # Errors
    /// The deadline has passed.
    pub(crate) fn wait(&self, deadline: &mut Deadline) -> Result<(), LinkError> {
        wait_for(self.as_fd(), PollFlags::IN, Some(deadline))
    }

    /// The file descriptors that came with the messages received since the last call.
    pub fn take_descriptors(&mut self) -> Vec<OwnedFd> {
        std::mem::take(&mut self.descriptors)
    }

    fn receive_part(
        &mut self,
        buffer: &mut [u8],
        mut deadline: Option<&mut Deadline>,
    ) -> Result<usize, LinkError> {
        loop {
            match receive_part(self.socket.as_fd(), buffer, &mut self.descriptors) {
                Ok(0) => return Err(LinkError::Closed),
                Ok(n) => {
                    // A frame brings no more; the count in its message shows that some are missing.
                    self.descriptors.truncate(MAX_DESCRIPTORS);
                    return Ok(n);
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => wait_for(self.socket.as_fd(), PollFlags::IN, deadline.as_deref_mut())?,
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// How long a peer is waited for, and how much of that is left.
///
/// A host that was stopped has both sides stand still, and neither is to blame: of each wait no more counts than it was to
/// last, which is a [slice](Self::SLICE) at most.
pub(crate) struct Deadline {
    patience: Duration,
    left: Duration,
}

impl Deadline {
    const SLICE: Duration = Duration::from_millis(250);

    pub(crate) fn after(patience: Duration) -> Self {
        Self { patience, left: patience }
    }
}

/// Waits until the socket is ready or the deadline has passed.
fn wait_for(
    socket: BorrowedFd<'_>,
    flags: PollFlags,
    mut deadline: Option<&mut Deadline>,
) -> Result<(), LinkError> {
    loop {
        let slice = deadline.as_ref().map(|deadline| deadline.left.min(Deadline::SLICE));
        let timeout = slice.map(|slice| Timespec::try_from(slice).expect("a quarter of a second fits"));
        let start = Instant::now();
        match poll(&mut [PollFd::from_borrowed_fd(socket, flags)], timeout.as_ref()) {
            Ok(0) | Err(Errno::INTR) => {}
            Ok(_) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        if let (Some(deadline), Some(slice)) = (deadline.as_deref_mut(), slice) {
            deadline.left -= start.elapsed().min(slice);
            if deadline.left.is_zero() {
                return Err(LinkError::Silent(deadline.patience));
            }
        }
    }
}
