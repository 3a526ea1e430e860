//! Random benches by the program, and what may come of them.

use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use fastrand::Rng;
use ipcd::internals::client::{Placement, Topology};
use ipcd::internals::protocol::{Exit, Wait};
use ipcd::internals::transports::{Delivery, Mechanism};
use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{Output, Process, Sandbox};
use crate::invariants::methods;
use crate::storm::Storm;
use crate::tally::Table;

/// How long a run may take in all the turmoil, line included.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// The most bytes of a round in which both sides spin.
const SPUN: usize = 64 << 10;

/// Bytes that a run carries at most, each way.
const VOLUME: usize = 4 << 20;

/// The most bytes of a run of several trials, so that most of its life is none of its rounds'.
const OF_TRIALS: usize = 64 << 10;

/// A random size: as likely between 8 and 80 bytes as between 8 and 80 KiB.
fn size(random: &mut Rng, mechanism: &dyn Mechanism, wait: Wait, most: usize) -> usize {
    let can = mechanism.capabilities();
    let span = (can.max_size as f64 / can.min_size as f64).ln();
    let size = (can.min_size as f64 * (random.f64() * span).exp()) as usize;
    // Two sides that spin on one CPU trade whole time slices, as often as a round takes buffers of the kernel's.
    let most = if wait == Wait::Spin { most.min(SPUN) } else { most };
    size.clamp(can.min_size, most.clamp(can.min_size, can.max_size))
}

/// Where both sides run: somewhere, or on CPUs that this host has.
fn placement(random: &mut Rng) -> Placement {
    let topology = Topology::read().unwrap();
    let placement = random.choice([Placement::Unpinned, Placement::SameCore, Placement::CrossCore]).unwrap();
    if topology.resolve(placement).is_ok() { placement } else { Placement::Unpinned }
}

/// How a run of several trials waits, and what it carries.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setting {
    wait: Wait,
    size: usize,
}

impl Setting {
    /// One that the mechanism has.
    pub(crate) fn of(mechanism: &dyn Mechanism, random: &mut Rng) -> Self {
        let wait = *random.choice(mechanism.info().waits).unwrap();
        Self { wait, size: size(random, mechanism, wait, OF_TRIALS) }
    }
}

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
        let size = size(random, mechanism, wait, can.max_size);
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
        bench.says(&["--placement", &placement(random).to_string()]);
        for option in mechanism.info().options {
            bench.says(&[&format!("--{}", option.name), random.choice(option.values).unwrap()]);
        }
        match random.u8(..10) {
            0 => bench.says(&["--rate", "5k/s"]),
            1 => bench.says(&["--clock", "monotonic"]),
            2 if rounds > 1 => bench.says(&["--timing", "batch:2"]),
            _ => {}
        }
        bench
    }

    /// A run that ends within a second or two if it is not interrupted.
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

    /// One of several trials, so that much of its life is opening and closing.
    pub(crate) fn of_trials(mechanism: &'static dyn Mechanism, setting: Setting) -> Self {
        let Setting { wait, size } = setting;
        let rounds = if wait == Wait::Spin { 20 } else { 400 };
        let mut bench = Self { mechanism, arguments: Vec::new(), rounds: 3 * rounds, channels: 1 };
        bench.says(&[
            "--json",
            "-n",
            &rounds.to_string(),
            "--warmup",
            &(rounds / 2).to_string(),
            "--trials",
            "3",
        ]);
        bench.says(&["--wait", wait.name(), "--size", &size.to_string()]);
        bench
    }

    pub(crate) fn says(&mut self, words: &[&str]) {
        self.arguments.extend(words.iter().map(ToString::to_string));
    }

    pub(crate) fn start(&self, sandbox: &Sandbox) -> Process {
        let words: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        let bench = ["bench", "-m", self.mechanism.info().name];
        sandbox.start(&mut sandbox.client(&[&bench[..], &words].concat()))
    }

    pub(crate) fn may_lose(&self) -> bool {
        self.mechanism.info().delivery == Delivery::UnreliableMessage
    }

    /// Checks that every round was counted, or reported as lost.
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
    /// It exits with this code; stderr contains one of these.
    Exit(Exit, &'static [&'static str]),
    /// By the signal that it was sent.
    Signal(Signal),
}

/// Where the threads of a process wait.
fn asleep(pid: u32) -> String {
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return String::new() };
    let printed = tasks.map(|task| {
        let read =
            |name| std::fs::read_to_string(task.as_ref().unwrap().path().join(name)).unwrap_or_default();
        format!("its threads wait in {}, system call {}", read("wchan"), read("syscall").trim())
    });
    printed.collect::<Vec<_>>().join("; ")
}

/// How a run has ended.
pub(crate) enum End {
    /// As it might: what that was, and its output if it ended by itself and well.
    Expected(&'static str, Option<Output>),
    /// As one does whose daemon is lost: all that it said.
    Lost(String),
    /// Otherwise, or not at all: all that is known.
    Wrong(String),
}

/// Waits for the end of a run, and holds it against those that it may have.
pub(crate) fn end_of(client: Process, fates: &[Fate]) -> End {
    let pid = client.pid();
    if !client.ends_within(PATIENCE) {
        return End::Wrong(format!("process {pid} does not end within {PATIENCE:?}; {}", asleep(pid)));
    }
    let output = client.wait(PATIENCE);
    let printed = format!("{output:#?}");
    if output.stderr.contains("panicked") {
        return End::Wrong(printed);
    }
    let is = |exit: Exit| output.status.code() == Some(exit.code().into());
    for fate in fates {
        match fate {
            Fate::Exit(exit, parts) => {
                let says_so = parts.is_empty() || parts.iter().any(|part| output.stderr.contains(part));
                if is(*exit) && says_so {
                    return End::Expected(exit.meaning(), (*exit == Exit::Success).then_some(output));
                }
            }
            Fate::Signal(signal) if output.status.signal() == Some(signal.as_raw()) => {
                return End::Expected("ended by the signal that it was sent", None);
            }
            Fate::Signal(_) => {}
        }
    }
    // Where the daemon has ended, a client says so; one that was not greeted yet cannot know that it was a daemon.
    let codes = [Exit::Success, Exit::Broken, Exit::Unavailable, Exit::NoDaemon, Exit::NotIpcd];
    if codes.into_iter().any(is) { End::Lost(printed) } else { End::Wrong(printed) }
}

/// The same in a storm, in which a daemon may be lost; returns what a run has said that ended by itself and well.
///
/// # Errors
/// An unexpected end, with all details.
pub(crate) fn ends(storm: &Storm<'_>, client: Process, fates: &[Fate]) -> Result<Option<Output>, String> {
    match end_of(client, fates) {
        End::Expected(what, output) => {
            storm.tally.count(Table::Outcome, what);
            Ok(output)
        }
        End::Lost(printed) => storm.excuses(&printed).map(|()| None),
        End::Wrong(printed) => Err(printed),
    }
}
