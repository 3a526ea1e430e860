//! A channel's settings: a specification checked against its mechanism, with every default filled in.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Capabilities, Mechanism, find};
use crate::protocol::{ChannelSpec, MethodState, Refusal, Token, Wait};

/// What the daemon decides about a channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// The secret that both sides prove themselves with.
    pub token: Token,
    /// The name of a named resource, or its prefix; unique on this host.
    pub name: String,
    /// Whose channel it is.
    pub client: Owner,
}

impl Grant {
    /// For the client's side, which makes no named resource.
    fn own(token: Token) -> Self {
        Self { token, name: String::new(), client: Owner::this() }
    }
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
    /// The secret that both sides prove themselves with.
    pub token: Token,
    /// The name of a named resource, or its prefix. Empty on the client's side, which makes none.
    pub name: String,
    /// Whose channel it is.
    pub client: Owner,
}

impl Settings {
    /// Checks `spec` against its mechanism without opening anything.
    ///
    /// # Errors
    /// As [`Settings::of`].
    pub fn check(spec: &ChannelSpec) -> Result<Self, Refusal> {
        Self::of(spec, Grant::own(Token::new([0; 32]))).map(|(_, settings)| settings)
    }

    /// The same for a daemon that has reported this `state`: its limits may differ from this process's. Without one, the
    /// largest size is left to the daemon.
    ///
    /// # Errors
    /// As [`Settings::of`].
    pub(crate) fn check_for(spec: &ChannelSpec, state: Option<&MethodState>) -> Result<Self, Refusal> {
        let largest = state.map_or((Capabilities::MAX_SIZE, None), |state| {
            (usize::try_from(state.max_size_bytes).unwrap_or(usize::MAX), state.max_size_because.clone())
        });
        Self::within(spec, Grant::own(Token::new([0; 32])), Some(largest)).map(|(_, settings)| settings)
    }

    /// The client's side of a channel that a daemon has opened with this token, so that its size is within the daemon's
    /// limits.
    ///
    /// # Errors
    /// As [`Settings::of`].
    pub fn of_own(spec: &ChannelSpec, token: Token) -> Result<(&'static dyn Mechanism, Self), Refusal> {
        Self::within(spec, Grant::own(token), Some((Capabilities::MAX_SIZE, None)))
    }

    /// Checks `spec` against its mechanism and fills in the defaults.
    ///
    /// # Errors
    /// [`Refusal::UnknownMethod`], or [`Refusal::Unfit`] with what would fit. Nothing is clamped.
    pub(crate) fn of(spec: &ChannelSpec, grant: Grant) -> Result<(&'static dyn Mechanism, Self), Refusal> {
        Self::within(spec, grant, None)
    }

    /// With another largest size than this process's own, and the setting that limits it.
    fn within(
        spec: &ChannelSpec,
        grant: Grant,
        largest: Option<(usize, Option<String>)>,
    ) -> Result<(&'static dyn Mechanism, Self), Refusal> {
        let mechanism = find(&spec.method)?;
        let info = mechanism.info();
        let unfit = |reason| Refusal::Unfit { method: info.name.to_owned(), reason };

        let (max_size, limit) = largest.unwrap_or_else(|| mechanism.largest());
        let sizes = Capabilities { max_size, ..info.sizes };
        let size = sizes.size(spec.size_bytes).map_err(|reason| {
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

    /// The same for sides that are each pinned to a CPU, where that is known. On the same CPU polling is futile, since the
    /// other side cannot run meanwhile: an adaptive wait sleeps at once.
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
    super::sys::Affinity::of_thread().ok()?.single()
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
    fn an_adaptive_wait_does_not_poll_for_a_peer_on_its_own_cpu() {
        let waits = |wait, client, responder| {
            let spec = ChannelSpec { wait: Some(wait), ..ChannelSpec::new("tcp") };
            check(&spec).unwrap().on_cpus(client, responder).wait
        };
        assert_eq!(waits(Wait::Adaptive, Some(1), Some(1)), Wait::Block);
        for (client, responder) in [(Some(1), Some(0)), (Some(1), None), (None, Some(1)), (None, None)] {
            assert_eq!(waits(Wait::Adaptive, client, responder), Wait::Adaptive);
        }
        // An explicit spin stays one.
        assert_eq!(waits(Wait::Spin, Some(1), Some(1)), Wait::Spin);
    }

    #[test]
    fn an_unfit_setting_is_refused_with_what_would_fit() {
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
