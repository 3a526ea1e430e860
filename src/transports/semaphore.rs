//! `semaphore`: two POSIX semaphores beside a piece of shared memory.

mod end;

use std::os::fd::AsFd;

use self::end::{End, len};
use super::contract::While;
use super::messages::{self, MessageClient};
use super::{
    Capabilities, ConnectError, Delivery, Endpoint, Explanation, Group, Info, Mechanism, Reach, Rounds,
    ServeError, Served, Settings, Supervisor, Watch, sealed,
};
use crate::protocol::{Unavailable, Wait};

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
        Ok(sealed::probe()?)
    }

    fn respond(&self, settings: &Settings, supervisor: &mut Supervisor) -> Result<Served, ServeError> {
        let mut end = {
            let (memory, file) = sealed::make(&settings.name, len(settings.size))?;
            let end = End::of_responder(memory, settings.size);
            end.make().while_doing("making a semaphore")?;
            supervisor.ready(sealed::ADDRESS, &[file.as_fd()])?;
            end
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
        let memory = sealed::open(endpoint, len(settings.size))?;
        let end = End::of_client(memory, settings.size);
        Ok(Box::new(MessageClient::prove(end, settings, watch)?))
    }
}
