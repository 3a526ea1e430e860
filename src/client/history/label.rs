//! What runs are called: labels, which several runs may have, and names of baselines, which one has.

use std::fmt;
use std::str::FromStr;

/// The longest.
const MAX_LEN: usize = 64;

/// A name that cannot be taken for an id, `last`, or a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Label(String);

impl Label {
    /// The name.
    #[must_use]
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An invalid name; a long one is truncated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a valid name: a name has up to {MAX_LEN} letters, digits and . _ - +, at least one of them a letter; \
     it is not `last` and does not end in .json, .jsonl or .ndjson"
)]
pub struct LabelError(String);

/// Whether a text is meant as a file: by a slash, or by the end of its name.
pub(crate) fn is_file(text: &str) -> bool {
    text.contains('/') || [".json", ".jsonl", ".ndjson"].iter().any(|end| text.ends_with(end))
}

impl FromStr for Label {
    type Err = LabelError;

    fn from_str(text: &str) -> Result<Self, LabelError> {
        let allowed = |c: char| c.is_alphanumeric() || "._-+".contains(c);
        let fits = (1..=MAX_LEN).contains(&text.len()) && text.chars().all(allowed);
        let named = text.chars().any(char::is_alphabetic) && text != "last" && !is_file(text);
        if fits && named { Ok(Self(text.to_owned())) } else { Err(LabelError(beginning(text))) }
    }
}

/// As much of a text as a name may have.
pub(crate) fn beginning(text: &str) -> String {
    match text.char_indices().nth(MAX_LEN) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_differ_from_everything_else_that_identifies_a_run() {
        for text in ["before", "kernel-6.8", "v1.2.3", "6.8-rc1", "größer", "a"] {
            assert_eq!(text.parse::<Label>().unwrap().as_str(), text);
        }
        let long = "x".repeat(100_000).parse::<Label>().unwrap_err().to_string();
        assert!(
            long.starts_with(&format!("`{}…` is not a valid name", "x".repeat(MAX_LEN))) && long.len() < 400,
            "{long}"
        );
        for text in ["", "12", "6.8", "last", "last~1", "a b", "a/b", "run.json", "-", "a\n", "a,b"] {
            let error = text.parse::<Label>().unwrap_err().to_string();
            assert!(error.contains(&format!("`{text}`")), "{error}");
        }
    }
}
