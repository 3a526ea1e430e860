//! What can only be seen when all files are read: values that go against each other, and what a profile's methods cannot do.

use std::collections::BTreeMap;
use std::path::Path;

use super::daemon::{DEFAULT_MEASUREMENTS, Section};
use super::limits::{LimitFlags, LimitSettings};
use super::methods::{Meaning, meaning};
use super::{Found, Origin, Problem, Profile, Timing, values};
use crate::transports::{self, Mechanism};
use crate::units;

/// A folder for each CPU of the host.
const CPUS: &str = "/sys/devices/system/cpu";

/// What is wrong, on any host: a file may be one that many hosts have.
pub(super) fn problems(daemon: &Section, profiles: &BTreeMap<String, Profile>) -> Vec<Problem> {
    let limits = LimitSettings::of(&LimitFlags::default(), &daemon.limits);
    let measurements = daemon.measurements.clone();
    let measurements = measurements.unwrap_or(Found { value: DEFAULT_MEASUREMENTS, origin: Origin::Default });
    let mut told = limits.contradictions(&measurements);
    for (name, profile) in profiles {
        if let Some(time) = profile.found("max-time").filter(|_| profile.found("precision").is_none()) {
            told.push(at(time, format!("max-time needs a precision in [profile.{name}]")));
        }
        told.extend(batches(name, profile));
        let methods = Methods::of(profile);
        told.extend(methods.sizes(name, profile));
        told.extend(methods.waits(profile));
        told.extend(methods.options(name, profile));
    }
    told
}

/// What comes to nothing on this host, or without more on the command line.
pub(super) fn doubts(profiles: &BTreeMap<String, Profile>) -> Vec<Problem> {
    let mut told = Vec::new();
    for (name, profile) in profiles {
        for key in ["label", "history"] {
            if let Some(found) = profile.found(key).filter(|_| !profile.is_on("record")) {
                let shown = found.value.join(",");
                let what = format!(
                    "{key} = {shown}: it means nothing in [profile.{name}] without record = true, or --record beside it"
                );
                told.push(doubt(found, what));
            }
        }
        for key in ["client-cpu", "server-cpu"] {
            let Some(found) = profile.found(key) else { continue };
            let cpu = found.value.join(",");
            // Without the folder of folders nothing is known.
            if Path::new(CPUS).is_dir() && !Path::new(CPUS).join(format!("cpu{cpu}")).is_dir() {
                told.push(doubt(found, format!("{key} = {cpu}: this host has no such CPU")));
            }
        }
        let Some(methods) = profile.found("method") else { continue };
        told.extend(Methods::of(profile).sizes_here(profile));
        for mechanism in Methods::of(profile).named {
            if let Err(reason) = mechanism.probe() {
                let method = mechanism.info().name;
                told.push(doubt(methods, format!("{method} is not to be had on this host: {reason}")));
            }
        }
    }
    told
}

fn doubt<T>(found: &Found<T>, what: String) -> Problem {
    at(found, format!("warning: {what}"))
}

fn at<T>(found: &Found<T>, what: String) -> Problem {
    Problem::new(found.origin.clone(), what)
}

/// Batches that no trial has room for.
fn batches(name: &str, profile: &Profile) -> Option<Problem> {
    let rounds = profile.found("rounds")?;
    let Ok(Timing::Batch(batch)) = values::timing(profile.found("timing")?.value.first()?) else {
        return None;
    };
    let there = units::parse_rounds(rounds.value.first()?).ok()?;
    let what =
        format!("rounds = {there}: timing = \"batch:{batch}\" in [profile.{name}] needs {batch} at least");
    (there < u64::from(batch)).then(|| at(rounds, what))
}

/// Sizes as they are written, and in bytes.
fn sizes_of(sizes: &Found<Vec<String>>) -> impl Iterator<Item = (&str, u32)> {
    sizes.value.iter().filter_map(|word| Some((word.as_str(), units::parse_size(word).ok()?)))
}

/// What a profile measures.
struct Methods {
    /// By their own names: what one of these cannot do is an error of the run.
    named: Vec<&'static dyn Mechanism>,
    /// By a group's name: such a one is skipped.
    grouped: Vec<&'static dyn Mechanism>,
}

impl Methods {
    fn of(profile: &Profile) -> Self {
        let (mut named, mut grouped) = (Vec::new(), Vec::new());
        let all = [super::methods::ALL.to_owned()];
        let words = profile.found("method").map_or(&all[..], |found| &found.value);
        for meaning in words.iter().filter_map(|word| meaning(word).ok()) {
            match meaning {
                Meaning::One(mechanism) => named.push(mechanism),
                Meaning::Several(members) => grouped.extend(members),
            }
        }
        Self { named, grouped }
    }

    fn all(&self) -> impl Iterator<Item = &'static dyn Mechanism> {
        self.named.iter().chain(&self.grouped).copied()
    }

    /// Sizes that one of them is to carry and cannot, or none can.
    fn sizes(&self, name: &str, profile: &Profile) -> Vec<Problem> {
        let Some(sizes) = profile.found("size") else { return Vec::new() };
        let mut told = Vec::new();
        for (word, size) in sizes_of(sizes) {
            let refused = |mechanism: &dyn Mechanism| mechanism.info().sizes.size(size).err();
            for mechanism in &self.named {
                told.extend(refused(*mechanism).map(|why| {
                    at(sizes, format!("size = {word}: {} cannot do that: {why}", mechanism.info().name))
                }));
            }
            let grouped = self.named.is_empty() && !self.grouped.is_empty();
            if grouped && self.grouped.iter().all(|mechanism| refused(*mechanism).is_some()) {
                let what = format!("size = {word}: none of the methods of [profile.{name}] carries it");
                told.push(at(sizes, what));
            }
        }
        told
    }

    /// Sizes that a limit of this host keeps one of them from carrying.
    fn sizes_here(&self, profile: &Profile) -> Vec<Problem> {
        let Some(sizes) = profile.found("size") else { return Vec::new() };
        let mut told = Vec::new();
        for (word, size) in sizes_of(sizes) {
            for mechanism in &self.named {
                if let Err(why) = mechanism.capabilities().size(size)
                    && mechanism.info().sizes.size(size).is_ok()
                {
                    let name = mechanism.info().name;
                    told.push(doubt(
                        sizes,
                        format!("size = {word}: {name} cannot do that on this host: {why}"),
                    ));
                }
            }
        }
        told
    }

    /// Wait strategies that one of them lacks, or all.
    fn waits(&self, profile: &Profile) -> Vec<Problem> {
        let Some(waits) = profile.found("wait") else { return Vec::new() };
        let mut told = Vec::new();
        for wait in waits.value.iter().filter_map(|word| values::wait(word).ok()) {
            for mechanism in &self.named {
                let info = mechanism.info();
                if !info.waits.contains(&wait) {
                    let can: Vec<_> = info.waits.iter().map(|wait| wait.name()).collect();
                    let what =
                        format!("wait = {wait}: {} cannot do that; it can {}", info.name, can.join(", "));
                    told.push(at(waits, what));
                }
            }
        }
        told
    }

    /// Options that none of them has.
    fn options(&self, name: &str, profile: &Profile) -> Vec<Problem> {
        let has = |mechanism: &dyn Mechanism, key: &str| {
            mechanism.info().options.iter().any(|option| option.name == key)
        };
        let known = |key: &str| transports::ALL.iter().any(|mechanism| has(*mechanism, key));
        let none_has = |key: &str| !self.all().any(|mechanism| has(mechanism, key));
        profile
            .entries()
            .filter(|(key, ..)| known(key) && none_has(key))
            .map(|(key, _, origin)| {
                let what = format!("{key}: none of the methods of [profile.{name}] has this option");
                Problem::new(origin.clone(), what)
            })
            .collect()
    }
}
