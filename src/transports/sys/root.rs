//! Reads the small text files of `/proc` and `/sys`, below a root folder.
//!
//! A file that is missing, unreadable or of an unexpected shape means that the host does not report the fact: every
//! function here returns `None`, never an error.

use std::fs;
use std::path::Path;
use std::str::FromStr;

/// The folder used as `/`, so that tests can describe other hosts.
#[derive(Clone, Copy)]
pub(crate) struct Root<'a>(pub(crate) &'a Path);

impl Root<'_> {
    /// The text of the file at `path` (relative to the root) without the white space around it; `None` if there is none.
    pub(crate) fn text(self, path: impl AsRef<Path>) -> Option<String> {
        self.raw(path).filter(|text| !text.is_empty())
    }

    /// The file's whole text as a `T`; an empty file may be one, such as a list of no CPUs.
    pub(crate) fn parse<T: FromStr>(self, path: impl AsRef<Path>) -> Option<T> {
        self.raw(path)?.parse().ok()
    }

    /// Whether a file of `0` or `1` says yes.
    pub(crate) fn switch(self, path: impl AsRef<Path>) -> Option<bool> {
        match self.text(path)?.as_str() {
            "0" => Some(false),
            "1" => Some(true),
            _ => None,
        }
    }

    /// Whether anything exists at `path`.
    pub(crate) fn exists(self, path: impl AsRef<Path>) -> bool {
        self.0.join(path).exists()
    }

    /// The names in a folder, sorted; none if it cannot be read.
    pub(crate) fn names(self, folder: impl AsRef<Path>) -> Vec<String> {
        let entries = fs::read_dir(self.0.join(folder)).into_iter().flatten().flatten();
        let mut names: Vec<String> =
            entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        names
    }

    fn raw(self, path: impl AsRef<Path>) -> Option<String> {
        let bytes = fs::read(self.0.join(path)).ok()?;
        Some(String::from_utf8_lossy(&bytes).trim().to_owned())
    }
}

/// The values of every `key : value` line of a text such as `/proc/cpuinfo`; the key's case does not matter.
pub(crate) fn values<'t>(text: &'t str, key: &str) -> impl Iterator<Item = &'t str> {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .filter(move |(name, _)| name.trim().eq_ignore_ascii_case(key))
        .map(|(_, value)| value.trim())
        .filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_whatever_the_case_and_the_white_space() {
        let text = "Model Name\t: first\nmodel name : second: half\nother: x\nmodel name:\n";
        assert_eq!(values(text, "model name").collect::<Vec<_>>(), ["first", "second: half"]);
    }
}
