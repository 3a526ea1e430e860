//! Random benches by the program, and what may come of them.

use std::time::Duration;

use fastrand::Rng;
use ipcd::protocol::{Exit, Wait};
use ipcd::transports::{Delivery, Mechanism};
use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{Output, Process};
use crate::invariants::methods;
use crate::storm::Storm;
use crate::tally::Table;

/// How long a run may take in all the turmoil, line included.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Bytes that a run carries at most, each way.
const VOLUME: usize = 4 << 20;

/// A bench.
pub(crate) struct Bench {
    pub(crate) mechanism: &'static dyn Mechanism,
    pub(crate) arguments: Vec<String>,
    rounds: u64,
    channels: u64,
}

impl Bench {
    /// One that ends by itself and has every setting at random.
    pub(crate) fn whole(random: &mut Rng) -> Self {
        let mechanism = random.choice(methods()).unwrap();
        let can = mechanism.capabilities();
        let wait = *random.choice(mechanism.info().waits).unwrap();
        // As many sizes between 8 and 80 as between 8 KiB and 80 KiB.
        let span = (can.max_size as f64 / can.min_size as f64).ln();
        let size = (can.min_size as f64 * (random.f64() * span).exp()) as usize;
        let size = size.clamp(can.min_size, can.max_size);
        // Two sides that spin on one CPU trade whole time slices.
        let (most, channels) = match wait {
            Wait::Spin => (20, random.u64(1..=2)),
            _ => (1000, if random.u8(..4) == 0 { random.u64(2..=8) } else { 1 }),
        };
        let channels = if size > 1 << 20 { 1 } else { channels };
        let rounds = random.u64(1..=most).min((VOLUME / size) as u64).max(1);
        let mut bench = Self { mechanism, arguments: Vec::new(), rounds, channels };
        bench.says(&["--json", "-n", &rounds.to_string(), "--size", &size.to_string()]);
        bench.says(&["--wait", wait.name(), "--parallel", &channels.to_string()]);
        bench.says(&["--warmup", &random.u64(1..=rounds).to_string()]);
        match random.u8(..10) {
            0 => bench.says(&["--rate", "5k/s"]),
            1 => bench.says(&["--clock", "monotonic"]),
            2 if rounds > 1 => bench.says(&["--timing", "batch:2"]),
            _ => {}
        }
        bench
    }

    /// One that ends within a second or two if nobody stops it.
    pub(crate) fn short(random: &mut Rng) -> Self {
        let mechanism = random.choice(methods()).unwrap();
        let rounds = random.u64(50..3000);
        let mut bench = Self { mechanism, arguments: Vec::new(), rounds, channels: 1 };
        bench.says(&["--json", "-n", &rounds.to_string()]);
        bench
    }

    /// One that does not end by itself.
    pub(crate) fn endless(random: &mut Rng) -> Self {
        let mechanism = random.choice(methods()).unwrap();
        let channels = if random.u8(..4) == 0 { random.u64(2..=4) } else { 1 };
        let mut bench = Self { mechanism, arguments: Vec::new(), rounds: u64::MAX, channels };
        bench.says(&["-n", "1000000000", "--warmup", &random.u16(1..1000).to_string()]);
        bench.says(&["--parallel", &channels.to_string()]);
        bench
    }

    pub(crate) fn says(&mut self, words: &[&str]) {
        self.arguments.extend(words.iter().map(ToString::to_string));
    }

    pub(crate) fn start(&self, storm: &Storm<'_>) -> Process {
        let words: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        let bench = ["bench", "-m", self.mechanism.info().name];
        storm.sandbox.start(&mut storm.sandbox.client(&[&bench[..], &words].concat()))
    }

    pub(crate) fn may_lose(&self) -> bool {
        self.mechanism.info().delivery == Delivery::UnreliableMessage
    }

    /// Checks that every round was counted, or is told to be lost.
    ///
    /// # Errors
    /// What is wrong.
    pub(crate) fn is_whole(&self, output: &Output) -> Result<(), String> {
        let report: Value =
            serde_json::from_str(&output.stdout).map_err(|error| format!("{error}: {output:?}"))?;
        let cell = &report["results"][0];
        let number = |key: &str| cell[key].as_u64().ok_or_else(|| format!("no {key} in {cell}"));
        let (done, asked) = (number("rounds")? + number("lost")?, self.rounds * self.channels);
        if done == asked { Ok(()) } else { Err(format!("{done} of {asked} rounds in {cell}")) }
    }
}

/// How a run may end.
pub(crate) enum Fate {
    /// By itself, with this exit code; stderr tells one of these.
    Exit(Exit, &'static [&'static str]),
    /// By the signal that it was sent.
    Signal(Signal),
}

/// Where the threads of a process wait.
fn asleep(pid: u32) -> String {
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return String::new() };
    let told = tasks.map(|task| {
        let read =
            |name| std::fs::read_to_string(task.as_ref().unwrap().path().join(name)).unwrap_or_default();
        format!("its threads wait in {}, system call {}", read("wchan"), read("syscall").trim())
    });
    told.collect::<Vec<_>>().join("; ")
}

/// Waits for the end of a run and checks that it is one of those that it may have; returns it if it ended by itself and
/// well.
///
/// # Errors
/// Any other end, of which everything is told.
pub(crate) fn ends(storm: &Storm<'_>, client: Process, fates: &[Fate]) -> Result<Option<Output>, String> {
    if !client.ends_within(PATIENCE) {
        let status = storm.daemon.status();
        return Err(format!(
            "process {} does not end; {}\nthe daemon says:\n{status}",
            client.pid(),
            asleep(client.pid())
        ));
    }
    let output = client.wait(PATIENCE);
    let panicked = output.stderr.contains("panicked");
    for fate in fates {
        match fate {
            Fate::Exit(exit, parts) => {
                let told = parts.is_empty() || parts.iter().any(|part| output.stderr.contains(part));
                if output.status.code() == Some(exit.code().into()) && told && !panicked {
                    storm.tally.count(Table::Outcome, exit.meaning());
                    return Ok((*exit == Exit::Success).then_some(output));
                }
            }
            Fate::Signal(signal) => {
                use std::os::unix::process::ExitStatusExt;
                if output.status.signal() == Some(signal.as_raw()) && !panicked {
                    storm.tally.count(Table::Outcome, "ended by the signal that it was sent");
                    return Ok(None);
                }
            }
        }
    }
    // Where the daemon was ended, a client says so; one that was not greeted yet cannot know that it was a daemon.
    let codes = [Exit::Success, Exit::Broken, Exit::Unavailable, Exit::NoDaemon, Exit::NotIpcd];
    let told = codes.iter().any(|exit| output.status.code() == Some(exit.code().into()));
    let end = format!("{output:#?}");
    if told && !panicked { storm.excuses(&end).map(|()| None) } else { Err(end) }
}
