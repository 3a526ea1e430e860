//! `ipc-client explain`: what a mechanism is, when to choose it, what limits it, and what a round of it executes.

use std::io::Write;

use anstyle::Style;
use clap::Args;
use textwrap::{Options, fill};

use super::Failure;
use super::args::SocketArgs;
use super::choice::{Meaning, meanings};
use super::methods::{groups, sizes, states};
use super::terminal::prose_width;
use crate::exit::Exit;
use crate::protocol::{MethodState, Wait};
use crate::transports::{self, Delivery, Mechanism};

const BOLD: Style = Style::new().bold();

#[derive(Debug, Args)]
pub(super) struct ExplainArgs {
    #[command(flatten)]
    socket: SocketArgs,
    /// Methods, or groups of them, with commas between: all, sockets, memory, pipes, queues, frameworks [default: every
    /// method, in short].
    #[arg(value_name = "METHOD,...", value_delimiter = ',')]
    methods: Vec<String>,
}

pub(super) fn run(args: &ExplainArgs) -> Result<Exit, Failure> {
    let meanings = meanings(&args.methods).map_err(Failure::usage)?;
    let states = states(&args.socket)?;
    let width = prose_width();
    let each = meanings.into_iter().map(|meaning| match meaning {
        Meaning::One(mechanism) => full(mechanism, &states, width),
        Meaning::Several(members) => short(&members, &states, width),
    });
    let text = match args.methods[..] {
        [] => short(transports::ALL, &states, width),
        _ => each.collect::<Vec<_>>().join("\n\n"),
    };
    // Bold on a terminal only, and not where NO_COLOR says otherwise.
    anstream::stdout().write_all(text.as_bytes())?;
    Ok(Exit::Success)
}

/// What is known of all streams: 16 MiB through a pipe, spinning on one CPU, switched 1290 times and took 4.3 s, 3.3 ms
/// for each switch; blocking, it takes 20 ms.
const SPINNING: &str = "A payload larger than the kernel's buffer goes through it part by part, and one side waits while \
                        the other works. Where both sides, or other processes, need the same CPU, a side that spins \
                        keeps it for its whole time slice, some ms, at every part: seconds for megabytes. Block there.";

/// All that is to be told of one mechanism.
fn full(mechanism: &dyn Mechanism, states: &[MethodState], width: usize) -> String {
    let info = mechanism.info();
    let state = state(mechanism, states);
    let mut text = fill(&format!("{}: {}", info.name, info.summary), width);
    text.push_str("\n\n");

    let mut facts = vec![("group", info.group.name().to_owned())];
    if !info.aliases.is_empty() {
        facts.push(("also called", info.aliases.join(", ")));
    }
    facts.push(("delivery", info.delivery.name().to_owned()));
    facts.push(("reaches", info.reach.name().to_owned()));
    if let Some(state) = state {
        let because = state.max_size_because.iter().map(|limit| format!("; {limit}")).collect::<String>();
        facts.push(("size", format!("{} each way in a round{because}", sizes(mechanism, state))));
    }
    let waits: Vec<_> = info.waits.iter().map(|wait| wait.name()).collect();
    facts.push(("waits", first_is_default(&waits, ", ")));
    if info.delivery == Delivery::Stream && info.waits.contains(&Wait::Spin) {
        facts.push(("spinning", SPINNING.to_owned()));
    }
    for option in info.options {
        let values = first_is_default(option.values, ", ");
        facts.push(("option", format!("--{}: {}; {values}", option.name, option.help)));
    }
    facts.push((
        "here",
        match state.map(MethodState::lacking) {
            Some(None) => "can be measured".to_owned(),
            Some(Some(reason)) => format!("not to be had: {reason}"),
            None => "the daemon does not know it".to_owned(),
        },
    ));
    for (name, value) in facts {
        let first = format!("  {name:<12}");
        let rest = " ".repeat(first.len());
        text.push_str(&fill(&value, Options::new(width).initial_indent(&first).subsequent_indent(&rest)));
        text.push('\n');
    }

    let explanation = &info.explanation;
    for (heading, prose) in [
        ("When to choose it", explanation.choose),
        ("What limits it", explanation.limits),
        ("What a round executes", explanation.round),
    ] {
        text.push_str(&format!("\n{BOLD}{heading}{BOLD:#}\n{}\n", indented(prose, width)));
    }
    text
}

/// In short: what each is and when to choose it.
fn short(mechanisms: &[&'static dyn Mechanism], states: &[MethodState], width: usize) -> String {
    let mut text = String::new();
    for group in groups() {
        for mechanism in mechanisms.iter().filter(|mechanism| mechanism.info().group == group) {
            let info = mechanism.info();
            let heading = format!("{} ({}): {}", info.name, group.name(), info.summary);
            // Wrapped before it is styled: escapes have no width, and the name is never broken.
            let heading = fill(&heading, Options::new(width).subsequent_indent("  "));
            let styled = heading.replacen(info.name, &format!("{BOLD}{}{BOLD:#}", info.name), 1);
            text.push_str(&format!("{styled}\n{}\n", indented(info.explanation.choose, width)));
            if let Some(reason) = state(*mechanism, states).and_then(MethodState::lacking) {
                text.push_str(&format!("{}\n", indented(&format!("Not to be had here: {reason}"), width)));
            }
            text.push('\n');
        }
    }
    text.truncate(text.trim_end().len());
    if text.is_empty() { "this build has none of them\n".to_owned() } else { text + "\n" }
}

fn state<'a>(mechanism: &dyn Mechanism, states: &'a [MethodState]) -> Option<&'a MethodState> {
    states.iter().find(|state| state.name == mechanism.info().name)
}

fn first_is_default(values: &[&str], separator: &str) -> String {
    match values {
        [] | [_] => values.concat(),
        [first, rest @ ..] => format!("{first} (default){separator}{}", rest.join(separator)),
    }
}

fn indented(prose: &str, width: usize) -> String {
    fill(prose, Options::new(width).initial_indent("  ").subsequent_indent("  "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use anstream::adapter::strip_str;

    /// Letters alone: where lines are broken, also behind a hyphen, does not matter.
    fn letters(text: &str) -> String {
        strip_str(text).to_string().split_whitespace().collect()
    }

    #[test]
    fn every_mechanism_is_explained_in_whole_sentences() {
        for mechanism in transports::ALL {
            let info = mechanism.info();
            for prose in [info.explanation.choose, info.explanation.limits, info.explanation.round] {
                assert!(prose.ends_with('.') && !prose.contains("  "), "{}: {prose:?}", info.name);
                assert!(prose.starts_with(|c: char| !c.is_lowercase()), "{}: {prose:?}", info.name);
            }
        }
    }

    #[test]
    fn an_explanation_tells_everything_and_fits_its_width() {
        let states = transports::states();
        for mechanism in transports::ALL {
            for width in [40, 80] {
                let text = full(*mechanism, &states, width);
                let plain = strip_str(&text).to_string();
                assert!(plain.lines().all(|line| textwrap::core::display_width(line) <= width), "{plain}");
                let info = mechanism.info();
                let told = letters(&text);
                for part in
                    [info.summary, info.explanation.choose, info.explanation.limits, info.explanation.round]
                {
                    assert!(told.contains(&letters(part)), "{part:?} is missing in {plain}");
                }
                for option in info.options {
                    assert!(told.contains(&format!("--{}", option.name)), "{plain}");
                }
            }
        }
    }

    #[test]
    fn defaults_and_availability_are_told() {
        let mut states = transports::states();
        for state in &mut states {
            state.unavailable = None;
        }
        let tcp = transports::find("tcp").unwrap();
        let told = letters(&full(tcp, &states, 80));
        assert!(told.contains(&letters("waits block (default), spin, adaptive")), "{told}");
        assert!(told.contains(&letters("here can be measured")), "{told}");
        assert!(told.contains(&letters(SPINNING)), "{told}");
        let eventfd = transports::find("eventfd").unwrap();
        assert!(!letters(&full(eventfd, &states, 80)).contains(&letters(SPINNING)), "it carries a word");

        let tcp_state = states.iter_mut().find(|state| state.name == "tcp").unwrap();
        tcp_state.unavailable = Some(crate::protocol::Unavailable("no loopback".to_owned()));
        assert!(letters(&full(tcp, &states, 80)).contains(&letters("here not to be had: no loopback")));
        assert!(letters(&short(&[tcp], &states, 80)).contains(&letters("Not to be had here: no loopback")));
    }

    #[test]
    fn in_short_every_mechanism_is_named_and_lines_fit() {
        let text = short(transports::ALL, &transports::states(), 80);
        let plain = strip_str(&text).to_string();
        assert!(plain.lines().all(|line| textwrap::core::display_width(line) <= 80), "{plain}");
        for mechanism in transports::ALL {
            let heading = format!("{} ({}):", mechanism.info().name, mechanism.info().group.name());
            assert!(plain.contains(&heading), "{heading}");
        }
        assert_eq!(short(&[], &[], 80), "this build has none of them\n");
    }
}
