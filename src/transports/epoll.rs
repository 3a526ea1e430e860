//! `epoll`: a unix stream socket behind epoll on both sides, as an event loop has it.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use rustix::event::Timespec;
use rustix::event::epoll::{CreateFlags, Event, EventData, EventFlags, add, create, modify, wait};
use rustix::io::{Errno, ioctl_fionbio};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use super::contract::While;
use super::place::{probe_folder, remove_folder};
use super::stream::{Pipe, Socket, StreamClient, adaptive_spin, echo};
use super::unix_socket::{accept, dial};
use super::{
    CallError, Capabilities, ConnectError, Delivery, Endpoint, Explanation, Group, Info, Mechanism, Reach,
    Rounds, ServeError, Served, Settings, Supervisor, Watch,
};
use crate::protocol::{Unavailable, Wait};
use crate::shortage::explain_sandbox;

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
                spin, epoll_wait returns at once and is called again, with adaptive for a while, before one that waits.",
    },
    delivery: Delivery::Stream,
    reach: Reach::Group,
    waits: &[Wait::Block, Wait::Spin, Wait::Adaptive],
    options: &[],
};

/// A timeout that does not wait.
const NOW: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

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
        probe_folder()?;
        let flags = SocketFlags::CLOEXEC;
        let (ours, _theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)
            .while_doing("making a socket pair")?;
        match Looped::new(Socket(ours), Wait::Spin)?.wait(0) {
            // Nobody has sent anything.
            Ok(()) | Err(Errno::AGAIN) => Ok(()),
            Err(error) => Err(CallError { what: "waiting by epoll", source: explain_sandbox(error) }.into()),
        }
    }

    fn respond(&self, settings: &Settings, supervisor: &mut Supervisor) -> Result<Served, ServeError> {
        let socket = accept(SocketType::STREAM, settings, supervisor)?;
        let looped = Looped::new(socket, settings.wait)?;
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
        let looped = Looped::new(socket, settings.wait)?;
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
    strategy: Wait,
}

impl Looped {
    fn new(socket: Socket, strategy: Wait) -> Result<Self, CallError> {
        ioctl_fionbio(&socket.0, true).while_doing("keeping the socket from blocking")?;
        let epoll =
            create(CreateFlags::CLOEXEC).map_err(explain_sandbox).while_doing("making an epoll instance")?;
        add(&epoll, &socket.0, EventData::new_u64(0), EventFlags::IN)
            .map_err(explain_sandbox)
            .while_doing("registering the socket with epoll")?;
        Ok(Self { socket, epoll, strategy })
    }

    /// Waits for an event, for which the other side has `size` bytes to move; with spin, says `AGAIN` if there is none.
    #[inline(always)]
    fn wait(&self, size: usize) -> Result<(), Errno> {
        match self.strategy {
            Wait::Block => self.ask(None).map(drop),
            Wait::Spin => self.ask(Some(&NOW))?.then_some(()).ok_or(Errno::AGAIN),
            Wait::Adaptive => self.ask_for_a_while(size),
        }
    }

    /// Asks again and again for as long as an adaptive wait does, and then waits.
    fn ask_for_a_while(&self, size: usize) -> Result<(), Errno> {
        let mut since = None;
        while !self.ask(Some(&NOW))? {
            if since.get_or_insert_with(Instant::now).elapsed() >= adaptive_spin(size) {
                return self.ask(None).map(drop);
            }
        }
        Ok(())
    }

    /// Whether there is an event, within `timeout` if there is one.
    #[inline(always)]
    fn ask(&self, timeout: Option<&Timespec>) -> Result<bool, Errno> {
        let mut events = [MaybeUninit::<Event>::uninit()];
        let (ready, _) = wait(&self.epoll, &mut events, timeout)?;
        Ok(!ready.is_empty())
    }

    /// Waits until the socket takes more of `size` bytes.
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

    fn writer(&self) -> BorrowedFd<'_> {
        self.socket.0.as_fd()
    }
}
