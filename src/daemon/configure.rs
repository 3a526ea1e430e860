//! The configuration of a daemon: read at its start and on SIGHUP, checked and shown by commands.

use std::io::{self, IsTerminal};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ArgMatches;
use log::Level;
use nix::unistd::Group;
use rustix::pipe::{PipeFlags, pipe_with};
use signal_hook::consts::{SIGHUP, SIGTERM};

use super::socket::Access;
use crate::config::{
    self, ConfigError, Found, Limits, Problem, ProfileRules, Settings, Source, VariableError, sources,
};
use crate::diagnostics::{print_located, report_error, to_stdout};
use crate::exit::Exit;
use crate::signals::leave_to_handlers;

/// How a daemon runs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Config {
    /// What clients may make it hold.
    pub(crate) limits: Limits,
    /// How many clients may measure at the same time. More than one disturb each other.
    pub(crate) measurements: usize,
    /// How long a client may hold the lease without progress while others wait.
    pub(crate) revoke_after: Duration,
    /// How long it stays without connections and channels before it exits; forever if `None`.
    pub(crate) idle_exit: Option<Duration>,
    /// Who may use the control socket.
    pub(crate) access: Access,
}

/// Why the configuration is invalid.
#[derive(Debug, thiserror::Error)]
pub(super) enum Wrong {
    #[error(transparent)]
    Files(#[from] ConfigError),
    #[error(transparent)]
    Variable(#[from] VariableError),
}

/// The effective configuration.
pub(super) struct Configured {
    pub(super) files: config::Config,
    pub(super) settings: Settings,
    pub(super) run: Config,
}

impl Configured {
    /// Reads the files, the environment and the flags.
    pub(super) fn by(typed: &ArgMatches, rules: &ProfileRules) -> Result<Self, Wrong> {
        Self::of(config::Config::read(&named_by(typed), rules)?, typed)
    }

    /// The same in a running daemon, which no file may block.
    pub(super) fn again(typed: &ArgMatches, rules: &ProfileRules) -> Result<Self, Wrong> {
        Self::of(config::Config::read_again(&named_by(typed), rules)?, typed)
    }

    fn of(files: config::Config, typed: &ArgMatches) -> Result<Self, Wrong> {
        let settings = Settings::of(typed, &files)?;
        let mut problems = settings.contradictions();
        let group = settings.group().and_then(|group| group_id(group, &mut problems));
        if !problems.is_empty() {
            return Err(Wrong::Files(ConfigError(problems)));
        }
        let access = Access { group, mode: settings.mode() };
        let run = Config {
            limits: settings.limits(),
            measurements: settings.measurements(),
            revoke_after: settings.revoke_after(),
            idle_exit: settings.idle_exit(),
            access,
        };
        Ok(Self { files, settings, run })
    }
}

/// The files that these flags name, or the usual ones.
fn named_by(typed: &ArgMatches) -> Vec<Source> {
    sources(typed.get_one::<PathBuf>("config").map(PathBuf::as_path))
}

/// The number of a group; what is wrong with it is added to `problems`.
fn group_id(group: Found<&str>, problems: &mut Vec<Problem>) -> Option<u32> {
    let name = group.value;
    if let Ok(number) = name.parse() {
        return Some(number);
    }
    let what = match Group::from_name(name) {
        Ok(Some(found)) => return Some(found.gid.as_raw()),
        Ok(None) => format!("this host has no group \"{name}\", which should own the control socket"),
        Err(error) => format!("the group \"{name}\" cannot be looked up: {error}"),
    };
    problems.push(Problem::new(group.origin, what));
    None
}

/// Signals as descriptors, each readable once a signal has arrived.
#[derive(Debug)]
pub(super) struct Signals {
    /// SIGINT and SIGTERM.
    pub(super) stop: OwnedFd,
    /// SIGHUP.
    pub(super) reload: OwnedFd,
    had_terminal: bool,
}

impl Signals {
    pub(super) fn new() -> io::Result<Self> {
        let pipe = || pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK);
        let (stop, writer) = pipe()?;
        // The handlers write a byte. A full pipe is readable already.
        signal_hook::low_level::pipe::register(SIGTERM, writer.try_clone()?)?;
        ctrlc::set_handler(move || _ = rustix::io::write(&writer, &[0])).map_err(io::Error::other)?;
        let (reload, writer) = pipe()?;
        signal_hook::low_level::pipe::register(SIGHUP, writer)?;
        leave_to_handlers();
        Ok(Self { stop, reload, had_terminal: io::stderr().is_terminal() })
    }

    /// Clears SIGHUP, so that the next one is seen; returns whether it came because the terminal was closed.
    pub(super) fn take_hangup(&self) -> bool {
        while rustix::io::read(&self.reload, &mut [0; 64]).is_ok_and(|n| n > 0) {}
        self.had_terminal && !io::stderr().is_terminal()
    }
}

/// `ipcd config check`: reports all errors of these files, or of the usual ones.
pub(super) fn check(files: &[PathBuf], named: Option<&Path>, rules: &ProfileRules) -> Exit {
    let sources = match files {
        [] => sources(named),
        files => files.iter().map(|path| Source { path: path.clone(), named: true }).collect(),
    };
    let (files, mut problems) = config::Config::check(&sources, rules);
    // As for a daemon that is started without flags, on this host.
    let settings = Settings::without_flags(&files);
    match &settings {
        Ok(settings) => {
            if let Some(group) = settings.group() {
                group_id(group, &mut problems);
                files.sort(&mut problems);
            }
        }
        Err(error) => print_located(Level::Error, &error.to_string()),
    }
    let is_wrong = settings.is_err() || !problems.is_empty();
    if !problems.is_empty() {
        print_located(Level::Error, &ConfigError(problems).to_string());
    }
    if is_wrong {
        return Exit::Usage;
    }
    for warning in files.warnings(rules) {
        print_located(Level::Warn, &warning.to_string());
    }
    let lines = files
        .files()
        .map(|(path, there)| format!("{}: {}\n", path.display(), if there { "ok" } else { "not there" }));
    print(&lines.collect::<String>())
}

/// `ipcd config show`: the configuration of a daemon started with these flags.
pub(super) fn show(typed: &ArgMatches, rules: &ProfileRules) -> Exit {
    match Configured::by(typed, rules) {
        Ok(Configured { files, settings, .. }) => print(&files.show(&settings)),
        Err(error) => {
            report_error("ipcd", &error, None);
            Exit::Usage
        }
    }
}

/// Writes a result to standard output.
pub(super) fn print(text: &str) -> Exit {
    match to_stdout(|out| out.write_all(text.as_bytes())) {
        Ok(()) => Exit::Success,
        Err(_) => Exit::Failure,
    }
}
