//! Numbers for people: units chosen so that three digits say it.

use std::time::{Duration, SystemTime};

/// A latency in the unit that suits it: `54.2 ns`, `12.6 µs`, `1.50 ms`.
#[must_use]
pub(in crate::client) fn latency(ns: f64) -> String {
    let (value, unit) = match ns {
        ns if ns < 999.5 => (ns, "ns"),
        ns if ns < 999_500.0 => (ns / 1e3, "µs"),
        ns if ns < 999_500_000.0 => (ns / 1e6, "ms"),
        ns => (ns / 1e9, "s"),
    };
    format!("{} {unit}", three_digits(value))
}

/// At least three significant digits, and no more behind the point than that takes.
pub(super) fn three_digits(value: f64) -> String {
    match value {
        value if value < 9.995 => format!("{value:.2}"),
        value if value < 99.95 => format!("{value:.1}"),
        value => format!("{value:.0}"),
    }
}

/// A number of rounds a second: `9881/s`, `43.2k/s`, `2.52M/s`.
#[must_use]
pub(in crate::client) fn rate(per_second: f64) -> String {
    match per_second {
        rate if rate < 9_999.5 => format!("{}/s", three_digits(rate)),
        rate if rate < 999_500.0 => format!("{}k/s", three_digits(rate / 1e3)),
        rate => format!("{}M/s", three_digits(rate / 1e6)),
    }
}

/// A share of 1: `0.84 %`.
#[must_use]
pub(in crate::client) fn percent(fraction: f64) -> String {
    match fraction.abs() * 100.0 {
        0.0 => "0 %".to_owned(),
        percent if percent < 0.01 => "<0.01 %".to_owned(),
        percent if percent < 1000.0 => format!("{} %", three_digits(percent)),
        _ => ">999 %".to_owned(),
    }
}

/// How often something happened in a round: two digits, since the rest is chance.
#[must_use]
pub(super) fn each_round(count: f64) -> String {
    match count {
        0.0 => "0".to_owned(),
        count if count < 0.000_1 => "<0.0001".to_owned(),
        count if count < 0.000_995 => format!("{count:.5}"),
        count if count < 0.009_95 => format!("{count:.4}"),
        count if count < 0.099_5 => format!("{count:.3}"),
        count => format!("{count:.2}"),
    }
}

/// A time as the origin printed it: `172us 459ns`.
#[must_use]
pub(super) fn elapsed(ns: f64) -> String {
    let duration = Duration::from_secs_f64((ns / 1e9).max(0.0));
    humantime::format_duration(duration).to_string()
}

/// A size in bytes: `8 B`, `4 KiB`, `1 MiB`.
#[must_use]
pub(in crate::client) fn size(bytes: u64) -> String {
    match bytes {
        bytes if bytes >= 1 << 20 && bytes.is_multiple_of(1 << 20) => format!("{} MiB", bytes >> 20),
        bytes if bytes >= 1 << 10 && bytes.is_multiple_of(1 << 10) => format!("{} KiB", bytes >> 10),
        bytes => format!("{bytes} B"),
    }
}

/// A moment: `2026-03-01T12:30:00Z`.
#[must_use]
pub(in crate::client) fn utc(unix_s: u64) -> String {
    // Later than the year 9999 is nothing that was measured, and cannot be written.
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(unix_s.min(253_402_300_799));
    humantime::format_rfc3339_seconds(time).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn rates_shares_and_counts() {
        for (per_second, shown) in
            [(0.2, "0.20/s"), (9_881.6, "9882/s"), (43_205.0, "43.2k/s"), (2_518_270.1, "2.52M/s")]
        {
            assert_eq!(rate(per_second), shown);
        }
        for (fraction, shown) in
            [(0.0, "0 %"), (0.000_01, "<0.01 %"), (0.0084, "0.84 %"), (-0.12, "12.0 %"), (7072.0, ">999 %")]
        {
            assert_eq!(percent(fraction), shown);
        }
        for (count, shown) in
            [(0.0, "0"), (1.0, "1.00"), (0.0123, "0.012"), (0.000_31, "0.00031"), (0.000_01, "<0.0001")]
        {
            assert_eq!(each_round(count), shown);
        }
    }

    #[test]
    fn elapsed_is_the_origins() {
        assert_eq!(elapsed(172_459.0), "172us 459ns");
    }

    #[test]
    fn moments_can_always_be_written() {
        assert_eq!(utc(1_772_368_200), "2026-03-01T12:30:00Z");
        assert_eq!(utc(u64::MAX), "9999-12-31T23:59:59Z");
    }

    #[test]
    fn sizes_are_exact() {
        assert_eq!(
            (size(8).as_str(), size(4096).as_str(), size(1 << 20).as_str()),
            ("8 B", "4 KiB", "1 MiB")
        );
        assert_eq!(size(1025), "1025 B");
    }
}
