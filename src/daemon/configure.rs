//! From the configuration to how a daemon runs, and the commands that check and show it.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use log::{Level, info, warn};
use nix::unistd::Group;

use super::signals::Signals;
use super::{Access, Again, Config, Reload, logging};
use crate::config::{
    self, ConfigError, Flags, Found, MetricsSettings, Problem, Settings, Source, VariableError, sources,
};
use crate::diagnostics::{error_chain, print_line, print_message, report_error};
use crate::exit::Exit;

/// Why there is nothing to run by.
#[derive(Debug, thiserror::Error)]
pub(super) enum Wrong {
    #[error(transparent)]
    Files(#[from] ConfigError),
    #[error(transparent)]
    Variable(#[from] VariableError),
}

/// What holds: the settings, and what they come to.
pub(super) struct Configured {
    pub(super) files: config::Config,
    pub(super) settings: Settings,
    pub(super) run: Config,
}

impl Configured {
    /// Reads everything that has a say.
    pub(super) fn by(flags: &Flags) -> Result<Self, Wrong> {
        let files = config::Config::read(&sources(flags.config.as_deref()))?;
        let settings = Settings::of(flags, &files)?;
        let mut problems = settings.contradictions();
        let group = settings.group.as_ref().and_then(|group| group_id(group, &mut problems));
        if !problems.is_empty() {
            return Err(Wrong::Files(problems.into()));
        }
        let access = Access { group, mode: settings.mode.value };
        let run = Config {
            limits: settings.limits.limits(),
            measurements: settings.measurements.value,
            idle_exit: settings.idle_exit.as_ref().map(|time| time.value),
            access,
        };
        Ok(Self { files, settings, run })
    }
}

/// The number of a group; what is wrong with it is added to `problems`.
fn group_id(group: &Found<String>, problems: &mut Vec<Problem>) -> Option<u32> {
    let name = &group.value;
    if let Ok(number) = name.parse() {
        return Some(number);
    }
    let what = match Group::from_name(name) {
        Ok(Some(found)) => return Some(found.gid.as_raw()),
        Ok(None) => format!("this host has no group \"{name}\", which the control socket is to be given to"),
        Err(error) => format!("the group \"{name}\" cannot be looked up: {error}"),
    };
    problems.push(Problem::new(group.origin.clone(), what));
    None
}

/// Reads the configuration again whenever `signals` says so. `first` is what the daemon began with.
pub(super) fn reload<'a>(flags: &'a Flags, signals: &'a Signals, first: &Settings) -> Reload<'a> {
    let mut before = first.clone();
    let had_terminal = io::IsTerminal::is_terminal(&io::stderr());
    let again = move || {
        signals.clear();
        if had_terminal && !io::IsTerminal::is_terminal(&io::stderr()) {
            info!("its terminal is gone");
            return Again::Stop;
        }
        let now = match Configured::by(flags) {
            Ok(now) => now,
            Err(error) => return Again::Keep(error_chain(&error).replace('\n', "; ")),
        };
        let path = |settings: &Settings| settings.socket.as_ref().map(|socket| socket.value.clone());
        if path(&now.settings) != path(&before) {
            warn!("the socket stays where it is until the daemon is started again");
        }
        let metrics = |settings: &Settings| {
            let MetricsSettings { metrics, results } = &settings.metrics;
            (metrics.as_ref().map(|it| it.value.clone()), results.as_ref().map(|it| it.value.clone()))
        };
        if metrics(&now.settings) != metrics(&before) {
            warn!("metrics stay where they are until the daemon is started again");
        }
        logging::set_filter(&now.settings.log.value);
        before = Settings { socket: before.socket.clone(), metrics: before.metrics.clone(), ..now.settings };
        Again::Run(now.run)
    };
    Reload { wanted: std::os::fd::AsFd::as_fd(signals), again: Box::new(again) }
}

/// `ipcd config check`: all that is wrong, in these files or the usual ones.
pub(super) fn check(files: &[PathBuf], named: Option<&Path>) -> Exit {
    let sources = match files {
        [] => sources(named),
        files => files.iter().map(|path| Source { path: path.clone(), named: true }).collect(),
    };
    let (files, mut problems) = config::Config::look_at(&sources);
    // As a daemon that is started with these alone, and on this host.
    let settings = Settings::of(&Flags::default(), &files);
    match &settings {
        Ok(settings) => {
            if let Some(group) = &settings.group {
                group_id(group, &mut problems);
                files.in_order(&mut problems);
            }
        }
        Err(error) => print_line(format_args!("{error}")),
    }
    let is_wrong = settings.is_err() || !problems.is_empty();
    // Where an editor finds it: the file's name begins the line.
    if !problems.is_empty() {
        print_line(format_args!("{}", ConfigError::from(problems)));
    }
    if is_wrong {
        return Exit::Usage;
    }
    for doubt in files.doubts() {
        print_line(format_args!("{doubt}"));
    }
    let lines = files
        .files()
        .map(|(path, there)| format!("{}: {}\n", path.display(), if there { "ok" } else { "not there" }));
    print(&lines.collect::<String>())
}

/// `ipcd config show`: what a daemon that is started with these flags would run by.
pub(super) fn show(flags: &Flags) -> Exit {
    match Configured::by(flags) {
        Ok(Configured { files, settings, .. }) => print(&files.show(&settings)),
        Err(error) => {
            report_error("ipcd", &error, None);
            Exit::Usage
        }
    }
}

fn print(text: &str) -> Exit {
    match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => Exit::Success,
        // Whoever reads has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Success,
        Err(error) => {
            print_message("ipcd", Level::Error, &format!("cannot write standard output: {error}"));
            Exit::Failure
        }
    }
}
