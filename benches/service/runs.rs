//! Runs of `ipc-client bench`, and their reports.

use std::collections::HashMap;
use std::error::Error;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ipcd::internals::client::median;
use ipcd::internals::protocol::Usage;
use ipcd::internals::transports::find;
use ipcd::internals::transports::usage;
use serde_json::Value;

use crate::daemon::{CLIENT, Daemon, number};

/// How long channels may take to be open.
const OPEN_PATIENCE: Duration = Duration::from_secs(60);

/// What a responder has used, since it was first seen, once rounds run: CPU time, or else switches.
const BUSY_NS: u64 = 2_000_000;
const BUSY_SWITCHES: u64 = 50;

/// The smallest size from 8 bytes on that a method carries.
pub(crate) fn size_of(method: &str) -> Result<u32, Box<dyn Error>> {
    Ok(u32::try_from(find(method)?.capabilities().min_size.max(8))?)
}

fn bench(method: &str) -> Result<Command, Box<dyn Error>> {
    let mut command = Command::new(CLIENT);
    command.args(["bench", "--json", "--method", method, "--size", &size_of(method)?.to_string()]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    Ok(command)
}

fn report(command: Command, output: std::process::Output) -> Result<Value, Box<dyn Error>> {
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(format!("{command:?}: {}: {said}", output.status).into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// What of a cold run is neither rounds nor warm-up.
pub(crate) struct Cold {
    /// The time according to the report.
    pub(crate) reported_ms: f64,
    /// Of the time from the process's start to its end.
    pub(crate) whole_ms: f64,
}

pub(crate) fn cold(method: &str) -> Result<Cold, Box<dyn Error>> {
    let mut command = bench(method)?;
    command.args(["--private", "-n", "1000"]);
    let start = Instant::now();
    let output = command.output()?;
    let whole_ns = start.elapsed().as_secs_f64() * 1e9;
    let report = report(command, output)?;
    let time = |key: &str| report["times"][key].as_f64().ok_or(format!("no {key}"));
    let rounds_ns = time("warmup_ns")? + time("rounds_ns")?;
    Ok(Cold { reported_ms: (time("total_ns")? - rounds_ns) / 1e6, whole_ms: (whole_ns - rounds_ns) / 1e6 })
}

/// How long a run of 1000 rounds takes as a whole whose two sides share a CPU, in milliseconds.
pub(crate) fn on_one_cpu(method: &str) -> Result<f64, Box<dyn Error>> {
    let mut command = bench(method)?;
    command.args(["--private", "-n", "1000", "--placement", "same-core"]);
    let start = Instant::now();
    let output = command.output()?;
    let whole_ms = start.elapsed().as_secs_f64() * 1e3;
    report(command, output).map(|_| whole_ms)
}

/// The tool's own round, and what of it is reading the clock.
pub(crate) struct Own {
    pub(crate) p50_ns: f64,
    pub(crate) clock_ns: f64,
}

pub(crate) fn own(rounds: u32) -> Result<Own, Box<dyn Error>> {
    let mut command = bench("null")?;
    command.args(["--private", "-n", &rounds.to_string()]);
    let output = command.output()?;
    let report = report(command, output)?;
    let p50_ns = report["results"][0]["latency_ns"]["p50"].as_f64().ok_or("no median")?;
    let clock_ns = report["clock"]["cost_ns"].as_f64().ok_or("no cost of the clock")?;
    Ok(Own { p50_ns, clock_ns })
}

/// The result of a run with several channels.
pub(crate) struct Parallel {
    pub(crate) rounds_per_second: f64,
    pub(crate) p50_ns: Option<f64>,
    pub(crate) p99_ns: Option<f64>,
    pub(crate) daemon_bytes: u64,
    /// The median of the responders', if they were busy for long enough to be looked at.
    pub(crate) responder_bytes: Option<u64>,
}

pub(crate) fn parallel(
    daemon: &Daemon,
    method: &str,
    count: u32,
    time: Duration,
) -> Result<Parallel, Box<dyn Error>> {
    let mut command = bench(method)?;
    command.arg("--socket").arg(daemon.socket());
    command.args(["--parallel", &count.to_string(), "--duration", &format!("{}ms", time.as_millis())]);
    let mut child = command.spawn()?;
    let looked = look(daemon, count, &mut || child.try_wait().is_ok_and(|ended| ended.is_some()));
    let report = report(command, child.wait_with_output()?)?;
    let (daemon_bytes, responder_bytes) = looked?;
    let cell = &report["results"][0];
    let figure = |value: &Value| value.as_f64().ok_or(format!("no figure in {cell}"));
    Ok(Parallel {
        rounds_per_second: figure(&cell["rounds"])? / figure(&cell["elapsed_ns"])? * 1e9,
        p50_ns: cell["latency_ns"]["p50"].as_f64(),
        p99_ns: cell["latency_ns"]["p99"].as_f64(),
        daemon_bytes,
        responder_bytes,
    })
}

/// Resident memory of the daemon, and of a responder once rounds run through this many channels: before, it may not have started
/// yet, and has less. `None` for the responder if the run ended earlier.
fn look(
    daemon: &Daemon,
    count: u32,
    ended: &mut dyn FnMut() -> bool,
) -> Result<(u64, Option<u64>), Box<dyn Error>> {
    let mut client = daemon.connect()?;
    let start = Instant::now();
    // A responder is the daemon still, until it executes itself.
    let words = |pid: u32| std::fs::read(format!("/proc/{pid}/cmdline")).ok();
    let daemons = words(daemon.pid());
    let mut seen: HashMap<u32, Usage> = HashMap::new();
    let mut is_busy = |pid| {
        if words(pid) == daemons {
            return false;
        }
        let Ok(now) = usage(Some(pid)) else { return false };
        let since = now.since(seen.entry(pid).or_insert(now));
        since.cpu_ns > BUSY_NS || since.voluntary_switches > BUSY_SWITCHES
    };
    loop {
        let channels = client.status()?.channels;
        let busy = channels.iter().filter(|channel| is_busy(channel.responder_pid)).count();
        let all = u32::try_from(busy) == Ok(count);
        if all || ended() || start.elapsed() > OPEN_PATIENCE {
            let memory: Vec<f64> = channels
                .iter()
                .filter_map(|channel| number(channel.responder_pid, "status", "VmRSS").ok())
                .map(|kib| (kib * 1024) as f64)
                .collect();
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a size")]
            let responder = median(&memory).filter(|_| all).map(|bytes| bytes as u64);
            return Ok((daemon.number("status", "VmRSS")? * 1024, responder));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}
