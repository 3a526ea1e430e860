//! A channel's settings: a specification that was checked against its mechanism, with every default filled in.

use std::collections::BTreeMap;

use rustix::thread::{CpuSet, sched_getaffinity};
use serde::{Deserialize, Serialize};

use super::{Capabilities, Mechanism, find};
use crate::protocol::{ChannelSpec, MethodState, Refusal, Token, Wait};

/// What the daemon decides about a channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// By which both sides prove themselves.
    pub token: Token,
    /// What a resource with a name is called, or its name begins with; unique on this host.
    pub name: String,
    /// Whose channel it is.
    pub client: Owner,
}

/// A process, and the user that it runs as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The process.
    pub pid: u32,
    /// Its user.
    pub uid: u32,
    /// Its user's group.
    pub gid: u32,
}

impl Owner {
    /// This process.
    #[must_use]
    pub fn this() -> Self {
        Self {
            pid: std::process::id(),
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
        }
    }
}

/// What both sides of a channel agree on.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The mechanism's own name, not an alias.
    pub method: &'static str,
    /// Bytes carried each way in a round.
    pub size: usize,
    /// How either side waits.
    pub wait: Wait,
    /// Each option of the mechanism, with its value.
    pub options: BTreeMap<&'static str, &'static str>,
    /// By which both sides prove themselves.
    pub token: Token,
    /// What a resource with a name is called, or its name begins with. Empty on the client's side, which makes none.
    pub name: String,
    /// Whose channel it is.
    pub client: Owner,
}

/// The largest size, and the setting that decides it, if one does.
struct Largest {
    size: usize,
    limit: Option<String>,
}

impl Largest {
    /// For who does not know the daemon's.
    const ANY: Self = Self { size: Capabilities::MAX_SIZE, limit: None };
}

impl Settings {
    /// Checks `spec` against its mechanism without opening anything.
    ///
    /// # Errors
    /// As [`Settings::of`].
    pub fn check(spec: &ChannelSpec) -> Result<Self, Refusal> {
        Self::of(spec, Self::own(Token::new([0; 32]))).map(|(_, settings)| settings)
    }

    /// The same for a daemon that has told its `state`: its limits may be others than this process's. Without one, the
    /// largest size is left to the daemon.
    ///
    /// # Errors
    /// As [`Settings::of`].
    pub(crate) fn check_for(spec: &ChannelSpec, state: Option<&MethodState>) -> Result<Self, Refusal> {
        let largest = state.map_or(Largest::ANY, |state| Largest {
            size: usize::try_from(state.max_size_bytes).unwrap_or(usize::MAX),
            limit: state.max_size_because.clone(),
        });
        Self::within(spec, Self::own(Token::new([0; 32])), Some(largest)).map(|(_, settings)| settings)
    }

    /// The client's own side of a channel that was opened with this token, by a daemon that knew how much it carries.
    ///
    /// # Errors
    /// As [`Settings::of`].
    pub fn of_own(spec: &ChannelSpec, token: Token) -> Result<(&'static dyn Mechanism, Self), Refusal> {
        Self::within(spec, Self::own(token), Some(Largest::ANY))
    }

    fn own(token: Token) -> Grant {
        Grant { token, name: String::new(), client: Owner::this() }
    }

    /// Checks `spec` against its mechanism and fills in the defaults.
    ///
    /// # Errors
    /// [`Refusal::UnknownMethod`], or [`Refusal::Unfit`] with what would be right. Nothing is clamped.
    pub(crate) fn of(spec: &ChannelSpec, grant: Grant) -> Result<(&'static dyn Mechanism, Self), Refusal> {
        Self::within(spec, grant, None)
    }

    /// With another largest size than this process's own.
    fn within(
        spec: &ChannelSpec,
        grant: Grant,
        largest: Option<Largest>,
    ) -> Result<(&'static dyn Mechanism, Self), Refusal> {
        let mechanism = find(&spec.method)?;
        let info = mechanism.info();
        let unfit = |reason| Refusal::Unfit { method: info.name.to_owned(), reason };

        let own = mechanism.capabilities();
        let Largest { size, limit } =
            largest.unwrap_or_else(|| Largest { size: own.max_size, limit: mechanism.size_limit() });
        let size = Capabilities { max_size: size, ..own }.size(spec.size_bytes).map_err(|reason| {
            unfit(limit.map_or_else(|| reason.clone(), |limit| format!("{reason} ({limit})")))
        })?;

        let wait = spec.wait.unwrap_or(info.waits[0]);
        if !info.waits.contains(&wait) {
            let waits: Vec<_> = info.waits.iter().map(|wait| wait.name()).collect();
            return Err(unfit(format!("the wait strategy \"{wait}\"; it can {}", waits.join(", "))));
        }

        let mut options: BTreeMap<_, _> =
            info.options.iter().map(|option| (option.name, option.values[0])).collect();
        for (name, value) in &spec.options {
            let Some(option) = info.options.iter().find(|option| option.name == name) else {
                return Err(unfit(format!("the option \"{name}\", which it does not have")));
            };
            let Some(value) = option.values.iter().find(|known| *known == value) else {
                return Err(unfit(format!("{name} \"{value}\"; it may be {}", option.values.join(" or "))));
            };
            options.insert(option.name, value);
        }
        let Grant { token, name, client } = grant;
        Ok((mechanism, Self { method: info.name, size, wait, options, token, name, client }))
    }

    /// The same for sides that may run on one CPU only, if these are known. Where it is the same one, looking again is in vain,
    /// since the other side cannot run meanwhile: an adaptive wait sleeps at once.
    #[must_use]
    pub(crate) fn on_cpus(self, client: Option<u32>, responder: Option<u32>) -> Self {
        let shared = client.is_some() && client == responder;
        let wait = if shared && self.wait == Wait::Adaptive { Wait::Block } else { self.wait };
        Self { wait, ..self }
    }

    /// Whether the option is `true`.
    ///
    /// # Panics
    /// If the mechanism has no such option.
    #[must_use]
    pub(crate) fn is_on(&self, option: &str) -> bool {
        self.options[option] == "true"
    }
}

/// The only CPU that the calling thread may run on, if there is only one.
#[must_use]
pub(crate) fn only_cpu() -> Option<u32> {
    let cpus = sched_getaffinity(None).ok().filter(|cpus| cpus.count() == 1)?;
    (0..CpuSet::MAX_CPU).find(|cpu| cpus.is_set(*cpu)).and_then(|cpu| u32::try_from(cpu).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(spec: &ChannelSpec) -> Result<Settings, String> {
        Settings::check(spec).map_err(|refusal| refusal.to_string())
    }

    #[test]
    fn defaults_are_filled_in() {
        let settings = check(&ChannelSpec::new("tcp")).unwrap();
        assert_eq!((settings.wait, settings.is_on("nodelay"), settings.size), (Wait::Block, true, 8));
        assert_eq!(check(&ChannelSpec::new("stdio")).unwrap().method, "pipe");
    }

    #[test]
    fn nobody_looks_again_for_a_peer_that_cannot_run_meanwhile() {
        let waits = |wait, client, responder| {
            let spec = ChannelSpec { wait: Some(wait), ..ChannelSpec::new("tcp") };
            check(&spec).unwrap().on_cpus(client, responder).wait
        };
        assert_eq!(waits(Wait::Adaptive, Some(1), Some(1)), Wait::Block);
        for (client, responder) in [(Some(1), Some(0)), (Some(1), None), (None, Some(1)), (None, None)] {
            assert_eq!(waits(Wait::Adaptive, client, responder), Wait::Adaptive);
        }
        // Who asks for it gets it.
        assert_eq!(waits(Wait::Spin, Some(1), Some(1)), Wait::Spin);
    }

    #[test]
    fn what_does_not_fit_is_refused_with_what_would() {
        let mut spec = ChannelSpec::new("udp");
        spec.size_bytes = 70_000;
        assert_eq!(
            check(&spec).unwrap_err(),
            "udp cannot do that: a size of 70000 bytes; it carries 8 to 65507"
        );

        let mut spec = ChannelSpec::new("eventfd");
        spec.size_bytes = 16;
        assert_eq!(
            check(&spec).unwrap_err(),
            "eventfd cannot do that: a size of 16 bytes; it carries 8 and no other"
        );

        let mut spec = ChannelSpec::new("udp");
        spec.options.insert("nodelay".into(), "true".into());
        assert_eq!(
            check(&spec).unwrap_err(),
            "udp cannot do that: the option \"nodelay\", which it does not have"
        );

        let mut spec = ChannelSpec::new("tcp");
        spec.options.insert("nodelay".into(), "maybe".into());
        assert_eq!(
            check(&spec).unwrap_err(),
            "tcp cannot do that: nodelay \"maybe\"; it may be true or false"
        );
    }
}
