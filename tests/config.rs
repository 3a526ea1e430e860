//! The configuration: which file applies, precedence, and what is rejected.

mod together;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use ipcd::internals::protocol::{Exit, Resource};
use serde_json::Value;

use crate::harness::{Daemon, NOBODY, Output, Sandbox, another_user_can_run, is_root, run};

/// A file of a test's own, which goes with its value.
pub(crate) struct File(pub(crate) PathBuf);

impl File {
    pub(crate) fn new(sandbox: &Sandbox, name: &str, text: &str) -> Self {
        let file = Self(sandbox.folder().join(name));
        file.write(text);
        file
    }

    pub(crate) fn write(&self, text: &str) {
        fs::write(&self.0, text).unwrap();
    }

    pub(crate) fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        fs::remove_file(&self.0).unwrap();
    }
}

/// Reads these files and no others.
pub(crate) fn with(mut command: Command, files: &[&File]) -> Command {
    let paths: Vec<_> = files.iter().map(|file| file.path()).collect();
    command.env("IPCD_CONFIG", paths.join(":"));
    command
}

fn finish(sandbox: &Sandbox, command: Command, exit: Exit) -> Output {
    let mut command = command;
    sandbox.finish(&mut command).expect(exit)
}

#[test]
fn flags_go_before_the_environment_which_goes_before_files() {
    run(|sandbox| {
        let lower = File::new(
            sandbox,
            "lower.toml",
            "[daemon]\nsocket = \"/x/lower\"\nmax-channels = 7\nlog = \"warn\"\nmeasurements = 3\n\
             [profile.nightly]\nsize = [64, \"4k\"]\nrounds = 100\n",
        );
        let upper = File::new(
            sandbox,
            "upper.toml",
            "[daemon]\nmeasurements = 2\nidle-exit = \"5m\"\nmode = \"0640\"\n[profile.nightly]\nduration = \"1s\"\n",
        );
        let show = |more: &[&str], log: Option<&str>| {
            let mut command = with(sandbox.ipcd(&[&["config", "show"], more].concat()), &[&lower, &upper]);
            command.env_remove("IPCD_SOCKET");
            if let Some(log) = log {
                command.env("RUST_LOG", log);
            }
            finish(sandbox, command, Exit::Success).stdout
        };
        let text = show(&["--max-channels", "9"], None);
        for line in [
            &format!("# {}: read", lower.path()),
            &format!("socket = \"/x/lower\"  # {}:2", lower.path()),
            "# group: not set",
            &format!("mode = \"0640\"  # {}:4", upper.path()),
            "max-connections = 256  # default",
            "max-channels = 9  # flag",
            "max-channels-per-user = 4  # default",
            "max-memory = \"1G\"  # default",
            &format!("measurements = 2  # {}:2", upper.path()),
            &format!("idle-exit = \"5m\"  # {}:3", upper.path()),
            &format!("log = \"warn\"  # {}:4", lower.path()),
            "[profile.nightly]",
            // A key also overrides those of a lower file that it conflicts with.
            &format!("duration = \"1s\"  # {}:6", upper.path()),
            &format!("size = [\"64\", \"4k\"]  # {}:7", lower.path()),
        ] {
            assert!(text.lines().any(|shown| shown == line), "no \"{line}\" in\n{text}");
        }
        assert!(!text.contains("rounds"), "{text}");
        assert!(show(&[], Some("debug")).contains("log = \"debug\"  # environment: $RUST_LOG"));
        assert!(show(&["--log", "error"], Some("debug")).contains("log = \"error\"  # flag"));

        // What is shown is a file that says the same.
        let shown = File::new(sandbox, "shown.toml", &text);
        let again = finish(sandbox, with(sandbox.ipcd(&["config", "show"]), &[&shown]), Exit::Success).stdout;
        let values = |text: &str| -> Vec<String> {
            let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
            lines.map(|line| line.split("  # ").next().unwrap().to_owned()).collect()
        };
        assert_eq!(
            values(&text)[1..],
            values(&again.replace(sandbox.socket().to_str().unwrap(), "/x/lower"))[1..]
        );
    });
}

#[test]
fn all_errors_are_reported_at_once_with_their_lines_and_corrections() {
    run(|sandbox| {
        let file = File::new(
            sandbox,
            "wrong.toml",
            r#"[deamon]
[daemon]
max-conections = 1
max-channels = 0
measurements = "many"
socket = "relative"
mode = "999"
idle-exit = "5"
log = "loud"
group = ["a", "b"]
colour = "red"
[profile.nightly]
methods = "tcp"
method = ["tcp", "carrier-pigeon"]
size = "8,4x"
wait = 'never'
placement = "moon"
rounds = 0
duration = "1s"
precision = 200
nodelay = "maybe"
trials = 0x10
[profile.late]
max-time = "1s"
[profile."a b"]
[profile]
x = 1
"#,
        );
        let checked = finish(sandbox, sandbox.ipcd(&["config", "check", file.path()]), Exit::Usage);
        assert_eq!(checked.stdout, "");
        let printed: Vec<_> = checked.stderr.lines().collect();
        let expected = [
            (1, "unknown section \"deamon\" in a file; did you mean \"daemon\"?"),
            (3, "unknown key \"max-conections\" in [daemon]; did you mean \"max-connections\"?"),
            (4, "max-channels = 0: a number from 1 to 100000 is needed"),
            (5, "measurements = \"many\": a number from 1 to 100000 is needed"),
            (6, "socket = \"relative\": an absolute path is needed"),
            (7, "mode = \"999\": an octal mode from 0000 to 0777 is needed, such as \"0660\""),
            (8, "idle-exit = \"5\": 5 lacks a unit: a time with its unit is needed"),
            (9, "log = \"loud\": a level (off, error, warn, info, debug, trace) is needed"),
            (10, "group = [\"a\", \"b\"]: one value is needed, not several"),
            (11, "unknown key \"colour\" in [daemon]; known are socket, group, mode, measurements,"),
            (13, "unknown key \"methods\" in [profile.nightly]; did you mean \"method\"?"),
            (
                14,
                "method = [\"tcp\", \"carrier-pigeon\"]: unknown method or group \"carrier-pigeon\"; methods are tcp",
            ),
            (15, "size = \"8,4x\": a size in bytes is needed, such as 64, 4k or 1M"),
            (16, "wait = 'never': unknown wait strategy \"never\"; strategies are block, spin and adaptive"),
            (17, "placement = \"moon\": unknown placement `moon`; placements are unpinned, same-core"),
            (18, "rounds = 0: a number from 1 to 1000000000000"),
            (20, "precision = 200: a percentage more than 0 and at most 100 is needed"),
            (21, "nodelay = \"maybe\": it may be true or false"),
            (22, "trials = 0x10: a number from 1 to 10000 is needed"),
            (24, "max-time needs a precision in [profile.late]"),
            (27, "\"x\" is outside of a profile, which begins with [profile.NAME]"),
            (25, "invalid profile name \"a b\": letters, digits, -, _ and . are allowed"),
        ];
        for (line, what) in expected {
            let start = format!("{}:{line}: {what}", file.path());
            assert!(
                printed.iter().any(|printed| printed.starts_with(&start)),
                "no \"{start}\" in\n{}",
                checked.stderr
            );
        }
        assert_eq!(printed.len(), expected.len(), "{}", checked.stderr);
        // In the order of the file, but for what can only be seen when all of it is read.
        let lines: Vec<u32> =
            printed.iter().map(|printed| printed.split(':').nth(1).unwrap().parse().unwrap()).collect();
        assert!(lines[..lines.len() - 1].is_sorted(), "{}", checked.stderr);

        // Every command that reads it reports the same, and does nothing.
        for command in [
            sandbox.ipcd(&["start"]),
            sandbox.ipcd(&["status"]),
            sandbox.ipcd(&["config", "show"]),
            sandbox.client(&["bench", "--profile", "nightly"]),
            sandbox.client(&["status"]),
        ] {
            let output = finish(sandbox, with(command, &[&file]), Exit::Usage);
            assert_eq!(output.stdout, "");
            output.says(&["wrong.toml:4: max-channels = 0"]);
        }
    });
}

#[test]
fn every_kind_of_invalid_file_is_reported() {
    run(|sandbox| {
        for (text, printed) in [
            ("[daemon\n", ":1: "),
            ("[daemon]\nmax-channels = \n", ":2: "),
            ("[daemon]\nmode = 0660\n", ":2: "),
            ("[daemon]\nlog = \"info\"\nlog = \"warn\"\n", ":3: "),
            ("daemon = 5\n", ":1: \"daemon\" is a section, which begins with [daemon…]"),
            (
                "max-channels = 5\n",
                ":1: unknown section \"max-channels\" in a file; known are daemon, profile",
            ),
            ("[profile]\nnightly = 5\n", ":2: \"nightly\" is outside of a profile"),
            (
                "[profile.x]\nrounds = 1\nduration = \"1s\"\n",
                ":3: rounds and duration exclude each other in [profile.x]",
            ),
            ("[profile.x]\nplacement = \"smt\"\nclient-cpu = 1\n", "exclude each other in [profile.x]"),
            ("[profile.x]\nsize = []\n", ":2: size = []: a value is needed, or a list of them"),
            ("[profile.x]\nsize = [[8]]\n", ":2: size = [[8]]: a value is needed, or a list of them"),
            ("[profile.x]\nprivate = true\n", ":2: unknown key \"private\" in [profile.x]"),
            (
                "[profile.x]\nmethod = \"zeromq\"\n",
                if cfg!(feature = "zeromq") {
                    ""
                } else {
                    ":2: method = \"zeromq\": this build has no zeromq"
                },
            ),
            ("[daemon]\ngroup = \"no-such-group\"\n", ":2: this host has no group \"no-such-group\""),
        ] {
            if printed.is_empty() {
                continue;
            }
            let file = File::new(sandbox, "file.toml", text);
            let output = finish(sandbox, sandbox.ipcd(&["config", "check", file.path()]), Exit::Usage);
            assert!(output.stderr.contains(printed), "{text}\n{}", output.stderr);
            if let Some((_, known)) = output.stderr.trim_end().split_once("; known are ") {
                let mut known: Vec<_> = known.split(", ").collect();
                known.sort_unstable();
                assert!(known.windows(2).all(|pair| pair[0] != pair[1]), "one is listed twice: {known:?}");
            }
        }
        let binary = File::new(sandbox, "binary", "");
        fs::write(&binary.0, [0xff, 0xfe]).unwrap();
        let paths =
            [binary.path(), "/nowhere/ipcd.toml", sandbox.folder().to_str().unwrap()].map(str::to_owned);
        for path in paths {
            let output = finish(sandbox, sandbox.ipcd(&["config", "check", &path]), Exit::Usage);
            output.says(&[&path, "it cannot be read"]);
        }
        // A variable and a flag have a say too.
        let mut start = sandbox.ipcd(&["start"]);
        start.env("RUST_LOG", "a=b=c");
        finish(sandbox, start, Exit::Usage).says(&["$RUST_LOG is \"a=b=c\": a level "]);
        finish(sandbox, sandbox.ipcd(&["start", "--group", "no-such-group"]), Exit::Usage)
            .says(&["this host has no group \"no-such-group\"", "(flag)"]);
        let good = File::new(sandbox, "good.toml", "[daemon]\nmode = \"0660\"\n");
        let output = finish(sandbox, sandbox.ipcd(&["config", "check", good.path()]), Exit::Success);
        assert_eq!(output.stdout, format!("{}: ok\n", good.path()));
    });
}

#[test]
fn default_files_may_be_missing() {
    run(|sandbox| {
        let home = sandbox.folder().join("ipcd");
        fs::create_dir(&home).unwrap();
        let file = File::new(sandbox, "ipcd/ipcd.toml", "[daemon]\nmax-channels = 3\n");
        let show = |home: &Path| {
            let mut command = sandbox.ipcd(&["config", "show"]);
            command.env_remove("IPCD_CONFIG").env("XDG_CONFIG_HOME", home);
            finish(sandbox, command, Exit::Success).stdout
        };
        let there = show(sandbox.folder());
        assert!(there.contains(&format!("max-channels = 3  # {}:2", file.path())), "{there}");
        assert!(there.contains("# /etc/ipcd/ipcd.toml: "), "{there}");
        assert!(show(Path::new("/nowhere")).contains("# /nowhere/ipcd/ipcd.toml: not there"));
        let named = sandbox.ipcd(&["config", "show", "--config", "/nowhere/x"]);
        finish(sandbox, named, Exit::Usage).says(&["/nowhere/x: it cannot be read"]);
    });
}

#[test]
fn daemon_and_client_meet_where_the_configuration_says() {
    run(|sandbox| {
        let socket = sandbox.folder().join("configured.sock");
        let file = File::new(
            sandbox,
            "ipcd.toml",
            &format!("[daemon]\nsocket = \"{}\"\nmode = \"0666\"\nmax-channels = 1\n", socket.display()),
        );
        let named = |mut command: Command| {
            command.env_remove("IPCD_SOCKET");
            with(command, &[&file])
        };
        let daemon = Daemon::start(sandbox, named(sandbox.ipcd(&["start"])));
        assert_eq!(daemon.socket, socket);
        assert_eq!(fs::metadata(&socket).unwrap().mode() & 0o777, 0o666);
        assert_eq!(daemon.status().limit(Resource::Channels).unwrap().limit, 1);
        finish(sandbox, named(sandbox.client(&["status"])), Exit::Success);
        finish(sandbox, named(sandbox.ipcd(&["status"])), Exit::Success);
        finish(sandbox, named(sandbox.client(&["bench", "-m", "tcp", "-n", "10"])), Exit::Success);
        // The environment overrides it.
        finish(sandbox, with(sandbox.client(&["status"]), &[&file]), Exit::NoDaemon);
    });
}

#[test]
fn the_socket_is_given_to_the_group() {
    run(|sandbox| {
        // A group that this process may give things to.
        let group = if is_root() { 1 } else { rustix::process::getegid().as_raw() };
        let daemon = sandbox.daemon_with(&["--group", &group.to_string()]);
        let meta = fs::metadata(&daemon.socket).unwrap();
        assert_eq!((meta.gid(), meta.mode() & 0o777), (group, 0o660));
        drop(daemon);
        if is_root() {
            let daemon = sandbox.daemon_with(&["--group", "root", "--mode", "0620"]);
            let meta = fs::metadata(&daemon.socket).unwrap();
            assert_eq!((meta.gid(), meta.mode() & 0o777), (0, 0o620));
        }
    });
}

/// The report of a run.
fn report(sandbox: &Sandbox, file: &File, more: &[&str]) -> Value {
    let words = [&["bench", "--json", "--private", "--profile", "quick"], more].concat();
    let output = finish(sandbox, with(sandbox.client(&words), &[file]), Exit::Success);
    serde_json::from_str(&output.stdout).unwrap()
}

#[test]
fn a_profile_is_flags_that_those_of_the_command_line_go_before() {
    run(|sandbox| {
        let file = File::new(
            sandbox,
            "ipcd.toml",
            "[profile.quick]\nmethod = [\"tcp\", \"pipe\"]\nsize = [64, \"1k\"]\nwait = \"block\"\nduration = \"20ms\"\n\
             trials = 2\nwarmup = 10\nnodelay = false\n[profile.other]\n",
        );
        let cells = |report: &Value| -> Vec<String> {
            let cells = report["results"].as_array().unwrap().iter();
            cells.map(|cell| format!("{} {}", cell["method"].as_str().unwrap(), cell["size_bytes"])).collect()
        };
        let whole = report(sandbox, &file, &[]);
        assert_eq!(cells(&whole), ["tcp 64", "tcp 1024", "pipe 64", "pipe 1024"]);
        assert_eq!(
            (&whole["settings"]["trials"], &whole["settings"]["duration_ns"]),
            (&2.into(), &20_000_000.into())
        );
        assert_eq!(whole["results"][0]["options"]["nodelay"], "false");

        // By another spelling of the flag, and by one that excludes what the profile says.
        let typed = report(sandbox, &file, &["-m", "pipe", "--size", "8", "-n", "50"]);
        assert_eq!(cells(&typed), ["pipe 8"]);
        assert_eq!((&typed["settings"]["rounds"], &typed["settings"]["trials"]), (&50.into(), &2.into()));
        assert_eq!(typed["settings"]["duration_ns"], Value::Null);

        // A record's name is for a record.
        file.write(
            "[profile.quick]\nmethod = \"pipe\"\nrounds = 5\nlabel = \"night\"\nhistory = \"h.sqlite\"\n",
        );
        report(sandbox, &file, &[]);
        assert!(!sandbox.folder().join("h.sqlite").exists());
        let text = fs::read_to_string(&file.0).unwrap();
        file.write(&format!("{text}record = true\n"));
        report(sandbox, &file, &[]);
        let list = sandbox.client(&["history", "--history", "h.sqlite"]);
        assert!(finish(sandbox, list, Exit::Success).stdout.contains("night"));
        for file in sandbox.files().iter().filter(|file| file.to_str().unwrap().contains("h.sqlite")) {
            fs::remove_file(file).unwrap();
        }
        file.write("[profile.quick]\nmethod = \"tcp\"\n[profile.other]\n");

        let none = with(sandbox.client(&["bench", "--profile", "nightly"]), &[&file]);
        finish(sandbox, none, Exit::Usage)
            .says(&["unknown profile \"nightly\" in ", "profiles are other, quick"]);
        let words =
            ["bench", "--profile", "quick", "--config", file.path(), "--private", "-n", "1", "--size", "8"];
        finish(sandbox, sandbox.client(&words), Exit::Success);
    });
}

#[test]
fn a_profile_of_the_user_goes_before_the_hosts_key_by_key() {
    run(|sandbox| {
        let host = File::new(
            sandbox,
            "host.toml",
            "[profile.a]\nmethod = \"tcp\"\nrounds = 5\n[profile.b]\nsize = 8\n",
        );
        let own = File::new(sandbox, "own.toml", "[profile.a]\nmethod = \"udp\"\ntrials = 2\n");
        let show = with(sandbox.ipcd(&["config", "show"]), &[&host, &own]);
        let shown = finish(sandbox, show, Exit::Success).stdout;
        let (host, own) = (host.path(), own.path());
        let profiles = format!(
            "\n[profile.a]\nmethod = \"udp\"  # {own}:2\nrounds = \"5\"  # {host}:3\ntrials = \"2\"  # {own}:3\n\n\
             [profile.b]\nsize = \"8\"  # {host}:5\n"
        );
        assert!(shown.ends_with(&profiles), "{shown}");
    });
}

#[test]
fn an_unreadable_file_is_reported() {
    run(|sandbox| {
        // Root may read everything.
        if is_root() && !another_user_can_run(sandbox) {
            return;
        }
        let file = File::new(sandbox, "ipcd.toml", "");
        fs::set_permissions(&file.0, fs::Permissions::from_mode(0o000)).unwrap();
        fs::set_permissions(sandbox.folder(), fs::Permissions::from_mode(0o711)).unwrap();
        let mut status = with(sandbox.client(&["status"]), &[&file]);
        if is_root() {
            status.uid(NOBODY).gid(NOBODY);
        }
        finish(sandbox, status, Exit::Usage).says(&["it cannot be read"]);
    });
}
