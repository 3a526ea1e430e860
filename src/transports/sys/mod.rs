//! The operating system calls that have no safe wrapper elsewhere. All unsafe code of the crate stands here.
#![allow(unsafe_code, reason = "each block stands behind a safe interface and says why it is sound")]

#[cfg(feature = "_tokio")]
mod alarm;
pub(crate) mod clock;
mod descriptors;
mod file_size;
#[cfg(miri)]
pub mod futex;
mod mapping;
pub(crate) mod mq;
mod peer;
pub mod process_vm;
mod region;
mod ring;
mod semaphore;
pub(crate) mod signal;
pub(crate) mod sysv;
mod tick;
mod truncation;
mod usage;
mod vsock;

#[cfg(feature = "_tokio")]
pub(crate) use alarm::Alarm;
pub use descriptors::allow_descriptors;
pub(crate) use descriptors::{find_descriptors, inherited_listeners};
pub(crate) use file_size::survive_file_size_limit;
pub(crate) use mapping::find_room;
pub(crate) use peer::{peer, peer_groups};
pub use region::Region;
pub(crate) use ring::{Ring, RingOptions};
pub use semaphore::Semaphore;
pub(crate) use tick::{TICK, Ticker};
pub(crate) use truncation::was_truncated;
pub(crate) use usage::thread_cpu_ns;
pub use usage::usage;
pub use vsock::VsockAddress;

use rustix::io::Errno;

/// The error of the libc call that has just failed.
#[cold]
fn last_errno() -> Errno {
    // A failed libc call has always set one.
    let code = std::io::Error::last_os_error().raw_os_error();
    code.map_or(Errno::IO, Errno::from_raw_os_error)
}

/// What a libc call that tells success by 0 has come to.
#[inline(always)]
fn result(status: libc::c_int) -> Result<(), Errno> {
    if status == 0 { Ok(()) } else { Err(last_errno()) }
}
