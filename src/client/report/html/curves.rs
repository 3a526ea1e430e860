//! Charts of lines: the distribution of each cell, and what size, idle time and rate do.

use std::io;

use super::axis::{Axis, duration, percentile};
use super::cells::{Entry, Facet, Panel, Series, panels};
use super::chart::{Chart, Line};
use super::figure::{Figure, Key, Mark};
use super::markup::{Datum, Table};
use super::overview::span_words;
use super::theme;
use crate::client::report::{CellReport, Latency, PS_PER_NS};
use crate::client::stats::{Statistic, quantile};
use crate::units::{latency, rate, size};

/// Steps in a decade of rarity: preferred numbers (ISO 3, R10), so that 50 %, 90 %, 99 % are among them.
const STEPS: [f64; 10] = [1.0, 1.25, 1.6, 2.0, 2.5, 3.2, 4.0, 5.0, 6.3, 8.0];

/// One line for each cell: quantiles, spread by how rare what lies beyond them is.
pub(super) fn distributions(entries: &[Entry<'_>], out: &mut String) -> io::Result<usize> {
    let series = entries.iter().filter_map(|entry| {
        let points = distribution(entry.cell);
        let level = entry.cell.latency_ns.p50.or(entry.cell.latency_ns.mean)?;
        (points.len() > 1).then_some(Series { entry: *entry, points, level })
    });
    let panels = panels(series.collect(), &[Facet::Size, Facet::Placement, Facet::Pace, Facet::Parallel]);
    for (number, panel) in panels.iter().enumerate() {
        let title = title("Latency distribution", panel);
        let mut table = by_x(&title, panel, "quantile", &percentile, &|_, _, ns| latency(ns));
        for (name, statistic) in [("longest round", Statistic::Max), ("mean", Statistic::Mean)] {
            let figures = panel
                .series
                .iter()
                .map(|(_, series)| Datum::figure(series.entry.cell.latency_ns.get(statistic), latency));
            table.rows.push(std::iter::once(Datum::word(name)).chain(figures).collect());
        }
        let samples = panel
            .series
            .iter()
            .map(|(_, series)| Datum::word(series.entry.cell.latency_ns.samples.to_string()));
        table.rows.push(std::iter::once(Datum::word("samples")).chain(samples).collect());
        let x = Axis::quantile(panel.x.1);
        figure(
            &format!("distribution-{}", number + 1),
            &title,
            &lines(&title, panel, x, false),
            panel,
            &table,
            out,
        )?;
    }
    Ok(panels.len())
}

/// A cell's quantiles as far as they can be told: how rare what is longer is (one in so many rounds), and the latency.
/// A report in JSON has no histogram, and a few quantiles.
pub(super) fn distribution(cell: &CellReport) -> Vec<(f64, f64)> {
    let told = &cell.latency_ns;
    let least = told.min.map(|min| (1.0, min));
    if cell.histogram.is_empty() {
        let few =
            [(2.0, told.p50), (10.0, told.p90), (100.0, told.p99), (1e3, told.p99_9), (1e4, told.p99_99)];
        return least.into_iter().chain(few.into_iter().filter_map(|(x, ns)| Some((x, ns?)))).collect();
    }
    let rarities = (0..16).flat_map(|decade| STEPS.map(|step| step * 10_f64.powi(decade)));
    let points = rarities.skip(1).map_while(|rarity| {
        let ps = quantile(&cell.histogram, 1.0 - 1.0 / rarity)?;
        Some((rarity, ps as f64 / PS_PER_NS))
    });
    least.into_iter().chain(points).collect()
}

/// What is swept: over what, by which axis, and what else lines are told apart by.
struct Sweep {
    name: &'static str,
    id: &'static str,
    head: &'static str,
    /// Where a cell stands on the axis, if it belongs on it.
    x: fn(&CellReport) -> Option<f64>,
    axis: fn(&[f64]) -> Axis,
    /// What a place on it is called.
    label: fn(f64) -> String,
    /// The latency that is drawn.
    of: fn(&CellReport) -> Option<&Latency>,
    by: &'static [Facet],
}

const SIZES: Sweep = Sweep {
    name: "Median round trip by size",
    id: "size",
    head: "size",
    x: |cell| Some(cell.size_bytes as f64),
    axis: Axis::sizes,
    label: |bytes| size(bytes as u64),
    of: |cell| Some(&cell.latency_ns),
    by: &[Facet::Placement, Facet::Pace, Facet::Parallel],
};

const GAPS: Sweep = Sweep {
    name: "Median round trip by idle time",
    id: "gap",
    head: "idle before each round",
    x: |cell| cell.interval_ns.is_none().then(|| cell.gap_ns.unwrap_or(0) as f64),
    axis: Axis::gaps,
    label: duration,
    of: |cell| Some(&cell.latency_ns),
    by: &[Facet::Size, Facet::Placement, Facet::Parallel],
};

const RATES: Sweep = Sweep {
    name: "Median response by rate, from the intended start",
    id: "rate",
    head: "rounds a second",
    x: |cell| cell.interval_ns.filter(|ns| *ns > 0).map(|ns| 1e9 / ns as f64),
    axis: Axis::rates,
    label: rate,
    of: |cell| cell.response_ns.as_ref(),
    by: &[Facet::Size, Facet::Placement, Facet::Parallel],
};

/// A line for each method over its sizes, where there are several.
pub(super) fn sizes(entries: &[Entry<'_>], out: &mut String) -> io::Result<usize> {
    sweep(&SIZES, entries, out)
}

/// The same over idle times.
pub(super) fn gaps(entries: &[Entry<'_>], out: &mut String) -> io::Result<usize> {
    sweep(&GAPS, entries, out)
}

/// The same over rates.
pub(super) fn rates(entries: &[Entry<'_>], out: &mut String) -> io::Result<usize> {
    sweep(&RATES, entries, out)
}

fn sweep(sweep: &Sweep, entries: &[Entry<'_>], out: &mut String) -> io::Result<usize> {
    let mut found: Vec<(Series<'_>, Vec<Entry<'_>>)> = Vec::new();
    for entry in entries {
        let (Some(x), Some(p50)) = ((sweep.x)(entry.cell), (sweep.of)(entry.cell).and_then(|told| told.p50))
        else {
            continue;
        };
        let facets = [Facet::Size, Facet::Placement, Facet::Wait, Facet::Pace, Facet::Parallel, Facet::Run];
        let swept = |facet: Facet| facet == if sweep.id == "size" { Facet::Size } else { Facet::Pace };
        let line = found.iter_mut().find(|(series, _)| {
            let other = series.entry;
            let same = |facet: &Facet| swept(*facet) || other.facet(*facet) == entry.facet(*facet);
            other.method() == entry.method() && facets.iter().all(same)
        });
        match line {
            Some((series, _)) if series.points.iter().any(|(other, _)| *other == x) => {}
            Some((series, cells)) => {
                series.points.push((x, p50));
                cells.push(*entry);
            }
            None => found.push((Series { entry: *entry, points: vec![(x, p50)], level: p50 }, vec![*entry])),
        }
    }
    found.retain(|(series, _)| series.points.len() > 1);
    for (series, _) in &mut found {
        series.points.sort_by(|a, b| a.0.total_cmp(&b.0));
    }
    let cells: Vec<Entry<'_>> = found.iter().flat_map(|(_, cells)| cells.clone()).collect();
    let panels = panels(found.into_iter().map(|(series, _)| series).collect(), sweep.by);
    for (number, panel) in panels.iter().enumerate() {
        let mut xs: Vec<f64> =
            panel.series.iter().flat_map(|(_, series)| &series.points).map(|point| point.0).collect();
        xs.sort_by(f64::total_cmp);
        xs.dedup();
        let x = (sweep.axis)(&xs);
        // The median of each, with its interval where there is one.
        let figure_of = |series: &Series<'_>, at: f64, ns: f64| {
            let same = |entry: &&Entry<'_>| {
                (sweep.x)(entry.cell) == Some(at)
                    && (sweep.of)(entry.cell).and_then(|told| told.p50) == Some(ns)
            };
            let cell = cells.iter().filter(|entry| entry.method() == series.entry.method()).find(same);
            let span = cell.and_then(|entry| entry.cell.confidence_95_ns?.p50).filter(|_| sweep.id != "rate");
            let span = span.map(|span| format!(" ({})", span_words(span.low, span.high)));
            format!("{}{}", latency(ns), span.unwrap_or_default())
        };
        let title = title(sweep.name, panel);
        let table = by_x(&title, panel, sweep.head, &sweep.label, &figure_of);
        let id = format!("{}-{}", sweep.id, number + 1);
        figure(&id, &title, &lines(&title, panel, x.clone(), true), panel, &table, out)?;
    }
    Ok(panels.len())
}

fn title(of: &str, panel: &Panel<'_>) -> String {
    match (panel.title.as_str(), &panel.series[..]) {
        ("", [(name, _)]) => format!("{of}: {name}"),
        ("", _) => of.to_owned(),
        (common, _) => format!("{of}: {common}"),
    }
}

fn lines(title: &str, panel: &Panel<'_>, x: Axis, dots: bool) -> Chart {
    let names: Vec<&str> = panel.series.iter().map(|(name, _)| name.as_str()).collect();
    let mut chart =
        Chart::new(format!("{title}: {}", names.join("; ")), x, Axis::latency("round trip", panel.y));
    chart.lines = panel
        .series
        .iter()
        .enumerate()
        .map(|(number, (_, series))| Line {
            points: series.points.clone(),
            colour: theme::line(number),
            width: 2,
            dots,
        })
        .collect();
    chart
}

/// A row for each place on the x axis, a column for each line.
fn by_x(
    name: &str,
    panel: &Panel<'_>,
    head: &str,
    label: &dyn Fn(f64) -> String,
    show: &dyn Fn(&Series<'_>, f64, f64) -> String,
) -> Table {
    let mut xs: Vec<f64> =
        panel.series.iter().flat_map(|(_, series)| &series.points).map(|point| point.0).collect();
    xs.sort_by(f64::total_cmp);
    xs.dedup();
    let row = |x: f64| {
        let of = |series: &Series<'_>| {
            let ns = series.points.iter().find(|point| point.0 == x).map(|point| point.1);
            Datum::figure(ns, |ns| show(series, x, ns))
        };
        let figures = panel.series.iter().map(|(_, series)| of(series));
        std::iter::once(Datum { text: label(x), key: Some(x) }).chain(figures).collect()
    };
    Table {
        name: name.to_owned(),
        heads: std::iter::once(head.to_owned())
            .chain(panel.series.iter().map(|(name, _)| name.clone()))
            .collect(),
        names: 1,
        prose: false,
        rows: xs.into_iter().map(row).collect(),
    }
}

/// Writes a chart with its title, a legend of its lines, and its figures.
fn figure(
    id: &str,
    title: &str,
    chart: &Chart,
    panel: &Panel<'_>,
    table: &Table,
    out: &mut String,
) -> io::Result<()> {
    let key = |(number, (name, _)): (usize, &(String, Series<'_>))| Key {
        name: name.clone(),
        number,
        mark: Mark::Line,
    };
    let legend: Vec<Key> = panel.series.iter().enumerate().map(key).collect();
    Figure { id, title, chart, legend: &legend, notes: "", table }.write(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::report::sample;

    #[test]
    fn a_distribution_ends_where_ten_samples_lie_beyond() {
        let cell = &sample::sweep().results[0];
        let points = distribution(cell);
        assert_eq!(cell.latency_ns.samples, 100_000);
        let at = |rarity: f64| points.iter().find(|point| point.0 == rarity).map(|point| point.1);
        let told = &cell.latency_ns;
        assert_eq!(
            (at(1.0), at(2.0), at(10.0), at(100.0), at(1000.0), at(10_000.0)),
            (told.min, told.p50, told.p90, told.p99, told.p99_9, told.p99_99)
        );
        assert_eq!(points.last().unwrap().0, 10_000.0);
        assert!(points.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1));
    }

    #[test]
    fn a_report_without_histograms_has_the_quantiles_that_it_tells() {
        let json = serde_json::to_string(&sample::sweep()).unwrap();
        let cell = &serde_json::from_str::<crate::client::report::Report>(&json).unwrap().results[0];
        let rarities: Vec<f64> = distribution(cell).iter().map(|point| point.0).collect();
        assert_eq!(rarities, [1.0, 2.0, 10.0, 100.0, 1e3, 1e4]);
    }
}
