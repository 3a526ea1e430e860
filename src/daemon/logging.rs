//! The log, on stderr: with time and level for a person, with priorities for the journal. A message is one line, whatever a
//! peer has put into it, and peers cannot fill the log.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime};

use env_logger::{Builder, Logger};
use log::{Level, Log, Metadata, Record, log};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::stdio::stderr;

use crate::diagnostics::{journal_line, print_message, printable, stderr_is_journal};

static LOG: OnceLock<Reloadable> = OnceLock::new();

/// Lines that stderr did not take, until the next line that it takes reports them.
static LOST: AtomicU64 = AtomicU64::new(0);

/// The longest message. With what precedes and follows it, a line fits in what a pipe that is ready takes without blocking
/// (`PIPE_BUF`).
const LONGEST: usize = 3 << 10;

/// Whether stderr takes a line now. If not, the line is lost: a reader that does not read must not block the daemon.
fn stderr_is_ready() -> bool {
    const NOW: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };
    let is_ready = poll(&mut [PollFd::from_borrowed_fd(stderr(), PollFlags::OUT)], Some(&NOW)) == Ok(1);
    if !is_ready {
        LOST.fetch_add(1, Ordering::Relaxed);
    }
    is_ready
}

/// A log whose filter can be changed.
struct Reloadable {
    logger: RwLock<Logger>,
}

/// Starts the log with a valid filter.
pub(super) fn init(filter: &str) {
    let log = LOG.get_or_init(|| Reloadable { logger: RwLock::new(logger(filter)) });
    // A program that uses this crate may have a log already.
    if log::set_logger(log).is_ok() {
        set_filter(filter);
    }
}

/// Replaces the filter.
pub(super) fn set_filter(filter: &str) {
    let Some(log) = LOG.get() else { return };
    let logger = logger(filter);
    log::set_max_level(logger.filter());
    *log.logger.write().unwrap_or_else(PoisonError::into_inner) = logger;
}

/// Prints what a person who started the program by hand always sees. In the journal it is a line like others, subject to the
/// filter.
pub(super) fn announce(level: Level, text: &str) {
    let metadata = Metadata::builder().level(level).target(module_path!()).build();
    let is_shown = !stderr_is_journal() || LOG.get().is_none_or(|log| log.enabled(&metadata));
    if is_shown && stderr_is_ready() {
        print_message("ipcd", level, text);
    }
}

impl Log for Reloadable {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.logger.read().unwrap_or_else(PoisonError::into_inner).enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        let logger = self.logger.read().unwrap_or_else(PoisonError::into_inner);
        if logger.matches(record) && stderr_is_ready() {
            logger.log(record);
        }
    }

    fn flush(&self) {}
}

fn logger(filter: &str) -> Logger {
    let mut builder = Builder::new();
    builder.parse_filters(filter);
    builder.format(move |out, record| {
        let mut text = record.args().to_string();
        if text.len() > LONGEST {
            text.truncate(text.floor_char_boundary(LONGEST));
            text.push('…');
        }
        match LOST.swap(0, Ordering::Relaxed) {
            0 => {}
            lost => text.push_str(&format!(" ({lost} lines before this one were lost: stderr was not read)")),
        }
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

/// Lines about one user in a [`WINDOW`].
const MOST_LINES: u32 = 100;

const WINDOW: Duration = Duration::from_secs(60);

/// The module that log filters name for these lines.
const TARGET: &str = "ipcd::daemon";

/// Users whose lines are counted separately. One who has more user ids (those of a user namespace) shares one count for the
/// others.
const MOST_USERS: usize = 256;

/// Limits the lines that a peer can cause, for each user separately, so that none fills the log and none suppresses another
/// user's lines. Lines that concern no user share a count.
#[derive(Debug, Default)]
pub(super) struct RateLimit {
    window_end: Option<Instant>,
    users: BTreeMap<Option<u32>, Lines>,
}

#[derive(Debug, Default)]
struct Lines {
    written: u32,
    withheld: u64,
}

impl RateLimit {
    /// Writes a line, or counts it as withheld.
    pub(super) fn write(&mut self, user: Option<u32>, level: Level, line: fmt::Arguments<'_>) {
        match self.take(user, Instant::now()) {
            Some(0) => log!(target: TARGET, level, "{line}"),
            Some(withheld) => {
                log!(target: TARGET, level, "{line} ({withheld} lines like this were withheld)")
            }
            None => {}
        }
    }

    /// Whether a line may be written; if so, how many were withheld since the last one.
    fn take(&mut self, user: Option<u32>, now: Instant) -> Option<u64> {
        if self.window_end.is_none_or(|end| end <= now) {
            self.window_end = Some(now + WINDOW);
            self.users.retain(|_, lines| {
                lines.written = 0;
                lines.withheld > 0
            });
        }
        let is_counted = self.users.len() < MOST_USERS || self.users.contains_key(&user);
        let lines = self.users.entry(user.filter(|_| is_counted)).or_default();
        if lines.written == MOST_LINES {
            lines.withheld += 1;
            return None;
        }
        lines.written += 1;
        Some(std::mem::take(&mut lines.withheld))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_and_reported_later() {
        let start = Instant::now();
        let mut limit = RateLimit::default();
        let written = (0..10_000).filter(|_| limit.take(Some(1), start).is_some()).count();
        assert_eq!(written, usize::try_from(MOST_LINES).unwrap());
        assert_eq!(limit.take(Some(1), start + WINDOW), Some(9_900), "the next line reports the others");
        let written = (0..10_000).filter(|_| limit.take(Some(1), start + WINDOW).is_some()).count();
        assert_eq!(written, usize::try_from(MOST_LINES - 1).unwrap());
    }

    #[test]
    fn no_user_uses_up_another_users_lines() {
        let start = Instant::now();
        let mut limit = RateLimit::default();
        while limit.take(Some(1), start).is_some() {}
        assert_eq!(limit.take(Some(2), start), Some(0));
        assert_eq!(limit.take(None, start), Some(0));
    }

    #[test]
    fn any_number_of_users_takes_bounded_memory() {
        let start = Instant::now();
        let mut limit = RateLimit::default();
        let written = (0..10_000).filter(|user| limit.take(Some(*user), start).is_some()).count();
        assert!(limit.users.len() <= MOST_USERS + 1, "{}", limit.users.len());
        assert!((MOST_USERS..MOST_USERS + 2 * usize::try_from(MOST_LINES).unwrap()).contains(&written));
        // Users without withheld lines make room.
        limit.users.retain(|user, _| user.is_some());
        assert_eq!(limit.take(Some(20_000), start + WINDOW), Some(0));
        assert_eq!(limit.users.len(), 1);
    }
}
