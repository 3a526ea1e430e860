//! Text for a terminal: for each cell the lines of the proof of concept and the round trip's latency, then the clock and the
//! host, a table where there is something to compare, and the warnings.

use std::collections::BTreeSet;
use std::io::{self, Write};

use textwrap::{Options, WordSeparator, WordSplitter};

use super::cells::{Entry, Facet, client_cpus, entries, server_cpus};
use super::{CellReport, Cost, HeadlineOf, IntervalReport, ProbeReport, Report, table, warnings};
use crate::client::host::Environment;
use crate::client::stats::{Drift, Latency};
use crate::units::{elapsed, latency, per_round, percent, rate, utc};

/// A tab at the start of a line, in columns.
const TAB: usize = 8;

/// These stay on the line of their number.
const UNITS: [&str; 8] = ["ns", "µs", "ms", "s", "%", "B", "KiB", "MiB"];

/// Writes the report. It keeps to `width` columns, if there is a limit.
///
/// # Errors
/// The writer's.
pub(crate) fn write(report: &Report, width: Option<u16>, out: &mut dyn Write) -> io::Result<()> {
    let mut lines = Vec::new();
    let samples = samples(report);
    for cell in &report.results {
        write_cell(cell, samples.as_deref(), report.settings.precision_fraction, &mut lines)?;
    }
    writeln!(lines)?;
    writeln!(lines, "clock: {}", clock(report))?;
    writeln!(lines, "host: {}", host(&report.environment))?;
    if !report.summed_runs.is_empty() {
        let (runs, first) = (report.summed_runs.len(), utc(report.started_unix_s));
        writeln!(lines, "runs: the sum of {runs}; the first began {first}")?;
    }
    write_wrapped(&lines, width, out)?;
    if report.results.len() > 1 || report.settings.trials > 1 {
        writeln!(out)?;
        let (table, common) = table::overview(&entries("", report).collect::<Vec<_>>(), false);
        let all = if common.is_empty() { "" } else { ". All with " };
        let caption = format!("Round trips; CPU time per round{all}{}\n", common.join(", "));
        write_wrapped(caption.as_bytes(), width, out)?;
        table::write(table, width, out)?;
    }
    writeln!(out)?;
    let mut lines = warnings::lines(report).join("\n");
    lines.push('\n');
    write_wrapped(lines.as_bytes(), width, out)
}

/// Writes the line of one interval.
///
/// # Errors
/// The writer's.
pub(crate) fn write_interval(interval: &IntervalReport, out: &mut dyn Write) -> io::Result<()> {
    let seconds = interval.length_ns as f64 / 1e9;
    let quantile = |ns: Option<f64>| ns.map_or_else(|| "-".to_owned(), latency);
    write!(
        out,
        "{} trial {} at {:.2} s: {}, round trip p50 {}, p99 {}, max {}",
        interval.cell,
        interval.trial + 1,
        interval.since_start_ns as f64 / 1e9,
        rate(interval.rounds as f64 / seconds.max(1e-9)),
        quantile(interval.latency_ns.p50),
        quantile(interval.latency_ns.p99),
        quantile(interval.latency_ns.max),
    )?;
    if let Some(response) = &interval.response_ns {
        write!(out, ", response p50 {}, p99 {}", quantile(response.p50), quantile(response.p99))?;
    }
    if interval.lost > 0 {
        write!(out, ", {} lost", interval.lost)?;
    }
    writeln!(out)
}

/// Writes the origin's lines, and what else is known. `samples` says what a sample is if it is not a round,
/// `precision` what was asked for.
fn write_cell(
    cell: &CellReport,
    samples: Option<&str>,
    precision: Option<f64>,
    out: &mut dyn Write,
) -> io::Result<()> {
    let entry = Entry { run: "", cell };
    // The proof of concept had messages of 8 bytes.
    let size = if cell.size_bytes == 8 { String::new() } else { format!(" {}", entry.facet(Facet::Size)) };
    writeln!(out, "IPC method - {}{size}", entry.method())?;
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
            Some(samples) => writeln!(out, "\tround trip ({samples}): {}", quantiles(&cell.round_trip_ns()))?,
            None => writeln!(out, "\tround trip: {}", quantiles(&cell.round_trip_ns()))?,
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

fn quantiles(shown: &Latency) -> String {
    let quantiles: Vec<_> = shown
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
    if let (Some(interval), HeadlineOf::Response) = (cell.interval_ns, cell.headline_of) {
        let rate = rate(1e9 / interval as f64);
        writeln!(out, "\tresponse, from the intended start at {rate}: {}", quantiles(&cell.headline_ns))?;
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
    for (drift, over) in [(cell.drift, "within each trial"), (cell.drift_over_trials, "from trial to trial")]
    {
        let Some(drift) = drift.filter(Drift::significant) else { continue };
        let direction = if drift.slope_fraction > 0.0 { "slower" } else { "faster" };
        let change = percent(Drift::of_start(drift.slope_fraction).abs());
        let p = per_round(drift.p_value);
        let p = p.strip_prefix('<').map_or_else(|| format!("p = {p}"), |most| format!("p < {most}"));
        writeln!(out, "\tdrift: {change} {direction} from start to end, {over} ({p})")?;
    }
    Ok(())
}

fn write_confidence(cell: &CellReport, precision: Option<f64>, out: &mut dyn Write) -> io::Result<()> {
    let Some(confidence) = &cell.confidence_95_ns else { return Ok(()) };
    let Some(p50) = &confidence.p50 else { return Ok(()) };
    write!(out, "\t95 % confidence over {} trials: p50 {}", cell.trials.len(), p50)?;
    if let Some(half) = cell.half_width() {
        write!(out, " (±{})", percent(half))?;
    }
    if let Some(p99) = &confidence.p99 {
        write!(out, ", p99 {}", p99)?;
    }
    writeln!(out)?;
    if let (Some(asked), Some(reached)) = (precision, cell.precision_reached_fraction) {
        let verdict = if reached <= asked { "reached" } else { "not reached in the time given" };
        writeln!(out, "\tprecision of ±{}: {verdict}", percent(asked))?;
    }
    Ok(())
}

/// The mean with and without timing each round. Their difference is not shown as the cost of timing, since one round that
/// the host held up can determine it.
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

/// What a sample is, if not a round.
pub(super) fn samples(report: &Report) -> Option<String> {
    let rounds = report.settings.timing.strip_prefix("batch:")?;
    Some(format!("means of batches of {rounds} rounds"))
}

/// The clock, what it costs, and why this one.
pub(super) fn clock(report: &Report) -> String {
    let clock = &report.clock;
    format!(
        "{}, a reading costs {:.1} ns, its smallest step is {:.1} ns ({})",
        clock.source, clock.cost_ns, clock.resolution_ns, clock.reason
    )
}

/// The host on one line, as far as it is known.
pub(super) fn host(environment: &Environment) -> String {
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

/// Writes text, each line wrapped at spaces to the width. Continuation lines are indented further.
pub(super) fn write_wrapped(text: &[u8], width: Option<u16>, out: &mut dyn Write) -> io::Result<()> {
    let Some(width) = width.map(usize::from) else { return out.write_all(text) };
    for line in String::from_utf8_lossy(text).lines() {
        let (indent, words) = line.strip_prefix('\t').map_or(("", line), |words| ("\t", words));
        let mut glued = String::with_capacity(line.len());
        for (number, word) in words.split(' ').enumerate() {
            let unit = UNITS.contains(&word.trim_end_matches([',', ')', ';']));
            glued.push_str(if number == 0 {
                ""
            } else if unit {
                "\u{a0}"
            } else {
                " "
            });
            glued.push_str(word);
        }
        let options = Options::new(width.saturating_sub(indent.len() * TAB))
            .subsequent_indent("    ")
            .break_words(false)
            .word_separator(WordSeparator::AsciiSpace)
            .word_splitter(WordSplitter::NoHyphenation);
        for part in textwrap::wrap(&glued, options) {
            writeln!(out, "{indent}{}", part.replace('\u{a0}', " "))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrapped(text: &str, width: Option<u16>) -> String {
        let mut out = Vec::new();
        write_wrapped(text.as_bytes(), width, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn lines_break_between_words_and_stay_indented() {
        let text = "\tone two three\nfour\n\n";
        assert_eq!(wrapped(text, None), text);
        assert_eq!(wrapped(text, Some(80)), text);
        assert_eq!(wrapped(text, Some(15)), "\tone two\n\t    three\nfour\n\n");
        assert_eq!(wrapped("min 20 µs, p50 -", Some(9)), "min\n    20 µs,\n    p50 -\n");
        assert_eq!(wrapped("incomprehensible word", Some(4)), "incomprehensible\n    word\n");
    }
}
