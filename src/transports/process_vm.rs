//! `process-vm`: each side reads the other's buffer out of its memory; a word in a shared page says when.

mod end;

use std::fs;
use std::os::fd::AsFd;

use rustix::io::Errno;

use self::end::{End, PAGE};
use super::contract::While;
use super::messages::{self, MessageClient};
use super::process::{self, Responder};
use super::sys::process_vm;
use super::{
    Capabilities, ConnectError, Delivery, Endpoint, Explanation, Group, Info, Mechanism, Reach, Rounds,
    ServeError, Served, Settings, Supervisor, Watch, sealed,
};
use crate::protocol::{Unavailable, Wait};
use crate::shortage::{HIDDEN, explain_sandbox};

static INFO: Info = Info {
    name: "process-vm",
    aliases: &[],
    group: Group::Memory,
    summary: "process_vm_readv: each side reads the other's buffer, a futex says when",
    explanation: Explanation {
        choose: "Choose it for large messages between processes that trust each other: the kernel copies straight from \
                 one to the other, and nothing has to be shared or set up but a page to wake each other by.",
        limits: "It takes what a debugger takes: the same user, and with kernel.yama.ptrace_scope 1 that each side has \
                 let the other in (PR_SET_PTRACER); with 2, root; with 3, nobody until the host \
                 is started anew. A system call for each message makes it slower \
                 than shared memory where messages are small.",
        round: "On each side a store, and one futex call that wakes the other side if it sleeps; a futex call to sleep \
                until its answer is there (to block), or loads until it is (to spin); then one process_vm_readv. One copy \
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
            Err(Errno::NOSYS) => Err(Unavailable(format!(
                "this kernel was built without process_vm_readv (CONFIG_CROSS_MEMORY_ATTACH), {HIDDEN}"
            ))),
            error => Ok(error.map_err(explain_sandbox).while_doing("reading memory by process_vm_readv")?),
        }
    }

    fn respond(&self, settings: &Settings, supervisor: &mut Supervisor) -> Result<Served, ServeError> {
        let pid = process::client(settings)?;
        process_vm::let_in(pid);
        let mut end = {
            let (page, file) = sealed::make(&settings.name, PAGE)?;
            supervisor.ready(&process::endpoint(pid), &[file.as_fd()])?;
            End::of_responder(page, pid)
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
        let end = End::of_client(page, pid);
        Ok(Box::new(MessageClient::prove(end, settings, watch)?))
    }
}
