//! rustix's futex, for Miri: there rustix goes through the C library, and hands it a pointer to an atomic where Miri wants
//! one to a number.

use std::ptr;
use std::sync::atomic::AtomicU32;

use rustix::io::Errno;
pub use rustix::thread::futex::Flags;
use rustix::time::Timespec;

use super::last_errno;

/// As rustix's, without an end.
pub fn wait(word: &AtomicU32, flags: Flags, seen: u32, end: Option<&Timespec>) -> Result<(), Errno> {
    assert!(flags.is_empty() && end.is_none(), "nobody asks for more");
    let none = ptr::null::<libc::timespec>();
    // SAFETY: the word is alive as long as the call lasts.
    let status = unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT, seen, none) };
    if status == 0 { Ok(()) } else { Err(last_errno()) }
}

/// As rustix's.
pub fn wake(word: &AtomicU32, flags: Flags, count: u32) -> Result<(), Errno> {
    assert!(flags.is_empty(), "nobody asks for more");
    // SAFETY: takes the word's address only.
    let woken = unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, count) };
    if woken >= 0 { Ok(()) } else { Err(last_errno()) }
}
