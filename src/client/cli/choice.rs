//! Which mechanisms the names on the command line mean: a method, a group of methods, or all.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display};

use super::options::MethodOptions;
use super::{Failure, warn};
pub(super) use crate::config::methods::{ALL, Meaning, UnknownName, meaning};
use crate::protocol::{MethodState, Refusal, Unavailable};
use crate::transports::{self, Group, Mechanism};

/// What the names mean, in their order. All that nobody has are told at once.
pub(super) fn meanings(names: &[String]) -> Result<Vec<Meaning>, UnknownName> {
    let mut known = Vec::new();
    let mut unknown = Vec::new();
    for name in names {
        match meaning(name) {
            Ok(meaning) => known.push(meaning),
            Err(UnknownName::Unknown { names }) => unknown.extend(names),
            Err(other) => return Err(other),
        }
    }
    if unknown.is_empty() { Ok(known) } else { Err(UnknownName::Unknown { names: unknown }) }
}

/// The methods, each once, and whether each was named by a group only. A group's members that the host lacks, or this
/// build, are skipped with a line on stderr. `options` are what is asked of all that have them; who can do some of their
/// values only stays.
pub(super) fn methods(
    names: &[String],
    options: &MethodOptions,
    states: &[MethodState],
) -> Result<Vec<(&'static dyn Mechanism, bool)>, Failure> {
    let mut chosen: Vec<(&'static dyn Mechanism, bool)> = Vec::new();
    let mut choose = |mechanism: &'static dyn Mechanism, optional| match chosen
        .iter_mut()
        .find(|(there, _)| there.info().name == mechanism.info().name)
    {
        Some((_, was_optional)) => *was_optional &= optional,
        None => chosen.push((mechanism, optional)),
    };
    let meanings =
        names.iter().map(|name| meaning(name)).collect::<Result<Vec<_>, _>>().map_err(Failure::usage)?;
    // What is refused is not told to be skipped before.
    for meaning in &meanings {
        if let Meaning::One(mechanism) = meaning {
            for choice in options.choices(*mechanism) {
                available(*mechanism, &choice, states)?;
            }
        }
    }
    let mut skipped = BTreeSet::new();
    for meaning in meanings {
        match meaning {
            Meaning::One(mechanism) => choose(mechanism, false),
            Meaning::Several(members) => {
                for mechanism in members {
                    let method = mechanism.info().name;
                    let choices = options.choices(mechanism);
                    let reasons: Vec<_> =
                        choices.iter().map(|choice| unavailable(mechanism, choice, states)).collect();
                    let possible = reasons.contains(&None);
                    match reasons.into_iter().flatten().next().filter(|_| !possible) {
                        Some(reason) if skipped.insert(method) => skip(method, reason),
                        Some(_) => {}
                        None => choose(mechanism, true),
                    }
                }
            }
        }
    }
    if names.iter().any(|name| name == ALL || name == Group::Frameworks.name()) {
        skip_not_built();
    }
    Ok(chosen)
}

/// Says that something is left out of a group, and why.
pub(super) fn skip(what: impl Display, why: impl Display) {
    warn(format_args!("skipping {what}: {why}"));
}

/// What a group means that this build lacks, in one line.
fn skip_not_built() {
    let lacking: Vec<_> = transports::not_built().collect();
    match lacking[..] {
        [] => {}
        [one] => skip(one, NotBuilt(one)),
        _ => skip(lacking.join(", "), NotBuilt("full")),
    }
}

/// The feature that a build lacks.
pub(super) struct NotBuilt(pub(super) &'static str);

impl Display for NotBuilt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not in this build: build with --features {}", self.0)
    }
}

/// Refuses a mechanism that the host lacks.
pub(super) fn available(
    mechanism: &dyn Mechanism,
    options: &BTreeMap<String, String>,
    states: &[MethodState],
) -> Result<(), Failure> {
    match unavailable(mechanism, options, states) {
        None => Ok(()),
        Some(reason) => {
            let method = mechanism.info().name.to_owned();
            Err(Failure::unavailable(Refusal::Unavailable { method, reason: reason.clone() }))
        }
    }
}

/// Why the host lacks it with these options, if it does.
pub(super) fn unavailable<'a>(
    mechanism: &dyn Mechanism,
    options: &BTreeMap<String, String>,
    states: &'a [MethodState],
) -> Option<&'a Unavailable> {
    // Otherwise it shows when the channel is opened.
    let state = state(mechanism, states).filter(|_| mechanism.is_probed(options))?;
    state.unavailable.as_ref()
}

/// What the daemon's side of the host says of a mechanism, if it knows it.
pub(super) fn state<'a>(mechanism: &dyn Mechanism, states: &'a [MethodState]) -> Option<&'a MethodState> {
    states.iter().find(|state| state.name == mechanism.info().name)
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

    fn chosen(names: &[&str]) -> Result<Vec<(&'static str, bool)>, Failure> {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let methods = methods(&names, &MethodOptions::default(), &states())?;
        Ok(methods.into_iter().map(|(mechanism, optional)| (mechanism.info().name, optional)).collect())
    }

    #[test]
    fn no_group_is_called_as_a_method_is() {
        for name in Group::ALL.map(Group::name).into_iter().chain([ALL]) {
            assert!(transports::find(name).is_err(), "{name}");
        }
    }

    #[test]
    fn a_group_means_its_members_but_for_those_that_the_host_lacks() {
        let sockets = chosen(&["sockets"]).unwrap();
        assert!(sockets.contains(&("tcp", true)));
        assert!(!sockets.iter().any(|(name, _)| ["udp", "pipe", "shmem"].contains(name)));
    }

    #[test]
    fn all_means_the_hosts_mechanisms_and_not_the_tools_own() {
        let all = chosen(&["all"]).unwrap();
        assert!(all.contains(&("tcp", true)) && all.contains(&("shmem", true)));
        assert!(!all.iter().any(|(name, _)| *name == "null"));
    }

    #[test]
    fn each_is_chosen_once_and_naming_it_makes_it_wanted() {
        let named = chosen(&["sockets", "tcp", "stdio", "pipe"]).unwrap();
        assert_eq!(named.iter().filter(|(name, _)| *name == "tcp").collect::<Vec<_>>(), [&("tcp", false)]);
        assert_eq!(named.iter().filter(|(name, _)| *name == "pipe").count(), 1);
    }

    #[test]
    fn what_the_host_lacks_cannot_be_named() {
        let failure = chosen(&["sockets", "udp"]).unwrap_err();
        assert_eq!(failure.error.to_string(), "udp is not to be had on this host: no such module");
    }

    #[test]
    fn what_depends_on_the_default_of_an_option_can_be_named_with_another() {
        let mut states = states();
        for state in &mut states {
            state.unavailable = Some(Unavailable("no folder".to_owned()));
        }
        let names = ["sockets".to_owned()];
        let chosen = |values: &[&str]| {
            let options = MethodOptions::named("namespace", values);
            let chosen = methods(&names, &options, &states).unwrap();
            chosen.into_iter().map(|(mechanism, _)| mechanism.info().name).collect::<Vec<_>>()
        };
        assert_eq!(chosen(&["path"]), [""; 0]);
        for values in [&["abstract"][..], &["path", "abstract"]] {
            assert_eq!(chosen(values), ["unix", "unix-seqpacket", "unix-dgram"]);
        }
    }

    #[test]
    fn an_unknown_name_is_told_with_the_methods_and_the_groups() {
        let told = chosen(&["carrier-pigeon"]).unwrap_err().error.to_string();
        assert!(told.contains("carrier-pigeon") && told.contains("tcp, "), "{told}");
        assert!(told.ends_with("groups are all, sockets, memory, pipes, queues, frameworks"), "{told}");
    }
}
