//! `[daemon]`: how the daemon runs.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use toml::de::DeTable;

use super::file::{Reader, in_order, not_there};
use super::limits::{self, LimitFlags, LimitSettings};
use super::metrics::{self, MetricsFlags, MetricsSettings};
use super::{Config, Found, Origin, Problem, values};
use crate::units;

/// Clients that measure at a time, where nobody has said otherwise.
pub(crate) const DEFAULT_MEASUREMENTS: usize = 1;
/// What goes into the log.
const DEFAULT_LOG: &str = "info";
/// The control socket's permissions: its owner's alone, or with a group, the group's too.
const DEFAULT_MODE: u32 = 0o600;
const DEFAULT_MODE_WITH_GROUP: u32 = 0o660;

/// The filter of the log, as many programs know it.
const LOG_VARIABLE: &str = "RUST_LOG";

/// The flags of `ipcd start`.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Flags {
    /// A configuration file, instead of $IPCD_CONFIG, or of /etc/ipcd/ipcd.toml and $XDG_CONFIG_HOME/ipcd/ipcd.toml.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The control socket [default: $IPCD_SOCKET, else as configured, else ipcd.sock in $RUNTIME_DIRECTORY,
    /// $XDG_RUNTIME_DIR/ipcd, /run/ipcd or ipcd-UID in the temporary folder].
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// The group that may use the control socket, by name or number [default: none].
    #[arg(long, value_name = "GROUP", value_parser = values::group)]
    pub group: Option<String>,
    /// The control socket's permissions, in octal [default: 0600, with a group 0660].
    #[arg(long, value_name = "MODE", value_parser = values::mode)]
    pub mode: Option<u32>,
    /// Clients that may measure at the same time; more than one disturb each other [default: 1].
    #[arg(long, value_name = "N", value_parser = values::measurements)]
    pub measurements: Option<usize>,
    /// End after so long without connections and channels, such as 5m: for a service that is started at a connection
    /// [default: never].
    #[arg(long, value_name = "TIME", value_parser = units::parse_duration)]
    pub idle_exit: Option<Duration>,
    /// What goes into the log: off, error, warn, info, debug, trace, or a filter as $RUST_LOG has it [default: $RUST_LOG,
    /// else as configured, else info].
    #[arg(long, value_name = "FILTER", value_parser = values::filter)]
    pub log: Option<String>,
    /// Where it tells metrics.
    #[command(flatten)]
    pub metrics: MetricsFlags,
    /// What clients can make it hold.
    #[command(flatten)]
    pub limits: LimitFlags,
}

/// What the files say.
#[derive(Debug, Default)]
pub(super) struct Section {
    pub(super) socket: Option<Found<PathBuf>>,
    group: Option<Found<String>>,
    mode: Option<Found<u32>>,
    pub(super) limits: limits::Section,
    pub(super) measurements: Option<Found<usize>>,
    idle_exit: Option<Found<Duration>>,
    log: Option<Found<String>>,
    metrics: metrics::Section,
}

/// The keys, in the order in which they are shown.
pub(super) fn known_keys() -> impl Iterator<Item = &'static str> {
    let own = ["socket", "group", "mode", "measurements", "idle-exit", "log"];
    own.into_iter().chain(metrics::KEYS).chain(limits::KEYS)
}

/// Reads the section of one file.
pub(super) fn read(reader: &mut Reader<'_>, keys: &DeTable<'_>) -> Section {
    let mut section = Section::default();
    for (key, value) in in_order(keys) {
        let name = key.get_ref().as_ref();
        match name {
            "socket" => section.socket = reader.one(name, value, values::socket),
            "group" => section.group = reader.one(name, value, values::group),
            "mode" => section.mode = reader.one(name, value, values::mode),
            "measurements" => section.measurements = reader.one(name, value, values::measurements),
            "idle-exit" => section.idle_exit = reader.one(name, value, units::parse_duration),
            "log" => section.log = reader.one(name, value, values::filter),
            "metrics" => section.metrics.metrics = reader.one(name, value, metrics::address),
            "metrics-results" => section.metrics.results = reader.one(name, value, values::absolute),
            other => match limits::place(other) {
                Some(place) => {
                    section.limits[place] = reader.one(name, value, |text| limits::read(place, text));
                }
                None => reader.wrong(&key.span(), not_there("key", other, "[daemon]", known_keys())),
            },
        }
    }
    section
}

impl Section {
    /// What `upper` says goes before.
    pub(super) fn put_over(&mut self, upper: Self) {
        fn put<T>(lower: &mut Option<T>, upper: Option<T>) {
            if upper.is_some() {
                *lower = upper;
            }
        }
        put(&mut self.socket, upper.socket);
        put(&mut self.group, upper.group);
        put(&mut self.mode, upper.mode);
        for (lower, upper) in self.limits.iter_mut().zip(upper.limits) {
            put(lower, upper);
        }
        put(&mut self.measurements, upper.measurements);
        put(&mut self.idle_exit, upper.idle_exit);
        put(&mut self.log, upper.log);
        put(&mut self.metrics.metrics, upper.metrics.metrics);
        put(&mut self.metrics.results, upper.metrics.results);
    }
}

/// How the daemon runs, and where each value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    /// The control socket, if anybody has named it.
    pub socket: Option<Found<PathBuf>>,
    /// The group that may use it, by name or number.
    pub group: Option<Found<String>>,
    /// Its permissions.
    pub mode: Found<u32>,
    /// What clients can make it hold.
    pub limits: LimitSettings,
    /// Clients that measure at a time.
    pub measurements: Found<usize>,
    /// After how long without clients to end.
    pub idle_exit: Option<Found<Duration>>,
    /// What goes into the log.
    pub log: Found<String>,
    /// Where metrics are told.
    pub metrics: MetricsSettings,
}

/// An environment variable that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("${name} is \"{value}\": {why}")]
pub(crate) struct VariableError {
    name: &'static str,
    value: String,
    why: String,
}

impl Settings {
    /// What holds: the flags, the environment, the files, the defaults.
    ///
    /// # Errors
    /// `$RUST_LOG` is no filter, or `$IPCD_METRICS` no address.
    pub(crate) fn of(flags: &Flags, config: &Config) -> Result<Self, VariableError> {
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        Self::from(flags, &variable, &config.daemon)
    }

    /// What of it goes against each other, which flags may have brought about.
    #[must_use]
    pub(crate) fn contradictions(&self) -> Vec<Problem> {
        self.limits.contradictions(&self.measurements)
    }

    fn from(
        flags: &Flags,
        variable: &dyn Fn(&str) -> Option<OsString>,
        file: &Section,
    ) -> Result<Self, VariableError> {
        let log = variable(LOG_VARIABLE).map(|value| value.to_string_lossy().into_owned());
        let socket = variable("IPCD_SOCKET").map(PathBuf::from);
        if let Some(value) = &log
            && let Err(why) = values::any_filter(value)
        {
            return Err(VariableError { name: LOG_VARIABLE, value: value.clone(), why });
        }
        let group = pick(&flags.group, &file.group);
        let mode = if group.is_some() { DEFAULT_MODE_WITH_GROUP } else { DEFAULT_MODE };
        let metrics = MetricsSettings::of(&flags.metrics, variable, &file.metrics)
            .map_err(|(value, why)| VariableError { name: "IPCD_METRICS", value, why })?;
        Ok(Self {
            metrics,
            socket: flag(&flags.socket)
                .or(socket.map(|value| Found { value, origin: Origin::Environment("IPCD_SOCKET") }))
                .or(file.socket.clone()),
            mode: pick(&flags.mode, &file.mode).unwrap_or_else(|| default(mode)),
            group,
            limits: LimitSettings::of(&flags.limits, &file.limits),
            measurements: pick(&flags.measurements, &file.measurements)
                .unwrap_or_else(|| default(DEFAULT_MEASUREMENTS)),
            idle_exit: pick(&flags.idle_exit, &file.idle_exit),
            log: flag(&flags.log)
                .or(log.map(|value| Found { value, origin: Origin::Environment(LOG_VARIABLE) }))
                .or(file.log.clone())
                .unwrap_or_else(|| default(DEFAULT_LOG.to_owned())),
        })
    }
}

fn flag<T: Clone>(flag: &Option<T>) -> Option<Found<T>> {
    flag.clone().map(|value| Found { value, origin: Origin::Flag })
}

fn pick<T: Clone>(on_the_line: &Option<T>, in_a_file: &Option<Found<T>>) -> Option<Found<T>> {
    flag(on_the_line).or_else(|| in_a_file.clone())
}

fn default<T>(value: T) -> Found<T> {
    Found { value, origin: Origin::Default }
}
