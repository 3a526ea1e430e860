//! Values, as the command line and the configuration say them. Every error says what would be right.

use std::path::PathBuf;
use std::time::Duration;

use log::LevelFilter;

use super::Placement;
use crate::protocol::{MAX_PATH_LEN, Wait};
use crate::transports::sys::clock::{ClockChoice, UnknownClock};
use crate::units::{MAX_ROUNDS, parse_count, parse_duration, parse_in_range};

/// What is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Timing {
    /// Each round.
    Round,
    /// So many rounds as a whole.
    Batch(u32),
    /// Each round; and where rounds are fast, as many again as a whole, which tells the mean without the clock's cost.
    Auto,
}

/// What a report's list of placements may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PlacementArg {
    /// Unpinned and every other that this host has.
    All,
    /// This one.
    One(Placement),
}

/// How a trial's warm-up is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WarmupArg {
    Rounds(u64),
    Time(Duration),
}

pub(crate) fn warmup(text: &str) -> Result<WarmupArg, String> {
    match parse_count(text) {
        Ok(n) if n <= MAX_ROUNDS => return Ok(WarmupArg::Rounds(n)),
        Ok(_) => return Err(format!("a number of rounds up to {MAX_ROUNDS} (1000G) is needed")),
        Err(_) => {}
    }
    parse_duration(text)
        .map(WarmupArg::Time)
        .map_err(|_| "a number of rounds or a time with its unit is needed, such as 1000 or 50ms".to_owned())
}

pub(crate) fn timing(text: &str) -> Result<Timing, String> {
    let wrong =
        || "it may be round, auto, or batch:K with K from 2 to 1000000, such as batch:1000".to_owned();
    match text {
        "round" => Ok(Timing::Round),
        "auto" => Ok(Timing::Auto),
        _ => match text.strip_prefix("batch:").ok_or_else(wrong)?.parse() {
            Ok(rounds @ 2..=1_000_000) => Ok(Timing::Batch(rounds)),
            _ => Err(wrong()),
        },
    }
}

pub(crate) fn wait(text: &str) -> Result<Wait, String> {
    text.parse()
}

pub(crate) fn placement(text: &str) -> Result<PlacementArg, String> {
    match text {
        "all" => Ok(PlacementArg::All),
        text => text.parse().map(PlacementArg::One).map_err(|error| format!("{error}, or all")),
    }
}

/// How many of something a daemon allows.
pub(crate) fn limit(text: &str) -> Result<u64, String> {
    parse_in_range(1, 100_000)(text).map(u64::from)
}

/// Clients that measure at a time.
pub(crate) fn measurements(text: &str) -> Result<usize, String> {
    limit(text).map(|n| usize::try_from(n).unwrap_or(usize::MAX))
}

/// Permissions of the control socket.
pub(crate) fn mode(text: &str) -> Result<u32, String> {
    let octal = (3..=4).contains(&text.len()) && text.chars().all(|c| c.is_digit(8));
    match u32::from_str_radix(text, 8) {
        Ok(mode) if octal && mode <= 0o777 => Ok(mode),
        _ => Err("an octal mode from 0000 to 0777 is needed, such as \"0660\"".to_owned()),
    }
}

/// The clock.
pub(crate) fn clock(text: &str) -> Result<ClockChoice, String> {
    text.parse().map_err(|error: UnknownClock| error.to_string())
}

/// One of these words.
pub(crate) fn one_of(words: &[&str], text: &str) -> Result<(), String> {
    if words.contains(&text) { Ok(()) } else { Err(format!("it may be {}", words.join(", "))) }
}

/// A grade, the best A.
pub(crate) fn grade(text: &str) -> Result<(), String> {
    one_of(&["A", "B", "C", "D", "E", "F"], &text.to_ascii_uppercase())
}

/// A file's path.
pub(crate) fn file(text: &str) -> Result<(), String> {
    if text.is_empty() { Err("a file's path is needed".to_owned()) } else { Ok(()) }
}

/// The name of a group, or its number.
pub(crate) fn group(text: &str) -> Result<String, String> {
    match text {
        "" => Err("the name of a group is needed, or its number".to_owned()),
        name => Ok(name.to_owned()),
    }
}

/// What goes into the log. A bare word is a level or a module of this program: any other is a slip.
pub(crate) fn filter(text: &str) -> Result<String, String> {
    let directives = text.split('/').next().unwrap_or_default();
    let known = |word: &str| {
        word.contains('=') || word.parse::<LevelFilter>().is_ok() || word.split("::").next() == Some("ipcd")
    };
    if directives.split(',').map(str::trim).all(known) { any_filter(text) } else { Err(no_filter()) }
}

/// What goes into the log by a variable that is every program's.
pub(crate) fn any_filter(text: &str) -> Result<String, String> {
    env_filter::Builder::new().try_parse(text).map(|_| text.to_owned()).map_err(|_| no_filter())
}

fn no_filter() -> String {
    "a level (off, error, warn, info, debug, trace) is needed, or several as in \"warn,ipcd=debug\""
        .to_owned()
}

/// The path of a socket in a file, which no current folder changes the meaning of.
pub(crate) fn absolute(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    if path.is_absolute() { Ok(path) } else { Err("an absolute path is needed".to_owned()) }
}

/// The path of a socket in a file.
pub(crate) fn socket(text: &str) -> Result<PathBuf, String> {
    match text.len() {
        0..=MAX_PATH_LEN => absolute(text),
        len => Err(format!("it has {len} bytes, and a socket's path {MAX_PATH_LEN} at most")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters() {
        for text in ["info", "WARN", "off", "warn,ipcd=debug", "ipcd", "debug,zbus=off/client"] {
            assert_eq!(filter(text), Ok(text.to_owned()));
        }
        for text in ["", "loud", "info,", "a=b", "a=b=c"] {
            assert!(filter(text).is_err(), "{text}");
        }
        // As other programs have it.
        assert!(any_filter("hyper").is_ok() && any_filter("a=b=c").is_err());
    }

    #[test]
    fn modes_and_limits() {
        assert_eq!((mode("0660"), mode("600")), (Ok(0o660), Ok(0o600)));
        for text in ["", "66", "00660", "0888", "1777", "+660", "rw-"] {
            assert!(mode(text).is_err(), "{text}");
        }
        assert_eq!(limit("100000"), Ok(100_000));
        for text in ["0", "100001", "-1", "1.5", ""] {
            assert!(limit(text).is_err(), "{text}");
        }
    }

    #[test]
    fn timings() {
        assert_eq!(timing("batch:100"), Ok(Timing::Batch(100)));
        for text in ["batch", "batch:", "batch:0", "batch:1", "each"] {
            assert!(timing(text).is_err(), "{text}");
        }
    }
}
