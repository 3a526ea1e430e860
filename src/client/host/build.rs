//! The program itself: which version measured, and how it was built.

use std::env::consts;

use serde::{Deserialize, Serialize};

/// How the program that measured was built.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Build {
    /// The package's version.
    pub version: String,
    /// `release`, or `debug` for a build that is too slow to measure with.
    pub profile: String,
    /// What it was built for: architecture, operating system and, where there are several, its C library.
    pub target: String,
}

impl Build {
    /// The build of the running program.
    pub(crate) fn this() -> Self {
        let library = match () {
            () if cfg!(target_env = "gnu") => "-gnu",
            () if cfg!(target_env = "musl") => "-musl",
            () if cfg!(target_env = "msvc") => "-msvc",
            () => "",
        };
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            profile: if cfg!(debug_assertions) { "debug" } else { "release" }.to_owned(),
            target: format!("{}-{}{library}", consts::ARCH, consts::OS),
        }
    }
}
