//! What the figures depend on: warnings and grades, the host, the settings and the commands.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use super::table::{self, Datum, Table, run_name};
use crate::client::judge::compare::Side;
use crate::client::judge::differences::Conditions;
use crate::client::judge::warnings::Severity;
use crate::client::report::escape::Text;
use crate::client::report::text;
use crate::client::report::warnings::{self, Kind};
use crate::units::latency;

/// Writes each run's warnings, one for each kind, the most severe first: the cells that have it are folded away.
pub(super) fn write_warnings(sides: &[Side], out: &mut Vec<u8>) -> io::Result<()> {
    for side in sides {
        if sides.len() > 1 {
            writeln!(out, "<h3>{}</h3>", Text(run_name(side)))?;
        }
        let kinds = warnings::kinds(&side.report, |_| true);
        if kinds.is_empty() {
            writeln!(out, "<p>No warnings.</p>")?;
        }
        for Kind { severity, text, advice, findings } in &kinds {
            let class = if *severity > Severity::Note { "bad" } else { "note" };
            writeln!(
                out,
                "<details class=\"finding\"><summary><strong class=\"{class}\">{}</strong> {}</summary><p>{}</p>",
                severity.label(),
                Text(text),
                Text(advice)
            )?;
            if findings.len() > 1 {
                let items: String = findings.iter().map(|line| format!("<li>{}</li>", Text(line))).collect();
                writeln!(out, "<ul>{items}</ul>")?;
            }
            writeln!(out, "</details>")?;
        }
    }
    Ok(())
}

/// Writes each run's host and clock: in a few lines, and in full as a table that begins with the differences between runs.
pub(super) fn write_environment(sides: &[Side], out: &mut Vec<u8>) -> io::Result<()> {
    if sides.is_empty() {
        return Ok(());
    }
    for side in sides {
        let report = &side.report;
        if sides.len() > 1 {
            writeln!(out, "<h3>{}</h3>", Text(run_name(side)))?;
        }
        writeln!(out, "<dl>")?;
        let mut line = |name: &str, text: &str| writeln!(out, "<dt>{name}</dt><dd>{}</dd>", Text(text));
        line("host", &text::host(&report.environment))?;
        line("clock", &text::clock(report))?;
        if let Some(samples) = text::samples(report) {
            line("samples", &samples)?;
        }
        let load = |snapshot: &crate::client::host::Snapshot| {
            snapshot
                .load_average
                .map_or("unknown".to_owned(), |load| load.map(|one| one.to_string()).join(", "))
        };
        line(
            "load, 1, 5 and 15 minutes",
            &format!("{} before, {} after", load(&report.at_start), load(&report.at_end)),
        )?;
        line("time taken", &latency(report.times.total_ns as f64))?;
        writeln!(out, "</dl>")?;
    }
    let facts: Vec<BTreeMap<String, String>> =
        sides.iter().map(|side| Conditions::of(&side.report).into_facts()).collect();
    let keys: BTreeSet<&String> = facts.iter().flat_map(BTreeMap::keys).collect();
    let value = |facts: &BTreeMap<String, String>, key: &String| facts.get(key).cloned();
    let (differ, same): (Vec<&String>, Vec<&String>) = keys
        .into_iter()
        .partition(|key| facts.windows(2).any(|pair| value(&pair[0], key) != value(&pair[1], key)));
    let facts_of = |name: &str, keys: &[&String]| Table {
        name: name.to_owned(),
        heads: std::iter::once("fact".to_owned()).chain(sides.iter().map(run_name)).collect(),
        prose: true,
        rows: keys
            .iter()
            .map(|key| {
                let values = facts
                    .iter()
                    .map(|facts| Datum::word(value(facts, key).unwrap_or_else(|| "unknown".to_owned())));
                std::iter::once(Datum::word((*key).clone())).chain(values).collect()
            })
            .collect(),
    };
    if !differ.is_empty() {
        writeln!(out, "<h3>What differs between the runs</h3>")?;
        table::write(&facts_of("What differs between the runs", &differ), None, out)?;
    }
    let all: Vec<&String> = differ.iter().chain(&same).copied().collect();
    writeln!(out, "<details><summary>The host and the settings in full</summary>")?;
    table::write(&facts_of("The host and the settings in full", &all), None, out)?;
    writeln!(out, "</details>")
}

/// Writes the commands that measure each run again, as a shell takes them.
pub(super) fn write_commands(sides: &[Side], commands: &[Vec<String>], out: &mut Vec<u8>) -> io::Result<()> {
    for (side, command) in sides.iter().zip(commands) {
        if sides.len() > 1 {
            writeln!(out, "<h3>{}</h3>", Text(run_name(side)))?;
        }
        let words: Vec<String> = command.iter().map(|word| quoted(word)).collect();
        writeln!(out, "<pre><code>ipc-client {}</code></pre>", Text(words.join(" ")))?;
        if words.iter().any(|word| word == "--profile" || word.starts_with("--profile=")) {
            writeln!(
                out,
                "<p class=\"note\">That profile is defined in the configuration of the run's host.</p>"
            )?;
        }
    }
    Ok(())
}

/// A word as a POSIX shell reads it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=,.:/+@%~".contains(c);
    match !word.is_empty() && !word.starts_with('~') && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::report::{Report, sample};

    #[test]
    fn settings_are_compared_like_facts_about_the_host() {
        let side = |change: &dyn Fn(&mut Report)| {
            let mut report = sample::single();
            change(&mut report);
            Side { name: "run".to_owned(), run: None, uuid: None, label: None, report }
        };
        let written = |sides: &[Side]| {
            let mut out = Vec::new();
            write_environment(sides, &mut out).unwrap();
            String::from_utf8(out).unwrap().split("<details>").next().unwrap().to_owned()
        };
        let before = || side(&|_| {});
        assert!(!written(&[before(), before()]).contains("What differs"));
        let after = side(&|report| {
            report.settings.trials = 7;
            report.environment.kernel.release = Some("6.99".to_owned());
        });
        let shown = written(&[before(), after]);
        for part in ["What differs between the runs", "settings.trials", "kernel.release", "6.99"] {
            assert!(shown.contains(part), "{part}: {shown}");
        }
        assert!(!shown.contains("settings.timing"), "{shown}");
    }

    #[test]
    fn words_are_quoted_for_a_shell() {
        for (word, expected) in [
            ("--size", "--size"),
            ("8,64,4k", "8,64,4k"),
            ("a b", "'a b'"),
            ("it's", "'it'\\''s'"),
            ("", "''"),
            ("$(reboot)", "'$(reboot)'"),
            ("~/x", "'~/x'"),
        ] {
            assert_eq!(quoted(word), expected);
        }
    }
}
