//! A soak: a daemon under random load, faults and hostile peers for a given time, while a bystander measures how long it
//! waits; then, and at check points on the way, nothing may be left and everything must work.
//!
//! `cargo soak --for 60s`; `cargo soak --help` has the rest.
#![allow(clippy::unwrap_used, reason = "a test, and what helps one, may stop at the first surprise")]

mod actions;
mod alone;
mod bench;
mod bystander;
mod faults;
#[path = "../harness/mod.rs"]
#[allow(dead_code, unused_imports, reason = "it is shared with tests/main.rs, which uses all of it")]
mod harness;
mod hostile;
mod invariants;
mod storm;
mod strangers;
mod tally;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

/// Loads a private daemon with random methods, sizes, faults and hostile peers, and checks that they leave nothing
/// behind. Fails at the first violation.
#[derive(Debug, Clone, Parser)]
#[command(name = "cargo soak")]
struct Arguments {
    /// For how long, such as 60s or 1h
    #[arg(long = "for", value_name = "TIME", value_parser = humantime::parse_duration, default_value = "60s")]
    time: Duration,

    /// Instead: this many runs, each with one fault of its client, responder or daemon at a random moment, after which nothing
    /// may be left behind and the next run must work
    #[arg(long, value_name = "N", conflicts_with = "time")]
    faults: Option<usize>,

    /// What all that is random follows from, but for the times that things take [default: a random one]
    #[arg(long, value_name = "N", overrides_with = "seed")]
    seed: Option<u64>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // One seed for both, this process and what it becomes.
    let seed = arguments.seed.unwrap_or_else(|| fastrand::u64(..1 << 32));
    if let Err(why) = alone::become_alone(seed) {
        eprintln!(
            "soak: {why}: leftovers of other processes cannot be distinguished from this run's, and are not checked"
        );
    }
    match arguments.faults {
        Some(count) => faults::run(count, seed),
        None => storm::run(arguments.time, seed),
    }
    ExitCode::SUCCESS
}
