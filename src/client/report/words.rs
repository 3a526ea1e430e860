//! What a cell is and where it ran, in words that all formats share.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{CellReport, Environment, Report};
use crate::units::{rate, size};

/// The method and its options.
pub(in crate::client) fn method(cell: &CellReport) -> String {
    let mut method = cell.method.clone();
    for (name, value) in &cell.options {
        method.push_str(&format!(" {name}={value}"));
    }
    method
}

/// The method and what else the origin's title needs to tell cells apart.
pub(super) fn title(cell: &CellReport) -> String {
    match cell.size_bytes {
        8 => method(cell),
        bytes => format!("{} {}", method(cell), size(bytes)),
    }
}

/// Where the two sides were put: `cross-core 0→1`, client first.
pub(super) fn place(cell: &CellReport) -> String {
    match (cell.client_cpu, cell.server_cpu) {
        (Some(client), Some(server)) => format!("{} {client}→{server}", cell.placement),
        (Some(client), None) => format!("client on {client}"),
        (None, Some(server)) => format!("responder on {server}"),
        (None, None) => cell.placement.to_string(),
    }
}

/// When rounds started, where they did not follow each other at once.
pub(in crate::client) fn pace(cell: &CellReport) -> Option<String> {
    match (cell.gap_ns, cell.interval_ns) {
        (Some(gap), _) => Some(format!("gap {}", short(gap))),
        (None, Some(interval)) => Some(rate(1e9 / interval as f64)),
        (None, None) => None,
    }
}

/// A setting's time: `1ms`.
fn short(ns: u64) -> String {
    humantime::format_duration(Duration::from_nanos(ns)).to_string().replace(' ', "")
}

/// The CPUs of either side: where each was pinned, or where it was seen.
pub(super) fn cpus(cell: &CellReport) -> String {
    let seen = |cpus: BTreeSet<u32>| match cpus.len() {
        0 => "unknown where".to_owned(),
        _ => format!("seen on {}", cpus.iter().map(u32::to_string).collect::<Vec<_>>().join(", ")),
    };
    let side = |pinned: Option<u32>, cpus: BTreeSet<u32>| match pinned {
        Some(cpu) => format!("pinned to {cpu}"),
        None => seen(cpus),
    };
    format!(
        "client {}, responder {}",
        side(cell.client_cpu, client_cpus(cell)),
        side(cell.server_cpu, server_cpus(cell))
    )
}

/// The CPUs on which the client was seen, before or after a trial's rounds.
pub(super) fn client_cpus(cell: &CellReport) -> BTreeSet<u32> {
    cell.trials.iter().flat_map(|trial| &trial.client_cpus).copied().collect()
}

/// The CPUs on which a responder was seen, before or after a trial's rounds.
pub(super) fn server_cpus(cell: &CellReport) -> BTreeSet<u32> {
    cell.trials.iter().flat_map(|trial| &trial.server_cpus).copied().collect()
}

/// What a sample is, where it is not a round.
pub(in crate::client) fn samples(report: &Report) -> Option<String> {
    let rounds = report.settings.timing.strip_prefix("batch:")?;
    Some(format!("means of batches of {rounds} rounds"))
}

/// The clock, what it costs, and why this one.
pub(in crate::client) fn clock(report: &Report) -> String {
    let clock = &report.clock;
    format!(
        "{}, a reading costs {:.1} ns, its smallest step is {:.1} ns ({})",
        clock.source, clock.cost_ns, clock.resolution_ns, clock.reason
    )
}

/// The host in a line, as far as it tells.
pub(in crate::client) fn host(environment: &Environment) -> String {
    let kernel = environment.kernel.release.as_ref().map(|release| format!("kernel {release}"));
    let build = &environment.build;
    let parts = [
        environment.hostname.clone(),
        environment.cpu.model.clone(),
        environment.cpu.online.as_ref().map(|cpus| format!("CPUs {cpus}")),
        kernel,
        environment.machine.hypervisor.clone(),
        environment.machine.container.clone(),
        Some(format!("ipcd {} ({})", build.version, build.profile)),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}
