//! The cells of all runs of a report: what tells one from another, and which of them share a chart.

use crate::client::judge::compare::Side;
use crate::client::report::charts::LINES;
use crate::client::report::{CellReport, cell_method, cell_pace};
use crate::units::size;

/// A cell, and the run that it is of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry<'a> {
    pub(super) side: &'a Side,
    pub(super) cell: &'a CellReport,
}

/// What cells may differ in beside the method and its options.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Facet {
    Size,
    Placement,
    Cpus,
    Wait,
    Pace,
    Parallel,
    Run,
}

impl Facet {
    /// In the order in which a name tells them.
    const ALL: [Self; 7] =
        [Self::Size, Self::Placement, Self::Cpus, Self::Wait, Self::Pace, Self::Parallel, Self::Run];
}

impl Entry<'_> {
    /// The method and its options.
    pub(super) fn method(&self) -> String {
        cell_method(self.cell)
    }

    /// What it is in this respect; empty for what was not asked for.
    pub(super) fn facet(&self, facet: Facet) -> String {
        let cell = self.cell;
        match facet {
            Facet::Size => size(cell.size_bytes),
            Facet::Placement => cell.placement.name().to_owned(),
            Facet::Cpus => match (cell.client_cpu, cell.server_cpu) {
                (None, None) => String::new(),
                (client, server) => {
                    let side = |cpu: Option<u32>| cpu.map_or("any".to_owned(), |cpu| cpu.to_string());
                    format!("CPU {}→{}", side(client), side(server))
                }
            },
            Facet::Wait => cell.wait.name().to_owned(),
            Facet::Pace => cell_pace(cell).unwrap_or_default(),
            Facet::Parallel if cell.parallel > 1 => format!("{} channels", cell.parallel),
            Facet::Parallel => String::new(),
            Facet::Run => run_name(self.side),
        }
    }

    /// Whether the two are of one method and equal in all but these facets.
    pub(super) fn differs_only_in(&self, other: &Self, free: &[Facet]) -> bool {
        let equal = |facet: &Facet| free.contains(facet) || self.facet(*facet) == other.facet(*facet);
        self.method() == other.method() && Facet::ALL.iter().all(equal)
    }
}

/// A run's name: its id in the history and its label, or the file that it is from.
pub(super) fn run_name(side: &Side) -> String {
    match (side.run, &side.label) {
        (Some(run), Some(label)) => format!("run {run} ({label})"),
        (Some(run), None) => format!("run {run}"),
        (None, _) => side.name.clone(),
    }
}

/// Every cell of every run.
pub(super) fn entries(sides: &[Side]) -> Vec<Entry<'_>> {
    sides.iter().flat_map(|side| side.report.results.iter().map(move |cell| Entry { side, cell })).collect()
}

/// A name for each: the method, and whatever tells it from others of that method.
pub(super) fn names(entries: &[Entry<'_>]) -> Vec<String> {
    let last = |facet: Facet| matches!(facet, Facet::Cpus | Facet::Run);
    // Put into words once: each is compared with all others.
    let words: Vec<(String, [String; 7])> =
        entries.iter().map(|entry| (entry.method(), Facet::ALL.map(|facet| entry.facet(facet)))).collect();
    let name = |(method, own): &(String, [String; 7])| {
        let alike: Vec<&[String; 7]> =
            words.iter().filter(|(other, _)| other == method).map(|(_, other)| other).collect();
        let told = |at: usize| {
            let differs = |other: &[String; 7]| other[at] != own[at];
            // Only where nothing else tells them apart: which CPUs a placement came to is the host's affair, and which run
            // it is, is plain where only one has such a cell.
            let same_else =
                |other: &[String; 7]| (0..own.len()).all(|at| last(Facet::ALL[at]) || other[at] == own[at]);
            let mut alike = alike.iter().copied();
            match last(Facet::ALL[at]) {
                true => alike.any(|other| same_else(other) && differs(other)),
                false => alike.any(differs),
            }
        };
        let facets = (0..own.len()).filter(|at| !own[*at].is_empty() && told(*at)).map(|at| own[at].as_str());
        std::iter::once(method.as_str()).chain(facets).collect::<Vec<_>>().join(", ")
    };
    words.iter().map(name).collect()
}

/// A line of a chart.
#[derive(Debug, Clone)]
pub(super) struct Curve<'a> {
    pub(super) entry: Entry<'a>,
    pub(super) points: Vec<Point>,
    /// Lines are sorted by it: the fastest first.
    pub(super) level: f64,
}

/// A point of a line, and what the table below the chart shows for it.
#[derive(Debug, Clone)]
pub(super) struct Point {
    pub(super) x: f64,
    pub(super) ns: f64,
    pub(super) words: String,
}

/// The lines of one chart.
#[derive(Debug, Clone)]
pub(super) struct Panel<'a> {
    /// What all of them have in common.
    pub(super) title: String,
    /// Each with its name.
    pub(super) curves: Vec<(String, Curve<'a>)>,
    /// The lowest and the highest value of each axis, over all charts of the same group.
    pub(super) x: (f64, f64),
    pub(super) y: (f64, f64),
}

impl Panel<'_> {
    /// The values on the x axis at which a line has a point.
    pub(super) fn xs(&self) -> Vec<f64> {
        let points = self.curves.iter().flat_map(|(_, curve)| &curve.points);
        let mut xs: Vec<f64> = points.map(|point| point.x).collect();
        xs.sort_by(f64::total_cmp);
        xs.dedup();
        xs
    }
}

/// Distributes lines over charts: those that agree in `by` form a group, which is split where a chart would have more
/// lines than a reader can distinguish. Lines of one method are always one group.
pub(super) fn panels<'a>(curves: Vec<Curve<'a>>, by: &[Facet]) -> Vec<Panel<'a>> {
    let one_method = curves.windows(2).all(|pair| pair[0].entry.method() == pair[1].entry.method());
    let by = if one_method { &[] } else { by };
    let mut groups: Vec<(Vec<String>, Vec<Curve<'a>>)> = Vec::new();
    for curve in curves {
        let common: Vec<String> = by.iter().map(|facet| curve.entry.facet(*facet)).collect();
        match groups.iter_mut().find(|(other, _)| *other == common) {
            Some((_, group)) => group.push(curve),
            None => groups.push((common, vec![curve])),
        }
    }
    let mut panels = Vec::new();
    for (common, mut group) in groups {
        group.sort_by(|a, b| a.level.total_cmp(&b.level));
        let names = names(&group.iter().map(|curve| curve.entry).collect::<Vec<_>>());
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
            let title = common.iter().filter(|text| !text.is_empty()).chain(&part);
            let title = title.map(String::as_str).collect::<Vec<_>>().join(", ");
            let share = rest.len().div_ceil(charts - number);
            panels.push(Panel { title, curves: rest.by_ref().take(share).collect(), x, y });
        }
    }
    panels
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::report::sample;

    fn side(name: &str, run: Option<i64>) -> Side {
        Side { name: name.to_owned(), run, uuid: None, label: None, report: sample::sweep() }
    }

    #[test]
    fn a_name_tells_what_is_needed_and_no_more() {
        let one = [side("last", Some(3))];
        assert_eq!(names(&entries(&one)), ["shmem", "tcp", "tcp nodelay=false", "udp", "pipe"]);
        let two = [side("last", Some(3)), side("run.json", None)];
        let names = names(&entries(&two));
        assert_eq!((names[0].as_str(), names[5].as_str()), ("shmem, run 3", "shmem, run.json"));
        let mut other = [side("last", Some(3))];
        other[0].report.results.truncate(1);
        let mut small = other[0].report.results[0].clone();
        small.size_bytes = 64;
        other[0].report.results.push(small.clone());
        small.client_cpu = Some(7);
        other[0].report.results.push(small.clone());
        let names = super::names(&entries(&other));
        assert_eq!(names, ["shmem, 8 B", "shmem, 64 B, CPU 0→1", "shmem, 64 B, CPU 7→1"]);
        small.gap_ns = Some(10_000);
        other[0].report.results = vec![small.clone(), CellReport { gap_ns: None, ..small }];
        assert_eq!(super::names(&entries(&other)), ["shmem, gap 10us", "shmem"]);
    }

    #[test]
    fn charts_have_as_many_lines_as_can_be_told_apart() {
        let one = [side("last", Some(3))];
        let entries = entries(&one);
        let line = |number: usize| Curve {
            entry: entries[number % 2],
            points: [(1.0, number as f64), (2.0, 100.0)]
                .map(|(x, ns)| Point { x, ns, words: String::new() })
                .to_vec(),
            level: -(number as f64),
        };
        let shown = panels((0..14).map(line).collect(), &[Facet::Size]);
        let told: Vec<_> = shown.iter().map(|panel| (panel.title.as_str(), panel.curves.len())).collect();
        assert_eq!(
            told,
            [("8 B, 1 of 2", 4), ("8 B, 2 of 2", 3), ("64 KiB, 1 of 2", 4), ("64 KiB, 2 of 2", 3)]
        );
        assert_eq!((shown[0].y, shown[0].x), ((0.0, 100.0), (1.0, 2.0)), "all of a group have its axes");
        assert_eq!(shown[0].curves[0].1.level, -12.0, "the lowest is first");
        let one_method = panels(vec![line(0), line(0)], &[Facet::Size]);
        assert_eq!((one_method.len(), one_method[0].title.as_str()), (1, ""));
        assert!(panels(Vec::new(), &[Facet::Size]).is_empty());
    }
}
