//! A report for a browser: one self-contained file.
//!
//! It can be read without its script, which only sorts and filters the table and changes the theme. All text from
//! elsewhere is escaped. The same input gives the same file.

mod circumstances;
mod figures;
mod history;
mod table;
mod verdict;

use std::io::{self, Write};

use super::cells::{Entry, entries};
use super::charts;
use super::escape::Text;
use crate::client::judge::compare::Side;
use crate::client::judge::trend::Trend;
use crate::client::report::matrix::Matrix;

/// What a report is made of.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Document {
    /// The title; by default, which hosts it is about.
    pub title: Option<String>,
    /// The runs.
    pub runs: Vec<Side>,
    /// The arguments of `ipc-client` that measure each of them again.
    pub commands: Vec<Vec<String>>,
    /// Their cells over time.
    pub trends: Vec<Trend>,
    /// Pairs of CPUs.
    pub matrices: Vec<Matrix>,
}

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");
/// What a browser may do with the page: run this script, which it knows by its hash, and nothing else; fetch nothing.
/// After a change of the script, the browser's console shows the new hash.
const POLICY: &str = include_str!("policy.txt");

/// The figures of a section that are not folded away.
const MOST_SHOWN: usize = 6;

/// Writes the file.
///
/// # Errors
/// The writer's.
pub(crate) fn write(document: &Document, out: &mut dyn Write) -> io::Result<()> {
    let title = title(document);
    write_head(&title, out)?;
    write_body(document, &title, out)
}

fn title(document: &Document) -> String {
    if let Some(title) = &document.title {
        return title.clone();
    }
    let mut hosts: Vec<&str> = Vec::new();
    for run in &document.runs {
        let host = run.report.environment.hostname.as_deref().unwrap_or("a host without a name");
        if !hosts.contains(&host) {
            hosts.push(host);
        }
    }
    match hosts[..] {
        [] => "Round trips".to_owned(),
        _ => format!("Round trips on {}", hosts.join(", ")),
    }
}

fn write_head(title: &str, page: &mut dyn Write) -> io::Result<()> {
    writeln!(
        page,
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{}\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"generator\" content=\"ipcd {}\">\n<title>{}</title>\n<style>",
        POLICY.trim_end(),
        env!("CARGO_PKG_VERSION"),
        Text(title)
    )?;
    charts::write_css(page)?;
    writeln!(page, "{STYLE}</style></head>")
}

fn write_body(document: &Document, title: &str, page: &mut dyn Write) -> io::Result<()> {
    let runs = &document.runs;
    let names: Vec<String> = runs.iter().map(table::run_name).collect();
    let entries: Vec<Entry<'_>> =
        runs.iter().zip(&names).flat_map(|(run, name)| entries(name, &run.report)).collect();
    // Their names in links, their titles, and their text; those with nothing to show are left out.
    let mut sections: Vec<(&str, &str, Vec<u8>)> = Vec::new();
    let mut add = |id, title, fill: &dyn Fn(&mut Vec<u8>) -> io::Result<()>| -> io::Result<()> {
        let mut text = Vec::new();
        fill(&mut text)?;
        if !text.is_empty() {
            sections.push((id, title, text));
        }
        Ok(())
    };
    let palette = figures::Palette::of(&entries);
    let rankings = verdict::rankings(&entries);
    add("ranking", "Ranking", &|out| verdict::write_rankings(&rankings, &palette, out))?;
    add("overview", "All figures", &|out| table::write_overview(&entries, out))?;
    add("distribution", "Distribution", &|out| figures::distributions(&entries, &palette, out))?;
    add("size", "Message size", &|out| figures::sweep(&figures::SIZES, &entries, &palette, out))?;
    add("placement", "Placement", &|out| {
        figures::placements(&entries, out)?;
        figures::matrices(&document.matrices, out)
    })?;
    add("pace", "Idle time and rate", &|out| {
        figures::sweep(&figures::GAPS, &entries, &palette, out)?;
        figures::sweep(&figures::RATES, &entries, &palette, out)
    })?;
    if !runs.is_empty() {
        let reported: Vec<i64> = runs.iter().filter_map(|run| run.run).collect();
        add("history", "History", &|out| history::write(&document.trends, &reported, out))?;
    }
    add("trust", "Warnings", &|out| circumstances::write_warnings(runs, out))?;
    add("environment", "Environment", &|out| circumstances::write_environment(runs, out))?;
    add("commands", "Measure it again", &|out| circumstances::write_commands(runs, &document.commands, out))?;

    writeln!(page, "<body><header><h1>{}</h1>", Text(title))?;
    writeln!(page, "<button type=\"button\" id=\"theme\" hidden></button></header>\n<main>")?;
    verdict::write_runs(runs, page)?;
    write!(page, "<nav aria-label=\"Contents\"><ul>")?;
    for (id, title, _) in &sections {
        write!(page, "<li><a href=\"#{id}\">{title}</a></li>")?;
    }
    writeln!(page, "</ul></nav>")?;
    for (id, title, text) in sections {
        writeln!(page, "<section aria-labelledby=\"{id}\"><h2 id=\"{id}\">{title}</h2>")?;
        match id {
            "ranking" => write_gallery("rankings", &text, page)?,
            "distribution" | "size" | "placement" | "pace" => write_gallery("charts", &text, page)?,
            _ => page.write_all(&text)?,
        }
        writeln!(page, "</section>")?;
    }
    writeln!(page, "</main>\n<script>{SCRIPT}</script>\n</body></html>")
}

/// Writes figures side by side, all but the first ones folded away.
fn write_gallery(class: &str, text: &[u8], page: &mut dyn Write) -> io::Result<()> {
    let text = String::from_utf8_lossy(text);
    let figures: Vec<&str> = text.split_inclusive("</figure>\n").collect();
    let (shown, folded) = figures.split_at(figures.len().min(MOST_SHOWN));
    // Never more columns than figures.
    let grid = |part: &[&str]| {
        format!("<div class=\"{class}\" style=\"--most:{}\">\n{}</div>", part.len(), part.concat())
    };
    writeln!(page, "{}", grid(shown))?;
    if folded.is_empty() {
        return Ok(());
    }
    writeln!(page, "<details><summary>{} more charts</summary>\n{}</details>", folded.len(), grid(folded))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::client::host::placement::Placement;
    use crate::client::report::{CellReport, sample};

    fn document() -> Document {
        let run =
            |name: &str, report| Side { name: name.to_owned(), run: None, uuid: None, label: None, report };
        let mut sweep = sample::sweep();
        let elsewhere = CellReport { placement: Placement::SameCore, ..sweep.results[0].clone() };
        let larger = CellReport { size_bytes: 64, ..sweep.results[0].clone() };
        sweep.results.extend([elsewhere, larger]);
        let runs = vec![run("a.json", sweep), run("b.json", sample::paced())];
        let commands = runs.iter().map(|run| run.report.settings.arguments.clone()).collect();
        Document { title: None, runs, commands, trends: Vec::new(), matrices: Vec::new() }
    }

    fn page(document: &Document) -> String {
        let mut out = Vec::new();
        write(document, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_page_has_every_part_once_and_the_same_input_gives_the_same_page() {
        let page = page(&document());
        assert_eq!(page, super::tests::page(&document()));
        assert!(
            page.starts_with("<!DOCTYPE html>\n<html lang=\"en\">") && page.ends_with("</body></html>\n")
        );
        assert!(page.contains("<h1>Round trips on sample</h1>"));
        let ids: Vec<&str> = page.split(" id=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        let once: BTreeSet<&str> = ids.iter().copied().collect();
        assert_eq!(once.len(), ids.len(), "{ids:?}");
        for id in [
            "ranking",
            "overview",
            "distribution",
            "size",
            "placement",
            "history",
            "trust",
            "environment",
            "commands",
        ] {
            assert!(once.contains(id), "{id}");
            assert!(page.contains(&format!("<a href=\"#{id}\">")), "{id}");
        }
        let cells = document().runs.iter().map(|run| run.report.results.len()).sum::<usize>();
        let table = page.split("<table id=\"cells\">").nth(1).unwrap().split("</table>").next().unwrap();
        assert_eq!(table.matches("<tr>").count(), 1 + cells);
        assert!(page.contains("ipc-client bench --method all --size 8,64,64k</code>"));
    }

    #[test]
    fn a_page_needs_nothing_else() {
        let page = page(&document());
        for word in ["http:", "https:", "url(", "@import", " src=", "<link", "<iframe"] {
            assert!(!page.contains(word), "{word}");
        }
        assert_eq!(page.matches("<script").count(), 1);
        assert!(!SCRIPT.contains("</") && !STYLE.contains("</"), "neither can end its own element");
    }

    #[test]
    fn a_page_without_a_run_has_what_there_is() {
        let document = Document { runs: Vec::new(), ..document() };
        let page = page(&document);
        assert!(page.contains("<h1>Round trips</h1>") && !page.contains("<section"), "{page}");
    }
}
