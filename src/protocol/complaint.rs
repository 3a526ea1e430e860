//! How an error is told to a person: once, with its causes, and with what can be done; and to the journal, which is told
//! how bad it is.

use std::env;
use std::error::Error;
use std::fmt;
use std::io::Write;
use std::sync::OnceLock;

use log::Level;

use super::{Exit, printable, shortage};

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
pub(crate) fn complain(program: &str, error: &(dyn Error + 'static), advice: Option<&str>) {
    tell(program, Level::Error, &chain(error));
    if let Some(advice) = advice {
        tell(program, Level::Error, advice);
    }
}

/// Tells what the command line's reader says: help and the version, for which all is well, or why it cannot be.
#[must_use]
pub(crate) fn tell_of_usage(program: &str, said: &clap::Error) -> Exit {
    match said.use_stderr() {
        true if is_journal() => tell(program, Level::Error, &said.render().to_string()),
        // Where nobody can be told, the exit code has to tell.
        _ => drop(said.print()),
    }
    if said.use_stderr() { Exit::Usage } else { Exit::Success }
}

/// Tells a text on stderr: to the journal with its priority, line by line, to a person as `program`'s word.
pub(crate) fn tell(program: &str, level: Level, text: &str) {
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        match is_journal() {
            true => say(format_args!("<{}>{}", priority(level), printable(line, &[]))),
            false => say(format_args!("{program}: {line}")),
        }
    }
}

/// Tells a line on stderr, in one piece: other processes write there too. Nothing in it drives a terminal. Where nobody can be told (a full file system, a
/// reader that is gone), the exit code has to tell.
pub(crate) fn say(line: fmt::Arguments<'_>) {
    let _ =
        std::io::stderr().write_all(format!("{}\n", printable(&line.to_string(), &['\n', '\t'])).as_bytes());
}

/// Whether stderr is the journal's: `JOURNAL_STREAM` names the device and the inode that it is connected to. What it was at
/// the first look holds.
#[must_use]
pub(crate) fn is_journal() -> bool {
    static IS_JOURNAL: OnceLock<bool> = OnceLock::new();
    *IS_JOURNAL.get_or_init(|| {
        let stream = env::var("JOURNAL_STREAM").ok();
        let named = stream.as_deref().and_then(|stream| {
            let (device, inode) = stream.split_once(':')?;
            Some((device.parse::<u64>().ok()?, inode.parse::<u64>().ok()?))
        });
        let own = rustix::fs::fstat(rustix::stdio::stderr()).map(|stat| (stat.st_dev, stat.st_ino));
        named.is_some() && named == own.ok()
    })
}

/// The priority of syslog(3) that a level is.
#[must_use]
pub(crate) fn priority(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_priorities_that_the_journal_sorts_by() {
        let levels: Vec<_> = Level::iter().map(priority).collect();
        assert_eq!(levels, [3, 4, 6, 7, 7]);
    }
}
