//! The table of all cells: which each is, and its figures.

use std::io::{self, Write};

use super::cells::{Entry, Facet, names, run_name};
use super::markup::{Datum, Table};
use crate::client::report::escape::Text;
use crate::units::{latency, percent, rate};

/// Columns by which a reader may want to see some rows only.
const FACETS: [(&str, Facet); 6] = [
    ("run", Facet::Run),
    ("size", Facet::Size),
    ("placement", Facet::Placement),
    ("wait", Facet::Wait),
    ("pace", Facet::Pace),
    ("channels", Facet::Parallel),
];

/// Writes what all cells have in common, the fields that choose among them, and the table.
pub(super) fn write(entries: &[Entry<'_>], out: &mut Vec<u8>) -> io::Result<()> {
    if entries.is_empty() {
        return Ok(());
    }
    let differs = |facet: Facet| entries.windows(2).any(|pair| pair[0].facet(facet) != pair[1].facet(facet));
    let (told, common): (Vec<_>, Vec<_>) = FACETS.into_iter().partition(|(_, facet)| differs(*facet));
    let common: Vec<String> = common
        .into_iter()
        .filter(|(_, facet)| *facet != Facet::Run)
        .filter_map(|(head, facet)| Some((head, entries.first()?.facet(facet))))
        .filter(|(_, value)| !value.is_empty())
        .map(|(head, value)| if head == "channels" { value } else { format!("{head} {value}") })
        .collect();
    if !common.is_empty() {
        writeln!(out, "<p>All with {}.</p>", Text(common.join(", ")))?;
    }
    if entries.len() > 1 {
        write_filters(entries, &told, out)?;
    }
    table(entries, &told).write(Some("cells"), out)?;
    writeln!(
        out,
        "<p class=\"note\">Latencies are those of a round trip. The interval is the median's 95 % confidence interval \
         over trials. A quantile with fewer than ten rounds beyond it is not shown.</p>",
    )
}

/// Fields that a script brings to life; without one they are not shown.
fn write_filters(entries: &[Entry<'_>], told: &[(&str, Facet)], out: &mut Vec<u8>) -> io::Result<()> {
    writeln!(
        out,
        "<form class=\"filters\" id=\"filters\" hidden><label>Only rows with <input type=\"search\" id=\"words\" \
         placeholder=\"tcp\" autocomplete=\"off\"></label>",
    )?;
    for (head, facet) in told {
        let mut values: Vec<(u64, String)> = Vec::new();
        for entry in entries {
            let value = entry.facet(*facet);
            if !values.iter().any(|(_, known)| *known == value) {
                let order = if *facet == Facet::Size { entry.cell.size_bytes } else { 0 };
                values.push((order, value));
            }
        }
        values.sort_by_key(|(order, _)| *order);
        // Behind the method stand the columns that differ, in this order.
        write!(out, "<label>{head} <select data-column=\"{head}\"><option value=\"\">all</option>")?;
        for (_, value) in values {
            let shown = if value.is_empty() { "–" } else { &value };
            write!(out, "<option>{}</option>", Text(shown))?;
        }
        writeln!(out, "</select></label>")?;
    }
    writeln!(
        out,
        "<button type=\"reset\">Show all</button> <output id=\"count\" aria-live=\"polite\"></output></form>",
    )
}

fn table(entries: &[Entry<'_>], told: &[(&str, Facet)]) -> Table {
    let mut heads = vec!["method".to_owned()];
    heads.extend(told.iter().map(|(head, _)| (*head).to_owned()));
    heads.push("grade".to_owned());
    let names = heads.len();
    let cpus = entries.iter().any(|entry| !entry.facet(Facet::Cpus).is_empty());
    let lost = entries.iter().any(|entry| entry.cell.lost > 0);
    let response = entries.iter().any(|entry| entry.cell.response_ns.is_some());
    let figures = ["median", "95 % interval", "p90", "p99", "p99.9", "longest", "rounds"];
    heads.extend(figures.map(str::to_owned));
    heads.extend(
        response.then(|| ["response median", "response p99"].map(str::to_owned)).into_iter().flatten(),
    );
    heads.extend(lost.then(|| "lost".to_owned()));
    heads.extend(cpus.then(|| "CPUs".to_owned()));
    let row = |entry: &Entry<'_>| {
        let cell = entry.cell;
        let told_ns = &cell.latency_ns;
        let failed = if cell.error.is_some() { " (failed)" } else { "" };
        let mut row = vec![Datum::word(format!("{}{failed}", entry.method()))];
        row.extend(told.iter().map(|(_, facet)| {
            let text = match (facet, entry.facet(*facet)) {
                (_, text) if text.is_empty() => "–".to_owned(),
                (_, text) => text,
            };
            let key = match facet {
                Facet::Size => Some(cell.size_bytes as f64),
                Facet::Pace => Some(cell.gap_ns.or(cell.interval_ns).unwrap_or(0) as f64),
                Facet::Parallel => Some(cell.parallel.into()),
                _ => None,
            };
            Datum { text, key }
        }));
        row.push(Datum::word(cell.grade.to_string()));
        row.push(Datum::figure(told_ns.p50, latency));
        row.push(interval(entry));
        for ns in [told_ns.p90, told_ns.p99, told_ns.p99_9, told_ns.max] {
            row.push(Datum::figure(ns, latency));
        }
        let rounds =
            (cell.rounds > 0 && cell.elapsed_ns > 0.0).then(|| cell.rounds as f64 / cell.elapsed_ns * 1e9);
        row.push(Datum::figure(rounds, rate));
        if response {
            row.push(Datum::figure(cell.response_ns.and_then(|told| told.p50), latency));
            row.push(Datum::figure(cell.response_ns.and_then(|told| told.p99), latency));
        }
        if lost {
            row.push(Datum { text: cell.lost.to_string(), key: Some(cell.lost as f64) });
        }
        if cpus {
            row.push(Datum::word(entry.facet(Facet::Cpus).trim_start_matches("CPU ")));
        }
        row
    };
    Table {
        name: "All cells".to_owned(),
        heads,
        names,
        prose: false,
        rows: entries.iter().map(row).collect(),
    }
}

/// The median's interval, sorted by how wide it is beside the median.
fn interval(entry: &Entry<'_>) -> Datum {
    let span = entry.cell.confidence_95_ns.and_then(|told| told.p50);
    match span.zip(entry.cell.latency_ns.p50.filter(|p50| *p50 > 0.0)) {
        Some((span, p50)) => {
            let half = (span.high - span.low) / 2.0 / p50;
            Datum {
                text: format!("{} (±{})", span_words(span.low, span.high), percent(half)),
                key: Some(half),
            }
        }
        None => Datum::figure(None, latency),
    }
}

/// An interval, its unit told once if one is enough: `11.2 to 12.4 µs`.
pub(super) fn span_words(low: f64, high: f64) -> String {
    let (low, high) = (latency(low), latency(high));
    match (low.split_once(' '), high.split_once(' ')) {
        (Some((number, unit)), Some((_, other))) if unit == other => format!("{number} to {high}"),
        _ => format!("{low} to {high}"),
    }
}

/// The fastest and the slowest cell, in a sentence.
pub(super) fn write_extremes(entries: &[Entry<'_>], out: &mut dyn Write) -> io::Result<()> {
    let names = names(entries);
    let medians = || {
        let all =
            entries.iter().zip(&names).filter_map(|(entry, name)| Some((entry.cell.latency_ns.p50?, name)));
        all.collect::<Vec<_>>()
    };
    let fastest = medians().into_iter().min_by(|a, b| a.0.total_cmp(&b.0));
    let slowest = medians().into_iter().max_by(|a, b| a.0.total_cmp(&b.0));
    if let (Some(fastest), Some(slowest), true) = (fastest, slowest, medians().len() > 1) {
        writeln!(
            out,
            "<p>{} cells. The shortest median round trip is {}: {}. The longest is {}: {}.</p>",
            entries.len(),
            latency(fastest.0),
            Text(fastest.1),
            latency(slowest.0),
            Text(slowest.1)
        )?;
    }
    Ok(())
}

/// A run in a line: what it is called, and when and where it was.
pub(super) fn run_line(entry: &crate::client::judge::compare::Side) -> String {
    let report = &entry.report;
    let mut parts = vec![run_name(entry), crate::units::utc(report.started_unix_s)];
    parts.extend(report.environment.hostname.clone());
    parts.push(format!("grade {}: {}", report.grade, report.grade.meaning()));
    parts.join(", ")
}
