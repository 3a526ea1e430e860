//! How an error is told to a person: once, with its causes, and with what can be done.

use std::error::Error;

/// An error and its causes, in one line.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// Tells on stderr, in one paragraph, why `program` failed and what the user can do.
pub fn complain(program: &str, error: &dyn Error, advice: Option<&str>) {
    match advice {
        Some(advice) => eprintln!("{program}: {}\n{program}: {advice}", chain(error)),
        None => eprintln!("{program}: {}", chain(error)),
    }
}
