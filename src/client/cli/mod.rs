//! The client's command line: parses it and dispatches to the commands. Each command's file has its arguments.

mod bench;
mod daemon;
mod doctor;
mod history;
mod judge;
mod matrix;
mod methods;
mod output;
mod profile;
mod report;
mod rerun;

use std::io::Write as _;

use clap::builder::{PossibleValue, PossibleValuesParser};
use clap::error::ErrorKind;
use clap::{Arg, ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};
use log::LevelFilter;

pub(crate) use self::profile::RULES as PROFILE_RULES;
use super::host::placement::Placement;
use super::judge::warnings::Grade;
use super::plan::selection::{ALL, MethodOptions};
use crate::diagnostics::{exit_code, journal_line, report_usage_error, stderr_is_journal};
use crate::exit::Exit;
use crate::protocol::Wait;
use crate::signals::end_as_init;
use crate::transports::{self, Group};

/// Measures what a round trip between two processes costs on this host.
#[derive(Debug, Parser)]
#[command(name = "ipc-client", version, after_help = exit_codes())]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// The table for `--help`.
fn exit_codes() -> String {
    format!(
        "{}  Ended by a signal, as a shell reports it: 129 (SIGHUP), 130 (SIGINT, Ctrl-C), 143 (SIGTERM)\n",
        Exit::table()
    )
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measure round trips. Without a daemon, a private one is started for this run.
    Bench(Box<bench::BenchArgs>),
    /// List the methods by group, and which of them are unavailable here and why.
    Methods(daemon::QueryArgs),
    /// Explain a method: when to choose it, what limits it, what a round executes. Without a name, summarise all.
    Explain(methods::ExplainArgs),
    /// Check this host before a measurement, and show the smallest difference that it can detect.
    Doctor(doctor::DoctorArgs),
    /// Measure the median round trip for every ordered pair of the CPUs that this process may use (see taskset).
    Matrix(Box<matrix::MatrixArgs>),
    /// Compare two runs: by how much each cell differs, whether that is real, and what else differs.
    Compare(Box<judge::CompareArgs>),
    /// Compare a recorded run with a baseline or limits; exits non-zero on a regression (for CI).
    Check(Box<judge::CheckArgs>),
    /// Find when a cell became slower or faster, and what else changed then.
    Trend(judge::TrendArgs),
    /// Write runs as a page for a browser: figures, charts, history and conditions, in one file.
    Report(Box<report::ReportArgs>),
    /// Export the latest results as Prometheus metrics.
    Export(Box<history::PrometheusArgs>),
    /// List, show and manage recorded runs.
    History(Box<history::HistoryArgs>),
    /// Show the daemon's status.
    Status(daemon::QueryArgs),
}

/// The commands that open channels, and so have the options of the mechanisms.
const MEASURING: [&str; 2] = [SWEEPING, "matrix"];

/// The one of them whose options may have several values.
const SWEEPING: &str = "bench";

/// The command line, with the options of the mechanisms.
fn parser() -> clap::Command {
    MEASURING.into_iter().fold(Cli::command(), |cli, measuring| {
        cli.mut_subcommand(measuring, |command| MethodOptions::add_to(command, measuring == SWEEPING))
    })
}

/// The options of the mechanisms on the command line.
fn method_options(matches: &ArgMatches) -> MethodOptions {
    let measuring = matches.subcommand().filter(|(name, _)| MEASURING.contains(name));
    measuring.map(|(_, matches)| MethodOptions::of(matches)).unwrap_or_default()
}

/// The command line of `ipc-client` for manual pages and completions: with the names that a value may have. [`parser`] has
/// custom parsers for them instead, whose errors are more specific than a list of possible values.
#[must_use]
pub fn command() -> clap::Command {
    parser().mut_subcommands(with_values)
}

/// A command whose arguments list their possible values, and its subcommands.
fn with_values(command: clap::Command) -> clap::Command {
    command.mut_args(list_values).mut_subcommands(with_values)
}

/// The argument with its possible values, if they are names.
fn list_values(arg: Arg) -> Arg {
    let values = match arg.get_id().as_str() {
        // The pages list these and explain them; the help of the others names their values.
        "methods" | "named" => return arg.value_parser(PossibleValuesParser::new(method_names(true))),
        "method" => return arg.value_parser(PossibleValuesParser::new(method_names(false))),
        "wait" | "waits" => Wait::ALL.map(Wait::name).to_vec(),
        "placement" => Placement::ALL.map(Placement::name).to_vec(),
        "placements" => Placement::ALL.map(Placement::name).into_iter().chain([ALL]).collect(),
        "clock" => vec!["auto", "tsc", "monotonic"],
        "require_grade" => {
            let letters = Grade::ALL.map(|grade| PossibleValue::new(grade.letter()).help(grade.meaning()));
            return arg.value_parser(PossibleValuesParser::new(letters));
        }
        _ => return arg,
    };
    arg.value_parser(PossibleValuesParser::new(values)).hide_possible_values(true)
}

/// The methods and what they are; before them, if wanted, the groups.
fn method_names(groups: bool) -> Vec<PossibleValue> {
    let all = PossibleValue::new(ALL).help("every method that this host has");
    let group =
        |group: Group| PossibleValue::new(group.name()).help("every method of this group that this host has");
    let methods = transports::ALL
        .iter()
        .map(|mechanism| PossibleValue::new(mechanism.info().name).help(mechanism.info().summary));
    std::iter::once(all).chain(Group::ALL.map(group)).filter(|_| groups).chain(methods).collect()
}

/// Runs the client's command line.
#[must_use]
pub fn main() -> Exit {
    end_as_init();
    let mut matches = parser().try_get_matches();
    let typed = match &matches {
        // The profile may have the flag that a typed one requires.
        Err(error) if error.kind() == ErrorKind::MissingRequiredArgument => {
            parser().ignore_errors(true).try_get_matches().ok()
        }
        matches => matches.as_ref().ok().cloned(),
    };
    let mut profile_flags = None;
    if let Some(typed) = typed {
        match profile::flags_of(&typed) {
            Ok(None) => {}
            Ok(Some(flags)) => {
                let words = profile::with_flags(std::env::args_os(), &flags);
                matches = parser().try_get_matches_from(words);
                profile_flags = Some(flags);
            }
            Err(failure) => return failure.report(),
        }
    }
    let parsed = matches.and_then(|matches| Ok((Cli::from_arg_matches(&matches)?, method_options(&matches))));
    let (cli, options) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => return report_usage_error("ipc-client", &error),
    };
    start_log();
    let result = match &cli.command {
        Command::Bench(args) => bench::run(args, &options, profile_flags),
        Command::Doctor(args) => doctor::run(args),
        Command::Methods(args) => methods::run(args),
        Command::Explain(args) => methods::explain(args),
        Command::Matrix(args) => matrix::run(args, &options.first()),
        Command::Check(args) => judge::check(args),
        Command::Compare(args) => judge::compare(args),
        Command::Export(args) => history::export_prometheus(args),
        Command::History(args) => history::run(args),
        Command::Trend(args) => judge::trend(args),
        Command::Report(args) => report::run(args, &parser()),
        Command::Status(args) => daemon::status(args),
    };
    let exit = result.unwrap_or_else(|failure| failure.report());
    exit_code("ipc-client", exit)
}

/// Logs what libraries report; to the journal with its priorities.
fn start_log() {
    let mut builder = env_logger::Builder::new();
    builder.filter_level(LevelFilter::Warn).parse_default_env();
    if stderr_is_journal() {
        builder.format(|out, record| {
            writeln!(out, "{}", journal_line(record.level(), &record.args().to_string()))
        });
    }
    builder.init();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        parser().debug_assert();
    }

    #[test]
    fn only_bench_takes_several_values_of_a_method_option() {
        let line = |command: &'static str| ["ipc-client", command, "--nodelay", "true,false"];
        assert!(parser().try_get_matches_from(line("bench")).is_ok());
        assert!(parser().try_get_matches_from(line("matrix")).is_err());
    }

    #[test]
    fn bench_has_the_options_of_the_mechanisms() {
        let matches = parser().try_get_matches_from(["ipc-client", "bench", "--nodelay", "false"]).unwrap();
        Cli::from_arg_matches(&matches).unwrap();
        assert_eq!(method_options(&matches).first()["nodelay"], "false");
    }
}
