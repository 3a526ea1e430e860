//! The history with a million results: how long lists, filters and trends take, and in how much memory.
//!
//! `cargo bench --bench history` prints each time beside its target. It needs about 4 GB in the temporary folder. Being
//! slow is not a failure, since the machine may be loaded. `-- --test` runs everything once, with a few results.

mod fill;
mod queries;

use std::error::Error;
use std::process::{Command, ExitCode};
use std::time::Duration;

use queries::QUERIES;

/// The longest acceptable time of a query.
const TARGET: Duration = Duration::from_millis(200);

/// Runs of each query, each in a new process; the median counts.
const REPETITIONS: usize = 5;

fn main() -> ExitCode {
    ipcd::enter_role();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match &arguments[..] {
        [child, query, path] if child == "--query" => queries::run(query, path.as_ref()),
        all => bench(all.iter().any(|argument| argument == "--test")),
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
    for runs in sizes {
        let path = folder.path().join(format!("{runs}.sqlite"));
        let filled = fill::fill(&path, *runs)?;
        println!(
            "{} results in {} runs, {:.1} GB, made in {:.0} s",
            filled.results,
            runs,
            std::fs::metadata(&path)?.len() as f64 / 1e9,
            filled.took.as_secs_f64()
        );
        println!("  {:<58} {:>9} {:>9} {:>11}", "", "time", "target", "peak memory");
        for query in QUERIES {
            let mut told = Vec::new();
            for _ in 0..if test { 1 } else { REPETITIONS } {
                told.push(query_once(query.name, &path)?);
            }
            told.sort_by_key(|(time, _)| *time);
            let (time, _) = told[told.len() / 2];
            let memory = told.iter().map(|(_, memory)| *memory).max().unwrap_or_default();
            println!(
                "  {:<58} {:>6.1} ms {:>9} {:>7.1} MiB",
                query.what,
                time.as_secs_f64() * 1e3,
                if query.at_once { format!("{} ms", TARGET.as_millis()) } else { "-".to_owned() },
                memory as f64 / 1024.0
            );
        }
    }
    Ok(())
}

/// The time of a query, and the most memory that its process had, in KiB.
fn query_once(name: &str, path: &std::path::Path) -> Result<(Duration, u64), Box<dyn Error>> {
    let output = Command::new(std::env::current_exe()?).args(["--query", name]).arg(path).output()?;
    let text = String::from_utf8(output.stdout)?;
    let mut words = text.split_whitespace();
    let mut number = || -> Result<u64, Box<dyn Error>> {
        let word = words.next().ok_or_else(|| {
            format!("{name} printed nothing: {}", String::from_utf8_lossy(&output.stderr).trim_end())
        })?;
        Ok(word.parse()?)
    };
    Ok((Duration::from_micros(number()?), number()?))
}
