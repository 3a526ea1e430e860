//! The log: on stderr, for a person with time and level, for the journal with the priority that it understands. A
//! message is one line, whatever a peer has put into it.

use std::env;
use std::io::Write as _;
use std::sync::{OnceLock, PoisonError, RwLock};

use env_logger::{Builder, Logger};
use log::{Level, Log, Metadata, Record};

use crate::protocol::{printable, say};

static LOG: OnceLock<Filtered> = OnceLock::new();

/// A log whose filter can be changed.
struct Filtered {
    journal: bool,
    logger: RwLock<Logger>,
}

/// Begins the log, with a filter that is well-formed.
pub(super) fn init(filter: &str) {
    let journal = is_journal();
    let log = LOG.get_or_init(|| Filtered { journal, logger: RwLock::new(logger(filter, journal)) });
    // A program that uses this crate may have a log of its own.
    if log::set_logger(log).is_ok() {
        set_filter(filter);
    }
}

/// From now on, what passes this filter.
pub(super) fn set_filter(filter: &str) {
    let Some(log) = LOG.get() else { return };
    let logger = logger(filter, log.journal);
    log::set_max_level(logger.filter());
    *log.logger.write().unwrap_or_else(PoisonError::into_inner) = logger;
}

/// Tells what no filter holds back, as the log tells it under the journal, and as a program tells it else.
pub(super) fn announce(level: Level, text: &str) {
    for line in text.lines() {
        match LOG.get().map_or_else(is_journal, |log| log.journal) {
            true => say(format_args!("<{}>{}", priority(level), printable(line, &[]))),
            false => say(format_args!("ipcd: {line}")),
        }
    }
}

impl Log for Filtered {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.logger.read().unwrap_or_else(PoisonError::into_inner).enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        self.logger.read().unwrap_or_else(PoisonError::into_inner).log(record);
    }

    fn flush(&self) {
        self.logger.read().unwrap_or_else(PoisonError::into_inner).flush();
    }
}

fn logger(filter: &str, journal: bool) -> Logger {
    let mut builder = Builder::new();
    builder.parse_filters(filter);
    builder.format(move |out, record| {
        let text = record.args().to_string();
        let text = printable(&text, &[]);
        if journal {
            return writeln!(out, "<{}>{text}", priority(record.level()));
        }
        let style = out.default_level_style(record.level());
        let (time, level, target) = (out.timestamp(), record.level(), record.target());
        writeln!(out, "[{time} {style}{level:<5}{style:#} {target}] {text}")
    });
    builder.build()
}

/// Whether stderr is the journal's: `JOURNAL_STREAM` names the device and the inode that it is connected to.
fn is_journal() -> bool {
    let stream = env::var("JOURNAL_STREAM").ok();
    let named = stream.as_deref().and_then(|stream| {
        let (device, inode) = stream.split_once(':')?;
        Some((device.parse::<u64>().ok()?, inode.parse::<u64>().ok()?))
    });
    let own = rustix::fs::fstat(rustix::stdio::stderr()).map(|stat| (stat.st_dev, stat.st_ino));
    named.is_some() && named == own.ok()
}

/// The priority of syslog(3) that a level is.
fn priority(level: Level) -> u8 {
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
