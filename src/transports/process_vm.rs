//! `process-vm`: each side reads the other's buffer out of its memory; a word in a shared page says when.
//!
//! Layout of the page, offsets in bytes:
//!
//! | offset | what |
//! |---|---|
//! | 0 | the ping: word, flag of the responder, address and length of the bytes in the client's memory |
//! | 128 | the pong: word, flag of the client, address and length of the bytes in the responder's memory |
//!
//! A word counts its direction's messages. Who waits for it may sleep on it (a futex); it says so in its flag before it
//! looks a last time, and who publishes looks at the flag after. Both orders are sequentially consistent, so that
//! one of the two always sees the other.

use std::fs;
use std::hint::spin_loop;
use std::os::fd::AsFd;
use std::sync::atomic::Ordering;

use rustix::io::Errno;
use rustix::thread::futex;

use super::contract::While;
use super::messages::{self, Else, MessageClient, Messages};
use super::process::{self, Responder};
use super::sys::{Region, process_vm};
use super::turn::{Block, Strategy, Turn};
use super::{
    Capabilities, ConnectError, Delivery, Endpoint, Explanation, Group, Info, Mechanism, Reach, Rounds,
    ServeError, Served, Settings, Supervisor, Watch, sealed,
};
use crate::protocol::{Token, Unavailable, Wait};

static INFO: Info = Info {
    name: "process-vm",
    aliases: &[],
    group: Group::Memory,
    summary: "process_vm_readv: each side reads the other's buffer, a futex says when",
    explanation: Explanation {
        choose: "Choose it for large messages between processes that trust each other: the kernel copies straight from \
                 one to the other, and nothing has to be shared or set up but a page to wake each other by.",
        limits: "It takes what a debugger takes: the same user, and with kernel.yama.ptrace_scope 1 that each side has \
                 let the other in (PR_SET_PTRACER); with 2, root. A system call for each message makes it slower \
                 than shared memory where messages are small.",
        round: "A store, and one futex call if the other side sleeps, then one process_vm_readv, on each side; one copy \
                each way.",
    },
    delivery: Delivery::Memory,
    reach: Reach::SameUser,
    waits: &[Wait::Block, Wait::Spin, Wait::Adaptive],
    options: &[],
};

/// Reading each other's memory.
pub(super) struct ProcessMemory;

impl Mechanism for ProcessMemory {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::ANY_SIZE
    }

    fn probe(&self) -> Result<(), Unavailable> {
        sealed::probe()?;
        let scope = fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").unwrap_or_default();
        let scope = scope.trim();
        if scope == "3" || (scope == "2" && !rustix::process::geteuid().is_root()) {
            return Err(Unavailable(format!("kernel.yama.ptrace_scope is {scope}, which forbids it")));
        }
        match process_vm::may_read(std::process::id().cast_signed()) {
            Ok(()) => Ok(()),
            Err(Errno::NOSYS) => Err(Unavailable(
                "this kernel was built without process_vm_readv (CONFIG_CROSS_MEMORY_ATTACH)".into(),
            )),
            Err(error) => Err(Unavailable(format!("a sandbox (seccomp) forbids process_vm_readv: {error}"))),
        }
    }

    fn respond(&self, settings: &Settings, supervisor: &mut Supervisor) -> Result<Served, ServeError> {
        let pid = process::client(settings)?;
        process_vm::let_in(pid);
        let mut end = {
            let (page, file) = sealed::make(&settings.name, PAGE)?;
            supervisor.ready(&process::endpoint(pid), &[file.as_fd()])?;
            End { page, pid, sends: PONG, receives: PING, sent: 0, received: 0 }
        };
        messages::check_peer(&mut end, settings, supervisor).map_err(|error| {
            match process_vm::may_read(pid) {
                Err(Errno::PERM) => ServeError::Peer(
                    "the kernel does not let the responder read the client's memory, as a debugger does \
                 (kernel.yama.ptrace_scope)"
                        .into(),
                ),
                _ => error,
            }
        })?;
        supervisor.proven()?;
        messages::echo(&mut end, settings)
    }

    fn connect(
        &self,
        settings: &Settings,
        endpoint: Endpoint,
        watch: &mut Watch,
    ) -> Result<Box<dyn Rounds>, ConnectError> {
        let Responder { pid, supervisor } = Responder::of(&endpoint.address)?;
        // A process lets in one other and its children: all responders of this daemon.
        process_vm::let_in(supervisor);
        process_vm::may_read(pid).while_doing("reading the responder's memory as a debugger does")?;
        let page = sealed::open(endpoint, PAGE)?;
        let end = End { page, pid, sends: PING, receives: PONG, sent: 0, received: 0 };
        Ok(Box::new(MessageClient::prove(end, settings, watch)?))
    }
}

const PAGE: usize = 4096;

/// Where each direction begins.
const PING: usize = 0;
const PONG: usize = 128;

/// From there on.
const WORD: usize = 0;
const SLEEPS: usize = 4;
const ADDRESS: usize = 8;
const LEN: usize = 16;

/// One side's end.
#[derive(Debug)]
struct End {
    page: Region,
    /// The other side.
    pid: i32,
    sends: usize,
    receives: usize,
    /// Messages so far; they wrap around, as the words do.
    sent: u32,
    received: u32,
}

impl End {
    /// Waits until there is another message than those received.
    #[inline(always)]
    fn wait(&self, or: Else) -> Result<(), Errno> {
        let word = self.page.word(self.receives + WORD);
        if word.load(Ordering::Acquire) != self.received {
            return Ok(());
        }
        if or == Else::Return {
            // No system call stands between this look and the next.
            spin_loop();
            return Err(Errno::AGAIN);
        }
        let sleeps = self.page.word(self.receives + SLEEPS);
        loop {
            sleeps.store(1, Ordering::SeqCst);
            if word.load(Ordering::SeqCst) != self.received {
                sleeps.store(0, Ordering::Relaxed);
                return Ok(());
            }
            match futex::wait(word, futex::Flags::empty(), self.received, None) {
                // Woken, or the word has changed since it was looked at.
                Ok(()) | Err(Errno::AGAIN) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl Messages for End {
    const MIN_ROOM: usize = Token::HALF_LEN;

    /// Tells where the message is, which stays there until the peer has answered.
    #[inline(always)]
    fn send(&mut self, message: &[u8], _: Else) -> Result<(), Errno> {
        let address = message.as_ptr().expose_provenance() as u64;
        self.page.write(self.sends + ADDRESS, &address.to_ne_bytes());
        self.page.write(self.sends + LEN, &(message.len() as u64).to_ne_bytes());
        self.sent = self.sent.wrapping_add(1);
        let (word, sleeps) = (self.page.word(self.sends + WORD), self.page.word(self.sends + SLEEPS));
        Block.publish(Turn { word, sleeps }, self.sent);
        Ok(())
    }

    #[inline(always)]
    fn receive(&mut self, buffer: &mut [u8], or: Else) -> Result<usize, Errno> {
        self.wait(or)?;
        let (mut address, mut len) = ([0; 8], [0; 8]);
        self.page.read(self.receives + ADDRESS, &mut address);
        self.page.read(self.receives + LEN, &mut len);
        let len = usize::try_from(u64::from_ne_bytes(len)).map_err(|_| Errno::MSGSIZE)?;
        let part = buffer.get_mut(..len).ok_or(Errno::MSGSIZE)?;
        process_vm::read(self.pid, u64::from_ne_bytes(address), part)?;
        self.received = self.received.wrapping_add(1);
        Ok(len)
    }
}
