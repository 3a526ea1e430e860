//! Every format to the byte, from made-up samples, against the files in `tests/golden/`.
//!
//! After an intended change, `IPCD_BLESS=1 cargo test golden` rewrites the files; `git diff` then shows what changes for a
//! user.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::text::Style;
use super::{IntervalReport, Report, csv, json, markdown, sample, text};
use crate::client::host::placement::Placement;
use crate::client::measure::histogram;
use crate::client::report::model::no_histogram;
use crate::client::stats::Latency;
use crate::protocol::Wait;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

pub(super) fn assert_golden(name: &str, shown: &[u8]) {
    let path = root().join("tests/golden").join(name);
    if std::env::var_os("IPCD_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, shown).unwrap();
    }
    let golden = std::fs::read(&path).unwrap_or_default();
    // As text, so that a failure is legible.
    let (shown, golden) = (String::from_utf8_lossy(shown), String::from_utf8_lossy(&golden));
    for (number, (shown, golden)) in shown.lines().zip(golden.lines()).enumerate() {
        assert_eq!(shown, golden, "{}, line {}; IPCD_BLESS=1 rewrites it", path.display(), number + 1);
    }
    assert_eq!(shown.len(), golden.len(), "{}; IPCD_BLESS=1 rewrites it", path.display());
}

fn samples() -> [(&'static str, Report); 5] {
    [
        ("methods", sample::methods()),
        ("sweep", sample::sweep()),
        ("single", sample::single()),
        ("paced", sample::paced()),
        ("parallel", sample::parallel()),
    ]
}

fn shown(write: impl FnOnce(&mut Vec<u8>) -> std::io::Result<()>) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out).unwrap();
    out
}

#[test]
fn golden_text() {
    for (name, report) in samples() {
        assert_golden(&format!("{name}.txt"), &shown(|out| text::write(&report, Style::default(), out)));
        for width in [80, 120] {
            let text =
                shown(|out| text::write(&report, Style { width: Some(width), ..Style::default() }, out));
            assert_golden(&format!("{name}-{width}.txt"), &text);
            let text = String::from_utf8(text).unwrap();
            for line in text.lines() {
                assert!(line.chars().count() <= usize::from(width), "{name}: wider than {width}: {line}");
            }
        }
    }
}

#[test]
fn golden_verbose_text() {
    let style = Style { width: Some(80), verbose: true, ..Style::default() };
    for (name, report) in [("methods", sample::methods()), ("single", sample::single())] {
        assert_golden(&format!("{name}-verbose.txt"), &shown(|out| text::write(&report, style, out)));
    }
}

#[test]
fn many_warnings_take_at_most_12_lines_and_all_severe_ones_are_there() {
    use crate::client::judge::warnings::Warning;
    let mut report = sample::methods();
    report.warnings = vec![
        Warning::Turbo,
        Warning::Smt,
        Warning::HugePages,
        Warning::NoIsolatedCpus,
        Warning::StealTime { cpus: 0.01 },
        Warning::Throttled { periods: 3, time_ns: 1_000, responder: false },
        Warning::DebugBuild,
    ];
    for (at, cell) in report.results.iter_mut().enumerate() {
        let spread = 0.2 + at as f64;
        cell.warnings.extend([
            Warning::NoisyHost { spread, pinned: true },
            Warning::LongGap { max_ns: 2e9, block_rounds: None },
            Warning::Preempted { per_round: 0.001, per_second: 300.0 },
            Warning::LostDatagrams { lost: 9, fraction: 0.5 },
            Warning::SelfTestDiffers { change: 0.1 },
            Warning::Virtualized { hypervisor: None },
        ]);
    }
    let text = String::from_utf8(shown(|out| text::write(&report, Style::default(), out))).unwrap();
    let qualified: Vec<&str> = text.lines().skip_while(|line| !line.starts_with("severe: ")).collect();
    assert_eq!(qualified.len(), 11, "{text}");
    assert!(qualified[10].contains(" · 4 more kinds of warnings · details: --verbose"), "{text}");
    for severe in ["severe: this is a debug build", "severe: the trials' medians", "severe: datagrams lost"] {
        assert!(qualified[..3].iter().any(|line| line.starts_with(severe)), "{severe} in {text}");
    }
    // Even if that takes more lines.
    report.warnings = vec![Warning::DebugBuild; 1];
    let changes = |kind: &str| Warning::EnvironmentChanged { changes: vec![kind.to_owned()] };
    report.warnings.extend([changes("a"), Warning::Suspended { time_ns: 1 }]);
    report.results.truncate(1);
    report.settings.rounds = Some(10);
    let text = String::from_utf8(shown(|out| text::write(&report, Style::default(), out))).unwrap();
    assert_eq!(text.lines().filter(|line| line.starts_with("severe: ")).count(), 4, "{text}");
}

#[test]
fn a_summary_has_no_tables_and_what_follows_from_them() {
    let style = Style { summary: true, ..Style::default() };
    assert_golden("methods-summary.txt", &shown(|out| text::write(&sample::methods(), style, out)));
}

#[test]
fn only_the_fastest_cell_warnings_and_errors_are_painted() {
    let style = Style { width: Some(80), color: true, ..Style::default() };
    let report = sample::sweep();
    let text = String::from_utf8(shown(|out| text::write(&report, style, out))).unwrap();
    for painted in
        ["\x1b[1m\x1b[32mtcp\x1b[0m ", "\x1b[1m\x1b[33mslight\x1b[0m: ", "\x1b[1m\x1b[31mfailed\x1b[0m: "]
    {
        assert!(text.contains(painted), "{painted:?} in {text:?}");
    }
    let plain = shown(|out| text::write(&report, Style { color: false, ..style }, out));
    let stripped = anstream::adapter::strip_str(&text).to_string();
    assert_eq!(stripped, String::from_utf8(plain).unwrap(), "colours change nothing else");
}

#[test]
fn golden_json() {
    for (name, report) in samples() {
        assert_golden(&format!("{name}.json"), &shown(|out| json::write(&report, out)));
    }
}

#[test]
fn golden_csv() {
    for (name, report) in samples() {
        assert_golden(&format!("{name}.csv"), &shown(|out| csv::write(&report, out)));
    }
}

#[test]
fn golden_markdown() {
    for (name, report) in samples() {
        assert_golden(&format!("{name}.md"), &shown(|out| markdown::write(&report, out)));
    }
}

fn interval() -> IntervalReport {
    let mut latencies = histogram();
    (1..=2_000_u64).for_each(|n| latencies.record(90_000_000 + n * 5_000).unwrap());
    IntervalReport {
        cell: "tcp:8B:block:unpinned".to_owned(),
        method: "tcp".to_owned(),
        options: [("nodelay".to_owned(), "true".to_owned())].into(),
        size_bytes: 8,
        wait: Wait::Block,
        placement: Placement::Unpinned,
        trial: 0,
        since_start_ns: 2_000_000_000,
        length_ns: 1_000_000_000,
        rounds: 2_000,
        lost: 1,
        latency_ns: Latency::of(&latencies),
        response_ns: Some(Latency::default()),
    }
}

#[test]
fn golden_stream() {
    let lines = shown(|out| {
        json::write_line(&json::Line::Interval(&interval()), out)?;
        json::write_end(&sample::single(), out)
    });
    assert_golden("single.ndjson", &lines);
    for line in String::from_utf8(lines).unwrap().lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(line["type"].is_string(), "each line says what it is: {line}");
    }
}

#[test]
fn golden_interval() {
    assert_golden("interval.txt", &shown(|out| text::write_interval(&interval(), out)));
}

#[test]
fn a_report_comes_back_from_its_own_json() {
    for (name, report) in samples() {
        let json = serde_json::to_value(&report).unwrap();
        let back: Report = serde_json::from_value(json.clone()).unwrap();
        assert_eq!(serde_json::to_value(&back).unwrap(), json, "{name}");
        // All but the histograms, which JSON does not carry.
        let mut without = report;
        for cell in &mut without.results {
            (cell.histogram, cell.response_histogram) = (no_histogram(), None);
        }
        assert_eq!(back, without, "{name}");
    }
}

#[test]
fn csv_has_as_many_fields_in_each_row_as_in_the_header() {
    for (_, report) in samples() {
        let text = shown(|out| csv::write(&report, out));
        let mut reader = ::csv::Reader::from_reader(&text[..]);
        let header = reader.headers().unwrap().clone();
        let names: BTreeSet<&str> = header.iter().collect();
        assert_eq!(names.len(), header.len(), "no name twice");
        // The reader refuses a row of another length.
        let rows: Result<Vec<_>, _> = reader.records().collect();
        assert_eq!(rows.unwrap().len(), report.results.len());
    }
}

/// Keys of objects; `prefix` is where they stand.
fn keys(value: &serde_json::Value, keys_seen: &mut BTreeSet<String>) {
    match value {
        serde_json::Value::Object(object) => {
            for (key, value) in object {
                // Maps whose keys are data.
                let is_data = ["options", "frequencies_khz", "mitigations"].contains(&key.as_str());
                keys_seen.insert(key.clone());
                if !is_data {
                    keys(value, keys_seen);
                }
            }
        }
        serde_json::Value::Array(array) => array.iter().for_each(|value| keys(value, keys_seen)),
        _ => {}
    }
}

#[test]
fn every_key_is_documented() {
    let documentation = std::fs::read_to_string(root().join("docs/json.md")).unwrap();
    let mut seen = BTreeSet::new();
    for (_, report) in samples() {
        keys(&serde_json::to_value(&report).unwrap(), &mut seen);
    }
    keys(&serde_json::to_value(json::Line::Interval(&interval())).unwrap(), &mut seen);
    // This host has more facts than the sample.
    keys(&serde_json::to_value(crate::client::host::Environment::capture()).unwrap(), &mut seen);
    let missing: Vec<_> = seen.iter().filter(|key| !documentation.contains(&format!("`{key}`"))).collect();
    assert!(missing.is_empty(), "docs/json.md lacks {missing:?}");
}
