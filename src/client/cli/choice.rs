//! Which mechanisms the names on the command line mean: a method, a group of methods, or all.

use super::{Failure, warn};
pub(super) use crate::config::methods::{ALL, Meaning, UnknownName, meaning};
use crate::protocol::{MethodState, Refusal};
use crate::transports::Mechanism;

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

/// The methods, each once, and whether each was named by a group only. A group's members that the host lacks are
/// skipped with a line on stderr.
pub(super) fn methods(
    names: &[String],
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
    for name in names {
        match meaning(name).map_err(Failure::usage)? {
            Meaning::One(mechanism) => {
                available(mechanism, states)?;
                choose(mechanism, false);
            }
            Meaning::Several(members) => {
                if members.is_empty() {
                    warn(format_args!("skipping {name}: this build has none of them"));
                }
                for mechanism in members {
                    match unavailable(mechanism, states) {
                        Some(state) => warn(format_args!("skipping {}: {state}", mechanism.info().name)),
                        None => choose(mechanism, true),
                    }
                }
            }
        }
    }
    Ok(chosen)
}

/// Refuses a mechanism that the host lacks.
pub(super) fn available(mechanism: &dyn Mechanism, states: &[MethodState]) -> Result<(), Failure> {
    match unavailable(mechanism, states) {
        None => Ok(()),
        Some(reason) => {
            let method = mechanism.info().name.to_owned();
            Err(Failure::unavailable(Refusal::Unavailable { method, reason: reason.clone() }))
        }
    }
}

fn unavailable<'a>(
    mechanism: &dyn Mechanism,
    states: &'a [MethodState],
) -> Option<&'a crate::protocol::Unavailable> {
    states.iter().find(|state| state.name == mechanism.info().name)?.unavailable.as_ref()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Unavailable;
    use crate::transports::{self, Group};

    fn states() -> Vec<MethodState> {
        let mut states = transports::states();
        for state in &mut states {
            state.unavailable = (state.name == "udp").then(|| Unavailable("no such module".to_owned()));
        }
        states
    }

    fn chosen(names: &[&str]) -> Result<Vec<(&'static str, bool)>, Failure> {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let methods = methods(&names, &states())?;
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
    fn an_unknown_name_is_told_with_the_methods_and_the_groups() {
        let told = chosen(&["carrier-pigeon"]).unwrap_err().error.to_string();
        assert!(told.contains("carrier-pigeon") && told.contains("tcp, "), "{told}");
        assert!(told.ends_with("groups are all, sockets, memory, pipes, queues, frameworks"), "{told}");
    }
}
