//! `--profile`: flags from the configuration, behind those of the command line.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::ArgMatches;
use clap::parser::ValueSource;

use crate::client::Failure;
use crate::client::plan::selection::{Meaning, meaning};
use crate::config::{Config, Profile, exclude, sources};
use crate::transports::{self, Mechanism};

/// The only command that has profiles.
const BENCH: &str = "bench";

/// The only flag without a value that a profile has, and what belongs to it.
const RECORD: &str = "record";
const OF_THE_RECORD: [&str; 2] = ["label", "history"];

/// The flags that the command line's profile adds to it, if it names one.
pub(super) fn flags_of(matches: &ArgMatches) -> Result<Option<Vec<String>>, Failure> {
    let Some((BENCH, bench)) = matches.subcommand() else { return Ok(None) };
    let Some(name) = bench.get_one::<String>("profile") else { return Ok(None) };
    let sources = sources(bench.get_one::<PathBuf>("config").map(PathBuf::as_path));
    let config = Config::read(&sources).map_err(Failure::usage)?;
    Ok(Some(flags(config.profile(name).map_err(Failure::usage)?, bench)))
}

/// The command line with them; `words` is what was typed, the program first.
pub(super) fn with_flags(words: impl IntoIterator<Item = OsString>, flags: &[String]) -> Vec<OsString> {
    // Behind the command's name, which is the first word behind the program's.
    let mut words: Vec<OsString> = words.into_iter().collect();
    let behind = words.iter().position(|word| word == BENCH).map_or(words.len(), |at| at + 1);
    words.splice(behind..behind, flags.iter().map(OsString::from));
    words
}

/// What the profile adds to what was typed: nothing that was, nor what that excludes.
fn flags(profile: &Profile, matches: &ArgMatches) -> Vec<String> {
    let is_typed = |id: &str| matches.value_source(id) == Some(ValueSource::CommandLine);
    let typed: Vec<String> =
        matches.ids().map(|id| id.as_str()).filter(|id| is_typed(id)).map(flag).collect();
    let beaten = |key: &str| typed.iter().any(|typed| typed == key || exclude(typed, key));
    // An option that no method has is an error where it is typed; a profile's is for its own methods.
    let methods = typed_methods(matches);
    let is_for_others = |key: &str| {
        let typed = typed.iter().any(|typed| typed == "method");
        typed && has_option(transports::ALL, key) && !has_option(&methods, key)
    };
    // The record's name and place mean nothing where there is none.
    let records = typed.iter().any(|typed| typed == RECORD) || profile.is_on(RECORD);
    let is_of_no_record = |key: &str| OF_THE_RECORD.contains(&key) && !records;
    profile
        .entries()
        .filter(|(key, ..)| !beaten(key) && !is_for_others(key) && !is_of_no_record(key))
        .filter_map(|(key, values, _)| match key {
            RECORD => profile.is_on(RECORD).then(|| format!("--{RECORD}")),
            _ => Some(format!("--{key}={}", values.join(","))),
        })
        .collect()
}

/// Whether one of these has an option of this name.
fn has_option(mechanisms: &[&dyn Mechanism], name: &str) -> bool {
    mechanisms.iter().flat_map(|mechanism| mechanism.info().options).any(|option| option.name == name)
}

/// The methods that were named, as far as there are such.
fn typed_methods(matches: &ArgMatches) -> Vec<&'static dyn Mechanism> {
    let names = matches.get_many::<String>("methods").unwrap_or_default();
    names
        .filter_map(|name| meaning(name).ok())
        .flat_map(|meaning| match meaning {
            Meaning::One(mechanism) => vec![mechanism],
            Meaning::Several(members) => members,
        })
        .collect()
}

/// The long flag of an argument's ID.
fn flag(id: &str) -> String {
    match id {
        "methods" => "method".to_owned(),
        "sizes" => "size".to_owned(),
        "waits" => "wait".to_owned(),
        "placements" => "placement".to_owned(),
        "gaps" => "gap".to_owned(),
        "json" => "format".to_owned(),
        other => other.replace('_', "-"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::parser;
    use super::*;
    use crate::config::{EXCLUDE, KEYS, Shape};

    /// Flags that no profile has: they say how this one call is made.
    const NOT_KEYS: [&str; 9] =
        ["config", "socket", "private", "no-wait", "json", "json-stream", "verbose", "profile", "help"];

    fn bench() -> clap::Command {
        let mut command = parser();
        command.build();
        command.find_subcommand(BENCH).unwrap().clone()
    }

    #[test]
    fn the_keys_of_a_profile_are_the_flags_of_bench() {
        let bench = bench();
        let flags: BTreeSet<_> = bench.get_arguments().filter_map(clap::Arg::get_long).collect();
        let (options, flags): (BTreeSet<_>, BTreeSet<_>) =
            flags.into_iter().partition(|flag| has_option(transports::ALL, flag));
        assert!(options.contains("nodelay"), "those of mechanisms are keys where there is such a mechanism");
        let keys: BTreeSet<_> = KEYS.iter().map(|key| key.name).chain(NOT_KEYS).collect();
        assert_eq!(flags, keys, "a new flag is a key of src/config/profile.rs, or named here");
        for argument in bench.get_arguments() {
            let long = argument.get_long().filter(|long| *long != "json" && flags.contains(long));
            assert!(long.is_none_or(|long| flag(argument.get_id().as_str()) == long), "{argument:?}");
        }
    }

    #[test]
    fn what_a_key_may_be_its_flag_may_be() {
        let values = [
            "",
            "0",
            "1",
            "-1",
            "2",
            "8",
            "64",
            "4k",
            "1M",
            "1000",
            "10001",
            "5000000000",
            "10k",
            "1.5",
            "2%",
            "101%",
            "500ms",
            "10us",
            "0s",
            "1s",
            "60s",
            "10h",
            "1000000h",
            "10k/s",
            "0/s",
            "block",
            "spin",
            "adaptive",
            "never",
            "all",
            "sockets",
            "tcp",
            "stdio",
            "carrier-pigeon",
            "smt",
            "cross-core",
            "moon",
            "round",
            "batch:7",
            "auto",
            "batch:1",
            "tsc",
            "sundial",
            "A",
            "f",
            "G",
            "text",
            "json",
            "pdf",
            "a.json",
        ];
        for key in KEYS.iter().filter(|key| key.shape != Shape::Switch) {
            let more = if OF_THE_RECORD.contains(&key.name) { &["--record"][..] } else { &[] };
            for value in values {
                let word = format!("--{}={value}", key.name);
                // What a method is called is looked at when the line is right.
                let known = key.name != "method" || meaning(value).is_ok();
                let line = ["ipc-client", BENCH, &word].into_iter().chain(more.iter().copied());
                let line = parser().try_get_matches_from(line).is_ok() && known;
                assert_eq!((key.check)(value).is_ok(), line, "{word}");
            }
        }
    }

    #[test]
    fn what_excludes_each_other_does_so_on_the_command_line() {
        let example = |key| match key {
            "rounds" | "client-cpu" | "server-cpu" => "1",
            "duration" | "gap" => "1s",
            "placement" => "smt",
            "rate" => "1/s",
            other => panic!("{other}"),
        };
        for (one, other) in EXCLUDE {
            let words = [one, other].map(|key| format!("--{key}={}", example(key)));
            let line = ["ipc-client", BENCH, &words[0], &words[1]];
            assert!(parser().try_get_matches_from(line).is_err(), "{words:?}");
        }
    }
}
