//! The crate's walls: which code must not be where.

use std::fs;
use std::path::{Path, PathBuf};

mod cycles;

/// A source file, its path relative to the package.
struct Source {
    path: String,
    text: String,
}

impl Source {
    /// Lines without comments, with their numbers.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(index, line)| (index + 1, line.split("//").next().unwrap_or("")))
    }

    /// Where a word occurs in the code; not as part of a hyphenated one, which is in a text.
    fn lines_with_word(&self, word: &str) -> Vec<String> {
        let is_word =
            |line: &str| line.split(|c: char| !c.is_alphanumeric() && !"_-".contains(c)).any(|w| w == word);
        self.code()
            .filter(|(_, line)| is_word(line))
            .map(|(number, _)| format!("{}:{number}", self.path))
            .collect()
    }
}

fn sources(folder: &str) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    collect(&root.join(folder), &mut paths);
    assert!(!paths.is_empty(), "{folder} has no sources");
    let read = |path: PathBuf| Source {
        text: fs::read_to_string(&path).unwrap(),
        path: path.strip_prefix(root).unwrap().display().to_string(),
    };
    paths.into_iter().map(read).collect()
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            // What the packages in `tests/` are built into.
            if !path.ends_with("target") {
                collect(&path, paths);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            paths.push(path);
        }
    }
}

fn nowhere(found: Vec<String>, what: &str) {
    assert!(found.is_empty(), "{what}: {found:#?}");
}

/// Unsafe code outside of the system calls.
fn misplaced_unsafe(sources: &[Source]) -> Vec<String> {
    let outside = sources.iter().filter(|source| !source.path.starts_with("src/transports/sys/"));
    outside.flat_map(|source| source.lines_with_word("unsafe")).collect()
}

/// Where the lint against unsafe code is changed.
fn lint_switches(sources: &[Source]) -> Vec<String> {
    sources.iter().flat_map(|source| source.lines_with_word("unsafe_code")).collect()
}

/// Every source of the repository except this file, which contains the words.
fn everything() -> Vec<Source> {
    let all = ["src", "tests", "benches", "examples", "fuzz/targets"].into_iter().flat_map(sources);
    all.filter(|source| source.path != "tests/tidy.rs").collect()
}

#[test]
fn unsafe_code_is_in_the_system_calls_only() {
    let all = everything();
    nowhere(misplaced_unsafe(&all), "unsafe code outside src/transports/sys");
    let inside = all.iter().filter(|source| source.path.starts_with("src/transports/sys/"));
    assert!(inside.flat_map(|source| source.lines_with_word("unsafe")).next().is_some(), "it would be found");
}

#[test]
fn unsafe_code_is_allowed_in_one_place() {
    let found = lint_switches(&everything());
    assert!(matches!(&found[..], [one] if one.starts_with("src/transports/sys/mod.rs:")), "{found:#?}");
    for (package, level) in [("", "deny"), ("fuzz", "deny"), ("tests/order", "forbid")] {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join(package).join("Cargo.toml");
        let lint = format!("\nunsafe_code = \"{level}\"\n");
        assert!(
            fs::read_to_string(manifest).unwrap().contains(&lint),
            "the compiler holds what this looks for"
        );
    }
}

/// The two tests above can fail.
#[test]
fn misplaced_unsafe_code_is_found() {
    let planted = |path: &str, text: &str| [Source { path: path.into(), text: text.into() }];
    for text in ["unsafe { f() }", "pub unsafe fn f() {}", "let a = 1;\nunsafe impl Send for A {}"] {
        for path in
            ["src/daemon/server.rs", "src/transports/tcp.rs", "src/transports/system.rs", "tests/a.rs"]
        {
            assert_eq!(misplaced_unsafe(&planted(path, text)).len(), 1, "{path}: {text}");
        }
        assert!(misplaced_unsafe(&planted("src/transports/sys/ring.rs", text)).is_empty());
    }
    assert!(misplaced_unsafe(&planted("src/a.rs", "// nothing unsafe here\nfn f() {}")).is_empty());
    assert_eq!(lint_switches(&planted("src/a.rs", "#![allow(unsafe_code)]")), ["src/a.rs:1"]);
}

#[test]
fn modules_import_only_from_below() {
    // `protocol` ← `transports` ← `config` ← { `daemon`, `client` }; `exposition` knows none of them
    for (module, above) in [
        ("exposition", &["protocol", "transports", "config", "daemon", "client"][..]),
        ("protocol", &["transports", "config", "daemon", "client"]),
        ("transports", &["config", "daemon", "client"]),
        ("config", &["daemon", "client"]),
        ("daemon", &["client"]),
        ("client", &["daemon"]),
    ] {
        let of_module = |source: &Source| {
            source.path == format!("src/{module}.rs") || source.path.starts_with(&format!("src/{module}/"))
        };
        let all: Vec<_> = sources("src").into_iter().filter(of_module).collect();
        assert!(!all.is_empty(), "{module} has no sources");
        for source in all {
            let found = source.code().filter(|(_, line)| {
                above.iter().any(|other| {
                    line.contains(&format!("crate::{other}")) || line.contains(&format!("ipcd::{other}"))
                })
            });
            // The two programs' main functions are the crate's users, not its modules.
            if source.path != format!("src/{module}/main.rs") {
                let found = found.map(|(number, line)| format!("{}:{number}: {line}", source.path)).collect();
                nowhere(found, &format!("{module} imports a module above or beside it"));
            }
        }
    }
}

/// Where a mechanism bypasses `families::sync`, and so its model.
fn past_the_model(sources: &[Source]) -> Vec<String> {
    const MODELLED: [&str; 3] = ["sync::atomic", "thread::futex", "membarrier"];
    let outside = sources.iter().filter(|source| {
        let below = source.path.strip_prefix("src/transports/");
        below.is_some_and(|path| path != "families/sync.rs" && !path.starts_with("sys/"))
    });
    let found = outside.flat_map(|source| {
        let found = source.code().filter(|(_, line)| MODELLED.iter().any(|word| line.contains(word)));
        found.map(|(number, _)| format!("{}:{number}", source.path))
    });
    found.collect()
}

/// The files that use `families::sync`, and those that `tests/order` includes.
fn modelled(sources: &[Source]) -> (Vec<&str>, Vec<&str>) {
    let uses_it = |source: &&Source| {
        let mut code = source.code();
        let below = source.path.starts_with("src/transports/");
        below && code.any(|(_, line)| line.contains("super::sync::") || line.contains("families::sync::"))
    };
    let using = sources.iter().filter(uses_it).map(|source| &source.path[..]).collect();
    let models = sources.iter().filter(|source| source.path.starts_with("tests/order/src/"));
    let included = models
        .flat_map(|source| source.text.lines())
        .filter_map(|line| line.trim().strip_prefix("#[path = \"../../../../")?.strip_suffix("\"]"));
    (using, included.collect())
}

#[test]
fn protocols_in_shared_memory_are_explored_by_the_models() {
    let all = everything();
    nowhere(past_the_model(&all), "atomics, futexes and barriers outside families/sync.rs");
    let (using, included) = modelled(&all);
    assert!(using.contains(&"src/transports/families/turn.rs"), "it would be found: {using:?}");
    let missing = using.into_iter().filter(|path| !included.contains(path));
    nowhere(missing.map(str::to_owned).collect(), "not in tests/order");
}

/// The test above can fail.
#[test]
fn bypassing_the_models_is_found() {
    let planted = |path: &str, text: &str| [Source { path: path.into(), text: text.into() }];
    for text in ["use std::sync::atomic::AtomicU32;", "use rustix::thread::futex;", "membarrier(command)"] {
        assert_eq!(
            past_the_model(&planted("src/transports/new.rs", text)),
            ["src/transports/new.rs:1"],
            "{text}"
        );
        assert!(past_the_model(&planted("src/transports/families/sync.rs", text)).is_empty(), "{text}");
    }
    let new = planted("src/transports/new.rs", "use super::sync::{AtomicU32, Ordering};");
    assert_eq!(modelled(&new), (vec!["src/transports/new.rs"], Vec::new()));
}

/// Where a test reports a skip itself, which is not counted.
fn skipped_in_silence(sources: &[Source]) -> Vec<String> {
    let tests = sources
        .iter()
        .filter(|source| source.path.starts_with("tests/") && source.path != "tests/harness/mod.rs");
    let found = tests.flat_map(|source| {
        let found = source.code().filter(|(_, line)| line.contains("not tested"));
        found.map(|(number, _)| format!("{}:{number}", source.path))
    });
    found.collect()
}

#[test]
fn skips_are_reported_where_they_are_counted() {
    nowhere(
        skipped_in_silence(&everything()),
        "not by not_tested(), which IPCD_TEST_NOTHING_SKIPPED has fail",
    );
    let text = "return eprintln!(\"not tested: no root\");";
    let planted = |path: &str| [Source { path: path.into(), text: text.into() }];
    assert_eq!(skipped_in_silence(&planted("tests/users.rs")), ["tests/users.rs:1"], "it would be found");
    assert!(skipped_in_silence(&planted("tests/harness/mod.rs")).is_empty());
}

#[test]
fn one_file_knows_the_encoding() {
    let elsewhere = |source: &Source| source.path != "src/protocol/codec.rs";
    let found =
        sources("src").iter().filter(|s| elsewhere(s)).flat_map(|s| s.lines_with_word("bincode")).collect();
    nowhere(found, "bincode outside protocol/codec.rs");
}

#[test]
fn the_encoding_is_pinned() {
    let lock = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.lock")).unwrap();
    assert!(lock.contains("name = \"bincode\"\nversion = \"2.0.1\"\n"), "3.0.0 is an empty release");
}

/// Files that read the date: to record it, to find records by it, and for nothing else.
const DATED: [&str; 6] = [
    "src/client/cli/bench.rs",
    "src/client/cli/output.rs",
    "src/client/report/hdr_log.rs",
    "src/daemon/logging.rs",
    "src/daemon/counters.rs",
    "src/units.rs",
];

/// Uses of the clock that can be set, and so step, or of a wait that depends on it.
fn dated(sources: &[Source]) -> Vec<String> {
    const WORDS: [&str; 18] = [
        "SystemTime",
        "UNIX_EPOCH",
        "Realtime",
        "CLOCK_REALTIME",
        "RealtimeCoarse",
        "CLOCK_REALTIME_COARSE",
        "RealtimeAlarm",
        "CLOCK_REALTIME_ALARM",
        "Tai",
        "CLOCK_TAI",
        "gettimeofday",
        // Waits until a date; other waits name the clock.
        "sem_timedwait",
        "mq_timedreceive",
        "mq_timedsend",
        "pthread_cond_timedwait",
        "pthread_mutex_timedlock",
        "pthread_rwlock_timedwrlock",
        "FUTEX_CLOCK_REALTIME",
    ];
    sources.iter().flat_map(|source| WORDS.iter().flat_map(|word| source.lines_with_word(word))).collect()
}

#[test]
fn time_is_measured_by_a_clock_that_cannot_be_set() {
    let all = sources("src");
    let (recording, timing): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|source| DATED.contains(&source.path.as_str()));
    nowhere(dated(&timing), "the date, which may step, where time is measured");
    for source in recording {
        let found = dated(std::slice::from_ref(&source));
        assert!(!found.is_empty(), "{} asks for no date any more", source.path);
        // No duration is derived from a recorded date.
        nowhere(
            source
                .code()
                .filter(|(_, line)| line.contains("started_at.elapsed"))
                .map(|(_, l)| l.to_owned())
                .collect(),
            "a time measured by the date",
        );
    }
    for text in ["let a = SystemTime::now();", "libc::sem_timedwait(a, b)", "futex::Flags::CLOCK_REALTIME"] {
        let planted = Source { path: "src/a.rs".into(), text: text.into() };
        assert_eq!(dated(&[planted]), ["src/a.rs:1"], "it would be found");
    }
}

#[test]
fn every_file_states_its_subject() {
    for source in ["src", "tests", "benches", "examples", "fuzz/targets"].into_iter().flat_map(sources) {
        assert!(
            source.text.starts_with("//! "),
            "{} does not state its subject in its first line",
            source.path
        );
    }
}

/// Asserts that every file found is known, and that every file known is found.
fn only_known(found: &[String], known: &[&str], what: &str) {
    let is_in = |place: &String, file: &&str| place.starts_with(&format!("{file}:"));
    let new = found.iter().filter(|place| !known.iter().any(|file| is_in(place, file)));
    nowhere(new.cloned().collect(), what);
    let gone = known.iter().filter(|file| !found.iter().any(|place| is_in(place, file)));
    nowhere(gone.map(|file| (*file).to_owned()).collect(), "no longer an exception: remove it from the list");
}

/// Where `protocol` writes to a terminal, or knows what a command line is.
fn terminal_in_protocol(sources: &[Source]) -> Vec<String> {
    const WORDS: [&str; 12] = [
        "clap",
        "anstream",
        "anstyle",
        "env_logger",
        "terminal_size",
        "IsTerminal",
        "print",
        "println",
        "eprint",
        "eprintln",
        "stdout",
        "stderr",
    ];
    let protocol = sources.iter().filter(|source| source.path.starts_with("src/protocol/"));
    protocol.flat_map(|source| WORDS.iter().flat_map(|word| source.lines_with_word(word))).collect()
}

#[test]
fn protocol_is_the_wire_format_only() {
    let found = terminal_in_protocol(&sources("src"));
    nowhere(found, "a terminal or a command line in src/protocol");
    for text in ["fn f(error: clap::Error) {}", "eprintln!(\"a\");", "std::io::stderr()"] {
        let planted = |path: &str| [Source { path: path.into(), text: text.into() }];
        assert_eq!(terminal_in_protocol(&planted("src/protocol/a.rs")), ["src/protocol/a.rs:1"], "{text}");
        assert!(terminal_in_protocol(&planted("src/client/cli/a.rs")).is_empty());
    }
}

/// Where a command computes statistics. It may name one, as an option's value.
fn statistics_in_commands(sources: &[Source]) -> Vec<String> {
    const WORDS: [&str; 9] =
        ["sqrt", "ln", "exp", "powi", "powf", "mean", "median", "quantile", "percentile"];
    let commands = sources.iter().filter(|source| source.path.starts_with("src/client/cli/"));
    let found = commands.flat_map(|source| {
        let imported = source.code().filter(|(_, line)| {
            let named = line.split("stats::").nth(1);
            named.is_some_and(|named| named.trim_end() != "Statistic;")
        });
        let imported = imported.map(|(number, _)| format!("{}:{number}", source.path));
        let computed =
            source.code().filter(|(_, line)| WORDS.iter().any(|word| line.contains(&format!(".{word}("))));
        imported.chain(computed.map(|(number, _)| format!("{}:{number}", source.path))).collect::<Vec<_>>()
    });
    found.collect()
}

#[test]
fn commands_compute_no_statistics() {
    let found = statistics_in_commands(&sources("src"));
    only_known(&found, &[], "statistics in src/client/cli");
    for text in
        ["use crate::client::stats::median;", "let a = variance.sqrt();", "stats::Summary::of(samples)"]
    {
        let planted = |path: &str| [Source { path: path.into(), text: text.into() }];
        assert_eq!(
            statistics_in_commands(&planted("src/client/cli/a.rs")),
            ["src/client/cli/a.rs:1"],
            "{text}"
        );
        assert!(statistics_in_commands(&planted("src/client/judge/a.rs")).is_empty());
    }
    let option =
        Source { path: "src/client/cli/a.rs".into(), text: "use crate::client::stats::Statistic;".into() };
    assert!(statistics_in_commands(&[option]).is_empty());
}
