//! Which methods the names on the command line mean, and which of them can be measured here.

use std::collections::BTreeMap;
use std::fmt::{self, Display};

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, ArgMatches, Command};
use log::Level;

use crate::client::bench::{Bench, Cell};
use crate::client::{Client, ClientError, Failure};
use crate::diagnostics::{error_chain, nearest, print_message};
use crate::protocol::{ChannelSpec, MethodState, Refusal, Unavailable, Wait};
use crate::transports::{self, Group, Mechanism};
use crate::units::size;

/// The name for every mechanism of the host.
pub(crate) const ALL: &str = "all";

/// An unknown name.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UnknownName {
    /// A mechanism that is not in this build.
    #[error("this build has no {name}: build it with --features {name}, or full for all frameworks")]
    Feature { name: String },
    /// Neither a method nor a group.
    #[error(
    "unknown method or group {}; methods are {}; groups are {ALL}, {}",
    names.iter().map(|name| with_nearest(name)).collect::<Vec<_>>().join(", "),
    transports::ALL.iter().map(|mechanism| mechanism.info().name).collect::<Vec<_>>().join(", "),
    Group::ALL.map(Group::name).join(", ")
)]
    Unknown { names: Vec<String> },
}

/// An unknown name, and the one that it probably means.
fn with_nearest(name: &str) -> String {
    let names = transports::ALL.iter().flat_map(|mechanism| {
        let info = mechanism.info();
        std::iter::once(info.name).chain(info.aliases.iter().copied())
    });
    match nearest(name, names.chain(Group::ALL.map(Group::name)).chain([ALL])) {
        Some(nearest) => format!("\"{name}\" (did you mean \"{nearest}\"?)"),
        None => format!("\"{name}\""),
    }
}

/// The meaning of a name.
pub(crate) enum Meaning {
    /// One mechanism.
    One(&'static dyn Mechanism),
    /// The members of a group that are in this build.
    Several(Vec<&'static dyn Mechanism>),
}

/// The meaning of a name, on any host. Neither its case nor blanks around it matter.
pub(crate) fn meaning(name: &str) -> Result<Meaning, UnknownName> {
    let name = name.trim().to_lowercase();
    let name = name.as_str();
    let members = |wanted: &dyn Fn(Group) -> bool| {
        let all = transports::ALL.iter().copied();
        Meaning::Several(all.filter(|mechanism| wanted(mechanism.info().group)).collect())
    };
    if name == ALL {
        return Ok(members(&|group| group != Group::Tool));
    }
    if let Some(named) = Group::ALL.into_iter().find(|group| group.name() == name) {
        return Ok(members(&|group| group == named));
    }
    transports::find(name).map(Meaning::One).map_err(|_| match transports::FEATURES.contains(&name) {
        true => UnknownName::Feature { name: name.to_owned() },
        false => UnknownName::Unknown { names: vec![name.to_owned()] },
    })
}

/// The values of the methods' own options, by the option's name; several make a sweep.
#[derive(Debug, Clone, Default)]
pub(crate) struct MethodOptions(BTreeMap<String, Vec<String>>);

impl MethodOptions {
    /// Adds the options of all mechanisms to a command; if it `sweeps`, each may have several values.
    pub(crate) fn add_to(command: Command, sweeps: bool) -> Command {
        let mut options = BTreeMap::new();
        for option in transports::ALL.iter().flat_map(|mechanism| mechanism.info().options) {
            options.entry(option.name).or_insert(option);
        }
        options.values().fold(command, |command, option| {
            let argument = Arg::new(option.name)
                .long(option.name)
                .value_parser(PossibleValuesParser::new(option.values))
                .hide_possible_values(false);
            let (help, default) = (option.help, option.values[0]);
            command.arg(if sweeps {
                let help = format!("{help}; several make a sweep [default: {default}]");
                argument.value_name("VALUE,...").action(ArgAction::Append).value_delimiter(',').help(help)
            } else {
                argument.value_name("VALUE").help(format!("{help} [default: {default}]"))
            })
        })
    }

    /// Those of a command's arguments, each value once.
    pub(crate) fn of(matches: &ArgMatches) -> Self {
        let known = transports::ALL.iter().flat_map(|mechanism| mechanism.info().options);
        let named = known.filter_map(|option| {
            let mut values: Vec<String> = Vec::new();
            for value in matches.get_many::<String>(option.name)? {
                if !values.contains(value) {
                    values.push(value.clone());
                }
            }
            Some((option.name.to_owned(), values))
        });
        Self(named.collect())
    }

    /// The first value of each, for a command without sweeps.
    pub(crate) fn first(&self) -> BTreeMap<String, String> {
        let first = |(name, values): (&String, &Vec<String>)| Some((name.clone(), values.first()?.clone()));
        self.0.iter().filter_map(first).collect()
    }

    /// Every combination of values of the options that the mechanism has; a single empty one if it has none of them.
    fn combinations(&self, mechanism: &dyn Mechanism) -> Vec<BTreeMap<String, String>> {
        let mut all = vec![BTreeMap::new()];
        for (name, values) in self.0.iter().filter(|(name, _)| has_option(mechanism, name)) {
            all = all
                .iter()
                .flat_map(|chosen: &BTreeMap<String, String>| {
                    values.iter().map(move |value| {
                        let mut chosen = chosen.clone();
                        chosen.insert(name.clone(), value.clone());
                        chosen
                    })
                })
                .collect();
        }
        all
    }

    #[cfg(test)]
    pub(crate) fn named(name: &str, values: &[&str]) -> Self {
        let values = values.iter().map(|value| (*value).to_owned()).collect();
        Self(BTreeMap::from([(name.to_owned(), values)]))
    }
}

pub(crate) fn has_option(mechanism: &dyn Mechanism, name: &str) -> bool {
    mechanism.info().options.iter().any(|option| option.name == name)
}

/// A method and the values of its options, for a message.
pub(crate) fn label(method: &str, options: &BTreeMap<String, String>) -> String {
    let options = options.iter().map(|(name, value)| format!(" {name}={value}"));
    std::iter::once(method.to_owned()).chain(options).collect()
}

/// What the names mean, in their order. All unknown names are one error; empty ones, as after a
/// trailing comma, are ignored.
pub(crate) fn meanings(names: &[String]) -> Result<Vec<Meaning>, UnknownName> {
    let (mut known, mut unknown) = (Vec::new(), Vec::new());
    for name in names.iter().filter(|name| !name.trim().is_empty()) {
        match meaning(name) {
            Ok(meaning) => known.push(meaning),
            Err(UnknownName::Unknown { names }) => unknown.extend(names),
            Err(other) => return Err(other),
        }
    }
    if known.is_empty() && unknown.is_empty() {
        unknown.extend(names.first().cloned());
    }
    if unknown.is_empty() { Ok(known) } else { Err(UnknownName::Unknown { names: unknown }) }
}

/// A method to measure, with one combination of its options' values.
pub(crate) struct Selected<'a> {
    pub mechanism: &'static dyn Mechanism,
    options: BTreeMap<String, String>,
    /// Whether only a group selected it: then it may be left out.
    pub optional: bool,
    /// Its state on the daemon's side, if the daemon knows it.
    pub state: Option<&'a MethodState>,
}

impl Selected<'_> {
    /// Its channel, with the responder unpinned.
    pub(crate) fn spec(&self, size_bytes: u32, wait: Option<Wait>) -> ChannelSpec {
        let options = self.options.clone();
        ChannelSpec { size_bytes, wait, options, ..ChannelSpec::new(self.mechanism.info().name) }
    }
}

/// The methods that the names mean, each once per combination of its options' values. Members of a group that the host
/// or this build lacks are skipped with a warning.
///
/// # Errors
/// An unknown name, a method that was named and is unavailable, or an option that none of the methods has.
pub(crate) fn select<'a>(
    names: &[String],
    options: &MethodOptions,
    states: &'a [MethodState],
) -> Result<Vec<Selected<'a>>, Failure> {
    let mut methods: Vec<(&'static dyn Mechanism, bool)> = Vec::new();
    for meaning in meanings(names).map_err(Failure::usage)? {
        let (members, optional) = match meaning {
            Meaning::One(mechanism) => (vec![mechanism], false),
            Meaning::Several(members) => (members, true),
        };
        for mechanism in members {
            match methods.iter_mut().find(|(known, _)| known.info().name == mechanism.info().name) {
                Some((_, known_optional)) => *known_optional &= optional,
                None => methods.push((mechanism, optional)),
            }
        }
    }
    // Errors come before warnings about what is skipped.
    for (mechanism, _) in methods.iter().filter(|(_, optional)| !optional) {
        for options in options.combinations(*mechanism) {
            check_available(*mechanism, &options, states)?;
        }
    }
    let mut selected = Vec::new();
    for (mechanism, optional) in methods {
        let (name, state) = (mechanism.info().name, state(mechanism, states));
        let combinations = options.combinations(mechanism).into_iter();
        let (available, lacking): (Vec<_>, Vec<_>) =
            combinations.partition(|options| unavailable(mechanism, options, states).is_none());
        for (number, options) in lacking.iter().enumerate() {
            match unavailable(mechanism, options, states) {
                Some(reason) if !available.is_empty() => skip(label(name, options), reason),
                Some(reason) if number == 0 => skip(name, reason),
                _ => {}
            }
        }
        selected.extend(available.into_iter().map(|options| Selected {
            mechanism,
            options,
            optional,
            state,
        }));
    }
    let is_named = |name: &String, wanted: &str| name.trim().eq_ignore_ascii_case(wanted);
    if names.iter().any(|name| is_named(name, ALL) || is_named(name, Group::Frameworks.name())) {
        let lacking: Vec<_> = transports::not_built().collect();
        match lacking[..] {
            [] => {}
            [one] => skip(one, NotBuilt(one)),
            _ => skip(lacking.join(", "), NotBuilt("full")),
        }
    }
    for name in options.0.keys() {
        if !selected.iter().any(|method| has_option(method.mechanism, name)) {
            return Err(Failure::usage(format!("none of the methods has the option --{name}")));
        }
    }
    Ok(selected)
}

/// Warns that a member of a group is left out, and why.
pub(crate) fn skip(what: impl Display, why: impl Display) {
    print_message("ipc-client", Level::Warn, &format!("skipping {what}: {why}"));
}

/// A feature that this build lacks.
pub(crate) struct NotBuilt(pub &'static str);

impl Display for NotBuilt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not in this build: build with --features {}", self.0)
    }
}

/// Refuses a mechanism that the host lacks.
pub(crate) fn check_available(
    mechanism: &dyn Mechanism,
    options: &BTreeMap<String, String>,
    states: &[MethodState],
) -> Result<(), Failure> {
    unavailable(mechanism, options, states).map_or(Ok(()), |reason| {
        let method = mechanism.info().name.to_owned();
        Err(Failure::unavailable(Refusal::Unavailable { method, reason: reason.clone() }))
    })
}

/// Why the host lacks the mechanism with these options, if it does. With options that were not probed, opening a channel
/// shows it.
fn unavailable<'a>(
    mechanism: &dyn Mechanism,
    options: &BTreeMap<String, String>,
    states: &'a [MethodState],
) -> Option<&'a Unavailable> {
    state(mechanism, states).filter(|_| mechanism.is_probed(options))?.unavailable.as_ref()
}

/// The mechanism's state on the daemon's side, if the daemon knows it.
pub(crate) fn state<'a>(mechanism: &dyn Mechanism, states: &'a [MethodState]) -> Option<&'a MethodState> {
    states.iter().find(|state| state.name == mechanism.info().name)
}

/// A size that every mechanism carries where it works at all: what is probed.
const PROBED_BYTES: u32 = 4096;

/// Opens each channel that only a group selected, and drops the cells of those that this client cannot open, with a warning: its
/// user, its sandbox or its namespaces may deny it what the daemon can do, or the daemon's may deny it that size. The client must
/// hold the lease.
pub(crate) fn drop_unavailable(client: &mut Client, bench: &mut Bench) -> Result<(), Failure> {
    let private = client.path().is_none();
    let mut tried: BTreeMap<ChannelSpec, Option<String>> = BTreeMap::new();
    let (mut kept, mut lacking) = (Vec::new(), Vec::new());
    for cell in bench.cells.drain(..) {
        // A private daemon has this process's rights, and has probed the host with the options at their defaults.
        let probed = private && cell.spec.options.is_empty() && cell.spec.size_bytes <= PROBED_BYTES;
        let reason = match tried.get(&cell.spec) {
            _ if probed || !cell.optional => None,
            Some(reason) => reason.clone(),
            None => {
                let reason = lack(client, &cell)?;
                tried.insert(cell.spec.clone(), reason.clone());
                lacking.extend(reason.clone().map(|reason| (cell.spec.clone(), reason)));
                reason
            }
        };
        if reason.is_none() {
            kept.push(cell);
        }
    }
    let same = |a: &ChannelSpec, b: &ChannelSpec| (&a.method, &a.options) == (&b.method, &b.options);
    for (index, (spec, reason)) in lacking.iter().enumerate() {
        let method = label(&spec.method, &spec.options);
        if kept.iter().any(|cell| same(&cell.spec, spec)) {
            let cpu = spec.server_cpu.map(|cpu| format!(", responder on CPU {cpu}")).unwrap_or_default();
            skip(format_args!("{method} with {}{cpu}", size(spec.size_bytes.into())), reason);
        } else if !lacking[..index].iter().any(|(earlier, _)| same(earlier, spec)) {
            skip(method, reason);
        }
    }
    bench.cells = kept;
    if bench.cells.is_empty() { Err(Failure::unavailable("nothing is left to measure")) } else { Ok(()) }
}

/// Why this client cannot open the cell's channel, if it cannot. Other errors appear when it is measured.
fn lack(client: &mut Client, cell: &Cell) -> Result<Option<String>, ClientError> {
    match client.open(&cell.spec) {
        Ok(channel) => client.close(channel).map(|()| None),
        Err(error) if error.is_lack() => {
            let advice = error.advice().map(|advice| format!("; {advice}")).unwrap_or_default();
            Ok(Some(format!("{}{advice}", error_chain(&error))))
        }
        Err(error) if error.is_final() => Err(error),
        Err(_) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn states() -> Vec<MethodState> {
        let mut states = transports::states();
        for state in &mut states {
            state.unavailable = (state.name == "udp").then(|| Unavailable("no such module".to_owned()));
        }
        states
    }

    fn selected(names: &[&str]) -> Result<Vec<(&'static str, bool)>, Failure> {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let states = states();
        let selected = select(&names, &MethodOptions::default(), &states)?;
        Ok(selected.into_iter().map(|method| (method.mechanism.info().name, method.optional)).collect())
    }

    fn combinations(values: &[&str], method: &str) -> Vec<Vec<(String, String)>> {
        let options = MethodOptions::named("sqpoll", values);
        let combinations = options.combinations(transports::find(method).unwrap()).into_iter();
        combinations.map(|options| options.into_iter().collect()).collect()
    }

    #[test]
    fn option_values_are_combined_for_the_methods_that_have_the_option() {
        let sqpoll = |value: &str| vec![("sqpoll".to_owned(), value.to_owned())];
        assert_eq!(combinations(&["true", "false"], "io-uring"), [sqpoll("true"), sqpoll("false")]);
        assert_eq!(combinations(&["true", "false"], "tcp"), [vec![]]);
        assert!(MethodOptions::default().combinations(transports::find("io-uring").unwrap()).len() == 1);
    }

    #[test]
    fn no_group_has_the_name_of_a_method() {
        for name in Group::ALL.map(Group::name).into_iter().chain([ALL]) {
            assert!(transports::find(name).is_err(), "{name}");
        }
    }

    #[test]
    fn a_group_means_its_available_members() {
        let sockets = selected(&["sockets"]).unwrap();
        assert!(sockets.contains(&("tcp", true)));
        assert!(!sockets.iter().any(|(name, _)| ["udp", "pipe", "shmem"].contains(name)));
    }

    #[test]
    fn all_means_every_mechanism_but_the_tools_own() {
        let all = selected(&["all"]).unwrap();
        assert!(all.contains(&("tcp", true)) && all.contains(&("shmem", true)));
        assert!(!all.iter().any(|(name, _)| *name == "null"));
    }

    #[test]
    fn each_method_is_selected_once_and_naming_it_makes_it_required() {
        let named = selected(&["sockets", "tcp", "stdio", "pipe"]).unwrap();
        assert_eq!(named.iter().filter(|(name, _)| *name == "tcp").collect::<Vec<_>>(), [&("tcp", false)]);
        assert_eq!(named.iter().filter(|(name, _)| *name == "pipe").count(), 1);
    }

    #[test]
    fn naming_an_unavailable_method_is_an_error() {
        let failure = selected(&["sockets", "udp"]).unwrap_err();
        assert!(failure.error.to_string().starts_with("udp is "), "{failure:?}");
        assert!(failure.error.to_string().ends_with("on this host: no such module"), "{failure:?}");
    }

    #[test]
    fn an_option_can_make_an_unavailable_method_available() {
        let mut states = states();
        for state in &mut states {
            state.unavailable = Some(Unavailable("no folder".to_owned()));
        }
        let names = ["sockets".to_owned()];
        let selected = |values: &[&str]| {
            let options = MethodOptions::named("namespace", values);
            let selected = select(&names, &options, &states)?;
            Ok::<_, Failure>(
                selected.into_iter().map(|method| method.mechanism.info().name).collect::<Vec<_>>(),
            )
        };
        let failure = selected(&["path"]).unwrap_err();
        assert_eq!(failure.error.to_string(), "none of the methods has the option --namespace");
        for values in [&["abstract"][..], &["path", "abstract"]] {
            assert_eq!(selected(values).unwrap(), ["unix", "unix-seqpacket", "unix-dgram"]);
        }
    }

    #[test]
    fn an_unknown_name_is_reported_with_the_methods_and_the_groups() {
        let error = selected(&["carrier-pigeon"]).unwrap_err().error.to_string();
        assert!(error.contains("carrier-pigeon") && error.contains("tcp, "), "{error}");
        assert!(error.ends_with("groups are all, sockets, memory, pipes, queues, frameworks"), "{error}");
    }
}
