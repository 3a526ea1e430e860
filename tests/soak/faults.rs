//! One fault in each of many runs, at a random moment of the run's life: what is left afterwards is nothing, and the next
//! run works.

use std::collections::BTreeMap;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;
use ipcd::internals::protocol::Exit;
use ipcd::internals::transports::Mechanism;
use rustix::process::Signal;

use crate::actions::a_moment;
use crate::bench::{Bench, End, Fate, Setting, end_of};
use crate::harness::{Daemon, Peer, Process, Sandbox, responders, run_within};
use crate::invariants::{Rest, configuration, files, methods, no_process_is_left, nothing_is_left, start};
use crate::tally::{Table, Tally};

/// How long a run and what is looked at after it may take, on average.
const EACH: Duration = Duration::from_secs(20);

/// How long who is stopped stays so: less than its peers' patience.
const STOPPED: Duration = Duration::from_millis(1000);

/// Parts of a run's life in which faults are counted.
const MOMENTS: [&str; 5] =
    ["in its 1st fifth", "in its 2nd fifth", "in its 3rd fifth", "in its 4th fifth", "in its 5th fifth"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    Client,
    Responder,
    Daemon,
}

/// The victim, whether it is killed or only stopped for a while, and the fault's name.
const FAULTS: [(Victim, bool, &str); 6] = [
    (Victim::Client, true, "client: SIGKILL"),
    (Victim::Client, false, "client: SIGSTOP, then SIGCONT"),
    (Victim::Responder, true, "responder: SIGKILL"),
    (Victim::Responder, false, "responder: SIGSTOP, then SIGCONT"),
    (Victim::Daemon, true, "daemon: SIGKILL"),
    (Victim::Daemon, false, "daemon: SIGSTOP, then SIGCONT"),
];

/// Injects `count` faults.
pub(crate) fn run(count: usize, seed: u64) {
    println!("faults: {count} of seed {seed}, {} methods", methods().len());
    run_within(EACH * u32::try_from(count + 10).unwrap(), move |sandbox| {
        let (daemon, rest) = start(sandbox);
        let mut faults = Faults {
            sandbox,
            daemon: Some(daemon),
            rest,
            random: Rng::with_seed(seed),
            tally: Tally::default(),
            lives: BTreeMap::new(),
        };
        faults.inject(count, seed);
        faults.finish();
    });
}

struct Faults<'a> {
    sandbox: &'a Sandbox,
    daemon: Option<Daemon>,
    rest: Rest,
    random: Rng,
    tally: Tally,
    /// The setting of a method's next run that a fault befalls, and how long one took to which nothing happened.
    lives: BTreeMap<&'static str, (Setting, Duration)>,
}

impl Faults<'_> {
    /// Each fault in each mechanism as often as the others, in random order.
    fn inject(&mut self, count: usize, seed: u64) {
        let pairs: Vec<_> =
            methods().into_iter().flat_map(|mechanism| FAULTS.map(|fault| (mechanism, fault))).collect();
        let mut left = Vec::new();
        let printed = Instant::now();
        let mut injected = 0;
        let mut runs = 0;
        while injected < count {
            if left.is_empty() {
                left = pairs.clone();
                self.random.shuffle(&mut left);
            }
            let (mechanism, (victim, ends, what)) = *left.last().expect("there are mechanisms");
            runs += 1;
            let outcome = self.one(mechanism, victim, ends);
            match outcome {
                Ok(None) => self.tally.count(Table::Outcome, "over before its fault came: done again"),
                Ok(Some(moment)) => {
                    left.pop();
                    injected += 1;
                    self.tally.count(Table::Fault, what);
                    self.tally.count(Table::Moment, moment);
                    if injected % 50 == 0 {
                        eprintln!("faults: {injected} of {count} after {} s", printed.elapsed().as_secs());
                    }
                }
                Err(wrong) => panic!("seed {seed}, run {runs}, {}, {what}: {wrong}", mechanism.info().name),
            }
        }
    }

    /// How this method's next run is set, and how long it lives.
    fn life(&mut self, mechanism: &'static dyn Mechanism) -> Result<(Setting, Duration), String> {
        let method = mechanism.info().name;
        if !self.lives.contains_key(method) {
            self.next_run_works(mechanism)?;
        }
        Ok(self.lives[method])
    }

    /// One run with one fault. Returns when the fault happened, if the victim still existed.
    fn one(
        &mut self,
        mechanism: &'static dyn Mechanism,
        victim: Victim,
        ends: bool,
    ) -> Result<Option<&'static str>, String> {
        let (setting, life) = self.life(mechanism)?;
        let share = self.random.f64();
        let bench = Bench::of_trials(mechanism, setting);
        let client = bench.start(self.sandbox);
        let begin = Instant::now();
        thread::sleep(life.mul_f64(share));
        let daemon = self.daemon.as_ref().expect("there is always one");
        let Some(peer) = find(victim, daemon, &client) else {
            // The run ended first: the victim is gone.
            return is_done(&bench, client).map(|()| None);
        };
        let moment = MOMENTS[((begin.elapsed().as_secs_f64() / life.as_secs_f64() * 5.0) as usize).min(4)];
        let mut fates = vec![Fate::Exit(Exit::Success, &[])];
        if ends {
            peer.signal(Signal::KILL);
            match victim {
                Victim::Client => fates.push(Fate::Signal(Signal::KILL)),
                Victim::Responder => {
                    let printed = &["killed by signal 9"];
                    fates.extend([Fate::Exit(Exit::Broken, printed), Fate::Exit(Exit::Unavailable, printed)]);
                }
                Victim::Daemon => {}
            }
        } else {
            peer.signal(Signal::STOP);
            a_moment(&mut self.random, STOPPED);
            peer.signal(Signal::CONT);
            if bench.may_lose() {
                fates.push(Fate::Exit(Exit::Broken, &["datagrams in a row were lost"]));
            }
        }
        match end_of(client, &fates) {
            End::Expected(what, output) => {
                self.tally.count(Table::Outcome, what);
                output.map_or(Ok(()), |output| bench.is_whole(&output))?;
            }
            End::Lost(_) if victim == Victim::Daemon && ends => {
                self.tally.count(Table::Outcome, "reported that the daemon is lost or missing");
            }
            End::Lost(printed) | End::Wrong(printed) => return Err(printed),
        }
        self.everything_is_clean(victim == Victim::Daemon && ends);
        self.next_run_works(mechanism)?;
        Ok(Some(moment))
    }

    fn everything_is_clean(&mut self, killed: bool) {
        if killed {
            self.daemon.take().expect("there is always one").kill();
            no_process_is_left(self.sandbox);
            let (daemon, rest) = start(self.sandbox);
            (self.daemon, self.rest) = (Some(daemon), rest);
        }
        let daemon = self.daemon.as_ref().expect("there is always one");
        self.rest.holds_for(&Rest::of(daemon));
        nothing_is_left(self.sandbox, Some(daemon), &files(self.sandbox));
    }

    /// By the same mechanism, as a user would.
    fn next_run_works(&mut self, mechanism: &'static dyn Mechanism) -> Result<(), String> {
        let setting = Setting::of(mechanism, &mut self.random);
        let bench = Bench::of_trials(mechanism, setting);
        let start = Instant::now();
        is_done(&bench, bench.start(self.sandbox)).map_err(|error| format!("the next run: {error}"))?;
        // The host's load changes; the last figure fits best.
        self.lives.insert(mechanism.info().name, (setting, start.elapsed()));
        Ok(())
    }

    fn finish(mut self) {
        let daemon = self.daemon.take().expect("there is always one");
        self.rest.holds_for(&Rest::of(&daemon));
        daemon.stop_by(Signal::TERM);
        fs::remove_file(configuration(self.sandbox)).unwrap();
        nothing_is_left(self.sandbox, None, &[]);
        println!("{}leaks found: 0", self.tally);
    }
}

/// Waits for a run to which nothing happens.
fn is_done(bench: &Bench, client: Process) -> Result<(), String> {
    match end_of(client, &[Fate::Exit(Exit::Success, &[])]) {
        End::Expected(_, output) => output.map_or(Ok(()), |output| bench.is_whole(&output)),
        End::Lost(printed) | End::Wrong(printed) => Err(printed),
    }
}

/// The victim's process; a responder only if it exists, or starts before the client ends.
fn find(victim: Victim, daemon: &Daemon, client: &Process) -> Option<Peer> {
    let ended = || client.ends_within(Duration::ZERO);
    match victim {
        Victim::Client => Peer::find(client.pid()).filter(|_| !ended()),
        Victim::Daemon => Peer::find(daemon.pid).filter(|_| !ended()),
        Victim::Responder => loop {
            if let Some(peer) = responders(daemon.pid).first().and_then(|pid| Peer::find(*pid)) {
                return Some(peer);
            }
            if ended() {
                return None;
            }
        },
    }
}
