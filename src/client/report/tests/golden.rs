//! Every format to the byte, from made-up samples, against the files in `tests/golden/`.
//!
//! After an intended change, `IPCD_BLESS=1 cargo test golden` rewrites the files; `git diff` then shows what changes for a
//! user.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::{IntervalReport, Report, csv, json, markdown, sample, text};
use crate::client::host::placement::Placement;
use crate::client::measure::histogram;
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

fn samples() -> [(&'static str, Report); 4] {
    [
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
        assert_golden(&format!("{name}.txt"), &shown(|out| text::write(&report, None, out)));
        for width in [80, 160] {
            let text = shown(|out| text::write(&report, Some(width), out));
            assert_golden(&format!("{name}-{width}.txt"), &text);
            let text = String::from_utf8(text).unwrap();
            let table = text.lines().skip_while(|line| !line.starts_with("method"));
            for line in table {
                assert!(line.chars().count() <= usize::from(width), "{name}: wider than {width}: {line}");
            }
        }
    }
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
            (cell.histogram, cell.response_histogram) = (histogram(), None);
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
