//! The programs that are compared: how each is built, started and understood.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use ipcd::internals::client::CpuPair;
use ipcd::internals::protocol::Wait;
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;

/// A program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Program {
    Floor,
    Client,
    Pp,
}

/// What times a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Timing {
    /// Each round, by the program's ordinary clock.
    Clock,
    /// Each round, by the time stamp counter, where there is one.
    Tsc,
    /// Batches of 1000 rounds; a quantile is one of their means.
    Batch,
}

/// One run of one program, but for its length.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    pub(crate) program: Program,
    pub(crate) method: &'static str,
    pub(crate) arguments: &'static [&'static str],
    pub(crate) wait: Wait,
    pub(crate) cpus: CpuPair,
    pub(crate) size: u32,
    pub(crate) timing: Timing,
}

/// A run's result, in nanoseconds per round trip.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Figures {
    pub(crate) p50: f64,
    pub(crate) mean: f64,
}

/// The programs, built.
#[derive(Debug)]
pub(crate) struct Programs {
    floor: PathBuf,
    pp: Option<PathBuf>,
}

impl Programs {
    /// Builds the C programs; `None` without a C compiler.
    pub(crate) fn build() -> Result<Option<Self>, String> {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/floor/floor.c");
        let Some(floor) = compile(&source, "floor")? else { return Ok(None) };
        let pp = match std::env::var_os("IPCD_PP") {
            Some(source) => compile(Path::new(&source), "pp")?,
            None => None,
        };
        Ok(Some(Self { floor, pp }))
    }

    pub(crate) fn has_pp(&self) -> bool {
        self.pp.is_some()
    }

    /// Runs one of them.
    pub(crate) fn run(&self, run: &Run, rounds: u64) -> Result<Figures, String> {
        let mut command = self.command(run, rounds);
        let output = output_in_time(&mut command).map_err(|error| format!("{command:?}: {error}"))?;
        if !output.status.success() {
            return Err(format!(
                "{command:?}: {}: {}",
                output.status,
                String::from_utf8_lossy(&output.stderr).trim()
            ));
        }
        let text = String::from_utf8_lossy(&output.stdout);
        match run.program {
            Program::Pp => figures_of_pp(&text, run.timing),
            Program::Floor => serde_json::from_str(&text).ok().and_then(|json: Value| figures(&json)),
            Program::Client => serde_json::from_str(&text)
                .ok()
                .and_then(|json: Value| figures(&json["results"][0]["latency_ns"])),
        }
        .ok_or_else(|| format!("{command:?} printed no median in {} bytes", text.len()))
    }

    fn command(&self, run: &Run, rounds: u64) -> Command {
        let Run { wait, cpus, size, .. } = run;
        let warmup = rounds / 10;
        let mut words: Vec<String> = Vec::new();
        let mut say = |option: &str, value: &dyn std::fmt::Display| {
            words.extend([option.to_owned(), value.to_string()])
        };
        let program: OsString = match run.program {
            Program::Floor => {
                let timing = match run.timing {
                    Timing::Tsc if cfg!(target_arch = "x86_64") => "tsc",
                    Timing::Clock | Timing::Tsc => "clock",
                    Timing::Batch => "none",
                };
                say("--wait", wait);
                say("--size", size);
                say("--rounds", &rounds);
                say("--warmup", &warmup);
                say("--client-cpu", &cpus.client);
                say("--server-cpu", &cpus.server);
                say("--timing", &timing);
                words.push(run.method.to_owned());
                self.floor.clone().into()
            }
            Program::Client => {
                let timing = if run.timing == Timing::Batch { "batch:1000" } else { "round" };
                words.extend(["bench", "--private", "--json"].map(str::to_owned));
                let mut say =
                    |option: &str, value: &dyn std::fmt::Display| words.push(format!("{option}={value}"));
                say("--method", &run.method);
                say("--wait", wait);
                say("--size", size);
                say("--rounds", &rounds);
                say("--warmup", &warmup);
                say("--client-cpu", &cpus.client);
                say("--server-cpu", &cpus.server);
                say("--timing", &timing);
                words.extend(run.arguments.iter().map(|&word| word.to_owned()));
                env!("CARGO_BIN_EXE_ipc-client").into()
            }
            Program::Pp => {
                words.push(name_in_pp(run.method).to_owned());
                let mut say = |option: &str, value: &dyn std::fmt::Display| {
                    words.extend([option.to_owned(), value.to_string()])
                };
                say("-m", &if *wait == Wait::Spin { "busy" } else { "block" });
                say("-s", size);
                say("-n", &rounds);
                say("-w", &warmup);
                say("-a", &cpus.client);
                say("-b", &cpus.server);
                say(
                    "-T",
                    &match run.timing {
                        Timing::Clock => "clock",
                        Timing::Tsc => "tsc",
                        Timing::Batch => "none",
                    },
                );
                self.pp.clone().expect("its rows are only made where it was built").into()
            }
        };
        let mut command = Command::new(program);
        command.args(words);
        command
    }
}

/// A run that takes longer has lost its peer.
const PATIENCE: Duration = Duration::from_secs(60);

/// The program's output; ends it, with the processes that it has started, when it takes too long.
fn output_in_time(command: &mut Command) -> std::io::Result<Output> {
    let child = command.process_group(0).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let (sender, receiver) = mpsc::channel();
    // It sleeps until the run is over: nothing is polled while something is measured.
    thread::spawn(move || sender.send(child.wait_with_output()));
    receiver.recv_timeout(PATIENCE).unwrap_or_else(|_| {
        if let Some(group) = group {
            kill_process_group(group, Signal::KILL)?;
        }
        Err(std::io::Error::new(ErrorKind::TimedOut, format!("no end within {} s", PATIENCE.as_secs())))
    })
}

fn figures(json: &Value) -> Option<Figures> {
    Some(Figures { p50: json["p50"].as_f64()?, mean: json["mean"].as_f64()? })
}

/// It prints `name=value` words, and no quantiles of batches.
fn figures_of_pp(text: &str, timing: Timing) -> Option<Figures> {
    let figure = |name: &str| {
        text.split_whitespace()
            .find_map(|word| word.strip_prefix(name)?.strip_prefix('=')?.parse::<f64>().ok())
    };
    let mean = figure("mean")?;
    Some(Figures { p50: if timing == Timing::Batch { mean } else { figure("p50")? }, mean })
}

fn name_in_pp(method: &'static str) -> &'static str {
    match method {
        "tcp-delay" => "tcpdelay",
        "unix-dgram" => "unixdg",
        "unix-seqpacket" => "seqpacket",
        "shmem" => "shm128",
        "shmem-line" => "shmline",
        other => other,
    }
}

/// Builds one C file; `None` without a C compiler.
fn compile(source: &Path, name: &str) -> Result<Option<PathBuf>, String> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    let mut command = Command::new(compiler);
    command.arg("-O2").arg("-o").arg(&target).arg(source).arg("-lrt");
    match command.status() {
        Ok(status) if status.success() => Ok(Some(target)),
        Ok(status) => Err(format!("{command:?}: {status}")),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("{command:?}: {error}")),
    }
}
