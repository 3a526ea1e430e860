//! What a reader wants first: which method is fastest, by how much, and how far the figures can be trusted.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::io::{self, Write};

use super::figures::Palette;
use super::table::run_name;
use crate::client::judge::compare::Side;
use crate::client::report::Ratio;
use crate::client::report::cells::{Entry, Facet, groups, names};
use crate::client::report::charts::{Mark, bar};
use crate::client::report::escape::Text;
use crate::client::report::ranking::ratio_of;
use crate::units::{began, latency, percent};

/// Of more rankings, the winners are counted.
const MOST_SENTENCES: usize = 4;
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
    /// Against the first; none for itself.
    to_fastest: Option<Ratio>,
}

/// The cells in groups of the same size, placement and pace.
pub(super) fn rankings<'a>(entries: &[Entry<'a>]) -> Vec<Ranking<'a>> {
    let by = [Facet::Size, Facet::Placement, Facet::Pace, Facet::Parallel];
    let ranking = |(title, group): (String, Vec<Entry<'a>>)| {
        let (mut ranked, mut failed) = (Vec::new(), Vec::new());
        for (entry, name) in group.iter().zip(names(&group, " ")) {
            match entry.cell.headline_ns.p50 {
                Some(p50) => ranked.push(Ranked { name, entry: *entry, p50, to_fastest: None }),
                None => failed.push(name),
            }
        }
        ranked.sort_by(|a, b| a.p50.total_cmp(&b.p50));
        if let Some((first, others)) = ranked.split_first_mut() {
            others.iter_mut().for_each(|other| other.to_fastest = ratio(&other.entry, &first.entry));
        }
        Ranking { title, ranked, failed }
    };
    groups(entries.to_vec(), |entry| *entry, &by).into_iter().map(ranking).collect()
}

/// Trials of two runs are no pairs: there, the intervals of the medians decide.
fn ratio(entry: &Entry<'_>, fastest: &Entry<'_>) -> Option<Ratio> {
    let ratio = ratio_of(entry.cell, fastest.cell)?;
    if entry.run == fastest.run {
        return Some(ratio);
    }
    let times = entry.cell.headline_ns.p50? / fastest.cell.headline_ns.p50?;
    let spans = [entry, fastest].map(|entry| entry.cell.confidence_95_ns.and_then(|spans| spans.p50));
    let tie = spans[0].zip(spans[1]).is_some_and(|(span, fastest)| span.low <= fastest.high);
    Some(Ratio { times, confidence_95: None, tie })
}

/// Which cell is fastest: a sentence for each ranking, or, of many, one for each winner.
pub(super) fn write_verdict(rankings: &[Ranking<'_>], out: &mut dyn Write) -> io::Result<()> {
    let compared: Vec<&Ranking<'_>> = rankings.iter().filter(|ranking| ranking.ranked.len() > 1).collect();
    let mut sentences: Vec<String> = Vec::new();
    if compared.len() <= MOST_SENTENCES {
        sentences.extend(compared.iter().map(|ranking| ranking.sentence()));
    } else {
        let mut winners: BTreeMap<&str, usize> = BTreeMap::new();
        for ranking in compared.iter().filter(|ranking| ranking.rivals().is_empty()) {
            *winners.entry(&ranking.ranked[0].name).or_default() += 1;
        }
        let open = compared.len() - winners.values().sum::<usize>();
        let mut winners: Vec<(&str, usize)> = winners.into_iter().collect();
        winners.sort_by_key(|(_, won)| Reverse(*won));
        let of = |won: usize| format!("in {won} of {} comparisons", compared.len());
        sentences.extend(
            winners
                .iter()
                .map(|(name, won)| format!("<strong>{}</strong> is fastest {}.", Text(name), of(*won))),
        );
        sentences.extend((open > 0).then(|| format!("A tie {}.", of(open))));
    }
    if let ([], [Ranking { ranked, .. }]) = (&compared[..], rankings)
        && let [Ranked { name, p50, .. }] = &ranked[..]
    {
        sentences.push(format!(
            "<strong>{}</strong>: a round trip takes {} (median).",
            Text(name),
            latency(*p50)
        ));
    }
    sentences.iter().try_for_each(|sentence| writeln!(out, "<p class=\"verdict\">{sentence}</p>"))
}

impl Ranking<'_> {
    /// Those that may be as fast as the first.
    fn rivals(&self) -> Vec<&str> {
        let ties = self.ranked.iter().filter(|ranked| ranked.to_fastest.is_some_and(|ratio| ratio.tie));
        ties.map(|ranked| ranked.name.as_str()).collect()
    }

    /// The first one's median, and how far the next one is behind.
    fn sentence(&self) -> String {
        let (first, next) = (&self.ranked[0], &self.ranked[1]);
        let at = if self.title.is_empty() { String::new() } else { format!(" at {}", Text(&self.title)) };
        let (name, median) = (Text(&first.name), latency(first.p50));
        match &self.rivals()[..] {
            [] => format!(
                "<strong>{name}</strong> is fastest{at}: {median}, {} faster than {} ({}).",
                times(next.to_fastest.map_or(1.0, |ratio| ratio.times)),
                Text(&next.name),
                latency(next.p50)
            ),
            [one] => {
                format!("<strong>{name}</strong> ({median}) and <strong>{}</strong> tie{at}.", Text(one))
            }
            many => format!("<strong>{name}</strong> ({median}) and {} others tie{at}.", many.len()),
        }
    }

    /// The table: a row for each cell with its bar.
    fn write(&self, palette: &Palette, number: usize, out: &mut dyn Write) -> io::Result<()> {
        let Some(first) = self.ranked.first() else { return Ok(()) };
        let title = if self.title.is_empty() { "Median round trip" } else { &self.title };
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
             <th scope=\"col\" class=\"n\">median</th><th scope=\"col\" class=\"n opt\">95 %</th>\
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
                entry.cell.half_width().map_or("–".to_owned(), |half| format!("±{}", percent(half))),
                to_fastest.map_or("fastest".to_owned(), |ratio| times(ratio.times)),
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

/// Each run on one line: its grade, its name, and when and where it was measured.
pub(super) fn write_runs(runs: &[Side], out: &mut dyn Write) -> io::Result<()> {
    for run in runs {
        let (report, grade) = (&run.report, run.report.grade);
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

/// A ratio of latencies: `1.04×`, `12×`.
fn times(factor: f64) -> String {
    match factor {
        factor if factor < 9.95 => format!("{factor:.2}×"),
        factor => format!("{factor:.0}×"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::report::cells::entries;
    use crate::client::report::{Report, Span, sample};

    fn verdict(report: &Report) -> String {
        let entries: Vec<Entry<'_>> = entries("", report).collect();
        let mut out = Vec::new();
        write_verdict(&rankings(&entries), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    /// Cells of one size whose trials have these medians.
    fn report(cells: &[(&str, [f64; 3])]) -> Report {
        let mut report = sample::sweep();
        let cell = report.results[0].clone();
        let cell = |(method, medians): &(&str, [f64; 3])| {
            let mut cell = cell.clone();
            (cell.method, cell.headline_ns.p50) = ((*method).to_owned(), Some(medians[1]));
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
    fn the_fastest_is_named_with_its_lead_or_its_ties() {
        let fast = ("shmem", [99.0, 100.0, 101.0]);
        let clear = verdict(&report(&[("tcp", [299.0, 300.0, 301.0]), fast]));
        assert_eq!(
            clear,
            "<p class=\"verdict\"><strong>shmem</strong> is fastest: 100 ns, 3.00× faster than tcp (300 ns).</p>\n"
        );
        let tied = verdict(&report(&[("tcp", [90.0, 104.0, 103.0]), fast]));
        assert_eq!(
            tied,
            "<p class=\"verdict\"><strong>shmem</strong> (100 ns) and <strong>tcp</strong> tie.</p>\n"
        );
        let one = verdict(&report(&[fast]));
        assert!(one.contains("<strong>shmem</strong>: a round trip takes 100 ns (median)"), "{one}");
        assert_eq!(verdict(&report(&[])), "");
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
        assert!(rows[0].contains("shmem") && rows[0].contains(">fastest<"), "{out}");
        assert!(rows[1].contains("tcp") && rows[1].contains(">2.00×<"), "{out}");
        // The longest interval ends at 220 ns, a little before the end of the column.
        assert!(rows[1].contains("width=\"89.13%\"") && rows[1].contains("x2=\"98.04%\""), "{out}");
        assert!(rows[0].contains("width=\"44.56%\""), "{out}");
    }
}
