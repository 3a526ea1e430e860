//! `epoll`: a unix stream socket behind epoll on both sides, as an event loop has it.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::Timespec;
use rustix::event::epoll::{CreateFlags, Event, EventData, EventFlags, add, create, modify, wait};
use rustix::io::{Errno, ioctl_fionbio};
use rustix::net::SocketType;

use super::contract::While;
use super::place::{probe_folder, remove_folder};
use super::stream::{Pipe, Socket, StreamClient, echo};
use super::unix_socket::{accept, dial};
use super::{
    Capabilities, ConnectError, Delivery, Endpoint, Explanation, Group, Info, Mechanism, Reach, Rounds,
    ServeError, Served, Settings, Supervisor, Watch,
};
use crate::protocol::{Unavailable, Wait};

static INFO: Info = Info {
    name: "epoll",
    aliases: &[],
    group: Group::Sockets,
    summary: "a unix stream socket behind epoll, as an event loop has it",
    explanation: Explanation {
        choose: "Choose it for a process that serves many peers from one thread. Beside unix it tells what the event loop \
                 adds, before any library's own cost.",
        limits: "One system call more for each wait than a blocking read needs. As of unix otherwise.",
        round: "One send, one epoll_wait (level-triggered, one descriptor registered) and one recv on each side; with \
                spin, epoll_wait returns at once and is called again.",
    },
    delivery: Delivery::Stream,
    reach: Reach::Group,
    waits: &[Wait::Block, Wait::Spin],
    options: &[],
};

/// A unix stream socket behind epoll.
pub(super) struct Epoll;

impl Mechanism for Epoll {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::ANY_SIZE
    }

    fn probe(&self) -> Result<(), Unavailable> {
        Ok(probe_folder()?)
    }

    fn respond(&self, settings: &Settings, supervisor: &mut Supervisor) -> Result<Served, ServeError> {
        let socket = accept(SocketType::STREAM, settings, supervisor)?;
        let looped = Looped::new(socket, settings.wait).while_doing("registering the socket with epoll")?;
        supervisor.proven()?;
        echo(&looped, settings)
    }

    fn connect(
        &self,
        settings: &Settings,
        endpoint: Endpoint,
        watch: &mut Watch,
    ) -> Result<Box<dyn Rounds>, ConnectError> {
        let socket = dial(SocketType::STREAM, &endpoint.address, settings, watch)?;
        let looped = Looped::new(socket, settings.wait).while_doing("registering the socket with epoll")?;
        Ok(Box::new(StreamClient::new(looped, settings).while_doing("setting the wait strategy")?))
    }

    fn remove_leftovers(&self, name: &str) {
        remove_folder(name);
    }
}

/// A socket that does not block, and the epoll instance that tells when it is ready.
struct Looped {
    socket: Socket,
    epoll: OwnedFd,
    timeout: Option<Timespec>,
}

impl Looped {
    fn new(socket: Socket, strategy: Wait) -> Result<Self, Errno> {
        ioctl_fionbio(&socket.0, true)?;
        let epoll = create(CreateFlags::CLOEXEC)?;
        add(&epoll, &socket.0, EventData::new_u64(0), EventFlags::IN)?;
        let timeout = (strategy == Wait::Spin).then_some(Timespec { tv_sec: 0, tv_nsec: 0 });
        Ok(Self { socket, epoll, timeout })
    }

    /// Waits for an event; with spin, says `AGAIN` if there is none.
    #[inline(always)]
    fn wait(&self) -> Result<(), Errno> {
        let mut events = [MaybeUninit::<Event>::uninit()];
        let (ready, _) = wait(&self.epoll, &mut events, self.timeout.as_ref())?;
        if ready.is_empty() { Err(Errno::AGAIN) } else { Ok(()) }
    }

    /// Waits until the socket takes more.
    #[cold]
    fn wait_for_room(&self) -> Result<(), Errno> {
        modify(&self.epoll, &self.socket.0, EventData::new_u64(0), EventFlags::OUT)?;
        let waited = self.wait();
        modify(&self.epoll, &self.socket.0, EventData::new_u64(0), EventFlags::IN)?;
        waited
    }
}

impl Pipe for Looped {
    #[inline(always)]
    fn receive(&self, buffer: &mut [u8]) -> Result<usize, Errno> {
        self.wait()?;
        self.socket.receive(buffer)
    }

    #[inline(always)]
    fn send(&self, bytes: &[u8]) -> Result<usize, Errno> {
        loop {
            match self.socket.send(bytes) {
                Err(Errno::AGAIN) => self.wait_for_room()?,
                other => return other,
            }
        }
    }

    fn reader(&self) -> BorrowedFd<'_> {
        self.socket.0.as_fd()
    }

    fn writer(&self) -> BorrowedFd<'_> {
        self.socket.0.as_fd()
    }
}
