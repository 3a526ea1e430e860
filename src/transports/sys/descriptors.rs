//! File descriptors: how many this process may have, and those that it was started with.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::fcntl_dupfd_cloexec;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Allows this process so many descriptors beside the few that any has, as far as the hard limit goes. The soft limit is
/// low for the sake of programs that use `select`, of which this is none.
pub fn allow_descriptors(count: u64) {
    let wanted = count.saturating_add(64);
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_some_and(|current| current < wanted) {
        let current = Some(maximum.map_or(wanted, |maximum| maximum.min(wanted)));
        // Where it fails, the descriptor that is missing is told of.
        let _ = setrlimit(Resource::Nofile, Rlimit { current, maximum });
    }
}

/// Whether this process can have so many descriptors more: it takes them, and gives them back.
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

/// The descriptors that the service manager has handed to this process (`LISTEN_FDS`) with their names, the first time;
/// then none. To be called before this process opens any.
///
/// # Errors
/// The variables make no sense, or name descriptors that are not open.
pub(crate) fn inherited_listeners() -> io::Result<Vec<(OwnedFd, String)>> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    let numbers = sd_notify::listen_fds_with_names()?;
    if TAKEN.swap(true, Ordering::SeqCst) {
        return Ok(Vec::new());
    }
    // SAFETY: they are open, as `listen_fds` has just seen. This process was started with them, since it has opened none
    // yet; `LISTEN_PID` says that they are for it to own; and only the first call takes them.
    Ok(numbers.map(|(number, name)| (unsafe { OwnedFd::from_raw_fd(number) }, name)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_found_where_there_are_some() {
        for count in [0, 1, 8] {
            find_descriptors(count).unwrap();
        }
        let most = getrlimit(Resource::Nofile).current.and_then(|most| usize::try_from(most).ok()).unwrap();
        assert_eq!(find_descriptors(most).unwrap_err().raw_os_error(), Some(24));
    }

    #[test]
    fn a_limit_is_raised_and_never_lowered() {
        let before = getrlimit(Resource::Nofile);
        allow_descriptors(0);
        assert_eq!(getrlimit(Resource::Nofile).current, before.current);
        allow_descriptors(u64::MAX);
        assert_eq!(getrlimit(Resource::Nofile).current, before.current.and(before.maximum));
    }
}
