//! Preloading a library of `tests/preload/` between a program of the tests and its C library.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Sandbox, not_tested};

/// A library that programs are started with. Its file goes with the value.
#[derive(Debug)]
pub(crate) struct Preload(PathBuf);

impl Preload {
    /// Builds `tests/preload/NAME.c`. Without a compiler, or with programs that do not support preloading, prints so and
    /// returns `None`.
    pub(crate) fn build(sandbox: &Sandbox, name: &str) -> Option<Self> {
        if cfg!(not(target_env = "gnu")) || cfg!(target_feature = "crt-static") {
            not_tested("preload", "nothing is preloaded into programs without glibc");
            return None;
        }
        let source =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/preload").join(name).with_extension("c");
        let library = sandbox.folder().join(name).with_extension("so");
        let mut command = Command::new(std::env::var_os("CC").unwrap_or_else(|| "cc".into()));
        command.args(["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-o"]).arg(&library);
        match command.arg(&source).arg("-ldl").output() {
            Ok(output) => assert!(output.status.success(), "{command:?}: {output:#?}"),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                not_tested("cc", format!("no C compiler ({command:?})"));
                return None;
            }
            Err(error) => panic!("{command:?}: {error}"),
        }
        Some(Self(library))
    }

    /// Has a program start with it, and whatever that starts.
    pub(crate) fn put_into(&self, mut command: Command) -> Command {
        command.env("LD_PRELOAD", &self.0);
        command
    }

    /// Whether this process runs with it.
    pub(crate) fn is_in(&self, pid: u32) -> bool {
        let mapped = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
        mapped.contains(self.0.to_str().unwrap())
    }
}

impl Drop for Preload {
    fn drop(&mut self) {
        // A test that fails leaves its folder to the sandbox.
        let _ = fs::remove_file(&self.0);
    }
}
