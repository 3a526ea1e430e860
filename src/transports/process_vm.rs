//! `process-vm`: each side reads the other's buffer from its memory; a word in a shared page says when.

use std::fs;
use std::os::fd::AsFd;

use super::families::memory::messages::ProcessEnd;
use super::families::{memory, messages};
use super::place::PAGE;
use super::prelude::*;
use super::sys::process_vm;
use crate::shortage::{HIDDEN, explain_sandbox};

static INFO: Info = Info {
    name: "process-vm",
    group: Group::Memory,
    summary: "process_vm_readv: each side reads the other's buffer, a futex says when",
    choose: "Choose it for large messages between processes that trust each other: the kernel copies straight from \
             one to the other, and nothing is shared or set up but a page to wake each other.",
    limits: "It needs a debugger's permissions: the same user, and with kernel.yama.ptrace_scope 1 each side must have \
             admitted the other (PR_SET_PTRACER); 2 requires root; 3 forbids it until the host restarts. \
             A system call for each message makes it slower than shared memory where messages are small.",
    round: "On each side a store, and one futex call that wakes the other side if it sleeps; a futex call to sleep \
            until its answer is there (to block), or loads until it is (to spin); then one process_vm_readv. One copy \
            each way.",
    delivery: Delivery::Memory,
    reach: Reach::SameUser,
    exposure: Exposure::Unreachable("only its client gets the page's descriptor, which is sealed"),
    ..Info::DEFAULT
};

/// Reading each other's memory.
pub(super) struct ProcessMemory;

impl Mechanism for ProcessMemory {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn probe(&self) -> Result<(), Unavailable> {
        memory::probe_sealed()?;
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
            error => {
                Ok(error.map_err(explain_sandbox).while_doing("reading memory with process_vm_readv")?)
            }
        }
    }

    fn respond(&self, settings: &Settings, supervisor: &mut Supervisor) -> Result<(), ServeError> {
        let pid = client_pid(settings)?;
        process_vm::let_in(pid);
        let mut end = {
            let (page, file) = memory::make_sealed(&settings.name, PAGE)?;
            supervisor.ready(&process_address(pid), &[file.as_fd()])?;
            ProcessEnd::of_responder(page, pid)
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

    fn connect(&self, settings: &Settings, endpoint: Endpoint, watch: &mut Watch) -> Connected {
        let Responder { pid, supervisor } = Responder::of(&endpoint)?;
        // A process admits one other and its children: all responders of this daemon.
        process_vm::let_in(supervisor);
        process_vm::may_read(pid).while_doing("reading the responder's memory as a debugger does")?;
        let page = memory::open_sealed(endpoint, PAGE)?;
        messages::connect(ProcessEnd::of_client(page, pid), settings, watch)
    }
}

/// The client's process id, as the responder sees it.
pub(super) fn client_pid(settings: &Settings) -> Result<i32, ServeError> {
    let client = settings.client;
    if client.pid == 0 {
        return Err(ServeError::Peer(
            "the client's process is in another PID namespace and invisible here".into(),
        ));
    }
    Ok(client.pid.cast_signed())
}

/// The address of a responder: its process, its supervisor's, and its client's. It does not cross PID namespaces.
pub(super) fn process_address(client: i32) -> String {
    let supervisor = rustix::process::getppid().map_or(0, |pid| pid.as_raw_nonzero().get());
    format!("process {} of {supervisor} for {client}", std::process::id())
}

/// A responder that the client reaches by its process id.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Responder {
    pub(super) pid: i32,
    /// Its supervisor, whose responders all are its children.
    pub(super) supervisor: i32,
}

impl Responder {
    /// Parses a [`process_address`]. Nothing is done to a process that is neither the daemon nor its child.
    pub(super) fn of(endpoint: &Endpoint) -> Result<Self, ConnectError> {
        let unknown = || ConnectError::Endpoint(endpoint.address.clone());
        let words: Vec<_> = endpoint.address.split(' ').collect();
        let ["process", pid, "of", supervisor, "for", client] = words[..] else { return Err(unknown()) };
        let number = |word: &str| word.parse().map_err(|_| unknown());
        // The responder knows this process by another id, so its own id is another process here.
        if number(client)? != std::process::id().cast_signed() {
            return Err(ConnectError::OtherNamespace);
        }
        let responder = Self { pid: number(pid)?, supervisor: number(supervisor)? };
        let daemon = endpoint.daemon.pid.cast_signed();
        let is_its = responder.pid == daemon
            || parent(responder.pid).while_doing("reading the responder's parent from /proc")?
                == Some(daemon);
        if responder.supervisor != daemon || !is_its {
            return Err(unknown());
        }
        Ok(responder)
    }
}

/// The parent of a process, from `/proc`; `None` if the process has ended or is hidden.
fn parent(pid: i32) -> io::Result<Option<i32>> {
    let stat = match fs::read_to_string(format!("/proc/{pid}/stat")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        stat => stat?,
    };
    // The fourth field of proc(5), the second behind the command's parenthesis.
    let fields = stat.rsplit(')').next().unwrap_or_default();
    Ok(fields.split_whitespace().nth(1).and_then(|parent| parent.parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_that_of_the_daemons_child_for_its_own_client() {
        let own = std::process::id().cast_signed();
        let daemon =
            Owner { pid: process_address(own).split(' ').nth(3).unwrap().parse().unwrap(), ..Owner::this() };
        let of = |address: &str, daemon| {
            Responder::of(&Endpoint { address: address.to_owned(), descriptors: Vec::new(), daemon })
        };
        assert_eq!(of(&process_address(own), daemon).unwrap().pid, own);
        assert!(matches!(of(&process_address(own + 1), daemon), Err(ConnectError::OtherNamespace)));
        assert!(matches!(of("process x of y for z", daemon), Err(ConnectError::Endpoint(_))));
        // Another process, not its child.
        let stranger = format!("process 1 of {} for {own}", daemon.pid);
        assert!(matches!(of(&stranger, daemon), Err(ConnectError::Endpoint(_))));
        assert!(matches!(of(&process_address(own), Owner::this()), Err(ConnectError::Endpoint(_))));
    }
}
