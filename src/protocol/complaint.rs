//! How an error is told to a person: once, with its causes, and with what can be done.

use std::error::Error;
use std::io::Write;

use super::shortage;

/// An error and its causes, in one line; at its end the limit of this process or host that it stands for, if it does.
#[must_use]
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut limit = shortage::hint(error);
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        limit = limit.or_else(|| shortage::hint(error));
        cause = error.source();
    }
    if let Some(limit) = limit {
        text.push_str(": ");
        text.push_str(&limit);
    }
    text
}

/// Tells on stderr, in one paragraph, why `program` failed and what the user can do.
pub fn complain(program: &str, error: &(dyn Error + 'static), advice: Option<&str>) {
    let mut told = format!("{program}: {}\n", chain(error));
    if let Some(advice) = advice {
        told.push_str(&format!("{program}: {advice}\n"));
    }
    // Where nobody can be told, the exit code tells.
    let _ = std::io::stderr().write_all(told.as_bytes());
}
