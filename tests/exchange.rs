//! Runs between histories: a large one is the same elsewhere, and lines that are damaged can be passed over.

use std::fs;
use std::io::Write as _;

use ipcd::internals::client::{Run, write_line};
use ipcd::internals::protocol::Exit;
use serde_json::{Value, json};

use crate::exhaustion::under;
use crate::harness::{PATIENCE, run};
use crate::history::{Place, recorded};

#[test]
fn a_large_history_is_the_same_after_its_export_and_import() {
    const RUNS: u64 = 1_200;
    run(|sandbox| {
        let place = Place::new(sandbox);
        let report = recorded(sandbox, &place, &["--size", "8,64"]);
        let (lines, again) = (place.file("lines.ndjson"), place.file("again.ndjson"));
        let mut out = std::io::BufWriter::new(fs::File::create(&lines).unwrap());
        for number in 0..RUNS {
            let mut report = report.clone();
            report.started_unix_s += number / 3;
            report.environment.hostname = Some(format!("host{}", number % 7));
            for cell in &mut report.results {
                // Fractions of every kind have to come back to the bit.
                let factor = 1.0 + number as f64 / 977.0;
                for latency in [&mut cell.latency_ns, &mut cell.headline_ns] {
                    latency.p50 = latency.p50.map(|ns| ns * factor);
                    latency.mean = latency.mean.map(|ns| ns / factor);
                }
                cell.elapsed_ns *= factor;
            }
            let uuid = format!("00000000-0000-4000-8000-{number:012}").parse().unwrap();
            let label = (number % 5 == 0).then(|| format!("fifth-{}", number % 2));
            write_line(&Run { id: 0, uuid, label, report }, &mut out).unwrap();
        }
        out.flush().unwrap();
        let (lines, again) = (lines.to_str().unwrap(), again.to_str().unwrap());
        for arguments in [["history", "import", lines].as_slice(), &["history", "export", "-o", again]] {
            let mut client = place.client(sandbox, arguments);
            let said = sandbox.start(&mut client).wait(PATIENCE * 2).expect(Exit::Success);
            said.says(&[&format!("{RUNS} runs")]);
        }
        // Both are in the order of time, and of arrival where that is the same.
        let (printed, back) = (fs::read_to_string(lines).unwrap(), fs::read_to_string(again).unwrap());
        assert_eq!(printed.lines().count(), back.lines().count());
        for (number, (printed, back)) in printed.lines().zip(back.lines()).enumerate() {
            assert!(printed == back, "line {}:\n{printed}\n{back}", number + 1);
        }
    });
}

#[test]
fn damaged_lines_are_named_and_can_be_passed_over() {
    run(|sandbox| {
        let place = Place::new(sandbox);
        let report = recorded(sandbox, &place, &[]);
        let mut lines: Vec<Vec<u8>> = (0..60)
            .map(|number| {
                let uuid = format!("00000000-0000-4000-8000-{number:012}").parse().unwrap();
                let mut line = Vec::new();
                write_line(&Run { id: 0, uuid, label: None, report: report.clone() }, &mut line).unwrap();
                line
            })
            .collect();
        let half = lines[3].len() / 2;
        lines[3].truncate(half);
        lines[3].push(b'\n');
        lines[56] = b"\xff\xfe\n".to_vec();
        let file = place.file("lines.ndjson");
        fs::write(&file, lines.concat()).unwrap();
        let file = file.to_str().unwrap();
        let import = |more: &[&str], exit| {
            let arguments = [&["history", "import", file][..], more].concat();
            sandbox.finish(&mut place.client(sandbox, &arguments)).expect(exit)
        };
        import(&[], Exit::Failure).says(&[
            "3 runs imported",
            "lines.ndjson cannot be imported: line 4 is not a run",
            "remove line 4",
            "--skip-damaged",
            "imported runs are kept",
        ]);
        let rest = import(&["--skip-damaged"], Exit::Success);
        rest.says(&[
            "lines.ndjson: skipped: line 4 is not a run",
            "skipped: line 57 is not a run",
            "55 runs imported",
            "3 were there already",
            "2 lines skipped that are not runs",
        ]);
        let nothing = place.file("notes.txt");
        fs::write(&nothing, "a\nb\n").unwrap();
        let arguments = ["history", "import", "--skip-damaged", nothing.to_str().unwrap()];
        let none = sandbox.finish(&mut place.client(sandbox, &arguments)).expect(Exit::Failure);
        none.says(&["0 runs imported", "notes.txt has no run"]);
        fs::write(&nothing, "").unwrap();
        let file = nothing.to_str().unwrap();
        let full = place.file("lines.ndjson");
        for import in [&[file][..], &["-"], &[file, "-"]] {
            let mut command = place.client(sandbox, &[&["history", "import"], import].concat());
            sandbox.finish(&mut command).expect(Exit::Failure).says(&["the input has no run"]);
        }
        let mixed = ["history", "import", "--skip-damaged", file, full.to_str().unwrap()];
        sandbox
            .finish(&mut place.client(sandbox, &mixed))
            .expect(Exit::Success)
            .says(&["58 were there already"]);
    });
}

/// Each is a small file once it is packed.
#[test]
fn an_import_takes_little_memory_whatever_a_line_has() {
    run(|sandbox| {
        let place = Place::new(sandbox);
        let mut report = recorded(sandbox, &place, &[]);
        report.results.truncate(1);
        let cell = &mut report.results[0];
        // One sample in each bucket, so that nothing of the histogram can be left out.
        let mut ps = 1;
        while ps < 3_000_000_000_000_000_u64 {
            cell.histogram.record(ps).unwrap();
            ps += 1 + ps / 2048;
        }
        cell.latency_ns.samples = cell.histogram.len();
        let mut line = Vec::new();
        let uuid = "00000000-0000-4000-8000-000000000000".parse().unwrap();
        write_line(&Run { id: 0, uuid, label: None, report }, &mut line).unwrap();
        let line: Value = serde_json::from_slice(&line).unwrap();
        let import = |line: &Value, exit| {
            let file = place.file("line.ndjson");
            fs::write(&file, line.to_string()).unwrap();
            let import = place.client(sandbox, &["history", "import", file.to_str().unwrap()]);
            let limited = &mut under(&["prlimit", "--as=268435456", "--"], &import);
            sandbox.start(limited).wait(PATIENCE * 2).expect(exit)
        };
        let results = |count| {
            let mut line = line.clone();
            line["report"]["results"] = vec![line["report"]["results"][0].clone(); count].into();
            line["histograms"] = vec![line["histograms"][0].clone(); count].into();
            line
        };
        import(&results(1_000), Exit::Success).says(&["1 run imported"]);
        let refused = import(&results(4_097), Exit::Failure);
        refused.says(&["line 1 is not a run", "it has 4097 results; a run has 4096 at most"]);
        let mut long = line.clone();
        long["report"]["settings"]["arguments"] = vec![json!(""); 5_000_000].into();
        import(&long, Exit::Failure).says(&["line 1 is not a run", "values; a run has 4194304 at most"]);
    });
}
