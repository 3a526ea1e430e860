//! `ipc-client methods` and `ipc-client explain`: the mechanisms, as the daemon's side of this host has them.

use anstyle::Style;
use clap::Args;
use log::Level;
use serde::Serialize;
use textwrap::{Options, fill};

use super::daemon::{QueryArgs, SocketArgs};
use super::output::{for_stdout, prose_width};
use crate::client::plan::selection::{Meaning, NotBuilt, meanings, state};
use crate::client::report::json;
use crate::client::{Client, Failure};
use crate::diagnostics::{error_chain, print_message, to_stdout};
use crate::exit::Exit;
use crate::protocol::{MethodState, Wait};
use crate::transports::{self, Delivery, Group, Mechanism};
use crate::units::size;

const BOLD: Style = Style::new().bold();

pub(super) fn run(args: &QueryArgs) -> Result<Exit, Failure> {
    let states = states(&args.socket);
    if args.json {
        let methods = known(&states).map(|(mechanism, state)| Listed::Here(Method::of(mechanism, state)));
        let methods: Vec<_> = methods.chain(transports::not_built().map(Listed::not_built)).collect();
        to_stdout(|out| json::write(&methods, out))?;
    } else {
        to_stdout(|out| out.write_all(list(&states, prose_width()).as_bytes()))?;
    }
    Ok(Exit::Success)
}

#[derive(Debug, Args)]
pub(super) struct ExplainArgs {
    #[command(flatten)]
    socket: SocketArgs,
    /// Methods or groups, separated by commas: all, sockets, memory, pipes, queues, frameworks [default: a summary of
    /// every method].
    #[arg(value_name = "METHOD,...", value_delimiter = ',')]
    methods: Vec<String>,
}

pub(super) fn explain(args: &ExplainArgs) -> Result<Exit, Failure> {
    let meanings = meanings(&args.methods).map_err(Failure::usage)?;
    let states = states(&args.socket);
    let width = prose_width();
    let each = meanings.into_iter().map(|meaning| match meaning {
        Meaning::One(mechanism) => explanation(mechanism, &states, width),
        Meaning::Several(members) => summary(&members, &states, width),
    });
    let text = match args.methods[..] {
        [] => summary(transports::ALL, &states, width),
        _ => each.collect::<Vec<_>>().join("\n\n"),
    };
    // Bold on a terminal only, unless NO_COLOR is set.
    to_stdout(|out| out.write_all(&for_stdout(text.into_bytes())))?;
    Ok(Exit::Success)
}

/// The mechanisms as the daemon has them, which may be allowed less than this process (a sandbox); as this process has them
/// where no daemon answers, since what a method is needs neither a daemon nor its permission.
fn states(args: &SocketArgs) -> Vec<MethodState> {
    let ask = || -> Result<_, Failure> { Ok(Client::connect(&args.address()?)?.methods()?) };
    ask().unwrap_or_else(|failure| {
        let why = match failure.exit {
            Exit::NoDaemon => "no daemon answers".to_owned(),
            _ => error_chain(failure.error.as_ref()),
        };
        print_message(
            "ipc-client",
            Level::Warn,
            &format!("{why}: shown is what this process can do without it"),
        );
        transports::states()
    })
}

/// The mechanisms that this client knows too.
fn known(states: &[MethodState]) -> impl Iterator<Item = (&'static dyn Mechanism, &MethodState)> {
    states.iter().filter_map(|state| Some((transports::find(&state.name).ok()?, state)))
}

/// The groups, and the tool's own mechanisms last.
fn groups() -> impl Iterator<Item = Group> {
    Group::ALL.into_iter().chain([Group::Tool])
}

/// The payload sizes that a mechanism carries.
fn sizes(mechanism: &dyn Mechanism, state: &MethodState) -> String {
    match (u64::try_from(mechanism.capabilities().min_size).unwrap_or(u64::MAX), state.max_size_bytes.into())
    {
        (min, max) if min == max => size(max),
        (min, max) => format!("{} to {}", size(min), size(max)),
    }
}

/// Text wrapped behind a heading, with a hanging indent, and ended by a line feed.
fn hanging(heading: &str, text: &str, width: usize) -> String {
    let indent = " ".repeat(heading.len());
    fill(text, Options::new(width).initial_indent(heading).subsequent_indent(&indent)) + "\n"
}

/// The list of methods by group; "explain" has the rest.
fn list(states: &[MethodState], width: usize) -> String {
    let methods: Vec<_> = known(states).collect();
    let names = methods.iter().map(|(mechanism, _)| mechanism.info().name).chain(transports::not_built());
    let names = names.map(str::len).max().unwrap_or(0);
    let sized = methods.iter().map(|(mechanism, state)| sizes(*mechanism, state).len()).max().unwrap_or(0);
    let mut text = String::new();
    for group in groups() {
        let mut rows = String::new();
        for (mechanism, state) in methods.iter().filter(|(mechanism, _)| mechanism.info().group == group) {
            let info = mechanism.info();
            let heading = format!("  {:names$}  {:sized$}  ", info.name, sizes(*mechanism, state));
            let aliases = match info.aliases {
                [] => String::new(),
                aliases => format!("; also {}", aliases.join(", ")),
            };
            rows += &hanging(&heading, &format!("{}{aliases}", info.summary), width);
            if let Some(reason) = state.lacking() {
                rows += &hanging(&" ".repeat(heading.len()), &format!("unavailable here: {reason}"), width);
            }
        }
        for name in transports::not_built().filter(|_| group == Group::Frameworks) {
            rows +=
                &hanging(&format!("  {name:names$}  {:sized$}  ", ""), &NotBuilt(name).to_string(), width);
        }
        if !rows.is_empty() {
            text += &format!("{}{}\n{rows}", if text.is_empty() { "" } else { "\n" }, group.name());
        }
    }
    text
}

/// Applies to every stream. Measured: 16 MiB through a pipe, spinning on one CPU, took 1290 switches and 4.3 s, 3.3 ms
/// for each switch; blocking, 20 ms.
const SPINNING: &str = "A payload larger than the kernel's buffer is transferred part by part, and one side waits while \
                        the other works. If both sides, or other processes, need the same CPU, a spinning side keeps it \
                        for its whole time slice at every part. Block instead.";

/// Everything about one mechanism.
fn explanation(mechanism: &dyn Mechanism, states: &[MethodState], width: usize) -> String {
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
    facts.push(("waits", first_is_default(&waits)));
    if info.delivery == Delivery::Stream && info.waits.contains(&Wait::Spin) {
        facts.push(("spinning", SPINNING.to_owned()));
    }
    for option in info.options {
        let values = first_is_default(option.values);
        facts.push(("option", format!("--{}: {}; {values}", option.name, option.help)));
    }
    facts.push((
        "here",
        match state.map(MethodState::lacking) {
            Some(None) => "can be measured".to_owned(),
            Some(Some(reason)) => format!("unavailable: {reason}"),
            None => "unknown to the daemon".to_owned(),
        },
    ));
    for (name, value) in facts {
        text += &hanging(&format!("  {name:<12}"), &value, width);
    }
    for (heading, prose) in [
        ("When to choose it", info.choose),
        ("What limits it", info.limits),
        ("What a round executes", info.round),
    ] {
        text += &format!("\n{BOLD}{heading}{BOLD:#}\n{}", hanging("  ", prose, width));
    }
    text
}

/// What each mechanism is and when to choose it.
fn summary(mechanisms: &[&'static dyn Mechanism], states: &[MethodState], width: usize) -> String {
    let mut text = String::new();
    for group in groups() {
        for mechanism in mechanisms.iter().filter(|mechanism| mechanism.info().group == group) {
            let info = mechanism.info();
            let heading = format!("{} ({}): {}", info.name, group.name(), info.summary);
            // Wrapped before it is styled, since escapes have no width; the name is never broken.
            let heading = fill(&heading, Options::new(width).subsequent_indent("  "));
            let styled = heading.replacen(info.name, &format!("{BOLD}{}{BOLD:#}", info.name), 1);
            text += &format!("{styled}\n{}", hanging("  ", info.choose, width));
            if let Some(reason) = state(*mechanism, states).and_then(MethodState::lacking) {
                text += &hanging("  ", &format!("Unavailable here: {reason}"), width);
            }
            text.push('\n');
        }
    }
    text.truncate(text.trim_end().len());
    if text.is_empty() { "this build has none of them\n".to_owned() } else { text + "\n" }
}

fn first_is_default(values: &[&str]) -> String {
    match values {
        [] | [_] => values.concat(),
        [first, rest @ ..] => format!("{first} (default), {}", rest.join(", ")),
    }
}

/// An entry of the list in JSON.
#[derive(Serialize)]
#[serde(untagged)]
enum Listed<'a> {
    Here(Method<'a>),
    /// A method that this build lacks; nothing else is known about it.
    NotBuilt {
        name: &'static str,
        group: &'static str,
        available: bool,
        unavailable_because: String,
    },
}

impl Listed<'_> {
    fn not_built(name: &'static str) -> Self {
        Self::NotBuilt {
            name,
            group: Group::Frameworks.name(),
            available: false,
            unavailable_because: NotBuilt(name).to_string(),
        }
    }
}

/// A method in JSON.
#[derive(Serialize)]
struct Method<'a> {
    name: &'static str,
    aliases: &'static [&'static str],
    group: &'static str,
    summary: &'static str,
    delivery: &'static str,
    reaches: &'static str,
    min_size_bytes: usize,
    max_size_bytes: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_size_because: Option<&'a str>,
    /// The first is the default.
    waits: Vec<&'static str>,
    options: Vec<MethodOption>,
    available: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    unavailable_because: Option<&'a str>,
    choose: &'static str,
    limits: &'static str,
    round: &'static str,
}

#[derive(Serialize)]
struct MethodOption {
    name: &'static str,
    /// The first is the default.
    values: &'static [&'static str],
    help: &'static str,
}

impl<'a> Method<'a> {
    fn of(mechanism: &dyn Mechanism, state: &'a MethodState) -> Self {
        let info = mechanism.info();
        Self {
            name: info.name,
            aliases: info.aliases,
            group: info.group.name(),
            summary: info.summary,
            delivery: info.delivery.name(),
            reaches: info.reach.name(),
            min_size_bytes: mechanism.capabilities().min_size,
            max_size_bytes: state.max_size_bytes,
            max_size_because: state.max_size_because.as_deref(),
            waits: info.waits.iter().map(|wait| wait.name()).collect(),
            options: info
                .options
                .iter()
                .map(|option| MethodOption { name: option.name, values: option.values, help: option.help })
                .collect(),
            available: state.lacking().is_none(),
            unavailable_because: state.lacking().map(|reason| reason.0.as_str()),
            choose: info.choose,
            limits: info.limits,
            round: info.round,
        }
    }
}

#[cfg(test)]
mod tests {
    use anstream::adapter::strip_str;

    use super::*;
    use crate::protocol::Unavailable;

    fn states() -> Vec<MethodState> {
        let mut states = transports::states();
        for state in &mut states {
            state.unavailable =
                (state.name == "udp").then(|| Unavailable("there is no loopback interface".to_owned()));
        }
        states
    }

    /// A time that was measured on one machine is wrong on the next.
    #[test]
    fn no_explanation_quotes_a_measured_time() {
        for info in transports::ALL.iter().map(|mechanism| mechanism.info()) {
            for text in [info.summary, info.choose, info.limits, info.round, SPINNING] {
                let words: Vec<_> = text.split_whitespace().collect();
                let is_time = |pair: &[&str]| {
                    let unit = pair[1].trim_matches(|c: char| !c.is_alphabetic());
                    pair[0].parse::<f64>().is_ok() && ["ns", "us", "µs", "ms", "s"].contains(&unit)
                };
                assert!(!words.windows(2).any(is_time), "{}: {text}", info.name);
            }
        }
    }

    #[test]
    fn the_list_fits_80_columns_and_names_every_method_under_its_group() {
        let text = list(&states(), 80);
        assert!(text.lines().all(|line| textwrap::core::display_width(line) <= 80), "{text}");
        let mut group = "";
        let mut seen = 0;
        for line in text.lines() {
            if !line.starts_with(' ') {
                group = line;
            } else if let Ok(mechanism) = transports::find(line.split_whitespace().next().unwrap_or_default())
                && line.starts_with("  ")
                && !line.starts_with("   ")
            {
                assert_eq!(mechanism.info().group.name(), group);
                seen += 1;
            }
        }
        assert_eq!(seen, transports::ALL.len(), "{text}");
    }

    #[test]
    fn an_unavailable_method_is_listed_with_its_reason() {
        let text = list(&states(), 80).split_whitespace().collect::<Vec<_>>().join(" ");
        let at = text.find("unavailable here: there is no loopback interface").unwrap();
        assert!(text.find(" udp ").unwrap() < at, "{text}");
    }

    #[test]
    fn a_method_that_is_not_built_is_listed_with_its_feature() {
        let text = list(&states(), 80).split_whitespace().collect::<Vec<_>>().join(" ");
        let frameworks = text.find("frameworks").unwrap();
        for name in transports::FEATURES {
            let row = format!("{name} not in this build: build with --features {name}");
            let lacks = transports::not_built().any(|lacking| lacking == name);
            assert_eq!(text.find(&row).is_some_and(|at| frameworks < at), lacks, "{name} in {text}");
        }
        let json = serde_json::to_value(Listed::not_built("tokio")).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "name": "tokio",
                "group": "frameworks",
                "available": false,
                "unavailable_because": "not in this build: build with --features tokio",
            })
        );
    }

    #[test]
    fn json_has_the_defaults_first_and_the_reason() {
        let states = states();
        let json = |name| {
            let (mechanism, state) =
                known(&states).find(|(mechanism, _)| mechanism.info().name == name).unwrap();
            serde_json::to_value(Method::of(mechanism, state)).unwrap()
        };
        let (tcp, udp) = (json("tcp"), json("udp"));
        assert_eq!((&tcp["group"], &tcp["waits"][0]), (&"sockets".into(), &"block".into()));
        assert_eq!(tcp["options"][0]["values"], serde_json::json!(["true", "false"]));
        assert_eq!(tcp.get("unavailable_because"), None);
        assert_eq!(udp["max_size_bytes"], 65_507);
        assert_eq!(
            (&udp["available"], &udp["unavailable_because"]),
            (&false.into(), &"there is no loopback interface".into())
        );
    }

    /// Without white space: where lines are broken does not matter.
    fn letters(text: &str) -> String {
        strip_str(text).to_string().split_whitespace().collect()
    }

    #[test]
    fn every_mechanism_is_explained_in_whole_sentences() {
        for mechanism in transports::ALL {
            let info = mechanism.info();
            for prose in [info.choose, info.limits, info.round] {
                assert!(prose.ends_with('.') && !prose.contains("  "), "{}: {prose:?}", info.name);
                assert!(prose.starts_with(|c: char| !c.is_lowercase()), "{}: {prose:?}", info.name);
            }
        }
    }

    #[test]
    fn an_explanation_is_complete_and_fits_its_width() {
        let states = transports::states();
        for mechanism in transports::ALL {
            for width in [40, 80] {
                let text = explanation(*mechanism, &states, width);
                let plain = strip_str(&text).to_string();
                assert!(plain.lines().all(|line| textwrap::core::display_width(line) <= width), "{plain}");
                let info = mechanism.info();
                let shown = letters(&text);
                for part in [info.summary, info.choose, info.limits, info.round] {
                    assert!(shown.contains(&letters(part)), "{part:?} is missing in {plain}");
                }
                for option in info.options {
                    assert!(shown.contains(&format!("--{}", option.name)), "{plain}");
                }
            }
        }
    }

    #[test]
    fn an_explanation_has_defaults_and_availability() {
        let mut states = transports::states();
        for state in &mut states {
            state.unavailable = None;
        }
        let tcp = transports::find("tcp").unwrap();
        let shown = letters(&explanation(tcp, &states, 80));
        assert!(shown.contains(&letters("waits block (default), spin, adaptive")), "{shown}");
        assert!(shown.contains(&letters("here can be measured")), "{shown}");
        assert!(shown.contains(&letters(SPINNING)), "{shown}");
        let eventfd = transports::find("eventfd").unwrap();
        assert!(
            !letters(&explanation(eventfd, &states, 80)).contains(&letters(SPINNING)),
            "it carries a word"
        );

        let tcp_state = states.iter_mut().find(|state| state.name == "tcp").unwrap();
        tcp_state.unavailable = Some(Unavailable("no loopback".to_owned()));
        assert!(letters(&explanation(tcp, &states, 80)).contains(&letters("here unavailable: no loopback")));
        assert!(letters(&summary(&[tcp], &states, 80)).contains(&letters("Unavailable here: no loopback")));
    }

    #[test]
    fn a_summary_names_every_mechanism_and_fits_its_width() {
        let text = summary(transports::ALL, &transports::states(), 80);
        let plain = strip_str(&text).to_string();
        assert!(plain.lines().all(|line| textwrap::core::display_width(line) <= 80), "{plain}");
        for mechanism in transports::ALL {
            let heading = format!("{} ({}):", mechanism.info().name, mechanism.info().group.name());
            assert!(plain.contains(&heading), "{heading}");
        }
        assert_eq!(summary(&[], &[], 80), "this build has none of them\n");
    }
}
