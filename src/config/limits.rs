//! What clients can make a daemon hold, each user and all together: the limits, their flags and their keys.

use clap::Args;

use super::{Found, Origin, Problem, values};
use crate::protocol::Resource;
use crate::units;

/// The most of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// For all users together.
    pub total: u64,
    /// For each user.
    pub per_user: u64,
}

impl Limit {
    /// So much for all together, and half of it for each user: none can take all.
    #[must_use]
    pub(crate) const fn shared(total: u64) -> Self {
        Self { total, per_user: if total < 2 { total } else { total / 2 } }
    }

    /// So much for whoever comes.
    #[must_use]
    pub const fn of_one(total: u64) -> Self {
        Self { total, per_user: total }
    }
}

/// What clients can make a daemon hold, with defaults for a service that many users share for months.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Control connections at a time.
    pub connections: Limit,
    /// Data channels at a time, each a responder process.
    pub channels: Limit,
    /// Clients in line for the lease.
    pub queue: Limit,
    /// Bytes that the responders of open channels hold for payloads, as their mechanisms
    /// [declare](crate::transports::Mechanism::holds).
    pub memory: Limit,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: Limit::shared(256),
            channels: Limit::shared(128),
            queue: Limit::shared(64),
            memory: Limit::shared(1 << 30),
        }
    }
}

impl Limits {
    /// Those of a private daemon: its one client may have whatever it asks for, up to `channels` channels.
    pub(crate) fn private(channels: u64) -> Self {
        Self {
            connections: Limit::of_one(1),
            channels: Limit::of_one(channels),
            queue: Limit::of_one(1),
            memory: Limit::of_one(u64::MAX),
        }
    }

    /// The limit of `resource`.
    #[must_use]
    pub(crate) fn of(&self, resource: Resource) -> Limit {
        match resource {
            Resource::Connections => self.connections,
            Resource::Channels => self.channels,
            Resource::Queue => self.queue,
            Resource::Memory => self.memory,
        }
    }
}

/// The flags of the limits.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Limits")]
pub(crate) struct LimitFlags {
    /// Control connections at a time [default: 256].
    #[arg(long, value_name = "N", value_parser = values::limit)]
    pub max_connections: Option<u64>,
    /// Those of one user [default: half of all].
    #[arg(long, value_name = "N", value_parser = values::limit)]
    pub max_connections_per_user: Option<u64>,
    /// Data channels at a time, each a responder process [default: 128].
    #[arg(long, value_name = "N", value_parser = values::limit)]
    pub max_channels: Option<u64>,
    /// Those of one user [default: half of all].
    #[arg(long, value_name = "N", value_parser = values::limit)]
    pub max_channels_per_user: Option<u64>,
    /// Clients in line for their turn to measure [default: 64].
    #[arg(long, value_name = "N", value_parser = values::limit)]
    pub max_queue: Option<u64>,
    /// Those of one user [default: half of all].
    #[arg(long, value_name = "N", value_parser = values::limit)]
    pub max_queue_per_user: Option<u64>,
    /// Bytes that the responders of open channels hold for payloads, such as 64M or 2G [default: 1G].
    #[arg(long, value_name = "SIZE", value_parser = units::parse_memory)]
    pub max_memory: Option<u64>,
    /// Those of one user [default: half of all].
    #[arg(long, value_name = "SIZE", value_parser = units::parse_memory)]
    pub max_memory_per_user: Option<u64>,
}

/// The keys: for each resource, in the order of [`Resource::ALL`], the limit for all and that for each user.
pub(super) const KEYS: [&str; 8] = [
    "max-connections",
    "max-connections-per-user",
    "max-channels",
    "max-channels-per-user",
    "max-queue",
    "max-queue-per-user",
    "max-memory",
    "max-memory-per-user",
];

/// The place of a key, if it is a limit's.
pub(super) fn place(key: &str) -> Option<usize> {
    KEYS.iter().position(|known| *known == key)
}

/// Reads a key's value.
pub(super) fn read(place: usize, text: &str) -> Result<u64, String> {
    if is_memory(place) { units::parse_memory(text) } else { values::limit(text) }
}

/// A value as TOML has it.
pub(super) fn show(place: usize, value: u64) -> String {
    if is_memory(place) { format!("\"{}\"", units::memory(value)) } else { value.to_string() }
}

fn is_memory(place: usize) -> bool {
    Resource::ALL[place / 2] == Resource::Memory
}

/// What files say of the limits, in the order of [`KEYS`].
pub(super) type Section = [Option<Found<u64>>; KEYS.len()];

/// The limits, and where each comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LimitSettings([Found<u64>; KEYS.len()]);

impl LimitSettings {
    /// What holds: the flags, the files, the defaults.
    pub(super) fn of(flags: &LimitFlags, file: &Section) -> Self {
        let flags = [
            flags.max_connections,
            flags.max_connections_per_user,
            flags.max_channels,
            flags.max_channels_per_user,
            flags.max_queue,
            flags.max_queue_per_user,
            flags.max_memory,
            flags.max_memory_per_user,
        ];
        let said = |place: usize| {
            let flag = flags[place].map(|value| Found { value, origin: Origin::Flag });
            flag.or_else(|| file[place].clone())
        };
        let default = |value| Found { value, origin: Origin::Default };
        Self(std::array::from_fn(|place| {
            let total =
                |resource| said(place & !1).map_or(Limits::default().of(resource).total, |it| it.value);
            said(place).unwrap_or_else(|| {
                let total = total(Resource::ALL[place / 2]);
                default(if place % 2 == 0 { total } else { Limit::shared(total).per_user })
            })
        }))
    }

    /// What of the limits, and of the clients that measure at a time, goes against each other.
    pub(super) fn contradictions(&self, measurements: &Found<usize>) -> Vec<Problem> {
        let over = |key: &str, shown: String, origin: &Origin, bound: usize, why: &str| {
            let Found { value, origin: from } = &self.0[bound];
            let (name, bound) = (KEYS[bound], show(bound, *value));
            // Where both are flags, the problem's own origin says so.
            let from =
                if from == origin && *from == Origin::Flag { String::new() } else { format!(" ({from})") };
            let what = format!("{key} = {shown}: it cannot be more than {name}, which is {bound}{from}{why}");
            Problem::new(origin.clone(), what)
        };
        let per_user =
            (1..KEYS.len()).step_by(2).filter(|place| self.0[*place].value > self.0[place - 1].value);
        let mut told: Vec<_> = per_user
            .map(|place| {
                over(KEYS[place], show(place, self.0[place].value), &self.0[place].origin, place - 1, "")
            })
            .collect();
        let clients = u64::try_from(measurements.value).unwrap_or(u64::MAX);
        for resource in [Resource::Connections, Resource::Channels] {
            let total =
                place(&format!("max-{}", resource.name())).expect("the keys are named after what they limit");
            if clients > self.0[total].value {
                let why = ": who measures has one at least";
                told.push(over("measurements", clients.to_string(), &measurements.origin, total, why));
            }
        }
        told
    }

    pub(super) fn found(&self, place: usize) -> &Found<u64> {
        &self.0[place]
    }

    /// The limits.
    #[must_use]
    pub(crate) fn limits(&self) -> Limits {
        let limit = |at: usize| Limit { total: self.0[at].value, per_user: self.0[at + 1].value };
        Limits { connections: limit(0), channels: limit(2), queue: limit(4), memory: limit(6) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_default_nobody_can_take_all() {
        for resource in Resource::ALL {
            let limit = Limits::default().of(resource);
            assert!(0 < limit.per_user && limit.per_user < limit.total, "{resource:?}: {limit:?}");
        }
    }

    fn limits(flags: &LimitFlags) -> Limits {
        LimitSettings::of(flags, &Section::default()).limits()
    }

    #[test]
    fn the_keys_are_named_after_what_they_limit() {
        for (place, key) in KEYS.iter().enumerate() {
            let per_user = if place % 2 == 0 { "" } else { "-per-user" };
            assert_eq!(*key, format!("max-{}{per_user}", Resource::ALL[place / 2].name()));
        }
    }

    #[test]
    fn without_flags_and_files_the_defaults_hold() {
        assert_eq!(limits(&LimitFlags::default()), Limits::default());
    }

    #[test]
    fn a_users_part_is_half_of_all_unless_it_is_said() {
        let some = LimitFlags {
            max_channels: Some(10),
            max_memory: Some(2 << 30),
            max_memory_per_user: Some(3 << 10),
            max_queue: Some(1),
            ..LimitFlags::default()
        };
        assert_eq!(limits(&some).channels, Limit { total: 10, per_user: 5 });
        assert_eq!(limits(&some).memory, Limit { total: 2 << 30, per_user: 3 << 10 });
        assert_eq!(limits(&some).queue, Limit { total: 1, per_user: 1 });
        // A file's total goes before the default one, and a flag's before both.
        let mut file = Section::default();
        let origin = Origin::File(std::path::Path::new("f").into(), 1);
        file[place("max-channels").unwrap()] = Some(Found { value: 8, origin });
        let settings = LimitSettings::of(&LimitFlags::default(), &file);
        assert_eq!(settings.limits().channels, Limit { total: 8, per_user: 4 });
        assert_eq!(LimitSettings::of(&some, &file).limits().channels.total, 10);
    }
}
