//! A responder: the process that serves one data channel.

use std::any::Any;
use std::io;
use std::os::fd::OwnedFd;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{Mode, OFlags, open};
use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::stdio::{dup2_stdin, stdin};
use rustix::thread::set_no_new_privs;

use crate::diagnostics::error_chain;
use crate::exit::Exit;
use crate::protocol::encode;
use crate::protocol::frame::frame;
use crate::protocol::link::send_part;
use crate::transports::sys::{Affinity, close_inherited, find_room};
use crate::transports::{Announcement, Assignment, Settings, Supervisor, only_cpu};

/// The score for the kernel's out-of-memory killer (proc(5)): responders are killed before processes of normal score.
const OOM_SCORE_ADJ: &str = "900";

/// The whole life of a responder.
pub(super) fn main() -> Exit {
    // For `top` and `pkill`. Fifteen bytes at most; an error is harmless.
    let _ = rustix::thread::set_name(c"ipcd-responder");
    // When the host runs out of memory, a channel should end, not the service or another process. Raising the score is always
    // permitted; otherwise the kernel chooses.
    let _ = std::fs::write("/proc/self/oom_score_adj", OOM_SCORE_ADJ);
    // A peer that makes responders crash must not fill a disk.
    forbid_core();
    // Programs it runs gain no privileges, and it keeps none of the descriptors that the daemon was started with.
    let _ = set_no_new_privs(true);
    close_inherited();
    panic::set_hook(Box::new(|info| {
        let message = info.to_string().replace('\n', " ");
        PANIC.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(message);
    }));
    let socket = match take_stdin() {
        Ok(socket) => socket,
        Err(error) => {
            let reason = format!("taking over its socket failed: {}", error_chain(&error));
            // That socket is the only way to report it.
            if let Ok(body) = encode(&Announcement::Failed { reason }) {
                let _ = send_part(stdin(), &frame(&body), &[]);
            }
            return Exit::Broken;
        }
    };
    let Ok((assignment, mut supervisor)) = Supervisor::take_assignment(socket) else {
        // The daemon has exited, or a user has typed the hidden argument.
        return Exit::Usage;
    };
    match caught(|| serve(&assignment, &mut supervisor)) {
        Ok(()) => Exit::Success,
        Err(reason) => {
            supervisor.failed(reason);
            Exit::Broken
        }
    }
}

/// The first panic of this process, with its place in the source.
static PANIC: Mutex<Option<String>> = Mutex::new(None);

/// The result of `serve`. A panic is an error, reported to the daemon like any other.
fn caught<T>(serve: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    panic::catch_unwind(AssertUnwindSafe(serve)).unwrap_or_else(|payload| {
        let noted = PANIC.lock().unwrap_or_else(PoisonError::into_inner).take();
        Err(noted.unwrap_or_else(|| format!("panicked: {}", message(&*payload))))
    })
}

/// The message of a panic.
fn message(payload: &(dyn Any + Send)) -> &str {
    let owned = || payload.downcast_ref::<String>().map(String::as_str);
    payload.downcast_ref::<&str>().copied().or_else(owned).unwrap_or("without a message")
}

fn serve(assignment: &Assignment, supervisor: &mut Supervisor) -> Result<(), String> {
    let (mechanism, settings) =
        Settings::of(&assignment.spec, assignment.grant.clone()).map_err(|refusal| refusal.to_string())?;
    if let Some(cpu) = assignment.spec.server_cpu {
        Affinity::only(cpu).apply().map_err(|error| match error {
            Errno::INVAL => format!("its cpuset does not allow CPU {cpu}"),
            error => format!("it cannot run on CPU {cpu}: {}", error_chain(&io::Error::from(error))),
        })?;
    }
    let settings = settings.on_cpus(assignment.spec.client_cpu, only_cpu());
    find_room(mechanism.holds(settings.size))
        .map_err(|error| format!("finding memory for the payloads failed: {}", error_chain(&error)))?;
    bound_memory(mechanism.holds(settings.size))
        .map_err(|error| format!("bounding its memory failed: {}", error_chain(&error)))?;
    supervisor.watch().map_err(|error| error_chain(&error))?;
    mechanism.respond(&settings, supervisor).map_err(|error| error_chain(&error))
}

/// Memory that a responder may have in addition to its payloads, for its runtime, its libraries and their threads' stacks.
const ROOM: u64 = 16 << 20;

/// Limits this process to its present memory, twice `holds` bytes (a buffer that grows exists twice for a moment), and
/// [`ROOM`]. Not every library can limit the length of a message: a peer that sends a longer one ends its responder, and does not
/// exhaust the host's memory.
///
/// Shared memory does not count, and the client cannot make it grow.
fn bound_memory(holds: u64) -> io::Result<()> {
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    // proc(5): the sixth field is the process's private memory, in pages.
    let pages = statm.split(' ').nth(5).and_then(|pages| pages.parse::<u64>().ok());
    let has = pages.ok_or_else(|| io::Error::other("/proc/self/statm has no sixth field"))?
        * u64::try_from(rustix::param::page_size()).expect("a usize fits in a u64");
    let most = has.saturating_add(holds.saturating_mul(2)).saturating_add(ROOM);
    let now = getrlimit(Resource::Data);
    let current = now.current.map_or(most, |current| current.min(most));
    Ok(setrlimit(Resource::Data, Rlimit { current: Some(current), ..now })?)
}

/// Disables core dumps of this process and its children: they would contain channel tokens. A limit of 1 also keeps the kernel
/// from piping a core to a program, which 0 does not (core(5)).
pub(super) fn forbid_core() {
    // Fails only where the limit is 0.
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(1), maximum: Some(1) });
}

/// Moves the control socket away from standard input, which mechanisms may use.
pub(super) fn take_stdin() -> io::Result<OwnedFd> {
    let socket = fcntl_dupfd_cloexec(stdin(), 3)?;
    let null = open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    dup2_stdin(&null)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_the_channels_failure() {
        let message = |serve: fn() -> Result<(), String>| caught(serve).unwrap_err();
        assert_eq!(message(|| panic!("seven")), "panicked: seven");
        assert_eq!(message(|| panic!("{}", 7)), "panicked: 7");
        assert_eq!(message(|| Err("an error".to_owned())), "an error");
        assert_eq!(caught(|| Ok(7)), Ok(7));
    }
}
