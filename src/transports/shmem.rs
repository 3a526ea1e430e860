//! `shmem`: a POSIX shared memory segment, made with the `shared_memory` crate.

use std::os::fd::AsFd;

use rustix::fs::Mode;
use rustix::shm;
use shared_memory::{ShmemConf, ShmemError};

use super::families::memory;
use super::place::{PAGE, probe_shared_memory, reserve};
use super::prelude::*;
use super::sys::Region;

static INFO: Info = Info {
    name: "shmem",
    aliases: &["shm"],
    group: Group::Memory,
    summary: "a POSIX shared memory segment, futexes to sleep on",
    choose: "Choose it where latency matters most: no system call is made while both sides poll.",
    limits: "Both sides must trust each other not to truncate the segment, which kills the other with SIGBUS; a sealed \
             memfd cannot be truncated. Polling keeps a CPU busy; waking a side that sleeps goes through the kernel, which \
             costs as much as a pipe does.",
    round: "A copy into the segment and a store on one side, loads until the word changes and a copy on the other; \
            with a payload of up to 48 bytes all of it is one cache line. A side that has waited too long sleeps on \
            a futex, and the other then makes one system call to wake it.",
    delivery: Delivery::Memory,
    waits: &[Wait::Adaptive, Wait::Spin, Wait::Block],
    naming: Naming::SharedMemory,
    exposure: Exposure::Memory,
    ..Info::DEFAULT
};

const RESERVING: &str = "reserving memory for the segment in /dev/shm";

/// POSIX shared memory.
pub(super) struct SharedMemory;

impl Mechanism for SharedMemory {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn probe(&self) -> Result<(), Unavailable> {
        if let Some(file) = probe_shared_memory()? {
            reserve(&file, PAGE).while_doing(RESERVING)?;
        }
        Ok(())
    }

    fn respond(&self, settings: &Settings, supervisor: &mut Supervisor) -> Result<(), ServeError> {
        let len = memory::len(settings);
        let name = Name(format!("/{}", settings.name));
        let mut segment = ShmemConf::new()
            .os_id(&name.0)
            .size(len)
            .create()
            .map_err(system_error)
            .while_doing("making a shared memory segment")?;
        // `name` removes it.
        segment.set_owner(false);
        let file = shm::open(&name.0, shm::OFlags::RDWR, Mode::empty())
            .while_doing("opening the segment for the client")?;
        drop(name);
        // A full /dev/shm is an error here instead of a SIGBUS on the first write.
        reserve(&file, len).while_doing(RESERVING)?;
        let memory = Region::of_shmem(segment);
        supervisor.ready("shared memory segment", &[file.as_fd()])?;
        drop(file);
        memory::serve(&memory, settings, supervisor)
    }

    fn connect(&self, settings: &Settings, endpoint: Endpoint, watch: &mut Watch) -> Connected {
        memory::connect(memory::open_file(endpoint, memory::len(settings))?, settings, watch)
    }
}

/// The segment's name, which is removed with this value.
struct Name(String);

impl Drop for Name {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = shm::unlink(&self.0);
    }
}

fn system_error(error: ShmemError) -> io::Error {
    match error {
        ShmemError::UnknownOsError(code)
        | ShmemError::MapCreateFailed(code)
        | ShmemError::MapOpenFailed(code) => io::Error::from_raw_os_error(code.cast_signed()),
        other => io::Error::other(other),
    }
}
