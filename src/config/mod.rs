//! The configuration: files that say how the daemon runs, and what a named benchmark is.
//!
//! `/etc/ipcd/ipcd.toml` is read first, then `$XDG_CONFIG_HOME/ipcd/ipcd.toml`, whose keys override it; or, instead of
//! both, the file that `--config` names or those of `$IPCD_CONFIG`. Precedence: flag, environment, file.
//!
//! A section is a list of flags (`[daemon]` of `ipcd start`, `[profile.NAME]` of `ipc-client bench`), and the parser of
//! these flags checks it. Both programs read all of it, and report everything that is wrong at once, with file and line.

mod daemon;
mod file;
mod limits;
mod section;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(crate) use daemon::{
    DEFAULT_MEASUREMENTS, DEFAULT_REVOKE_AFTER, Flags, MetricsAddress, Settings, VariableError,
};
pub use limits::{Limit, Limits};
pub(crate) use section::{Grammar, Section, exclude};

use rustix::fs::{FileType, Mode, OFlags, fstat};

use crate::protocol::SocketAddress;

/// Files to read instead of the usual ones, separated by colons.
const VARIABLE: &str = "IPCD_CONFIG";

/// The host's file.
const SYSTEM: &str = "/etc/ipcd/ipcd.toml";

/// A file to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Source {
    /// Where it is.
    pub path: PathBuf,
    /// The user named it, so it must exist.
    pub named: bool,
}

/// The files, by the rule above; later ones override earlier ones.
#[must_use]
pub(crate) fn sources(named: Option<&Path>) -> Vec<Source> {
    let var = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    sources_from(named, var(VARIABLE), var("XDG_CONFIG_HOME"), var("HOME"))
}

fn sources_from(
    named: Option<&Path>,
    variable: Option<OsString>,
    config_home: Option<OsString>,
    home: Option<OsString>,
) -> Vec<Source> {
    if let Some(path) = named {
        return vec![Source { path: path.to_owned(), named: true }];
    }
    if let Some(list) = variable {
        return std::env::split_paths(&list).map(|path| Source { path, named: true }).collect();
    }
    // The XDG base directory specification has relative paths ignored.
    let absolute = |folder: &PathBuf| folder.is_absolute();
    let config_home = config_home.map(PathBuf::from).filter(absolute);
    let own = config_home.or_else(|| Some(PathBuf::from(home?).join(".config")).filter(absolute));
    let own = own.map(|folder| folder.join("ipcd/ipcd.toml"));
    let paths = std::iter::once(PathBuf::from(SYSTEM)).chain(own);
    paths.map(|path| Source { path, named: false }).collect()
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The command line.
    Flag,
    /// This environment variable.
    Environment(&'static str),
    /// This line of this file, from 1; 0 is the whole file.
    File(Arc<Path>, usize),
    /// Built in.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("flag"),
            Self::Environment(name) => write!(f, "environment: ${name}"),
            Self::File(path, line) => write!(f, "{}:{line}", path.display()),
            Self::Default => f.write_str("default"),
        }
    }
}

/// A value and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found<T> {
    /// The value.
    pub value: T,
    /// Where it comes from.
    pub origin: Origin,
}

/// An error or a warning about a value, or about a whole file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    origin: Origin,
    what: String,
}

impl Problem {
    /// What is wrong with the value from `origin`.
    #[must_use]
    pub(crate) fn new(origin: Origin, what: String) -> Self {
        Self { origin, what }
    }
}

/// A place in a file comes first, in the form that editors recognise.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Origin::File(path, 0) => write!(f, "{}: {}", path.display(), self.what),
            Origin::File(..) => write!(f, "{}: {}", self.origin, self.what),
            other => write!(f, "{} ({other})", self.what),
        }
    }
}

/// Everything that is wrong, one line each.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n"))]
pub(crate) struct ConfigError(pub(crate) Vec<Problem>);

/// What the client knows about profiles. `ipcd config check` reports their errors too, so its `main` gets it from there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ProfileRules {
    /// The flags of `ipc-client bench`.
    pub grammar: Grammar,
    /// What is wrong with the values of a profile (its name, its keys) taken together, on any host.
    pub problems: fn(&str, &Section) -> Vec<Problem>,
    /// What is valid, but has no effect as written or is not possible on this host.
    pub warnings: fn(&str, &Section) -> Vec<Problem>,
}

/// The contents of all files.
#[derive(Debug, Default)]
pub(crate) struct Config {
    /// The files that were looked for, and whether they exist.
    files: Vec<(Source, bool)>,
    daemon: Section,
    profiles: BTreeMap<String, Section>,
}

/// The longest configuration file.
const LONGEST: u64 = 1 << 20;

/// A file's text.
fn read_bounded(file: File) -> io::Result<String> {
    let mut text = String::new();
    file.take(LONGEST + 1).read_to_string(&mut text)?;
    let is_too_long = u64::try_from(text.len()).is_ok_and(|len| len > LONGEST);
    if is_too_long { Err(io::Error::other("it is longer than 1 MiB")) } else { Ok(text) }
}

/// The same of a file that can be read again.
fn read_without_waiting(path: &Path) -> io::Result<String> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
    let file = rustix::fs::open(path, flags, Mode::empty())?;
    if FileType::from_raw_mode(fstat(&file)?.st_mode) == FileType::Fifo {
        return Err(io::Error::other("it is a pipe, which only a start reads"));
    }
    read_bounded(file.into())
}

/// The name of a profile that is not defined.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown profile \"{name}\" in {}; {}",
    .files.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", "),
    if .known.is_empty() { "no profiles are defined".to_owned() } else { format!("profiles are {}", .known.join(", ")) }
)]
pub(crate) struct UnknownProfile {
    name: String,
    known: Vec<String>,
    files: Vec<PathBuf>,
}

impl Config {
    /// Reads the files, in their order.
    ///
    /// # Errors
    /// Everything that is wrong in them.
    pub(crate) fn read(sources: &[Source], profiles: &ProfileRules) -> Result<Self, ConfigError> {
        Self::if_valid(Self::check(sources, profiles))
    }

    /// Reads what is valid in the files, and everything that is wrong in them, in their order.
    #[must_use]
    pub(crate) fn check(sources: &[Source], rules: &ProfileRules) -> (Self, Vec<Problem>) {
        Self::check_with(sources, rules, |path| read_bounded(File::open(path)?))
    }

    /// As [`read`](Self::read), for a process that has no time to wait for a writer.
    ///
    /// # Errors
    /// Everything that is wrong in the files, or that one of them is a pipe.
    pub(crate) fn read_again(sources: &[Source], profiles: &ProfileRules) -> Result<Self, ConfigError> {
        Self::if_valid(Self::check_with(sources, profiles, read_without_waiting))
    }

    fn if_valid((config, problems): (Self, Vec<Problem>)) -> Result<Self, ConfigError> {
        if problems.is_empty() { Ok(config) } else { Err(ConfigError(problems)) }
    }

    fn check_with(
        sources: &[Source],
        rules: &ProfileRules,
        read: impl Fn(&Path) -> io::Result<String>,
    ) -> (Self, Vec<Problem>) {
        let mut config = Self::default();
        let mut problems = Vec::new();
        for source in sources {
            let path: Arc<Path> = source.path.as_path().into();
            let exists = match read(&path) {
                Ok(text) => {
                    let layer = file::read(&path, &text, &rules.grammar, &mut problems);
                    config.daemon.override_with(&daemon::GRAMMAR, layer.daemon);
                    for (name, profile) in layer.profiles {
                        config.profiles.entry(name).or_default().override_with(&rules.grammar, profile);
                    }
                    true
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound && !source.named => false,
                Err(error) => {
                    let what = format!("it cannot be read: {error}");
                    problems.push(Problem::new(Origin::File(path, 0), what));
                    false
                }
            };
            config.files.push((source.clone(), exists));
        }
        problems.extend(Settings::of_files(&config.daemon).contradictions());
        problems.extend(config.profiles.iter().flat_map(|(name, profile)| (rules.problems)(name, profile)));
        config.sort(&mut problems);
        (config, problems)
    }

    /// Sorts problems by file and line.
    pub(crate) fn sort(&self, problems: &mut [Problem]) {
        let file = |path: &Path| self.files.iter().position(|(source, _)| source.path == path);
        problems.sort_by_key(|problem| match &problem.origin {
            Origin::File(path, line) => (file(path), *line),
            _ => (None, 0),
        });
    }

    /// What is valid, but has no effect as written or is not possible on this host.
    #[must_use]
    pub(crate) fn warnings(&self, rules: &ProfileRules) -> Vec<Problem> {
        let warnings = self.profiles.iter().flat_map(|(name, profile)| (rules.warnings)(name, profile));
        let mut warnings: Vec<_> = warnings.collect();
        self.sort(&mut warnings);
        warnings
    }

    /// The files that were looked for, and whether they exist.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&Path, bool)> {
        self.files.iter().map(|(source, exists)| (source.path.as_path(), *exists))
    }

    /// Where daemon and client meet: at `named`, at `$IPCD_SOCKET`, as configured, or at one of the usual places.
    #[must_use]
    pub(crate) fn address(&self, named: Option<&Path>) -> SocketAddress {
        let configured = self.daemon.get("socket").and_then(|found| found.value.first());
        SocketAddress::resolve_with(named, configured.map(Path::new))
    }

    /// A profile.
    ///
    /// # Errors
    /// There is none of that name.
    pub(crate) fn profile(&self, name: &str) -> Result<&Section, UnknownProfile> {
        self.profiles.get(name).ok_or_else(|| UnknownProfile {
            name: name.to_owned(),
            known: self.profiles.keys().cloned().collect(),
            files: self.files().map(|(path, _)| path.to_owned()).collect(),
        })
    }

    /// The settings and the profiles as TOML, each value with its origin.
    #[must_use]
    pub(crate) fn show(&self, settings: &Settings) -> String {
        let mut lines = Vec::new();
        for (path, exists) in self.files() {
            lines.push(format!("# {}: {}", path.display(), if exists { "read" } else { "not there" }));
        }
        lines.push("\n[daemon]".to_owned());
        for (key, value) in settings.shown() {
            lines.push(match value {
                Ok(value) => format!("{key} = {value}  # {}", settings.origin(&key)),
                Err(absent) => format!("# {key}: {absent}"),
            });
        }
        for (name, profile) in &self.profiles {
            let name = if name.contains('.') { daemon::quoted(name) } else { name.clone() };
            lines.push(format!("\n[profile.{name}]"));
            for (key, Found { value, origin }) in profile.iter() {
                let quoted: Vec<_> = value.iter().map(|value| daemon::quoted(value)).collect();
                let value = match &quoted[..] {
                    [one] => one.clone(),
                    several => format!("[{}]", several.join(", ")),
                };
                lines.push(format!("{key} = {value}  # {origin}"));
            }
        }
        lines.join("\n") + "\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(sources: &[Source]) -> Vec<(&str, bool)> {
        sources.iter().map(|source| (source.path.to_str().unwrap(), source.named)).collect()
    }

    #[test]
    fn the_files_by_their_rule() {
        let text = |text: &str| Some(OsString::from(text));
        let named = sources_from(Some(Path::new("a")), text("b"), text("/c"), text("/d"));
        assert_eq!(paths(&named), [("a", true)]);
        let variable = sources_from(None, text("/b:/c"), text("/c"), text("/d"));
        assert_eq!(paths(&variable), [("/b", true), ("/c", true)]);
        let usual = sources_from(None, None, text("/c"), text("/d"));
        assert_eq!(paths(&usual), [(SYSTEM, false), ("/c/ipcd/ipcd.toml", false)]);
        let home = sources_from(None, None, None, text("/d"));
        assert_eq!(paths(&home), [(SYSTEM, false), ("/d/.config/ipcd/ipcd.toml", false)]);
        let relative = sources_from(None, None, text("relative"), text("/d"));
        assert_eq!(paths(&relative), [(SYSTEM, false), ("/d/.config/ipcd/ipcd.toml", false)]);
        assert_eq!(paths(&sources_from(None, None, text("relative"), None)), [(SYSTEM, false)]);
        assert_eq!(paths(&sources_from(None, None, None, text("relative"))), [(SYSTEM, false)]);
    }
}
