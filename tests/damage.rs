//! Damaged and malicious histories: the error is reported with its remedy, and a damaged history is never taken for
//! an empty one.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

use ipcd::internals::client::History;
use ipcd::internals::protocol::Exit;

use crate::harness::{PATIENCE, Sandbox, run};
use crate::history::{Place, copies, recorded};

/// Makes a history of `runs` runs, closed, so that all of it is in its file.
fn filled(sandbox: &Sandbox, place: &Place, runs: usize) {
    let file = place.file("runs.ndjson");
    copies(&recorded(sandbox, place, &[]), runs, &file);
    let import = ["history", "import", file.to_str().unwrap()];
    sandbox.finish(&mut place.client(sandbox, &import)).expect(Exit::Success);
    assert!(!place.file("history.sqlite-wal").exists(), "its log is in it");
}

#[test]
fn a_truncated_history_is_moved_away_and_the_next_run_makes_a_new_one() {
    run(|sandbox| {
        let place = Place::new(sandbox);
        let _daemon = sandbox.daemon();
        filled(sandbox, &place, 100);
        let size = fs::metadata(place.history()).unwrap().len();
        File::options().write(true).open(place.history()).unwrap().set_len(size / 2).unwrap();
        let bench = ["bench", "-m", "null", "-n", "100", "--record"];
        for arguments in [&["history"][..], &["history", "show", "1"], &["trend"], &bench] {
            let output = sandbox.finish(&mut place.client(sandbox, arguments)).expect(Exit::Failure);
            output.says(&[
                "history.sqlite",
                "malformed",
                "move it away",
                "then the next run makes a new one",
            ]);
        }
        fs::rename(place.history(), place.file("damaged.sqlite")).unwrap();
        for behind in ["-wal", "-shm"] {
            // As the advice has it; they are there or not, by who has looked at it last.
            let _ = fs::remove_file(place.file(&format!("history.sqlite{behind}")));
        }
        sandbox.finish(&mut place.client(sandbox, &bench)).expect(Exit::Success).says(&["recorded as run 1"]);
    });
}

/// Overwrites the pages of the file that the table of runs has, but its root: what is found from there is lost.
fn overwrite_runs(history: &Path, with: u8) -> usize {
    let bytes = fs::read(history).unwrap();
    let page = usize::from(u16::from_be_bytes([bytes[16], bytes[17]]));
    let file = File::options().write(true).open(history).unwrap();
    let mut overwritten = 0;
    for (number, content) in bytes.chunks(page).enumerate().skip(1) {
        // A leaf of a table (13) with the UUIDs that only the runs have.
        let is_of_runs = content[0] == 13 && content.windows(14).any(|part| part == b"-4000-8000-000");
        if is_of_runs {
            file.write_all_at(&vec![with; page], (number * page) as u64).unwrap();
            overwritten += 1;
        }
    }
    overwritten
}

#[test]
fn a_run_on_a_page_that_is_overwritten_is_not_taken_for_none() {
    run(|sandbox| {
        let place = Place::new(sandbox);
        filled(sandbox, &place, 60);
        let whole = fs::read(place.history()).unwrap();
        let commands = [
            &["history", "show", "1"][..],
            &["compare", "1", "3"],
            &["check", "1", "--baseline", "3"],
            &["report", "1", "-o", "-"],
            &["history", "export", "1"],
        ];
        for with in [0, 0xff, 13] {
            fs::write(place.history(), &whole).unwrap();
            assert!(overwrite_runs(&place.history(), with) > 1, "runs have pages of their own");
            for arguments in commands {
                let output = sandbox.finish(&mut place.client(sandbox, arguments)).expect(Exit::Failure);
                let output = output.says(&["history.sqlite", "move it away"]);
                assert!(!output.stderr.contains("no run "), "{with}: {}", output.stderr);
            }
        }
        // In an intact one, a missing run is reported as such.
        fs::write(place.history(), &whole).unwrap();
        let absent = sandbox.finish(&mut place.client(sandbox, &["history", "show", "61"]));
        absent.expect(Exit::Nothing).says(&["no run 61"]);
    });
}

#[test]
fn a_file_that_is_not_what_it_seems_is_read_no_further() {
    run(|sandbox| {
        let place = Place::new(sandbox);
        filled(sandbox, &place, 1);
        let history = place.history();
        let file = |name: &str| std::path::PathBuf::from(format!("{}{name}", history.display()));
        let refuses = |exit: Exit, what: &str| {
            let listed = sandbox.start(&mut place.client(sandbox, &["history"])).wait(PATIENCE);
            listed.expect(exit).says(&[what]);
        };
        // SQLite would write to what these lead to.
        let kept = place.file("kept");
        fs::write(&kept, "kept").unwrap();
        for suffix in ["-shm", "-wal"] {
            let _ = fs::remove_file(file(suffix));
            fs::hard_link(&kept, file(suffix)).unwrap();
            refuses(Exit::Failure, suffix);
            fs::remove_file(file(suffix)).unwrap();
            std::os::unix::fs::symlink(&kept, file(suffix)).unwrap();
            refuses(Exit::Failure, suffix);
            fs::remove_file(file(suffix)).unwrap();
        }
        assert_eq!(fs::read_to_string(&kept).unwrap(), "kept");
        // A view without end in the place of a table.
        let db = rusqlite::Connection::open(&history).unwrap();
        db.execute_batch(
            "PRAGMA foreign_keys = off;
             ALTER TABLE run RENAME TO hidden;
             CREATE VIEW run AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)
                 SELECT hidden.* FROM n, hidden;",
        )
        .unwrap();
        drop(db);
        refuses(Exit::Failure, "cannot be read");
        // A pipe that no process writes to.
        fs::remove_file(&history).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, &history, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR)
            .unwrap();
        refuses(Exit::Failure, "is not a history");
    });
}

#[test]
fn text_of_a_run_drives_no_terminal() {
    run(|sandbox| {
        let place = Place::new(sandbox);
        let ill = "\u{1b}]0;owned\u{7}\u{1b}[2J\u{9b}31m\u{202e}host\r";
        let mut report = recorded(sandbox, &place, &[]);
        report.environment.hostname = Some(ill.to_owned());
        report.environment.kernel.release = Some(ill.to_owned());
        report.settings.arguments.push(ill.to_owned());
        report.clock.reason = ill.to_owned();
        report.results[1].method = ill.to_owned();
        report.results[1].cell = format!("{ill}:8B:block:unpinned");
        report.results[1].error = Some(ill.to_owned());
        let mut history = History::create(&place.history()).unwrap();
        for _ in 0..2 {
            history.record(&report, None).unwrap();
        }
        report.environment.kernel.release = Some(format!("{ill}2"));
        history.record(&report, None).unwrap();
        drop(history);
        let file = place.file("ill.json");
        fs::write(&file, serde_json::to_string(&report).unwrap()).unwrap();
        let file = file.to_str().unwrap();
        for arguments in [
            &["history"][..],
            &["history", "--wait", "block,spin,adaptive"],
            &["history", "show"],
            &["history", "show", "--format", "csv"],
            &["history", "show", "--format", "markdown"],
            &["compare", "1", "3"],
            &["compare", "1", file],
            &["compare", "1", "3", "--format", "markdown"],
            &["check", file, "--baseline", "1", "--max-regression", "100%"],
            &["trend"],
            &["report", "last", "-o", "-"],
        ] {
            let output = sandbox.finish(&mut place.client(sandbox, arguments));
            let printed = format!("{}{}", output.stdout, output.stderr);
            assert!(printed.contains("owned"), "{arguments:?} prints none of it: {printed}");
            let drives = |c: char| {
                (c.is_control() && c != '\n' && c != '\t') || ('\u{202a}'..='\u{202e}').contains(&c)
            };
            assert!(!printed.contains(drives), "{arguments:?}: {printed:?}");
        }

        // From elsewhere, such names do not get in at all.
        let lines = place.file("ill.ndjson");
        let export = ["history", "export", "3", "-o", lines.to_str().unwrap()];
        sandbox.finish(&mut place.client(sandbox, &export)).expect(Exit::Success);
        let other = place.file("other.sqlite");
        let import = ["history", "import", "--history", other.to_str().unwrap(), lines.to_str().unwrap()];
        let refused = sandbox.finish(&mut place.client(sandbox, &import)).expect(Exit::Failure);
        refused.says(&["line 1", "control character", "\\u{1b}]0;owned\\u{7}"]);
        let list = ["history", "--history", other.to_str().unwrap()];
        sandbox.finish(&mut place.client(sandbox, &list)).expect(Exit::Nothing).says(&["is empty"]);
    });
}
