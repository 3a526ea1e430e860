//! The exit codes of both programs.

use std::process::ExitCode;

/// How a program ended, as its exit code. `--help` shows this table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// All that was asked for was done.
    Success = 0,
    /// Something failed that has no code of its own.
    Failure = 1,
    /// The command line is wrong; nothing was done.
    Usage = 2,
    /// No daemon answers at the socket.
    NoDaemon = 3,
    /// What answers at the socket is no ipcd, or breaks the protocol.
    NotIpcd = 4,
    /// Daemon and client speak different protocol versions.
    Version = 5,
    /// The socket exists and this user may not use it, or the request is not allowed to this user.
    Permission = 6,
    /// Another measurement runs, and the client was told not to wait; or the daemon has as many clients as it takes.
    Busy = 7,
    /// This host or this daemon cannot do what was asked for: mechanism, size, option, limit.
    Unavailable = 8,
    /// A measurement broke off: a process died, a wait timed out, a pong was wrong.
    Broken = 9,
    /// Another daemon already holds the socket.
    AlreadyRunning = 10,
    /// The measurement was done, and its grade is worse than was asked for.
    Doubtful = 11,
    /// A check failed: something is slower than it may be.
    Regressed = 12,
    /// A check cannot tell: the figures are too uncertain for the limits that were set.
    Noisy = 13,
    /// There is nothing to compare, or nothing to show: no history, no such run, no cell in common.
    Nothing = 14,
}

impl Exit {
    /// Every code, in order.
    pub const ALL: [Self; 15] = [
        Self::Success,
        Self::Failure,
        Self::Usage,
        Self::NoDaemon,
        Self::NotIpcd,
        Self::Version,
        Self::Permission,
        Self::Busy,
        Self::Unavailable,
        Self::Broken,
        Self::AlreadyRunning,
        Self::Doubtful,
        Self::Regressed,
        Self::Noisy,
        Self::Nothing,
    ];

    /// The code.
    #[must_use]
    pub fn code(self) -> u8 {
        self as u8
    }

    /// What it means, in a line.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Success => "all that was asked for was done",
            Self::Failure => "something failed that has no code of its own",
            Self::Usage => "the command line is wrong; nothing was done",
            Self::NoDaemon => "no daemon answers at the socket",
            Self::NotIpcd => "what answers at the socket is no ipcd, or breaks the protocol",
            Self::Version => "daemon and client speak different protocol versions",
            Self::Permission => "this user may not use the socket, or may not ask for that",
            Self::Busy => "another measurement runs and --no-wait was given, or too many clients are there",
            Self::Unavailable => "the host or the daemon cannot do that (mechanism, size, option, limit)",
            Self::Broken => "a measurement broke off (a process died, a wait timed out, a pong was wrong)",
            Self::AlreadyRunning => "another daemon already holds the socket",
            Self::Doubtful => "the result's grade is below --require-grade",
            Self::Regressed => "check: something is slower than it may be",
            Self::Noisy => "check: the figures are too uncertain for the limits that were set",
            Self::Nothing => "nothing to compare or to show: no history, no such run, no cell in common",
        }
    }

    /// The table for `--help`.
    #[must_use]
    pub(crate) fn table() -> String {
        let mut text = String::from("Exit codes:\n");
        for exit in Self::ALL {
            text.push_str(&format!("  {:>2}  {}\n", exit.code(), exit.meaning()));
        }
        text
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_fixed_and_listed() {
        for (code, exit) in Exit::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(exit.code()), code);
        }
        assert_eq!(Exit::table().lines().count(), Exit::ALL.len() + 1);
    }
}
