//! `RLIMIT_FSIZE`, which ends a process by a signal unless that says otherwise.

/// From now on a file that would grow beyond `RLIMIT_FSIZE` is an error (`EFBIG`) and not this process's end by SIGXFSZ.
pub(crate) fn survive_file_size_limit() {
    // SAFETY: ignoring a signal runs no code; the number is valid.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}
