//! From the configuration to how a daemon runs, and the commands that check and show it.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use log::{Level, info, warn};
use nix::unistd::Group;

use super::signals::Signals;
use super::{Access, Again, Config, Reload, logging};
use crate::config::{
    self, ConfigError, Flags, Found, MetricsSettings, Settings, Source, VariableError, sources,
};
use crate::protocol::Exit;

/// Why there is nothing to run by.
#[derive(Debug, thiserror::Error)]
pub(super) enum Wrong {
    #[error(transparent)]
    Files(#[from] ConfigError),
    #[error(transparent)]
    Variable(#[from] VariableError),
    #[error("this host has no group \"{group}\", which the control socket is to be given to ({origin})")]
    NoGroup { group: String, origin: String },
    #[error("the group \"{group}\" cannot be looked up")]
    Group { group: String, source: io::Error },
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
        let access =
            Access { group: settings.group.as_ref().map(group_id).transpose()?, mode: settings.mode.value };
        let run = Config {
            limits: settings.limits.limits(),
            measurements: settings.measurements.value,
            idle_exit: settings.idle_exit.as_ref().map(|time| time.value),
            access,
        };
        Ok(Self { files, settings, run })
    }
}

fn group_id(group: &Found<String>) -> Result<u32, Wrong> {
    let name = &group.value;
    if let Ok(number) = name.parse() {
        return Ok(number);
    }
    match Group::from_name(name) {
        Ok(Some(found)) => Ok(found.gid.as_raw()),
        Ok(None) => Err(Wrong::NoGroup { group: name.clone(), origin: group.origin.to_string() }),
        Err(error) => Err(Wrong::Group { group: name.clone(), source: error.into() }),
    }
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
            Err(error) => return Again::Keep(crate::protocol::chain(&error).replace('\n', "; ")),
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
    let checked = config::Config::read(&sources).map_err(Wrong::from).and_then(|config| {
        // As a daemon that is started with these alone, and on this host.
        if let Some(group) = &Settings::of(&Flags::default(), &config)?.group {
            group_id(group)?;
        }
        Ok(config)
    });
    match checked {
        Ok(config) => {
            let lines = config.files().map(|(path, there)| {
                format!("{}: {}\n", path.display(), if there { "ok" } else { "not there" })
            });
            print(&lines.collect::<String>())
        }
        Err(error) => {
            // Where an editor finds it: the file's name begins the line.
            crate::protocol::say(format_args!("{}", crate::protocol::chain(&error)));
            Exit::Usage
        }
    }
}

/// `ipcd config show`: what a daemon that is started with these flags would run by.
pub(super) fn show(flags: &Flags) -> Exit {
    match Configured::by(flags) {
        Ok(Configured { files, settings, .. }) => print(&files.show(&settings)),
        Err(error) => {
            logging::announce(Level::Error, &crate::protocol::chain(&error));
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
            logging::announce(Level::Error, &format!("cannot write standard output: {error}"));
            Exit::Failure
        }
    }
}
