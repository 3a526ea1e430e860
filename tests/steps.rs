//! The date steps during a run, an hour ahead and a day back, repeatedly: no timing is affected, with any mechanism. The
//! host's clock is not changed: daemon, responders and clients run with a preloaded library whose date steps at every read
//! (`tests/preload/clock.c`).
//!
//! The system itself goes by the host's clock there. So what a test of this kind cannot see is a wait that is given a date as
//! its end, by a system call: `tests/tidy.rs` keeps the words for those out of the program.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ipcd::internals::protocol::{ChannelSpec, End, Exit, Greeting};
use ipcd::internals::transports::{Delivery, Mechanism};
use rustix::process::Signal;
use serde_json::Value;

use crate::conformance::here;
use crate::faults::endless_bench;
use crate::harness::{Announced, Daemon, PATIENCE, Preload, Sandbox, responder_of, run};
use crate::strangers::MANY;

/// By how much the date is off: at every other look one or the other. As `tests/preload/clock.c` has them.
const STEPS_S: [i64; 2] = [3600, -86_400];

/// How long each trial lasts: some tens of looks at the clock, and of steps of the date.
const TRIAL: Duration = Duration::from_millis(50);
const TRIALS: u32 = 2;

/// A daemon whose date steps, as do its responders'.
fn daemon(sandbox: &Sandbox, stepping: &Preload, more: &[&str]) -> Daemon {
    let start = sandbox.ipcd(&[&["start", "--log", "debug"], more].concat());
    let daemon = Daemon::start(sandbox, stepping.put_into(start));
    assert!(stepping.is_in(daemon.pid));
    daemon
}

fn carrying() -> impl Iterator<Item = &'static dyn Mechanism> {
    here().filter(|mechanism| mechanism.info().delivery != Delivery::None)
}

#[test]
fn a_date_that_steps_does_not_touch_what_is_measured() {
    run(|sandbox| {
        let Some(stepping) = Preload::build(sandbox, "clock") else { return };
        let daemon = daemon(sandbox, &stepping, &[]);
        for mechanism in here() {
            let method = mechanism.info().name;
            measures(sandbox, &stepping, method, &[]);
            // And by a client whose date does not step, which sees that the responder's does.
            let mut client = daemon.lease();
            let channel = client.open(&ChannelSpec::new(method)).unwrap();
            assert!(stepping.is_in(channel.responder_pid()), "{method}");
            client.close(channel).unwrap();
            drop(client);
            daemon.serves(method);
        }
        for more in [["--rate", "500/s"], ["--gap", "1ms"], ["--timing", "batch:10"]] {
            measures(sandbox, &stepping, "unix", &more);
        }
        daemon.is_at_rest();
        has_stepping_dates(&daemon.stop_by(Signal::TERM).stderr);
    });
}

/// Measures with a client whose date steps, and compares its report with this process's clock.
fn measures(sandbox: &Sandbox, stepping: &Preload, method: &str, more: &[&str]) {
    let (trials, duration) = (TRIALS.to_string(), format!("{}ms", TRIAL.as_millis()));
    let bench =
        ["bench", "--json", "-m", method, "--trials", &trials, "--warmup", "1", "--duration", &duration];
    let (began_s, began) = (unix_s(), Instant::now());
    let mut client = stepping.put_into(sandbox.client(&[&bench[..], more].concat()));
    let output = sandbox.finish(&mut client).expect(Exit::Success);
    let (lived, ended_s) = (began.elapsed(), unix_s());
    let report: Value = serde_json::from_str(&output.stdout).unwrap();

    let started_s = report["started_unix_s"].as_i64().unwrap();
    // The whole second in which it began.
    let stepped = STEPS_S.iter().any(|step| (began_s + step..=ended_s + step).contains(&started_s));
    assert!(stepped, "{method}: the report's date is {started_s}, between {began_s} and {ended_s}: no step");

    assert!(lived >= TRIAL * TRIALS, "{method}: {lived:?} are less than its trials last");
    let [cell] = &report["results"].as_array().unwrap()[..] else { panic!("{report:#}") };
    let within = |what: &str, ns: &Value| {
        let ns = ns.as_f64().unwrap_or_else(|| panic!("{method}: no {what}: {cell:#}"));
        assert!(
            ns > 0.0 && ns <= lived.as_nanos() as f64,
            "{method}: {what} is {ns} ns, of a run of {lived:?}: {cell:#}"
        );
    };
    assert!(cell["rounds"].as_u64().unwrap() > 0, "{method}: {cell:#}");
    within("elapsed", &cell["elapsed_ns"]);
    for quantile in ["min", "mean", "max"] {
        within(quantile, &cell["latency_ns"][quantile]);
    }
    if cell["response_ns"].is_object() {
        within("response", &cell["response_ns"]["max"]);
    }
    if cell["longest_gap"].is_object() {
        within("longest gap", &cell["longest_gap"]["elapsed_ns"]);
    }
    let kinds: Vec<_> = cell["warnings"].as_array().unwrap().iter().map(|one| &one["kind"]).collect();
    let all = report["warnings"].as_array().into_iter().flatten().map(|one| &one["kind"]);
    assert!(kinds.into_iter().chain(all).all(|kind| kind != "suspended"), "{method}: {report:#}");
}

fn unix_s() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().cast_signed()
}

/// Each line of the log looks at the date once: it goes forwards and back by about the distance of the steps.
fn has_stepping_dates(log: &str) {
    let date = |line: &str| humantime::parse_rfc3339(line.strip_prefix('[')?.split(' ').next()?).ok();
    let dates: Vec<SystemTime> = log.lines().filter_map(date).collect();
    let most_of_a_day = Duration::from_secs(86_400);
    let steps = |step: fn(&[SystemTime]) -> Option<Duration>| {
        dates.windows(2).filter_map(step).filter(|by| *by > most_of_a_day).count()
    };
    let ahead = steps(|two| two[1].duration_since(two[0]).ok());
    let back = steps(|two| two[0].duration_since(two[1]).ok());
    eprintln!("the daemon's date went ahead {ahead} times and back {back} times in {} lines", dates.len());
    assert!(ahead > 0 && back > 0 && ahead + back + 1 == dates.len(), "{log}");
}

/// What is waited for no longer than promised, is waited for no less either.
#[test]
fn deadlines_do_not_come_sooner_or_later_for_a_date_that_steps() {
    run(|sandbox| {
        let Some(stepping) = Preload::build(sandbox, "clock") else { return };
        let daemon = daemon(sandbox, &stepping, &MANY);
        let began = Instant::now();
        let mut half = UnixStream::connect(&daemon.socket).unwrap();
        half.write_all(&Greeting::OURS.to_bytes()[..8]).unwrap();
        let announced: Vec<_> = carrying()
            .map(|mechanism| {
                (Instant::now(), Announced::by(&daemon, &ChannelSpec::new(mechanism.info().name)))
            })
            .collect();

        half.set_read_timeout(Some(PATIENCE)).unwrap();
        half.read_to_end(&mut Vec::new()).unwrap();
        assert!(began.elapsed() >= Duration::from_secs(2), "half a greeting: {:?}", began.elapsed());
        for (began, announced) in announced {
            let method = announced.settings.method;
            let end = announced.ends();
            assert_eq!(end, End::Failed("no client connected within 10 s".to_owned()), "{method}");
            assert!(began.elapsed() >= Duration::from_secs(10), "{method}: {:?}", began.elapsed());
        }
        daemon.is_at_rest();
        daemon.serves("tcp");
    });
}

/// Some at once, since each takes the client's whole patience; not all, who would be at it before the last has begun.
#[test]
fn so_it_is_with_a_clients_patience() {
    const AT_ONCE: usize = 8;

    run(|sandbox| {
        let Some(stepping) = Preload::build(sandbox, "clock") else { return };
        let daemon = daemon(sandbox, &stepping, &MANY);
        for some in carrying().collect::<Vec<_>>().chunks(AT_ONCE) {
            let waiting = some.iter().map(|mechanism| {
                let client = sandbox.start(&mut stepping.put_into(endless_bench(sandbox, *mechanism)));
                let responder = responder_of(&daemon, &client);
                responder.signal(Signal::STOP);
                (*mechanism, client, Instant::now())
            });
            waiting.collect::<Vec<_>>().into_iter().for_each(|(mechanism, client, stopped)| {
                // Who may lose a message waits for less, which may be over by now.
                let patient = mechanism.info().delivery != Delivery::UnreliableMessage;
                let expected = if patient { "no answer within 10 s" } else { "datagrams in a row were lost" };
                // It is counted from the last answer, in ticks of a quarter of a second.
                let less = Duration::from_secs(9).checked_sub(stopped.elapsed());
                if let Some(less) = less.filter(|_| patient) {
                    assert!(!client.ends_within(less), "{}: {:?}", mechanism.info().name, stopped.elapsed());
                }
                client.wait(PATIENCE).expect(Exit::Broken).says(&[expected]);
            });
        }
        daemon.is_at_rest();
    });
}
