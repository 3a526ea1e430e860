//! The exit codes of both programs.

use std::process::ExitCode;

/// The exit code of a program. `--help` lists them with their [meaning](Self::meaning).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Everything that was requested is done.
    Success = 0,
    /// Any other error.
    Failure = 1,
    /// The command line or the configuration is invalid; nothing was done.
    Usage = 2,
    /// No daemon answers at the socket.
    NoDaemon = 3,
    /// The process at the socket is not ipcd, or violates the protocol.
    NotIpcd = 4,
    /// Daemon and client speak different protocol versions.
    Version = 5,
    /// This user may not use the socket, or may not make this request.
    Permission = 6,
    /// Another measurement is running and the client does not wait (any longer), or the daemon has as many clients as it allows.
    Busy = 7,
    /// The host or the daemon does not support a mechanism, size or option, or a limit is reached.
    Unavailable = 8,
    /// A measurement was aborted: a process died, a wait timed out, a pong was wrong.
    Broken = 9,
    /// Another daemon already holds the socket.
    AlreadyRunning = 10,
    /// The grade of a measurement is below the required one.
    Doubtful = 11,
    /// A check found a regression.
    Regressed = 12,
    /// A check is inconclusive: the results are too uncertain for the limits.
    Noisy = 13,
    /// Nothing to compare or to show: no history, no matching run, no cell in common.
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

    /// This code, or the other if this one is success.
    #[must_use]
    pub(crate) fn or(self, other: Self) -> Self {
        if self == Self::Success { other } else { self }
    }

    /// What it means, in one line.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure => "any other error",
            Self::Usage => "the command line or the configuration is invalid; nothing was done",
            Self::NoDaemon => "no daemon answers at the socket",
            Self::NotIpcd => "the process at the socket is not ipcd, or violates the protocol",
            Self::Version => "daemon and client speak different protocol versions",
            Self::Permission => "this user may not use the socket, or may not make this request",
            Self::Busy => {
                "another measurement is running (--no-wait, --wait-at-most), or there are too many clients"
            }
            Self::Unavailable => "the host or the daemon cannot do this (mechanism, size, option, limit)",
            Self::Broken => "a measurement was aborted (a process died, a wait timed out, a pong was wrong)",
            Self::AlreadyRunning => "another daemon already holds the socket",
            Self::Doubtful => "the grade of the results is below --require-grade",
            Self::Regressed => "check: a regression",
            Self::Noisy => "check: inconclusive, the results are too uncertain for the limits",
            Self::Nothing => "nothing to compare or to show: no history, no matching run, no cell in common",
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
