//! Exhausted resources: the limit behind an error, its value, and where to raise it. And what a sandbox denies.

use std::error::Error;
use std::fmt::Display;
use std::fs;
use std::io;

use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};

/// A system error with an explanation that its number alone does not give.
#[derive(Debug, thiserror::Error)]
#[error("{explanation} ({error})")]
struct Explained {
    explanation: String,
    error: io::Error,
}

/// The error with its explanation: which limit was met, its value, and how to raise it.
pub(crate) fn explain(error: impl Into<io::Error>, explanation: impl Display) -> io::Error {
    let error = error.into();
    io::Error::new(error.kind(), Explained { explanation: explanation.to_string(), error })
}

/// Whether an error, or one of its causes, means that a resource is exhausted.
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
    const EXHAUSTED: [Errno; 8] = [
        Errno::MFILE,
        Errno::NFILE,
        Errno::NOMEM,
        Errno::NOBUFS,
        Errno::NOSPC,
        Errno::DQUOT,
        Errno::ROFS,
        Errno::FBIG,
    ];
    // The source of an error that wraps another is the other's source.
    error.get_ref().is_some_and(|inner| inner.is::<Explained>() || is_shortage(inner))
        || Errno::from_io_error(error).is_some_and(|errno| EXHAUSTED.contains(&errno))
}

/// The limit behind an error number. It describes this process, so it must be called where the error occurred.
pub(crate) fn hint(error: &(dyn Error + 'static)) -> Option<String> {
    let error = error.downcast_ref::<io::Error>()?;
    match Errno::from_io_error(error)? {
        Errno::MFILE => Some(format!(
            "{} may have {} descriptors; raise RLIMIT_NOFILE (ulimit -n, LimitNOFILE= in a unit)",
            this_process(),
            limit(Resource::Nofile)
        )),
        Errno::NFILE => {
            let most = sysctl("fs/file-max").unwrap_or_else(|| "a limited number of".to_owned());
            Some(format!("all processes together may have {most} files open; raise fs.file-max"))
        }
        Errno::NOMEM => Some(memory()),
        Errno::FBIG => {
            let most = getrlimit(Resource::Fsize).current?;
            let this = this_process();
            Some(format!(
                "{this} may make files of {most} bytes; raise RLIMIT_FSIZE (ulimit -f, LimitFSIZE= in a unit)"
            ))
        }
        _ => None,
    }
}

/// How much memory this process may have.
#[must_use]
pub(crate) fn memory() -> String {
    let this = this_process();
    match getrlimit(Resource::As).current {
        Some(most) => {
            format!("{this} may have {most} bytes of memory; raise RLIMIT_AS (ulimit -v, LimitAS= in a unit)")
        }
        None => format!(
            "{this} is given no more memory; free some, or raise the limit of its cgroup (MemoryMax= in a unit)"
        ),
    }
}

/// Explains why a process or thread could not be started.
pub(crate) fn explain_spawn(error: impl Into<io::Error>) -> io::Error {
    let error = error.into();
    if Errno::from_io_error(&error) != Some(Errno::AGAIN) {
        return error;
    }
    let most = limit(Resource::Nproc);
    let uid = rustix::process::getuid().as_raw();
    explain(
        error,
        format_args!(
            "user {uid} may have {most} processes and threads, and this host or this cgroup perhaps fewer; raise \
             RLIMIT_NPROC (ulimit -u, LimitNPROC= in a unit), TasksMax= or kernel.pid_max"
        ),
    )
}

/// Explains why the kernel refused a timer or a queued signal: a limit or a sandbox.
pub(crate) fn explain_signal(error: impl Into<io::Error>) -> io::Error {
    let error = error.into();
    if Errno::from_io_error(&error) != Some(Errno::AGAIN) {
        return explain_sandbox(error);
    }
    let most = limit(Resource::Sigpending);
    let uid = rustix::process::getuid().as_raw();
    explain(
        error,
        format_args!(
            "user {uid} may have {most} timers and queued signals; raise RLIMIT_SIGPENDING (ulimit -i, \
             LimitSIGPENDING= in a unit)"
        ),
    )
}

/// The reason for EPERM from a system call that needs no permission.
pub(crate) const FORBIDDEN: &str = "a sandbox forbids it (seccomp)";

/// A reason for ENOSYS besides the kernel.
pub(crate) const HIDDEN: &str = "or a sandbox hides it (seccomp)";

/// Explains EPERM and ENOSYS from a system call that needs no permission and that kernels usually have.
pub(crate) fn explain_sandbox(error: impl Into<io::Error>) -> io::Error {
    let error = error.into();
    match Errno::from_io_error(&error) {
        Some(Errno::PERM) => explain(error, FORBIDDEN),
        Some(Errno::NOSYS) => explain(error, format_args!("this kernel was built without it, {HIDDEN}")),
        _ => error,
    }
}

/// A kernel setting, as in `/proc/sys`.
#[must_use]
pub(crate) fn sysctl(name: &str) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/sys/{name}")).ok()?;
    Some(text.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// The value of a limit of this process.
#[must_use]
pub(crate) fn limit(resource: Resource) -> String {
    getrlimit(resource).current.map_or_else(|| "any number of".to_owned(), |limit| limit.to_string())
}

/// Names this process: the limit may belong to another process than the one that prints it.
fn this_process() -> String {
    let pid = std::process::id();
    match rustix::thread::name() {
        Ok(name) => format!("process {pid} ({})", name.to_string_lossy()),
        Err(_) => format!("process {pid}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostics::error_chain;

    fn system(errno: Errno) -> io::Error {
        errno.into()
    }

    #[test]
    fn a_limit_is_shown_with_its_value_and_how_to_raise_it() {
        let limit = getrlimit(Resource::Nofile).current.unwrap();
        let shown = error_chain(&system(Errno::MFILE));
        let own = format!("process {} (", std::process::id());
        for part in ["(os error 24): ", &own, &format!(") may have {limit} descriptors"), "LimitNOFILE="] {
            assert!(shown.contains(part), "no \"{part}\" in {shown}");
        }
        assert_eq!(error_chain(&system(Errno::PERM)), "Operation not permitted (os error 1)");
    }

    #[test]
    fn a_cause_is_found_below_other_errors() {
        let inner = io::Error::other(explain(Errno::AGAIN, "7 are allowed"));
        assert!(is_shortage(&inner));
        assert_eq!(inner.to_string(), "7 are allowed (Resource temporarily unavailable (os error 11))");
        assert!(is_shortage(&io::Error::other(crate::protocol::link::LinkError::Io(system(Errno::MFILE)))));
        assert!(!is_shortage(&system(Errno::AGAIN)));
        assert!(!is_shortage(&io::Error::other("out of luck")));
    }
}
