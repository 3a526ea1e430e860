//! The client's command line.

mod again;
mod args;
mod bench;
mod check;
mod choice;
mod compare;
mod daemon;
mod doctor;
mod documented;
mod explain;
mod export;
mod history;
mod interrupt;
mod live;
mod matrix;
mod methods;
mod options;
mod output;
mod parse;
mod plan;
mod possible;
mod profile;
mod progress;
mod record;
mod report;
mod terminal;
mod trend;

use std::error::Error;
use std::fmt;
use std::io::Write as _;

use clap::FromArgMatches;
use log::{Level, LevelFilter};

use self::args::{Cli, Command};
pub use self::documented::command;
use super::ClientError;
use super::report::file::FileError;
use crate::config::ConfigError;
use crate::diagnostics::{journal_line, print_message, report_error, report_usage_error, stderr_is_journal};
use crate::exit::Exit;

/// Why a command failed: what is told, and the exit code that tells of it.
#[derive(Debug)]
struct Failure {
    error: Box<dyn Error>,
    advice: Option<String>,
    exit: Exit,
}

impl Failure {
    /// The command line asks for something that cannot be.
    fn usage(error: impl Into<Box<dyn Error>>) -> Self {
        Self { error: error.into(), advice: None, exit: Exit::Usage }
    }

    /// Prints the error and the advice.
    fn print(&self) -> Exit {
        report_error("ipc-client", self.error.as_ref(), self.advice.as_deref());
        self.exit
    }

    /// The host cannot do it.
    fn unavailable(error: impl Into<Box<dyn Error>>) -> Self {
        Self { error: error.into(), advice: None, exit: Exit::Unavailable }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self { advice: error.advice().map(str::to_owned), exit: error.exit(), error: error.into() }
    }
}

/// Commands write to standard output, and to files by [`report::file`](super::report::file).
impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        FileError::stdout(error).into()
    }
}

impl From<FileError> for Failure {
    fn from(error: FileError) -> Self {
        Self { error: error.into(), advice: None, exit: Exit::Failure }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::usage(error)
    }
}

/// Runs the client's command line.
#[must_use]
pub fn main() -> Exit {
    let mut matches = args::command().try_get_matches();
    let mut profile_flags = None;
    if let Ok(typed) = &matches {
        match profile::flags_of(typed) {
            Ok(None) => {}
            Ok(Some(flags)) => {
                let words = profile::with_flags(std::env::args_os(), &flags);
                matches = args::command().try_get_matches_from(words);
                profile_flags = Some(flags);
            }
            Err(failure) => return failure.print(),
        }
    }
    let parsed = matches.and_then(|matches| {
        let cli = Cli::from_arg_matches(&matches)?;
        let options = args::method_options(&matches);
        Ok((cli, options))
    });
    let (cli, options) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => return report_usage_error("ipc-client", &error),
    };
    begin_log();
    let result = match &cli.command {
        Command::Bench(args) => bench::run(args, &options, profile_flags),
        Command::Doctor(args) => doctor::run(args),
        Command::Methods(args) => methods::run(args),
        Command::Explain(args) => explain::run(args),
        Command::Matrix(args) => matrix::run(args, &options.first()),
        Command::Check(args) => check::run(args),
        Command::Compare(args) => compare::run(args),
        Command::Export(args) => export::run(args),
        Command::History(args) => history::run(args),
        Command::Trend(args) => trend::run(args),
        Command::Report(args) => report::run(args),
        Command::Status(args) => daemon::status(args),
    };
    match result {
        Ok(exit) => exit,
        // Whoever read the results has seen enough.
        Err(failure) if is_broken_pipe(failure.error.as_ref()) => Exit::Success,
        Err(failure) => failure.print(),
    }
}

/// What libraries log. To the journal it goes with the priority that it understands.
fn begin_log() {
    let mut builder = env_logger::Builder::new();
    builder.filter_level(LevelFilter::Warn).parse_default_env();
    if stderr_is_journal() {
        builder.format(|out, record| {
            writeln!(out, "{}", journal_line(record.level(), &record.args().to_string()))
        });
    }
    builder.init();
}

/// Tells what is not as it was asked for, though the command goes on.
fn warn(what: fmt::Arguments<'_>) {
    print_message("ipc-client", Level::Warn, &what.to_string());
}

/// Whether results could not be written because nobody reads on; a channel's broken pipe is another thing.
fn is_broken_pipe(error: &(dyn Error + 'static)) -> bool {
    error
        .downcast_ref::<FileError>()
        .is_some_and(|error| error.source.kind() == std::io::ErrorKind::BrokenPipe)
}
