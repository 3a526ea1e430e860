//! One cell in text.

use std::io::{self, Write};

use crate::client::report::columns::half_width;
use crate::client::report::words::{cpus, title};
use crate::client::report::{CellReport, Cost, Latency, ProbeReport, Span};
use crate::client::stats::Drift;
use crate::units::{elapsed, latency, per_round, percent, rate};

/// Writes the origin's lines, and what else is known. `samples` says what a sample is if it is not a round,
/// `precision` what was asked for.
pub(super) fn write(
    cell: &CellReport,
    samples: Option<&str>,
    precision: Option<f64>,
    out: &mut dyn Write,
) -> io::Result<()> {
    writeln!(out, "IPC method - {}", title(cell))?;
    if cell.rounds > 0 {
        let mean = cell.elapsed_ns / cell.rounds as f64;
        writeln!(out, "\t{} cycles completed in {}", cell.rounds, elapsed(cell.elapsed_ns))?;
        writeln!(out, "\t{:.1} per second", 1e9 / mean)?;
        match cell.parallel {
            1 => writeln!(out, "\t{} per operation", elapsed(mean.round()))?,
            // One operation takes as long as its round trip; several are under way at once.
            n => writeln!(out, "\t{n} channels at once, whose cycles add up")?,
        }
        match samples {
            Some(samples) => writeln!(out, "\tround trip ({samples}): {}", quantiles(&cell.latency_ns))?,
            None => writeln!(out, "\tround trip: {}", quantiles(&cell.latency_ns))?,
        }
        write_details(cell, precision, out)?;
    }
    if cell.lost > 0 {
        writeln!(out, "\t{} datagrams lost", cell.lost)?;
    }
    if let Some(error) = &cell.error {
        writeln!(out, "\tfailed: {error}")?;
    }
    Ok(())
}

fn quantiles(told: &Latency) -> String {
    let quantiles: Vec<_> = told
        .named()
        .into_iter()
        .filter(|(name, _)| *name != "mean")
        .filter_map(|(name, ns)| match ns {
            Some(ns) => Some(format!("{name} {}", latency(ns))),
            None if name == "p99.99" => None,
            None => Some(format!("{name} -")),
        })
        .collect();
    quantiles.join(", ")
}

fn write_details(cell: &CellReport, precision: Option<f64>, out: &mut dyn Write) -> io::Result<()> {
    if let (Some(interval), Some(response)) = (cell.interval_ns, &cell.response_ns) {
        let rate = rate(1e9 / interval as f64);
        writeln!(out, "\tresponse, from the intended start at {rate}: {}", quantiles(response))?;
    }
    if let Some(gap) = cell.gap_ns {
        writeln!(out, "\tidle before each round: {}, in the cycles' time above", elapsed(gap as f64))?;
    }
    write_confidence(cell, precision, out)?;
    if let Some(probe) = &cell.probe {
        writeln!(out, "\tprobe: {}", probe_means(probe, cell.latency_ns.mean))?;
    }
    writeln!(out, "\tCPUs: {}", cpus(cell))?;
    writeln!(out, "\tclient per round: {}", cost(&cell.cost_per_round.client))?;
    writeln!(out, "\tresponder per round: {}", cost(&cell.cost_per_round.server))?;
    if let Some(drift) = cell.drift.filter(|drift| drift.significant()) {
        let direction = if drift.slope_fraction > 0.0 { "slower" } else { "faster" };
        let change = percent(Drift::of_start(drift.slope_fraction).abs());
        let p = per_round(drift.p_value);
        let p = p.strip_prefix('<').map_or_else(|| format!("p = {p}"), |most| format!("p < {most}"));
        writeln!(out, "\tdrift: {change} {direction} from start to end ({p})")?;
    }
    let outliers = &cell.outliers;
    if outliers.mild + outliers.severe > 0 {
        writeln!(
            out,
            "\toutliers: {} mild, {} severe, of {} samples",
            outliers.mild, outliers.severe, cell.latency_ns.samples
        )?;
    }
    Ok(())
}

fn write_confidence(cell: &CellReport, precision: Option<f64>, out: &mut dyn Write) -> io::Result<()> {
    let Some(confidence) = &cell.confidence_95_ns else { return Ok(()) };
    let Some(p50) = &confidence.p50 else { return Ok(()) };
    let span = |span: &Span| format!("{} to {}", latency(span.low), latency(span.high));
    write!(out, "\t95 % confidence over {} trials: p50 {}", cell.trials.len(), span(p50))?;
    if let Some(half) = half_width(cell) {
        write!(out, " (±{})", percent(half))?;
    }
    if let Some(p99) = &confidence.p99 {
        write!(out, ", p99 {}", span(p99))?;
    }
    writeln!(out)?;
    if let (Some(asked), Some(reached)) = (precision, cell.precision_reached_fraction) {
        let verdict = if reached <= asked { "reached" } else { "not reached in the time given" };
        writeln!(out, "\tprecision of ±{}: {verdict}", percent(asked))?;
    }
    Ok(())
}

/// The mean with and without timing each round. Their difference is not told as what timing costs: one round that the host
/// has held up decides it.
fn probe_means(probe: &ProbeReport, timed_mean_ns: Option<f64>) -> String {
    let untimed = latency(probe.untimed_mean_ns);
    match timed_mean_ns {
        Some(timed) => format!("mean {} timed round by round, {untimed} as a whole", latency(timed)),
        None => format!("mean {untimed} timed as a whole"),
    }
}

fn cost(cost: &Cost) -> String {
    let mut text = format!(
        "CPU {}, switches {} voluntary + {} involuntary, faults {} minor + {} major",
        latency(cost.cpu_ns),
        per_round(cost.voluntary_switches),
        per_round(cost.involuntary_switches),
        per_round(cost.minor_faults),
        per_round(cost.major_faults),
    );
    if let Some(migrations) = cost.migrations {
        text.push_str(&format!(", migrations {}", per_round(migrations)));
    }
    text
}
