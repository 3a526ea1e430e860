//! The completions of both programs for three shells, where the shells look for them below `/usr/share`.

use std::path::PathBuf;

use clap::Command;
use clap_complete::{Shell, generate};

use super::Made;

pub(super) fn all() -> Vec<Made> {
    let programs =
        [("ipcd", ipcd::internals::daemon::command()), ("ipc-client", ipcd::internals::client::command())];
    let mut made = Vec::new();
    for (name, command) in programs {
        for (shell, path) in [
            (Shell::Bash, format!("bash-completion/completions/{name}")),
            (Shell::Zsh, format!("zsh/vendor-completions/_{name}")),
            (Shell::Fish, format!("fish/vendor_completions.d/{name}.fish")),
        ] {
            let bytes = match shell {
                Shell::Bash => bash(command.clone(), name),
                Shell::Fish => fish(command.clone(), name),
                _ => script(shell, command.clone(), name),
            };
            made.push(Made { path: PathBuf::from(path), bytes });
        }
    }
    made
}

fn script(shell: Shell, mut command: Command, name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    generate(shell, &mut command, name, &mut bytes);
    bytes
}

/// The generator for bash calls the commands of a program with a hyphen in its name by two different names, and so completes
/// none of them (clap-rs/clap#6421, in 4.6.11). It gets a name without one; where the script binds it, the program's own
/// stands.
fn bash(command: Command, name: &str) -> Vec<u8> {
    let plain = name.replace('-', "_");
    let script = String::from_utf8(script(Shell::Bash, command, &plain));
    let script = script.expect("it consists of names and words of this crate");
    script.replace(&format!("-o default {plain}\n"), &format!("-o default {name}\n")).into_bytes()
}

/// clap_complete 4.6.11 completes only flags and their values in fish, as it documents: positional arguments with named
/// values are added here, in the same form.
fn fish(mut command: Command, name: &str) -> Vec<u8> {
    let mut bytes = script(Shell::Fish, command.clone(), name);
    command.build();
    let within = format!("__fish_{}_using_subcommand", name.replace('-', "_"));
    assert!(String::from_utf8_lossy(&bytes).contains(&within), "the function that detects subcommands");
    for subcommand in command.get_subcommands() {
        for argument in subcommand.get_positionals() {
            let values: Vec<_> = argument
                .get_possible_values()
                .iter()
                .filter(|value| !value.is_hide_set())
                .map(|value| {
                    format!(
                        "{}\\t'{}'",
                        value.get_name(),
                        quoted(&value.get_help().unwrap_or_default().to_string())
                    )
                })
                .collect();
            if !values.is_empty() {
                let (subcommand, values) = (subcommand.get_name(), values.join("\n"));
                let line = format!("complete -c {name} -n \"{within} {subcommand}\" -f -a \"{values}\"\n");
                bytes.extend(line.into_bytes());
            }
        }
    }
    bytes
}

/// Escapes a text for single quotes within double quotes.
fn quoted(text: &str) -> String {
    text.replace('\\', "\\\\\\\\").replace('\'', "\\'").replace('"', "\\\"").replace('$', "\\$")
}
