//! What this process has: raising its limits, finding out whether enough is left, and closing what it was started with.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::result;

/// Raises the soft limit on descriptors to `count` and the few that every process has, as far as the hard limit allows.
/// The soft limit is low for the sake of programs that use `select`, and this one does not.
pub fn allow_descriptors(count: u64) {
    let wanted = count.saturating_add(64);
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_some_and(|current| current < wanted) {
        let current = Some(maximum.map_or(wanted, |maximum| maximum.min(wanted)));
        // If this fails, the call that needs the missing descriptor reports it.
        let _ = setrlimit(Resource::Nofile, Rlimit { current, maximum });
    }
}

/// Whether this process can open `count` more descriptors: opens them, and closes them again.
///
/// # Errors
/// The system's.
pub(crate) fn find_descriptors(count: usize) -> io::Result<()> {
    let mut found = Vec::with_capacity(count);
    for _ in 0..count {
        found.push(match found.first() {
            None => std::fs::File::open("/dev/null")?.into(),
            Some(first) => fcntl_dupfd_cloexec(first, 0)?,
        });
    }
    drop::<Vec<OwnedFd>>(found);
    Ok(())
}

/// Whether a file, which was opened for writing here, is open for writing elsewhere too, as a descriptor or a mapping: only if
/// not, the kernel grants a lease on it. `false` where it grants none on such files.
pub(crate) fn is_open_elsewhere(file: BorrowedFd<'_>) -> bool {
    // SAFETY: the descriptor is open, and the command takes a number.
    let lease = |kind: libc::c_int| result(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, kind) });
    let granted = lease(libc::F_WRLCK);
    if granted.is_ok() {
        let _ = lease(libc::F_UNLCK);
    }
    granted == Err(Errno::AGAIN)
}

/// Whether this process can map `bytes` more (`RLIMIT_AS`). An allocation that cannot be satisfied would abort the process
/// without an explanation.
///
/// # Errors
/// The system's.
pub(crate) fn find_room(bytes: u64) -> io::Result<()> {
    let len = usize::try_from(bytes).map_err(|_| Errno::NOMEM)?;
    // SAFETY: a new mapping, at an address of the kernel's choice, known to this function only.
    unsafe {
        let base =
            mmap_anonymous(std::ptr::null_mut(), len, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE)?;
        munmap(base, len)?;
    }
    Ok(())
}

/// Makes a write beyond `RLIMIT_FSIZE` fail with `EFBIG` instead of ending this process by SIGXFSZ.
pub(crate) fn survive_file_size_limit() {
    // SAFETY: ignoring a signal runs no code; the number is valid.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}

/// Closes all descriptors but the standard ones. Call this before the process opens any.
pub(crate) fn close_inherited() {
    let (first, last, flags): (libc::c_uint, _, libc::c_uint) = (3, libc::c_uint::MAX, 0);
    // SAFETY: this process has opened none of them, so that no value owns one. Before Linux 5.9 the call does not exist, and
    // they stay open.
    unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_descriptors_are_found() {
        for count in [0, 1, 8] {
            find_descriptors(count).unwrap();
        }
        let most = getrlimit(Resource::Nofile).current.and_then(|most| usize::try_from(most).ok()).unwrap();
        assert_eq!(find_descriptors(most).unwrap_err().raw_os_error(), Some(24));
    }

    #[test]
    fn the_descriptor_limit_is_raised_and_never_lowered() {
        let before = getrlimit(Resource::Nofile);
        allow_descriptors(0);
        assert_eq!(getrlimit(Resource::Nofile).current, before.current);
        allow_descriptors(u64::MAX);
        assert_eq!(getrlimit(Resource::Nofile).current, before.current.and(before.maximum));
    }

    #[test]
    fn free_address_space_is_found() {
        find_room(1 << 20).unwrap();
        if cfg!(miri) {
            // Miri reports this size as an invalid argument.
            return;
        }
        let error = find_room(u64::MAX / 2).unwrap_err();
        assert_eq!(Errno::from_io_error(&error), Some(Errno::NOMEM));
    }
}
