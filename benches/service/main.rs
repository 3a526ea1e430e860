//! What the service itself costs: its control round trip, opening and closing channels, a whole cold run, one on a single CPU,
//! resting, and many channels at once.
//!
//! `cargo bench --bench service` prints each figure beside its target. Being slow is not a failure, since
//! the machine may be loaded. `-- --test` runs everything once, with a few repetitions.

mod daemon;
mod runs;

use std::error::Error;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use ipcd::internals::client::median;
use ipcd::internals::protocol::ChannelSpec;

use daemon::Daemon;

/// Repetitions of each measurement.
struct Effort {
    own_rounds: u32,
    requests: usize,
    channels: usize,
    cold_runs: usize,
    rest: Duration,
    scale: Duration,
    channels_at_once: &'static [u32],
}

const FULL: Effort = Effort {
    own_rounds: 1_000_000,
    requests: 2000,
    channels: 50,
    cold_runs: 10,
    rest: Duration::from_secs(10),
    scale: Duration::from_secs(1),
    channels_at_once: &[1, 10, 100],
};

const TEST: Effort = Effort {
    own_rounds: 1000,
    requests: 20,
    channels: 1,
    cold_runs: 1,
    rest: Duration::from_millis(50),
    scale: Duration::from_millis(20),
    channels_at_once: &[1, 3],
};

/// What the tool itself may add to a round, beside what reading the clock costs.
const OWN_NS: f64 = 10.0;

fn main() -> ExitCode {
    // `cargo test` runs this too, and says nothing.
    let judged =
        std::env::args().any(|word| word == "--bench") && !std::env::args().any(|word| word == "--test");
    match run(if judged { &FULL } else { &TEST }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("service: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(effort: &Effort) -> Result<(), Box<dyn Error>> {
    let daemon = Daemon::start()?;
    rest(&daemon, effort)?;
    own(effort)?;
    requests(&daemon, effort)?;
    let methods = methods(&daemon)?;
    channels(&daemon, &methods, effort)?;
    cold(&methods, effort)?;
    on_one_cpu(&methods, effort)?;
    scale(&daemon, effort)
}

/// A figure beside its target.
fn print(what: &str, figure: &str, target: &str) {
    println!("{what:<44} {figure:>14}   {target}");
}

fn rest(daemon: &Daemon, effort: &Effort) -> Result<(), Box<dyn Error>> {
    println!("\nthe service at rest");
    // It has said that it listens, and is about to wait for the first time.
    std::thread::sleep(Duration::from_millis(100));
    let before = daemon.number("status", "voluntary_ctxt_switches")?;
    std::thread::sleep(effort.rest);
    let switches = daemon.number("status", "voluntary_ctxt_switches")? - before;
    print(&format!("voluntary context switches in {:?}", effort.rest), &switches.to_string(), "target 0");
    print("resident memory", &mib(daemon.number("status", "VmRSS")? * 1024), "target under 6 MiB");
    for (name, path) in [("ipcd", daemon::IPCD), ("ipc-client", daemon::CLIENT)] {
        let size = std::fs::metadata(path)?.len();
        print(&format!("size of {name}"), &mib(size), "target under 6 MiB (release build)");
    }
    Ok(())
}

fn own(effort: &Effort) -> Result<(), Box<dyn Error>> {
    println!("\nthe tool's own round, {} of \"bench --method null\"", effort.own_rounds);
    let own = runs::own(effort.own_rounds)?;
    print("p50", &format!("{:.1} ns", own.p50_ns), &format!("target under {:.1} ns", own.clock_ns + OWN_NS));
    print("of that, reading the clock", &format!("{:.1} ns", own.clock_ns), "");
    Ok(())
}

fn requests(daemon: &Daemon, effort: &Effort) -> Result<(), Box<dyn Error>> {
    println!("\ncontrol round trip, {} requests for the status", effort.requests);
    let mut client = daemon.connect()?;
    let mut times = Vec::new();
    for _ in 0..effort.requests {
        let start = Instant::now();
        client.status()?;
        times.push(start.elapsed().as_secs_f64() * 1e6);
    }
    times.sort_by(f64::total_cmp);
    print("median", &format!("{:.1} µs", median(&times).ok_or("no requests")?), "target under 100 µs");
    print("p99", &format!("{:.1} µs", times[(times.len() * 99).div_ceil(100) - 1]), "");
    Ok(())
}

/// Methods that this host has.
fn methods(daemon: &Daemon) -> Result<Vec<String>, Box<dyn Error>> {
    let states = daemon.connect()?.methods()?;
    Ok(states.into_iter().filter(|state| state.unavailable.is_none()).map(|state| state.name).collect())
}

fn channels(daemon: &Daemon, methods: &[String], effort: &Effort) -> Result<(), Box<dyn Error>> {
    println!("\nopening and closing a channel, medians of {}", effort.channels);
    for method in methods {
        let mut client = daemon.lease()?;
        let mut spec = ChannelSpec::new(method);
        // What carries one size only says which.
        spec.size_bytes = runs::size_of(method)?;
        let (mut opening, mut closing) = (Vec::new(), Vec::new());
        for _ in 0..effort.channels {
            let start = Instant::now();
            let channel = client.open(&spec)?;
            opening.push(start.elapsed().as_secs_f64() * 1e3);
            let start = Instant::now();
            client.close(channel)?;
            closing.push(start.elapsed().as_secs_f64() * 1e3);
        }
        let (open, close) = (median(&opening).ok_or("none")?, median(&closing).ok_or("none")?);
        print(method, &format!("{open:.2} + {close:.2} ms"), "target: opening under 3 ms");
    }
    Ok(())
}

fn cold(methods: &[String], effort: &Effort) -> Result<(), Box<dyn Error>> {
    println!(
        "\ncold \"bench --private -n 1000\", wall time outside of rounds and warm-up, as the report tells it (and until the \
         process has ended), medians of {}",
        effort.cold_runs
    );
    for method in methods {
        let (mut reported, mut whole) = (Vec::new(), Vec::new());
        for _ in 0..effort.cold_runs {
            let cold = runs::cold(method)?;
            reported.push(cold.reported_ms);
            whole.push(cold.whole_ms);
        }
        let (reported, whole) = (median(&reported).ok_or("none")?, median(&whole).ok_or("none")?);
        print(method, &format!("{reported:.1} ({whole:.1}) ms"), "target under 15 ms");
    }
    Ok(())
}

fn on_one_cpu(methods: &[String], effort: &Effort) -> Result<(), Box<dyn Error>> {
    println!(
        "\n\"bench --private -n 1000 --placement same-core\" from start to end, the longest of {}",
        effort.cold_runs
    );
    for method in methods {
        let mut longest_ms = 0_f64;
        for _ in 0..effort.cold_runs {
            longest_ms = longest_ms.max(runs::on_one_cpu(method)?);
        }
        print(method, &format!("{longest_ms:.0} ms"), "target well under 1000 ms");
    }
    Ok(())
}

fn scale(daemon: &Daemon, effort: &Effort) -> Result<(), Box<dyn Error>> {
    println!(
        "\nchannels at once, each with a responder and a client thread; resident memory while rounds run"
    );
    println!(
        "{:<8} {:>8} {:>14} {:>12} {:>12} {:>14} {:>16}",
        "method", "channels", "rounds/s", "p50", "p99", "daemon", "each responder"
    );
    for method in ["tcp", "shmem"] {
        for count in effort.channels_at_once {
            let run = runs::parallel(daemon, method, *count, effort.scale)?;
            let time = |ns: Option<f64>| ns.map_or("-".to_owned(), |ns| format!("{:.1} µs", ns / 1e3));
            println!(
                "{method:<8} {count:>8} {:>14.0} {:>12} {:>12} {:>14} {:>16}",
                run.rounds_per_second,
                time(run.p50_ns),
                time(run.p99_ns),
                mib(run.daemon_bytes),
                run.responder_bytes.map_or("-".to_owned(), mib),
            );
        }
    }
    println!("target: rounds/s as many CPUs allow, p99 and memory linear in the number of channels");
    Ok(())
}

fn mib(bytes: u64) -> String {
    format!("{:.2} MiB", bytes as f64 / f64::from(1 << 20))
}
