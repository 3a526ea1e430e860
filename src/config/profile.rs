//! `[profile.NAME]`: a benchmark by name. Its keys are the long flags of `ipc-client bench`, with their values.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use toml::de::DeTable;

use super::file::{Reader, in_order, not_there};
use super::values;
use super::{Found, Label, LabelError, Origin, methods};
use crate::transports;
use crate::units::{self, parse_in_range};

/// A key that a profile may have.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Key {
    /// The long flag of `bench` that it stands for.
    pub(crate) name: &'static str,
    pub(crate) shape: Shape,
    /// What is wrong with a value, if anything is; as the flag has it.
    pub(crate) check: fn(&str) -> Result<(), String>,
}

/// How many values a key has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    One,
    Many,
    /// `true` or `false`, where the flag is there or is not.
    Switch,
}

/// The keys, but for the options that mechanisms have of their own.
pub(crate) const KEYS: [Key; 25] = [
    many("method", |text| methods::meaning(text).map(drop).map_err(|error| error.to_string())),
    many("size", |text| units::parse_size(text).map(drop)),
    many("wait", |text| values::wait(text).map(drop)),
    many("placement", |text| values::placement(text).map(drop)),
    one("client-cpu", |text| units::parse_cpu(text).map(drop)),
    one("server-cpu", |text| units::parse_cpu(text).map(drop)),
    one("rounds", |text| units::parse_rounds(text).map(drop)),
    one("duration", |text| units::parse_duration(text).map(drop)),
    one("trials", |text| parse_in_range(1, 10_000)(text).map(drop)),
    one("warmup", |text| values::warmup(text).map(drop)),
    one("precision", |text| units::parse_percent(text).map(drop)),
    one("max-time", |text| units::parse_duration(text).map(drop)),
    one("parallel", |text| parse_in_range(1, 1000)(text).map(drop)),
    one("rate", |text| units::parse_rate(text).map(drop)),
    many("gap", |text| units::parse_gap(text).map(drop)),
    one("timing", |text| values::timing(text).map(drop)),
    one("clock", |text| values::clock(text).map(drop)),
    one("interval", |text| units::parse_interval(text).map(drop)),
    one("require-grade", values::grade),
    one("format", |text| values::one_of(&["text", "json", "csv", "markdown"], text)),
    one("output", values::file),
    one("hdr-log", values::file),
    Key { name: "record", shape: Shape::Switch, check: |text| values::one_of(&["true", "false"], text) },
    one("label", |text| text.parse().map(|_: Label| ()).map_err(|error: LabelError| error.to_string())),
    one("history", values::file),
];

/// Pairs of keys of which a profile has one at most.
pub(crate) const EXCLUDE: [(&str, &str); 4] =
    [("rounds", "duration"), ("placement", "client-cpu"), ("placement", "server-cpu"), ("rate", "gap")];

const fn one(name: &'static str, check: fn(&str) -> Result<(), String>) -> Key {
    Key { name, shape: Shape::One, check }
}

const fn many(name: &'static str, check: fn(&str) -> Result<(), String>) -> Key {
    Key { name, shape: Shape::Many, check }
}

/// A benchmark by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Profile(BTreeMap<&'static str, Found<Vec<String>>>);

/// No profile has that name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "there is no profile \"{name}\" in {}; {}",
    .files.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", "),
    if .known.is_empty() { "there is none at all".to_owned() } else { format!("there are {}", .known.join(", ")) }
)]
pub struct UnknownProfile {
    pub(super) name: String,
    pub(super) known: Vec<String>,
    pub(super) files: Vec<PathBuf>,
}

/// Whether a profile may have only one of these two.
pub(crate) fn exclude(one: &str, other: &str) -> bool {
    EXCLUDE.contains(&(one, other)) || EXCLUDE.contains(&(other, one))
}

/// Reads a profile of one file.
pub(super) fn read(reader: &mut Reader<'_>, name: &str, keys: &DeTable<'_>) -> Profile {
    let mut profile = Profile::default();
    for (key, value) in in_order(keys) {
        let written = key.get_ref().as_ref();
        let options = transports::ALL.iter().flat_map(|mechanism| mechanism.info().options);
        let read = if let Some(key) = KEYS.iter().find(|key| key.name == written) {
            let values = match key.shape {
                Shape::Many => reader.many(written, value, key.check),
                Shape::One | Shape::Switch => {
                    reader.one(written, value, |text| (key.check)(text).map(|()| vec![text.to_owned()]))
                }
            };
            values.map(|values| (key.name, values))
        } else if let Some(option) = options.clone().find(|option| option.name == written) {
            let check = |text: &str| match option.values.contains(&text) {
                true => Ok(()),
                false => Err(format!("it may be {}", option.values.join(" or "))),
            };
            reader.many(written, value, check).map(|values| (option.name, values))
        } else {
            let known = KEYS.iter().map(|key| key.name).chain(options.map(|option| option.name));
            // Several mechanisms have the same option.
            let mut seen = BTreeSet::new();
            let known: Vec<_> = known.filter(|name| seen.insert(*name)).collect();
            let place = format!("[profile.{name}]");
            reader.wrong(&key.span(), not_there("key", written, &place, known));
            None
        };
        let Some((known, values)) = read else { continue };
        match profile.0.keys().find(|other| exclude(other, known)) {
            Some(other) => {
                reader.wrong(
                    &key.span(),
                    format!("{other} and {known} exclude each other in [profile.{name}]"),
                );
            }
            None => drop(profile.0.insert(known, values)),
        }
    }
    profile
}

impl Profile {
    /// What `upper` says goes before, and before what it excludes.
    pub(super) fn put_over(&mut self, upper: Self) {
        self.0.retain(|lower, _| !upper.0.keys().any(|upper| exclude(lower, upper)));
        self.0.extend(upper.0);
    }

    /// What it says of a key.
    pub(super) fn found(&self, key: &str) -> Option<&Found<Vec<String>>> {
        self.0.get(key)
    }

    /// Whether it has a switch that is on.
    pub(crate) fn is_on(&self, key: &str) -> bool {
        self.0.get(key).is_some_and(|found| found.value == ["true"])
    }

    /// Its keys with their values, as the command line would have them, and where they stand.
    pub fn entries(&self) -> impl Iterator<Item = (&'static str, &[String], &Origin)> {
        self.0.iter().map(|(key, found)| (*key, found.value.as_slice(), &found.origin))
    }
}
