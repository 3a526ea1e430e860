//! The completions of both programs for three shells, where the shells look for them below `/usr/share`.

use std::path::PathBuf;

use clap_complete::{Shell, generate};

use super::Made;

pub(super) fn all() -> Vec<Made> {
    let programs = [("ipcd", ipcd::daemon::cli::command()), ("ipc-client", ipcd::client::cli::command())];
    let mut made = Vec::new();
    for (name, command) in programs {
        for (shell, path) in [
            (Shell::Bash, format!("bash-completion/completions/{name}")),
            (Shell::Zsh, format!("zsh/vendor-completions/_{name}")),
            (Shell::Fish, format!("fish/vendor_completions.d/{name}.fish")),
        ] {
            let mut bytes = Vec::new();
            generate(shell, &mut command.clone(), name, &mut bytes);
            made.push(Made { path: PathBuf::from(path), bytes });
        }
    }
    made
}
