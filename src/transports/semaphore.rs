//! `semaphore`: two POSIX semaphores beside a piece of shared memory.
//!
//! Layout, offsets in bytes:
//!
//! | offset | what |
//! |---|---|
//! | 0, 64 | the ping: semaphore, length |
//! | 128, 192 | the pong: semaphore, length |
//! | 4096 | the ping's bytes, then (on a page of its own) the pong's |

use std::hint::spin_loop;
use std::os::fd::AsFd;
use std::sync::atomic::Ordering;

use rustix::io::Errno;

use super::contract::While;
use super::messages::{self, Else, MessageClient, Messages};
use super::sys::{Region, Semaphore};
use super::{
    Capabilities, ConnectError, Delivery, Endpoint, Explanation, Group, Info, Mechanism, Reach, Rounds,
    ServeError, Served, Settings, Supervisor, Watch, sealed,
};
use crate::protocol::{Token, Unavailable, Wait};

static INFO: Info = Info {
    name: "semaphore",
    aliases: &[],
    group: Group::Memory,
    summary: "shared memory, with process-shared POSIX semaphores to wait on",
    explanation: Explanation {
        choose: "Choose it where a portable program shares memory: the C library brings the waiting, and a semaphore \
                 counts what was posted before anybody waited.",
        limits: "It wakes through the kernel as a futex does, of which it is made. It does not tell that the peer has \
                 died, not even while the peer holds it.",
        round: "A copy into shared memory and sem_post on one side, sem_wait and a copy on the other; sem_post makes a \
                system call only if somebody sleeps, sem_wait only if it has to.",
    },
    delivery: Delivery::Memory,
    reach: Reach::Anyone,
    waits: &[Wait::Block, Wait::Spin, Wait::Adaptive],
    options: &[],
};

/// Semaphores around shared memory.
pub(super) struct PosixSemaphore;

impl Mechanism for PosixSemaphore {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::ANY_SIZE
    }

    fn probe(&self) -> Result<(), Unavailable> {
        sealed::probe()
    }

    fn respond(&self, settings: &Settings, supervisor: &mut Supervisor) -> Result<Served, ServeError> {
        let [ping, pong] = slots(settings);
        let mut end = {
            let (memory, file) = sealed::make(&settings.name, pong.end())?;
            for slot in [&ping, &pong] {
                Semaphore::at(&memory, slot.semaphore).make().while_doing("making a semaphore")?;
            }
            supervisor.ready(sealed::ADDRESS, &[file.as_fd()])?;
            End { memory, sends: pong, receives: ping }
        };
        messages::check_peer(&mut end, settings, supervisor)?;
        supervisor.proven()?;
        messages::echo(&mut end, settings)
    }

    fn connect(
        &self,
        settings: &Settings,
        endpoint: Endpoint,
        watch: &mut Watch,
    ) -> Result<Box<dyn Rounds>, ConnectError> {
        let [ping, pong] = slots(settings);
        let memory = sealed::open(endpoint, pong.end())?;
        let end = End { memory, sends: ping, receives: pong };
        Ok(Box::new(MessageClient::prove(end, settings, watch)?))
    }
}

/// Where a direction's things are.
#[derive(Debug)]
struct Slot {
    semaphore: usize,
    len: usize,
    bytes: usize,
    room: usize,
}

impl Slot {
    fn end(&self) -> usize {
        self.bytes + self.room
    }
}

/// The ping's slot and the pong's.
fn slots(settings: &Settings) -> [Slot; 2] {
    let room = settings.size.max(End::MIN_ROOM).next_multiple_of(4096);
    [
        Slot { semaphore: 0, len: 64, bytes: 4096, room },
        Slot { semaphore: 128, len: 192, bytes: 4096 + room, room },
    ]
}

/// One side's end.
#[derive(Debug)]
struct End {
    memory: Region,
    sends: Slot,
    receives: Slot,
}

impl Messages for End {
    const MIN_ROOM: usize = Token::HALF_LEN;

    #[inline(always)]
    fn send(&mut self, message: &[u8], _: Else) -> Result<(), Errno> {
        let slot = &self.sends;
        let len = u32::try_from(message.len()).map_err(|_| Errno::MSGSIZE)?;
        self.memory.write(slot.bytes, message);
        self.memory.word(slot.len).store(len, Ordering::Relaxed);
        Semaphore::at(&self.memory, slot.semaphore).post()
    }

    #[inline(always)]
    fn receive(&mut self, buffer: &mut [u8], or: Else) -> Result<usize, Errno> {
        let slot = &self.receives;
        let taken = Semaphore::at(&self.memory, slot.semaphore).take(or == Else::Sleep);
        if taken == Err(Errno::AGAIN) {
            // No system call stands between this look and the next.
            spin_loop();
        }
        taken?;
        let len = self.memory.word(slot.len).load(Ordering::Relaxed) as usize;
        let part = buffer.get_mut(..len).ok_or(Errno::MSGSIZE)?;
        self.memory.read(slot.bytes, part);
        Ok(len)
    }
}
