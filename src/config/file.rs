//! One file: its sections and keys, and everything that is wrong with them.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::daemon::{self, Section};
use super::profile::{self, Profile};
use super::{Found, Origin, Problem};

/// What one file says.
#[derive(Debug, Default)]
pub(super) struct Layer {
    pub(super) daemon: Section,
    pub(super) profiles: BTreeMap<String, Profile>,
}

const SECTIONS: [&str; 2] = ["daemon", "profile"];

/// Reads a file's text. What is wrong is added to `problems`, and left out.
pub(super) fn read(path: &Arc<Path>, text: &str, problems: &mut Vec<Problem>) -> Layer {
    let mut reader = Reader { path, text, problems };
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let at = error.span().unwrap_or(0..0);
        reader.wrong(&at, error.message().to_owned());
    }
    let mut layer = Layer::default();
    if !errors.is_empty() {
        // What was saved of a broken file would be complained of for the wrong reason.
        return layer;
    }
    for (name, value) in in_order(table.get_ref()) {
        let Some(section) = value.get_ref().as_table() else {
            let what = match name.get_ref().as_ref() {
                known if SECTIONS.contains(&known) => {
                    format!("\"{known}\" is a section, which begins with [{known}…]")
                }
                other => not_there("section", other, "a file", SECTIONS),
            };
            reader.wrong(&name.span(), what);
            continue;
        };
        match name.get_ref().as_ref() {
            "daemon" => layer.daemon = daemon::read(&mut reader, section),
            "profile" => {
                for (name, value) in in_order(section) {
                    match value.get_ref().as_table() {
                        Some(keys) if is_name(name.get_ref()) => {
                            let profile = profile::read(&mut reader, name.get_ref(), keys);
                            layer.profiles.insert(name.get_ref().to_string(), profile);
                        }
                        Some(_) => reader.wrong(
                            &name.span(),
                            format!(
                                "a profile's name is made of letters, digits, -, _ and ., and \"{}\" is not",
                                name.get_ref()
                            ),
                        ),
                        None => reader.wrong(
                            &name.span(),
                            format!(
                                "\"{}\" stands outside of a profile: [profile.NAME] begins one",
                                name.get_ref()
                            ),
                        ),
                    }
                }
            }
            other => reader.wrong(&name.span(), not_there("section", other, "a file", SECTIONS)),
        }
    }
    layer
}

/// What a table holds, in the order in which it stands there.
pub(super) fn in_order<'a, 'i>(
    table: &'a DeTable<'i>,
) -> Vec<(&'a Spanned<DeString<'i>>, &'a Spanned<DeValue<'i>>)> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    entries
}

/// A profile is named on command lines, and names units.
fn is_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    !name.is_empty() && name.chars().all(allowed) && !name.starts_with(['-', '.'])
}

/// What is told of a name that means nothing: the nearest that does, or all that do.
pub(super) fn not_there<'a>(
    kind: &str,
    name: &str,
    place: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> String {
    let known: Vec<_> = known.into_iter().collect();
    let near = |other: &&&str| strsim::damerau_levenshtein(name, other) <= 1 + name.len() / 4;
    let nearest = known.iter().filter(near).min_by_key(|other| strsim::damerau_levenshtein(name, other));
    match nearest {
        Some(nearest) => format!("{place} has no {kind} \"{name}\"; did you mean \"{nearest}\"?"),
        None => format!("{place} has no {kind} \"{name}\"; there are {}", known.join(", ")),
    }
}

/// The file that is being read.
pub(super) struct Reader<'a> {
    path: &'a Arc<Path>,
    text: &'a str,
    problems: &'a mut Vec<Problem>,
}

impl Reader<'_> {
    pub(super) fn wrong(&mut self, at: &Range<usize>, what: String) {
        let line = self.line(at);
        self.problems.push(Problem::new(Origin::File(Arc::clone(self.path), line), what));
    }

    fn line(&self, at: &Range<usize>) -> usize {
        let before = self.text.as_bytes().get(..at.start).unwrap_or_default();
        1 + before.iter().filter(|byte| **byte == b'\n').count()
    }

    /// What stands there, in a few words.
    fn shown(&self, at: &Range<usize>) -> String {
        let text = self.text.get(at.clone()).unwrap_or_default();
        let line: Vec<_> = text.split_whitespace().collect();
        let line = line.join(" ");
        match line.char_indices().nth(60) {
            Some((end, _)) => format!("{}…", &line[..end]),
            None => line,
        }
    }

    /// A value that is read as a flag's is.
    pub(super) fn one<T>(
        &mut self,
        key: &str,
        value: &Spanned<DeValue<'_>>,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Found<T>> {
        let read = match self.word(value) {
            Some(word) => parse(&word),
            None => Err("one value is needed, not several".to_owned()),
        };
        match read {
            Ok(value_read) => {
                let line = self.line(&value.span());
                Some(Found { value: value_read, origin: Origin::File(Arc::clone(self.path), line) })
            }
            Err(why) => {
                let shown = self.shown(&value.span());
                self.wrong(&value.span(), format!("{key} = {shown}: {why}"));
                None
            }
        }
    }

    /// One or several values, each of which is read as a flag's is: in a list, or with commas between them.
    pub(super) fn many(
        &mut self,
        key: &str,
        value: &Spanned<DeValue<'_>>,
        check: impl Fn(&str) -> Result<(), String>,
    ) -> Option<Found<Vec<String>>> {
        let words: Option<Vec<String>> = match value.get_ref() {
            DeValue::Array(values) => values.iter().map(|value| self.word(value)).collect(),
            DeValue::String(text) => Some(text.split(',').map(str::to_owned).collect()),
            _ => self.word(value).map(|word| vec![word]),
        };
        let read = match words {
            Some(words) if !words.is_empty() => {
                let wrong: Vec<_> = words.iter().filter_map(|word| check(word).err()).collect();
                if wrong.is_empty() { Ok(words) } else { Err(wrong.join("; ")) }
            }
            _ => Err("a value is needed, or a list of them".to_owned()),
        };
        match read {
            Ok(words) => {
                let line = self.line(&value.span());
                Some(Found { value: words, origin: Origin::File(Arc::clone(self.path), line) })
            }
            Err(why) => {
                let shown = self.shown(&value.span());
                self.wrong(&value.span(), format!("{key} = {shown}: {why}"));
                None
            }
        }
    }

    /// What a command line would have for it.
    fn word(&self, value: &Spanned<DeValue<'_>>) -> Option<String> {
        match value.get_ref() {
            DeValue::String(text) => Some(text.to_string()),
            DeValue::Integer(number) if number.radix() == 10 => Some(number.as_str().to_owned()),
            DeValue::Float(number) => Some(number.as_str().to_owned()),
            DeValue::Boolean(on) => Some(on.to_string()),
            // As it stands there, for what reads it to say what is needed.
            DeValue::Integer(_) | DeValue::Datetime(_) => Some(self.shown(&value.span())),
            DeValue::Array(_) | DeValue::Table(_) => None,
        }
    }
}
