//! What names of methods mean: a method, a group of methods, or all.

use crate::transports::{self, Group, Mechanism};

/// Means every mechanism that is one of the host's.
pub(crate) const ALL: &str = "all";

/// A name that means nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UnknownName {
    /// This build lacks it.
    #[error("this build has no {name}: build it with --features {name}, or full for all frameworks")]
    Feature { name: String },
    /// Nobody has it.
    #[error(
    "there is no method and no group \"{}\"; methods are {}; groups are {ALL}, {}",
    names.join("\", \""),
    transports::ALL.iter().map(|mechanism| mechanism.info().name).collect::<Vec<_>>().join(", "),
    Group::ALL.map(Group::name).join(", ")
)]
    Unknown { names: Vec<String> },
}

/// What a name means.
pub(crate) enum Meaning {
    /// One mechanism.
    One(&'static dyn Mechanism),
    /// Several, or none that this build has.
    Several(Vec<&'static dyn Mechanism>),
}

/// What the name means, whatever the host.
pub(crate) fn meaning(name: &str) -> Result<Meaning, UnknownName> {
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
