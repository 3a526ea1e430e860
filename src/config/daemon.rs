//! `[daemon]`: how the daemon runs. Its keys are the flags of `ipcd start`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use clap::{ArgMatches, Args, Command, FromArgMatches};
use log::LevelFilter;

use super::limits::{LimitFlags, Limits};
use super::section::{Grammar, Section};
use super::{Config, Found, Origin, Problem};
use crate::protocol::{MAX_PATH_LEN, Resource};
use crate::units;

/// Clients that measure at the same time, by default.
pub(crate) const DEFAULT_MEASUREMENTS: usize = 1;
/// How long a client may hold the lease without progress while others wait, by default.
pub(crate) const DEFAULT_REVOKE_AFTER: Duration = Duration::from_secs(60);
/// The log filter, by default.
const DEFAULT_LOG: &str = "info";
/// The control socket's permissions, by default: for its owner, and with a group for the group too.
const DEFAULT_MODE: u32 = 0o600;
const DEFAULT_MODE_WITH_GROUP: u32 = 0o660;

/// The file of results in the service's state folder.
const RESULTS: &str = "results.prom";

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
    #[arg(long, value_name = "GROUP", value_parser = parse_group)]
    group: Option<String>,
    /// The control socket's permissions, in octal [default: 0600, with a group 0660].
    #[arg(long, value_name = "MODE", value_parser = parse_mode)]
    mode: Option<u32>,
    /// Clients that may measure at the same time; more than one disturb each other [default: 1].
    #[arg(long, value_name = "N", value_parser = parse_measurements)]
    measurements: Option<usize>,
    /// Take the lease from a client that makes no progress for this time, such as a stopped one, while others wait, and close its
    /// channels. A slow measurement makes progress [default: 1m].
    #[arg(long, value_name = "TIME", value_parser = units::parse_duration)]
    revoke_after: Option<Duration>,
    /// Exit after this time without connections and channels, such as 5m: for a service that is started on demand
    /// [default: never].
    #[arg(long, value_name = "TIME", value_parser = units::parse_duration)]
    idle_exit: Option<Duration>,
    /// The log filter: off, error, warn, info, debug, trace, or a filter in the syntax of $RUST_LOG [default: $RUST_LOG,
    /// else as configured, else info].
    #[arg(long, value_name = "FILTER", value_parser = parse_filter)]
    log: Option<String>,
    #[command(flatten)]
    metrics: MetricsFlags,
    #[command(flatten)]
    limits: LimitFlags,
}

/// The flags of the metrics endpoint.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Metrics")]
struct MetricsFlags {
    /// Serve metrics in Prometheus' format at http://ADDR/metrics, such as 127.0.0.1:9464 or `[::1]:9464`, or at a unix
    /// socket, by its absolute path [default: $IPCD_METRICS, else as configured, else nowhere].
    #[arg(long, value_name = "ADDR")]
    metrics: Option<MetricsAddress>,
    /// With --metrics: also serve the results in this file, which "ipc-client export --prometheus FILE" writes [default:
    /// results.prom in $STATE_DIRECTORY].
    #[arg(long, value_name = "FILE", value_parser = parse_absolute)]
    metrics_results: Option<PathBuf>,
}

/// The address of the metrics endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum MetricsAddress {
    /// A TCP address. A loopback address is open to every user of this host, another one to other hosts too.
    Tcp(SocketAddr),
    /// A unix socket, with the permissions of the control socket.
    Unix(PathBuf),
}

impl fmt::Display for MetricsAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

impl FromStr for MetricsAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.starts_with('/') {
            return parse_socket(text).map(Self::Unix);
        }
        text.parse().map(Self::Tcp).map_err(|_| {
            "an IP address with a port is needed, such as 127.0.0.1:9464 or [::1]:9464, or the absolute path of a unix \
             socket"
                .to_owned()
        })
    }
}

/// How many of something a daemon allows.
pub(super) fn parse_limit(text: &str) -> Result<u64, String> {
    units::parse_in_range(1, 100_000)(text).map(u64::from)
}

fn parse_measurements(text: &str) -> Result<usize, String> {
    parse_limit(text).map(|n| usize::try_from(n).unwrap_or(usize::MAX))
}

fn parse_mode(text: &str) -> Result<u32, String> {
    let octal = (3..=4).contains(&text.len()) && text.chars().all(|c| c.is_digit(8));
    match u32::from_str_radix(text, 8) {
        Ok(mode) if octal && mode <= 0o777 => Ok(mode),
        _ => Err("an octal mode from 0000 to 0777 is needed, such as \"0660\"".to_owned()),
    }
}

fn parse_group(text: &str) -> Result<String, String> {
    match text {
        "" => Err("the name of a group is needed, or its number".to_owned()),
        name => Ok(name.to_owned()),
    }
}

/// A bare word is a level or a module of this program; any other is a typing error.
fn parse_filter(text: &str) -> Result<String, String> {
    let directives = text.split('/').next().unwrap_or_default();
    let known = |word: &str| {
        word.contains('=') || word.parse::<LevelFilter>().is_ok() || word.split("::").next() == Some("ipcd")
    };
    match directives.split(',').map(str::trim).all(known) {
        true => parse_any_filter(text),
        false => Err(FILTER_NEEDED.to_owned()),
    }
}

/// A filter that may name modules of other programs too, as $RUST_LOG does.
fn parse_any_filter(text: &str) -> Result<String, String> {
    let parsed = env_filter::Builder::new().try_parse(text).map(|_| text.to_owned());
    parsed.map_err(|_| FILTER_NEEDED.to_owned())
}

const FILTER_NEEDED: &str =
    "a level (off, error, warn, info, debug, trace) is needed, or several as in \"warn,ipcd=debug\"";

/// A path in a file, whose meaning does not depend on the current folder.
fn parse_absolute(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    if path.is_absolute() { Ok(path) } else { Err("an absolute path is needed".to_owned()) }
}

fn parse_socket(text: &str) -> Result<PathBuf, String> {
    match text.len() {
        0..=MAX_PATH_LEN => parse_absolute(text),
        len => Err(format!("it has {len} bytes, and a socket's path {MAX_PATH_LEN} at most")),
    }
}

/// The keys of `[daemon]`.
pub(super) const GRAMMAR: Grammar = Grammar {
    command: || Flags::augment_args(Command::new("start")),
    excluded: &["config"],
    check: |key, text| match key {
        "socket" => parse_socket(text).map(drop),
        _ => Ok(()),
    },
};

fn no_flags() -> ArgMatches {
    (GRAMMAR.command)().get_matches_from(["start"])
}

/// An invalid environment variable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("${name} is \"{value}\": {why}")]
pub(crate) struct VariableError {
    name: &'static str,
    value: String,
    why: String,
}

/// How the daemon runs, and where each value comes from.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    flags: Flags,
    /// By key; [`Origin::Default`] where absent.
    origins: BTreeMap<String, Origin>,
}

impl Settings {
    /// The settings by precedence: the flags of `ipcd start`, the environment, the files, the defaults.
    ///
    /// # Errors
    /// `$RUST_LOG` is not a filter, or `$IPCD_METRICS` not an address.
    pub(crate) fn of(typed: &ArgMatches, config: &Config) -> Result<Self, VariableError> {
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        Self::from(typed, &variable, &config.daemon)
    }

    /// The settings without any flag.
    ///
    /// # Errors
    /// As [`of`](Self::of).
    pub(crate) fn without_flags(config: &Config) -> Result<Self, VariableError> {
        Self::of(&no_flags(), config)
    }

    /// The settings of files alone.
    #[must_use]
    pub(super) fn of_files(file: &Section) -> Self {
        Self::from(&no_flags(), &|_| None, file).expect("only variables can be wrong")
    }

    fn from(
        typed: &ArgMatches,
        variable: &dyn Fn(&'static str) -> Option<OsString>,
        file: &Section,
    ) -> Result<Self, VariableError> {
        let mut flags = Flags::from_arg_matches(typed).expect("these are the matches of its command");
        let typed = GRAMMAR.keys().into_iter().filter(|key| typed.contains_id(&key.replace('-', "_")));
        let mut origins: BTreeMap<_, _> = typed.map(|key| (key, Origin::Flag)).collect();

        let mut from_environment = |key: &str, name| {
            let value = variable(name).filter(|_| !origins.contains_key(key))?;
            origins.insert(key.to_owned(), Origin::Environment(name));
            Some(value)
        };
        if let Some(path) = from_environment("socket", "IPCD_SOCKET") {
            flags.socket = Some(path.into());
        }
        if let Some(value) = variable("RUST_LOG").map(|value| value.to_string_lossy().into_owned()) {
            let filter = parse_any_filter(&value);
            let filter = filter.map_err(|why| VariableError { name: "RUST_LOG", value, why })?;
            if from_environment("log", "RUST_LOG").is_some() {
                flags.log = Some(filter);
            }
        }
        if let Some(value) = from_environment("metrics", "IPCD_METRICS") {
            let value = value.to_string_lossy().into_owned();
            let address = value.parse().map_err(|why| VariableError { name: "IPCD_METRICS", value, why })?;
            flags.metrics.metrics = Some(address);
        }

        let command = (GRAMMAR.command)();
        let words = file.words(&command, |key| !origins.contains_key(key));
        let matches = command.try_get_matches_from(std::iter::once("start".to_owned()).chain(words));
        matches
            .and_then(|matches| flags.update_from_arg_matches(&matches))
            .expect("each key was checked when its file was read");
        let files = file.iter().map(|(key, found)| (key.to_owned(), found.origin.clone()));
        origins.extend(files.filter(|(key, _)| !origins.contains_key(key)).collect::<Vec<_>>());

        if flags.metrics.metrics_results.is_none()
            && let Some(list) = variable("STATE_DIRECTORY")
            // systemd separates several folders by colons.
            && let Some(folder) = std::env::split_paths(&list).next()
        {
            flags.metrics.metrics_results = Some(folder.join(RESULTS));
            origins.insert("metrics-results".to_owned(), Origin::Environment("STATE_DIRECTORY"));
        }
        Ok(Self { flags, origins })
    }

    /// Where the value of a key comes from.
    pub(super) fn origin(&self, key: &str) -> &Origin {
        self.origins.get(key).unwrap_or(&Origin::Default)
    }

    /// The control socket, if one was named.
    #[must_use]
    pub(crate) fn socket(&self) -> Option<&Path> {
        self.flags.socket.as_deref()
    }

    /// The group that may use the control socket, by name or number.
    #[must_use]
    pub(crate) fn group(&self) -> Option<Found<&str>> {
        let value = self.flags.group.as_deref()?;
        Some(Found { value, origin: self.origin("group").clone() })
    }

    /// The control socket's permissions.
    #[must_use]
    pub(crate) fn mode(&self) -> u32 {
        let default = if self.flags.group.is_some() { DEFAULT_MODE_WITH_GROUP } else { DEFAULT_MODE };
        self.flags.mode.unwrap_or(default)
    }

    /// Clients that measure at the same time.
    #[must_use]
    pub(crate) fn measurements(&self) -> usize {
        self.flags.measurements.unwrap_or(DEFAULT_MEASUREMENTS)
    }

    /// How long a client may hold the lease without progress while others wait.
    #[must_use]
    pub(crate) fn revoke_after(&self) -> Duration {
        self.flags.revoke_after.unwrap_or(DEFAULT_REVOKE_AFTER)
    }

    /// The time without clients after which to exit.
    #[must_use]
    pub(crate) fn idle_exit(&self) -> Option<Duration> {
        self.flags.idle_exit
    }

    /// The log filter.
    #[must_use]
    pub(crate) fn log(&self) -> &str {
        self.flags.log.as_deref().unwrap_or(DEFAULT_LOG)
    }

    /// The address of the metrics endpoint.
    #[must_use]
    pub(crate) fn metrics(&self) -> Option<&MetricsAddress> {
        self.flags.metrics.metrics.as_ref()
    }

    /// The file of results that the metrics endpoint serves.
    #[must_use]
    pub(crate) fn metrics_results(&self) -> Option<&Path> {
        self.flags.metrics.metrics_results.as_deref()
    }

    /// What clients can make it hold.
    #[must_use]
    pub(crate) fn limits(&self) -> Limits {
        self.flags.limits.limits()
    }

    /// Values that contradict each other.
    #[must_use]
    pub(crate) fn contradictions(&self) -> Vec<Problem> {
        let above = |key: &str, value: String, bound: &str, limit: String, why: &str| {
            let (origin, from) = (self.origin(key), self.origin(bound));
            // Where both are flags, the problem's own origin says so.
            let from =
                if from == origin && *from == Origin::Flag { String::new() } else { format!(" ({from})") };
            let what =
                format!("{key} = {value}: it cannot be more than {bound}, which is {limit}{from}{why}");
            Problem::new(origin.clone(), what)
        };
        let mut problems = Vec::new();
        let clients = u64::try_from(self.measurements()).unwrap_or(u64::MAX);
        for resource in Resource::ALL {
            let limit = self.limits().of(resource);
            let bound = format!("max-{}", resource.name());
            let [total, per_user] = [limit.total, limit.per_user].map(|value| shown_limit(resource, value));
            if limit.per_user > limit.total {
                problems.push(above(&format!("{bound}-per-user"), per_user, &bound, total.clone(), ""));
            }
            if matches!(resource, Resource::Connections | Resource::Channels) && clients > limit.total {
                let why = ": each client that measures has at least one";
                problems.push(above("measurements", clients.to_string(), &bound, total, why));
            }
        }
        problems
    }

    /// The keys with their values as TOML has them; `None` with what that means.
    pub(super) fn shown(&self) -> Vec<(String, Result<String, &'static str>)> {
        let path = |path: Option<&Path>| path.map(|path| quoted(&path.display().to_string()));
        let time = |time| quoted(&units::duration(time));
        let idle_exit = self.idle_exit().map(time);
        let own = [
            (
                "socket",
                path(self.socket()),
                "not set: the first place that can be used (see ipcd start --help)",
            ),
            ("group", self.flags.group.as_deref().map(quoted), "not set"),
            ("mode", Some(quoted(&format!("{:04o}", self.mode()))), ""),
            ("measurements", Some(self.measurements().to_string()), ""),
            ("revoke-after", Some(time(self.revoke_after())), ""),
            ("idle-exit", idle_exit, "not set: never"),
            ("log", Some(quoted(self.log())), ""),
            ("metrics", self.metrics().map(|address| quoted(&address.to_string())), "not set: nowhere"),
            (
                "metrics-results",
                path(self.metrics_results()),
                "not set: no results, the daemon's own counters alone",
            ),
        ];
        let own = own.into_iter().map(|(key, value, absent)| (key.to_owned(), value.ok_or(absent)));
        let limits = Resource::ALL.into_iter().flat_map(|resource| {
            let (name, limit) = (resource.name(), self.limits().of(resource));
            [(format!("max-{name}"), limit.total), (format!("max-{name}-per-user"), limit.per_user)]
                .map(|(key, value)| (key, Ok(shown_limit(resource, value))))
        });
        own.chain(limits).collect()
    }
}

fn shown_limit(resource: Resource, value: u64) -> String {
    if resource == Resource::Memory { quoted(&units::memory(value)) } else { value.to_string() }
}

/// A basic string of TOML.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(
        typed: &[&str],
        variables: &[(&str, &str)],
        file: &[(&str, &str)],
    ) -> Result<Settings, String> {
        let typed = (GRAMMAR.command)().try_get_matches_from([&["start"], typed].concat()).unwrap();
        let variable =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into());
        let mut section = Section::default();
        for (key, value) in file {
            let origin = Origin::File(Path::new("f").into(), 1);
            section.add(&GRAMMAR, key, Found { value: vec![(*value).to_owned()], origin }).unwrap();
        }
        Settings::from(&typed, &variable, &section).map_err(|error| error.to_string())
    }

    #[test]
    fn every_key_is_shown() {
        let shown = settings(&[], &[], &[]).unwrap().shown();
        assert_eq!(shown.into_iter().map(|(key, _)| key).collect::<Vec<_>>(), GRAMMAR.keys());
    }

    #[test]
    fn a_limit_of_a_file_is_overridden_by_a_flag() {
        let file = [("max-channels", "8")];
        assert_eq!(settings(&[], &[], &file).unwrap().limits().channels.per_user, 4);
        assert_eq!(settings(&["--max-channels", "10"], &[], &file).unwrap().limits().channels.total, 10);
    }

    #[test]
    fn metrics_addresses_are_ip_addresses_or_paths() {
        for text in ["127.0.0.1:9464", "[::1]:9464", "0.0.0.0:9464", "192.0.2.1:0", "/run/ipcd/metrics.sock"]
        {
            assert_eq!(text.parse::<MetricsAddress>().unwrap().to_string(), text);
        }
        for text in ["", "9464", ":9464", "127.0.0.1", "localhost:9464", "127.0.0.1:65536", "metrics.sock"] {
            assert!(text.parse::<MetricsAddress>().unwrap_err().contains("127.0.0.1:9464"), "{text}");
        }
    }

    #[test]
    fn flags_override_the_environment_which_overrides_files() {
        let of = |typed: &[&str], variables: &[(&str, &str)], file: &[(&str, &str)]| {
            let settings = settings(typed, variables, file)?;
            Ok::<_, String>((
                settings.metrics().map(MetricsAddress::to_string).unwrap_or_default(),
                settings.metrics_results().map(|path| path.display().to_string()).unwrap_or_default(),
            ))
        };
        let file = [("metrics", "/file"), ("metrics-results", "/results")];
        let all = [("IPCD_METRICS", "[::1]:1"), ("STATE_DIRECTORY", "/var/lib/ipcd:/var/lib/other")];
        let shown = |metrics: &str, results: &str| Ok((metrics.to_owned(), results.to_owned()));
        assert_eq!(of(&["--metrics", "/flag"], &all, &file), shown("/flag", "/results"));
        assert_eq!(of(&[], &all, &file), shown("[::1]:1", "/results"));
        assert_eq!(of(&[], &all[1..], &file), shown("/file", "/results"));
        assert_eq!(of(&[], &all[1..], &[]), shown("", "/var/lib/ipcd/results.prom"));
        assert_eq!(of(&[], &[], &[]), shown("", ""));
        let wrong = of(&[], &[("IPCD_METRICS", "9464")], &file).unwrap_err();
        assert!(wrong.starts_with("$IPCD_METRICS is \"9464\": an IP address with a port"), "{wrong}");
        let wrong = of(&["--log", "info"], &[("RUST_LOG", "a=b=c")], &[]).unwrap_err();
        assert!(wrong.starts_with("$RUST_LOG is \"a=b=c\": a level"), "{wrong}");
    }

    #[test]
    fn filters() {
        for text in ["info", "WARN", "off", "warn,ipcd=debug", "ipcd", "debug,zbus=off/client"] {
            assert_eq!(parse_filter(text), Ok(text.to_owned()));
        }
        for text in ["", "loud", "info,", "a=b", "a=b=c"] {
            assert!(parse_filter(text).is_err(), "{text}");
        }
        // As other programs have it.
        assert!(parse_any_filter("hyper").is_ok() && parse_any_filter("a=b=c").is_err());
    }

    #[test]
    fn modes_and_limits() {
        assert_eq!((parse_mode("0660"), parse_mode("600")), (Ok(0o660), Ok(0o600)));
        for text in ["", "66", "00660", "0888", "1777", "+660", "rw-"] {
            assert!(parse_mode(text).is_err(), "{text}");
        }
        assert_eq!(parse_limit("100000"), Ok(100_000));
        for text in ["0", "100001", "-1", "1.5", ""] {
            assert!(parse_limit(text).is_err(), "{text}");
        }
    }
}
