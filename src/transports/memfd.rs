//! `memfd`: shared memory without a name, sealed and handed over by its descriptor.

use std::os::fd::AsFd;

use super::{
    Capabilities, ConnectError, Delivery, Endpoint, Explanation, Group, Info, Mechanism, Reach, Rounds,
    ServeError, Served, Settings, Supervisor, Watch, memory, sealed,
};
use crate::protocol::{Unavailable, Wait};

static INFO: Info = Info {
    name: "memfd",
    aliases: &[],
    group: Group::Memory,
    summary: "a sealed memfd, handed over by SCM_RIGHTS; futexes to sleep on",
    explanation: Explanation {
        choose: "Choose it for shared memory between processes that have a unix socket between them and do not trust \
                 each other: there is no name to guess or to clean up, whoever dies, users do not matter, and its \
                 seals keep either side from truncating it.",
        limits: "Linux only. It takes a unix socket to hand it over. What a side writes the other must still not \
                 trust: seals guard the size, not the bytes.",
        round: "As with shmem: a copy and a store on one side, loads until the word changes and a copy on the other; \
                the memory is the same, and so is its speed.",
    },
    delivery: Delivery::Memory,
    reach: Reach::Anyone,
    waits: &[Wait::Adaptive, Wait::Spin, Wait::Block],
    options: &[],
};

/// A sealed memfd.
pub(super) struct SealedMemory;

impl Mechanism for SealedMemory {
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
        respond(settings, supervisor)
    }

    fn connect(
        &self,
        settings: &Settings,
        endpoint: Endpoint,
        watch: &mut Watch,
    ) -> Result<Box<dyn Rounds>, ConnectError> {
        connect(settings, endpoint, watch)
    }
}

/// The responder's side, whatever the ways to wait are.
pub(super) fn respond(settings: &Settings, supervisor: &mut Supervisor) -> Result<Served, ServeError> {
    let memory = {
        let (memory, file) = sealed::make(&settings.name, memory::len(settings))?;
        supervisor.ready(sealed::ADDRESS, &[file.as_fd()])?;
        memory
    };
    memory::serve(&memory, settings, supervisor, || ())
}

/// The client's side, whatever the ways to wait are.
pub(super) fn connect(
    settings: &Settings,
    endpoint: Endpoint,
    watch: &mut Watch,
) -> Result<Box<dyn Rounds>, ConnectError> {
    memory::connect(sealed::open(endpoint, memory::len(settings))?, settings, watch)
}
