//! A made-up report of a quiet run, for tests to change.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

use crate::client::host::placement::Placement;
use crate::client::host::{Build, Environment, Snapshot};
use crate::client::judge::warnings::Grade;
use crate::client::measure::histogram;
use crate::client::report::{
    CellReport, Clock, Cost, Costs, HeadlineOf, Report, SCHEMA, Settings, Times, TrialReport,
};
use crate::client::stats::{Latency, Outliers};
use crate::protocol::Wait;

/// Ten seconds on a bare host of 4 CPUs: one cell, CPU 2 to CPU 3, blocking, 5 trials of 20 000 rounds of 10 µs.
pub(crate) fn report() -> Report {
    Report {
        schema: SCHEMA,
        started_unix_s: 1_750_000_000,
        times: Times::default(),
        settings: Settings {
            arguments: vec!["bench".to_owned()],
            profile_flags: None,
            trials: 5,
            rounds: Some(20_000),
            duration_ns: None,
            warmup_rounds: Some(2_000),
            warmup_ns: Some(100_000_000),
            timing: "auto".to_owned(),
            precision_fraction: None,
            private_daemon: true,
            verification: String::new(),
        },
        clock: Clock {
            source: "tsc".to_owned(),
            reason: String::new(),
            cost_ns: 20.0,
            resolution_ns: 1.0,
            frequency_hz: 2.45e9,
            uncertainty_ppm: 10.0,
        },
        environment: environment(),
        at_start: snapshot(),
        at_end: Snapshot {
            uptime_ms: Some(110_000),
            cpu_total_ms: Some(440_000),
            cpu_idle_ms: Some(38_000),
            ..snapshot()
        },
        results: vec![cell()],
        ranking: Vec::new(),
        idle_wake_ups: Vec::new(),
        warnings: Vec::new(),
        grade: Grade::F,
        summed_runs: Vec::new(),
    }
}

/// The report's only cell.
pub(crate) fn cell() -> CellReport {
    let cost = Cost { cpu_ns: 10_000.0, ..Cost::default() };
    CellReport {
        cell: "tcp".to_owned(),
        method: "tcp".to_owned(),
        options: BTreeMap::new(),
        size_bytes: 8,
        wait: Wait::Block,
        placement: Placement::CrossCore,
        client_cpu: Some(2),
        server_cpu: Some(3),
        gap_ns: None,
        interval_ns: None,
        achieved_hz: None,
        parallel: 1,
        rounds: 100_000,
        lost: 0,
        elapsed_ns: 1e9,
        headline_of: HeadlineOf::RoundTrip,
        headline_ns: latency(10_000.0, 100_000),
        latency_ns: latency(10_000.0, 100_000),
        confidence_95_ns: None,
        probe: None,
        longest_gap: None,
        response_ns: None,
        drift: None,
        drift_over_trials: None,
        outliers: Outliers::default(),
        cost_per_round: Costs { client: cost, server: cost },
        precision_reached_fraction: None,
        trials: [9_950.0, 10_000.0, 10_000.0, 10_010.0, 10_050.0].map(trial).into(),
        error: None,
        histogram: histogram(),
        response_histogram: None,
        warnings: Vec::new(),
        grade: Grade::F,
    }
}

/// A trial with this median.
pub(crate) fn trial(p50: f64) -> TrialReport {
    TrialReport {
        rounds: 20_000,
        elapsed_ns: 2e8,
        lost: 0,
        latency_ns: latency(p50, 20_000),
        response_ns: None,
        warmup_rounds: 0,
        warmup_ns: 0,
        client_cpus: vec![2],
        server_cpus: vec![3],
        partial: false,
    }
}

/// A histogram with two peaks, in picoseconds.
pub(crate) fn two_peaks() -> Histogram<u64> {
    let mut histogram = histogram();
    for n in 0..1_000 {
        histogram.record(15_000_000 + n * 1_000).expect("it is within bounds");
        histogram.record(80_000_000 + n * 5_000).expect("it is within bounds");
    }
    histogram
}

fn latency(p50: f64, samples: u64) -> Latency {
    Latency {
        samples,
        min: Some(p50 * 0.9),
        p50: Some(p50),
        p90: Some(p50 * 1.1),
        p99: Some(p50 * 1.2),
        p99_9: Some(p50 * 2.0),
        p99_99: None,
        max: Some(p50 * 9.0),
        mean: Some(p50 * 1.01),
    }
}

/// A host that reports little: four CPUs, all allowed.
pub(crate) fn environment() -> Environment {
    let mut environment = Environment {
        responder: None,
        hostname: None,
        boot_id: None,
        os: None,
        architecture: None,
        memory_total_bytes: None,
        page_size_bytes: None,
        cgroup_quota_cpus: None,
        cpu: Default::default(),
        power: Default::default(),
        kernel: Default::default(),
        machine: Default::default(),
        build: Build { profile: "release".to_owned(), ..Build::this() },
    };
    let all = "0-3".parse().ok();
    (environment.cpu.online, environment.cpu.allowed) = (all.clone(), all);
    environment
}

/// A host before the run, with arbitrary counts of CPU time.
pub(crate) fn snapshot() -> Snapshot {
    Snapshot {
        responder_throttling: None,
        uptime_ms: Some(100_000),
        suspended_ms: Some(0),
        load_average: Some([0.0; 3]),
        running_tasks: Some(1),
        cpu_total_ms: Some(400_000),
        cpu_idle_ms: Some(0),
        cpu_steal_ms: Some(0),
        throttling: None,
        frequencies_khz: (0..4).map(|cpu| (cpu, 2_000_000)).collect(),
        governors: ["performance".to_owned()].into(),
        clock_source: Some("tsc".to_owned()),
    }
}
