//! The page of the configuration file. Its keys are flags of the command line, whose help it uses.

use std::path::PathBuf;

use clap::{Arg, Command};
use clap_mangen::roff::{Roff, roman};

use super::Made;
use super::pages::{list, term};

/// Flags without a key, since they make no sense in a file.
const NO_KEYS: [&str; 11] = [
    "config",
    "help",
    "json",
    "json-stream",
    "no-wait",
    "private",
    "profile",
    "socket",
    "verbose",
    "version",
    "wait-at-most",
];

pub(super) fn page() -> Made {
    let mut roff = Roff::new();
    let version = concat!("ipcd ", env!("CARGO_PKG_VERSION"));
    roff.control("TH", ["ipcd.toml", "5", "", version, "ipcd"]);
    roff.control("SH", ["NAME"]).text([roman("ipcd.toml - configuration of ipcd and ipc-client")]);
    roff.control("SH", ["SYNOPSIS"]);
    roff.text([roman("/etc/ipcd/ipcd.toml")]).control("br", []);
    roff.text([roman("$XDG_CONFIG_HOME/ipcd/ipcd.toml")]);

    roff.control("SH", ["DESCRIPTION"]);
    roff.text([roman(
        "A TOML file. Of the two, the user's goes before the system's, key by key; --config or $IPCD_CONFIG names \
         others instead. A flag on the command line goes before the environment, and the environment before files.",
    )]);
    roff.control("PP", []).text([roman(
        "A key that is not known and a value that cannot be are errors, told with file and line. \"ipcd config \
         check\" tells all of them, \"ipcd config show\" what holds and where each value comes from. The service reads \
         its files again at \"systemctl reload ipcd\".",
    )]);

    roff.control("SH", ["[daemon]"]);
    keys(&mut roff, &ipcd::internals::daemon::command(), "start", &["config", "help", "version"]);

    roff.control("SH", ["[profile.NAME]"]);
    roff.text([roman(
        "What \"ipc-client bench --profile NAME\" measures, and the timer ipc-bench@NAME.timer. A name has letters, \
         digits, and the characters - _ . in it. The keys are the long flags of \"ipc-client bench\"; those that take \
         several values take a list.",
    )]);
    keys(&mut roff, &ipcd::internals::client::command(), "bench", &NO_KEYS);

    roff.control("SH", ["EXAMPLE"]);
    roff.control("nf", []);
    for line in EXAMPLE.lines() {
        roff.text([roman(line)]);
    }
    roff.control("fi", []);

    roff.control("SH", ["FILES"]);
    list(
        &mut roff,
        [
            ("/etc/ipcd/ipcd.toml", "The system's configuration."),
            (
                "$XDG_CONFIG_HOME/ipcd/ipcd.toml",
                "The user's, $HOME/.config where XDG_CONFIG_HOME is not set.",
            ),
        ]
        .into_iter(),
    );
    roff.control("SH", ["SEE ALSO"]).text([roman("ipcd(1), ipcd-config(1), ipc-client-bench(1)")]);
    Made { path: PathBuf::from("man/man5/ipcd.toml.5"), bytes: roff.to_roff().into_bytes() }
}

/// The keys that have the names of a command's long flags.
fn keys(roff: &mut Roff, command: &Command, below: &str, without: &[&str]) {
    let command = command.find_subcommand(below).expect("it has been there from the start");
    let is_key = |arg: &&Arg| arg.get_long().is_some_and(|long| !without.contains(&long));
    for arg in command.get_arguments().filter(is_key) {
        let name = arg.get_long().expect("those without one were left out");
        let value =
            arg.get_value_names().and_then(|names| names.first()).map_or("BOOLEAN", |name| name.as_str());
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        let defaults: Vec<_> = arg.get_default_values().iter().filter_map(|value| value.to_str()).collect();
        let default = match defaults.is_empty() || !arg.get_action().takes_values() {
            true => String::new(),
            false => format!(" [default: {}]", defaults.join(",")),
        };
        term(roff, name, value, &format!("{help}{default}"));
    }
}

/// What the packages install.
const EXAMPLE: &str = include_str!("../../packaging/ipcd.toml");
