//! The manual pages: one for each program and each of its commands, by `clap_mangen`, and `ipcd.toml`.

use std::path::PathBuf;

use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, italic, roman};
use ipcd::protocol::Exit;

use super::{Made, settings};

/// What the pages of a program say that its command line does not.
struct Program {
    command: Command,
    environment: &'static [(&'static str, &'static str)],
    files: &'static [(&'static str, &'static str)],
    see_also: &'static str,
}

pub(super) fn all() -> Vec<Made> {
    let programs = [
        Program {
            command: ipcd::daemon::cli::command(),
            environment: ENVIRONMENT,
            files: FILES,
            see_also: "ipc-client(1), ipcd.toml(5), systemd.service(5)",
        },
        Program {
            command: ipcd::client::cli::command(),
            environment: ENVIRONMENT,
            files: FILES,
            see_also: "ipcd(1), ipcd.toml(5), systemd.timer(5)",
        },
    ];
    let mut made = Vec::new();
    for mut program in programs {
        // Names such as "ipc-client bench" are filled in here; there is no page for "help".
        program.command = program.command.disable_help_subcommand(true);
        program.command.build();
        let command = program.command.clone();
        tree(&program, &command, None, &mut made);
    }
    made.push(settings::page());
    made
}

/// The page of a command and those of the commands below it.
fn tree(program: &Program, command: &Command, above: Option<&str>, made: &mut Vec<Made>) {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name());
    made.push(Made {
        path: PathBuf::from(format!("man/man1/{name}.1")),
        bytes: page(program, command, name, above).expect("a vector takes whatever is written"),
    });
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        tree(program, below, Some(name), made);
    }
}

fn page(program: &Program, command: &Command, name: &str, above: Option<&str>) -> std::io::Result<Vec<u8>> {
    let version = concat!("ipcd ", env!("CARGO_PKG_VERSION"));
    let man = Man::new(command.clone()).title(name).section("1").source(version).manual("ipcd");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    if command.get_arguments().any(|argument| !argument.is_hide_set()) {
        man.render_options_section(&mut page)?;
    }
    if command.has_subcommands() {
        let mut commands = Vec::new();
        man.render_subcommands_section(&mut commands)?;
        page.extend(commands);
    }
    let mut roff = Roff::new();
    match above {
        None => {
            roff.control("SH", ["EXIT STATUS"]);
            let codes = Exit::ALL.map(|exit| (exit.code().to_string(), exit.meaning()));
            list(&mut roff, codes.iter().map(|(code, meaning)| (code.as_str(), *meaning)));
            roff.control("SH", ["ENVIRONMENT"]);
            list(&mut roff, program.environment.iter().copied());
            roff.control("SH", ["FILES"]);
            list(&mut roff, program.files.iter().copied());
            roff.control("SH", ["SEE ALSO"]).text([roman(program.see_also)]);
        }
        Some(above) => {
            let above = format!("{above}(1)");
            roff.control("SH", ["EXIT STATUS"]).text([roman("See "), bold(&above), roman(".")]);
            roff.control("SH", ["SEE ALSO"]).text([roman(format!("{above}, {}", program.see_also))]);
        }
    }
    roff.to_writer(&mut page)?;
    Ok(page)
}

/// A list of terms and what each means.
pub(super) fn list<'a>(roff: &mut Roff, terms: impl Iterator<Item = (&'a str, &'a str)>) {
    for (term, meaning) in terms {
        roff.control("TP", []).text([bold(term)]).text([roman(meaning)]);
    }
}

/// A term of a list with the name of its value, and what it means.
pub(super) fn term(roff: &mut Roff, name: &str, value: &str, meaning: &str) {
    roff.control("TP", []).text([bold(name), roman(" = "), italic(value)]).text([roman(meaning)]);
}

const ENVIRONMENT: &[(&str, &str)] = &[
    ("IPCD_SOCKET", "The control socket, as --socket names it. It is that one and no other."),
    ("IPCD_CONFIG", "Configuration files, with colons between them, instead of those under FILES."),
    ("IPCD_METRICS", "Where ipcd tells metrics, as --metrics names it."),
    ("IPCD_HISTORY", "The history of recorded runs, as --history names it."),
    ("RUST_LOG", "What is logged on stderr, such as info, debug, or warn,ipcd=debug."),
    ("NO_COLOR", "No colours, also on a terminal."),
    ("RUNTIME_DIRECTORY, XDG_RUNTIME_DIR, TMPDIR", "Where the control socket is looked for; see --socket."),
];

const FILES: &[(&str, &str)] = &[
    ("/etc/ipcd/ipcd.toml", "The system's configuration."),
    ("$XDG_CONFIG_HOME/ipcd/ipcd.toml", "The user's, which goes before it, key by key."),
    ("/run/ipcd/ipcd.sock", "The control socket of the service. Members of the group ipcd may use it."),
    ("/var/lib/ipcd", "What the service's own measurements (ipc-bench@.timer) have found."),
];
