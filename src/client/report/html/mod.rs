//! A report for a browser: one file that needs nothing else.
//!
//! It can be read without a script, which only sorts and filters the table and changes the theme. Everything that came
//! from outside is shown by `markup::Text`, as text. The same input gives the same file.

mod axis;
mod cells;
mod chart;
mod circumstances;
mod curves;
mod figure;
mod heat;
mod history;
mod markup;
mod overview;
mod theme;

use std::fmt::Write as _;
use std::io::{self, Write};

use self::markup::Text;
use crate::client::judge::compare::Side;
use crate::client::judge::trend::Trend;
use crate::client::report::matrix::Measured;

/// What a report is made of.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Document {
    /// What stands above it; otherwise which host it is of.
    pub title: Option<String>,
    /// The runs.
    pub runs: Vec<Side>,
    /// By which words behind `ipc-client` each of them is measured again.
    pub commands: Vec<Vec<String>>,
    /// Their cells over time.
    pub trends: Vec<Trend>,
    /// Pairs of CPUs.
    pub matrices: Vec<Measured>,
}

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");
/// What a browser may do with the page: run this script, known by its hash, and nothing else; fetch nothing. After a change
/// of the script, the browser's console tells the new hash.
const POLICY: &str = include_str!("policy.txt");

/// Writes the file.
///
/// # Errors
/// The writer's.
pub(crate) fn write(document: &Document, out: &mut dyn Write) -> io::Result<()> {
    let mut page = String::new();
    write_head(document, &mut page).map_err(io::Error::other)?;
    write_body(document, &mut page)?;
    out.write_all(page.as_bytes())
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

fn write_head(document: &Document, page: &mut String) -> std::fmt::Result {
    writeln!(
        page,
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{}\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"generator\" content=\"ipcd {}\">\n<title>{}</title>\n<style>",
        POLICY.trim_end(),
        env!("CARGO_PKG_VERSION"),
        Text(title(document))
    )?;
    theme::write_css(page)?;
    writeln!(page, "{STYLE}</style></head>")
}

/// A part of the page: its name in links, its title, and its text, empty if there is nothing to say.
type Section = (&'static str, &'static str, String);

fn write_body(document: &Document, page: &mut String) -> io::Result<()> {
    let sections = sections(document)?;
    write_page(document, &sections, page).map_err(io::Error::other)
}

fn sections(document: &Document) -> io::Result<Vec<Section>> {
    let runs = &document.runs;
    let entries = cells::entries(runs);
    let mut sections: Vec<Section> = Vec::new();
    let mut add = |id, title, fill: &dyn Fn(&mut String) -> io::Result<usize>| -> io::Result<()> {
        let mut text = String::new();
        if fill(&mut text)? > 0 {
            sections.push((id, title, text));
        }
        Ok(())
    };
    let told = |result: std::fmt::Result| result.map(|()| runs.len()).map_err(io::Error::other);
    add("overview", "Overview", &|out| told(overview::write(&entries, out)))?;
    add("distribution", "Latency distribution", &|out| curves::distributions(&entries, out))?;
    add("size", "Message size", &|out| curves::sizes(&entries, out))?;
    add("placement", "Placement", &|out| {
        Ok(heat::placements(&entries, out)? + heat::matrices(&document.matrices, out)?)
    })?;
    add("pace", "Idle time and rate", &|out| {
        Ok(curves::gaps(&entries, out)? + curves::rates(&entries, out)?)
    })?;
    let reported: Vec<i64> = runs.iter().filter_map(|run| run.run).collect();
    add("history", "History", &|out| {
        history::write(&document.trends, &reported, out)?;
        Ok(runs.len())
    })?;
    add("trust", "Warnings and grade", &|out| told(circumstances::write_doubts(runs, out)))?;
    add("environment", "Environment", &|out| told(circumstances::write_environment(runs, out)))?;
    add("commands", "Measure it again", &|out| {
        told(circumstances::write_commands(runs, &document.commands, out))
    })?;
    Ok(sections)
}

fn write_page(document: &Document, sections: &[Section], page: &mut String) -> std::fmt::Result {
    let entries = cells::entries(&document.runs);
    writeln!(page, "<body><header><h1>{}</h1>", Text(title(document)))?;
    page.write_str("<button type=\"button\" id=\"theme\" hidden></button></header>\n<main>\n")?;
    for run in &document.runs {
        writeln!(page, "<p class=\"run\">{}</p>", Text(overview::run_line(run)))?;
    }
    overview::write_extremes(&entries, &cells::names(&entries), page)?;
    page.write_str("<nav aria-label=\"Contents\"><ul>")?;
    for (id, title, _) in sections {
        write!(page, "<li><a href=\"#{id}\">{title}</a></li>")?;
    }
    page.write_str("</ul></nav>\n")?;
    for (id, title, text) in sections {
        let charts = ["distribution", "size", "placement", "pace"].contains(id);
        let (open, close) = if charts { ("<div class=\"charts\">\n", "</div>\n") } else { ("", "") };
        write!(
            page,
            "<section aria-labelledby=\"{id}\"><h2 id=\"{id}\">{title}</h2>\n{open}{text}{close}</section>\n"
        )?;
    }
    writeln!(page, "</main>\n<script>{SCRIPT}</script>\n</body></html>")
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
        for id in
            ["overview", "distribution", "size", "placement", "history", "trust", "environment", "commands"]
        {
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
