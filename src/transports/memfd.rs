//! `memfd` and `futex`: shared memory without a name, sealed and handed over by its descriptor.

use std::os::fd::AsFd;

use super::families::memory;
use super::prelude::*;

static MEMFD_INFO: Info = Info {
    name: "memfd",
    group: Group::Memory,
    summary: "a sealed memfd, handed over by SCM_RIGHTS; futexes to sleep on",
    choose: "Choose it for shared memory between processes that have a unix socket between them and do not trust \
             each other: there is no name to guess or to clean up, whichever side dies, users do not matter, and its \
             seals keep either side from truncating it.",
    limits: "Linux only. It takes a unix socket to hand it over. A side must still distrust what the other writes: \
             seals guard the size, not the bytes.",
    round: "As with shmem: a copy and a store on one side, loads until the word changes and a copy on the other; \
            the memory is the same, and so is its speed.",
    delivery: Delivery::Memory,
    waits: &[Wait::Adaptive, Wait::Spin, Wait::Block],
    exposure: Exposure::Memory,
    ..Info::DEFAULT
};

static FUTEX_INFO: Info = Info {
    name: "futex",
    summary: "shared memory (a sealed memfd) with futex waits only, no spinning",
    choose: "Choose it to see what sleeping and waking alone cost, with next to nothing around them: no \
             mechanism that sleeps in the kernel can be faster. Of the others, shmem and memfd with --wait block \
             are the same.",
    limits: "Each message costs a wake-up through the scheduler, which depends on the CPUs' idle states more than on \
             anything else. A futex does not report the peer's death.",
    round: "A copy, a store and one futex wake on one side, one futex wait and a copy on the other.",
    waits: &[Wait::Block],
    ..MEMFD_INFO
};

/// A sealed memfd, with every wait strategy.
pub(super) static MEMFD: Memfd = Memfd(&MEMFD_INFO);

/// The same with futexes alone.
pub(super) static FUTEX: Memfd = Memfd(&FUTEX_INFO);

/// A sealed memfd.
pub(super) struct Memfd(&'static Info);

impl Mechanism for Memfd {
    fn info(&self) -> &'static Info {
        self.0
    }

    fn probe(&self) -> Result<(), Unavailable> {
        Ok(memory::probe_sealed()?)
    }

    fn respond(&self, settings: &Settings, supervisor: &mut Supervisor) -> Result<(), ServeError> {
        let memory = {
            let (memory, file) = memory::make_sealed(&settings.name, memory::len(settings))?;
            supervisor.ready(memory::ADDRESS, &[file.as_fd()])?;
            memory
        };
        memory::serve(&memory, settings, supervisor)
    }

    fn connect(&self, settings: &Settings, endpoint: Endpoint, watch: &mut Watch) -> Connected {
        memory::connect(memory::open_sealed(endpoint, memory::len(settings))?, settings, watch)
    }
}
