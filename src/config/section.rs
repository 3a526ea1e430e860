//! A section of a file: flags of a command, which the command's own parser checks. So a key takes what its flag takes, and
//! what excludes each other on a command line does so in a file.

use std::collections::BTreeMap;
use std::error::Error as _;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, Command};

use super::{Found, Origin};

/// The command whose long flags are the keys of a section.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Grammar {
    /// The command.
    pub command: fn() -> Command,
    /// Its flags that are not keys.
    pub excluded: &'static [&'static str],
    /// Checks a value further than the flag's parser does, by the key.
    pub check: fn(&str, &str) -> Result<(), String>,
}

/// A value as a file has it.
pub(super) enum Value {
    /// As the words of a command line: one, or those of a list.
    One(String),
    List(Vec<String>),
    /// A table, or a list of lists.
    Other,
}

impl Grammar {
    /// Every key.
    pub(super) fn keys(&self) -> Vec<String> {
        let command = (self.command)();
        let flags = command.get_arguments().filter_map(Arg::get_long);
        flags.filter(|flag| !self.excluded.contains(flag)).map(str::to_owned).collect()
    }

    /// The values of a key.
    ///
    /// # Errors
    /// All that is wrong with them.
    pub(super) fn values(&self, key: &str, value: Value) -> Result<Vec<String>, String> {
        let command = (self.command)();
        let arg = argument(&command, key).expect("the key was looked up");
        let is_list = matches!(arg.get_action(), ArgAction::Append);
        let values = match value {
            Value::One(text) => match arg.get_value_delimiter() {
                Some(delimiter) => {
                    let values = text.split(delimiter).map(|value| value.trim().to_owned());
                    values.filter(|value| !value.is_empty()).collect()
                }
                None => vec![text],
            },
            Value::List(values) if is_list && !values.is_empty() => values,
            _ if is_list => return Err("a value is needed, or a list of them".to_owned()),
            _ => return Err("one value is needed, not several".to_owned()),
        };
        let wrong =
            |value: &String| (self.check)(key, value).and_then(|()| parse(&command, arg, value)).err();
        let wrong: Vec<_> = values.iter().filter_map(wrong).collect();
        if wrong.is_empty() { Ok(values) } else { Err(wrong.join("; ")) }
    }
}

/// Lets the command's parser check one value.
fn parse(command: &Command, arg: &Arg, value: &str) -> Result<(), String> {
    if is_switch(arg) && !["true", "false"].contains(&value) {
        return Err("it may be true or false".to_owned());
    }
    let error = line_error(command, words(arg, &[value.to_owned()]));
    match error {
        // Other flags may be missing, which only the whole section shows.
        Some(error) if matches!(error.kind(), ErrorKind::ValueValidation | ErrorKind::InvalidValue) => {
            Err(match (error.source(), error.get(ContextKind::ValidValue)) {
                (Some(why), _) => why.to_string(),
                (None, Some(ContextValue::Strings(valid))) if !valid.is_empty() => {
                    format!("it may be {}", valid.join(" or "))
                }
                _ => "a value is needed".to_owned(),
            })
        }
        _ => Ok(()),
    }
}

/// The argument with this long flag.
fn argument<'a>(command: &'a Command, key: &str) -> Option<&'a Arg> {
    command.get_arguments().find(|arg| arg.get_long() == Some(key))
}

fn is_switch(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::SetTrue)
}

/// The words for an argument on the command line: none for a switch that is off, several for one that is repeated.
fn words(arg: &Arg, values: &[String]) -> Vec<String> {
    let Some(key) = arg.get_long() else { return Vec::new() };
    match (is_switch(arg), arg.get_value_delimiter()) {
        (true, _) if values == ["true"] => vec![format!("--{key}")],
        (true, _) => Vec::new(),
        (false, Some(_)) => vec![format!("--{key}={}", values.join(","))],
        (false, None) => values.iter().map(|value| format!("--{key}={value}")).collect(),
    }
}

/// The command parser's error for these words; `None` if it accepts them.
fn line_error(command: &Command, words: Vec<String>) -> Option<clap::Error> {
    let line = std::iter::once(command.get_name().to_owned()).chain(words);
    command.clone().try_get_matches_from(line).err()
}

/// Whether the command excludes one of these flags where the other is.
#[must_use]
pub(crate) fn exclude(command: &Command, one: &str, other: &str) -> bool {
    let excludes = |one: &str, other: &str| {
        let excluded = argument(command, one).map(|arg| command.get_arg_conflicts_with(arg));
        excluded.is_some_and(|excluded| excluded.iter().any(|arg| arg.get_long() == Some(other)))
    };
    excludes(one, other) || excludes(other, one)
}

/// The keys of a section with their values.
#[derive(Debug, Clone, Default)]
pub(crate) struct Section(BTreeMap<String, Found<Vec<String>>>);

impl Section {
    /// Adds a key.
    ///
    /// # Errors
    /// The key that excludes it, which stays.
    pub(super) fn add(
        &mut self,
        grammar: &Grammar,
        key: &str,
        values: Found<Vec<String>>,
    ) -> Result<(), String> {
        let command = (grammar.command)();
        if let Some(other) = self.0.keys().find(|other| exclude(&command, other, key)) {
            return Err(other.clone());
        }
        self.0.insert(key.to_owned(), values);
        Ok(())
    }

    /// Adds all keys of `upper`, which override these and those that they exclude.
    pub(super) fn override_with(&mut self, grammar: &Grammar, upper: Self) {
        let command = (grammar.command)();
        self.0.retain(|lower, _| !upper.0.keys().any(|upper| exclude(&command, lower, upper)));
        self.0.extend(upper.0);
    }

    /// The values of a key.
    #[must_use]
    pub(crate) fn get(&self, key: &str) -> Option<&Found<Vec<String>>> {
        self.0.get(key)
    }

    /// The keys with their values, by name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Found<Vec<String>>)> {
        self.0.iter().map(|(key, found)| (key.as_str(), found))
    }

    /// The words of the command line for the keys that pass the filter.
    #[must_use]
    pub(crate) fn words(&self, command: &Command, keep: impl Fn(&str) -> bool) -> Vec<String> {
        let kept = self.iter().filter(|(key, _)| keep(key));
        let of_key =
            |(key, found): (&str, &Found<Vec<String>>)| Some(words(argument(command, key)?, &found.value));
        kept.filter_map(of_key).flatten().collect()
    }

    /// The keys that require a flag which the section lacks: the key, where it is, and the flag.
    #[must_use]
    pub(crate) fn incomplete(&self, command: &Command) -> Vec<(&str, &Origin, String)> {
        let is_there = |flag: &str| {
            let there = argument(command, flag).zip(self.get(flag));
            there.is_some_and(|(arg, found)| !words(arg, &found.value).is_empty())
        };
        let mut incomplete = Vec::new();
        for (key, Found { value, origin }) in self.iter() {
            let Some(arg) = argument(command, key) else { continue };
            let Some(error) = line_error(command, words(arg, value)) else { continue };
            // Each as its usage has it: `--precision <PERCENT>`.
            if let Some(ContextValue::Strings(missing)) = error.get(ContextKind::InvalidArg)
                && error.kind() == ErrorKind::MissingRequiredArgument
            {
                let flags = missing.iter().filter_map(|usage| usage.split(' ').next()?.strip_prefix("--"));
                let missing = flags.filter(|flag| !is_there(flag));
                incomplete.extend(missing.map(|flag| (key, origin, flag.to_owned())));
            }
        }
        incomplete
    }
}
