//! The manual pages: one for each program and each of its commands, by `clap_mangen`, and `ipcd.toml`.

use std::path::PathBuf;

use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, italic, roman};
use ipcd::internals::protocol::Exit;

use super::words::{self, Term};
use super::{Made, settings};

/// What the pages of a program say that its command line does not.
struct Program {
    command: Command,
    see_also: &'static str,
}

pub(super) fn all() -> Vec<Made> {
    let programs = [
        Program {
            command: ipcd::internals::daemon::command(),
            see_also: "ipc-client(1), ipcd.toml(5), systemd.service(5)",
        },
        Program {
            command: ipcd::internals::client::command(),
            see_also: "ipcd(1), ipcd.toml(5), systemd.timer(5)",
        },
    ];
    let mut made = Vec::new();
    for mut program in programs {
        // Fills in names such as "ipc-client bench". The subcommand "help" gets no page.
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
    let words = words::of(name);
    section(&mut roff, "SIGNALS", words.map_or(&[], |words| words.signals));
    let above = above.map(|above| format!("{above}(1)"));
    roff.control("SH", ["EXIT STATUS"]);
    match &above {
        None => {
            let codes = Exit::ALL.map(|exit| (exit.code().to_string(), exit.meaning()));
            list(&mut roff, codes.iter().map(|(code, meaning)| (code.as_str(), *meaning)));
        }
        Some(above) => drop(roff.text([roman("See "), bold(above), roman(".")])),
    }
    if let Some(words) = words {
        section(&mut roff, "ENVIRONMENT", words.environment);
        section(&mut roff, "FILES", words.files);
        examples(&mut roff, words.examples);
    }
    let above = above.map_or_else(String::new, |above| format!("{above}, "));
    roff.control("SH", ["SEE ALSO"]).text([roman(format!("{above}{}", program.see_also))]);
    roff.to_writer(&mut page)?;
    Ok(page)
}

/// A section that consists of terms, if there are any.
fn section(roff: &mut Roff, title: &str, terms: &[Term]) {
    if !terms.is_empty() {
        roff.control("SH", [title]);
        list(roff, terms.iter().copied());
    }
}

/// What is typed for what.
fn examples(roff: &mut Roff, examples: &[Term]) {
    if examples.is_empty() {
        return;
    }
    roff.control("SH", ["EXAMPLES"]);
    for (wanted, typed) in examples {
        roff.control("PP", []).text([roman(*wanted)]);
        roff.control("PP", []).control("RS", ["4"]).control("nf", []);
        for line in typed.lines() {
            roff.text([bold(line)]);
        }
        roff.control("fi", []).control("RE", []);
    }
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
