//! `futex`: shared memory, and nothing but futexes to wait with.

use super::{
    Capabilities, ConnectError, Delivery, Endpoint, Explanation, Group, Info, Mechanism, Reach, Rounds,
    ServeError, Served, Settings, Supervisor, Watch, memfd, sealed,
};
use crate::protocol::{Unavailable, Wait};

static INFO: Info = Info {
    name: "futex",
    aliases: &[],
    group: Group::Memory,
    summary: "shared memory (a sealed memfd) with futex waits only, no spinning",
    explanation: Explanation {
        choose: "Choose it to see what sleeping and being woken costs by itself, with next to nothing around it: no \
                 mechanism that sleeps in the kernel can be faster. Of the others, shmem and memfd with --wait block \
                 are the same.",
        limits: "Each message costs a wake-up through the scheduler, which depends on the CPUs' idle states more than on \
                 anything else. A futex does not tell that the peer has died.",
        round: "A copy, a store and one futex wake on one side, one futex wait and a copy on the other.",
    },
    delivery: Delivery::Memory,
    reach: Reach::Anyone,
    waits: &[Wait::Block],
    options: &[],
};

/// Futexes alone.
pub(super) struct Futex;

impl Mechanism for Futex {
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
        memfd::respond(settings, supervisor)
    }

    fn connect(
        &self,
        settings: &Settings,
        endpoint: Endpoint,
        watch: &mut Watch,
    ) -> Result<Box<dyn Rounds>, ConnectError> {
        memfd::connect(settings, endpoint, watch)
    }
}
