//! Text for a terminal: a table for each size with the fastest cell first, what follows from it in sentences, and what
//! qualifies it: warnings and the grade. A single cell with a number of rounds has the lines of the proof of concept.

use std::collections::BTreeSet;
use std::io::{self, Write};

use anstyle::AnsiColor;
use textwrap::{Options, WordSeparator, WordSplitter};

use super::cells::{Entry, Facet, client_cpus, entries, names, server_cpus};
use super::sizes::{Tables, fastest_figures, verdicts};
use super::{CellReport, Cost, HeadlineOf, IntervalReport, ProbeReport, Report, warnings};
use crate::client::host::Environment;
use crate::client::judge::warnings::{Grade, Severity};
use crate::client::stats::{Drift, Latency};
use crate::diagnostics::printable;
use crate::units;
use crate::units::{elapsed, latency, per_round, percent, rate, utc};

/// A tab at the start of a line, in columns.
const TAB: usize = 8;

/// These stay on the line of their number.
const UNITS: [&str; 9] = ["ns", "µs", "ms", "s", "%", "B", "KiB", "MiB", "·"];

/// How a report is shown.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Style {
    /// The columns of the terminal, if it is one.
    pub(crate) width: Option<u16>,
    /// With every figure of each cell, and with advice.
    pub(crate) verbose: bool,
    /// Without the tables.
    pub(crate) summary: bool,
    /// With colours: for the fastest cells, warnings and errors.
    pub(crate) color: bool,
}

/// At most this many lines of warnings, unless more are severe.
const MOST_WARNINGS: usize = 10;

/// The same for a single cell, whose figures take few lines.
const MOST_WARNINGS_OF_ONE: usize = 2;

/// Writes the report: the figures, what they say, and what qualifies them.
///
/// # Errors
/// The writer's.
pub(crate) fn write(report: &Report, style: Style, out: &mut dyn Write) -> io::Result<()> {
    let mut lines = Vec::new();
    let one = match (&report.results[..], report.settings.rounds) {
        ([cell], Some(_)) => Some(cell),
        _ => None,
    };
    if let Some(cell) = one {
        lines.extend(origin(cell).into_iter().map(Line::plain));
        lines.extend(merged(report).map(|merged| Line::plain(format!("\t{merged}"))));
    } else {
        lines.push(Line::plain(heading(report)));
        if !style.summary {
            tables(report, style.width, &mut lines);
        }
        lines.push(Line::default());
        if style.summary {
            lines.extend(fastest_figures(report).into_iter().map(Line::plain));
        }
        let verdicts = verdicts(report);
        let gap = (style.summary || !verdicts.is_empty()).then(Line::default);
        lines.extend(verdicts.into_iter().map(Line::plain).chain(gap));
    }
    if style.verbose {
        details(report, one.is_none(), &mut lines)?;
        lines.extend(warnings::lines(report).into_iter().map(Line::plain));
    } else {
        let most = if one.is_some() { MOST_WARNINGS_OF_ONE } else { MOST_WARNINGS };
        lines.extend(qualify(report, Some(most)));
    }
    lines.iter().try_for_each(|line| line.write(style, out))
}

/// What all cells have in common.
pub(super) fn heading(report: &Report) -> String {
    let entries: Vec<Entry<'_>> = entries("", report).collect();
    let shared = |facet: Facet| {
        let mut words = entries.iter().map(|entry| entry.facet(facet));
        let first = words.next()?;
        (!first.is_empty() && words.all(|word| word == first)).then_some(first)
    };
    // They count from the intended start, which the pace below implies.
    let all_respond = report.results.iter().all(|cell| cell.headline_of == HeadlineOf::Response);
    let settings = &report.settings;
    let trials = report.results.iter().map(|cell| cell.trials.len()).max().unwrap_or(0);
    let length = match (settings.rounds, settings.duration_ns) {
        (Some(rounds), _) => format!("{rounds} rounds"),
        (None, Some(ns)) => latency(ns as f64).replace(".00 ", " "),
        (None, None) => "unknown length".to_owned(),
    };
    let trials = match trials {
        0 | 1 => format!("one trial of {length}"),
        n if settings.precision_fraction.is_some() => format!("up to {n} trials of {length} each"),
        n => format!("{n} trials of {length} each"),
    };
    let cpus = shared(Facet::Cpus).map(|cpus| match cpus.split_once('→') {
        Some((client, server)) if client == server => format!("both sides on CPU {client}"),
        Some((client, server)) => format!("CPU {client} → CPU {server}"),
        None => cpus,
    });
    let parts = [
        Some(match (all_respond, samples(report)) {
            (true, _) => "Response times".to_owned(),
            (_, Some(samples)) => format!("Round trips ({samples})"),
            _ => "Round trips".to_owned(),
        }),
        cpus.or_else(|| shared(Facet::Placement)),
        Some(trials),
        shared(Facet::Wait).map(|wait| format!("wait {wait}")),
        shared(Facet::Pace).map(|pace| if pace.ends_with("/s") { format!("at {pace}") } else { pace }),
        shared(Facet::Parallel).map(|channels| format!("{channels} channels at once")),
        merged(report),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// How many runs it is the sum of, if not one.
fn merged(report: &Report) -> Option<String> {
    let runs = report.summed_runs.len();
    (runs > 0).then(|| format!("{runs} runs merged, the first of {}", utc(report.started_unix_s)))
}

fn tables(report: &Report, width: Option<u16>, lines: &mut Vec<Line>) {
    let mut tables = Tables::of(report);
    if let Some(width) = width {
        tables.fit(width.into());
    }
    for table in &tables.tables {
        lines.push(Line::default());
        for (text, row) in tables.lines(table) {
            let paint = match row {
                Some(row) if row.failed => Paint::Error,
                Some(row) if row.fastest => Paint::Fastest,
                _ => Paint::None,
            };
            let painted = row.map_or(0, |row| row.entries[0].len());
            lines.push(Line { text, paint, painted, wraps: false });
        }
    }
}

/// The kinds of warnings in a line each, no more than `most` except for severe ones, and the grade.
fn qualify(report: &Report, most: Option<usize>) -> Vec<Line> {
    let (notes, kinds): (Vec<_>, Vec<_>) =
        warnings::kinds(report, |_| true).into_iter().partition(|kind| kind.severity == Severity::Note);
    let severe = kinds.iter().filter(|kind| kind.severity >= Severity::Severe).count();
    let shown = most.unwrap_or(usize::MAX).max(severe).min(kinds.len());
    let line = |kind: &warnings::Kind| {
        let paint = if kind.severity >= Severity::Severe { Paint::Error } else { Paint::Warning };
        Line { text: kind.to_string(), paint, painted: kind.severity.label().len(), wraps: true }
    };
    let mut lines: Vec<Line> = kinds[..shown].iter().map(line).collect();
    let count = |grade| report.results.iter().filter(|cell| cell.grade == grade).count();
    let grades = Grade::ALL.into_iter().filter(|grade| count(*grade) > 0);
    let grades: Vec<String> = grades.map(|grade| format!("{} {grade}", count(grade))).collect();
    let grades = if grades.len() > 1 { format!(" ({})", grades.join(", ")) } else { String::new() };
    let mut parts = vec![format!("Grade: {}{grades}: {}", report.grade, report.grade.meaning())];
    parts.extend(notes.into_iter().map(|note| note.text));
    if kinds.len() > shown {
        parts.push(format!("{} more kinds of warnings", kinds.len() - shown));
    }
    if most.is_some() && (parts.len() > 1 || shown > 0) {
        parts.push("details: --verbose".to_owned());
    }
    lines.push(Line::plain(parts.join(" · ")));
    lines
}

/// The same as text.
pub(super) fn qualifications(report: &Report) -> impl Iterator<Item = String> {
    qualify(report, None).into_iter().map(|line| line.text)
}

/// Every figure of each cell, the clock and the host.
fn details(report: &Report, is_several: bool, lines: &mut Vec<Line>) -> io::Result<()> {
    let mut text = Vec::new();
    let samples = samples(report);
    let names = names(&entries("", report).collect::<Vec<_>>(), " ");
    for (cell, name) in report.results.iter().zip(names) {
        if is_several {
            writeln!(text, "{name}")?;
        }
        write_cell(cell, samples.as_deref(), report.settings.precision_fraction, &mut text)?;
    }
    writeln!(text, "\nclock: {}", clock(report))?;
    writeln!(text, "host: {}", host(&report.environment))?;
    for wake_up in &report.idle_wake_ups {
        let (from, to, ns) = (wake_up.client_cpu, wake_up.server_cpu, wake_up.round_trip_ns);
        writeln!(text, "idle wake-ups: {} of a round trip from CPU {from} to CPU {to}", latency(ns))?;
    }
    writeln!(text)?;
    lines.extend(String::from_utf8_lossy(&text).lines().map(|line| Line::plain(line.to_owned())));
    Ok(())
}

/// A line, and how its beginning is painted.
#[derive(Debug, Default)]
struct Line {
    text: String,
    paint: Paint,
    /// Bytes.
    painted: usize,
    /// Whether it may be wrapped to the width; else it fits as far as possible.
    wraps: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
enum Paint {
    #[default]
    None,
    Fastest,
    Warning,
    Error,
}

impl Line {
    fn plain(text: String) -> Self {
        Self { text, wraps: true, ..Self::default() }
    }

    fn write(&self, style: Style, out: &mut dyn Write) -> io::Result<()> {
        let (head, tail) = self.text.split_at(self.painted);
        let (head, tail) = (printable(head, &['\t']), printable(tail, &['\t']));
        let width = style.width.filter(|_| self.wraps);
        let mut text = Vec::new();
        write_wrapped(format!("{head}{tail}\n").as_bytes(), width, &mut text)?;
        let color = match self.paint {
            _ if !style.color => None,
            Paint::None => None,
            Paint::Fastest => Some(AnsiColor::Green),
            Paint::Warning => Some(AnsiColor::Yellow),
            Paint::Error => Some(AnsiColor::Red),
        };
        let Some(color) = color else { return out.write_all(&text) };
        // A word that is painted is not wrapped.
        let paint = color.on_default().bold();
        write!(out, "{paint}{head}{paint:#}")?;
        out.write_all(&text[head.len().min(text.len())..])
    }
}

/// The lines of the proof of concept, and its round trip.
fn origin(cell: &CellReport) -> Vec<String> {
    let entry = Entry { run: "", cell };
    // The proof of concept had messages of 8 bytes.
    let size = if cell.size_bytes == 8 { String::new() } else { format!(" {}", entry.facet(Facet::Size)) };
    let mut lines = vec![format!("IPC method - {}{size}", entry.method())];
    if cell.rounds > 0 {
        let mean = cell.elapsed_ns / cell.rounds as f64;
        lines.push(format!("\t{} cycles completed in {}", cell.rounds, elapsed(cell.elapsed_ns)));
        lines.push(format!("\t{:.1} per second", 1e9 / mean));
        lines.push(match cell.parallel {
            1 => format!("\t{} per operation", elapsed(mean.round())),
            // One operation takes as long as its round trip; several are under way at once.
            n => format!("\t{n} channels at once, whose cycles add up"),
        });
        let shown = |latency: &Latency| {
            let known = latency.named().into_iter().filter(|(name, _)| !["min", "mean"].contains(name));
            let known = known.filter_map(|(name, ns)| Some(format!("{name} {}", units::latency(ns?))));
            known.collect::<Vec<_>>().join(" · ")
        };
        lines.push(format!("\t{}", shown(&cell.round_trip_ns())));
        if let (Some(interval), HeadlineOf::Response) = (cell.interval_ns, cell.headline_of) {
            let rate = rate(1e9 / interval as f64);
            lines.push(format!("\tfrom the intended start at {rate}: {}", shown(&cell.headline_ns)));
        }
    }
    lines
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

/// Writes all that is known about a cell. `samples` says what a sample is if it is not a round, `precision` what was asked
/// for.
fn write_cell(
    cell: &CellReport,
    samples: Option<&str>,
    precision: Option<f64>,
    out: &mut dyn Write,
) -> io::Result<()> {
    if cell.rounds > 0 {
        writeln!(out, "\trounds: {} in {}", cell.rounds, elapsed(cell.elapsed_ns))?;
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
    if let (Some(interval), Some(achieved)) = (cell.interval_ns, cell.achieved_hz) {
        let requested = 1e9 / interval as f64 * f64::from(cell.parallel);
        writeln!(out, "\trate: {} requested, {} achieved", rate(requested), rate(achieved))?;
    }
    if let Some(gap) = cell.gap_ns {
        writeln!(out, "\tidle before each round: {}, in the rounds' time above", elapsed(gap as f64))?;
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
