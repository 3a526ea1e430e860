//! The command that repeats the measurement of a run: its command line with its profile's flags in place of the profile, and
//! without the arguments that choose the daemon and the output.

use clap::ArgMatches;
use clap::parser::ValueSource;

use crate::client::report::Settings;

/// Arguments that do not affect what is measured.
const IRRELEVANT: [&str; 15] = [
    "config",
    "format",
    "history",
    "hdr_log",
    "json",
    "json_stream",
    "label",
    "no_wait",
    "outputs",
    "quiet",
    "record",
    "require_grade",
    "socket",
    "verbose",
    "wait_at_most",
];

/// Replaced by the profile's flags, if the run recorded them.
const PROFILE: &str = "profile";

/// The arguments of `ipc-client`, parsed by `parser`. A command line that this program does not know is returned as it is.
pub(super) fn rerun(parser: &clap::Command, settings: &Settings) -> Vec<String> {
    let typed = &settings.arguments;
    let has_profile_flags = settings.profile_flags.is_some();
    let mut words = typed.clone();
    if let (Some(flags), false) = (&settings.profile_flags, words.is_empty()) {
        // After the command's name, where they were when it was measured.
        words.splice(1..1, flags.iter().cloned());
    }
    let words = std::iter::once("ipc-client".to_owned()).chain(words);
    let Ok(matches) = parser.clone().try_get_matches_from(words) else { return typed.clone() };
    let Some((name, matches)) = matches.subcommand() else { return typed.clone() };
    let mut parser = parser.clone();
    parser.build();
    let arguments = parser.find_subcommand(name).into_iter().flat_map(clap::Command::get_arguments);
    let mut flags: Vec<(usize, String)> = Vec::new();
    for argument in arguments {
        let id = argument.get_id().as_str();
        let omitted = IRRELEVANT.contains(&id) || (id == PROFILE && has_profile_flags);
        if !omitted {
            flags.extend(words_of(argument, matches).unwrap_or_default());
        }
    }
    // A flag and its value have one index, and stay in their order.
    flags.sort_by_key(|(index, _)| *index);
    std::iter::once(name.to_owned()).chain(flags.into_iter().map(|(_, word)| word)).collect()
}

/// The long flag of an argument and its value, with their index on the command line, if it was given there.
fn words_of(argument: &clap::Arg, matches: &ArgMatches) -> Option<Vec<(usize, String)>> {
    let id = argument.get_id().as_str();
    // A positional method may follow an argument that takes several values, as a flag it may not be taken for one of them.
    let long = if id == "named" { "method" } else { argument.get_long()? };
    let index = matches.index_of(id)?;
    if matches.value_source(id) != Some(ValueSource::CommandLine) {
        return None;
    }
    let mut words = vec![(index, format!("--{long}"))];
    if argument.get_action().takes_values() {
        let values = matches.get_raw(id).into_iter().flatten();
        let values: Vec<_> = values.map(|value| value.to_string_lossy().into_owned()).collect();
        words.push((index, values.join(",")));
    }
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::super::parser;
    use super::*;
    use crate::client::report::sample;

    fn rerun(typed: &str, profile: Option<&str>) -> String {
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect();
        let mut settings = sample::single().settings;
        settings.arguments = words(typed);
        settings.profile_flags = profile.map(words);
        super::rerun(&parser(), &settings).join(" ")
    }

    #[test]
    fn every_irrelevant_argument_exists() {
        let mut command = parser();
        command.build();
        let bench = command.find_subcommand("bench").unwrap();
        for id in IRRELEVANT.into_iter().chain([PROFILE]) {
            assert!(bench.get_arguments().any(|argument| argument.get_id() == id), "{id}");
        }
    }

    #[test]
    fn where_results_go_is_omitted() {
        for (typed, expected) in [
            ("bench", "bench"),
            ("bench -vm tcp,udp -n100 -o run.json", "bench --method tcp,udp --rounds 100"),
            (
                "bench --record --label before --size 8 --history=x -m tcp -m udp",
                "bench --size 8 --method tcp,udp",
            ),
            ("bench --hdr-log x.hlog --json --output - --private", "bench --private"),
            (
                "bench --nodelay false --socket /run/x --gap 0,10us --no-wait",
                "bench --nodelay false --gap 0,10us",
            ),
            ("bench --interval 100ms --json-stream --require-grade B", "bench --interval 100ms"),
        ] {
            assert_eq!(rerun(typed, None), expected);
        }
    }

    #[test]
    fn a_profile_is_replaced_by_its_flags() {
        let typed = "bench --profile nightly --record --label nightly --trials 9";
        let flags = "--method=tcp,unix --size=64,64k";
        assert_eq!(rerun(typed, Some(flags)), "bench --method tcp,unix --size 64,64k --trials 9");
        let recorded = "--size=64 --record --label=mine";
        assert_eq!(rerun("bench --profile nightly", Some(recorded)), "bench --size 64");
        assert_eq!(rerun(typed, Some("")), "bench --trials 9");
    }

    /// Runs recorded before profile flags were, and other programs' reports.
    #[test]
    fn an_unknown_command_line_is_unchanged() {
        assert_eq!(rerun("bench --profile nightly --record", None), "bench --profile nightly");
        for typed in ["bench --frobnicate 3 --record", "", "frobnicate", "--version"] {
            assert_eq!(rerun(typed, None), typed);
        }
    }
}
