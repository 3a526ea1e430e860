//! Reports as their users have them: from the history, from files, several runs in one, and what they are refused for.
//! `tests/report/check.py` opens one in a browser.

use std::fs;

use ipcd::internals::client::History;
use ipcd::internals::client::Report;
use ipcd::internals::protocol::Exit;

use crate::harness::{Sandbox, run};
use crate::history::Place;

#[test]
fn runs_of_the_history_and_of_files_are_one_report() {
    run(|sandbox| {
        let place = Place::new(sandbox);
        let file = place.file("other.json");
        fs::write(&file, serde_json::to_string(&place.report(sandbox, &["--size", "64"])).unwrap()).unwrap();
        let (page, file) = (place.file("report.html"), file.to_str().unwrap());
        // Without a history, a file is enough.
        let arguments = ["report", file, "-o", page.to_str().unwrap()];
        sandbox.finish(&mut place.client(sandbox, &arguments)).expect(Exit::Success);
        let one = fs::read_to_string(&page).unwrap();
        assert!(one.contains("<td>64 B</td>") || one.contains("size 64 B"), "{one}");

        let bench = [
            "bench",
            "-m",
            "null",
            "-n",
            "5000",
            "--trials",
            "2",
            "--private",
            "--record",
            "--label",
            "mine",
        ];
        let mut bench = place.client(sandbox, &bench);
        sandbox.finish(bench.env_remove("IPCD_SOCKET")).expect(Exit::Success);
        let arguments = ["report", "mine", "last", file, "-o", page.to_str().unwrap()];
        sandbox.finish(&mut place.client(sandbox, &arguments)).expect(Exit::Success);
        let both = fs::read_to_string(&page).unwrap();
        assert_eq!(both.matches("<p class=\"run\">").count(), 2, "a run that is named twice is there once");
        assert!(both.contains("<td>run 1 (mine)</td>") && both.contains(&format!("<td>{file}</td>")));
        let table = both.split("id=\"cells\"").nth(1).unwrap().split("</table>").next().unwrap();
        assert_eq!(table.matches("<th scope=\"row\">").count(), 2);

        let mut to_stdout = place.client(sandbox, &["report", "mine", file, "-o", "-"]);
        assert_eq!(sandbox.finish(&mut to_stdout).expect(Exit::Success).stdout, both);
        let mut narrow = place.client(sandbox, &["report", "mine", file, "--size", "64"]);
        let narrow = sandbox.finish(&mut narrow).expect(Exit::Success).stdout;
        assert!(!narrow.contains("run 1 (mine)"), "the other run has no such cell");
    });
}

#[test]
fn the_commands_of_a_report_measure_the_same_elsewhere() {
    run(|sandbox| {
        let place = Place::new(sandbox);
        let config = place.file("ipcd.toml");
        fs::write(
            &config,
            "[profile.nightly]\nmethod = [\"null\", \"pipe\"]\nsize = [8, 64]\nrounds = 300\ntrials = 2\n",
        )
        .unwrap();
        let bench = ["bench", "--profile", "nightly", "--config", config.to_str().unwrap(), "--trials", "3"];
        let printed = ["--private", "--record", "--label", "nightly", "--hdr-log", "run.hlog"];
        let mut bench = place.client(sandbox, &[&bench[..], &printed].concat());
        sandbox.finish(bench.env_remove("IPCD_SOCKET")).expect(Exit::Success);
        fs::remove_file(sandbox.folder().join("run.hlog")).unwrap();
        let page = |sandbox: &Sandbox| {
            let mut report = place.client(sandbox, &["report", "nightly", "-o", "-"]);
            sandbox.finish(&mut report).expect(Exit::Success).stdout
        };
        let printed = page(sandbox);
        let command = printed.split("<pre><code>").nth(1).unwrap().split("</code>").next().unwrap();
        assert_eq!(
            command,
            "ipc-client bench --method null,pipe --rounds 300 --size 8,64 --trials 3 --private"
        );
        // It is one: the same cells, without that configuration.
        let words: Vec<&str> = command.split(' ').skip(1).chain(["--json"]).collect();
        let mut again = sandbox.client(&words);
        let again = sandbox.finish(again.env_remove("IPCD_SOCKET")).expect(Exit::Success);
        let again: Report = serde_json::from_str(&again.stdout).unwrap();
        let cells = |report: &Report| -> Vec<String> {
            report.results.iter().map(|cell| format!("{}, {} trials", cell.cell, cell.trials.len())).collect()
        };
        let recorded = History::open(&place.history()).unwrap().run(1).unwrap().report;
        assert_eq!(cells(&again), cells(&recorded));

        // A run of before lacks what its profile was.
        let mut old = recorded;
        old.settings.profile_flags = None;
        History::open(&place.history()).unwrap().record(&old, Some(&"nightly".parse().unwrap())).unwrap();
        let printed = page(sandbox);
        assert!(
            printed.contains("<code>ipc-client bench --profile nightly --trials 3 --private</code>"),
            "{printed}"
        );
        assert!(
            printed.contains("That profile is defined in the configuration of the run's host"),
            "{printed}"
        );
    });
}

#[test]
fn what_cannot_be_reported_is_said() {
    run(|sandbox| {
        let place = Place::new(sandbox);
        let page = place.file("report.html");
        let refused = |arguments: &[&str], exit: Exit, said: &str| {
            let arguments = [&["report", "-o", page.to_str().unwrap()], arguments].concat();
            let output = sandbox.finish(&mut place.client(sandbox, &arguments)).expect(exit);
            assert!(output.stderr.contains(said), "{arguments:?}: {}", output.stderr);
            assert!(!page.exists(), "{arguments:?}");
        };
        refused(&[], Exit::Nothing, "no history at");
        refused(&["./missing.json"], Exit::Failure, "./missing.json cannot be read");
        let file = place.file("other.json");
        fs::write(&file, "{}").unwrap();
        refused(&[file.to_str().unwrap()], Exit::Failure, "neither a report of \"bench --format json\"");
        let matrix = place.file("matrix.csv");
        fs::write(&matrix, "method,size\n").unwrap();
        refused(&["--matrix", matrix.to_str().unwrap()], Exit::Failure, "it has no column options");
        let lines = place.file("none.ndjson");
        fs::write(&lines, "").unwrap();
        let mut import = place.client(sandbox, &["history", "import", lines.to_str().unwrap()]);
        // It leaves a history in which there is nothing.
        sandbox.finish(&mut import).expect(Exit::Failure);
        refused(&[], Exit::Nothing, "last");
        refused(&["12"], Exit::Nothing, "12");
        refused(&["a b"], Exit::Usage, "`a b` does not name a run");
        fs::write(&file, serde_json::to_string(&place.report(sandbox, &[])).unwrap()).unwrap();
        refused(
            &[file.to_str().unwrap(), "--size", "3"],
            Exit::Nothing,
            "no matching cells in the named runs",
        );
        let mut nowhere =
            place.client(sandbox, &["report", file.to_str().unwrap(), "-o", "/missing/report.html"]);
        sandbox.finish(&mut nowhere).expect(Exit::Failure);
    });
}
