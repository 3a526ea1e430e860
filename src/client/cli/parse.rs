//! Values of the command line. Every error says what would be right.

use std::num::IntErrorKind;
use std::time::Duration;

use super::args::{PlacementArg, WarmupArg};
use crate::client::measure::Timing;
use crate::protocol::Wait;

/// The most rounds: at 50 ns each, half a day.
const MAX_ROUNDS: u64 = 1_000_000_000_000;

/// The longest time of any kind: a year.
const MAX_TIME: Duration = Duration::from_secs(365 * 24 * 3600);

pub(super) fn rounds(text: &str) -> Result<u64, String> {
    let n = count(text)?;
    if (1..=MAX_ROUNDS).contains(&n) {
        Ok(n)
    } else {
        Err(format!("it must be from 1 to {MAX_ROUNDS} (1000G)"))
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
pub(super) fn cpu(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| "the number of one CPU is needed, such as 2; \"lscpu -e\" lists them".to_owned())
}

pub(super) fn size(text: &str) -> Result<u32, String> {
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
    digits.parse::<u32>().ok().and_then(|n| n.checked_mul(1 << shift)).ok_or_else(wrong)
}

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(time) if !time.is_zero() && time <= MAX_TIME => Ok(time),
        _ => Err("a time with its unit is needed, more than 0, such as 500ms, 10s or 2h".to_owned()),
    }
}

/// How long ago something was.
pub(super) fn age(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(age) if !age.is_zero() => Ok(age),
        _ => Err("an age with its unit is needed, more than 0, such as 12h, 90d or 3months".to_owned()),
    }
}

pub(super) fn gap(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    match duration(text) {
        Ok(gap) if gap <= Duration::from_secs(5) => Ok(gap),
        _ => Err("0 or a time with its unit is needed, at most 5s, such as 10us or 1ms".to_owned()),
    }
}

/// Intervals end between blocks of rounds, which take up to 10 ms.
pub(super) fn interval(text: &str) -> Result<Duration, String> {
    match duration(text) {
        Ok(interval) if interval >= Duration::from_millis(50) => Ok(interval),
        _ => Err("a time with its unit is needed, at least 50ms, such as 1s".to_owned()),
    }
}

pub(super) fn warmup(text: &str) -> Result<WarmupArg, String> {
    match count(text) {
        Ok(n) if n <= MAX_ROUNDS => return Ok(WarmupArg::Rounds(n)),
        Ok(_) => return Err(format!("it must be at most {MAX_ROUNDS} rounds")),
        Err(_) => {}
    }
    duration(text)
        .map(WarmupArg::Time)
        .map_err(|_| "a number of rounds or a time with its unit is needed, such as 1000 or 50ms".to_owned())
}

pub(super) fn percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').unwrap_or(text).trim();
    match number.parse::<f64>() {
        Ok(percent) if percent > 0.0 && percent <= 100.0 => Ok(percent / 100.0),
        _ => Err("a percentage more than 0 and at most 100 is needed, such as 2%".to_owned()),
    }
}

/// The interval of a rate.
pub(super) fn rate(text: &str) -> Result<Duration, String> {
    let wrong = || "a rate from 1/s to 10M/s is needed, such as 500/s or 10k/s".to_owned();
    let number = text.strip_suffix("/s").ok_or_else(wrong)?;
    let per_second = count(number).map_err(|_| wrong())?;
    if (1..=10_000_000).contains(&per_second) {
        Ok(Duration::from_secs_f64(1.0 / per_second as f64))
    } else {
        Err(wrong())
    }
}

pub(super) fn timing(text: &str) -> Result<Timing, String> {
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

pub(super) fn wait(text: &str) -> Result<Wait, String> {
    text.parse()
}

pub(super) fn placement(text: &str) -> Result<PlacementArg, String> {
    match text {
        "all" => Ok(PlacementArg::All),
        text => text.parse().map(PlacementArg::One).map_err(|error| format!("{error}, or all")),
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
    fn counts() {
        assert_eq!(rounds("10k"), Ok(10_000));
        for text in ["0", "", "-5", "1e6", "99999999999999999999", "2000000000000", "k"] {
            assert!(rounds(text).is_err(), "{text}");
        }
        for text in ["0", "99999999999999999999", "99999999999999999999k", "2000G"] {
            assert_eq!(rounds(text), Err("it must be from 1 to 1000000000000 (1000G)".to_owned()), "{text}");
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
        for text in ["0%", "-1%", "101%", "NaN", "inf", ""] {
            assert!(percent(text).is_err(), "{text}");
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
