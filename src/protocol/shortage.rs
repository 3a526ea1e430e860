//! What the system has run out of: which limit says so, what it is, and where it is raised. And what a sandbox forbids.

use std::error::Error;
use std::fmt::{self, Display};
use std::fs;
use std::io;

use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};

/// A refusal of the system that stands for a limit which its error number alone does not tell.
#[derive(Debug, thiserror::Error)]
#[error("{limit} ({error})")]
struct Shortage {
    limit: String,
    error: io::Error,
}

/// The error of a call that met a limit, with what is to be told of it: which, what it is, and what would be right.
pub(crate) fn because(error: impl Into<io::Error>, limit: impl Display) -> io::Error {
    let error = error.into();
    io::Error::new(error.kind(), Shortage { limit: limit.to_string(), error })
}

/// Whether an error is that something has run out, by itself or by one of its causes.
#[must_use]
pub(crate) fn is_shortage(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.downcast_ref::<io::Error>().is_some_and(io_is_shortage) {
            return true;
        }
        cause = error.source();
    }
    false
}

fn io_is_shortage(error: &io::Error) -> bool {
    const SCARCE: [Errno; 8] = [
        Errno::MFILE,
        Errno::NFILE,
        Errno::NOMEM,
        Errno::NOBUFS,
        Errno::NOSPC,
        Errno::DQUOT,
        Errno::ROFS,
        Errno::FBIG,
    ];
    // One that carries another shows no source of its own but that one's.
    error.get_ref().is_some_and(|inner| inner.is::<Shortage>() || is_shortage(inner))
        || Errno::from_io_error(error).is_some_and(|errno| SCARCE.contains(&errno))
}

/// What is to be told of a limit that an error number alone stands for, in the process that has met it.
pub(super) fn hint(error: &(dyn Error + 'static)) -> Option<String> {
    let error = error.downcast_ref::<io::Error>()?;
    match Errno::from_io_error(error)? {
        Errno::MFILE => Some(descriptors()),
        Errno::NFILE => {
            let most = sysctl("fs/file-max").unwrap_or_else(|| "so many".to_owned());
            Some(format!("all processes together may have {most} files open; raise fs.file-max"))
        }
        Errno::NOMEM => Some(memory()),
        Errno::FBIG => {
            let most = getrlimit(Resource::Fsize).current?;
            Some(format!(
                "{This} may make files of {most} bytes; raise RLIMIT_FSIZE (ulimit -f, LimitFSIZE= in a unit)"
            ))
        }
        _ => None,
    }
}

/// How many descriptors this process may have.
fn descriptors() -> String {
    let most = shown(getrlimit(Resource::Nofile).current);
    format!("{This} may have {most} descriptors; raise RLIMIT_NOFILE (ulimit -n, LimitNOFILE= in a unit)")
}

/// How much memory this process may have.
#[must_use]
pub(crate) fn memory() -> String {
    match getrlimit(Resource::As).current {
        Some(most) => {
            format!("{This} may have {most} bytes of memory; raise RLIMIT_AS (ulimit -v, LimitAS= in a unit)")
        }
        None => format!(
            "{This} is given no more memory; free some, or raise what its cgroup may have (MemoryMax= in a unit)"
        ),
    }
}

/// The error of a process or thread that could not be started.
pub(crate) fn no_process(error: impl Into<io::Error>) -> io::Error {
    let error = error.into();
    if Errno::from_io_error(&error) != Some(Errno::AGAIN) {
        return error;
    }
    let most = shown(getrlimit(Resource::Nproc).current);
    let uid = rustix::process::getuid().as_raw();
    because(
        error,
        format_args!(
            "user {uid} may have {most} processes and threads, and this host or this cgroup perhaps fewer; raise \
             RLIMIT_NPROC (ulimit -u, LimitNPROC= in a unit), TasksMax= or kernel.pid_max"
        ),
    )
}

/// The error of a timer or a queued signal that the kernel has no room for, or a sandbox forbids.
pub(crate) fn no_signal(error: impl Into<io::Error>) -> io::Error {
    let error = error.into();
    if Errno::from_io_error(&error) != Some(Errno::AGAIN) {
        return forbidden(error);
    }
    let most = shown(getrlimit(Resource::Sigpending).current);
    let uid = rustix::process::getuid().as_raw();
    because(
        error,
        format_args!(
            "user {uid} may have {most} timers and queued signals; raise RLIMIT_SIGPENDING (ulimit -i, \
             LimitSIGPENDING= in a unit)"
        ),
    )
}

/// What a system call is told not to be permitted by that asks for no permission.
pub(crate) const FORBIDDEN: &str = "a sandbox forbids it (seccomp)";

/// What may be behind a system call that the kernel does not know, beside the kernel.
pub(crate) const HIDDEN: &str = "or a sandbox hides it (seccomp)";

/// The error of a system call that asks for no permission, and that kernels have.
pub(crate) fn forbidden(error: impl Into<io::Error>) -> io::Error {
    let error = error.into();
    match Errno::from_io_error(&error) {
        Some(Errno::PERM) => because(error, FORBIDDEN),
        Some(Errno::NOSYS) => because(error, format_args!("this kernel was built without it, {HIDDEN}")),
        _ => error,
    }
}

/// A setting of the kernel, as `/proc/sys` has it.
#[must_use]
pub(crate) fn sysctl(name: &str) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/sys/{name}")).ok()?;
    Some(text.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// A limit of this process, as it is told.
#[must_use]
pub(crate) fn limit(resource: Resource) -> String {
    shown(getrlimit(resource).current)
}

fn shown(limit: Option<u64>) -> String {
    limit.map_or_else(|| "any number of".to_owned(), |limit| limit.to_string())
}

/// This process, as it is told: a limit may be another process's than the one that tells of it.
struct This;

impl Display for This {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {}", std::process::id())?;
        match rustix::thread::name() {
            Ok(name) => write!(f, " ({})", name.to_string_lossy()),
            Err(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::chain;

    fn system(errno: Errno) -> io::Error {
        errno.into()
    }

    #[test]
    fn a_limit_is_told_with_its_value_and_where_it_is_raised() {
        let limit = getrlimit(Resource::Nofile).current.unwrap();
        let told = chain(&system(Errno::MFILE));
        let own = format!("process {} (", std::process::id());
        for part in ["(os error 24): ", &own, &format!(") may have {limit} descriptors"), "LimitNOFILE="] {
            assert!(told.contains(part), "no \"{part}\" in {told}");
        }
        assert_eq!(chain(&system(Errno::PERM)), "Operation not permitted (os error 1)");
    }

    #[test]
    fn a_cause_is_found_below_other_errors() {
        let inner = io::Error::other(because(Errno::AGAIN, "7 are allowed"));
        assert!(is_shortage(&inner));
        assert_eq!(inner.to_string(), "7 are allowed (Resource temporarily unavailable (os error 11))");
        assert!(is_shortage(&io::Error::other(crate::protocol::link::LinkError::Io(system(Errno::MFILE)))));
        assert!(!is_shortage(&system(Errno::AGAIN)));
        assert!(!is_shortage(&io::Error::other("out of luck")));
    }
}
