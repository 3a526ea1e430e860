//! `epoll`: a unix stream socket behind epoll on both sides, as in an event loop.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use rustix::event::Timespec;
use rustix::event::epoll::{CreateFlags, Event, EventData, EventFlags, add, create, modify, wait};
use rustix::io::ioctl_fionbio;
use rustix::net::{AddressFamily, SocketFlags, socketpair};

use super::families::stream::{Pipe, Socket, StreamClient, adaptive_spin, echo, offer_pair, take_pair};
use super::prelude::*;
use crate::shortage::explain_sandbox;

static INFO: Info = Info {
    name: "epoll",
    group: Group::Sockets,
    summary: "a unix stream socket behind epoll, as in an event loop",
    choose: "Choose it for a process that serves many peers from one thread. Compared with unix it shows what the event loop \
             adds, before any library's own cost.",
    limits: "One system call more for each wait than a blocking read needs. Otherwise as unix.",
    round: "One send, one epoll_wait (level-triggered, one descriptor registered) and one recv on each side; with \
            spin, epoll_wait returns at once and is called again; with adaptive, so for a while, then it waits.",
    ..Info::DEFAULT
};

/// A timeout that does not wait.
const NOW: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

/// A unix stream socket behind epoll.
pub(super) struct Epoll;

impl Mechanism for Epoll {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn probe(&self) -> Result<(), Unavailable> {
        let flags = SocketFlags::CLOEXEC;
        let (ours, _theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)
            .while_doing("making a socket pair")?;
        match Looped::new(Socket(ours), Wait::Spin)?.wait(0) {
            // The peer has sent nothing.
            Ok(()) | Err(Errno::AGAIN) => Ok(()),
            Err(error) => {
                Err(CallError { what: "waiting with epoll", source: explain_sandbox(error) }.into())
            }
        }
    }

    fn respond(&self, settings: &Settings, supervisor: &mut Supervisor) -> Result<(), ServeError> {
        let socket = offer_pair(SocketType::STREAM, settings, supervisor)?;
        echo(&Looped::new(socket, settings.wait)?, settings)
    }

    fn connect(&self, settings: &Settings, endpoint: Endpoint, watch: &mut Watch) -> Connected {
        let socket = take_pair(settings, endpoint, watch)?;
        Ok(Box::new(StreamClient::new(Looped::new(socket, settings.wait)?, settings)?))
    }
}

/// A non-blocking socket, and the epoll instance that reports when it is ready.
struct Looped {
    socket: Socket,
    epoll: OwnedFd,
    strategy: Wait,
}

impl Looped {
    fn new(socket: Socket, strategy: Wait) -> Result<Self, CallError> {
        ioctl_fionbio(&socket.0, true).while_doing("making the socket non-blocking")?;
        let epoll =
            create(CreateFlags::CLOEXEC).map_err(explain_sandbox).while_doing("making an epoll instance")?;
        add(&epoll, &socket.0, EventData::new_u64(0), EventFlags::IN)
            .map_err(explain_sandbox)
            .while_doing("registering the socket with epoll")?;
        Ok(Self { socket, epoll, strategy })
    }

    /// Waits for an event, while the other side has `size` bytes to move; with spin, returns `AGAIN` if there is none.
    #[inline(always)]
    fn wait(&self, size: usize) -> Result<(), Errno> {
        match self.strategy {
            Wait::Block => self.poll(None).map(drop),
            Wait::Spin => self.poll(Some(&NOW))?.then_some(()).ok_or(Errno::AGAIN),
            Wait::Adaptive => self.poll_then_wait(size),
        }
    }

    /// Polls for as long as an adaptive wait does, then waits.
    fn poll_then_wait(&self, size: usize) -> Result<(), Errno> {
        let mut since = None;
        while !self.poll(Some(&NOW))? {
            if since.get_or_insert_with(Instant::now).elapsed() >= adaptive_spin(size) {
                return self.poll(None).map(drop);
            }
        }
        Ok(())
    }

    /// Whether there is an event, within `timeout` if there is one.
    #[inline(always)]
    fn poll(&self, timeout: Option<&Timespec>) -> Result<bool, Errno> {
        let mut events = [MaybeUninit::<Event>::uninit()];
        let (ready, _) = wait(&self.epoll, &mut events, timeout)?;
        Ok(!ready.is_empty())
    }

    /// Waits until the socket accepts more of `size` bytes.
    #[cold]
    fn wait_for_room(&self, size: usize) -> Result<(), Errno> {
        modify(&self.epoll, &self.socket.0, EventData::new_u64(0), EventFlags::OUT)?;
        let waited = self.wait(size);
        modify(&self.epoll, &self.socket.0, EventData::new_u64(0), EventFlags::IN)?;
        waited
    }
}

impl Pipe for Looped {
    #[inline(always)]
    fn receive(&self, buffer: &mut [u8]) -> Result<usize, Errno> {
        self.wait(buffer.len())?;
        self.socket.receive(buffer)
    }

    #[inline(always)]
    fn send(&self, bytes: &[u8]) -> Result<usize, Errno> {
        loop {
            match self.socket.send(bytes) {
                Err(Errno::AGAIN) => self.wait_for_room(bytes.len())?,
                other => return other,
            }
        }
    }

    fn reader(&self) -> BorrowedFd<'_> {
        self.socket.0.as_fd()
    }
}
