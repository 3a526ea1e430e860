//! Reports of made-up trials with fixed numbers, for tests of the formats.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::ranking::rank;
use super::{CellReport, Clock, Report, SCHEMA, Settings, Times};
use crate::client::ClientError;
use crate::client::bench::{Cell, Outcome};
use crate::client::host::fixture::Tree;
use crate::client::host::placement::Placement;
use crate::client::host::{Build, Environment, Snapshot, Throttling};
use crate::client::judge::warnings::{Grade, judge};
use crate::client::measure::{CpusSeen, Probe, Recorder, Trial, WakeUp, histogram};
use crate::client::stats::Latency;
use crate::protocol::{ChannelSpec, Usage, Wait};
use crate::transports::Pace;
use crate::transports::sys::clock::{Calibration, ClockChoice};

/// Many cells, five trials: pinned and not, with options, sizes, lost datagrams, drift, and one that failed.
pub(in crate::client) fn sweep() -> Report {
    let shmem = cell("shmem", 8, Wait::Adaptive, Some((0, 1)));
    let tcp = Cell { wait: Wait::Block, ..cell("tcp", 65_536, Wait::Block, None) };
    let nodelay = Cell {
        spec: ChannelSpec {
            options: BTreeMap::from([("nodelay".to_owned(), "false".to_owned())]),
            ..tcp.spec.clone()
        },
        ..tcp.clone()
    };
    let outcomes = [
        Outcome { precision_reached: Some(0.012), ..outcome(shmem, 5, 20_000, 381) },
        Outcome { precision_reached: Some(0.03), ..outcome(tcp, 5, 2_000, 91_000) },
        outcome(nodelay, 5, 1_000, 44_000_000),
        lossy(outcome(cell("udp", 64, Wait::Spin, Some((1, 1))), 5, 1_500, 67_700)),
        Outcome {
            error: Some(ClientError::Silent { method: "pipe".to_owned(), losses: 5 }),
            ..outcome(cell("pipe", 8, Wait::Block, None), 0, 0, 0)
        },
    ];
    report(&outcomes, "auto", &["bench", "--method", "all", "--size", "8,64,64k"], 5)
}

/// Methods that block on two CPUs, where waking an idle one is most of it, and one that does not, at two sizes; two of them tie.
pub(in crate::client) fn methods() -> Report {
    let of = |method: &str, size, wait, ns| outcome(cell(method, size, wait, Some((0, 1))), 5, 10_000, ns);
    let mut pipe = of("pipe", 64, Wait::Block, 44_900);
    // In the other order, each is slower than the other in some trials.
    pipe.trials.reverse();
    let outcomes = [
        of("tcp", 64, Wait::Block, 56_500),
        of("tcp", 65_536, Wait::Block, 93_000),
        of("unix", 64, Wait::Block, 44_800),
        of("unix", 65_536, Wait::Block, 71_000),
        of("shmem", 64, Wait::Adaptive, 1_120),
        of("shmem", 65_536, Wait::Adaptive, 7_700),
        pipe,
    ];
    let mut report =
        report(&outcomes, "round", &["bench", "tcp", "unix", "shmem", "pipe", "--size", "64,64k"], 5);
    report.settings.precision_fraction = None;
    report.idle_wake_ups =
        vec![WakeUp { client_cpu: 0, server_cpu: 1, round_trip_ns: 42_000.0, samples: 50 }];
    judge(&mut report);
    report
}

/// One cell, one trial.
pub(in crate::client) fn single() -> Report {
    report(
        &[outcome(cell("tcp", 8, Wait::Block, None), 1, 10_000, 91_000)],
        "round",
        &["bench", "-n", "10000"],
        1,
    )
}

/// Several channels at once.
pub(in crate::client) fn parallel() -> Report {
    let cell = Cell { parallel: 100, ..cell("tcp", 8, Wait::Block, None) };
    report(&[outcome(cell, 1, 10_000, 91_000)], "round", &["bench", "-n", "100", "--parallel", "100"], 1)
}

/// A fixed rate and a gap, and batches.
pub(in crate::client) fn paced() -> Report {
    let every = Duration::from_micros(200);
    let rate = Cell { pace: Some(Pace::Every(every)), ..cell("tcp", 8, Wait::Block, None) };
    let gap = Cell { pace: Some(Pace::Gap(Duration::from_millis(1))), ..rate.clone() };
    let mut rate = outcome(rate, 2, 5_000, 91_000);
    let mut response = histogram();
    for bucket in rate.histogram.iter_recorded() {
        response.record_n(bucket.value_iterated_to() * 3, bucket.count_at_value()).unwrap();
    }
    rate.response_histogram = Some(response);
    for trial in &mut rate.trials {
        let three = |ns: Option<f64>| ns.map(|ns| 3.0 * ns);
        let Latency { samples, min, p50, p90, p99, p99_9, p99_99, max, mean } = trial.latency;
        trial.response = Some(Latency {
            samples,
            min: three(min),
            p50: three(p50),
            p90: three(p90),
            p99: three(p99),
            p99_9: three(p99_9),
            p99_99: three(p99_99),
            max: three(max),
            mean: three(mean),
        });
    }
    report(&[rate, outcome(gap, 2, 500, 120_000)], "batch:1000", &["bench", "--rate", "5k/s"], 2)
}

fn report(outcomes: &[Outcome], timing: &str, arguments: &[&str], trials: u32) -> Report {
    let mut report = Report {
        schema: SCHEMA,
        started_unix_s: 1_700_000_000,
        times: Times {
            total_ns: 3_000_000_000,
            daemon_ns: 3_000_000,
            queue_ns: 200_000,
            clock_ns: 1_500_000,
            environment_ns: 2_600_000,
            channels_ns: 6_100_000,
            warmup_ns: 200_000_000,
            rounds_ns: 2_700_000_000,
        },
        settings: Settings {
            arguments: arguments.iter().map(|&argument| argument.to_owned()).collect(),
            profile_flags: None,
            trials,
            rounds: (trials == 1).then_some(10_000),
            duration_ns: (trials > 1).then_some(600_000_000),
            warmup_rounds: None,
            warmup_ns: Some(60_000_000),
            timing: timing.to_owned(),
            precision_fraction: (trials == 5).then_some(0.02),
            private_daemon: true,
            verification: "all of it".to_owned(),
        },
        clock: Clock {
            source: "tsc".to_owned(),
            reason: "constant rate, and the kernel's own clock source".to_owned(),
            cost_ns: 29.75,
            resolution_ns: 20.0,
            frequency_hz: 2_596_129_767.5,
            uncertainty_ppm: 28.5,
        },
        environment: environment(),
        at_start: snapshot(0),
        at_end: snapshot(3_000),
        results: outcomes.iter().map(|outcome| rounded(CellReport::of(outcome, 20.0))).collect(),
        ranking: Vec::new(),
        idle_wake_ups: Vec::new(),
        warnings: Vec::new(),
        grade: Grade::F,
        summed_runs: Vec::new(),
    };
    judge(&mut report);
    report.ranking = rank(&report);
    for ratio in report.ranking.iter_mut().flat_map(|ranking| &mut ranking.cells) {
        if let Some(interval) = ratio.to_fastest.as_mut().and_then(|ratio| ratio.confidence_95.as_mut()) {
            round(&mut interval.low);
            round(&mut interval.high);
        }
    }
    report
}

fn round(value: &mut f64) {
    *value = (*value * 1e3).round() / 1e3;
}

/// Without the digits in which the logarithms of one C library differ from another's.
fn rounded(mut cell: CellReport) -> CellReport {
    if let Some(spans) = &mut cell.confidence_95_ns {
        let spans = [&mut spans.p50, &mut spans.p90, &mut spans.p99, &mut spans.p99_9, &mut spans.mean];
        for span in spans.into_iter().flatten() {
            round(&mut span.low);
            round(&mut span.high);
        }
    }
    for drift in [&mut cell.drift, &mut cell.drift_over_trials].into_iter().flatten() {
        round(&mut drift.slope_fraction);
        round(&mut drift.p_value);
    }
    cell
}

fn cell(method: &str, size_bytes: u32, wait: Wait, cpus: Option<(u32, u32)>) -> Cell {
    Cell {
        spec: ChannelSpec {
            method: method.to_owned(),
            size_bytes,
            wait: Some(wait),
            server_cpu: cpus.map(|(_, server)| server),
            client_cpu: None,
            options: BTreeMap::new(),
        },
        wait,
        placement: match cpus {
            None => Placement::Unpinned,
            Some((client, server)) if client == server => Placement::SameCore,
            Some(_) => Placement::CrossCore,
        },
        client_cpu: cpus.map(|(client, _)| client),
        pace: None,
        parallel: 1,
        optional: false,
    }
}

/// Trials of `rounds` rounds around `ns`, each a little slower than the one before.
fn outcome(cell: Cell, trials: u64, rounds: u64, ns: u64) -> Outcome {
    // Its ticks are nanoseconds on any host.
    let scale = Calibration::run(ClockChoice::Monotonic).unwrap().scale();
    let mut outcome = Outcome { overhead: Duration::from_millis(1), ..Outcome::of(cell) };
    for number in 0..trials {
        let ns = ns + ns * number / 100;
        // A skewed shape with a tail: one of 100 takes 4 times as long, one of 1000 takes 30 times.
        let rounds_ns: Vec<u64> = (0..rounds)
            .map(|round| match round * 7919 % 1000 {
                0 => ns * 30 + round,
                rank @ 1..10 => ns * 4 + rank,
                rank => ns * (900 + rank * rank / 2500) / 1000,
            })
            .collect();
        let mut recorder = Recorder::default();
        rounds_ns.chunks(100).for_each(|block| recorder.record(block, scale));
        let trial = Trial {
            latency: Latency::of(&recorder.histogram),
            response: None,
            series: recorder.series(),
            rounds,
            lost: 0,
            elapsed_ps: rounds_ns.iter().sum::<u64>() * 1000,
            longest_gap: None,
            probe: (ns < 1000)
                .then_some(Probe { untimed_mean_ps: ns as f64 * 1000.0, untimed_rounds: rounds / 2 }),
            warmup_rounds: rounds / 10,
            warmup_time: Duration::from_millis(20),
            client_usage: usage(rounds, ns),
            server_usage: usage(rounds, ns / 2),
            cpus: CpusSeen { client: vec![0], server: vec![0, 1] },
            partial: false,
        };
        outcome.add(trial, &recorder);
    }
    outcome
}

fn lossy(mut outcome: Outcome) -> Outcome {
    for trial in &mut outcome.trials {
        trial.lost = 3;
        // A kernel that does not report them.
        trial.client_usage.migrations = None;
    }
    outcome
}

fn usage(rounds: u64, ns: u64) -> Usage {
    Usage {
        cpu_ns: rounds * ns / 4,
        voluntary_switches: rounds,
        involuntary_switches: rounds / 100,
        minor_faults: 3,
        major_faults: 0,
        migrations: Some(1),
        cpu: Some(0),
    }
}

fn environment() -> Environment {
    let tree = Tree::new()
        .file("proc/sys/kernel/hostname", "sample")
        .file("proc/sys/kernel/osrelease", "6.1.0-sample")
        .file("proc/cpuinfo", "processor\t: 0\nmodel name\t: Sample CPU @ 3 GHz")
        .cpu(0, 0, 0, 0, "0", "0-1")
        .cpu(1, 1, 0, 0, "1", "0-1")
        .online("0-1");
    Environment {
        responder: None,
        build: Build {
            version: "0.1.0".to_owned(),
            profile: "release".to_owned(),
            target: "x86_64-linux-gnu".to_owned(),
        },
        ..Environment::capture_from(tree.path())
    }
}

fn snapshot(after_ms: u64) -> Snapshot {
    Snapshot {
        responder_throttling: None,
        uptime_ms: Some(1_000_000 + after_ms),
        suspended_ms: None,
        load_average: Some([0.5, 0.25, 0.125]),
        running_tasks: Some(1),
        cpu_total_ms: Some(2_000_000 + 2 * after_ms),
        cpu_idle_ms: Some(500_000 + after_ms / 4),
        cpu_steal_ms: Some(40),
        throttling: Some(Throttling { periods: 0, time_ns: 0 }),
        frequencies_khz: BTreeMap::from([(0, 3_000_000), (1, 2_900_000)]),
        governors: BTreeSet::from(["performance".to_owned()]),
        clock_source: Some("tsc".to_owned()),
    }
}
