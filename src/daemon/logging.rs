//! The log: on stderr, for a person with time and level, for the journal with the priority that it understands. A
//! message is one line, whatever a peer has put into it.

use std::io::Write as _;
use std::sync::{OnceLock, PoisonError, RwLock};
use std::time::SystemTime;

use env_logger::{Builder, Logger};
use log::{Level, Log, Metadata, Record};

use crate::diagnostics::{journal_line, print_message, printable, stderr_is_journal};

static LOG: OnceLock<Filtered> = OnceLock::new();

/// A log whose filter can be changed.
struct Filtered {
    logger: RwLock<Logger>,
}

/// Begins the log, with a filter that is well-formed.
pub(super) fn init(filter: &str) {
    let log = LOG.get_or_init(|| Filtered { logger: RwLock::new(logger(filter)) });
    // A program that uses this crate may have a log of its own.
    if log::set_logger(log).is_ok() {
        set_filter(filter);
    }
}

/// From now on, what passes this filter.
pub(super) fn set_filter(filter: &str) {
    let Some(log) = LOG.get() else { return };
    let logger = logger(filter);
    log::set_max_level(logger.filter());
    *log.logger.write().unwrap_or_else(PoisonError::into_inner) = logger;
}

/// Tells what whoever has started the program by hand is to see in any case. In the journal it is a line like others, which
/// the filter may hold back.
pub(super) fn announce(level: Level, text: &str) {
    let metadata = Metadata::builder().level(level).target(module_path!()).build();
    if !stderr_is_journal() || LOG.get().is_none_or(|log| log.enabled(&metadata)) {
        print_message("ipcd", level, text);
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

fn logger(filter: &str) -> Logger {
    let mut builder = Builder::new();
    builder.parse_filters(filter);
    builder.format(move |out, record| {
        let text = record.args().to_string();
        if stderr_is_journal() {
            return writeln!(out, "{}", journal_line(record.level(), &text));
        }
        let text = printable(&text, &[]);
        let style = out.default_level_style(record.level());
        let time = humantime::format_rfc3339_seconds(SystemTime::now());
        let (level, target) = (record.level(), record.target());
        writeln!(out, "[{time} {style}{level:<5}{style:#} {target}] {text}")
    });
    builder.build()
}
