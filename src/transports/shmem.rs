//! `shmem`: a POSIX shared memory segment, made with the `shared_memory` crate.
//!
//! Layout, offsets in bytes:
//!
//! | offset | what |
//! |---|---|
//! | 0 | proof: word, flag of the responder, flag of the client |
//! | 16, 32 | the halves of the token |
//! | 128 | a payload of up to 48 bytes: word, the flags, payload: one cache line for both directions |
//! | 256, 384 | a larger payload: word and flag of the ping, of the pong, on lines of their own |
//! | 4096 | the ping, then (on a page of its own) the pong |
//!
//! Round `r` is published as the word `2r - 1` by the client and as `2r` by the responder.

use std::path::Path;

use rustix::fs::{FallocateFlags, Mode, fallocate};
use rustix::io::Errno;
use rustix::shm;
use shared_memory::{ShmemConf, ShmemError};

use super::contract::While;
use super::payload::Payload;
use super::place::let_client_in;
use super::proof::proof_broke_off;
use super::sys::Region;
use super::turn::{Turn, on_these_cpus};
use super::{
    Capabilities, ConnectError, Delivery, Endpoint, Explanation, Group, Info, Mechanism, Round, RoundError,
    Rounds, ServeError, Served, Settings, Supervisor, Unwatched, Watch,
};
use crate::protocol::{Token, Wait};

static INFO: Info = Info {
    name: "shmem",
    aliases: &[],
    group: Group::Memory,
    summary: "a POSIX shared memory segment, futexes to sleep on",
    explanation: Explanation {
        choose: "Choose it where latency counts more than anything: no system call is made while both sides look.",
        limits: "Both sides must trust each other not to truncate the segment, which ends the other with SIGBUS; a sealed \
                 memfd has no such trouble. Looking again and again burns a CPU; a side that sleeps is woken through the \
                 kernel, which costs as much as a pipe does.",
        round: "A copy into the segment and a store on one side, loads until the word changes and a copy on the other; \
                with a payload of up to 48 bytes all of it is one cache line. A side that has waited too long sleeps on \
                a futex, and the other then makes one system call to wake it.",
    },
    delivery: Delivery::Memory,
    waits: &[Wait::Adaptive, Wait::Spin, Wait::Block],
    options: &[],
};

/// POSIX shared memory.
pub(super) struct SharedMemory;

impl Mechanism for SharedMemory {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::ANY_SIZE
    }

    fn respond(&self, settings: &Settings, supervisor: &mut Supervisor) -> Result<Served, ServeError> {
        let layout = Layout::of(settings.size);
        let name = Name(format!("/{}", settings.name));
        let mut segment = ShmemConf::new()
            .os_id(&name.0)
            .size(layout.len)
            .create()
            .map_err(system_error)
            .while_doing("making a shared memory segment")?;
        // Its name goes with `name`, earlier than the segment.
        segment.set_owner(false);
        reserve(&name.0, layout.len).while_doing("reserving memory for the segment in /dev/shm")?;
        let_client_in(&Path::new("/dev/shm").join(&settings.name), settings.client)
            .while_doing("opening the segment to the client")?;
        let memory = Region::of_shmem(segment);

        supervisor.ready(&name.0, &[])?;
        check_peer(&memory, &settings.token, supervisor)?;
        drop(name);
        supervisor.proven()?;
        echo(&memory, &layout, settings)
    }

    fn connect(
        &self,
        settings: &Settings,
        endpoint: Endpoint,
        watch: &mut Watch,
    ) -> Result<Box<dyn Rounds>, ConnectError> {
        let layout = Layout::of(settings.size);
        let segment = ShmemConf::new()
            .os_id(&endpoint.address)
            .open()
            .map_err(system_error)
            .while_doing("opening the shared memory segment")?;
        if segment.len() < layout.len {
            return Err(ConnectError::Endpoint(endpoint.address));
        }
        let memory = Region::of_shmem(segment);
        prove(&memory, &settings.token, watch)?;
        Ok(Box::new(SharedMemoryClient {
            memory,
            layout,
            wait: on_these_cpus(settings.wait),
            payload: Payload::new(settings.size, &settings.token),
        }))
    }

    fn remove_leftovers(&self, name: &str) {
        let _ = shm::unlink(format!("/{name}"));
    }
}

/// The segment's name, which ends with its value.
struct Name(String);

impl Drop for Name {
    fn drop(&mut self) {
        // Nothing is to be done if it is gone already.
        let _ = shm::unlink(&self.0);
    }
}

/// Takes the memory now: a full /dev/shm is an error here, and a SIGBUS when the memory is first written to.
fn reserve(name: &str, len: usize) -> Result<(), Errno> {
    let segment = shm::open(name, shm::OFlags::RDWR, Mode::empty())?;
    let len = u64::try_from(len).expect("a usize fits in a u64");
    loop {
        match fallocate(&segment, FallocateFlags::empty(), 0, len) {
            Err(Errno::INTR) => {}
            other => return other,
        }
    }
}

fn system_error(error: ShmemError) -> std::io::Error {
    match error {
        ShmemError::UnknownOsError(code) => std::io::Error::from_raw_os_error(code.cast_signed()),
        ShmemError::MapCreateFailed(code) | ShmemError::MapOpenFailed(code) => {
            std::io::Error::from_raw_os_error(code.cast_signed())
        }
        other => std::io::Error::other(other),
    }
}

const PROOF_WORD: usize = 0;
const PROOF_RESPONDER_SLEEPS: usize = 4;
const PROOF_CLIENT_SLEEPS: usize = 8;
const PROOF_CLIENT_HALF: usize = 16;
const PROOF_RESPONDER_HALF: usize = 32;

/// Values of the proof's word.
const SHOWN: u32 = 1;
const ANSWERED: u32 = 2;

/// The largest payload that shares the cache line of its word.
const MAX_INLINE: usize = 48;

/// Where everything is.
#[derive(Debug)]
struct Layout {
    ping_word: usize,
    responder_sleeps: usize,
    ping: usize,
    pong_word: usize,
    client_sleeps: usize,
    pong: usize,
    len: usize,
}

impl Layout {
    fn of(size: usize) -> Self {
        if size <= MAX_INLINE {
            Self {
                ping_word: 128,
                responder_sleeps: 132,
                ping: 144,
                pong_word: 128,
                client_sleeps: 136,
                pong: 144,
                len: 4096,
            }
        } else {
            let pong = 4096 + size.next_multiple_of(4096);
            Self {
                ping_word: 256,
                responder_sleeps: 260,
                ping: 4096,
                pong_word: 384,
                client_sleeps: 388,
                pong,
                len: pong + size,
            }
        }
    }

    fn ping_turn<'a>(&self, memory: &'a Region) -> Turn<'a> {
        Turn { word: memory.word(self.ping_word), sleeps: memory.word(self.responder_sleeps) }
    }

    fn pong_turn<'a>(&self, memory: &'a Region) -> Turn<'a> {
        Turn { word: memory.word(self.pong_word), sleeps: memory.word(self.client_sleeps) }
    }
}

/// The words of a round: the ping's and the pong's. They wrap around, as both sides' do.
#[inline(always)]
#[allow(clippy::cast_possible_truncation, reason = "wraps around on purpose")]
fn words(round: u64) -> (u32, u32) {
    let pong = (round as u32).wrapping_mul(2);
    (pong.wrapping_sub(1), pong)
}

fn proof_turns(memory: &Region) -> (Turn<'_>, Turn<'_>) {
    let word = memory.word(PROOF_WORD);
    (
        Turn { word, sleeps: memory.word(PROOF_RESPONDER_SLEEPS) },
        Turn { word, sleeps: memory.word(PROOF_CLIENT_SLEEPS) },
    )
}

fn check_peer(memory: &Region, token: &Token, supervisor: &mut Supervisor) -> Result<(), ServeError> {
    let (shown, answered) = proof_turns(memory);
    let mut half = [0; Token::HALF_LEN];
    shown.wait_for(SHOWN, Wait::Block, supervisor, 0).map_err(proof_broke_off)?;
    memory.read(PROOF_CLIENT_HALF, &mut half);
    if half != *token.client_half() {
        return Err(ServeError::WrongToken);
    }
    memory.write(PROOF_RESPONDER_HALF, token.responder_half());
    answered.publish(ANSWERED, Wait::Block);
    Ok(())
}

fn prove(memory: &Region, token: &Token, watch: &mut Watch) -> Result<(), ConnectError> {
    watch.restart();
    let (shown, answered) = proof_turns(memory);
    let mut half = [0; Token::HALF_LEN];
    memory.write(PROOF_CLIENT_HALF, token.client_half());
    shown.publish(SHOWN, Wait::Block);
    answered.wait_for(ANSWERED, Wait::Block, watch, 0)?;
    memory.read(PROOF_RESPONDER_HALF, &mut half);
    if half != *token.responder_half() {
        return Err(ConnectError::WrongToken);
    }
    Ok(())
}

/// The client's side.
struct SharedMemoryClient {
    memory: Region,
    layout: Layout,
    wait: Wait,
    payload: Payload,
}

impl Round for SharedMemoryClient {
    #[inline(always)]
    fn round(&mut self, round: u64, watch: &mut Watch) -> Result<(), RoundError> {
        let (ping, pong) = words(round);
        self.payload.stamp(round);
        self.memory.write(self.layout.ping, self.payload.ping());
        self.layout.ping_turn(&self.memory).publish(ping, self.wait);
        self.layout.pong_turn(&self.memory).wait_for(pong, self.wait, watch, round)?;
        self.memory.read(self.layout.pong, self.payload.pong());
        self.payload.check(round)
    }

    fn payload(&mut self) -> &mut Payload {
        &mut self.payload
    }
}

/// The responder's side: echoes until it is ended, since memory does not tell that the client has gone.
fn echo(memory: &Region, layout: &Layout, settings: &Settings) -> Result<Served, ServeError> {
    let wait = on_these_cpus(settings.wait);
    let mut buffer = vec![0; settings.size];
    let (pings, pongs) = (layout.ping_turn(memory), layout.pong_turn(memory));
    for round in 1.. {
        let (ping, pong) = words(round);
        pings
            .wait_for(ping, wait, &mut Unwatched, round)
            .map_err(std::io::Error::other)
            .while_doing("echoing")?;
        memory.read(layout.ping, &mut buffer);
        memory.write(layout.pong, &buffer);
        pongs.publish(pong, wait);
    }
    unreachable!("rounds do not run out")
}
