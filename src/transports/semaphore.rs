//! `semaphore`: two POSIX semaphores beside a piece of shared memory.

use std::os::fd::AsFd;

use super::families::memory::messages::{SemaphoreEnd, semaphore_len};
use super::families::{memory, messages};
use super::prelude::*;

static INFO: Info = Info {
    name: "semaphore",
    group: Group::Memory,
    summary: "shared memory, with process-shared POSIX semaphores to wait on",
    choose: "Choose it where a portable program shares memory: the C library provides the waiting, and a semaphore \
             counts what was posted before its peer waited.",
    limits: "It wakes through the kernel as a futex does, and is made of one. It does not report the peer's death, \
             not even while the peer holds it.",
    round: "A copy into shared memory and sem_post on one side, sem_wait and a copy on the other; sem_post makes a \
            system call only if the peer sleeps, sem_wait only if it has to.",
    delivery: Delivery::Memory,
    exposure: Exposure::Unreachable("only its client gets its descriptor, which is sealed"),
    ..Info::DEFAULT
};

/// Semaphores around shared memory.
pub(super) struct PosixSemaphore;

impl Mechanism for PosixSemaphore {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn probe(&self) -> Result<(), Unavailable> {
        Ok(memory::probe_sealed()?)
    }

    fn respond(&self, settings: &Settings, supervisor: &mut Supervisor) -> Result<(), ServeError> {
        let mut end = {
            let (memory, file) = memory::make_sealed(&settings.name, semaphore_len(settings.size))?;
            let end = SemaphoreEnd::of_responder(memory, settings.size);
            end.make().while_doing("making a semaphore")?;
            supervisor.ready(memory::ADDRESS, &[file.as_fd()])?;
            end
        };
        messages::serve(&mut end, settings, supervisor)
    }

    fn connect(&self, settings: &Settings, endpoint: Endpoint, watch: &mut Watch) -> Connected {
        let memory = memory::open_sealed(endpoint, semaphore_len(settings.size))?;
        messages::connect(SemaphoreEnd::of_client(memory, settings.size), settings, watch)
    }
}
