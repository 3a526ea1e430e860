//! One file: its sections and keys, and everything that is wrong in it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::section::{Grammar, Section, Value};
use super::{Found, Origin, Problem, daemon};
use crate::diagnostics::nearest;

/// The sections of one file.
#[derive(Debug, Default)]
pub(super) struct Layer {
    pub(super) daemon: Section,
    pub(super) profiles: BTreeMap<String, Section>,
}

const SECTIONS: [&str; 2] = ["daemon", "profile"];

/// Reads a file's text. What is wrong is added to `problems`, and left out.
pub(super) fn read(path: &Arc<Path>, text: &str, profiles: &Grammar, problems: &mut Vec<Problem>) -> Layer {
    let mut reader = Reader { path, text, problems };
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let at = error.span().unwrap_or(0..0);
        reader.wrong(&at, error.message().to_owned());
    }
    let mut layer = Layer::default();
    if !errors.is_empty() {
        // The rest of a malformed file would be reported for the wrong reason.
        return layer;
    }
    for (name, value) in in_order(table.get_ref()) {
        match (name.get_ref().as_ref(), value.get_ref().as_table()) {
            ("daemon", Some(keys)) => layer.daemon = reader.section("[daemon]", &daemon::GRAMMAR, keys),
            ("profile", Some(sections)) => {
                for (name, value) in in_order(sections) {
                    let label = name.get_ref().as_ref();
                    let what = match value.get_ref().as_table() {
                        Some(keys) if is_name(label) => {
                            let profile = reader.section(&format!("[profile.{label}]"), profiles, keys);
                            layer.profiles.insert(label.to_owned(), profile);
                            continue;
                        }
                        Some(_) => {
                            format!(
                                "invalid profile name \"{label}\": letters, digits, -, _ and . are allowed"
                            )
                        }
                        None => {
                            format!("\"{label}\" is outside of a profile, which begins with [profile.NAME]")
                        }
                    };
                    reader.wrong(&name.span(), what);
                }
            }
            (known, None) if SECTIONS.contains(&known) => {
                reader.wrong(&name.span(), format!("\"{known}\" is a section, which begins with [{known}…]"));
            }
            (other, _) => {
                let what = unknown("section", other, "a file", SECTIONS.map(str::to_owned).to_vec());
                reader.wrong(&name.span(), what);
            }
        }
    }
    layer
}

/// The entries of a table, in the order of the file.
fn in_order<'a, 'i>(table: &'a DeTable<'i>) -> Vec<(&'a Spanned<DeString<'i>>, &'a Spanned<DeValue<'i>>)> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    entries
}

/// A profile is named on command lines, and names units.
fn is_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    !name.is_empty() && name.chars().all(allowed) && !name.starts_with(['-', '.'])
}

/// Reports an unknown name with the nearest known one, or with all.
fn unknown(kind: &str, name: &str, place: &str, known: Vec<String>) -> String {
    match nearest(name, known.iter().map(String::as_str)) {
        Some(nearest) => format!("unknown {kind} \"{name}\" in {place}; did you mean \"{nearest}\"?"),
        None => format!("unknown {kind} \"{name}\" in {place}; known are {}", known.join(", ")),
    }
}

struct Reader<'a> {
    path: &'a Arc<Path>,
    text: &'a str,
    problems: &'a mut Vec<Problem>,
}

impl Reader<'_> {
    fn section(&mut self, place: &str, grammar: &Grammar, keys: &DeTable<'_>) -> Section {
        let known = grammar.keys();
        let mut section = Section::default();
        for (name, value) in in_order(keys) {
            let key = name.get_ref().as_ref();
            if !known.iter().any(|known| known == key) {
                self.wrong(&name.span(), unknown("key", key, place, known.clone()));
                continue;
            }
            let origin = self.origin(&value.span());
            match grammar.values(key, self.value(value)) {
                Ok(values) => {
                    if let Err(other) = section.add(grammar, key, Found { value: values, origin }) {
                        self.wrong(&name.span(), format!("{other} and {key} exclude each other in {place}"));
                    }
                }
                Err(why) => {
                    let what = format!("{key} = {}: {why}", self.shown(&value.span()));
                    self.wrong(&value.span(), what);
                }
            }
        }
        section
    }

    fn wrong(&mut self, at: &Range<usize>, what: String) {
        self.problems.push(Problem::new(self.origin(at), what));
    }

    fn origin(&self, at: &Range<usize>) -> Origin {
        let before = self.text.as_bytes().get(..at.start).unwrap_or_default();
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        Origin::File(Arc::clone(self.path), line)
    }

    /// The text of a value, shortened.
    fn shown(&self, at: &Range<usize>) -> String {
        let text = self.text.get(at.clone()).unwrap_or_default();
        let line: Vec<_> = text.split_whitespace().collect();
        let line = line.join(" ");
        match line.char_indices().nth(60) {
            Some((end, _)) => format!("{}…", &line[..end]),
            None => line,
        }
    }

    fn value(&self, value: &Spanned<DeValue<'_>>) -> Value {
        match value.get_ref() {
            DeValue::Array(values) => {
                let words: Option<_> = values.iter().map(|value| self.word(value)).collect();
                words.map_or(Value::Other, Value::List)
            }
            _ => self.word(value).map_or(Value::Other, Value::One),
        }
    }

    /// The value as a word of a command line.
    fn word(&self, value: &Spanned<DeValue<'_>>) -> Option<String> {
        match value.get_ref() {
            DeValue::String(text) => Some(text.to_string()),
            DeValue::Integer(number) if number.radix() == 10 => Some(number.as_str().to_owned()),
            DeValue::Float(number) => Some(number.as_str().to_owned()),
            DeValue::Boolean(on) => Some(on.to_string()),
            // As written: the flag's parser says what is needed instead.
            DeValue::Integer(_) | DeValue::Datetime(_) => Some(self.shown(&value.span())),
            DeValue::Array(_) | DeValue::Table(_) => None,
        }
    }
}
