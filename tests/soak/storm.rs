//! Storms: all clients act on one daemon for some seconds; the invariants are checked in the calm after each.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;
use ipcd::internals::protocol::Exit;
use ipcd::internals::transports::allow_descriptors;
use rustix::process::Signal;

use crate::harness::{Daemon, PATIENCE, Sandbox, run_within};
use crate::invariants::{
    BOUND_KIB, Rest, configuration, files, methods, no_process_is_left, nothing_is_left, number, start,
};
use crate::tally::{Table, Tally};
use crate::{actions, bystander, hostile};

/// Clients that act at the same time, and threads of hostile peers.
const CLIENTS: usize = 4;
const HOSTILE: usize = 2;

/// How long a storm lasts, in milliseconds.
const LENGTH_MS: std::ops::Range<u64> = 2_000..6_000;

/// How many times the daemon is ended per this many storms, in the first half of the time: in the second half, one daemon
/// has to survive them all.
const ENDS: (u8, u8) = (1, 3);

/// How often progress is printed.
const REPORT_EVERY: Duration = Duration::from_secs(10);

/// How much longer than asked for the whole may take before it counts as hanging.
const MORE: Duration = Duration::from_secs(300);

/// How much more than in the first quarter of its life a daemon may have resident in the last, and how many samples
/// make a quarter worth looking at.
const GROWTH_KIB: u64 = 512;
const SAMPLES: usize = 12;

/// A daemon under load, and who loads it.
pub(crate) struct Storm<'a> {
    pub(crate) sandbox: &'a Sandbox,
    pub(crate) daemon: &'a Daemon,
    pub(crate) tally: &'a Tally,
    /// The daemon's configuration.
    pub(crate) file: &'a Path,
    name: String,
    failed: Sender<String>,
    over: AtomicBool,
    ended: AtomicBool,
}

impl Storm<'_> {
    /// Whether all threads shall stop.
    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    /// Whether the daemon was ended on purpose: what a client asked it for may fail.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }

    /// Lets an error pass if the daemon was ended on purpose.
    ///
    /// # Errors
    /// It was not.
    pub(crate) fn excuses(&self, error: &str) -> Result<(), String> {
        if !self.has_ended() {
            return Err(error.to_owned());
        }
        self.tally.count(Table::Outcome, "lost a daemon that was ended");
        Ok(())
    }

    /// Goes on with something until the storm is over, or until it fails, which ends the storm.
    fn goes_on(&self, who: &str, mut act: impl FnMut() -> Result<(), String>) {
        let all = catch_unwind(AssertUnwindSafe(|| {
            while !self.is_over() {
                act()?;
            }
            Ok(())
        }));
        let failure = match all {
            Ok(Ok(())) => return,
            Ok(Err(failure)) => failure,
            Err(panic) => {
                let text = panic.downcast_ref::<String>().cloned();
                text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default()
            }
        };
        self.over.store(true, Ordering::SeqCst);
        // The receiver is gone if another thread has failed before.
        let _ = self.failed.send(format!("{}, {who}: {failure}", self.name));
    }
}

/// How a daemon ends that is not left alone.
#[derive(Debug, Clone, Copy)]
enum Ending {
    Killed,
    Terminated,
    Interrupted,
    ToldToStop,
}

impl Ending {
    const ALL: [Self; 6] =
        [Self::Killed, Self::Killed, Self::Killed, Self::Terminated, Self::Interrupted, Self::ToldToStop];

    /// Ends the daemon, while the clients continue.
    fn begin(self, storm: &Storm<'_>) {
        storm.ended.store(true, Ordering::SeqCst);
        let (what, signal) = match self {
            Self::Killed => ("daemon: SIGKILL", Some(Signal::KILL)),
            Self::Terminated => ("daemon: SIGTERM", Some(Signal::TERM)),
            Self::Interrupted => ("daemon: SIGINT", Some(Signal::INT)),
            Self::ToldToStop => ("daemon: ipcd stop", None),
        };
        storm.tally.count(Table::Fault, what);
        match signal {
            Some(signal) => storm.daemon.process().signal(signal),
            None => {
                storm.sandbox.finish(&mut storm.sandbox.ipcd(&["stop"])).expect(Exit::Success);
            }
        }
    }

    /// Checks that it has ended as it should.
    fn finish(self, daemon: Daemon) {
        match self {
            Self::Killed => drop(daemon.kill()),
            Self::Terminated => drop(daemon.stop_by(Signal::TERM)),
            Self::Interrupted => drop(daemon.stop_by(Signal::INT)),
            Self::ToldToStop => drop(daemon.ends().expect(Exit::Success)),
        }
    }
}

/// Runs storms for `time`.
pub(crate) fn run(time: Duration, seed: u64) {
    println!("soak: {} of seed {seed}, {} methods", humantime::format_duration(time), methods().len());
    run_within(time + MORE, move |sandbox| {
        let mut soak = Soak::new(sandbox, time, seed);
        soak.go();
        soak.report();
    });
}

/// A whole run.
struct Soak<'a> {
    sandbox: &'a Sandbox,
    start: Instant,
    time: Duration,
    seed: u64,
    random: Rng,
    tally: Tally,
    file: PathBuf,
    daemon: Option<Daemon>,
    rest: Rest,
    daemons: usize,
    storms: usize,
    /// The most that any daemon had resident, in KiB.
    peak_kib: u64,
    /// What this daemon had resident at rest, after each storm.
    samples: Vec<u64>,
    printed: Instant,
}

impl<'a> Soak<'a> {
    fn new(sandbox: &'a Sandbox, time: Duration, seed: u64) -> Self {
        allow_descriptors(4000);
        let file = configuration(sandbox);
        let (daemon, rest) = start(sandbox);
        Self {
            sandbox,
            start: Instant::now(),
            time,
            seed,
            random: Rng::with_seed(seed),
            tally: Tally::default(),
            file,
            daemon: Some(daemon),
            rest,
            daemons: 1,
            storms: 0,
            peak_kib: 0,
            samples: Vec::new(),
            printed: Instant::now(),
        }
    }

    fn go(&mut self) {
        while self.start.elapsed() < self.time {
            self.storms += 1;
            let may_end = self.start.elapsed() < self.time / 2;
            let ends = self.random.u8(..ENDS.1) < ENDS.0;
            let ending = self.random.choice(Ending::ALL).filter(|_| may_end && ends);
            self.storm(ending);
            match ending {
                None => self.daemon_is_at_rest(),
                Some(ending) => self.daemon_is_replaced(ending),
            }
            if self.printed.elapsed() > REPORT_EVERY {
                self.printed = Instant::now();
                self.tell();
            }
        }
        self.everything_works();
    }

    fn storm(&mut self, ending: Option<Ending>) {
        let left = self.time.saturating_sub(self.start.elapsed());
        let length = Duration::from_millis(self.random.u64(LENGTH_MS)).min(left);
        let (failed, failures) = channel();
        let storm = Storm {
            sandbox: self.sandbox,
            daemon: self.daemon.as_ref().unwrap(),
            tally: &self.tally,
            file: &self.file,
            name: format!("storm {}", self.storms),
            failed,
            over: AtomicBool::new(false),
            ended: AtomicBool::new(false),
        };
        let mut failure = None;
        let acts = AtomicU64::new(0);
        thread::scope(|scope| {
            let (storm, acts) = (&storm, &acts);
            for number in 0..CLIENTS {
                let mut random = self.random.fork();
                scope.spawn(move || {
                    storm.goes_on(&format!("client {number}"), || {
                        acts.fetch_add(1, Ordering::Relaxed);
                        actions::act(storm, &mut random)
                    });
                });
            }
            for number in 0..HOSTILE {
                let mut random = self.random.fork();
                scope.spawn(move || {
                    hostile::becomes_another_user();
                    storm.goes_on(&format!("hostile {number}"), || {
                        hostile::act(storm, &mut random);
                        Ok(())
                    });
                });
            }
            scope.spawn(|| storm.goes_on("bystander", || bystander::comes(storm)));
            failure = failures.recv_timeout(length).ok();
            if let Some(ending) = ending.filter(|_| failure.is_none()) {
                storm.goes_on("ending the daemon", || {
                    ending.begin(storm);
                    storm.over.store(true, Ordering::SeqCst);
                    Ok(())
                });
            }
            storm.over.store(true, Ordering::SeqCst);
        });
        let failure = failure.or_else(|| failures.try_recv().ok());
        self.peak_kib = self.peak_kib.max(peak_kib(self.daemon.as_ref().unwrap(), storm.has_ended()));
        if let Some(failure) = failure {
            panic!("seed {}: {failure}", self.seed);
        }
    }

    /// Checks a daemon that all clients have left.
    fn daemon_is_at_rest(&mut self) {
        let daemon = self.daemon.as_ref().unwrap();
        let now = Rest::of(daemon);
        self.rest.holds_for(&now);
        nothing_is_left(self.sandbox, Some(daemon), &files(self.sandbox));
        for _ in 0..3 {
            daemon.serves(self.random.choice(methods()).unwrap().info().name);
        }
        self.samples.push(now.resident_kib);
        assert!(self.peak_kib <= BOUND_KIB, "the daemon held {} KiB, of {BOUND_KIB}", self.peak_kib);
    }

    /// Checks that nothing is left of a daemon that has ended, and starts the next one.
    fn daemon_is_replaced(&mut self, ending: Ending) {
        ending.finish(self.daemon.take().unwrap());
        // What a daemon, its responder and their client leave who are killed at once, the next daemon removes.
        no_process_is_left(self.sandbox);
        let (daemon, rest) = start(self.sandbox);
        nothing_is_left(self.sandbox, Some(&daemon), &files(self.sandbox));
        (self.daemon, self.rest) = (Some(daemon), rest);
        self.daemons += 1;
        self.samples.clear();
    }

    /// The next bench of every method works, by a program and by the library.
    fn everything_works(&mut self) {
        let daemon = self.daemon.take().unwrap();
        for mechanism in methods() {
            let method = mechanism.info().name;
            let mut bench = self.sandbox.client(&["bench", "-m", method, "-n", "100"]);
            self.sandbox.start(&mut bench).wait(PATIENCE).expect(Exit::Success);
            daemon.serves(method);
        }
        self.rest.holds_for(&Rest::of(&daemon));
        nothing_is_left(self.sandbox, Some(&daemon), &files(self.sandbox));
        daemon.stop_by(Signal::TERM);
        fs::remove_file(&self.file).unwrap();
        nothing_is_left(self.sandbox, None, &[]);
    }

    fn tell(&self) {
        eprintln!(
            "soak: {} of {}: {} storms, {} daemons, {} actions, {} faults, {} hostile peers, {} strangers; daemon: {} KiB now, {} KiB at most, \
             {} descriptors; longest wait of the bystander {} ms",
            humantime::format_duration(Duration::from_secs(self.start.elapsed().as_secs())),
            humantime::format_duration(self.time),
            self.storms,
            self.daemons,
            self.tally.total(Table::Action),
            self.tally.total(Table::Fault),
            self.tally.total(Table::Hostile),
            self.tally.total(Table::Stranger),
            self.samples.last().copied().unwrap_or(self.rest.resident_kib),
            self.peak_kib,
            self.rest.descriptors(),
            self.tally.longest_wait().as_millis(),
        );
    }

    fn report(&self) {
        println!("{}", self.tally);
        let row = |what: &str, figure: String| println!("{what:<68} {figure:>9}");
        row("storms", self.storms.to_string());
        row("daemons", self.daemons.to_string());
        row("most memory of a daemon, KiB", format!("{} of {BOUND_KIB}", self.peak_kib));
        row(
            "descriptors of the daemon at rest, at the start and at the end",
            self.rest.descriptors().to_string(),
        );
        row("leaks found", "0".to_owned());
        let quarter = self.samples.len() / 4;
        if quarter < SAMPLES {
            println!("memory over time: not judged, by {} samples of one daemon", self.samples.len());
            return;
        }
        let first = median(&self.samples[..quarter]);
        let last = median(&self.samples[self.samples.len() - quarter..]);
        let what =
            format!("resident memory of the last daemon at rest ({} samples), KiB:", self.samples.len());
        row(&format!("{what} median of the first quarter"), first.to_string());
        row(&format!("{what} median of the last quarter"), last.to_string());
        assert!(last <= first + GROWTH_KIB, "the daemon grows: {:?}", self.samples);
    }
}

/// The most that a daemon has had resident; 0 of one that has ended.
fn peak_kib(daemon: &Daemon, ended: bool) -> u64 {
    if ended { 0 } else { number(daemon.pid, "VmHWM") }
}

fn median(samples: &[u64]) -> u64 {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable();
    sorted[sorted.len() / 2]
}
