//! The system calls that have no safe wrapper elsewhere. All unsafe code of the crate is here.
#![allow(unsafe_code, reason = "each block is behind a safe interface and says why it is sound")]

mod affinity;
mod cgroup;
pub(crate) mod clock;
mod limits;
pub(crate) mod mq;
pub mod process_vm;
mod region;
mod ring;
pub(crate) mod root;
pub(crate) mod signal;
mod sockets;
pub(crate) mod sysv;
mod tick;
mod truncation;
mod usage;

pub(crate) use affinity::Affinity;
pub(crate) use cgroup::{confinement, quota_cpus, throttling};
pub use limits::allow_descriptors;
pub(crate) use limits::{
    close_inherited, find_descriptors, find_room, is_open_elsewhere, survive_file_size_limit,
};
pub use region::{Region, Semaphore};
pub(crate) use ring::{Ring, RingOptions};
pub use sockets::{VsockAddress, reveal_sender, sender};
pub(crate) use sockets::{
    inherited_listeners, may_hold_descriptors, peer, peer_groups, refuse_descriptors, unread_by_peer,
};
#[cfg(feature = "_tokio")]
pub(crate) use tick::Alarm;
pub(crate) use tick::{TICK, Ticker};
pub(crate) use truncation::was_truncated;
pub use usage::usage;
pub(crate) use usage::{process_cpu, thread_cpu_ns};

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

use rustix::io::Errno;

/// A duplicate of a descriptor that this process was given by number.
///
/// # Errors
/// It is not open.
pub(crate) fn duplicate(number: i32) -> io::Result<OwnedFd> {
    // SAFETY: the call touches no memory, and any number may be asked for.
    let duplicate = unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 3) };
    if duplicate < 0 {
        return Err(last_errno().into());
    }
    // SAFETY: the descriptor has just been made, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(duplicate) })
}

/// The error of the libc call that has just failed.
#[cold]
fn last_errno() -> Errno {
    // A failed libc call has always set one.
    let code = std::io::Error::last_os_error().raw_os_error();
    code.map_or(Errno::IO, Errno::from_raw_os_error)
}

/// The result of a libc call that returns 0 on success.
#[inline(always)]
fn result(status: libc::c_int) -> Result<(), Errno> {
    if status == 0 { Ok(()) } else { Err(last_errno()) }
}

/// rustix's futex calls, for Miri: there rustix uses the C library, and passes it a pointer to an atomic where Miri expects
/// one to an integer.
#[cfg(miri)]
pub(crate) mod futex {
    use std::ptr;
    use std::sync::atomic::AtomicU32;

    use rustix::io::Errno;
    pub(crate) use rustix::thread::futex::Flags;
    use rustix::time::Timespec;

    use super::last_errno;

    /// As rustix's, without flags and timeout.
    pub(crate) fn wait(
        word: &AtomicU32,
        flags: Flags,
        seen: u32,
        timeout: Option<&Timespec>,
    ) -> Result<(), Errno> {
        assert!(flags.is_empty() && timeout.is_none(), "no caller needs them");
        let none = ptr::null::<libc::timespec>();
        // SAFETY: the word is alive for as long as the call takes.
        let status = unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT, seen, none) };
        if status == 0 { Ok(()) } else { Err(last_errno()) }
    }

    /// As rustix's, without flags.
    pub(crate) fn wake(word: &AtomicU32, flags: Flags, count: u32) -> Result<(), Errno> {
        assert!(flags.is_empty(), "no caller needs them");
        // SAFETY: uses the word's address only.
        let woken = unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, count) };
        if woken >= 0 { Ok(()) } else { Err(last_errno()) }
    }
}
