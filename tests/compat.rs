//! Files of an older build, commit 176df9a, used with today's programs: a history, what that build printed of one of its runs, and
//! a configuration. They are never regenerated: users have such files.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use ipcd::internals::protocol::{Exit, Resource};
use serde_json::Value;

use crate::config::{File, with};
use crate::harness::{Daemon, Output, Sandbox, run};
use crate::history::Place;

/// The cells of runs 1 to 4, which are of the profile `nightly`. Run 5 is of [`PACED`] alone.
const NIGHTLY: [&str; 4] = [
    "null:8B:block:unpinned",
    "null:64B:block:unpinned",
    "pipe:8B:block:unpinned",
    "pipe:64B:block:unpinned",
];

const PACED: &str = "udp:8B:block:unpinned:every=200000ns";

fn old(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compat").join(name)
}

/// A copy of the old history, gone at the end of its test.
fn old_history(sandbox: &Sandbox) -> Place {
    let place = Place::new(sandbox);
    fs::write(place.history(), fs::read(old("history.sqlite")).unwrap()).unwrap();
    place
}

fn old_config(sandbox: &Sandbox) -> File {
    File::new(sandbox, "config.toml", &fs::read_to_string(old("config.toml")).unwrap())
}

fn client(sandbox: &Sandbox, place: &Place, arguments: &[&str], exit: Exit) -> Output {
    sandbox.finish(&mut place.client(sandbox, arguments)).expect(exit)
}

fn json(output: &Output) -> Value {
    serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:#?}"))
}

#[track_caller]
fn contains_all(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no \"{part}\" in\n{text}");
    }
}

/// The cells of each run in the history, the newest run first.
fn runs(sandbox: &Sandbox, place: &Place) -> Vec<(i64, Vec<String>)> {
    let list = json(&client(sandbox, place, &["history", "--json"], Exit::Success));
    let runs = list["runs"].as_array().unwrap().iter();
    let cells = |run: &Value| serde_json::from_value(run["cells"].clone()).unwrap();
    runs.map(|run| (run["id"].as_i64().unwrap(), cells(run))).collect()
}

/// The old runs, as [`runs`] returns them.
fn old_runs() -> Vec<(i64, Vec<String>)> {
    let nightly = NIGHTLY.map(str::to_owned).to_vec();
    let mut runs = vec![(5, vec![PACED.to_owned()])];
    runs.extend((1..=4).rev().map(|id| (id, nightly.clone())));
    runs
}

/// Appends where `new` lacks something of `old`, or has another value. More keys are allowed.
fn find_lost(old: &Value, new: &Value, path: &str, lost: &mut Vec<String>) {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            for (key, old) in old {
                let path = format!("{path}/{key}");
                match new.get(key) {
                    // The sentences of a warning are derived from its kind and figures, and may be reworded.
                    Some(Value::String(new)) if ["finding", "advice"].contains(&key.as_str()) => {
                        assert!(!new.is_empty(), "{path}");
                    }
                    Some(new) => find_lost(old, new, &path, lost),
                    None => lost.push(format!("{path} is missing")),
                }
            }
        }
        (Value::Array(old), Value::Array(new)) if old.len() == new.len() => {
            for (index, (old, new)) in old.iter().zip(new).enumerate() {
                find_lost(old, new, &format!("{path}/{index}"), lost);
            }
        }
        _ if old == new => {}
        _ => lost.push(format!("{path}: {old} became {new}")),
    }
}

/// Checks that run 4 is shown with every key and value that the old build showed.
#[track_caller]
fn shows_run_4_as_before(sandbox: &Sandbox, place: &Place) {
    let shown = json(&client(sandbox, place, &["history", "show", "4", "--format", "json"], Exit::Success));
    let before: Value = serde_json::from_str(&fs::read_to_string(old("show.json")).unwrap()).unwrap();
    assert_eq!(before["results"].as_array().unwrap().len(), NIGHTLY.len());
    let mut lost = Vec::new();
    find_lost(&before, &shown, "", &mut lost);
    assert!(lost.is_empty(), "{lost:#?}");
}

#[test]
fn what_a_document_loses_is_found() {
    let lost = |old: &str, new: &str| {
        let mut lost = Vec::new();
        let [old, new] = [old, new].map(|text| serde_json::from_str(text).unwrap());
        find_lost(&old, &new, "", &mut lost);
        lost
    };
    let document = r#"{"a": [{"b": 1, "finding": "slow"}], "c": null}"#;
    assert!(
        lost(document, r#"{"a": [{"b": 1, "finding": "slower", "d": 2}], "c": null, "e": 3}"#).is_empty()
    );
    assert_eq!(lost(document, r#"{"a": [{"b": 2, "finding": "slow"}], "c": null}"#), ["/a/0/b: 1 became 2"]);
    assert_eq!(lost(document, r#"{"a": [{"b": 1}]}"#), ["/a/0/finding is missing", "/c is missing"]);
    assert_eq!(lost(document, r#"{"a": [], "c": null}"#).len(), 1);
}

#[test]
fn an_old_history_is_read_and_left_as_it_is() {
    run(|sandbox| {
        let place = old_history(sandbox);
        let list = client(sandbox, &place, &["history"], Exit::Success).stdout;
        // The first command brings it to the newest schema; from then on, reading changes nothing.
        let migrated = fs::read(place.history()).unwrap();
        assert_eq!(list.lines().count(), 1 + 5, "{list}");
        contains_all(&list, &["[baseline stable]", "  compat  ", PACED, NIGHTLY[0]]);
        assert_eq!(runs(sandbox, &place), old_runs());

        shows_run_4_as_before(sandbox, &place);
        let text = client(
            sandbox,
            &place,
            &["history", "show", "4", "--format", "text", "--verbose"],
            Exit::Success,
        )
        .says(&["run 4 of 2026-11-30T16:09:03Z, label compat"])
        .stdout;
        contains_all(
            &text,
            &[
                "rounds: 4500 in 26ms 484us 790ns\n",
                "round trip: min 3.18 µs, p50 3.41 µs, p90 3.71 µs, p99 4.22 µs, p99.9 -, max 4.72 ms\n",
                "Grade: E",
            ],
        );

        let compared = client(sandbox, &place, &["compare", "stable", "4"], Exit::Success).stdout;
        contains_all(&compared, &["A: stable (run 1, label compat", "100 ns → 96.5 ns", "3.29 µs → 3.41 µs"]);
        contains_all(
            &compared,
            &["p50 of 4 cells: 4 without a difference\n", "\n  null 8 B  ", "\n  pipe 64 B  "],
        );
        // The last run has no cell in common with the baseline.
        let compared = client(sandbox, &place, &["compare", "stable", "last"], Exit::Nothing);
        contains_all(
            &compared.stdout,
            &["B: last (run 5", "p50 of 5 cells: 5 not comparable\n", "\n  udp  "],
        );
        contains_all(&compared.stdout, &["not comparable: only B has it"]);

        let check = ["check", "--baseline", "stable", "--max-regression", "500%"];
        let checked = client(sandbox, &place, &[&check[..], &["4"]].concat(), Exit::Success).stdout;
        assert_eq!(checked.matches("\nfine: ").count(), NIGHTLY.len(), "{checked}");
        contains_all(&checked, &["\ncheck: fine"]);
        let checked = client(sandbox, &place, &check, Exit::Nothing).stdout;
        contains_all(&checked, &["last (run 5", "only the baseline has it", "check: nothing to compare"]);

        let trends = json(&client(sandbox, &place, &["trend", "--json"], Exit::Success));
        let medians = |cell: &str| -> Vec<f64> {
            let trends = trends["trends"].as_array().unwrap();
            let trend = trends.iter().find(|trend| trend["cell"] == cell).unwrap();
            trend["points"].as_array().unwrap().iter().map(|point| point["ns"].as_f64().unwrap()).collect()
        };
        assert_eq!(medians("null:64B:block:unpinned"), [132.16, 130.464, 127.84, 129.568]);
        assert_eq!(medians(PACED), [11857.92]);
        let trends = client(sandbox, &place, &["trend"], Exit::Success).stdout;
        contains_all(
            &trends,
            &["\npipe:8B:block:unpinned on vm: ", ", 4 runs: too few runs to detect a change", PACED],
        );

        let metrics = place.file("ipcd.prom");
        let arguments = ["export", "--prometheus", metrics.to_str().unwrap()];
        client(sandbox, &place, &arguments, Exit::Success);
        let labels = r#"{host="vm",method="pipe",size_bytes="8",wait="block",placement="unpinned"}"#;
        let metrics = fs::read_to_string(metrics).unwrap();
        contains_all(
            &metrics,
            &[&format!("\nipcd_round_trip_seconds_count{labels} 4500\n"), "method=\"udp\""],
        );

        let page = place.file("report.html");
        let report = ["report", "stable", "4", "last", "-o", page.to_str().unwrap()];
        client(sandbox, &place, &report, Exit::Success);
        let html = fs::read_to_string(&page).unwrap();
        assert_eq!(html.matches("<p class=\"run\">").count(), 3, "{html}");
        contains_all(&html, &["<td>run 4 (compat)</td>", "3.41 µs"]);
        client(sandbox, &place, &["report", "-o", page.to_str().unwrap()], Exit::Success);
        contains_all(&fs::read_to_string(&page).unwrap(), &["<p class=\"run\">", "11.9 µs"]);

        assert!(fs::read(place.history()).unwrap() == migrated, "reading changed the history");
    });
}

#[test]
fn an_old_history_is_exported_and_imported() {
    run(|sandbox| {
        let place = old_history(sandbox);
        let (lines, new) = (place.file("runs.ndjson"), place.file("new.sqlite"));
        let (lines, new) = (lines.to_str().unwrap(), new.to_str().unwrap());
        client(sandbox, &place, &["history", "export", "-o", lines], Exit::Success)
            .says(&["5 runs exported"]);
        assert_eq!(fs::read_to_string(lines).unwrap().lines().count(), 5);
        client(sandbox, &place, &["history", "import", lines, "--history", new], Exit::Success)
            .says(&["5 runs imported"]);
        let list = json(&client(sandbox, &place, &["history", "--json", "--history", new], Exit::Success));
        let uuids = |list: &Value| -> Vec<String> {
            let runs = list["runs"].as_array().unwrap().iter();
            runs.map(|run| run["uuid"].as_str().unwrap().to_owned()).collect()
        };
        let before = json(&client(sandbox, &place, &["history", "--json"], Exit::Success));
        assert_eq!(uuids(&list), uuids(&before));
        // Nothing is lost on the way: exported again, the lines are the same.
        let again = client(sandbox, &place, &["history", "export", "--history", new], Exit::Success).stdout;
        assert_eq!(again, fs::read_to_string(lines).unwrap());
        client(sandbox, &place, &["history", "import", lines], Exit::Success)
            .says(&["0 runs imported", "5 were there already"]);
    });
}

#[test]
fn an_old_history_is_continued() {
    run(|sandbox| {
        let place = old_history(sandbox);
        let path = place.history().display().to_string();
        let bench =
            ["bench", "-m", "null,pipe", "-n", "200", "--trials", "2", "--wait", "block", "--private"];
        let record = [&bench[..], &["--record", "--history", &path]].concat();
        let mut bench = sandbox.client(&record);
        sandbox
            .finish(bench.env_remove("IPCD_SOCKET"))
            .expect(Exit::Success)
            .says(&[&format!("recorded as run 6 in {path}")]);
        let runs = runs(sandbox, &place);
        assert_eq!(runs[1..], old_runs());
        assert_eq!(runs[0], (6, vec![NIGHTLY[0].to_owned(), NIGHTLY[2].to_owned()]));
        client(sandbox, &place, &["history", "show", "6"], Exit::Success);
        shows_run_4_as_before(sandbox, &place);
        client(sandbox, &place, &["history", "show", "stable"], Exit::Success).says(&["run 1 of "]);
    });
}

#[test]
fn an_old_configuration_means_the_same() {
    run(|sandbox| {
        let config = old_config(sandbox);
        let mut check = sandbox.ipcd(&["config", "check", "--config", config.path()]);
        let checked = sandbox.finish(&mut check).expect(Exit::Success);
        assert_eq!(checked.stdout, format!("{}: ok\n", config.path()));
        assert_eq!(checked.stderr, "");

        let mut show = sandbox.ipcd(&["config", "show", "--config", config.path()]);
        let shown = sandbox.finish(show.env_remove("IPCD_SOCKET")).expect(Exit::Success).stdout;
        // What the file says, with the line that says it.
        let start = format!("  # {}:", config.path());
        let values: Vec<_> = shown.lines().filter_map(|line| line.split_once(&start)).collect();
        let expected = [
            ("mode = \"0660\"", "8"),
            ("measurements = 2", "3"),
            ("idle-exit = \"5m\"", "7"),
            ("log = \"warn,ipcd=info\"", "9"),
            ("max-connections = 64", "4"),
            ("max-connections-per-user = 32", "5"),
            ("max-memory = \"512M\"", "6"),
            ("label = \"compat\"", "20"),
            ("method = [\"null\", \"pipe\"]", "12"),
            ("record = \"true\"", "19"),
            ("rounds = \"1500\"", "15"),
            ("size = [\"8\", \"64\"]", "13"),
            ("timing = \"round\"", "18"),
            ("trials = \"3\"", "16"),
            ("wait = \"block\"", "14"),
            ("warmup = \"10\"", "17"),
            ("duration = \"20ms\"", "25"),
            ("format = \"json\"", "29"),
            ("max-time = \"1s\"", "28"),
            ("method = \"pipe\"", "23"),
            ("precision = \"50%\"", "27"),
            ("rate = \"10k/s\"", "24"),
            ("require-grade = \"F\"", "30"),
            ("trials = \"2\"", "26"),
        ];
        assert_eq!(values, expected, "{shown}");
        contains_all(&shown, &["\n[profile.nightly]\n", "\n[profile.paced-1]\n"]);

        let daemon = Daemon::start(sandbox, with(sandbox.ipcd(&["start"]), &[&config]));
        let status = daemon.status();
        let connections = status.limit(Resource::Connections).unwrap();
        assert_eq!((connections.limit, connections.limit_per_user), (64, 32));
        assert_eq!(status.limit(Resource::Memory).unwrap().limit, 512 << 20);
        let mode = fs::metadata(&daemon.socket).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o660);
    });
}

#[test]
fn old_profiles_measure_what_they_did() {
    run(|sandbox| {
        let (place, config) = (old_history(sandbox), old_config(sandbox));
        let bench = |arguments: &[&str]| {
            let bench = ["bench", "--config", config.path(), "--private", "--profile"];
            let mut bench = place.client(sandbox, &[&bench[..], arguments].concat());
            sandbox.finish(bench.env_remove("IPCD_SOCKET")).expect(Exit::Success)
        };
        bench(&["nightly"]).says(&["recorded as run 6"]);
        assert_eq!(runs(sandbox, &place)[0], (6, NIGHTLY.map(str::to_owned).to_vec()));
        let show = ["history", "show", "compat", "--format", "json"];
        let recorded = json(&client(sandbox, &place, &show, Exit::Success));
        let before: Value = serde_json::from_str(&fs::read_to_string(old("show.json")).unwrap()).unwrap();
        for key in ["profile_flags", "trials", "rounds", "warmup_rounds", "timing", "private_daemon"] {
            assert_eq!(recorded["settings"][key], before["settings"][key], "{key}");
        }

        // A typed flag may require one of the profile's.
        let paced = json(&bench(&["paced-1", "--max-time", "200ms"]));
        assert_eq!(paced["results"][0]["cell"], "pipe:8B:block:unpinned:every=100000ns");
        assert_eq!(paced["settings"]["duration_ns"], 20_000_000);
        assert_eq!(paced["settings"]["precision_fraction"], 0.5);
        let flags = paced["settings"]["profile_flags"].to_string();
        assert!(flags.contains("--precision=50%") && !flags.contains("--max-time"), "{flags}");
        assert_eq!(runs(sandbox, &place).len(), 6, "this profile does not record");
        bench(&["nightly", "--label", "mine"]).says(&["recorded as run 7"]);
        let list = client(sandbox, &place, &["history", "--label", "mine"], Exit::Success).stdout;
        assert_eq!(list.lines().count(), 1 + 1, "{list}");

        // Where neither has it, the command line is refused as it is without a profile.
        let refuse = |arguments: &[&str]| {
            let bench = ["bench", "--config", config.path(), "--private"];
            client(sandbox, &place, &[&bench[..], arguments].concat(), Exit::Usage)
        };
        for arguments in [&["--profile", "nightly", "--max-time", "1s"][..], &["--max-time", "1s"]] {
            refuse(arguments).says(&["--precision"]);
        }
        for arguments in [&["--profile", "paced-1", "--label", "mine"][..], &["--label", "mine"]] {
            refuse(arguments).says(&["--record"]);
        }
    });
}
