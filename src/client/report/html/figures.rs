//! The charts of cells: latency distributions, the effect of size, idle time and rate, and heat maps. Below each, its
//! figures as a table.

use std::io::{self, Write};

use super::table::{self, Datum, Table};
use crate::client::report::cells::{Entry, Facet, groups, names};
use crate::client::report::charts::{
    Axis, Chart, Heat, LINES, Levels, Mark, Series, classes, duration, percentile,
};
use crate::client::report::escape::Text;
use crate::client::report::matrix::{Matrix, Pair};
use crate::client::report::{CellReport, HeadlineOf};
use crate::client::stats::{Latency, PS_PER_NS, Statistic, quantile};
use crate::units::{latency, rate, size};

/// Steps in a decade of rarity: preferred numbers (ISO 3, R10), so that 50 %, 90 %, 99 % are among them.
const STEPS: [f64; 10] = [1.0, 1.25, 1.6, 2.0, 2.5, 3.2, 4.0, 5.0, 6.3, 8.0];

/// The width of a heat map in points, like that of a chart.
const HEAT_WIDTH: i32 = 480;

/// A line of a chart.
#[derive(Debug, Clone)]
struct Curve<'a> {
    entry: Entry<'a>,
    points: Vec<Point>,
    /// Lines are sorted by it: the fastest first.
    level: f64,
}

/// A point of a line, and what the table below the chart shows for it.
#[derive(Debug, Clone)]
struct Point {
    x: f64,
    ns: f64,
    words: String,
}

/// The lines of one chart.
#[derive(Debug, Clone)]
struct Panel<'a> {
    /// What all of them have in common.
    title: String,
    /// Each with its name.
    curves: Vec<(String, Curve<'a>)>,
    /// The lowest and the highest value of each axis, over all charts of the same group.
    x: (f64, f64),
    y: (f64, f64),
}

impl Panel<'_> {
    /// The values on the x axis at which a line has a point.
    fn xs(&self) -> Vec<f64> {
        let points = self.curves.iter().flat_map(|(_, curve)| &curve.points);
        let mut xs: Vec<f64> = points.map(|point| point.x).collect();
        xs.sort_by(f64::total_cmp);
        xs.dedup();
        xs
    }
}

/// Which colour and dash each method has, in all charts of the page.
pub(super) struct Palette(Vec<String>);

impl Palette {
    pub(super) fn of(entries: &[Entry<'_>]) -> Self {
        let mut methods: Vec<String> = Vec::new();
        for method in entries.iter().map(Entry::method) {
            if !methods.contains(&method) {
                methods.push(method);
            }
        }
        Self(methods)
    }

    /// The classes of each of these. Further ones of a method have its colour and another dash; where all are of one method,
    /// each has its own colour.
    pub(super) fn classes(&self, entries: &[Entry<'_>]) -> Vec<String> {
        let number =
            |entry: &Entry<'_>| self.0.iter().position(|method| *method == entry.method()).unwrap_or(0);
        let one_method = entries.iter().all(|entry| number(entry) == number(&entries[0]));
        let class = |(at, entry): (usize, &Entry<'_>)| {
            let before = entries[..at].iter().filter(|other| number(other) == number(entry)).count();
            if one_method && entries.len() > 1 { classes(at, 0) } else { classes(number(entry), before) }
        };
        entries.iter().enumerate().map(class).collect()
    }
}

/// Distributes lines over charts: those that agree in `by` form a group, which is split where a chart would have more
/// lines than a reader can distinguish. Lines of one method are always one group.
fn panels<'a>(curves: Vec<Curve<'a>>, by: &[Facet]) -> Vec<Panel<'a>> {
    let mut panels = Vec::new();
    for (common, mut group) in groups(curves, |curve| curve.entry, by) {
        group.sort_by(|a, b| a.level.total_cmp(&b.level));
        let names = names(&group.iter().map(|curve| curve.entry).collect::<Vec<_>>(), ", ");
        let range = |of: fn(&Point) -> f64| {
            let values = group.iter().flat_map(|curve| &curve.points).map(of);
            values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
                (low.min(value), high.max(value))
            })
        };
        let (x, y) = (range(|point| point.x), range(|point| point.ns));
        let charts = group.len().div_ceil(LINES);
        let mut rest = names.into_iter().zip(group).collect::<Vec<_>>().into_iter();
        for number in 0..charts {
            let part = (charts > 1).then(|| format!("{} of {charts}", number + 1));
            let title = Some(&common).filter(|text| !text.is_empty()).into_iter().chain(&part);
            let title = title.map(String::as_str).collect::<Vec<_>>().join(", ");
            let share = rest.len().div_ceil(charts - number);
            panels.push(Panel { title, curves: rest.by_ref().take(share).collect(), x, y });
        }
    }
    panels
}

/// Writes a drawing with its title, notes as markup, and its figures.
pub(super) fn write(id: &str, svg: &str, notes: &str, table: &Table, out: &mut Vec<u8>) -> io::Result<()> {
    writeln!(out, "<figure id=\"{id}\"><figcaption>{}</figcaption>\n{svg}", Text(&table.name))?;
    writeln!(out, "{notes}<details><summary>Figures</summary>")?;
    table::write(table, None, out)?;
    writeln!(out, "</details></figure>")
}

/// One line for each cell: quantiles, by how rare longer rounds are.
pub(super) fn distributions(entries: &[Entry<'_>], palette: &Palette, out: &mut Vec<u8>) -> io::Result<()> {
    let curves = entries.iter().filter_map(|entry| {
        let points = distribution(entry.cell);
        let level = entry.cell.latency_ns.p50.or(entry.cell.latency_ns.mean)?;
        (points.len() > 1).then_some(Curve { entry: *entry, points, level })
    });
    let panels = panels(curves.collect(), &[Facet::Size, Facet::Placement, Facet::Pace, Facet::Parallel]);
    for (panel, number) in panels.iter().zip(1..) {
        let mut table = by_x("Round trip by quantile", panel, "quantile", percentile);
        let mut add = |name: &str, figure: &dyn Fn(&Latency) -> Datum| {
            let figures = panel.curves.iter().map(|(_, curve)| figure(&curve.entry.cell.latency_ns));
            table.rows.push(std::iter::once(Datum::word(name)).chain(figures).collect());
        };
        add("longest round", &|latency_ns| Datum::figure(latency_ns.get(Statistic::Max), latency));
        add("mean", &|latency_ns| Datum::figure(latency_ns.get(Statistic::Mean), latency));
        add("samples", &|latency_ns| Datum::word(latency_ns.samples.to_string()));
        let chart = chart(&table.name, panel, Axis::quantile(panel.x.1), Mark::Line, palette);
        write(&format!("distribution-{number}"), &chart.draw(), &chart.legend(), &table, out)?;
    }
    Ok(())
}

/// A cell's quantiles that have enough samples: how rare longer rounds are (one in `x`), and the latency. A report in JSON
/// has no histogram, only a few quantiles.
fn distribution(cell: &CellReport) -> Vec<Point> {
    let Latency { min, p50, p90, p99, p99_9, p99_99, .. } = cell.latency_ns;
    let least = min.map(|min| (1.0, min));
    let rarities = (0..16).flat_map(|decade| STEPS.map(|step| step * 10_f64.powi(decade)));
    let points: Vec<(f64, f64)> = if cell.histogram.is_empty() {
        let few = [(2.0, p50), (10.0, p90), (100.0, p99), (1e3, p99_9), (1e4, p99_99)];
        few.into_iter().filter_map(|(x, ns)| Some((x, ns?))).collect()
    } else {
        let at = |rarity: f64| quantile(&cell.histogram, 1.0 - 1.0 / rarity);
        rarities.skip(1).map_while(|rarity| Some((rarity, at(rarity)? as f64 / PS_PER_NS))).collect()
    };
    least.into_iter().chain(points).map(|(x, ns)| Point { x, ns, words: latency(ns) }).collect()
}

/// The settings that a chart's x axis may show.
pub(super) struct Sweep {
    name: &'static str,
    id: &'static str,
    /// The head of the table's first column, and the title of the axis.
    heads: (&'static str, &'static str),
    facet: Facet,
    /// The cell's value of the setting, if it has one.
    x: fn(&CellReport) -> Option<f64>,
    label: fn(f64) -> String,
    /// The latency that is drawn.
    of: fn(&CellReport) -> Option<&Latency>,
    /// Cells that differ in these are in different charts.
    by: &'static [Facet],
}

pub(super) const SIZES: Sweep = Sweep {
    name: "Median latency by size",
    id: "size",
    heads: ("size", "bytes each way in a round"),
    facet: Facet::Size,
    x: |cell| Some(cell.size_bytes as f64),
    label: |bytes| size(bytes as u64),
    of: |cell| Some(&cell.headline_ns),
    by: &[Facet::Placement, Facet::Pace, Facet::Parallel],
};

pub(super) const GAPS: Sweep = Sweep {
    name: "Median round trip by idle time",
    id: "gap",
    heads: ("idle before each round", "idle time before each round"),
    facet: Facet::Pace,
    x: |cell| cell.interval_ns.is_none().then(|| cell.gap_ns.unwrap_or(0) as f64),
    label: duration,
    of: |cell| Some(&cell.headline_ns),
    by: &[Facet::Size, Facet::Placement, Facet::Parallel],
};

pub(super) const RATES: Sweep = Sweep {
    name: "Median response by rate, from the intended start",
    id: "rate",
    heads: ("rounds a second", "rounds started a second"),
    facet: Facet::Pace,
    x: |cell| cell.interval_ns.filter(|ns| *ns > 0).map(|ns| 1e9 / ns as f64),
    label: rate,
    of: |cell| (cell.headline_of == HeadlineOf::Response).then_some(&cell.headline_ns),
    by: &[Facet::Size, Facet::Placement, Facet::Parallel],
};

/// A line for each method over the values of a setting, where there are several.
pub(super) fn sweep(
    sweep: &Sweep,
    entries: &[Entry<'_>],
    palette: &Palette,
    out: &mut Vec<u8>,
) -> io::Result<()> {
    let mut curves: Vec<Curve<'_>> = Vec::new();
    for entry in entries {
        let latencies = (sweep.of)(entry.cell);
        let (Some(x), Some(ns)) = ((sweep.x)(entry.cell), latencies.and_then(|latency_ns| latency_ns.p50))
        else {
            continue;
        };
        let span = entry.cell.confidence_95_ns.and_then(|spans| spans.p50);
        let span = span.map(|span| format!(" ({span})"));
        let point = Point { x, ns, words: latency(ns) + &span.unwrap_or_default() };
        let line =
            curves.iter_mut().find(|curve| curve.entry.differs_only_in(entry, &[sweep.facet, Facet::Cpus]));
        match line {
            Some(curve) if curve.points.iter().any(|other| other.x == x) => {}
            Some(curve) => curve.points.push(point),
            None => curves.push(Curve { entry: *entry, points: vec![point], level: ns }),
        }
    }
    curves.retain(|curve| curve.points.len() > 1);
    for curve in &mut curves {
        curve.points.sort_by(|a, b| a.x.total_cmp(&b.x));
    }
    for (panel, number) in panels(curves, sweep.by).iter().zip(1..) {
        let table = by_x(sweep.name, panel, sweep.heads.0, sweep.label);
        let axis = Axis::values(sweep.heads.1, &panel.xs(), sweep.label);
        let chart = chart(&table.name, panel, axis, Mark::LineWithDots, palette);
        write(&format!("{}-{number}", sweep.id), &chart.draw(), &chart.legend(), &table, out)?;
    }
    Ok(())
}

fn chart(title: &str, panel: &Panel<'_>, x: Axis, mark: Mark, palette: &Palette) -> Chart {
    let names: Vec<&str> = panel.curves.iter().map(|(name, _)| name.as_str()).collect();
    let label = format!("{title}: {}", names.join("; "));
    let entries: Vec<Entry<'_>> = panel.curves.iter().map(|(_, curve)| curve.entry).collect();
    let lines = panel.curves.iter().zip(palette.classes(&entries));
    let series = lines.map(|((name, curve), classes)| Series {
        name: name.clone(),
        mark,
        classes,
        points: curve.points.iter().map(|point| (point.x, point.ns)).collect(),
    });
    Chart { label, x, y: Axis::latency(panel.y), series: series.collect(), rows: panel.xs() }
}

/// A row for each value on the x axis, a column for each line.
fn by_x(of: &str, panel: &Panel<'_>, head: &str, label: fn(f64) -> String) -> Table {
    let row = |x: f64| {
        let figure = |(_, curve): &(String, Curve<'_>)| match curve.points.iter().find(|point| point.x == x) {
            Some(point) => Datum { text: point.words.clone(), key: Some(point.ns) },
            None => Datum::figure(None, latency),
        };
        std::iter::once(Datum { text: label(x), key: Some(x) })
            .chain(panel.curves.iter().map(figure))
            .collect()
    };
    let name = match (panel.title.as_str(), &panel.curves[..]) {
        ("", [(name, _)]) => format!("{of}: {name}"),
        ("", _) => of.to_owned(),
        (common, _) => format!("{of}: {common}"),
    };
    let names = panel.curves.iter().map(|(name, _)| name.clone());
    Table {
        name,
        heads: std::iter::once(head.to_owned()).chain(names).collect(),
        rows: panel.xs().into_iter().map(row).collect(),
        prose: false,
    }
}

/// Methods by placement, where a run has several placements.
pub(super) fn placements(entries: &[Entry<'_>], out: &mut Vec<u8>) -> io::Result<()> {
    let mut columns: Vec<String> = Vec::new();
    for entry in entries.iter().filter(|entry| entry.cell.headline_ns.p50.is_some()) {
        let placement = entry.facet(Facet::Placement);
        if !columns.contains(&placement) {
            columns.push(placement);
        }
    }
    let mut rows: Vec<(Entry<'_>, Vec<Option<f64>>)> = Vec::new();
    for entry in entries {
        let Some(column) = columns.iter().position(|column| *column == entry.facet(Facet::Placement)) else {
            continue;
        };
        let same = |(row, _): &(Entry<'_>, _)| row.differs_only_in(entry, &[Facet::Placement, Facet::Cpus]);
        let at = rows.iter().position(same).unwrap_or_else(|| {
            rows.push((*entry, vec![None; columns.len()]));
            rows.len() - 1
        });
        let place = &mut rows[at].1[column];
        *place = place.or(entry.cell.headline_ns.p50);
    }
    rows.retain(|(_, values)| values.iter().flatten().count() > 1);
    if rows.is_empty() {
        return Ok(());
    }
    let of: Vec<Entry<'_>> = rows.iter().map(|(entry, _)| *entry).collect();
    let values: Vec<Option<f64>> = rows.into_iter().flat_map(|(_, values)| values).collect();
    let heat = Heat {
        title: "Median latency by placement".to_owned(),
        heads: ("", ""),
        rows: names(&of, ", "),
        columns,
        levels: Levels::between(values.iter().flatten().copied()),
        of_cpus: false,
        tips: Vec::new(),
        values,
    };
    let words: Vec<String> = heat.values.iter().map(|value| value.map_or("–".to_owned(), latency)).collect();
    write("placements-1", &drawn(&heat), "", &heat_table(&heat, "method", &words), out)
}

/// Every pair of CPUs, as measured by `matrix`.
pub(super) fn matrices(matrices: &[Matrix], out: &mut Vec<u8>) -> io::Result<()> {
    for (matrix, number) in matrices.iter().zip(1..) {
        let heat = matrix.heat(format!("Median round trip by pair of CPUs: {}", matrix.subject));
        let words: Vec<String> = matrix.pairs.iter().map(Pair::words).collect();
        let table = heat_table(&heat, "client's CPU \\ responder's CPU", &words);
        write(&format!("matrix-{number}"), &drawn(&heat), "", &table, out)?;
    }
    Ok(())
}

/// A heat map keeps its size: where the page is narrower, it scrolls.
fn drawn(heat: &Heat) -> String {
    let (name, svg) = (Text(&heat.title), heat.draw(HEAT_WIDTH));
    format!(
        "<div class=\"scroll\" role=\"region\" tabindex=\"0\" aria-label=\"Heat map: {name}\">{svg}</div>"
    )
}

fn heat_table(heat: &Heat, head: &str, words: &[String]) -> Table {
    let columns = heat.columns.len().max(1);
    let row = |((name, words), values): ((&String, &[String]), &[Option<f64>])| {
        let figures = words.iter().zip(values).map(|(text, key)| Datum { text: text.clone(), key: *key });
        std::iter::once(Datum::word(name.clone())).chain(figures).collect()
    };
    Table {
        name: heat.title.clone(),
        heads: std::iter::once(head.to_owned()).chain(heat.columns.iter().cloned()).collect(),
        rows: heat.rows.iter().zip(words.chunks(columns)).zip(heat.values.chunks(columns)).map(row).collect(),
        prose: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::report::cells::entries;
    use crate::client::report::sample;

    #[test]
    fn a_distribution_ends_where_ten_samples_lie_beyond() {
        let cell = &sample::sweep().results[0];
        let points = distribution(cell);
        assert_eq!(cell.latency_ns.samples, 100_000);
        let at = |rarity: f64| points.iter().find(|point| point.x == rarity).map(|point| point.ns);
        let latency_ns = &cell.latency_ns;
        assert_eq!(
            (at(1.0), at(2.0), at(10.0), at(100.0), at(1000.0), at(10_000.0)),
            (
                latency_ns.min,
                latency_ns.p50,
                latency_ns.p90,
                latency_ns.p99,
                latency_ns.p99_9,
                latency_ns.p99_99
            )
        );
        assert_eq!(points.last().unwrap().x, 10_000.0);
        assert!(points.is_sorted_by(|a, b| a.x < b.x && a.ns <= b.ns));
    }

    #[test]
    fn a_report_without_histograms_has_its_few_quantiles() {
        let json = serde_json::to_string(&sample::sweep()).unwrap();
        let cell = &serde_json::from_str::<crate::client::report::Report>(&json).unwrap().results[0];
        let rarities: Vec<f64> = distribution(cell).iter().map(|point| point.x).collect();
        assert_eq!(rarities, [1.0, 2.0, 10.0, 100.0, 1e3, 1e4]);
    }

    #[test]
    fn charts_have_no_more_lines_than_can_be_distinguished() {
        let sweep = sample::sweep();
        let entries: Vec<Entry<'_>> = entries("last", &sweep).collect();
        let line = |number: usize| Curve {
            entry: entries[number % 2],
            points: [(1.0, number as f64), (2.0, 100.0)]
                .map(|(x, ns)| Point { x, ns, words: String::new() })
                .to_vec(),
            level: -(number as f64),
        };
        let shown = panels((0..14).map(line).collect(), &[Facet::Size]);
        let drawn: Vec<_> = shown.iter().map(|panel| (panel.title.as_str(), panel.curves.len())).collect();
        assert_eq!(
            drawn,
            [("8 B, 1 of 2", 4), ("8 B, 2 of 2", 3), ("64 KiB, 1 of 2", 4), ("64 KiB, 2 of 2", 3)]
        );
        assert_eq!((shown[0].y, shown[0].x), ((0.0, 100.0), (1.0, 2.0)), "all of a group have its axes");
        assert_eq!(shown[0].curves[0].1.level, -12.0, "the lowest is first");
        let one_method = panels(vec![line(0), line(0)], &[Facet::Size]);
        assert_eq!((one_method.len(), one_method[0].title.as_str()), (1, ""));
        assert!(panels(Vec::new(), &[Facet::Size]).is_empty());
    }
}
