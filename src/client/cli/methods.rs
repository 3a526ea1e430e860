//! `ipc-client methods`: the mechanisms, as the daemon's side of this host has them.

use std::io::Write;

use serde::Serialize;

use super::Failure;
use super::args::{QueryArgs, SocketArgs};
use super::choice::NotBuilt;
use super::daemon::address;
use super::terminal::prose_width;
use crate::client::report::json;
use crate::client::{Client, ClientError};
use crate::diagnostics::print_line;
use crate::exit::Exit;
use crate::protocol::{DialError, MethodState};
use crate::transports::{self, Group, Info, Mechanism};
use crate::units::size;

pub(super) fn run(args: &QueryArgs) -> Result<Exit, Failure> {
    let states = states(&args.socket)?;
    let mut out = std::io::stdout().lock();
    if args.json {
        let methods = known(&states).map(|(mechanism, state)| Listed::Here(Method::of(mechanism, state)));
        let methods: Vec<_> = methods.chain(transports::not_built().map(Listed::not_built)).collect();
        json::write(&methods, &mut out)?;
    } else {
        out.write_all(list(&states, prose_width()).as_bytes())?;
    }
    Ok(Exit::Success)
}

/// The mechanisms as the daemon has them, who may run where less is allowed than here (a sandbox); without one, this
/// process's view is the one.
pub(super) fn states(args: &SocketArgs) -> Result<Vec<MethodState>, Failure> {
    let address = address(args)?;
    match Client::connect(&address) {
        Ok(mut client) => Ok(client.methods()?),
        Err(ClientError::Dial(DialError::NoDaemon { .. })) if !address.named => {
            print_line(format_args!("ipc-client: no daemon runs: this is what a private one can do"));
            Ok(transports::states())
        }
        Err(error) => Err(error.into()),
    }
}

/// Those mechanisms that this client knows too.
fn known(states: &[MethodState]) -> impl Iterator<Item = (&'static dyn Mechanism, &MethodState)> {
    states.iter().filter_map(|state| Some((transports::find(&state.name).ok()?, state)))
}

/// The groups, and the tool's own mechanisms behind them.
pub(super) fn groups() -> impl Iterator<Item = Group> {
    Group::ALL.into_iter().chain([Group::Tool])
}

/// How much a mechanism carries.
pub(super) fn sizes(mechanism: &dyn Mechanism, state: &MethodState) -> String {
    match (u64::try_from(mechanism.capabilities().min_size).unwrap_or(u64::MAX), state.max_size_bytes.into())
    {
        (min, max) if min == max => size(max),
        (min, max) => format!("{} to {}", size(min), size(max)),
    }
}

/// The list for people: under each group its methods, with what fits a line; "explain" has the rest.
fn list(states: &[MethodState], width: usize) -> String {
    let methods: Vec<_> = known(states).collect();
    let names = methods.iter().map(|(mechanism, _)| mechanism.info().name).chain(transports::not_built());
    let names = names.map(str::len).max().unwrap_or(0);
    let sized = methods.iter().map(|(mechanism, state)| sizes(*mechanism, state).len()).max().unwrap_or(0);
    let mut text = String::new();
    for group in groups() {
        let members = methods.iter().filter(|(mechanism, _)| mechanism.info().group == group);
        for (number, (mechanism, state)) in members.enumerate() {
            if number == 0 {
                text.push_str(&format!("{}{}\n", if text.is_empty() { "" } else { "\n" }, group.name()));
            }
            let first = format!("  {:names$}  {:sized$}  ", mechanism.info().name, sizes(*mechanism, state));
            let rest = " ".repeat(first.len());
            let options = textwrap::Options::new(width).initial_indent(&first).subsequent_indent(&rest);
            text.push_str(&textwrap::fill(&what(mechanism.info()), options));
            text.push('\n');
            if let Some(reason) = state.lacking() {
                let options = textwrap::Options::new(width).initial_indent(&rest).subsequent_indent(&rest);
                text.push_str(&textwrap::fill(&format!("not to be had here: {reason}"), options));
                text.push('\n');
            }
        }
        if group == Group::Frameworks {
            for name in transports::not_built() {
                let first = format!("  {name:names$}  {:sized$}  ", "");
                let rest = " ".repeat(first.len());
                let options = textwrap::Options::new(width).initial_indent(&first).subsequent_indent(&rest);
                text.push_str(&textwrap::fill(&NotBuilt(name).to_string(), options));
                text.push('\n');
            }
        }
    }
    text
}

fn what(info: &Info) -> String {
    match info.aliases {
        [] => info.summary.to_owned(),
        aliases => format!("{}; also {}", info.summary, aliases.join(", ")),
    }
}

/// An entry of the list in JSON.
#[derive(Serialize)]
#[serde(untagged)]
enum Listed<'a> {
    Here(Method<'a>),
    /// What this build lacks, of which it knows no more.
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
            choose: info.explanation.choose,
            limits: info.explanation.limits,
            round: info.explanation.round,
        }
    }
}

#[cfg(test)]
mod tests {
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
    fn the_reason_stands_with_what_the_host_lacks() {
        let text = list(&states(), 80).split_whitespace().collect::<Vec<_>>().join(" ");
        let at = text.find("not to be had here: there is no loopback interface").unwrap();
        assert!(text.find(" udp ").unwrap() < at, "{text}");
    }

    #[test]
    fn what_this_build_lacks_is_listed_with_its_feature() {
        let text = list(&states(), 80).split_whitespace().collect::<Vec<_>>().join(" ");
        let frameworks = text.find("frameworks").unwrap();
        for name in transports::FEATURES {
            let told = format!("{name} not in this build: build with --features {name}");
            let lacks = transports::not_built().any(|lacking| lacking == name);
            assert_eq!(text.find(&told).is_some_and(|at| frameworks < at), lacks, "{name} in {text}");
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
}
