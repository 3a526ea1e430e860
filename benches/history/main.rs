//! The history with a million results: how long lists, filters and trends take, and in how much memory.
//!
//! `cargo bench --bench history` prints each time beside its target. It needs about 4 GB in the temporary folder. Nothing
//! here fails for being slow: a loaded machine is not an error. `-- --test` shows that all of it works, with a few results.

mod fill;
mod queries;

use std::error::Error;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant, UNIX_EPOCH};

use ipcd::internals::protocol::Exit;
use queries::{QUERIES, Query};

/// The longest time that each query should take.
const TARGET: Duration = Duration::from_millis(200);

/// Repetitions of each query, each in a new process; the median counts.
const REPETITIONS: usize = 5;

/// Set for a process that runs `ipc-client`'s command line and reports what that took.
const QUERY: &str = "IPCD_BENCH_QUERY";

fn main() -> ExitCode {
    ipcd::enter_role();
    let done = if std::env::var_os(QUERY).is_some() {
        ask()
    } else {
        bench(std::env::args().any(|argument| argument == "--test"))
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("history: {error}");
            ExitCode::FAILURE
        }
    }
}

fn bench(test: bool) -> Result<(), Box<dyn Error>> {
    let folder = tempfile::Builder::new().prefix("ipcd-bench-").tempdir()?;
    // The same queries with a hundredth of it show what depends on the size.
    let sizes: &[u32] = if test { &[100] } else { &[500, 50_000] };
    for runs in sizes.iter().copied() {
        let path = folder.path().join(format!("{runs}.sqlite"));
        let filled = fill::fill(&path, runs)?;
        println!(
            "{} results in {runs} runs, {:.1} GB, made in {:.0} s",
            filled.results,
            std::fs::metadata(&path)?.len() as f64 / 1e9,
            filled.took.as_secs_f64()
        );
        println!("  {:<58} {:>9} {:>9} {:>11}", "", "time", "target", "peak memory");
        // An hour lies between two runs. Neither the newest ones, which a list begins with, nor the oldest.
        let hour = |number: u32| {
            let time = UNIX_EPOCH + Duration::from_secs(filled.began_unix_s + u64::from(number) * 3600);
            humantime::format_rfc3339_seconds(time).to_string()
        };
        let (since, until) = (hour(runs / 4), hour(runs / 2));
        let back = if runs > 1000 { "last~1000" } else { "1" };
        for query in QUERIES {
            let mut taken = Vec::new();
            for _ in 0..if test { 1 } else { REPETITIONS } {
                taken.push(query_once(&query, &query.arguments(&since, &until, back), &path)?);
            }
            taken.sort_unstable();
            let (time_us, _) = taken[taken.len() / 2];
            let memory_kib = taken.iter().map(|(_, memory)| *memory).max().unwrap_or_default();
            println!(
                "  {:<58} {:>6.1} ms {:>9} {:>7.1} MiB",
                query.what,
                time_us as f64 / 1e3,
                if query.has_target { format!("{} ms", TARGET.as_millis()) } else { "-".to_owned() },
                memory_kib as f64 / 1024.0
            );
        }
    }
    Ok(())
}

/// The time of a query in microseconds, and the most memory that its process had, in KiB.
fn query_once(query: &Query, arguments: &[&str], history: &Path) -> Result<(u64, u64), Box<dyn Error>> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(arguments).env(QUERY, "1").env("IPCD_HISTORY", history);
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    let mut numbers = said.lines().last().unwrap_or_default().split(' ').flat_map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(time), Some(memory)) if !output.stdout.is_empty() => Ok((time, memory)),
        _ => Err(format!("{}: {}", query.what, said.trim_end()).into()),
    }
}

/// Runs the command line, and prints the time that it took in microseconds and this process's peak memory in KiB.
fn ask() -> Result<(), Box<dyn Error>> {
    let start = Instant::now();
    let exit = ipcd::internals::client::main();
    let took = start.elapsed();
    if exit != Exit::Success {
        return Err(format!("{exit:?}").into());
    }
    let status = std::fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
    eprintln!("{} {}", took.as_micros(), peak.trim().trim_end_matches(" kB"));
    Ok(())
}
