//! `--profile`: flags of `bench` from the configuration, and what can be wrong with them.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Args, Command};

use super::output::{OutputArgs, RecordArgs};
use crate::client::Failure;
use crate::client::judge::warnings::Grade;
use crate::client::measure::Timing;
use crate::client::plan::PlanArgs;
use crate::client::plan::selection::{ALL, Meaning, MethodOptions, has_option, meaning};
use crate::config::{Config, Found, Grammar, Origin, Problem, ProfileRules, Section, exclude, sources};
use crate::protocol::Wait;
use crate::transports::sys::clock::ClockChoice;
use crate::transports::{self, Mechanism};
use crate::units;

/// The only command with profiles.
const BENCH: &str = "bench";

/// A folder for each CPU of the host.
const CPUS: &str = "/sys/devices/system/cpu";

/// The flags of `bench` that say what is measured and where results go.
#[derive(Debug, Args)]
pub(super) struct ProfileArgs {
    #[command(flatten)]
    pub plan: PlanArgs,
    /// The clock: auto, tsc, monotonic.
    #[arg(long, value_name = "CLOCK", default_value = "auto")]
    pub clock: ClockChoice,
    #[command(flatten)]
    pub output: OutputArgs,
    /// Fail with exit code 11 if the results' grade, from A to F, is below this one.
    #[arg(long, value_name = "GRADE")]
    pub require_grade: Option<Grade>,
    #[command(flatten)]
    pub record: RecordArgs,
}

/// What a profile may hold, and what is checked beyond the command line's parser.
pub(crate) const RULES: ProfileRules = ProfileRules {
    grammar: Grammar {
        command: bench,
        // They say how one call is made.
        excluded: &["json", "json-stream", "verbose"],
        // The command line reports all unknown methods at once, so its parser does not check them.
        check: |key, value| match key {
            "method" => meaning(value).map(drop).map_err(|error| error.to_string()),
            _ => Ok(()),
        },
    },
    problems,
    warnings,
};

/// The command with the options of the mechanisms.
fn bench() -> Command {
    MethodOptions::add_to(ProfileArgs::augment_args(Command::new(BENCH)), true)
}

/// The flags that the profile adds to the command line, if one is named.
pub(super) fn flags_of(matches: &ArgMatches) -> Result<Option<Vec<String>>, Failure> {
    let Some((BENCH, typed)) = matches.subcommand() else { return Ok(None) };
    let Some(name) = typed.get_one::<String>("profile") else { return Ok(None) };
    let sources = sources(typed.get_one::<PathBuf>("config").map(PathBuf::as_path));
    let config = Config::read(&sources, &RULES).map_err(Failure::usage)?;
    Ok(Some(flags(config.profile(name).map_err(Failure::usage)?, typed)))
}

/// The command line with these flags; `words` is what was typed, the program first.
pub(super) fn with_flags(words: impl IntoIterator<Item = OsString>, flags: &[String]) -> Vec<OsString> {
    // Behind the command's name, which is the first word behind the program's.
    let mut words: Vec<OsString> = words.into_iter().collect();
    let behind = words.iter().position(|word| word == BENCH).map_or(words.len(), |at| at + 1);
    words.splice(behind..behind, flags.iter().map(OsString::from));
    words
}

/// The flags of a profile that typed ones neither override nor exclude.
fn flags(profile: &Section, matches: &ArgMatches) -> Vec<String> {
    let bench = bench();
    let is_typed = |arg: &&Arg| matches.value_source(arg.get_id().as_str()) == Some(ValueSource::CommandLine);
    let mut typed: Vec<&str> = bench.get_arguments().filter(is_typed).filter_map(Arg::get_long).collect();
    let mut typed_methods = Vec::new();
    for id in ["named", "methods"] {
        typed_methods.extend(matches.get_many::<String>(id).into_iter().flatten().map(String::as_str));
    }
    if !typed_methods.is_empty() {
        typed.push("method");
    }
    // An option that no method has is an error where it is typed; a profile's is for its own methods.
    let typed_methods =
        (!typed_methods.is_empty()).then(|| Methods::of(typed_methods.into_iter()).all().collect::<Vec<_>>());
    let is_for_others = |key: &str| {
        let has = |methods: &[&dyn Mechanism]| methods.iter().any(|method| has_option(*method, key));
        has(transports::ALL) && typed_methods.as_ref().is_some_and(|methods| !has(methods))
    };
    // A label and a history are for a record only.
    let incomplete = profile.incomplete(&bench);
    let lacks = |key: &str| {
        incomplete.iter().any(|(incomplete, _, flag)| *incomplete == key && !typed.contains(&flag.as_str()))
    };
    profile.words(&bench, |key| {
        let overridden = typed.iter().any(|typed| *typed == key || exclude(&bench, typed, key));
        !overridden && !is_for_others(key) && !lacks(key)
    })
}

/// What is wrong with a profile on any host: a file may be shared by many.
fn problems(name: &str, profile: &Section) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (key, origin, flag) in profile.incomplete(&bench()) {
        if flag != RECORD {
            problems.push(Problem::new(origin.clone(), format!("{key} needs a {flag} in [profile.{name}]")));
        }
    }
    problems.extend(batches(name, profile));
    let methods = Methods::of_profile(profile);
    let cannot = |found: &Found<_>, key: &str, word: &str, method: &str, why: &str| {
        let what = format!("{key} = {word}: {method} cannot do that{why}");
        Problem::new(found.origin.clone(), what)
    };
    for (found, word, size) in parsed(profile, "size", units::parse_size) {
        let refused = |method: &dyn Mechanism| method.info().sizes.size(size).err();
        for method in &methods.named {
            problems.extend(refused(*method).map(|why| {
                let why = format!(": {why}");
                cannot(found, "size", word, method.info().name, &why)
            }));
        }
        let grouped = methods.named.is_empty() && !methods.grouped.is_empty();
        if grouped && methods.grouped.iter().all(|method| refused(*method).is_some()) {
            let what = format!("size = {word}: none of the methods of [profile.{name}] carries it");
            problems.push(Problem::new(found.origin.clone(), what));
        }
    }
    for (found, word, wait) in parsed(profile, "wait", str::parse::<Wait>) {
        for info in methods.named.iter().map(|method| method.info()) {
            if !info.waits.contains(&wait) {
                let can: Vec<_> = info.waits.iter().map(|wait| wait.name()).collect();
                let why = format!("; it can {}", can.join(", "));
                problems.push(cannot(found, "wait", word, info.name, &why));
            }
        }
    }
    for (key, found) in profile.iter() {
        let is_option = transports::ALL.iter().any(|method| has_option(*method, key));
        if is_option && !methods.all().any(|method| has_option(method, key)) {
            let what = format!("{key}: none of the methods of [profile.{name}] has this option");
            problems.push(Problem::new(found.origin.clone(), what));
        }
    }
    problems
}

/// A batch that is longer than a trial.
fn batches(name: &str, profile: &Section) -> Option<Problem> {
    let (found, _, rounds) = parsed(profile, "rounds", units::parse_rounds).next()?;
    let (_, _, timing) = parsed(profile, "timing", str::parse::<Timing>).next()?;
    let Timing::Batch(batch) = timing else { return None };
    let what =
        format!("rounds = {rounds}: timing = \"batch:{batch}\" in [profile.{name}] needs {batch} at least");
    (rounds < u64::from(batch)).then(|| Problem::new(found.origin.clone(), what))
}

/// What has no effect as written, or is not possible on this host.
fn warnings(name: &str, profile: &Section) -> Vec<Problem> {
    let warning = |origin: &Origin, what: String| Problem::new(origin.clone(), format!("warning: {what}"));
    let mut warnings = Vec::new();
    for (key, origin, flag) in profile.incomplete(&bench()) {
        if flag == RECORD {
            let value = profile.get(key).map(|found| found.value.join(",")).unwrap_or_default();
            let what = format!(
                "{key} = {value}: it has no effect in [profile.{name}] without record = true, or --record on the \
                 command line"
            );
            warnings.push(warning(origin, what));
        }
    }
    for key in ["client-cpu", "server-cpu"] {
        for (found, _, cpu) in parsed(profile, key, units::parse_cpu) {
            // Where sysfs is not mounted, nothing is known.
            if Path::new(CPUS).is_dir() && !Path::new(CPUS).join(format!("cpu{cpu}")).is_dir() {
                warnings.push(warning(&found.origin, format!("{key} = {cpu}: this host has no such CPU")));
            }
        }
    }
    let Some(methods) = profile.get("method") else { return warnings };
    for method in Methods::of_profile(profile).named {
        let name = method.info().name;
        for (found, word, size) in parsed(profile, "size", units::parse_size) {
            if let Err(why) = method.capabilities().size(size)
                && method.info().sizes.size(size).is_ok()
            {
                let what = format!("size = {word}: {name} cannot do that on this host: {why}");
                warnings.push(warning(&found.origin, what));
            }
        }
        if let Err(reason) = method.probe() {
            warnings.push(warning(&methods.origin, format!("{name} is unavailable on this host: {reason}")));
        }
    }
    warnings
}

/// The flag without which a label and a history have no effect.
const RECORD: &str = "record";

/// The values of a key, as written and parsed.
fn parsed<'a, T, E>(
    profile: &'a Section,
    key: &str,
    parse: impl Fn(&str) -> Result<T, E>,
) -> impl Iterator<Item = (&'a Found<Vec<String>>, &'a str, T)> {
    let values =
        profile.get(key).into_iter().flat_map(|found| found.value.iter().map(move |word| (found, word)));
    values.filter_map(move |(found, word)| Some((found, word.as_str(), parse(word).ok()?)))
}

/// The methods that a profile or a command line names.
struct Methods {
    /// By their own names: what one of these cannot do is an error of the run.
    named: Vec<&'static dyn Mechanism>,
    /// By a group's name: such a method is skipped.
    grouped: Vec<&'static dyn Mechanism>,
}

impl Methods {
    fn of_profile(profile: &Section) -> Self {
        match profile.get("method") {
            Some(found) => Self::of(found.value.iter().map(String::as_str)),
            None => Self::of([ALL].into_iter()),
        }
    }

    fn of<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        let (mut named, mut grouped) = (Vec::new(), Vec::new());
        for meaning in names.filter_map(|name| meaning(name).ok()) {
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_holds_flags_of_bench() {
        let bench = bench();
        for flag in RULES.grammar.excluded {
            assert!(bench.get_arguments().any(|arg| arg.get_long() == Some(flag)), "{flag}");
        }
    }

    #[test]
    fn flags_exclude_each_other_as_on_the_command_line() {
        let bench = bench();
        for (one, other) in [
            ("rounds", "duration"),
            ("placement", "client-cpu"),
            ("placement", "server-cpu"),
            ("rate", "gap"),
            ("json", "format"),
        ] {
            assert!(exclude(&bench, one, other) && exclude(&bench, other, one), "{one} and {other}");
        }
        assert!(!exclude(&bench, "rounds", "trials"));
    }
}
