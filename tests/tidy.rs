//! The walls of the crate: what must not stand where.

use std::fs;
use std::path::{Path, PathBuf};

/// A file's most lines.
const MAX_LINES: usize = 450;

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

    /// Where a word stands in the code.
    fn lines_with_word(&self, word: &str) -> Vec<String> {
        let is_word = |line: &str| line.split(|c: char| !c.is_alphanumeric() && c != '_').any(|w| w == word);
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
            collect(&path, paths);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            paths.push(path);
        }
    }
}

fn nowhere(found: Vec<String>, what: &str) {
    assert!(found.is_empty(), "{what}: {found:#?}");
}

#[test]
fn unsafe_code_stands_in_transports_only() {
    let outside = |source: &Source| !source.path.starts_with("src/transports/");
    let found =
        sources("src").iter().filter(|s| outside(s)).flat_map(|s| s.lines_with_word("unsafe")).collect();
    nowhere(found, "unsafe code outside src/transports");
}

#[test]
fn unsafe_code_is_allowed_in_one_place() {
    let all = ["src", "benches"].into_iter().flat_map(sources);
    let found: Vec<_> = all.flat_map(|source| source.lines_with_word("unsafe_code")).collect();
    assert!(matches!(&found[..], [one] if one.starts_with("src/transports/sys/mod.rs:")), "{found:#?}");
}

#[test]
fn modules_import_only_what_stands_below_them() {
    // `protocol` ← `transports` ← `config` ← { `daemon`, `client` }
    for (module, above) in [
        ("protocol", &["transports", "config", "daemon", "client"][..]),
        ("transports", &["config", "daemon", "client"]),
        ("config", &["daemon", "client"]),
        ("daemon", &["client"]),
        ("client", &["daemon"]),
    ] {
        for source in sources(&format!("src/{module}")) {
            let found = source.code().filter(|(_, line)| {
                above.iter().any(|other| {
                    line.contains(&format!("crate::{other}")) || line.contains(&format!("ipcd::{other}"))
                })
            });
            // The two programs' main functions are the crate's users, not its modules.
            if source.path != format!("src/{module}/main.rs") {
                let found = found.map(|(number, line)| format!("{}:{number}: {line}", source.path)).collect();
                nowhere(found, &format!("{module} imports what stands above or beside it"));
            }
        }
    }
}

#[test]
fn the_encoding_is_known_in_one_place() {
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

#[test]
fn every_file_says_its_subject_and_has_one() {
    for source in ["src", "tests", "benches"].into_iter().flat_map(sources) {
        assert!(source.text.starts_with("//! "), "{} does not say what it is about", source.path);
        let lines = source.text.lines().count();
        assert!(lines <= MAX_LINES, "{} has {lines} lines: look for its second subject", source.path);
    }
}
