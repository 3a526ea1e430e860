//! The command that measures again what a run has measured: its command line with what its profile came to, and without what
//! only says whom it asked and where its results went.

use clap::ArgMatches;
use clap::parser::ValueSource;

use super::args::command;
use crate::client::report::Settings;

/// Arguments that have no part in what is measured.
const NO_PART: [&str; 13] = [
    "config",
    "format",
    "history",
    "hdr_log",
    "json",
    "json_stream",
    "label",
    "no_wait",
    "output",
    "record",
    "require_grade",
    "socket",
    "verbose",
];

/// The profile's name stands for its flags; where those are known, they stand for it.
const PROFILE: &str = "profile";

/// The words behind `ipc-client`. Those of a command line that this program does not know stay as they are.
pub(super) fn again(settings: &Settings) -> Vec<String> {
    let typed = &settings.arguments;
    let told = settings.profile_flags.is_some();
    let mut words = typed.clone();
    if let (Some(flags), false) = (&settings.profile_flags, words.is_empty()) {
        // Behind the command's name, as they stood when it was measured.
        words.splice(1..1, flags.iter().cloned());
    }
    let program = std::iter::once("ipc-client".to_owned());
    let Ok(matches) = command().try_get_matches_from(program.chain(words)) else { return typed.clone() };
    let Some((name, matches)) = matches.subcommand() else { return typed.clone() };
    let mut again = vec![name.to_owned()];
    again.extend(flags(name, matches, told));
    again
}

/// The long flags of what was said, in the order in which it was.
fn flags(name: &str, matches: &ArgMatches, profile_told: bool) -> Vec<String> {
    let mut command = command();
    command.build();
    let arguments = command.find_subcommand(name).into_iter().flat_map(clap::Command::get_arguments);
    let mut flags: Vec<(usize, String)> = Vec::new();
    for argument in arguments {
        let id = argument.get_id().as_str();
        let left_out = NO_PART.contains(&id) || (id == PROFILE && profile_told);
        let (Some(long), false) = (argument.get_long(), left_out) else { continue };
        let said = matches.value_source(id) == Some(ValueSource::CommandLine);
        let (true, Some(place)) = (said, matches.index_of(id)) else { continue };
        flags.push((place, format!("--{long}")));
        if argument.get_action().takes_values() {
            let values = matches.get_raw(id).into_iter().flatten();
            let values: Vec<_> = values.map(|value| value.to_string_lossy().into_owned()).collect();
            flags.push((place, values.join(",")));
        }
    }
    // A flag and its value have one place, and stay in their order.
    flags.sort_by_key(|(place, _)| *place);
    flags.into_iter().map(|(_, word)| word).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::report::sample;

    fn again(typed: &str, profile: Option<&str>) -> String {
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect();
        let mut settings = sample::single().settings;
        settings.arguments = words(typed);
        settings.profile_flags = profile.map(words);
        super::again(&settings).join(" ")
    }

    #[test]
    fn every_argument_without_a_part_is_one() {
        let mut command = command();
        command.build();
        let bench = command.find_subcommand("bench").unwrap();
        for id in NO_PART.into_iter().chain([PROFILE]) {
            assert!(bench.get_arguments().any(|argument| argument.get_id() == id), "{id}");
        }
    }

    #[test]
    fn where_results_go_is_left_out() {
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
            assert_eq!(again(typed, None), expected);
        }
    }

    #[test]
    fn a_profile_is_what_it_came_to() {
        let typed = "bench --profile nightly --record --label nightly --trials 9";
        let flags = "--method=tcp,unix --size=64,64k";
        assert_eq!(again(typed, Some(flags)), "bench --method tcp,unix --size 64,64k --trials 9");
        let recorded = "--size=64 --record --label=mine";
        assert_eq!(again("bench --profile nightly", Some(recorded)), "bench --size 64");
        assert_eq!(again(typed, Some("")), "bench --trials 9");
    }

    /// Of runs before profiles were told, and of other programs' reports.
    #[test]
    fn what_is_not_known_stays() {
        assert_eq!(again("bench --profile nightly --record", None), "bench --profile nightly");
        for typed in ["bench --frobnicate 3 --record", "", "frobnicate", "--version"] {
            assert_eq!(again(typed, None), typed);
        }
    }
}
