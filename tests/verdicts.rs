//! Compare, check and trend, on runs whose differences are known.

use std::fs;
use std::path::Path;

use ipcd::internals::client::{History, Latency, Placement, Report};
use ipcd::internals::protocol::Exit;
use serde_json::Value;

use crate::harness::{Output, Sandbox, run};
use crate::history::Place;

/// A run of one real cell, each of whose figures is `scale` times what this makes it: about 1 µs, with trials up to 1 %
/// apart, in an order that `number` decides.
pub(crate) fn made(of: &Report, number: u64, scale: f64) -> Report {
    let mut report = of.clone();
    report.started_unix_s = 1_700_000_000 + number * 86_400;
    // A clock whose smallest step hides nothing.
    report.clock.resolution_ns = 1.0;
    let figure = |base: f64, trial: u64| {
        let jitter = (number * 7919 + trial * 104_729) % 101;
        Some(base * scale * (0.995 + jitter as f64 / 101.0 * 0.01))
    };
    let latency = |samples: u64, trial: u64| Latency {
        samples,
        min: figure(900.0, trial),
        p50: figure(1000.0, trial),
        p90: figure(1200.0, trial),
        p99: figure(2000.0, trial),
        p99_9: figure(9000.0, trial),
        p99_99: None,
        max: figure(50_000.0, trial),
        mean: figure(1100.0, trial),
    };
    for cell in &mut report.results {
        cell.latency_ns = latency(cell.latency_ns.samples, 0);
        cell.headline_ns = cell.latency_ns;
        for (index, trial) in cell.trials.iter_mut().enumerate() {
            trial.latency_ns = latency(trial.latency_ns.samples, index as u64);
        }
    }
    report
}

/// A history of such runs, with ids from 1.
pub(crate) fn record(place: &Place, runs: &[Report]) {
    let mut history = History::create(&place.history()).unwrap();
    for report in runs {
        history.record(report, None).unwrap();
    }
}

pub(crate) fn json(output: &Output) -> Value {
    serde_json::from_str(&output.stdout).unwrap()
}

pub(crate) fn compare(sandbox: &Sandbox, place: &Place, arguments: &[&str], exit: Exit) -> Value {
    let arguments = [&["compare", "--json"], arguments].concat();
    json(&sandbox.finish(&mut place.client(sandbox, &arguments)).expect(exit))
}

pub(crate) fn check(sandbox: &Sandbox, place: &Place, arguments: &[&str], exit: Exit) -> Output {
    let arguments = [&["check"], arguments].concat();
    sandbox.finish(&mut place.client(sandbox, &arguments)).expect(exit)
}

#[test]
fn faster_slower_and_neither_are_distinguished() {
    run(|sandbox| {
        let place = Place::new(sandbox);
        let real = place.report(sandbox, &[]);
        let scales = [1.0, 1.0, 1.2, 0.8];
        let runs: Vec<Report> = (0..).zip(scales).map(|(number, scale)| made(&real, number, scale)).collect();
        record(&place, &runs);
        for (b, verdict, low, high) in
            [("2", "no_difference", -0.01, 0.01), ("3", "slower", 0.18, 0.22), ("4", "faster", -0.22, -0.18)]
        {
            let printed = compare(sandbox, &place, &["1", b], Exit::Success);
            assert_eq!(printed["cells"][0]["verdict"], verdict);
            let changes = printed["cells"][0]["changes"].as_array().unwrap();
            let of: Vec<_> = changes.iter().map(|change| change["statistic"].as_str().unwrap()).collect();
            assert_eq!(of, ["p50", "p90", "p99", "p99_9", "mean"]);
            for change in changes {
                let by = change["change_fraction"].as_f64().unwrap();
                assert!((low..high).contains(&by), "{change}");
                // The others are estimates.
                let real = verdict != "no_difference" && change["statistic"] == "p50";
                assert_eq!(change["real"], real, "{change}");
                let interval = &change["confidence_95"];
                assert!(interval["low"].as_f64().unwrap() <= by && by <= interval["high"].as_f64().unwrap());
            }
        }
        // Text and Markdown say the same.
        for (format, parts) in [
            ("text", ["p50 of 1 cell: 1 slower\n", " → ", "slower\n"]),
            ("markdown", ["| slower |", "| p99.9 |", "**+"]),
        ] {
            let mut command = place.client(sandbox, &["compare", "1", "3", "--format", format]);
            let shown = sandbox.finish(&mut command).expect(Exit::Success);
            assert!(parts.iter().all(|part| shown.stdout.contains(part)), "{}", shown.stdout);
        }
    });
}

#[test]
fn a_change_within_the_hosts_noise_is_not_a_difference() {
    run(|sandbox| {
        let place = Place::new(sandbox);
        let real = place.report(sandbox, &[]);
        // Nothing changes on this host, and its runs lie 10 % apart.
        let noisy = [1.0, 1.1, 1.02, 0.93, 1.08, 0.97, 1.06, 0.95, 1.04, 0.96];
        let runs: Vec<Report> = (0..).zip(noisy).map(|(number, scale)| made(&real, number, scale)).collect();
        record(&place, &runs);
        let printed = compare(sandbox, &place, &["9", "10"], Exit::Success);
        let cell = &printed["cells"][0];
        assert_eq!(cell["noise"]["source"]["kind"], "history", "{cell}");
        assert_eq!(cell["verdict"], "no_difference", "{cell}");
        let p50 = &cell["changes"][0];
        assert_eq!(cell["noise"]["source"]["steps"], 7, "{cell}");
        assert!(p50["noise_fraction"].as_f64().unwrap() > 0.1, "{p50}");
        // The same two runs, on a host that nothing else is known of.
        let (a, b) = (place.file("a.json"), place.file("b.json"));
        for (path, report) in [(&a, &runs[8]), (&b, &runs[9])] {
            fs::write(path, serde_json::to_string(report).unwrap()).unwrap();
        }
        let elsewhere = place.file("none.sqlite").display().to_string();
        let files = [a.to_str().unwrap(), b.to_str().unwrap(), "--history", &elsewhere];
        let printed = compare(sandbox, &place, &files, Exit::Success);
        assert_eq!(printed["cells"][0]["noise"]["source"]["kind"], "assumed");
        assert_eq!(printed["cells"][0]["verdict"], "faster");
    });
}

#[test]
fn a_baseline_of_six_runs_shows_what_one_run_does_not() {
    run(|sandbox| {
        let place = Place::new(sandbox);
        let real = place.report(sandbox, &[]);
        let scales = [0.995, 1.005, 1.0, 0.998, 1.002, 1.0, 1.03, 1.03];
        let runs: Vec<Report> = (0..).zip(scales).map(|(number, scale)| made(&real, number, scale)).collect();
        // Nothing of the other runs counts for the noise: each has its own kernel.
        let runs: Vec<Report> = (0..)
            .zip(runs)
            .map(|(number, mut report)| {
                report.environment.kernel.release = Some(format!("6.{number}"));
                report
            })
            .collect();
        record(&place, &runs);
        let name = |arguments: &[&str]| {
            let arguments = [&["history", "baseline"], arguments].concat();
            sandbox.finish(&mut place.client(sandbox, &arguments)).expect(Exit::Success)
        };
        name(&["one", "6"]);
        name(&["six", "1", "2", "3", "4", "5", "6"]);
        name(&["two", "7", "8"]);
        let listed = name(&[]);
        assert!(listed.stdout.contains("six: 6 runs (6, 5, 4, 3, 2, 1), "), "{}", listed.stdout);
        let verdict = |a: &str, b: &str| {
            let printed = compare(sandbox, &place, &[a, b], Exit::Success);
            let cell = &printed["cells"][0];
            (cell["verdict"].clone(), cell["noise"]["source"]["kind"].clone(), cell["runs"].clone())
        };
        assert_eq!(
            verdict("one", "7"),
            ("no_difference".into(), "assumed".into(), serde_json::json!([1, 1]))
        );
        assert_eq!(verdict("six", "7"), ("slower".into(), "history".into(), serde_json::json!([6, 1])));
        assert_eq!(verdict("six", "two"), ("slower".into(), "history".into(), serde_json::json!([6, 2])));
        check(sandbox, &place, &["7", "--baseline", "six", "--max-regression", "10%"], Exit::Success);
        check(sandbox, &place, &["7", "--baseline", "one", "--max-regression", "5%"], Exit::Noisy);
        check(sandbox, &place, &["5", "--baseline", "six"], Exit::Nothing);
    });
}

#[test]
fn a_run_from_the_future_is_flagged_and_not_the_last() {
    run(|sandbox| {
        let place = Place::new(sandbox);
        let real = place.report(sandbox, &[]);
        let mut future = made(&real, 1, 1.0);
        future.started_unix_s = real.started_unix_s + 365 * 86_400;
        let slow = Report { started_unix_s: real.started_unix_s, ..made(&real, 2, 3.0) };
        record(&place, &[made(&real, 0, 1.0), future, slow]);
        let mut baseline = place.client(sandbox, &["history", "baseline", "good", "1"]);
        sandbox.finish(&mut baseline).expect(Exit::Success);
        check(sandbox, &place, &["--baseline", "good", "--max-regression", "10%"], Exit::Regressed);
        for arguments in [&["history"][..], &["history", "show", "2"], &["compare", "1", "2"]] {
            let shown = sandbox.finish(&mut place.client(sandbox, arguments)).expect(Exit::Success);
            let all = format!("{}{}", shown.stdout, shown.stderr);
            assert!(all.contains("(in the future)"), "{arguments:?}: {all}");
        }
    });
}

#[test]
fn what_cannot_be_compared_says_why() {
    run(|sandbox| {
        let place = Place::new(sandbox);
        let real = place.report(sandbox, &["--size", "8,64"]);
        let base = made(&real, 0, 1.0);
        let mut other_cpu = made(&real, 1, 1.0);
        other_cpu.environment.cpu.model = Some("Another CPU".to_owned());
        let mut debug = made(&real, 2, 1.0);
        debug.environment.build.profile = "other".to_owned();
        let mut batch = made(&real, 3, 1.0);
        batch.settings.timing = "batch:100".to_owned();
        let mut few = made(&real, 4, 1.0);
        few.results.iter_mut().for_each(|cell| cell.trials.truncate(1));
        let mut one = made(&real, 5, 1.0);
        one.results.remove(1);
        let mut broken = made(&real, 6, 1.0);
        broken.results[0].error = Some("planted".to_owned());
        let mut slow = made(&real, 7, 1.0);
        let trials = slow.results.iter_mut().map(|cell| &mut cell.trials[0]);
        trials.for_each(|trial| trial.latency_ns.p99 = None);
        let mut pinned = made(&real, 8, 1.0);
        (pinned.results[1].placement, pinned.results[1].parallel) = (Placement::SameCore, 4);
        record(&place, &[base, other_cpu, debug, batch, few, one, broken, slow, pinned]);
        for (b, why) in [
            ("2", "different CPU"),
            ("3", "different build"),
            ("4", "different timing"),
            ("5", "B has 1 of the 2 trials"),
        ] {
            let printed = compare(sandbox, &place, &["1", b], Exit::Nothing);
            for cell in printed["cells"].as_array().unwrap() {
                assert_eq!(cell["verdict"], "not_comparable");
                assert!(cell["reason"]["text"].as_str().unwrap().contains(why), "{cell}");
            }
        }
        let printed = compare(sandbox, &place, &["1", "6"], Exit::Success);
        assert_eq!(printed["cells"][1]["reason"]["text"], "only A has it");
        let printed = compare(sandbox, &place, &["1", "7"], Exit::Success);
        assert_eq!(printed["cells"][0]["reason"]["text"], "it failed in B");
        // The other's only cell of this method and size is put beside it, with what differs.
        let printed = compare(sandbox, &place, &["1", "9"], Exit::Success);
        assert_eq!(printed["cells"].as_array().unwrap().len(), 2);
        let settings = &printed["cells"][1]["reason"];
        assert_eq!(settings["kind"], "other_settings");
        assert_eq!(
            settings["text"],
            "different settings: placement unpinned and same-core, parallel 1 and 4"
        );
        // A trial that lacks it is not passed over.
        let printed = compare(sandbox, &place, &["1", "8", "--quantile", "p99"], Exit::Nothing);
        let reason = &printed["cells"][0]["reason"];
        assert!(reason["text"].as_str().unwrap().starts_with("B has too few rounds for a p99 in 1 of "));
        assert_eq!(reason["kind"], "too_few_rounds");
        let printed = compare(sandbox, &place, &["1", "8"], Exit::Success);
        assert_eq!(printed["cells"][0]["left_out"], serde_json::json!(["p99", "p99_99"]));
        let against = ["8", "--baseline", "1", "--quantile", "p99"];
        let output = check(sandbox, &place, &against, Exit::Noisy);
        assert!(output.stdout.contains("the run has too few rounds for a p99 in 1 of "), "{}", output.stdout);
        check(sandbox, &place, &["8", "--p99-below", "1ms"], Exit::Noisy);
        let printed = compare(sandbox, &place, &["1", "7", "--size", "8"], Exit::Nothing);
        assert_eq!(printed["cells"].as_array().unwrap().len(), 1, "the filter leaves one");
    });
}

#[test]
fn other_differences_are_listed_with_it() {
    run(|sandbox| {
        let place = Place::new(sandbox);
        let real = place.report(sandbox, &[]);
        let mut a = made(&real, 0, 1.0);
        a.environment.kernel.release = Some("6.1".to_owned());
        let mut b = made(&real, 1, 1.2);
        b.environment.kernel.release = Some("6.8".to_owned());
        b.environment.power.governors = ["powersave".to_owned()].into();
        a.environment.power.governors = ["performance".to_owned()].into();
        record(&place, &[a, b]);
        let shown = sandbox.finish(&mut place.client(sandbox, &["compare", "last~1"])).expect(Exit::Success);
        for part in ["kernel 6.1 → 6.8", "governor performance → powersave", "slower"] {
            assert!(shown.stdout.contains(part), "no {part} in\n{}", shown.stdout);
        }
        check(sandbox, &place, &["--baseline", "1"], Exit::Regressed);
    });
}

#[test]
fn a_check_has_an_exit_code_for_each_answer() {
    run(|sandbox| {
        let place = Place::new(sandbox);
        let real = place.report(sandbox, &["--size", "8,64"]);
        let mut wide = made(&real, 3, 1.1);
        for cell in &mut wide.results {
            // The limit lies within what the trials say.
            for (index, trial) in cell.trials.iter_mut().enumerate() {
                trial.latency_ns.p50 = trial.latency_ns.p50.map(|ns| ns * (0.85 + 0.075 * index as f64));
            }
        }
        let mut less = made(&real, 4, 1.0);
        less.results.remove(0);
        record(&place, &[made(&real, 0, 1.0), made(&real, 1, 1.05), made(&real, 2, 1.3), wide, less]);
        let mut baseline = place.client(sandbox, &["history", "baseline", "good", "1"]);
        sandbox.finish(&mut baseline).expect(Exit::Success);

        let against = ["--baseline", "good", "--max-regression", "10%"];
        for (run, exit, says) in [
            ("2", Exit::Success, "check: fine"),
            ("3", Exit::Regressed, "check: regressed"),
            ("4", Exit::Noisy, "check: too noisy"),
            ("last", Exit::Nothing, "only the baseline has it"),
        ] {
            let output = check(sandbox, &place, &[&[run], &against[..]].concat(), exit);
            assert!(output.stdout.contains(says), "{}", output.stdout);
        }
        // Bounds, without a baseline: the p50 is 1.0, 1.05, 1.3 µs, and in the fourth about 1.1.
        for (run, bound, exit) in [
            ("1", "--p50-below=1.2us", Exit::Success),
            ("3", "--p50-below=1.2us", Exit::Regressed),
            ("4", "--p50-below=1.1us", Exit::Noisy),
            ("1", "--p99-below=1500ns", Exit::Regressed),
            ("1", "--p99.9-below=1ms", Exit::Success),
            ("1", "--p99.99-below=1ms", Exit::Noisy),
            ("1", "--mean-below=2us", Exit::Success),
        ] {
            // Halves of a microsecond are not a time that is read.
            let bound = bound.replace("1.2us", "1200ns").replace("1.1us", "1100ns");
            let checked = check(sandbox, &place, &[run, &bound], exit).stdout;
            // It is not slower than another run: it exceeds a limit.
            assert_eq!(checked.contains("check: limit exceeded"), exit == Exit::Regressed, "{checked}");
        }
        // What counts most decides, and the last run is what is checked.
        let both = [&["3", "--p50-below", "1s"], &against[..]].concat();
        check(sandbox, &place, &both, Exit::Regressed);
        check(sandbox, &place, &["--p50-below", "1s"], Exit::Success);
        check(sandbox, &place, &["--method", "tcp", "--p50-below", "1s"], Exit::Nothing);
        check(sandbox, &place, &["--baseline", "bad", "--p50-below", "1s"], Exit::Nothing).says(&["`bad`"]);
        let printed =
            json(&check(sandbox, &place, &[&["3", "--json"], &against[..]].concat(), Exit::Regressed));
        assert_eq!(
            (&printed["state"], &printed["findings"][0]["state"]),
            (&"regressed".into(), &"regressed".into())
        );
        let help = sandbox.finish(&mut place.client(sandbox, &["check", "--help"])).expect(Exit::Success);
        for exit in [Exit::Regressed, Exit::Noisy, Exit::Nothing] {
            assert!(help.stdout.contains(&exit.code().to_string()), "{}", help.stdout);
        }
    });
}

#[test]
fn a_trend_finds_the_day_and_what_changed_on_it() {
    run(|sandbox| {
        let place = Place::new(sandbox);
        let real = place.report(sandbox, &[]);
        let kernel = |mut report: Report, release: &str| {
            report.environment.kernel.release = Some(release.to_owned());
            report
        };
        let runs: Vec<Report> = (0..40)
            .map(|day| match day {
                0..20 => kernel(made(&real, day, 1.0), "6.1"),
                // A single outlier is not a change.
                25 => kernel(made(&real, day, 9.0), "6.8"),
                _ => kernel(made(&real, day, 1.15), "6.8"),
            })
            .collect();
        record(&place, &runs);
        let json_output =
            sandbox.finish(&mut place.client(sandbox, &["trend", "--json"])).expect(Exit::Success);
        let printed = json(&json_output);
        assert_eq!(printed["trends"][0]["points"].as_array().unwrap().len(), 40);
        let changes = printed["trends"][0]["changes"].as_array().unwrap();
        assert_eq!(changes.len(), 1, "{changes:#?}");
        let change = &changes[0];
        assert_eq!((&change["run"], &change["index"]), (&21.into(), &20.into()));
        assert!((0.14..0.16).contains(&change["change_fraction"].as_f64().unwrap()), "{change}");
        assert_eq!(change["differences"][0]["key"], "kernel.release");

        let shown =
            sandbox.finish(&mut place.client(sandbox, &["trend", "-m", "null"])).expect(Exit::Success);
        for part in ["▁", "^", "run 21", "kernel 6.1 → 6.8", "2023-12-04T"] {
            assert!(shown.stdout.contains(part), "no {part} in\n{}", shown.stdout);
        }
        for (arguments, part) in [
            (&["--min-change", "50%"][..], "no significant change"),
            (&["--until", "2023-12-04"], "20 runs: no significant change\n"),
            (&["--limit", "15"], "no significant change"),
            (&["--limit", "9"], "too few runs"),
        ] {
            let mut trend = place.client(sandbox, &[&["trend"], arguments].concat());
            let shown = sandbox.finish(&mut trend).expect(Exit::Success);
            assert!(shown.stdout.contains(part), "{arguments:?}: {}", shown.stdout);
        }
        sandbox.finish(&mut place.client(sandbox, &["trend", "--host", "nobody"])).expect(Exit::Nothing);
    });
}

#[test]
fn files_are_compared_without_a_history() {
    run(|sandbox| {
        let place = Place::new(sandbox);
        let real = place.report(sandbox, &[]);
        let write = |name: &str, text: &str| {
            let path = place.file(name);
            fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let a = write("a.json", &serde_json::to_string(&made(&real, 0, 1.0)).unwrap());
        let b = write("b.json", &serde_json::to_string(&made(&real, 1, 1.5)).unwrap());
        let printed = compare(sandbox, &place, &[&a, &b], Exit::Success);
        assert_eq!(printed["cells"][0]["verdict"], "slower");
        assert!(!Path::new(&place.history()).exists());
        check(sandbox, &place, &[&b, "--baseline", &a], Exit::Regressed);
        for (text, why) in [("{}", "neither a report"), ("", "neither a report"), ("[1]", "neither a report")]
        {
            let bad = write("bad.json", text);
            let mut command = place.client(sandbox, &["compare", &a, &bad]);
            sandbox.finish(&mut command).expect(Exit::Failure).says(&["bad.json", why]);
        }
        let gone = place.file("gone.json").display().to_string();
        sandbox
            .finish(&mut place.client(sandbox, &["compare", &a, &gone]))
            .expect(Exit::Failure)
            .says(&["gone.json"]);
    });
}
