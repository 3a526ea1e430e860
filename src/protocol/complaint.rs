//! How an error is told to a person: once, with its causes, and with what can be done.

use std::error::Error;
use std::fmt;
use std::io::Write;

use super::{printable, shortage};

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
    say(format_args!("{program}: {}", chain(error)));
    if let Some(advice) = advice {
        say(format_args!("{program}: {advice}"));
    }
}

/// Tells a line on stderr, in one piece: other processes write there too. Nothing in it drives a terminal. Where nobody can be told (a full file system, a
/// reader that is gone), the exit code has to tell.
pub fn say(line: fmt::Arguments<'_>) {
    let _ =
        std::io::stderr().write_all(format!("{}\n", printable(&line.to_string(), &['\n', '\t'])).as_bytes());
}
