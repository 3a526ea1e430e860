//! What a reader wants first: which method is fastest, by how much, and how far the figures can be trusted.

use std::io::{self, Write};

use super::figures::Palette;
use super::table::run_name;
use crate::client::judge::compare::Side;
use crate::client::report::cells::{Entry, Facet, groups, names};
use crate::client::report::charts::{Mark, bar};
use crate::client::report::escape::Text;
use crate::client::report::ranking::ratio_of;
use crate::client::report::sizes::{times, verdicts};
use crate::client::report::{CellReport, HeadlineOf};
use crate::client::stats::Latency;
use crate::units::{began, latency, percent};

/// From this ratio of the slowest to the fastest on, bars are on a logarithmic scale: the shorter ones would be invisible.
const LOG_RATIO: f64 = 25.0;

/// Cells that are compared, the fastest first.
pub(super) struct Ranking<'a> {
    /// What they have in common and others have not, such as their size.
    title: String,
    /// Those with a median.
    ranked: Vec<Ranked<'a>>,
    failed: Vec<String>,
}

struct Ranked<'a> {
    name: String,
    entry: Entry<'a>,
    p50: f64,
    /// How many times as long a round takes as in the first.
    to_fastest: f64,
}

/// The cells in groups of the same size, placement and pace.
pub(super) fn rankings<'a>(entries: &[Entry<'a>]) -> Vec<Ranking<'a>> {
    let by = [Facet::Size, Facet::Placement, Facet::Pace, Facet::Parallel];
    let ranking = |(title, group): (String, Vec<Entry<'a>>)| {
        let (mut ranked, mut failed) = (Vec::new(), Vec::new());
        for (entry, name) in group.iter().zip(names(&group, " ")) {
            match entry.cell.headline_ns.p50 {
                Some(p50) => ranked.push(Ranked { name, entry: *entry, p50, to_fastest: 1.0 }),
                None => failed.push(name),
            }
        }
        ranked.sort_by(|a, b| a.p50.total_cmp(&b.p50));
        if let Some((first, others)) = ranked.split_first_mut() {
            for other in others {
                // Trials of one run are compared in pairs.
                let paired = ratio_of(other.entry.cell, first.entry.cell).map(|ratio| ratio.times);
                let paired = paired.filter(|_| other.entry.run == first.entry.run);
                other.to_fastest = paired.unwrap_or(other.p50 / first.p50);
            }
        }
        Ranking { title, ranked, failed }
    };
    groups(entries.to_vec(), |entry| *entry, &by).into_iter().map(ranking).collect()
}

impl Ranking<'_> {
    /// The table: a row for each cell with its bar.
    fn write(&self, palette: &Palette, number: usize, out: &mut dyn Write) -> io::Result<()> {
        let Some(first) = self.ranked.first() else { return Ok(()) };
        let title = if self.title.is_empty() { "Median latency" } else { &self.title };
        let longest = self.ranked.iter().map(|ranked| ranked.p50).fold(first.p50, f64::max);
        // With room for its interval, but a very wide one leaves room for the bars.
        let ends = self.ranked.iter().filter_map(Ranked::interval).map(|(_, high)| high.min(longest * 1.5));
        let longest = ends.fold(longest, f64::max) * 1.02;
        let log = longest / first.p50 > LOG_RATIO;
        let share = |ns: f64| match log {
            true => (ns / first.p50 * 2.0).ln() / (longest / first.p50 * 2.0).ln(),
            false => ns / longest,
        };
        let scale = if log { "logarithmic scale" } else { "from 0" };
        writeln!(
            out,
            "<figure id=\"ranking-{number}\" class=\"ranking\"><table><caption>{}</caption><thead><tr><th scope=\"col\">method</th>\
             <th scope=\"col\" class=\"n\">median</th><th scope=\"col\" class=\"n opt\">±95 %</th>\
             <th scope=\"col\" class=\"n\">vs fastest</th><th scope=\"col\" class=\"scale\">{scale}</th></tr></thead><tbody>",
            Text(title)
        )?;
        let entries: Vec<Entry<'_>> = self.ranked.iter().map(|ranked| ranked.entry).collect();
        for (Ranked { name, entry, p50, to_fastest }, classes) in
            self.ranked.iter().zip(palette.classes(&entries))
        {
            let (method, facets) = name.split_at(name.find(' ').unwrap_or(name.len()));
            let span = entry.cell.confidence_95_ns.and_then(|spans| spans.p50);
            writeln!(
                out,
                "<tr><th scope=\"row\"><span>{}{}</span>{}</th><td class=\"n\">{}</td><td class=\"n opt\">{}</td><td class=\"n\">{}</td><td>{}</td></tr>",
                Mark::Line.key(&classes),
                Text(method),
                Text(facets),
                latency(*p50),
                entry.cell.half_width().map_or("–".to_owned(), percent),
                times(*to_fastest),
                bar(&classes, share(*p50), span.map(|span| (share(span.low), share(span.high))))
            )?;
        }
        for name in &self.failed {
            writeln!(out, "<tr><th scope=\"row\">{}</th><td colspan=\"4\">no result</td></tr>", Text(name))?;
        }
        writeln!(out, "</tbody></table></figure>")
    }
}

impl Ranked<'_> {
    fn interval(&self) -> Option<(f64, f64)> {
        self.entry.cell.confidence_95_ns?.p50.map(|span| (span.low, span.high))
    }
}

/// Writes the rankings.
pub(super) fn write_rankings(
    rankings: &[Ranking<'_>],
    palette: &Palette,
    out: &mut Vec<u8>,
) -> io::Result<()> {
    rankings.iter().zip(1..).try_for_each(|(ranking, number)| ranking.write(palette, number, out))
}

/// What each run says, its grade, its name, and when and where it was measured.
pub(super) fn write_runs(runs: &[Side], out: &mut dyn Write) -> io::Result<()> {
    for run in runs {
        let (report, grade) = (&run.report, run.report.grade);
        let mut sentences = verdicts(report);
        if let [CellReport { method, headline_of, headline_ns: Latency { p50: Some(p50), .. }, .. }] =
            &report.results[..]
        {
            let p50 = latency(*p50);
            sentences.push(match headline_of {
                HeadlineOf::RoundTrip => format!("A round trip by {method} takes {p50} (median)."),
                HeadlineOf::Response => format!("At its fixed rate, {method} responds in {p50} (median)."),
            });
        }
        for sentence in sentences {
            writeln!(out, "<p class=\"verdict\">{}</p>", Text(sentence))?;
        }
        let mut parts = vec![run_name(run), began(report.started_unix_s)];
        let environment = &report.environment;
        parts.extend([environment.hostname.clone(), environment.cpu.model.clone()].into_iter().flatten());
        writeln!(
            out,
            "<p class=\"run\"><a class=\"grade g{grade}\" href=\"#trust\">grade {grade}</a> {}<br>{}</p>",
            Text(grade.meaning()),
            Text(parts.join(", "))
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::report::cells::entries;
    use crate::client::report::{Report, Span, sample};

    fn side(report: Report) -> Side {
        Side { name: "a.json".to_owned(), run: None, uuid: None, label: None, report }
    }

    /// Cells of one size whose trials have these medians.
    fn report(cells: &[(&str, [f64; 3])]) -> Report {
        let mut report = sample::sweep();
        let cell = report.results[0].clone();
        let cell = |(method, medians): &(&str, [f64; 3])| {
            let mut cell = cell.clone();
            (cell.method, cell.headline_ns.p50) = ((*method).to_owned(), Some(medians[1]));
            cell.cell = cell.method.clone();
            cell.trials.truncate(3);
            for (trial, median) in cell.trials.iter_mut().zip(medians) {
                trial.latency_ns.p50 = Some(*median);
            }
            cell
        };
        report.results = cells.iter().map(cell).collect();
        report
    }

    #[test]
    fn the_fastest_and_the_grade_come_first() {
        let head = |report: Report| {
            let mut out = Vec::new();
            write_runs(&[side(report)], &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        let fast = ("shmem", [99.0, 100.0, 101.0]);
        let two = report(&[("tcp", [299.0, 300.0, 301.0]), fast]);
        let grade = format!(" href=\"#trust\">grade {}</a>", two.grade);
        let two = head(two);
        assert!(two.starts_with("<p class=\"verdict\">shmem is fastest at 8 B: 3.00×"), "{two}");
        assert!(two.contains(&grade), "{two}");
        let one = head(report(&[fast]));
        assert!(one.contains("A round trip by shmem takes 100 ns (median)."), "{one}");
        assert!(!head(report(&[])).contains("verdict"));
    }

    #[test]
    fn bars_rank_cells_and_show_intervals() {
        let mut report = report(&[("tcp", [199.0, 200.0, 201.0]), ("shmem", [99.0, 100.0, 101.0])]);
        for cell in &mut report.results {
            let p50 = cell.headline_ns.p50.unwrap();
            cell.confidence_95_ns.as_mut().unwrap().p50 = Some(Span { low: p50 * 0.9, high: p50 * 1.1 });
        }
        let entries: Vec<Entry<'_>> = entries("", &report).collect();
        let mut out = Vec::new();
        write_rankings(&rankings(&entries), &Palette::of(&entries), &mut out).unwrap();
        let out = String::from_utf8(out).unwrap();
        let rows: Vec<&str> = out.split("<tr><th scope=\"row\">").skip(1).collect();
        assert!(rows[0].contains("shmem") && rows[0].contains(">1.00×<"), "{out}");
        assert!(rows[1].contains("tcp") && rows[1].contains(">2.00×<"), "{out}");
        // The longest interval ends at 220 ns, a little before the end of the column.
        assert!(rows[1].contains("width=\"89.13%\"") && rows[1].contains("x2=\"98.04%\""), "{out}");
        assert!(rows[0].contains("width=\"44.56%\""), "{out}");
    }
}
