//! What comparisons, checks, trends and lists print besides their verdict: its causes, what is unknown, and the
//! keys of the JSON.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use ipcd::internals::client::Report;
use ipcd::internals::client::{History, Label};
use ipcd::internals::protocol::Exit;
use serde_json::Value;

use crate::harness::{Sandbox, run};
use crate::history::Place;
use crate::verdicts::{check, compare, json, made, record};

fn text(sandbox: &Sandbox, place: &Place, arguments: &[&str]) -> String {
    sandbox.finish(&mut place.client(sandbox, arguments)).expect(Exit::Success).stdout
}

#[test]
fn settings_that_move_results_are_reported_and_are_not_noise() {
    run(|sandbox| {
        let place = Place::new(sandbox);
        let real = place.report(sandbox, &[]);
        // Runs of the service and private ones in turn, which are half as fast: nothing but that makes a difference.
        let runs: Vec<Report> = (0..20)
            .map(|number| {
                let mut run = made(&real, number, if number % 2 == 0 { 1.0 } else { 1.5 });
                run.settings.private_daemon = number % 2 == 1;
                run
            })
            .collect();
        record(&place, &runs);
        let shown = text(sandbox, &place, &["compare", "19", "20"]);
        assert!(shown.contains("between them: daemon the service → private"), "{shown}");
        let printed = compare(sandbox, &place, &["19", "20"], Exit::Success);
        assert_eq!(printed["differences"][0]["key"], "settings.private_daemon");
        let cell = &printed["cells"][0];
        assert_eq!(
            (&cell["verdict"], &cell["noise"]["source"]["kind"]),
            (&"slower".into(), &"history".into())
        );
        assert!(cell["changes"][0]["noise_fraction"].as_f64().unwrap() < 0.02, "{cell}");
        let alike = text(sandbox, &place, &["compare", "18", "20"]);
        assert!(alike.contains("between them: no recorded setting changed"), "{alike}");
    });
}

#[test]
fn a_trend_names_a_changed_setting_and_is_narrowed_by_label() {
    run(|sandbox| {
        let place = Place::new(sandbox);
        let real = place.report(sandbox, &[]);
        let mut history = History::create(&place.history()).unwrap();
        let nightly: Label = "nightly".parse().unwrap();
        for number in 0..24 {
            let mut run = made(&real, number, if number < 12 { 1.0 } else { 1.3 });
            run.settings.private_daemon = number < 12;
            run.clock.source = if number < 12 { "tsc" } else { "monotonic" }.to_owned();
            history.record(&run, Some(&nightly)).unwrap();
            // By hand, between them, and wild.
            history.record(&made(&real, number, 3.0 + (number * 7 % 5) as f64), None).unwrap();
        }
        drop(history);
        let printed = json(
            &sandbox
                .finish(&mut place.client(sandbox, &["trend", "--label", "nightly", "--json"]))
                .expect(Exit::Success),
        );
        let trend = &printed["trends"][0];
        assert_eq!(trend["points"].as_array().unwrap().len(), 24, "{trend}");
        let changes = trend["changes"].as_array().unwrap();
        assert_eq!(changes.len(), 1, "{changes:#?}");
        let keys: Vec<_> =
            changes[0]["differences"].as_array().unwrap().iter().map(|one| &one["key"]).collect();
        assert_eq!(keys, ["clock.source", "settings.private_daemon"]);
        let shown = text(sandbox, &place, &["trend", "--label", "nightly"]);
        assert!(shown.contains(": clock tsc → monotonic; daemon private → the service"), "{shown}");
        let page = place.file("report.html").display().to_string();
        text(sandbox, &place, &["report", "nightly", "--label", "nightly", "-o", &page]);
        assert!(fs::read_to_string(&page).unwrap().contains("clock tsc → monotonic"));
        let nobody = ["trend", "--label", "nobody"];
        sandbox.finish(&mut place.client(sandbox, &nobody)).expect(Exit::Nothing);
    });
}

#[test]
fn figures_are_those_that_the_change_is_of() {
    run(|sandbox| {
        let place = Place::new(sandbox);
        let real = place.report(sandbox, &[]);
        let (a, mut b) = (made(&real, 0, 1.0), made(&real, 1, 0.9));
        for cell in &mut b.results {
            // One outlier trial, which dominates the histogram of all.
            cell.trials[0].latency_ns.p50 = Some(9_000.0);
            cell.latency_ns.p50 = Some(1_400.0);
        }
        record(&place, &[a, b]);
        let printed = compare(sandbox, &place, &["1", "2"], Exit::Success);
        let p50 = &printed["cells"][0]["changes"][0];
        let figure = |key: &str| p50[key].as_f64().unwrap();
        assert!(figure("change_fraction") < 0.0 && figure("b_ns") < figure("a_ns"), "{p50}");
        let ratio = figure("b_ns") / figure("a_ns") - 1.0;
        assert!((ratio - figure("change_fraction")).abs() < 0.02, "{p50}");
        // The p99.99 has too few rounds, and is not passed over.
        assert_eq!(printed["cells"][0]["left_out"], serde_json::json!(["p99_99"]));
        let shown = text(sandbox, &place, &["compare", "1", "2", "--verbose"]);
        assert!(shown.contains("\tp99.99: too few rounds per trial\n"), "{shown}");
        let bound = check(sandbox, &place, &["2", "--p50-below", "10us", "--json"], Exit::Success);
        let bound = &json(&bound)["findings"][0];
        assert!((890.0..910.0).contains(&bound["b_ns"].as_f64().unwrap()), "{bound}");
    });
}

#[test]
fn a_tail_that_changes_beside_an_unchanged_median_is_mentioned() {
    run(|sandbox| {
        let place = Place::new(sandbox);
        let real = place.report(sandbox, &[]);
        let (a, mut b) = (made(&real, 0, 1.0), made(&real, 1, 1.0));
        for cell in &mut b.results {
            for trial in &mut cell.trials {
                trial.latency_ns.p99 = trial.latency_ns.p99.map(|ns| ns * 1.5);
            }
        }
        record(&place, &[a.clone(), b, made(&real, 2, 1.0)]);
        let shown = text(sandbox, &place, &["compare", "1", "2"]);
        assert!(shown.contains("p50 of 1 cell: 1 without a difference\n"), "{shown}");
        assert!(shown.contains("  no difference; p99 +"), "{shown}");
        let shown = text(sandbox, &place, &["compare", "1", "3"]);
        assert!(!shown.contains("p99"), "{shown}");
    });
}

#[test]
fn a_run_beside_itself_gives_no_verdict() {
    run(|sandbox| {
        let place = Place::new(sandbox);
        let real = place.report(sandbox, &[]);
        record(&place, &[made(&real, 0, 1.0), made(&real, 1, 1.0)]);
        text(sandbox, &place, &["history", "baseline", "good", "2"]);
        let output = check(sandbox, &place, &["last", "--baseline", "good"], Exit::Nothing);
        assert!(output.stdout.contains("the run is one of the baseline's"), "{}", output.stdout);
        // A report in a file has no UUID, and is identified by its contents.
        let file = place.file("good.json").display().to_string();
        text(sandbox, &place, &["history", "show", "good", "-o", &file]);
        check(sandbox, &place, &[&file, "--baseline", &file], Exit::Nothing);
        check(sandbox, &place, &["1", "--baseline", "good"], Exit::Success);
        assert_eq!(compare(sandbox, &place, &["good", "last"], Exit::Success)["same_run"], true);
        assert!(text(sandbox, &place, &["compare", "2", "good"]).contains("a run in common"));
    });
}

#[test]
fn what_too_few_trials_or_too_much_noise_leave_open_is_13() {
    run(|sandbox| {
        let place = Place::new(sandbox);
        let real = place.report(sandbox, &[]);
        let mut one_trial = made(&real, 1, 1.0);
        one_trial.results.iter_mut().for_each(|cell| cell.trials.truncate(1));
        // Runs of this host lie 15 % apart, and the last two do not.
        let wide = [1.0, 1.15, 1.0, 0.87, 1.01, 1.16, 0.9, 1.05, 0.9, 1.04, 1.04];
        let runs = (2..).zip(wide).map(|(number, scale)| made(&real, number, scale));
        let runs: Vec<Report> = [made(&real, 0, 1.0), one_trial].into_iter().chain(runs).collect();
        record(&place, &runs);
        for arguments in [&["2", "--baseline", "1"][..], &["2", "--p50-below", "1s"]] {
            let output = check(sandbox, &place, arguments, Exit::Noisy);
            assert!(output.stdout.contains("trials"), "{}", output.stdout);
        }
        let output = check(sandbox, &place, &["2", "--baseline", "1"], Exit::Noisy);
        assert!(output.stdout.contains("the run has 1 of the 2 trials"), "{}", output.stdout);
        let output = check(sandbox, &place, &["1", "--baseline", "2"], Exit::Noisy);
        assert!(output.stdout.contains("the baseline has 1 of the 2 trials"), "{}", output.stdout);

        let against = ["13", "--baseline", "12", "--max-regression"];
        let output = check(sandbox, &place, &[&against[..], &["10%"]].concat(), Exit::Noisy);
        assert!(output.stdout.contains("these runs cannot show less than"), "{}", output.stdout);
        assert!(output.stdout.starts_with("run 13 (2023-"), "{}", output.stdout);
        assert!(output.stdout.lines().next().unwrap().contains(") against run 12 ("), "{}", output.stdout);
        check(sandbox, &place, &[&against[..], &["90%"]].concat(), Exit::Success);
        check(sandbox, &place, &["13", "--baseline", "12"], Exit::Success);
    });
}

#[test]
fn several_runs_are_shown_as_their_sum() {
    run(|sandbox| {
        let place = Place::new(sandbox);
        let real = place.report(sandbox, &[]);
        let bench = ["bench", "-m", "null,pipe", "-n", "3000", "--trials", "2", "--private", "--record"];
        for label in ["nightly", "nightly", "other"] {
            let mut bench = place.client(sandbox, &[&bench[..], &["--label", label]].concat());
            sandbox.finish(bench.env_remove("IPCD_SOCKET")).expect(Exit::Success);
        }
        for arguments in [&["1", "2"][..], &["--label", "nightly", "--since", "1d"], &["2", "1", "nightly~1"]]
        {
            let show = [&["history", "show", "--json"], arguments].concat();
            let output = sandbox.finish(&mut place.client(sandbox, &show)).expect(Exit::Success);
            let sum = json(&output);
            assert_eq!(sum["summed_runs"].as_array().unwrap().len(), 2);
            for cell in sum["results"].as_array().unwrap() {
                assert_eq!((&cell["rounds"], cell["trials"].as_array().unwrap().len()), (&12_000.into(), 4));
                let samples = |of: &Value| of["latency_ns"]["samples"].as_u64().unwrap();
                assert_eq!(
                    samples(cell),
                    cell["trials"].as_array().unwrap().iter().map(samples).sum::<u64>()
                );
            }
            output.says(&["2 runs merged"]);
        }
        // One of them in a file is that run all the same.
        let file = place.file("1.ndjson").display().to_string();
        text(sandbox, &place, &["history", "export", "1", "-o", &file]);
        check(sandbox, &place, &[&file, "--baseline", "1"], Exit::Nothing);
        let shown = text(sandbox, &place, &["history", "show", "1", "2", "3", "-m", "pipe"]);
        assert!(
            shown.contains("18000 cycles") && shown.contains("\t3 runs merged, the first of "),
            "{shown}"
        );
        let mut other = made(&real, 0, 1.0);
        other.environment.cpu.model = Some("Another CPU".to_owned());
        record(&place, &[other]);
        let mut refused = place.client(sandbox, &["history", "show", "1", "4"]);
        sandbox.finish(&mut refused).expect(Exit::Nothing).says(&["cannot be merged", "different CPU"]);
        for (arguments, exit) in [
            (&["1", "--label", "nightly"][..], Exit::Usage),
            (&["--label", "nobody"], Exit::Nothing),
            (&["1", "-m", "tcp"], Exit::Nothing),
        ] {
            let show = [&["history", "show"], arguments].concat();
            sandbox.finish(&mut place.client(sandbox, &show)).expect(exit);
        }
    });
}

#[test]
fn commands_of_the_history_say_what_is_amiss() {
    run(|sandbox| {
        let place = Place::new(sandbox);
        let new = place.file("new/history.sqlite");
        let import = ["history", "import", "nofile", "--history", new.to_str().unwrap()];
        sandbox.finish(&mut sandbox.client(&import)).expect(Exit::Failure).says(&["nofile"]);
        assert!(!new.exists(), "nothing is made for what is not there");
        let real = place.report(sandbox, &["--size", "8,16,32,64,128"]);
        History::create(&place.history()).unwrap().record(&real, Some(&"good".parse().unwrap())).unwrap();
        let path = place.history().display().to_string();
        for arguments in [&["--history", &path, "baseline"][..], &["baseline", "--history", &path], &["list"]]
        {
            text(sandbox, &place, &[&["history"], arguments].concat());
        }
        assert!(text(sandbox, &place, &["history"]).contains("5 cells: null:8B:"));
        let warned = ["history", "baseline", "good", "last"];
        let output = sandbox.finish(&mut place.client(sandbox, &warned)).expect(Exit::Success);
        output.says(&["have the label good too"]);
        for (arguments, exit, says) in [
            (&["history", "--host", "nobody"][..], Exit::Nothing, "no matching runs"),
            (&["history", "export", "--host", "nobody"], Exit::Nothing, "no matching runs"),
            (&["history", "--limit", "5", "show"], Exit::Usage, "after the subcommand"),
            (&["history", "--history", place.file("").to_str().unwrap()], Exit::Failure, "is a folder"),
            (&["history", "--label", &"x".repeat(3000)], Exit::Usage, "xxx…` is not a valid name"),
        ] {
            let output = sandbox.finish(&mut place.client(sandbox, arguments)).expect(exit);
            output.says(&[says]);
        }
    });
}

/// Keys of objects, but those of maps whose keys are data.
fn keys(value: &Value, seen: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => object.iter().for_each(|(key, value)| {
            seen.insert(key.clone());
            keys(value, seen);
        }),
        Value::Array(array) => array.iter().for_each(|value| keys(value, seen)),
        _ => {}
    }
}

#[test]
fn every_key_and_kind_is_documented() {
    run(|sandbox| {
        let place = Place::new(sandbox);
        let real = place.report(sandbox, &[]);
        let mut changed = made(&real, 30, 1.5);
        changed.environment.kernel.release = Some("6.8".to_owned());
        let mut broken = made(&real, 31, 1.0);
        broken.results[0].error = Some("planted".to_owned());
        let runs = (0..30).map(|number| made(&real, number, if number < 15 { 1.0 } else { 1.2 }));
        record(&place, &runs.chain([changed, broken]).collect::<Vec<_>>());
        text(sandbox, &place, &["history", "baseline", "good", "1"]);
        let mut seen = BTreeSet::new();
        for arguments in [
            &["compare", "1", "31", "--json"][..],
            &["compare", "1", "1", "--json"],
            &["check", "31", "--baseline", "good", "--max-regression", "10%", "--p99-below", "1us", "--json"],
            &["check", "32", "--baseline", "good", "--p99-below", "1us", "--json"],
            &["trend", "--json"],
            &["history", "--json"],
            &["history", "-m", "null", "--json"],
            &["history", "baseline", "--json"],
            &["history", "show", "1", "2", "--json"],
        ] {
            let printed: Value =
                serde_json::from_slice(&place.client(sandbox, arguments).output().unwrap().stdout).unwrap();
            assert_eq!(printed["schema"], 1, "{arguments:?}");
            match arguments[1] {
                // The environment's maps belong to the report, which has a separate test.
                "show" => assert!(printed["summed_runs"].is_array()),
                _ => keys(&printed, &mut seen),
            }
        }
        let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/json.md")).unwrap();
        seen.insert("summed_runs".to_owned());
        seen.insert("left_out".to_owned());
        let missing: Vec<_> = seen.iter().filter(|key| !page.contains(&format!("`{key}`"))).collect();
        assert!(missing.is_empty(), "docs/json.md does not describe {missing:?}");
    });
}
