//! The options of `ipcd start` that say what clients can make the daemon hold.

use clap::Args;

use crate::daemon::{Limit, Limits};

#[derive(Debug, Args)]
#[command(next_help_heading = "Limits")]
pub(super) struct LimitArgs {
    /// Control connections at a time.
    #[arg(long, value_name = "N", default_value_t = Limits::default().connections.total, value_parser = count)]
    max_connections: u64,
    /// Those of one user [default: half of all].
    #[arg(long, value_name = "N", value_parser = count)]
    max_connections_per_user: Option<u64>,
    /// Data channels at a time, each a responder process.
    #[arg(long, value_name = "N", default_value_t = Limits::default().channels.total, value_parser = count)]
    max_channels: u64,
    /// Those of one user [default: half of all].
    #[arg(long, value_name = "N", value_parser = count)]
    max_channels_per_user: Option<u64>,
    /// Clients in line for their turn to measure.
    #[arg(long, value_name = "N", default_value_t = Limits::default().queue.total, value_parser = count)]
    max_queue: u64,
    /// Those of one user [default: half of all].
    #[arg(long, value_name = "N", value_parser = count)]
    max_queue_per_user: Option<u64>,
    /// Bytes that the responders of open channels hold for payloads; such as 64M or 2G.
    #[arg(long, value_name = "SIZE", default_value = "1G", value_parser = bytes)]
    max_memory: u64,
    /// Those of one user [default: half of all].
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    max_memory_per_user: Option<u64>,
}

impl LimitArgs {
    /// The limits that were asked for.
    pub(super) fn limits(&self) -> Limits {
        let limit = |total, per_user: Option<u64>| Limit {
            total,
            per_user: per_user.unwrap_or(Limit::shared(total).per_user),
        };
        Limits {
            connections: limit(self.max_connections, self.max_connections_per_user),
            channels: limit(self.max_channels, self.max_channels_per_user),
            queue: limit(self.max_queue, self.max_queue_per_user),
            memory: limit(self.max_memory, self.max_memory_per_user),
        }
    }
}

fn count(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(n @ 1..=100_000) => Ok(n),
        _ => Err("a number from 1 to 100000 is needed".to_owned()),
    }
}

fn bytes(text: &str) -> Result<u64, String> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        limits: LimitArgs,
    }

    fn limits(arguments: &[&str]) -> Limits {
        let all = std::iter::once(&"ipcd").chain(arguments);
        Cli::try_parse_from(all).map(|cli| cli.limits.limits()).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn without_options_the_defaults_hold() {
        assert_eq!(limits(&[]), Limits::default());
    }

    #[test]
    fn a_users_part_is_half_of_all_unless_it_is_said() {
        let some = limits(&["--max-channels", "10", "--max-memory", "2G", "--max-memory-per-user", "3k"]);
        assert_eq!(some.channels, Limit { total: 10, per_user: 5 });
        assert_eq!(some.memory, Limit { total: 2 << 30, per_user: 3 << 10 });
        assert_eq!(limits(&["--max-queue", "1"]).queue, Limit { total: 1, per_user: 1 });
    }

    #[test]
    fn sizes_that_are_none_are_refused() {
        for wrong in ["", "0", "0G", "M", "-1", "1.5G", "1T", "99999999999G", "G1"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
        assert_eq!(bytes("64MiB"), Ok(64 << 20));
    }
}
