//! The commands beside `bench`, as a user runs them: `matrix`, `explain`, `doctor`, and the grade that a script asks for.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use ipcd::internals::protocol::Exit;
use ipcd::internals::transports::{ALL, FEATURES, Group};
use rustix::process::Signal;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde_json::Value;

use crate::harness::{Daemon, Output, PATIENCE, Sandbox, not_tested, run};
use crate::history::Place;

/// This thread, and what it starts, on two of its CPUs at the most: a matrix of a large host takes long. Returns them.
pub(crate) fn on_two_cpus() -> Vec<usize> {
    let allowed = sched_getaffinity(None).unwrap();
    let cpus: Vec<_> = (0..CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu)).take(2).collect();
    let mut two = CpuSet::new();
    cpus.iter().for_each(|cpu| two.set(*cpu));
    sched_setaffinity(None, &two).unwrap();
    cpus
}

/// A daemon on one CPU, for clients on that and another one; `None` on a host with one. Returns both CPUs, the daemon's first.
fn daemon_on_one_cpu(sandbox: &Sandbox) -> Option<(Daemon, [usize; 2])> {
    let [one, other] = on_two_cpus()[..] else {
        not_tested("cpus", "this takes two CPUs");
        return None;
    };
    let before = sched_getaffinity(None).unwrap();
    let mut only = CpuSet::new();
    only.set(one);
    sched_setaffinity(None, &only).unwrap();
    let daemon = sandbox.daemon();
    sched_setaffinity(None, &before).unwrap();
    Some((daemon, [one, other]))
}

#[test]
fn placements_are_of_the_cpus_that_both_sides_may_use_in_any_order() {
    run(|sandbox| {
        let Some((daemon, [one, other])) = daemon_on_one_cpu(sandbox) else { return };
        let bench = |more: &[&str]| {
            sandbox.finish(&mut sandbox.client(&[&["bench", "-n", "20", "--trials", "1"], more].concat()))
        };
        let measured = ["unpinned,same-core,cross-core", "cross-core,same-core,unpinned"].map(|order| {
            let output = bench(&["-m", "pipes", "--placement", order, "--json"]).expect(Exit::Success);
            let report: Value = serde_json::from_str(&output.stdout).unwrap();
            assert_eq!(report["environment"]["responder"]["allowed"], one.to_string());
            let cell = |cell: &Value| {
                let [placement, client, server] =
                    ["placement", "client_cpu", "server_cpu"].map(|key| cell[key].to_string());
                (cell["method"].to_string(), placement, client, server)
            };
            report["results"].as_array().unwrap().iter().map(cell).collect::<BTreeSet<_>>()
        });
        assert_eq!(measured[0], measured[1]);
        let placed = |placement: &str, client: usize| {
            let cell =
                ["\"pipe\"".to_owned(), format!("\"{placement}\""), client.to_string(), one.to_string()];
            let [method, placement, client, server] = cell;
            assert!(measured[0].contains(&(method, placement, client, server)), "{measured:?}");
        };
        placed("same-core", one);
        placed("cross-core", other);

        let refused = bench(&["-m", "tcp", "--server-cpu", &other.to_string()]).expect(Exit::Unavailable);
        refused.says(&[
            &format!("CPU {other} is not among the allowed CPUs, "),
            &format!(" and {one} for the responder"),
        ]);
        let matrix = [&MATRIX[..], &["--format", "csv"]].concat();
        let matrix = sandbox.finish(&mut sandbox.client(&matrix)).expect(Exit::Success);
        assert_eq!(matrix.stdout.lines().count(), 2, "a row for the only pair: {}", matrix.stdout);
        daemon.is_at_rest();
    });
}

fn client(sandbox: &Sandbox, arguments: &[&str]) -> Output {
    let mut command = sandbox.client(arguments);
    sandbox.finish(command.env_remove("IPCD_SOCKET"))
}

fn private(sandbox: &Sandbox, arguments: &[&str]) -> Output {
    client(sandbox, &[arguments, &["--private"]].concat())
}

/// Short and of any method; `futex` does not spin away a whole time slice where both sides share a CPU.
const MATRIX: [&str; 7] = ["matrix", "--method", "futex", "-n", "50", "--trials", "2"];

#[test]
fn a_matrix_has_a_row_for_every_ordered_pair_of_cpus() {
    run(|sandbox| {
        let cpus = on_two_cpus();
        let output = private(sandbox, &[&MATRIX[..], &["--format", "csv"]].concat()).expect(Exit::Success);
        let mut reader = csv::Reader::from_reader(output.stdout.as_bytes());
        let header = reader.headers().unwrap().clone();
        let rows: Vec<_> = reader.records().map(Result::unwrap).collect();
        let field = |row: &csv::StringRecord, name: &str| {
            row[header.iter().position(|column| column == name).unwrap()].to_owned()
        };
        let pairs: Vec<_> =
            rows.iter().map(|row| (field(row, "client_cpu"), field(row, "server_cpu"))).collect();
        let expected: Vec<_> = cpus
            .iter()
            .flat_map(|client| cpus.iter().map(|server| (client.to_string(), server.to_string())))
            .collect();
        assert_eq!(pairs, expected);
        for row in &rows {
            assert_eq!((field(row, "method"), field(row, "trials")), ("futex".to_owned(), "2".to_owned()));
            assert_eq!((field(row, "rounds"), field(row, "error")), ("100".to_owned(), String::new()));
            let ns = |name| field(row, name).parse::<f64>().unwrap();
            assert!(0.0 < ns("min_ns") && ns("min_ns") <= ns("p50_ns"), "{row:?}");
        }
    });
}

#[test]
fn a_matrix_is_text_without_colours_or_a_drawing_by_the_name_of_its_file() {
    run(|sandbox| {
        let cpus = on_two_cpus();
        let text = private(sandbox, &MATRIX).expect(Exit::Success).stdout;
        assert!(text.contains("futex") && !text.contains('\u{1b}'), "{text}");

        let file = sandbox.folder().join("matrix.svg");
        let arguments = [&MATRIX[..], &["-o", file.to_str().unwrap()]].concat();
        let output = private(sandbox, &arguments).expect(Exit::Success);
        assert!(output.stdout.contains("futex"), "{output:#?}");
        let svg = fs::read_to_string(&file).unwrap();
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"), "{svg}");
        assert_eq!(svg.matches("<title>client on CPU").count(), cpus.len() * cpus.len());
        fs::remove_file(file).unwrap();
    });
}

#[test]
fn what_no_matrix_can_be_of_is_refused_before_anything_is_started() {
    run(|sandbox| {
        let unknown = sandbox.folder().join("matrix.png");
        for (arguments, printed) in [
            (&["--method", "null"][..], &["null carries nothing from one CPU to another"][..]),
            (&["--method", "sockets"], &["a matrix is of one method", "sockets"]),
            (&["--method", "pigeon"], &["unknown method", "pigeon", "tcp, "]),
            #[cfg(not(feature = "tokio"))]
            (&["--method", "tokio"], &["this build has no tokio", "--features tokio"]),
            (&["-n", "19"], &["a median needs at least 20 rounds"]),
            (&["--output", unknown.to_str().unwrap()], &[".png", ".txt, .csv, .svg", "--format"]),
            (&["--output", "/nowhere/a.svg"], &["cannot write /nowhere/a.svg", "No such file or directory"]),
        ] {
            let output = private(sandbox, &[&["matrix"], arguments].concat());
            assert!(!output.stderr.contains("private daemon"), "{output:#?}");
            let exit = if arguments[1].starts_with("/nowhere") { Exit::Failure } else { Exit::Usage };
            assert_eq!(output.expect(exit).says(printed).stdout, "");
        }
        assert!(!unknown.exists());
        // An unknown extension is allowed if the format is named.
        let arguments = [&MATRIX[..], &["--format", "csv", "--output", unknown.to_str().unwrap()]].concat();
        on_two_cpus();
        private(sandbox, &arguments).expect(Exit::Success);
        assert!(fs::read_to_string(&unknown).unwrap().starts_with("method,"));
        fs::remove_file(unknown).unwrap();
    });
}

#[test]
fn a_method_is_explained_with_what_it_can_do_here() {
    run(|sandbox| {
        for mechanism in ALL {
            let info = mechanism.info();
            let printed = client(sandbox, &["explain", info.name]).expect(Exit::Success).stdout;
            assert!(printed.starts_with(&format!("{}: ", info.name)), "{printed}");
            for part in [
                "  group ",
                "  reaches ",
                "  waits ",
                "  here ",
                "When to choose it",
                "What limits it",
                "What a round executes",
            ] {
                assert!(printed.contains(part), "no \"{part}\" in {printed}");
            }
            assert!(
                !printed.contains('\u{1b}') && printed.lines().all(|line| line.chars().count() <= 80),
                "{printed}"
            );
            let here = if mechanism.probe().is_ok() { "can be measured" } else { "unavailable" };
            assert!(printed.contains(here), "{printed}");
        }
    });
}

#[test]
fn several_methods_and_groups_are_explained_in_their_order() {
    run(|sandbox| {
        let printed = client(sandbox, &["explain", "udp,tcp,memory"]).expect(Exit::Success).stdout;
        let at = |part: &str| printed.find(part).unwrap_or_else(|| panic!("no \"{part}\" in {printed}"));
        assert!(at("udp: ") < at("tcp: ") && at("tcp: ") < at("shmem (memory): "), "{printed}");

        let all = client(sandbox, &["explain"]).expect(Exit::Success).stdout;
        for mechanism in ALL {
            let heading = format!("{} ({}):", mechanism.info().name, mechanism.info().group.name());
            assert!(all.contains(&heading), "no \"{heading}\" in {all}");
        }
        assert!(
            Group::ALL.iter().all(|group| all.contains(&format!("({})", group.name())) || ALL.len() < 28)
        );
    });
}

#[test]
fn methods_are_named_as_people_write_them() {
    run(|sandbox| {
        let bench = ["bench", "--private", "-n", "100", "--format", "csv"];
        let measured = |named: &[&str]| {
            let output = client(sandbox, &[&bench[..], named].concat()).expect(Exit::Success);
            let methods =
                output.stdout.lines().skip(1).map(|line| line.split(',').nth(1).unwrap().to_owned());
            methods.collect::<Vec<_>>().join(" ")
        };
        for named in [
            &["tcp", "unix"][..],
            &["tcp,unix"],
            &["TCP,", "Uds"],
            &["-m", "tcp, unix"],
            &["-m", " Tcp,unix,"],
            &["tcp", "-m", "unix"],
        ] {
            assert_eq!(measured(named), "tcp unix", "{named:?}");
        }
        assert_eq!(measured(&["shm"]), "shmem");
        for (command, name, meant) in [
            (&["bench", "--private"][..], "unixx", "unix"),
            (&["bench", "--private", "-m"], "shmemm", "shmem"),
            (&["matrix", "--private", "-m"], "tpc", "tcp"),
            (&["doctor", "--private", "-m"], "socket", "sockets"),
            (&["explain"], "eventdf", "eventfd"),
            (&["history", "list", "-m"], "pip", "pipe"),
        ] {
            let output = client(sandbox, &[command, &[name]].concat()).expect(Exit::Usage);
            output.says(&[&format!("\"{name}\" (did you mean \"{meant}\"?)")]);
        }
        for command in [&["explain"][..], &["history", "list", "--history", "/nowhere/h", "-m"]] {
            let output = client(sandbox, &[command, &[" TCP, shm ,"]].concat());
            assert_ne!(output.status.code(), Some(Exit::Usage.code().into()), "{output:#?}");
        }
        let futex = ["matrix", "--private", "-m", " FUTEX ", "-n", "50", "--trials", "1", "-q"];
        on_two_cpus();
        client(sandbox, &futex).expect(Exit::Success);
    });
}

#[test]
fn unknown_names_are_all_reported_at_once() {
    run(|sandbox| {
        for command in [&["explain"][..], &["bench", "--method"]] {
            let output = client(sandbox, &[command, &["tcp,pigeon,smoke"]].concat()).expect(Exit::Usage);
            let output = output.says(&[
                "unknown method or group \"pigeon\", \"smoke\"; methods are tcp, ",
                "groups are all, ",
            ]);
            assert_eq!(output.stdout, "");
        }
        for feature in FEATURES.iter().filter(|name| ipcd::internals::transports::find(name).is_err()) {
            let output = client(sandbox, &["explain", feature]).expect(Exit::Usage);
            output.says(&[&format!("build it with --features {feature}")]);
        }
    });
}

/// A doctor's run that takes as little time as one can.
const DOCTOR: [&str; 6] = ["doctor", "--quick", "--pairs", "2", "--method", "futex"];

fn grade(line: &str) -> &str {
    line.strip_prefix("Grade: ").unwrap().get(..1).unwrap()
}

#[test]
fn the_doctor_checks_the_host_and_measures_each_cell_against_itself() {
    run(|sandbox| {
        let printed = private(sandbox, &DOCTOR).expect(Exit::Success).stdout;
        assert!(printed.starts_with("This host:\n"), "{printed}");
        assert!(
            printed.contains("\nSelf-test: each cell measured against itself, 2 pairs of trials:\n"),
            "{printed}"
        );
        assert!(printed.contains("futex, 8 B") && printed.contains("smallest detectable difference"));
        let last = printed.lines().rfind(|line| line.starts_with("Grade: ")).unwrap();
        assert!("ABCDEF".contains(grade(last)), "{last}");
        let checks = printed.lines().skip(1).take_while(|line| !line.starts_with("Self-test"));
        assert!(checks.clone().all(|line| line.chars().count() <= 80), "{printed}");
        assert!(checks.count() >= 3, "{printed}");
    });
}

#[test]
fn the_doctors_json_is_one_document_and_its_grade_decides_the_exit_code() {
    run(|sandbox| {
        let output = private(sandbox, &[&DOCTOR[..], &["--json", "--require-grade", "A"]].concat());
        let document: Value = serde_json::from_str(&output.stdout).unwrap();
        assert_eq!(document["schema"], 1);
        let checks = document["checks"].as_array().unwrap();
        assert!(!checks.is_empty() && checks.iter().all(|check| check["finding"].is_string()), "{checks:#?}");
        let [test] = &document["self_tests"].as_array().unwrap()[..] else { panic!("{document:#}") };
        assert_eq!((&test["method"], &test["size_bytes"]), (&"futex".into(), &8.into()));
        assert_eq!(document["report"]["results"].as_array().unwrap().len(), 2, "the cell, twice");
        let grade = document["report"]["grade"].as_str().unwrap().to_owned();
        match grade.as_str() {
            "A" => drop(output.expect(Exit::Success)),
            _ => drop(
                output.expect(Exit::Doubtful).says(&[&format!("the grade is {grade}, and A was required")]),
            ),
        }
    });
}

#[test]
fn what_the_doctor_cannot_test_is_refused() {
    run(|sandbox| {
        private(sandbox, &["doctor", "--method", "pigeon"]).expect(Exit::Usage).says(&["pigeon", "tcp, "]);
        private(sandbox, &["doctor", "--pairs", "1"])
            .expect(Exit::Usage)
            .says(&["--pairs", "a number from 2 to 1000"]);
        private(sandbox, &["doctor", "--require-grade", "G"])
            .expect(Exit::Usage)
            .says(&["unknown grade `G`"]);
    });
}

#[test]
fn a_result_below_the_required_grade_is_printed_and_has_its_exit_code() {
    run(|sandbox| {
        // Ten rounds have no median, on any host.
        let bench = ["bench", "--method", "futex", "-n", "10"];
        let required = |grade| private(sandbox, &[&bench[..], &["--require-grade", grade]].concat());
        let output = required("A").expect(Exit::Doubtful);
        let output = output.says(&[", and A was required:", "ipc-client: severe: p50 needs 20 samples"]);
        assert!(
            output.stdout.contains("10 cycles completed"),
            "the results are printed all the same: {output:#?}"
        );
        let printed = output.stdout.lines().rfind(|line| line.starts_with("Grade: ")).unwrap();
        let message = format!("the grade is {}, and A was required:", grade(printed));
        output.says(&[&message]);
        // Nothing is worse than F.
        required("F").expect(Exit::Success);
        private(sandbox, &bench).expect(Exit::Success);
        required("Z").expect(Exit::Usage).says(&["unknown grade `Z`"]);
    });
}

/// Each command that prints something, short.
const PRINTING: [&[&str]; 7] = [
    &["bench", "--method", "futex", "-n", "20"],
    &["bench", "--method", "futex", "-n", "20", "--json"],
    &MATRIX,
    &DOCTOR,
    &["status"],
    &["methods"],
    &["explain", "tcp"],
];

/// The last ones, which need no daemon.
const WITHOUT_A_DAEMON: usize = 2;

/// The ways in which no process reads what a program prints, as redirections of a shell whose descriptor 0 is a pipe without
/// a reader; and whether results can be seen to be lost.
const UNREAD: [(&str, bool); 6] = [
    (">&0", false),
    (">&-", false),
    (">/dev/full", true),
    ("2>&0", false),
    ("2>&-", false),
    ("2>/dev/full", false),
];

#[test]
fn whoever_reads_the_results_the_exit_code_is_that_of_the_outcome() {
    run(|sandbox| {
        on_two_cpus();
        let place = Place::new(sandbox);
        let record = ["bench", "--private", "-m", "null", "-n", "1000", "--trials", "2", "--record"];
        sandbox.finish(&mut place.client(sandbox, &record)).expect(Exit::Success);
        let daemon = sandbox.daemon();
        let (log, missing) = (sandbox.folder().join("log"), sandbox.folder().join("missing"));
        let (log, missing) = (log.to_str().unwrap(), missing.to_str().unwrap());
        let history = place.history();
        let history = history.to_str().unwrap();
        let ten = ["bench", "-m", "null", "-n", "10", "--require-grade", "A"];
        let check = ["check", "--history", history, "--p50-below"];
        let bench: &[&str] = &["bench", "-m", "futex", "-n", "20"];
        let client = |arguments: &[&str]| sandbox.client(arguments);
        let mut commands = vec![
            (client(&ten), Exit::Doubtful),
            (client(&[&ten[..], &["--quiet", "--hdr-log", log]].concat()), Exit::Doubtful),
            (client(&["bench", "-m", "pipe", "-n", "20", "--server-cpu", "1023"]), Exit::Unavailable),
            (client(&[bench, &["--interval", "50ms"]].concat()), Exit::Success),
            (client(&[bench, &["--json-stream"]].concat()), Exit::Success),
            (client(&[&check[..], &["1ns"]].concat()), Exit::Regressed),
            (client(&[&check[..], &["1h", "--json"]].concat()), Exit::Success),
            (client(&["compare", "last", "last", "--history", history]), Exit::Success),
            (client(&["trend", "--history", history]), Exit::Success),
            (client(&["report", "--history", history]), Exit::Success),
            (client(&["export", "--history", history, "--prometheus", "-"]), Exit::Success),
            (client(&["history", "--history", history]), Exit::Success),
            (client(&["history", "list", "--history", missing]), Exit::Nothing),
            (client(&["history", "show", "--history", history]), Exit::Success),
            (client(&["history", "export", "--history", history]), Exit::Success),
            (client(&["--help"]), Exit::Success),
            (client(&["bench", "--pigeon"]), Exit::Usage),
            (sandbox.ipcd(&["status"]), Exit::Success),
            (sandbox.ipcd(&["config", "show"]), Exit::Success),
            (sandbox.ipcd(&["config", "check", missing]), Exit::Usage),
            (sandbox.ipcd(&["start"]), Exit::AlreadyRunning),
            (sandbox.ipcd(&["--version"]), Exit::Success),
        ];
        commands.extend(PRINTING.iter().map(|arguments| (client(arguments), Exit::Success)));
        for (program, outcome) in commands {
            let arguments: Vec<_> = program.get_args().collect();
            for (redirection, is_lost) in UNREAD {
                let mut shell = Command::new("sh");
                shell.args(["-c", &format!(r#"exec "$0" "$@" {redirection} </dev/null"#)]);
                shell.arg(program.get_program()).args(&arguments);
                shell.env_clear().current_dir(sandbox.folder());
                shell.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
                let (_, unread) = std::io::pipe().unwrap();
                let output = sandbox.start_with_stdin(&mut shell, unread.into()).wait(PATIENCE);
                // A refusal prints no results.
                let prints = !matches!(outcome, Exit::Usage | Exit::AlreadyRunning | Exit::Nothing)
                    && !arguments.iter().any(|argument| *argument == "--quiet");
                let lost = "cannot write standard output: No space left on device";
                let expected =
                    if is_lost && prints && outcome == Exit::Success { Exit::Failure } else { outcome };
                assert_eq!(output.status.code(), Some(expected.code().into()), "{redirection}: {output:#?}");
                assert!(
                    !output.stderr.contains("panicked") && !output.stderr.contains("pipe ("),
                    "{output:#?}"
                );
                if is_lost && expected == Exit::Failure {
                    assert!(output.stderr.contains(lost), "{redirection}: {output:#?}");
                }
            }
        }
        fs::remove_file(log).unwrap();
        daemon.is_at_rest();
    });
}

#[test]
fn results_go_to_the_screen_and_to_every_file() {
    run(|sandbox| {
        on_two_cpus();
        let file = |name: &str| sandbox.folder().join(name).to_str().unwrap().to_owned();
        let (json, csv, md, svg) = (file("run.json"), file("run.CSV"), file("run"), file("matrix.svg"));
        let bench = ["bench", "-m", "null", "-n", "1000"];
        let take = |path: &str| {
            let text = fs::read_to_string(path).unwrap();
            fs::remove_file(path).unwrap();
            text
        };
        let output = private(sandbox, &[&bench[..], &["-o", &json, "-o", &csv, "-o", &md]].concat());
        let output = output.expect(Exit::Success);
        assert!(output.stdout.contains("1000 cycles completed"), "{output:#?}");
        assert!(serde_json::from_str::<Value>(&take(&json)).is_ok() && take(&csv).starts_with("cell,"));
        assert!(take(&md).contains("1000 cycles completed"), "text, without an ending and a format");

        let quiet = private(sandbox, &[&bench[..], &["-q", "--format", "md", "-o", &md]].concat());
        assert_eq!(quiet.expect(Exit::Success).stdout, "");
        assert!(take(&md).contains("\n|"));
        let named = private(sandbox, &[&bench[..], &["--quiet", "-o", "-"]].concat()).expect(Exit::Success);
        assert!(named.stdout.contains("1000 cycles completed"), "{named:#?}");

        let matrix =
            private(sandbox, &[&MATRIX[..], &["-o", &svg, "-o", &csv]].concat()).expect(Exit::Success);
        assert!(matrix.stdout.contains("futex, 8 B"), "{matrix:#?}");
        assert!(take(&svg).starts_with("<svg ") && take(&csv).starts_with("method,"));

        for wrong in ["run.png", "run.yaml", "run.htm"] {
            let wrong = file(wrong);
            for command in [&bench[..], &MATRIX] {
                let output = private(sandbox, &[command, &["-o", &wrong]].concat());
                output.expect(Exit::Usage).says(&["unknown ending", &wrong, "known are .txt, "]);
            }
        }
        private(sandbox, &[&bench[..], &["-o", &json, "-o", &json]].concat())
            .expect(Exit::Usage)
            .says(&["--output names", "twice"]);
    });
}

#[test]
fn a_path_that_names_a_descriptor_is_written_after_what_is_there() {
    run(|sandbox| {
        on_two_cpus();
        let log = sandbox.folder().join("log");
        let place = Place::new(sandbox);
        let record = ["bench", "--private", "-m", "null", "-n", "1000", "--record", "--quiet"];
        sandbox.finish(&mut place.client(sandbox, &record)).expect(Exit::Success);
        let history = place.history();
        let history = history.to_str().unwrap();
        let bench: &[&str] = &["bench", "--private", "-m", "null", "-n", "1000", "--format", "csv"];
        let matrix = [&MATRIX[..], &["--private", "--format", "csv"]].concat();
        for (arguments, head) in [
            (&[bench, &["-o"]].concat()[..], "cell,"),
            (&[&matrix[..], &["-o"]].concat(), "method,"),
            (&[bench, &["-q", "--hdr-log"]].concat(), "#["),
            (&["history", "show", "--history", history, "--format", "csv", "-o"], "cell,"),
            (&["history", "export", "--history", history, "-o"], "{"),
            (&["export", "--history", history, "--prometheus"], "# HELP"),
            (&["report", "--history", history, "-o"], "<"),
        ] {
            for path in ["/dev/stdout", "/dev/stderr", "/dev/fd/3", "/proc/self/fd/3"] {
                if arguments.contains(&"--hdr-log") && path == "/dev/stdout" {
                    continue;
                }
                let program = sandbox.client(&[arguments, &[path]].concat());
                fs::write(&log, "before\n").unwrap();
                let opened = match path {
                    "/dev/stdout" => "1",
                    "/dev/stderr" => "2",
                    _ => "3",
                };
                let mut shell = Command::new("sh");
                shell.args(["-c", &format!(r#"exec "$0" "$@" {opened}>>log"#)]);
                shell.arg(program.get_program()).args(program.get_args());
                shell.env_clear().current_dir(sandbox.folder()).env_remove("IPCD_SOCKET");
                shell.env("TMPDIR", sandbox.folder()).env("IPCD_CONFIG", "/dev/null");
                sandbox.finish(&mut shell).expect(Exit::Success);
                let logged = fs::read_to_string(&log).unwrap();
                let results = logged.strip_prefix("before\n").unwrap_or_else(|| panic!("{path}: {logged}"));
                let once = results.lines().filter(|line| line.starts_with(head)).count();
                assert!(once >= 1 && (!head.ends_with(',') || once == 1), "{arguments:?} {path}: {logged}");
            }
        }
        fs::remove_file(log).unwrap();
        let closed = private(sandbox, &["bench", "-m", "null", "-n", "10", "-o", "/dev/fd/99"]);
        closed.expect(Exit::Failure).says(&["cannot write /dev/fd/99: Bad file descriptor"]);
    });
}

#[test]
fn a_socket_that_is_named_and_dead_is_an_error_for_every_command() {
    run(|sandbox| {
        let socket = sandbox.socket();
        let path = socket.to_str().unwrap();
        let (asking, standing_alone) = PRINTING.split_at(PRINTING.len() - WITHOUT_A_DAEMON);
        for arguments in standing_alone {
            let output = sandbox.finish(&mut sandbox.client(arguments)).expect(Exit::Success);
            assert_ne!(output.says(&["no daemon answers"]).stdout, "");
        }
        for arguments in asking {
            let named = [arguments, &["--socket", path][..]].concat();
            for mut command in [sandbox.client(arguments), sandbox.client(&named)] {
                let output = sandbox.finish(&mut command).expect(Exit::NoDaemon).says(&[path, "ipcd start"]);
                assert_eq!(output.stdout, "");
            }
        }
    });
}

#[test]
fn a_stopped_daemon_is_reported_as_a_possible_reason_for_silence() {
    run(|sandbox| {
        let daemon = sandbox.daemon();
        daemon.process().signal(Signal::STOP);
        for arguments in [&["status"][..], &["bench", "-n", "20"]] {
            let output = sandbox.finish(&mut sandbox.client(arguments)).expect(Exit::NotIpcd);
            output.says(&[sandbox.socket().to_str().unwrap(), "sent nothing for 2.0 s", "SIGSTOP"]);
        }
        daemon.process().signal(Signal::CONT);
        daemon.serves("tcp");
    });
}

#[test]
fn intervals_without_an_output_are_rejected() {
    run(|sandbox| {
        let log = sandbox.folder().join("log");
        let bench = ["bench", "--method", "futex", "-n", "20", "--interval", "50ms"];
        for format in ["json", "csv", "markdown"] {
            let asked = [&bench[..], &["--format", format]].concat();
            private(sandbox, &asked).expect(Exit::Usage).says(&["--interval", "--json-stream or --hdr-log"]);
            let logged = [&asked[..], &["--hdr-log", log.to_str().unwrap()]].concat();
            private(sandbox, &logged).expect(Exit::Success);
        }
        fs::remove_file(log).unwrap();
        for printed in [&["--format", "text"], &["--json-stream", "--trials=1"]] {
            private(sandbox, &[&bench[..], printed].concat()).expect(Exit::Success);
        }
    });
}

#[test]
fn the_number_of_one_cpu_is_asked_for() {
    run(|sandbox| {
        for option in ["--client-cpu", "--server-cpu"] {
            for value in ["0-1", "0,1", "-1", "all"] {
                private(sandbox, &["bench", option, value]).expect(Exit::Usage).says(&[
                    option,
                    &format!("'{value}'"),
                    "the number of one CPU is needed, such as 2",
                ]);
            }
        }
    });
}
