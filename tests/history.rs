//! The history as its users have it: recording, showing, exchanging, and what a full disk, a kill and other writers do.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use ipcd::internals::client::{History, Report, Run, write_line};
use ipcd::internals::protocol::Exit;
use rusqlite::Connection;
use rustix::process::Signal;

use crate::harness::{
    NOBODY, PATIENCE, Process, Sandbox, another_user_can_run, eventually, is_root, not_tested, run,
};

/// A history of a test's own, gone at its end.
pub(crate) struct Place {
    folder: PathBuf,
}

impl Place {
    pub(crate) fn new(sandbox: &Sandbox) -> Self {
        let folder = sandbox.folder().join("state");
        fs::create_dir(&folder).unwrap();
        Self { folder }
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub(crate) fn history(&self) -> PathBuf {
        self.file("history.sqlite")
    }

    /// `ipc-client` with these arguments, and this history.
    pub(crate) fn client(&self, sandbox: &Sandbox, arguments: &[&str]) -> Command {
        let mut client = sandbox.client(arguments);
        client.env("IPCD_HISTORY", self.history());
        client
    }

    /// A real report, to be changed: of `null`, which any host can do.
    pub(crate) fn report(&self, sandbox: &Sandbox, arguments: &[&str]) -> Report {
        let bench = ["bench", "-m", "null", "-n", "20000", "--trials", "5", "--private", "--json"];
        let mut command = sandbox.client(&[&bench[..], arguments].concat());
        let output = sandbox.finish(command.env_remove("IPCD_SOCKET")).expect(Exit::Success);
        serde_json::from_str(&output.stdout).unwrap()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Where a test has failed, its sandbox goes with all that is in it.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The ids of all runs, and whether each is whole.
fn ids(history: &Path) -> Vec<i64> {
    let sql = "SELECT id, (SELECT count(*) FROM result WHERE run = run.id) FROM run ORDER BY started_unix_s DESC, id DESC";
    let db = Connection::open(history).unwrap();
    let mut runs = db.prepare(sql).unwrap();
    let runs = runs.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    let history = History::open(history).unwrap();
    runs.map(|run| {
        let (id, results): (i64, i64) = run.unwrap();
        assert_eq!(history.run(id).unwrap().report.results.len() as i64, results);
        id
    })
    .collect()
}

#[test]
fn a_recorded_run_is_shown_as_it_was() {
    run(|sandbox| {
        let place = Place::new(sandbox);
        let _daemon = sandbox.daemon();
        for (format, id) in [("json", 1), ("csv", 2), ("markdown", 3), ("text", 4)] {
            let bench =
                ["bench", "-m", "pipe,tcp", "-n", "500", "--trials", "2", "--record", "--label", "first"];
            let mut bench = place.client(sandbox, &[&bench[..], &["--format", format]].concat());
            let bench = sandbox.finish(&mut bench).expect(Exit::Success);
            let path = place.history().display().to_string();
            let bench = bench.says(&[&format!("recorded as run {id} in {path}")]);
            let mut show = place.client(sandbox, &["history", "show", "first", "--format", format]);
            let shown = sandbox.finish(&mut show).expect(Exit::Success);
            assert_eq!(shown.stdout, bench.stdout);
            shown.says(&[&format!("run {id} of "), ", label first"]);
        }
        let list =
            sandbox.finish(&mut place.client(sandbox, &["history", "--limit", "2"])).expect(Exit::Success);
        let lines: Vec<_> = list.stdout.lines().collect();
        assert!(
            lines.len() == 3 && lines[1].contains("     4  ") && lines[1].contains("first"),
            "{lines:#?}"
        );
        let list = place.client(sandbox, &["history", "-m", "tcp", "--json"]).output().unwrap();
        let rows: serde_json::Value = serde_json::from_slice(&list.stdout).unwrap();
        let rows = &rows["results"];
        assert_eq!(rows.as_array().unwrap().len(), 4);
        assert!(
            rows[0]["cell"].as_str().unwrap().starts_with("tcp:8B:") && rows[0]["latency_ns"]["p50"].is_f64()
        );
    });
}

#[test]
fn the_history_is_where_the_rule_says() {
    run(|sandbox| {
        let place = Place::new(sandbox);
        let _daemon = sandbox.daemon();
        let folder = |name: &str| place.file(name).display().to_string();
        for (variable, value, file) in [
            ("IPCD_HISTORY", folder("own"), "own"),
            ("STATE_DIRECTORY", folder("service"), "service/history.sqlite"),
            ("XDG_STATE_HOME", folder("user"), "user/ipcd/history.sqlite"),
            ("HOME", folder("home"), "home/.local/state/ipcd/history.sqlite"),
        ] {
            let mut bench = sandbox.client(&["bench", "-m", "pipe", "-n", "50", "--record"]);
            sandbox.finish(bench.env(variable, value)).expect(Exit::Success);
            assert_eq!(ids(&place.file(file)), [1], "{variable}");
        }
        let nowhere = sandbox.finish(&mut sandbox.client(&["bench", "--record"])).expect(Exit::Failure);
        nowhere.says(&["no location for the history", "--history"]);
    });
}

#[test]
fn what_cannot_be_recorded_is_said_before_anything_is_measured() {
    run(|sandbox| {
        let place = Place::new(sandbox);
        fs::write(place.file("notes"), "no history, but a text that is still needed. ".repeat(10)).unwrap();
        fs::write(place.file("file"), "").unwrap();
        // No daemon: it would be missed if one were looked for.
        for (path, parts) in [
            (place.file("notes"), "is not a history of ipcd"),
            (place.file("file/history"), "cannot be made"),
            (place.file(""), "is a folder"),
        ] {
            let path = path.display().to_string();
            let mut bench = sandbox.client(&["bench", "-m", "pipe", "--record", "--history", &path]);
            sandbox.finish(&mut bench).expect(Exit::Failure).says(&[parts]);
        }
        for arguments in [
            &["bench", "--label", "a"][..],
            &["bench", "--record", "--label", "a b"],
            &["bench", "--record", "--label", "12"],
            &["history", "--since", "yesterday"],
            &["history", "--method", "carrier-pigeon"],
            &["history", "show", "-1"],
            &["history", "prune"],
            &["history", "prune", "--keep", "0d"],
            &["history", "import"],
            &["check"],
            &["check", "--max-regression", "10%"],
            &["check", "--p99-below", "20"],
            &["compare"],
            &["compare", "1", "2", "--quantile", "p42"],
            &["trend", "--limit", "0"],
        ] {
            let output = sandbox.finish(&mut place.client(sandbox, arguments)).expect(Exit::Usage);
            assert_eq!(output.stdout, "", "{arguments:?}");
        }
        for arguments in [
            &["history"][..],
            &["history", "show"],
            &["compare", "1", "2"],
            &["check", "--baseline", "good"],
            &["trend"],
        ] {
            let output = sandbox.finish(&mut place.client(sandbox, arguments)).expect(Exit::Nothing);
            output.says(&["no history at"]);
        }
        assert!(!place.history().exists(), "looking makes nothing");
    });
}

#[test]
fn a_newer_schema_is_refused() {
    run(|sandbox| {
        let place = Place::new(sandbox);
        drop(History::create(&place.history()).unwrap());
        // The header's user version: four bytes from the sixtieth on.
        let mut bytes = fs::read(place.history()).unwrap();
        bytes[60..64].copy_from_slice(&1000_u32.to_be_bytes());
        fs::write(place.history(), &bytes).unwrap();
        for arguments in [&["bench", "--record"][..], &["history"], &["trend"]] {
            let output = sandbox.finish(&mut place.client(sandbox, arguments)).expect(Exit::Failure);
            output.says(&["has schema 1000", "newer"]);
        }
        assert_eq!(fs::read(place.history()).unwrap(), bytes);
    });
}

/// Copies of a run, in a file to import.
pub(crate) fn copies(report: &Report, count: usize, file: &Path) {
    let mut lines = Vec::new();
    for number in 0..count {
        let mut report = report.clone();
        report.started_unix_s += number as u64;
        let uuid = format!("00000000-0000-4000-8000-{number:012}").parse().unwrap();
        write_line(&Run { id: 0, uuid, label: None, report }, &mut lines).unwrap();
    }
    fs::write(file, lines).unwrap();
}

/// A report with its histograms, from one round trip through a history.
pub(crate) fn recorded(sandbox: &Sandbox, place: &Place, arguments: &[&str]) -> Report {
    let path = place.file("one.sqlite").display().to_string();
    let bench = [
        "bench",
        "-m",
        "null,pipe",
        "-n",
        "2000",
        "--trials",
        "2",
        "--private",
        "--record",
        "--history",
        &path,
    ];
    let mut bench = sandbox.client(&[&bench[..], arguments].concat());
    sandbox.finish(bench.env_remove("IPCD_SOCKET")).expect(Exit::Success);
    History::open(&place.file("one.sqlite")).unwrap().run(1).unwrap().report
}

#[test]
fn a_full_disk_loses_the_run_in_flight_at_most_and_says_so() {
    run(|sandbox| {
        let place = Place::new(sandbox);
        let _daemon = sandbox.daemon();
        let bench = ["bench", "-m", "pipe,tcp,unix", "-n", "3000", "--trials", "2", "--record"];
        sandbox.finish(&mut place.client(sandbox, &bench)).expect(Exit::Success);
        let size = fs::metadata(place.history()).unwrap().len();

        // No file may grow beyond what the history has already: a limit that a process inherits.
        let client = place.client(sandbox, &bench);
        let mut limited = Command::new("sh");
        let script = format!("trap '' XFSZ; ulimit -f {}; exec \"$0\" \"$@\"", size / 512 - 100);
        limited.args(["-c", &script]).arg(client.get_program()).args(client.get_args());
        limited.env_clear().current_dir(sandbox.folder());
        limited.envs(client.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let output = sandbox.finish(&mut limited).expect(Exit::Failure);
        assert!(output.stdout.contains("\npipe "), "the results are printed all the same: {output:#?}");
        output.says(&["the history", "cannot be written", "ulimit"]);
        assert_eq!(ids(&place.history()), [1], "what was there is whole, and nothing of the new run is");
        sandbox.finish(&mut place.client(sandbox, &bench)).expect(Exit::Success);
        assert_eq!(ids(&place.history()), [2, 1], "with room again, it goes on");
    });
}

#[test]
fn a_full_file_system_loses_the_run_in_flight_at_most_and_says_so() {
    run(|sandbox| {
        let can_mount = is_root()
            && Command::new("unshare").args(["-m", "true"]).status().is_ok_and(|status| status.success());
        if !can_mount {
            return not_tested("namespaces", "this needs root, and a new mount namespace");
        }
        let place = Place::new(sandbox);
        let client = place.client(sandbox, &[]);
        let mut script = Command::new("unshare");
        // The file system is seen by this shell alone, and goes with it. It holds a few runs, not fifty.
        script.args(["-m", "sh", "-c"]).arg(
            r#"set -u
            mount -t tmpfs -o size=400k none "$STATE" || exit 99
            code=0 runs=0
            while [ $code = 0 ] && [ $runs -lt 50 ]; do
                "$CLIENT" bench -m tcp,pipe,unix,udp,null -n 200 --trials 1 --size 8,64 --record >/dev/null; code=$?
                runs=$((runs + 1))
            done
            echo "ended with $code after $runs"
            "$CLIENT" history --limit 0 --json"#,
        );
        script.env_clear().current_dir(sandbox.folder()).env("PATH", std::env::var_os("PATH").unwrap());
        script.envs(client.get_envs().filter_map(|(name, value)| Some((name, value?))));
        script.env("STATE", place.file("")).env("CLIENT", client.get_program());
        let _daemon = sandbox.daemon();
        let output = sandbox.start(&mut script).wait(PATIENCE * 2).expect(Exit::Success);
        let (first, list) = output.stdout.split_once('\n').unwrap();
        assert!(first.starts_with("ended with 1 after "), "{output:#?}");
        let runs: usize = first.rsplit(' ').next().unwrap().parse().unwrap();
        let rows: serde_json::Value = serde_json::from_str(list).unwrap();
        let rows = rows["runs"].as_array().unwrap();
        assert_eq!(rows.len(), runs - 1, "all but the last are there");
        assert!(runs > 1 && rows.iter().all(|row| row["cells"].as_array().unwrap().len() == 10), "{rows:#?}");
        output.says(&["cannot be written", "full", "make room"]);
    });
}

#[test]
fn a_kill_while_writing_leaves_whole_runs_only() {
    run(|sandbox| {
        let place = Place::new(sandbox);
        let lines = place.file("runs.ndjson");
        copies(&recorded(sandbox, &place, &[]), 500, &lines);
        let import = |sandbox: &Sandbox| -> Process {
            sandbox.start(&mut place.client(sandbox, &["history", "import", lines.to_str().unwrap()]))
        };
        let mut before = 0;
        for _ in 0..3 {
            let importing = import(sandbox);
            eventually("it is in the middle of writing", PATIENCE, || {
                let log = fs::metadata(place.file("history.sqlite-wal")).map_or(0, |file| file.len());
                (log > 200_000 || importing_is_over(&place)).then_some(())
            });
            importing.signal(Signal::KILL);
            importing.wait(PATIENCE);
            let now = ids(&place.history()).len();
            assert!(now >= before, "{now} after {before}: what was there stays");
            assert_eq!(now % 50, 0, "transactions of fifty, whole or not at all");
            before = now;
        }
        import(sandbox).wait(PATIENCE * 2).expect(Exit::Success);
        assert_eq!(ids(&place.history()).len(), 500, "the same import again goes on");
    });
}

fn importing_is_over(place: &Place) -> bool {
    // A history that is only being made is there and cannot be opened yet.
    let made = place.history().exists() && History::open(&place.history()).is_ok();
    made && ids(&place.history()).len() == 500
}

#[test]
fn concurrent_writers_wait_for_each_other() {
    run(|sandbox| {
        let place = Place::new(sandbox);
        let report = recorded(sandbox, &place, &[]);
        let files: Vec<PathBuf> = (0..6).map(|number| place.file(&format!("{number}.ndjson"))).collect();
        for (number, file) in files.iter().enumerate() {
            let mut report = report.clone();
            report.environment.hostname = Some(format!("host{number}"));
            copies(&report, 60, file);
            let text = fs::read_to_string(file).unwrap();
            fs::write(file, text.replace("00000000-0000-4000", &format!("0000000{number}-0000-4000")))
                .unwrap();
        }
        // All of them find no history and make it.
        let start = |file: &PathBuf| {
            sandbox.start(&mut place.client(sandbox, &["history", "import", file.to_str().unwrap()]))
        };
        let importing: Vec<Process> = files.iter().map(start).collect();
        for one in importing {
            one.wait(PATIENCE).expect(Exit::Success).says(&["60 runs imported"]);
        }
        assert_eq!(ids(&place.history()).len(), 360);
        let history = Connection::open(place.history()).unwrap();
        for number in 0..6 {
            let sql = "SELECT count(*) FROM run WHERE host = ?1";
            let rows = history.query_row(sql, [format!("host{number}")], |row| row.get::<_, i64>(0));
            assert_eq!(rows, Ok(60));
        }
    });
}

#[test]
fn who_may_only_read_it_reads_it() {
    run(|sandbox| {
        if !another_user_can_run(sandbox) {
            return;
        }
        let place = Place::new(sandbox);
        copies(&recorded(sandbox, &place, &[]), 3, &place.file("3.ndjson"));
        let file = place.file("3.ndjson").display().to_string();
        sandbox.finish(&mut place.client(sandbox, &["history", "import", &file])).expect(Exit::Success);
        for (path, mode) in
            [(sandbox.folder().to_owned(), 0o755), (place.file(""), 0o755), (place.history(), 0o644)]
        {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        }
        let other = |arguments: &[&str]| {
            let mut client = place.client(sandbox, arguments);
            client.uid(NOBODY).gid(NOBODY);
            client
        };
        let own = sandbox.finish(&mut place.client(sandbox, &["history"])).expect(Exit::Success);
        let theirs = sandbox.finish(&mut other(&["history"])).expect(Exit::Success);
        assert_eq!(theirs.stdout, own.stdout);
        sandbox.finish(&mut other(&["history", "show"])).expect(Exit::Success);
        sandbox.finish(&mut other(&["compare", "1", "2"])).expect(Exit::Success);
        let refused = sandbox.finish(&mut other(&["history", "prune", "--keep", "1d"])).expect(Exit::Failure);
        refused.says(&["cannot be written", "the user that owns it"]);
        // While there is a writer, what is in the log counts too.
        let writer = Connection::open(place.history()).unwrap();
        writer.execute("INSERT INTO baseline VALUES ('good', 1)", []).unwrap();
        let theirs = sandbox.finish(&mut other(&["history"])).expect(Exit::Success);
        assert!(theirs.stdout.contains("[baseline good]"), "{}", theirs.stdout);
        drop(writer);
        sandbox.finish(&mut other(&["history"])).expect(Exit::Success);
        assert_eq!(ids(&place.history()).len(), 3);
    });
}

#[test]
fn histories_of_several_hosts_become_one() {
    run(|sandbox| {
        let place = Place::new(sandbox);
        let mut report = recorded(sandbox, &place, &[]);
        let mut files = Vec::new();
        for host in ["east", "west"] {
            report.environment.hostname = Some(host.to_owned());
            let history = place.file(&format!("{host}.sqlite"));
            History::create(&history).unwrap().record(&report, None).unwrap();
            let file = place.file(&format!("{host}.ndjson"));
            let (history, file) = (history.display().to_string(), file.display().to_string());
            let export = ["history", "export", "--history", &history, "--output", &file];
            sandbox.finish(&mut sandbox.client(&export)).expect(Exit::Success).says(&["1 run exported"]);
            files.push(file);
        }
        let all =
            [&["history", "import"][..], &[files[0].as_str(), files[1].as_str(), files[0].as_str()]].concat();
        let output = sandbox.finish(&mut place.client(sandbox, &all)).expect(Exit::Success);
        output.says(&["1 run imported", "0 runs imported", "1 was there already"]);
        let west =
            sandbox.finish(&mut place.client(sandbox, &["history", "--host", "west"])).expect(Exit::Success);
        assert!(west.stdout.contains("west") && !west.stdout.contains("east"), "{}", west.stdout);
        let mut again = place.client(sandbox, &["history", "import", &files[1]]);
        sandbox.finish(&mut again).expect(Exit::Success).says(&["0 runs imported", "1 was there already"]);
    });
}
