//! Words that a user reads: phrases that are not idiomatic English do not come back.

use std::path::{Path, PathBuf};

/// Each has an idiomatic counterpart: report, show; the client, the user; is unavailable; overrides; is defined in; results in;
/// queue; abort; poll; problem; without.
const BANNED: [&str; 34] = [
    "tell",
    "tells",
    "told",
    "telling",
    "whoever",
    "whom",
    "nobody",
    "somebody",
    "everybody",
    "to be had",
    "is to be",
    "are to be",
    "goes before",
    "go before",
    "stands in",
    "stand in",
    "stands at",
    "came to",
    "comes to what",
    "in vain",
    "so many",
    "speaks against",
    "that is there",
    "that are there",
    "of its own",
    "of their own",
    "of an own",
    "thereof",
    "whereby",
    "a look",
    "looks again",
    "for want of",
    "in line",
    "broke off",
];

/// The string literals of a source file, with their lines, without those of its unit tests.
fn literals(source: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut chars = source.char_indices().peekable();
    let end = source.find("#[cfg(test)]\nmod tests {").unwrap_or(source.len());
    let mut line = 1;
    while let Some((at, c)) = chars.next() {
        if at >= end {
            break;
        }
        match c {
            '\n' => line += 1,
            '/' if source[at..].starts_with("//") => while chars.next_if(|(_, c)| *c != '\n').is_some() {},
            '\'' => {
                // A character such as '"' or '\''; a lifetime has no closing quote that soon.
                let rest = &source[at + 1..];
                let length = if rest.starts_with('\\') { 2 } else { 1 };
                if rest.chars().nth(length) == Some('\'') {
                    (0..=length).for_each(|_| _ = chars.next());
                }
            }
            '"' => {
                let start = line;
                let mut text = String::new();
                while let Some((_, c)) = chars.next() {
                    match c {
                        '\\' => {
                            let escaped = chars.next().map_or(' ', |(_, c)| c);
                            line += usize::from(escaped == '\n');
                            text.push(if escaped.is_alphanumeric() { ' ' } else { escaped });
                        }
                        '"' => break,
                        c => {
                            line += usize::from(c == '\n');
                            text.push(c);
                        }
                    }
                }
                found.push((start, text));
            }
            _ => {}
        }
    }
    found
}

/// The banned phrases in a text, as whole words.
fn banned(text: &str) -> Vec<&'static str> {
    let words: Vec<String> = text
        .split(|c: char| !c.is_alphanumeric() && c != '-' && c != '_')
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect();
    let text = format!(" {} ", words.join(" "));
    BANNED.into_iter().filter(|phrase| text.contains(&format!(" {phrase} "))).collect()
}

fn files(folder: &Path, extension: &str, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, extension, found);
        } else if path.extension().is_some_and(|e| e == extension) {
            found.push(path);
        }
    }
}

#[test]
fn what_users_read_is_idiomatic() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = Vec::new();
    files(&root.join("src"), "rs", &mut sources);
    let mut found = Vec::new();
    let product = |path: &&PathBuf| {
        !path.ends_with("tests.rs") && !path.components().any(|part| part.as_os_str() == "tests")
    };
    for path in sources.iter().filter(product) {
        for (line, text) in literals(&std::fs::read_to_string(path).unwrap()) {
            found.extend(
                banned(&text)
                    .into_iter()
                    .map(|phrase| format!("{}:{line}: {phrase}: {text}", path.display())),
            );
        }
    }
    let mut pages = vec![root.join("README.md")];
    files(&root.join("docs"), "md", &mut pages);
    for path in pages {
        for (index, line) in std::fs::read_to_string(&path).unwrap().lines().enumerate() {
            let prose: String = line.split('`').step_by(2).collect();
            found.extend(
                banned(&prose)
                    .into_iter()
                    .map(|phrase| format!("{}:{}: {phrase}", path.display(), index + 1)),
            );
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

/// The test above can fail, and looks at literals only.
#[test]
fn phrases_are_found_where_they_are_read() {
    let source = "// told\nlet a = \"nobody \\\"told\\\" me\"; let b = '\"'; let c: &'a str = \"in\\\n    line\";\n#[cfg(test)]\nmod tests { \"told\" }";
    let found: Vec<_> = literals(source).into_iter().map(|(line, text)| (line, banned(&text))).collect();
    assert_eq!(found, [(2, vec!["told", "nobody"]), (2, vec!["in line"])]);
    assert!(banned("pipeline, online, foretold, inline").is_empty());
}
