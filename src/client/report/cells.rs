//! A report's cells in words: their settings, and names that distinguish them.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{CellReport, Report};
use crate::units::{rate, size};

/// A cell, and the name of its run where there are several.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry<'a> {
    pub(super) run: &'a str,
    pub(super) cell: &'a CellReport,
}

/// The cells of a report.
pub(super) fn entries<'a>(run: &'a str, report: &'a Report) -> impl Iterator<Item = Entry<'a>> {
    report.results.iter().map(move |cell| Entry { run, cell })
}

/// What cells may differ in, apart from the method and its options.
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
    /// In the order of a name and of a table's columns.
    pub(super) const ALL: [Self; 7] =
        [Self::Size, Self::Placement, Self::Cpus, Self::Wait, Self::Pace, Self::Parallel, Self::Run];

    /// The head of its column.
    pub(super) fn head(self) -> &'static str {
        match self {
            Self::Size => "size",
            Self::Placement => "placement",
            Self::Cpus => "CPUs",
            Self::Wait => "wait",
            Self::Pace => "pace",
            Self::Parallel => "channels",
            Self::Run => "run",
        }
    }
}

impl Entry<'_> {
    /// The method and its options.
    pub(super) fn method(&self) -> String {
        let options = self.cell.options.iter().map(|(name, value)| format!(" {name}={value}"));
        std::iter::once(self.cell.method.clone()).chain(options).collect()
    }

    /// The value of a facet; empty if the setting was not used.
    pub(super) fn facet(&self, facet: Facet) -> String {
        let cell = self.cell;
        match facet {
            Facet::Size => size(cell.size_bytes),
            Facet::Placement => cell.placement.name().to_owned(),
            Facet::Cpus => match (cell.client_cpu, cell.server_cpu) {
                (None, None) => String::new(),
                (client, server) => {
                    let side = |cpu: Option<u32>| cpu.map_or("any".to_owned(), |cpu| cpu.to_string());
                    format!("{}→{}", side(client), side(server))
                }
            },
            Facet::Wait => cell.wait.name().to_owned(),
            Facet::Pace => match (cell.gap_ns, cell.interval_ns) {
                (Some(gap), _) => {
                    let gap = humantime::format_duration(Duration::from_nanos(gap)).to_string();
                    format!("gap {}", gap.replace(' ', ""))
                }
                (None, Some(interval)) => rate(1e9 / interval as f64),
                (None, None) => String::new(),
            },
            Facet::Parallel if cell.parallel > 1 => cell.parallel.to_string(),
            Facet::Parallel => String::new(),
            Facet::Run => self.run.to_owned(),
        }
    }

    /// Whether the two are of one method and equal in all but these facets.
    pub(super) fn differs_only_in(&self, other: &Self, free: &[Facet]) -> bool {
        let equal = |facet: &Facet| free.contains(facet) || self.facet(*facet) == other.facet(*facet);
        self.method() == other.method() && Facet::ALL.iter().all(equal)
    }
}

/// A name for each: the method, and the facets in which it differs from others of that method.
pub(super) fn names(entries: &[Entry<'_>], separator: &str) -> Vec<String> {
    // Formatted once: each is compared with all others.
    let words: Vec<(String, [String; 7])> =
        entries.iter().map(|entry| (entry.method(), Facet::ALL.map(|facet| entry.facet(facet)))).collect();
    let name = |(method, own): &(String, [String; 7])| {
        // The CPUs of a placement are the host's choice, and the run is plain where only one has such a cell: those two
        // are in a name only where nothing else distinguishes it.
        let last = |at: usize| matches!(Facet::ALL[at], Facet::Cpus | Facet::Run);
        let distinguishes = |at: usize| {
            let mut others = words.iter().filter(|(other, _)| other == method).map(|(_, other)| other);
            let equal_else = |other: &[String; 7]| (0..own.len()).all(|at| last(at) || other[at] == own[at]);
            others.any(|other| other[at] != own[at] && (!last(at) || equal_else(other)))
        };
        let facet = |at: usize| match Facet::ALL[at] {
            Facet::Cpus => format!("CPU {}", own[at]),
            Facet::Parallel => format!("{} channels", own[at]),
            _ => own[at].clone(),
        };
        let facets = (0..own.len()).filter(|at| !own[*at].is_empty() && distinguishes(*at)).map(facet);
        std::iter::once(method.clone()).chain(facets).collect::<Vec<_>>().join(separator)
    };
    words.iter().map(name).collect()
}

/// The same of cells of one run, with blanks: `tcp nodelay=false 64 B`.
pub(in crate::client) fn short_names<'a>(cells: impl Iterator<Item = &'a CellReport>) -> Vec<String> {
    names(&cells.map(|cell| Entry { run: "", cell }).collect::<Vec<_>>(), " ")
}

/// Groups of what agrees in `by`, each with those values in words, as far as they differ from those of other groups. One
/// group if all are of one method, which are then compared with each other.
pub(super) fn groups<'a, T>(
    all: Vec<T>,
    entry: impl Fn(&T) -> Entry<'a>,
    by: &[Facet],
) -> Vec<(String, Vec<T>)> {
    let same = |of: &dyn Fn(Entry<'a>) -> String| {
        all.windows(2).all(|pair| of(entry(&pair[0])) == of(entry(&pair[1])))
    };
    let one_method = same(&|entry| entry.method());
    let by: Vec<Facet> =
        by.iter().copied().filter(|facet| !one_method && !same(&|entry| entry.facet(*facet))).collect();
    let mut groups: Vec<(Vec<String>, Vec<T>)> = Vec::new();
    for one in all {
        let of = entry(&one);
        let common: Vec<String> = by.iter().map(|facet| of.facet(*facet)).collect();
        match groups.iter_mut().find(|(other, _)| *other == common) {
            Some((_, group)) => group.push(one),
            None => groups.push((common, vec![one])),
        }
    }
    let title =
        |words: Vec<String>| words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(", ");
    groups.into_iter().map(|(common, group)| (title(common), group)).collect()
}

/// The CPUs on which the client was seen, before or after a trial's rounds.
pub(super) fn client_cpus(cell: &CellReport) -> BTreeSet<u32> {
    cell.trials.iter().flat_map(|trial| &trial.client_cpus).copied().collect()
}

/// The CPUs on which a responder was seen, before or after a trial's rounds.
pub(super) fn server_cpus(cell: &CellReport) -> BTreeSet<u32> {
    cell.trials.iter().flat_map(|trial| &trial.server_cpus).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::report::sample;

    #[test]
    fn a_name_has_what_distinguishes_it_and_no_more() {
        let named = |runs: &[(&str, &Report)]| {
            names(&runs.iter().flat_map(|(run, report)| entries(run, report)).collect::<Vec<_>>(), ", ")
        };
        let sweep = sample::sweep();
        assert_eq!(named(&[("run 3", &sweep)]), ["shmem", "tcp", "tcp nodelay=false", "udp", "pipe"]);
        let two = named(&[("run 3", &sweep), ("run.json", &sweep)]);
        assert_eq!((two[0].as_str(), two[5].as_str()), ("shmem, run 3", "shmem, run.json"));
        let mut other = sweep.clone();
        other.results.truncate(1);
        let mut small = other.results[0].clone();
        small.size_bytes = 64;
        other.results.push(small.clone());
        small.client_cpu = Some(7);
        other.results.push(small.clone());
        assert_eq!(named(&[("", &other)]), ["shmem, 8 B", "shmem, 64 B, CPU 0→1", "shmem, 64 B, CPU 7→1"]);
        small.gap_ns = Some(10_000);
        other.results = vec![small.clone(), CellReport { gap_ns: None, ..small }];
        assert_eq!(named(&[("", &other)]), ["shmem, gap 10us", "shmem"]);
    }
}
