//! The configuration: files that say how the daemon runs and what a named benchmark is.
//!
//! `/etc/ipcd/ipcd.toml` is read first, then `$XDG_CONFIG_HOME/ipcd/ipcd.toml`, whose keys go before; or, instead of
//! both, the file that `--config` names or those of `$IPCD_CONFIG`. A flag goes before the environment, which goes before
//! a file. Values are read by the very functions that read the flags (`values`).
//!
//! Both programs read it, and each all of it: what is wrong is told wherever it is met, with file and line, all at once.

mod daemon;
mod file;
pub(crate) mod label;
mod limits;
pub(crate) mod methods;
mod metrics;
mod placement;
mod profile;
mod show;
mod together;
pub(crate) mod values;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(crate) use daemon::DEFAULT_MEASUREMENTS;
pub(crate) use daemon::{Flags, Settings, VariableError};
pub use label::Label;
pub(crate) use label::LabelError;
pub use limits::{Limit, Limits};
pub(crate) use metrics::{MetricsAddress, MetricsSettings};
pub use placement::Placement;

pub(crate) use profile::exclude;
#[cfg(test)]
pub(crate) use profile::{EXCLUDE, KEYS, Shape};
pub(crate) use profile::{Profile, UnknownProfile};
pub(crate) use values::Timing;

use crate::protocol::SocketAddress;

/// Where files are instead of the usual places, with colons between them.
const VARIABLE: &str = "IPCD_CONFIG";

/// The host's file.
const SYSTEM: &str = "/etc/ipcd/ipcd.toml";

/// A file to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Where it is.
    pub path: PathBuf,
    /// Somebody has named it: it has to be there.
    pub named: bool,
}

/// The files, by the rule above, the one that goes before the others last.
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
    // A relative one is to be ignored, as the XDG base directory specification has it.
    let absolute = |folder: &PathBuf| folder.is_absolute();
    let config_home = config_home.map(PathBuf::from).filter(absolute);
    let own = config_home.or_else(|| Some(PathBuf::from(home?).join(".config")).filter(absolute));
    let own = own.map(|folder| folder.join("ipcd/ipcd.toml"));
    let paths = std::iter::once(PathBuf::from(SYSTEM)).chain(own);
    paths.map(|path| Source { path, named: false }).collect()
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The command line.
    Flag,
    /// This variable.
    Environment(&'static str),
    /// This line, from 1, of this file.
    File(Arc<Path>, usize),
    /// Nobody has said anything.
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

/// Something that is wrong with a value, or with a whole file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where it stands. A line 0 means the whole file.
    origin: Origin,
    what: String,
}

impl Problem {
    /// What is wrong with a value that stands there.
    #[must_use]
    pub(crate) fn new(origin: Origin, what: String) -> Self {
        Self { origin, what }
    }
}

/// Where it is in a file, that goes first, in the form in which editors find it.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Origin::File(path, 0) => write!(f, "{}: {}", path.display(), self.what),
            Origin::File(..) => write!(f, "{}: {}", self.origin, self.what),
            elsewhere => write!(f, "{} ({elsewhere})", self.what),
        }
    }
}

/// All that is wrong, a line each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError(Vec<Problem>);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<_> = self.0.iter().map(Problem::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for ConfigError {}

impl From<Vec<Problem>> for ConfigError {
    fn from(problems: Vec<Problem>) -> Self {
        Self(problems)
    }
}

/// What the files say together.
#[derive(Debug, Default)]
pub struct Config {
    /// The files that were looked for, and whether they were there.
    files: Vec<(Source, bool)>,
    daemon: daemon::Section,
    profiles: BTreeMap<String, Profile>,
}

impl Config {
    /// Reads the files, in their order.
    ///
    /// # Errors
    /// All that is wrong in any of them, or with what they say together.
    pub fn read(sources: &[Source]) -> Result<Self, ConfigError> {
        match Self::look_at(sources) {
            (config, problems) if problems.is_empty() => Ok(config),
            (_, problems) => Err(ConfigError(problems)),
        }
    }

    /// Reads what can be read of the files, and all that is wrong with them, in their order.
    #[must_use]
    pub(crate) fn look_at(sources: &[Source]) -> (Self, Vec<Problem>) {
        let mut config = Self::default();
        let mut problems = Vec::new();
        for source in sources {
            let path: Arc<Path> = source.path.as_path().into();
            let there = match std::fs::read_to_string(&path) {
                Ok(text) => {
                    let layer = file::read(&path, &text, &mut problems);
                    config.daemon.put_over(layer.daemon);
                    for (name, profile) in layer.profiles {
                        config.profiles.entry(name).or_default().put_over(profile);
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
            config.files.push((source.clone(), there));
        }
        problems.extend(together::problems(&config.daemon, &config.profiles));
        config.in_order(&mut problems);
        (config, problems)
    }

    /// Puts them in the order of the files and their lines.
    pub(crate) fn in_order(&self, problems: &mut [Problem]) {
        let file = |path: &Path| self.files.iter().position(|(source, _)| source.path == path);
        problems.sort_by_key(|problem| match &problem.origin {
            Origin::File(path, line) => (file(path), *line),
            _ => (None, 0),
        });
    }

    /// What is right as it stands, but comes to nothing on this host or without more on the command line.
    #[must_use]
    pub(crate) fn doubts(&self) -> Vec<Problem> {
        let mut doubts = together::doubts(&self.profiles);
        self.in_order(&mut doubts);
        doubts
    }

    /// The files that were looked for, and whether they were there.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&Path, bool)> {
        self.files.iter().map(|(source, there)| (source.path.as_path(), *there))
    }

    /// Where daemon and client meet: at `named`, at `$IPCD_SOCKET`, where the files say, or at one of the usual places.
    #[must_use]
    pub(crate) fn address(&self, named: Option<&Path>) -> SocketAddress {
        let configured = self.daemon.socket.as_ref().map(|socket| socket.value.as_path());
        SocketAddress::resolve_with(named, configured)
    }

    /// A profile.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn profile(&self, name: &str) -> Result<&Profile, UnknownProfile> {
        self.profiles.get(name).ok_or_else(|| UnknownProfile {
            name: name.to_owned(),
            known: self.profiles.keys().cloned().collect(),
            files: self.files().map(|(path, _)| path.to_owned()).collect(),
        })
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
