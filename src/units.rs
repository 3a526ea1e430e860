//! Quantities as people write and read them: sizes, durations, rates, percentages, changes and dates. Parsed and formatted
//! in one place; a parser's error says what would be valid.

use std::num::IntErrorKind;
use std::time::{Duration, SystemTime};

/// The most rounds: at 50 ns each, half a day.
pub(crate) const MAX_ROUNDS: u64 = 1_000_000_000_000;

/// The longest duration: a year.
const MAX_DURATION: Duration = Duration::from_secs(365 * 24 * 3600);

/// Parses a number of rounds, such as `10k`.
pub(crate) fn parse_rounds(text: &str) -> Result<u64, String> {
    match parse_count(text)? {
        n @ 1..=MAX_ROUNDS => Ok(n),
        _ => Err(format!("a number from 1 to {MAX_ROUNDS} (1000G) is needed")),
    }
}

/// Parses a whole number with an optional `k`, `M` or `G` (decimal). Saturates.
pub(crate) fn parse_count(text: &str) -> Result<u64, String> {
    let wrong = || "a whole number is needed, such as 1000, 10k or 2M (M is a million)".to_owned();
    let text = text.trim();
    let (digits, factor) = match text.char_indices().last().ok_or_else(wrong)? {
        (at, 'k') => (&text[..at], 1_000),
        (at, 'M') => (&text[..at], 1_000_000),
        (at, 'G') => (&text[..at], 1_000_000_000),
        _ => (text, 1),
    };
    match digits.parse::<u64>() {
        Ok(n) => Ok(n.saturating_mul(factor)),
        Err(error) if *error.kind() == IntErrorKind::PosOverflow => Ok(u64::MAX),
        Err(_) => Err(wrong()),
    }
}

/// Parses a whole number from `low` to `high`.
pub(crate) fn parse_in_range(low: u32, high: u32) -> impl Fn(&str) -> Result<u32, String> + Clone {
    move |text| match text.parse() {
        Ok(n) if (low..=high).contains(&n) => Ok(n),
        _ => Err(format!("a number from {low} to {high} is needed")),
    }
}

/// Parses the number of one CPU.
pub(crate) fn parse_cpu(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| "the number of one CPU is needed, such as 2; \"lscpu -e\" lists them".to_owned())
}

/// Parses a payload size in bytes.
pub(crate) fn parse_size(text: &str) -> Result<u32, String> {
    let wrong = "a size in bytes is needed, such as 64, 4k or 1M (k is 1024, M is 1048576)";
    let bytes = parse_bytes(text).ok_or(wrong)?;
    u32::try_from(bytes).map_err(|_| {
        "no method carries that much; \"ipc-client methods\" lists the largest payload of each".to_owned()
    })
}

/// Parses an amount of memory in bytes, more than 0.
pub(crate) fn parse_memory(text: &str) -> Result<u64, String> {
    parse_bytes(text).filter(|bytes| *bytes > 0).ok_or_else(|| {
        "a size in bytes is needed, more than 0, such as 65536, 64M or 2G (M is 1048576)".to_owned()
    })
}

fn parse_bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let shift = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// The units of a time: their names, the usual one first, and their lengths in nanoseconds.
const TIME_UNITS: [(&[&str], u64); 8] = [
    (&["ns", "nsec"], 1),
    (&["us", "µs", "usec"], 1_000),
    (&["ms", "msec"], 1_000_000),
    (&["s", "sec", "secs", "second", "seconds"], 1_000_000_000),
    (&["m", "min", "mins", "minute", "minutes"], 60 * 1_000_000_000),
    (&["h", "hr", "hrs", "hour", "hours"], 3_600 * 1_000_000_000),
    (&["d", "day", "days"], 86_400 * 1_000_000_000),
    (&["w", "week", "weeks"], 7 * 86_400 * 1_000_000_000),
];

/// The units of an age only, in which their lengths are averages.
const CALENDAR_UNITS: [(&[&str], u64); 2] = [
    (&["month", "months"], 2_630_016 * 1_000_000_000),
    (&["y", "year", "years"], 31_557_600 * 1_000_000_000),
];

/// Parses a time: numbers with their units, such as `500ms`, `.5s` or `1h 30m`. `M` is rejected: elsewhere it means a
/// million (rounds) or 1 MiB (payload).
///
/// # Errors
/// What is wrong with it and what would be right.
fn parse_time(text: &str, is_age: bool) -> Result<Duration, String> {
    let mut units = TIME_UNITS.to_vec();
    if is_age {
        units.extend(CALENDAR_UNITS);
    }
    let (mut rest, mut total) = (text.trim(), 0_u128);
    if rest.is_empty() {
        return Err("a time with its unit is needed".to_owned());
    }
    while !rest.is_empty() {
        let (number, after) =
            rest.split_at(rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len()));
        let after = after.trim_start();
        let (name, after) = after.split_at(after.find(|c: char| !c.is_alphabetic()).unwrap_or(after.len()));
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let is_number = whole.len() + fraction.len() > 0 && !fraction.contains('.');
        let unit_ns = units.iter().find(|(names, _)| names.contains(&name)).map(|(_, ns)| u128::from(*ns));
        let unit_ns = match (is_number, name, unit_ns) {
            (false, ..) => return Err("a time begins with a number".to_owned()),
            (true, "", _) => return Err(format!("{number} lacks a unit: a time with its unit is needed")),
            (true, "M", _) => return Err(format!("M is not a unit of time: {number} minutes are {number}m")),
            (true, _, Some(unit_ns)) => unit_ns,
            (true, _, None) if CALENDAR_UNITS.iter().any(|(names, _)| names.contains(&name)) => {
                return Err("months and years have no exact length: use d (days)".to_owned());
            }
            (true, ..) => {
                return Err(format!("unknown unit of time \"{name}\": units are ns, us, ms, s, m, h, d"));
            }
        };
        let digits = |digits: &str| if digits.is_empty() { Some(0) } else { digits.parse::<u128>().ok() };
        // Finer digits than these are below a nanosecond in every unit.
        let fraction = &fraction[..fraction.len().min(18)];
        let power = 10_u128.pow(u32::try_from(fraction.len()).unwrap_or(0));
        let ns = || {
            let whole = digits(whole)?.checked_mul(unit_ns)?;
            whole.checked_add(digits(fraction)? * unit_ns / power)?.checked_add(total)
        };
        // Longer than any limit.
        total = ns().unwrap_or(u128::MAX);
        rest = after.trim_start();
    }
    let total = u64::try_from(total).unwrap_or(u64::MAX);
    Ok(Duration::from_nanos(total))
}

/// The time, if it is more than 0.
fn positive(time: Duration) -> Result<Duration, String> {
    if time.is_zero() { Err("it must be more than 0".to_owned()) } else { Ok(time) }
}

/// Parses a duration with its unit, from 1 ns to a year.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let time = parse_time(text, false).and_then(positive);
    let time = time.map_err(|why| format!("{why}, such as 500ms, 10s or 2h"))?;
    if time > MAX_DURATION { Err("it must be at most 365d, such as 10s or 2h".to_owned()) } else { Ok(time) }
}

/// Parses a pause between rounds: 0, or a time of at most 5 s.
pub(crate) fn parse_gap(text: &str) -> Result<Duration, String> {
    if text.trim() == "0" {
        return Ok(Duration::ZERO);
    }
    match parse_time(text, false) {
        Ok(gap) if gap <= Duration::from_secs(5) => Ok(gap),
        Ok(_) => Err("it must be at most 5s, such as 0, 10us or 1ms".to_owned()),
        Err(why) => Err(format!("{why}, such as 0, 10us or 1ms")),
    }
}

/// Parses a reporting interval. Intervals end between blocks of rounds, which take up to 10 ms.
pub(crate) fn parse_interval(text: &str) -> Result<Duration, String> {
    match parse_duration(text)? {
        interval if interval >= Duration::from_millis(50) => Ok(interval),
        _ => Err("it must be at least 50ms, such as 1s".to_owned()),
    }
}

/// Parses an age, of any length.
pub(crate) fn parse_age(text: &str) -> Result<Duration, String> {
    let age = parse_time(text, true).and_then(positive);
    age.map_err(|why| format!("{why}, such as 12h, 90d or 3months"))
}

/// Parses an age or a date, in UTC: seconds since 1970.
pub(crate) fn parse_date(text: &str) -> Result<u64, String> {
    let date = match parse_time(text, true) {
        Ok(age) => SystemTime::now().checked_sub(age),
        Err(_) => {
            // A day alone begins at midnight.
            let text = text.trim();
            let time = if text.len() == 10 { format!("{text} 00:00:00") } else { text.to_owned() };
            humantime::parse_rfc3339_weak(&time).ok()
        }
    };
    date.and_then(unix_s).ok_or_else(|| {
        "an age such as 12h, 7d or 3months, or a time such as 2026-03-01 or 2026-03-01T12:30:00Z is needed".to_owned()
    })
}

/// The date `age` ago, in seconds since 1970.
pub(crate) fn ago(age: Duration) -> u64 {
    SystemTime::now().checked_sub(age).and_then(unix_s).unwrap_or(0)
}

/// The time now, in seconds since 1970.
pub(crate) fn now_unix_s() -> u64 {
    unix_s(SystemTime::now()).unwrap_or(0)
}

fn unix_s(time: SystemTime) -> Option<u64> {
    time.duration_since(SystemTime::UNIX_EPOCH).ok().map(|time| time.as_secs())
}

/// Parses a percentage up to 100 %, as a fraction of 1.
pub(crate) fn parse_percent(text: &str) -> Result<f64, String> {
    match parse_fraction(text) {
        Some(fraction) if fraction <= 1.0 => Ok(fraction),
        _ => Err("a percentage more than 0 and at most 100 is needed, such as 2%".to_owned()),
    }
}

/// Parses an increase in percent, as a fraction of 1. It has no upper limit.
pub(crate) fn parse_increase(text: &str) -> Result<f64, String> {
    parse_fraction(text).ok_or_else(|| "a percentage more than 0 is needed, such as 10% or 150%".to_owned())
}

fn parse_fraction(text: &str) -> Option<f64> {
    let percent: f64 = text.strip_suffix('%').unwrap_or(text).trim().parse().ok()?;
    (percent > 0.0 && percent.is_finite()).then_some(percent / 100.0)
}

/// Parses a rate such as `10k/s`: the interval between two events.
pub(crate) fn parse_rate(text: &str) -> Result<Duration, String> {
    let per_second = text.strip_suffix("/s").and_then(|number| parse_count(number).ok());
    match per_second {
        Some(n @ 1..=10_000_000) => Ok(Duration::from_secs_f64(1.0 / n as f64)),
        _ => Err("a rate from 1/s to 10M/s is needed, such as 500/s or 10k/s".to_owned()),
    }
}

/// A latency with three digits: `54.2 ns`, `12.6 µs`, `1.50 ms`.
#[must_use]
pub(crate) fn latency(ns: f64) -> String {
    let (unit_ns, unit) = time_unit(ns);
    format!("{} {unit}", three_digits(ns / unit_ns))
}

/// The unit for a time: its length in nanoseconds, and its name.
#[must_use]
pub(crate) fn time_unit(ns: f64) -> (f64, &'static str) {
    match ns {
        ns if ns < 999.5 => (1.0, "ns"),
        ns if ns < 999_500.0 => (1e3, "µs"),
        ns if ns < 999_500_000.0 => (1e6, "ms"),
        _ => (1e9, "s"),
    }
}

/// At least three significant digits, and no more decimals than that takes.
#[must_use]
pub(crate) fn three_digits(value: f64) -> String {
    match value {
        value if value < 9.995 => format!("{value:.2}"),
        value if value < 99.95 => format!("{value:.1}"),
        value => format!("{value:.0}"),
    }
}

/// A rate: `9881/s`, `43.2k/s`, `2.52M/s`.
#[must_use]
pub(crate) fn rate(per_second: f64) -> String {
    match per_second {
        rate if rate < 9_999.5 => format!("{}/s", three_digits(rate)),
        rate if rate < 999_500.0 => format!("{}k/s", three_digits(rate / 1e3)),
        rate => format!("{}M/s", three_digits(rate / 1e6)),
    }
}

/// Bytes per second: `812 MiB/s`, `7.90 GiB/s`.
#[must_use]
pub(crate) fn throughput(bytes_per_second: f64) -> String {
    let (scaled, unit) = match bytes_per_second {
        bytes if bytes < 999.5 * 1024.0 => (bytes / 1024.0, "KiB/s"),
        bytes if bytes < 999.5 * 1_048_576.0 => (bytes / 1_048_576.0, "MiB/s"),
        bytes => (bytes / 1_073_741_824.0, "GiB/s"),
    };
    format!("{} {unit}", three_digits(scaled))
}

/// A share: `0.84 %`.
#[must_use]
pub(crate) fn percent(fraction: f64) -> String {
    match fraction.abs() * 100.0 {
        0.0 => "0 %".to_owned(),
        percent if percent < 0.01 => "<0.01 %".to_owned(),
        percent if percent < 1000.0 => format!("{} %", three_digits(percent)),
        _ => ">999 %".to_owned(),
    }
}

/// A change with its sign: `+3.10 %`.
#[must_use]
pub(crate) fn signed(fraction: f64) -> String {
    let percent = fraction * 100.0;
    match percent.abs() {
        size if size < 0.005 => "0 %".to_owned(),
        size if size < 10.0 => format!("{percent:+.2} %"),
        size if size < 1000.0 => format!("{percent:+.1} %"),
        size if size < 9_999.5 => format!("{percent:+.0} %"),
        _ => ">+9999 %".to_owned(),
    }
}

/// Events per round, with two digits: the rest is chance.
#[must_use]
pub(crate) fn per_round(count: f64) -> String {
    match count {
        0.0 => "0".to_owned(),
        count if count < 0.000_1 => "<0.0001".to_owned(),
        count if count < 0.000_995 => format!("{count:.5}"),
        count if count < 0.009_95 => format!("{count:.4}"),
        count if count < 0.099_5 => format!("{count:.3}"),
        count => format!("{count:.2}"),
    }
}

/// An exact time, as `172us 459ns`.
#[must_use]
pub(crate) fn elapsed(ns: f64) -> String {
    humantime::format_duration(Duration::from_secs_f64((ns / 1e9).max(0.0))).to_string()
}

/// A duration as [`parse_duration`] reads it, in the largest unit that leaves a whole number: `90s`.
#[must_use]
pub(crate) fn duration(duration: Duration) -> String {
    let ns = duration.as_nanos();
    // Weeks are rarer than days.
    let units = TIME_UNITS.iter().rev().skip(1);
    let (names, unit_ns) =
        units.copied().find(|(_, unit_ns)| ns.is_multiple_of(u128::from(*unit_ns))).unwrap_or(TIME_UNITS[0]);
    format!("{}{}", ns / u128::from(unit_ns), names[0])
}

/// An age in whole seconds, or in milliseconds below one.
#[must_use]
pub(crate) fn age(age: Duration) -> String {
    let shown = match age.as_secs() {
        0 => Duration::from_millis(age.subsec_millis().into()),
        seconds => Duration::from_secs(seconds),
    };
    humantime::format_duration(shown).to_string()
}

/// An exact size: `8 B`, `4 KiB`, `1 MiB`, `2 GiB`.
#[must_use]
pub(crate) fn size(bytes: u64) -> String {
    match largest_unit(bytes) {
        (n, "") => format!("{n} B"),
        (n, unit) => format!("{n} {}iB", unit.to_uppercase()),
    }
}

/// An exact size as [`parse_memory`] reads it: `64M`.
#[must_use]
pub(crate) fn memory(bytes: u64) -> String {
    let (n, unit) = largest_unit(bytes);
    format!("{n}{unit}")
}

/// The size in the largest unit that leaves a whole number.
fn largest_unit(bytes: u64) -> (u64, &'static str) {
    let fits = |(shift, _): &(u32, &str)| bytes > 0 && bytes.trailing_zeros() >= *shift;
    let (shift, unit) = [(30, "G"), (20, "M"), (10, "k")].into_iter().find(fits).unwrap_or((0, ""));
    (bytes >> shift, unit)
}

/// A date: `2026-03-01T12:30:00Z`.
#[must_use]
pub(crate) fn utc(unix_s: u64) -> String {
    // No measurement is later than the year 9999, the last that this format can write.
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(unix_s.min(253_402_300_799));
    humantime::format_rfc3339_seconds(time).to_string()
}

/// A number of things: `1 run`, `2 runs`.
pub(crate) fn counted(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// The counts that are not zero: `2 slower, 1 faster`.
pub(crate) fn tally<const N: usize>(counts: [(usize, &str); N]) -> String {
    let present = counts.into_iter().filter(|(count, _)| *count > 0);
    present.map(|(count, what)| format!("{count} {what}")).collect::<Vec<_>>().join(", ")
}

/// When a recorded run began; a time in the future, which a wrong clock has recorded, is marked.
pub(crate) fn began(unix_s: u64) -> String {
    const TOLERANCE_S: u64 = 60;
    let future = if unix_s > now_unix_s() + TOLERANCE_S { " (in the future)" } else { "" };
    format!("{}{future}", utc(unix_s))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_parsed_and_formatted() {
        for (text, bytes) in
            [("8", 8), ("64B", 64), ("4k", 4096), ("4KiB", 4096), ("1M", 1 << 20), ("16m", 16 << 20)]
        {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "k", "-1", "4x", "4.5k", "5000M", "4 k", "٣", "4G", "99999999999G"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
        assert_eq!([8, 4096, 1 << 20, 1025, 3 << 30].map(size), ["8 B", "4 KiB", "1 MiB", "1025 B", "3 GiB"]);
        assert_eq!(size(0), "0 B");
    }

    #[test]
    fn memory_is_formatted_as_it_is_parsed() {
        for (text, bytes) in [("1", 1), ("3k", 3 << 10), ("1536M", 1536 << 20), ("2G", 2 << 30)] {
            assert_eq!((parse_memory(text), memory(bytes)), (Ok(bytes), text.to_owned()));
        }
        assert_eq!(parse_memory("64MiB"), Ok(64 << 20));
        for wrong in ["", "0", "0G", "M", "-1", "1.5G", "1T", "99999999999G", "G1"] {
            assert!(parse_memory(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn counts() {
        assert_eq!(parse_rounds("10k"), Ok(10_000));
        for text in ["0", "", "-5", "1e6", "99999999999999999999", "2000000000000", "k"] {
            assert!(parse_rounds(text).is_err(), "{text}");
        }
        for text in ["0", "99999999999999999999", "99999999999999999999k", "2000G"] {
            assert_eq!(
                parse_rounds(text),
                Err("a number from 1 to 1000000000000 (1000G) is needed".to_owned()),
                "{text}"
            );
        }
    }

    #[test]
    fn cpus() {
        assert_eq!(parse_cpu("3"), Ok(3));
        for text in ["0-1", "0,1", "-1", "x", "", "99999999999"] {
            assert!(parse_cpu(text).unwrap_err().contains("such as 2"), "{text}");
        }
    }

    #[test]
    fn durations() {
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_gap("0"), Ok(Duration::ZERO));
        assert_eq!(parse_gap("10us"), Ok(Duration::from_micros(10)));
        for (text, ms) in
            [(".5s", 500), ("1.5s", 1_500), (" 1m 30s ", 90_000), ("1m30s", 90_000), ("2 min", 120_000)]
        {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        assert_eq!(parse_duration("1.000000001s"), Ok(Duration::new(1, 1)));
        for (text, why) in [
            ("0s", "more than 0"),
            ("5", "5 lacks a unit"),
            ("abc", "begins with a number"),
            ("-1s", "begins with a number"),
            ("", "with its unit"),
            ("1000000h", "at most 365d"),
            ("99999999999999999999999999999999999999999d", "at most 365d"),
            ("12M", "12 minutes are 12m"),
            ("5months", "use d (days)"),
            ("1y", "use d (days)"),
            ("3S", "unknown unit of time \"S\""),
            ("1..5s", "begins with a number"),
            (".s", "begins with a number"),
        ] {
            let error = parse_duration(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
        assert_eq!((parse_gap("0s"), parse_gap("0us")), (Ok(Duration::ZERO), Ok(Duration::ZERO)));
        assert!(parse_gap("1h").is_err() && parse_gap("5M").is_err() && parse_interval("5M").is_err());
        assert_eq!(parse_age("3months").map(|age| age.as_secs()), Ok(3 * 2_630_016));
        assert!(parse_age("5M").is_err() && parse_date("5M").is_err(), "neither months nor minutes");
        for text in ["90s", "1500ms", "2h", "45d", "365d", "1ns"] {
            assert_eq!(parse_duration(text).map(duration), Ok(text.to_owned()));
        }
        assert_eq!(parse_interval("1s"), Ok(Duration::from_secs(1)));
        assert!(parse_interval("49ms").is_err());
        assert_eq!(elapsed(172_459.0), "172us 459ns");
        assert_eq!([1_999, 61_500].map(|ms| age(Duration::from_millis(ms))), ["1s", "1m 1s"]);
        assert_eq!(age(Duration::from_micros(7_900)), "7ms");
    }

    #[test]
    fn dates() {
        assert_eq!(parse_date("2026-03-01"), Ok(1_772_323_200));
        assert_eq!(parse_date("2026-03-01T12:30:00Z"), Ok(1_772_368_200));
        assert_eq!(parse_date("2026-03-01 12:30:00"), Ok(1_772_368_200));
        assert!(parse_date("7d").unwrap().abs_diff(ago(Duration::from_secs(7 * 86_400))) <= 1);
        for text in ["", "7", "yesterday", "2026-13-01", "2026-3-1", "99999999999y", "-1d"] {
            assert!(parse_date(text).is_err(), "{text}");
        }
        assert_eq!(utc(1_772_368_200), "2026-03-01T12:30:00Z");
        assert_eq!(utc(u64::MAX), "9999-12-31T23:59:59Z");
    }

    #[test]
    fn rates_and_percentages_are_parsed() {
        assert_eq!(parse_rate("10k/s"), Ok(Duration::from_micros(100)));
        for text in ["10k", "0/s", "1G/s", "/s", "x/s"] {
            assert!(parse_rate(text).is_err(), "{text}");
        }
        assert_eq!(parse_percent("2%"), Ok(0.02));
        assert_eq!((parse_increase("10%"), parse_increase("150%")), (Ok(0.1), Ok(1.5)));
        for text in ["0%", "-1%", "inf%", "nan", "much"] {
            assert!(parse_increase(text).is_err(), "{text}");
        }
        for text in ["0%", "-1%", "101%", "NaN", "inf", ""] {
            assert!(parse_percent(text).is_err(), "{text}");
        }
    }

    #[test]
    fn latencies_have_three_digits() {
        for (ns, shown) in [
            (5.0, "5.00 ns"),
            (54.23, "54.2 ns"),
            (999.0, "999 ns"),
            (999.7, "1.00 µs"),
            (12_649.0, "12.6 µs"),
            (1_500_000.0, "1.50 ms"),
            (2e9, "2.00 s"),
        ] {
            assert_eq!(latency(ns), shown);
        }
    }

    #[test]
    fn rates_shares_changes_and_counts_are_formatted() {
        for (per_second, shown) in
            [(0.2, "0.20/s"), (9_881.6, "9882/s"), (43_205.0, "43.2k/s"), (2_518_270.1, "2.52M/s")]
        {
            assert_eq!(rate(per_second), shown);
        }
        for (bytes, shown) in [(5e3, "4.88 KiB/s"), (851e6, "812 MiB/s"), (8.5e9, "7.92 GiB/s")] {
            assert_eq!(throughput(bytes), shown);
        }
        for (fraction, shown) in
            [(0.0, "0 %"), (0.000_01, "<0.01 %"), (0.0084, "0.84 %"), (-0.12, "12.0 %"), (7072.0, ">999 %")]
        {
            assert_eq!(percent(fraction), shown);
        }
        for (fraction, shown) in [
            (0.000_04, "0 %"),
            (-0.0123, "-1.23 %"),
            (0.5, "+50.0 %"),
            (20.0, "+2000 %"),
            (100.0, ">+9999 %"),
        ] {
            assert_eq!(signed(fraction), shown);
        }
        for (count, shown) in
            [(0.0, "0"), (1.0, "1.00"), (0.0123, "0.012"), (0.000_31, "0.00031"), (0.000_01, "<0.0001")]
        {
            assert_eq!(per_round(count), shown);
        }
    }
}
