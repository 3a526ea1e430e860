//! `shmem`: a POSIX shared memory segment, made with the `shared_memory` crate.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::Mode;
use rustix::shm;
use shared_memory::{ShmemConf, ShmemError};

use super::contract::While;
use super::place::{Access, PAGE, SHARED_MEMORY, give_to_client, probe_shared_memory, reserve};
use super::sys::Region;
use super::{
    Capabilities, ConnectError, Delivery, Endpoint, Explanation, Group, Info, Mechanism, Reach, Rounds,
    ServeError, Served, Settings, Supervisor, Watch, memory,
};
use crate::protocol::{Unavailable, Wait};

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
    reach: Reach::Anyone,
    waits: &[Wait::Adaptive, Wait::Spin, Wait::Block],
    options: &[],
};

const RESERVING: &str = "reserving memory for the segment in /dev/shm";

/// POSIX shared memory.
pub(super) struct SharedMemory;

impl Mechanism for SharedMemory {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::ANY_SIZE
    }

    fn probe(&self) -> Result<(), Unavailable> {
        if let Some(file) = probe_shared_memory()? {
            reserve(&file, PAGE).while_doing(RESERVING)?;
        }
        Ok(())
    }

    fn respond(&self, settings: &Settings, supervisor: &mut Supervisor) -> Result<Served, ServeError> {
        let len = memory::len(settings);
        let name = Name(format!("/{}", settings.name));
        let mut segment = ShmemConf::new()
            .os_id(&name.0)
            .size(len)
            .create()
            .map_err(system_error)
            .while_doing("making a shared memory segment")?;
        // Its name goes with `name`, earlier than the segment.
        segment.set_owner(false);
        reserve_segment(&name.0, len).while_doing(RESERVING)?;
        let access = give_to_client(&Path::new(SHARED_MEMORY).join(&settings.name), settings.client)
            .while_doing("opening the segment to the client")?;
        let memory = Region::of_shmem(segment);

        if access == Access::Handed {
            let handed = open(&name.0).while_doing("opening the segment for the client")?;
            supervisor.ready(&name.0, &[handed.as_fd()])?;
        } else {
            supervisor.ready(&name.0, &[])?;
        }
        memory::serve(&memory, settings, supervisor, || drop(name))
    }

    fn connect(
        &self,
        settings: &Settings,
        endpoint: Endpoint,
        watch: &mut Watch,
    ) -> Result<Box<dyn Rounds>, ConnectError> {
        if !endpoint.descriptors.is_empty() {
            return memory::connect(memory::handed(endpoint, memory::len(settings))?, settings, watch);
        }
        let segment = ShmemConf::new()
            .os_id(&endpoint.address)
            .open()
            .map_err(system_error)
            .while_doing("opening the shared memory segment")?;
        if segment.len() < memory::len(settings) {
            return Err(ConnectError::Endpoint(endpoint.address));
        }
        memory::connect(Region::of_shmem(segment), settings, watch)
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
fn reserve_segment(name: &str, len: usize) -> io::Result<()> {
    reserve(open(name)?, len)
}

fn open(name: &str) -> io::Result<OwnedFd> {
    Ok(shm::open(name, shm::OFlags::RDWR, Mode::empty())?)
}

fn system_error(error: ShmemError) -> io::Error {
    match error {
        ShmemError::UnknownOsError(code) => io::Error::from_raw_os_error(code.cast_signed()),
        ShmemError::MapCreateFailed(code) | ShmemError::MapOpenFailed(code) => {
            io::Error::from_raw_os_error(code.cast_signed())
        }
        other => io::Error::other(other),
    }
}
