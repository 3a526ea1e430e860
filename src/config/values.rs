//! Values, as the command line and the configuration say them. Every error says what would be right.

use std::num::IntErrorKind;
use std::path::PathBuf;
use std::time::Duration;

use log::LevelFilter;

use super::Placement;
use crate::protocol::{MAX_PATH_LEN, Wait};
use crate::transports::sys::clock::{ClockChoice, UnknownClock};

/// The most rounds: at 50 ns each, half a day.
const MAX_ROUNDS: u64 = 1_000_000_000_000;

/// The longest time of any kind: a year.
const MAX_TIME: Duration = Duration::from_secs(365 * 24 * 3600);

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

pub(crate) fn rounds(text: &str) -> Result<u64, String> {
    let n = count(text)?;
    if (1..=MAX_ROUNDS).contains(&n) {
        Ok(n)
    } else {
        Err(format!("a number from 1 to {MAX_ROUNDS} (1000G) is needed"))
    }
}

/// A whole number, with `k`, `M`, `G` for thousands, millions, thousands of millions.
fn count(text: &str) -> Result<u64, String> {
    let wrong = || "a whole number is needed, such as 1000 or 10k".to_owned();
    let (digits, factor) = match text.char_indices().last().ok_or_else(wrong)? {
        (at, 'k') => (&text[..at], 1_000),
        (at, 'M') => (&text[..at], 1_000_000),
        (at, 'G') => (&text[..at], 1_000_000_000),
        _ => (text, 1),
    };
    match digits.parse::<u64>() {
        Ok(n) => Ok(n.saturating_mul(factor)),
        // A whole number all the same, and more than anything allows.
        Err(error) if *error.kind() == IntErrorKind::PosOverflow => Ok(u64::MAX),
        Err(_) => Err(wrong()),
    }
}

/// A CPU's number.
pub(crate) fn cpu(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| "the number of one CPU is needed, such as 2; \"lscpu -e\" lists them".to_owned())
}

pub(crate) fn size(text: &str) -> Result<u32, String> {
    let wrong = || "a size in bytes is needed, such as 64, 4k or 1M (k is 1024, M is 1048576)".to_owned();
    let lower = text.to_ascii_lowercase();
    let unit = lower.trim_start_matches(|c: char| c.is_ascii_digit());
    let digits = &lower[..lower.len() - unit.len()];
    let shift = match unit {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        _ => return Err(wrong()),
    };
    if digits.is_empty() {
        return Err(wrong());
    }
    let bytes = digits.parse::<u32>().ok().and_then(|n| n.checked_mul(1 << shift));
    bytes.ok_or_else(|| {
        "no method carries that much; \"ipc-client methods\" tells how much each does".to_owned()
    })
}

pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(time) if !time.is_zero() && time <= MAX_TIME => Ok(time),
        _ => Err("a time with its unit is needed, more than 0, such as 500ms, 10s or 2h".to_owned()),
    }
}

/// How long ago something was.
pub(crate) fn age(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(age) if !age.is_zero() => Ok(age),
        _ => Err("an age with its unit is needed, more than 0, such as 12h, 90d or 3months".to_owned()),
    }
}

pub(crate) fn gap(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    match duration(text) {
        Ok(gap) if gap <= Duration::from_secs(5) => Ok(gap),
        _ => Err("0 or a time with its unit is needed, at most 5s, such as 10us or 1ms".to_owned()),
    }
}

/// Intervals end between blocks of rounds, which take up to 10 ms.
pub(crate) fn interval(text: &str) -> Result<Duration, String> {
    match duration(text) {
        Ok(interval) if interval >= Duration::from_millis(50) => Ok(interval),
        _ => Err("a time with its unit is needed, at least 50ms, such as 1s".to_owned()),
    }
}

pub(crate) fn warmup(text: &str) -> Result<WarmupArg, String> {
    match count(text) {
        Ok(n) if n <= MAX_ROUNDS => return Ok(WarmupArg::Rounds(n)),
        Ok(_) => return Err(format!("a number of rounds up to {MAX_ROUNDS} (1000G) is needed")),
        Err(_) => {}
    }
    duration(text)
        .map(WarmupArg::Time)
        .map_err(|_| "a number of rounds or a time with its unit is needed, such as 1000 or 50ms".to_owned())
}

pub(crate) fn percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').unwrap_or(text).trim();
    match number.parse::<f64>() {
        Ok(percent) if percent > 0.0 && percent <= 100.0 => Ok(percent / 100.0),
        _ => Err("a percentage more than 0 and at most 100 is needed, such as 2%".to_owned()),
    }
}

/// How much slower something may be: that has no upper end.
pub(crate) fn increase(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').unwrap_or(text).trim();
    match number.parse::<f64>() {
        Ok(percent) if percent > 0.0 && percent.is_finite() => Ok(percent / 100.0),
        _ => Err("a percentage more than 0 is needed, such as 10% or 150%".to_owned()),
    }
}

/// The interval of a rate.
pub(crate) fn rate(text: &str) -> Result<Duration, String> {
    let wrong = || "a rate from 1/s to 10M/s is needed, such as 500/s or 10k/s".to_owned();
    let number = text.strip_suffix("/s").ok_or_else(wrong)?;
    let per_second = count(number).map_err(|_| wrong())?;
    if (1..=10_000_000).contains(&per_second) {
        Ok(Duration::from_secs_f64(1.0 / per_second as f64))
    } else {
        Err(wrong())
    }
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

/// A whole number from `low` to `high`.
pub(crate) fn from_to(low: u32, high: u32) -> impl Fn(&str) -> Result<u32, String> + Clone {
    move |text| match text.parse() {
        Ok(n) if (low..=high).contains(&n) => Ok(n),
        _ => Err(format!("a number from {low} to {high} is needed")),
    }
}

/// How many of something a daemon allows.
pub(crate) fn limit(text: &str) -> Result<u64, String> {
    from_to(1, 100_000)(text).map(u64::from)
}

/// Clients that measure at a time.
pub(crate) fn measurements(text: &str) -> Result<usize, String> {
    limit(text).map(|n| usize::try_from(n).unwrap_or(usize::MAX))
}

/// Bytes of memory.
pub(crate) fn memory(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let shift = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => Some(0),
        "k" | "kb" | "kib" => Some(10),
        "m" | "mb" | "mib" => Some(20),
        "g" | "gb" | "gib" => Some(30),
        _ => None,
    };
    let number = digits.parse::<u64>().ok().filter(|n| *n > 0);
    number.zip(shift).and_then(|(n, shift)| n.checked_mul(1 << shift)).ok_or_else(|| {
        "a size in bytes is needed, more than 0, such as 65536, 64M or 2G (M is 1048576)".to_owned()
    })
}

/// Bytes as [`memory`] reads them.
pub(crate) fn show_memory(bytes: u64) -> String {
    match [(30, "G"), (20, "M"), (10, "k")].into_iter().find(|(shift, _)| bytes.trailing_zeros() >= *shift) {
        Some((shift, unit)) => format!("{}{unit}", bytes >> shift),
        None => bytes.to_string(),
    }
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
    fn sizes() {
        for (text, bytes) in
            [("8", 8), ("64B", 64), ("4k", 4096), ("4KiB", 4096), ("1M", 1 << 20), ("16m", 16 << 20)]
        {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "k", "-1", "4x", "4.5k", "5000M", "4 k", "٣"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn memory_is_shown_as_it_is_read() {
        for (text, bytes) in [("1", 1), ("3k", 3 << 10), ("1536M", 1536 << 20), ("2G", 2 << 30)] {
            assert_eq!((memory(text), show_memory(bytes)), (Ok(bytes), text.to_owned()));
        }
        assert_eq!(memory("64MiB"), Ok(64 << 20));
        for wrong in ["", "0", "0G", "M", "-1", "1.5G", "1T", "99999999999G", "G1"] {
            assert!(memory(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn counts() {
        assert_eq!(rounds("10k"), Ok(10_000));
        for text in ["0", "", "-5", "1e6", "99999999999999999999", "2000000000000", "k"] {
            assert!(rounds(text).is_err(), "{text}");
        }
        for text in ["0", "99999999999999999999", "99999999999999999999k", "2000G"] {
            assert_eq!(
                rounds(text),
                Err("a number from 1 to 1000000000000 (1000G) is needed".to_owned()),
                "{text}"
            );
        }
    }

    #[test]
    fn cpus() {
        assert_eq!(cpu("3"), Ok(3));
        for text in ["0-1", "0,1", "-1", "x", "", "99999999999"] {
            assert!(cpu(text).unwrap_err().contains("such as 2"), "{text}");
        }
    }

    #[test]
    fn times() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(gap("0"), Ok(Duration::ZERO));
        assert_eq!(gap("10us"), Ok(Duration::from_micros(10)));
        for text in ["0s", "5", "abc", "-1s", "", "1000000h"] {
            assert!(duration(text).is_err(), "{text}");
        }
        assert!(gap("1h").is_err());
        assert_eq!(interval("1s"), Ok(Duration::from_secs(1)));
        assert!(interval("49ms").is_err());
    }

    #[test]
    fn rates_and_percentages() {
        assert_eq!(rate("10k/s"), Ok(Duration::from_micros(100)));
        for text in ["10k", "0/s", "1G/s", "/s", "x/s"] {
            assert!(rate(text).is_err(), "{text}");
        }
        assert_eq!(percent("2%"), Ok(0.02));
        assert_eq!((increase("10%"), increase("150%")), (Ok(0.1), Ok(1.5)));
        for text in ["0%", "-1%", "inf%", "nan", "much"] {
            assert!(increase(text).is_err(), "{text}");
        }
        for text in ["0%", "-1%", "101%", "NaN", "inf", ""] {
            assert!(percent(text).is_err(), "{text}");
        }
    }

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
