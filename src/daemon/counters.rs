//! What the daemon counts, for `status` and for metrics.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use rustix::time::{ClockId, clock_gettime};

use crate::exposition::Family;
use crate::protocol::{LimitUse, OverLimit, PROTOCOL_VERSION, Refusal, Resource, Scope, Totals};
use crate::transports;

/// Names the reasons for refusals other than limits, for the counters and for the list of all reasons.
macro_rules! reasons {
    ($($refusal:pat => $name:literal,)*) => {
        const REASONS: &[&str] = &[$($name),*];

        fn reason(refusal: &Refusal) -> Cow<'static, str> {
            match refusal {
                Refusal::OverLimit(OverLimit { resource, scope, .. }) => limit_name(*resource, *scope).into(),
                $($refusal => $name.into(),)*
            }
        }
    };
}

reasons! {
    Refusal::Busy { .. } => "busy",
    Refusal::NoLease => "no-lease",
    Refusal::UnknownMethod { .. } => "unknown-method",
    Refusal::Unavailable { .. } => "unavailable",
    Refusal::Unfit { .. } => "unfit",
    Refusal::ChannelsOpen { .. } => "channels-open",
    Refusal::NoChannel { .. } => "no-channel",
    Refusal::Spawn { .. } => "spawn",
    Refusal::Shortage { .. } => "shortage",
    Refusal::NotOpened { .. } => "not-opened",
    Refusal::NotReady { .. } => "not-ready",
    Refusal::NotPermitted { .. } => "not-permitted",
    Refusal::Stopping => "stopping",
}

/// The name of a limit's option.
fn limit_name(resource: Resource, scope: Scope) -> String {
    let suffix = if scope == Scope::Total { "" } else { "-per-user" };
    format!("max-{}{suffix}", resource.name())
}

/// What has happened since the daemon started.
#[derive(Debug)]
pub(super) struct Counters {
    started: (Instant, SystemTime),
    /// Connections accepted.
    pub(super) connections: u64,
    /// How often a client was granted the lease.
    pub(super) measurements: u64,
    /// Channels by mechanism.
    opened: BTreeMap<&'static str, u64>,
    /// Channels that ended before their client closed them, by mechanism.
    broken: BTreeMap<&'static str, u64>,
    /// Refusals by reason.
    refusals: BTreeMap<Cow<'static, str>, u64>,
}

impl Counters {
    pub(super) fn new() -> Self {
        Self {
            started: (Instant::now(), SystemTime::now()),
            connections: 0,
            measurements: 0,
            opened: BTreeMap::new(),
            broken: BTreeMap::new(),
            refusals: BTreeMap::new(),
        }
    }

    pub(super) fn opened(&mut self, method: &'static str) {
        *self.opened.entry(method).or_default() += 1;
    }

    pub(super) fn broke(&mut self, method: &'static str) {
        *self.broken.entry(method).or_default() += 1;
    }

    pub(super) fn refused(&mut self, refusal: &Refusal) {
        *self.refusals.entry(reason(refusal)).or_default() += 1;
    }

    pub(super) fn uptime(&self) -> Duration {
        self.started.0.elapsed()
    }

    pub(super) fn totals(&self) -> Totals {
        Totals {
            connections: self.connections,
            channels_opened: self.opened.values().sum(),
            channels_broken: self.broken.values().sum(),
            refusals: self.refusals.values().sum(),
        }
    }

    /// The daemon's own metrics.
    pub(super) fn families(&self, limits: &[LimitUse], lease_holders: usize, config_ok: bool) -> Vec<Family> {
        let mut info = Family::gauge("ipcd_service_info", "Release and protocol version of the service.");
        let protocol = PROTOCOL_VERSION.to_string();
        info.add(&[("version", env!("CARGO_PKG_VERSION")), ("protocol_version", &protocol)], 1.0);
        let mut families = vec![info];
        families.extend(self.process());
        for LimitUse { resource, used, limit, .. } in limits {
            let [name, limit_name, what] = match resource {
                Resource::Connections => {
                    ["ipcd_service_connections", "ipcd_service_connections_limit", "Control connections"]
                }
                Resource::Channels => {
                    ["ipcd_service_channels", "ipcd_service_channels_limit", "Data channels"]
                }
                Resource::Queue => [
                    "ipcd_service_queue_length",
                    "ipcd_service_queue_limit",
                    "Clients in the queue for the lease",
                ],
                Resource::Memory => [
                    "ipcd_service_payload_bytes",
                    "ipcd_service_payload_limit_bytes",
                    "Memory that responders hold for payloads",
                ],
            };
            families.push(gauge(name, &format!("{what}."), *used as f64));
            families.push(gauge(limit_name, &format!("{what}: the limit."), *limit as f64));
        }
        for (name, help, counts) in [
            ("ipcd_service_channels_opened_total", "Channels opened.", &self.opened),
            (
                "ipcd_service_channels_broken_total",
                "Channels that ended before their client closed them.",
                &self.broken,
            ),
        ] {
            let mut family = Family::counter(name, help);
            for method in transports::ALL.iter().map(|mechanism| mechanism.info().name) {
                family.add(&[("method", method)], counts.get(method).copied().unwrap_or(0) as f64);
            }
            families.push(family);
        }
        let limit_names = Resource::ALL.into_iter().flat_map(|resource| {
            [Scope::Total, Scope::User { uid: 0 }].map(|scope| limit_name(resource, scope))
        });
        let mut refusals =
            Family::counter("ipcd_service_refusals_total", "Requests refused, by reason or limit.");
        for reason in limit_names.map(Cow::from).chain(REASONS.iter().map(|reason| (*reason).into())) {
            let count = self.refusals.get(&reason).copied().unwrap_or(0);
            refusals.add(&[("reason", &reason)], count as f64);
        }
        families.extend([
            refusals,
            gauge("ipcd_service_measuring", "Clients that hold the lease.", lease_holders as f64),
            counter(
                "ipcd_service_measurements_total",
                "Times that a client was granted the lease.",
                self.measurements as f64,
            ),
            counter(
                "ipcd_service_connections_accepted_total",
                "Control connections accepted.",
                self.connections as f64,
            ),
            gauge(
                "ipcd_service_config_ok",
                "0 if the configuration that was read last is not in use because of an error.",
                f64::from(u8::from(config_ok)),
            ),
        ]);
        families
    }

    /// The process itself, under the names that all programs use.
    fn process(&self) -> Vec<Family> {
        let cpu = Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).unwrap_or_default();
        let mut families = vec![counter(
            "process_cpu_seconds_total",
            "CPU time of the service, without responders.",
            cpu.as_secs_f64(),
        )];
        if let Ok(started) = self.started.1.duration_since(SystemTime::UNIX_EPOCH) {
            let help = "When the service started.";
            families.push(gauge("process_start_time_seconds", help, started.as_secs_f64()));
        }
        // The second number is the resident pages.
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
        if let Some(pages) = statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<usize>().ok()) {
            let help = "Memory of the service, without responders.";
            let bytes = (pages * rustix::param::page_size()) as f64;
            families.push(gauge("process_resident_memory_bytes", help, bytes));
        }
        families
    }
}

/// A gauge without labels.
pub(super) fn gauge(name: &str, help: &str, value: f64) -> Family {
    let mut family = Family::gauge(name, help);
    family.add(&[], value);
    family
}

fn counter(name: &str, help: &str, value: f64) -> Family {
    let mut family = Family::counter(name, help);
    family.add(&[], value);
    family
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{ChannelId, End};

    #[test]
    fn a_limit_has_the_name_of_its_option() {
        for resource in Resource::ALL {
            let name = format!("max-{}", resource.name());
            assert_eq!(limit_name(resource, Scope::Total), name);
            assert_eq!(limit_name(resource, Scope::User { uid: 7 }), format!("{name}-per-user"));
        }
    }

    #[test]
    fn every_refusal_has_a_reason_that_is_exported_from_the_start() {
        let over = OverLimit { resource: Resource::Queue, scope: Scope::Total, limit: 1, used: 1, asked: 1 };
        let method = || "tcp".to_owned();
        let refusals = [
            Refusal::Busy { holder_pid: 1 },
            Refusal::NoLease,
            Refusal::UnknownMethod { method: method(), known: Vec::new() },
            Refusal::Unavailable { method: method(), reason: crate::protocol::Unavailable(method()) },
            Refusal::Unfit { method: method(), reason: method() },
            Refusal::ChannelsOpen { channels: 1 },
            Refusal::NoChannel { channel: ChannelId::MAX },
            Refusal::Spawn { reason: method() },
            Refusal::NotOpened { end: End::Exited(1) },
            Refusal::NotReady { deadline_ms: 1 },
            Refusal::NotPermitted { uid: 1 },
            Refusal::Stopping,
            Refusal::Shortage { reason: method() },
        ];
        let mut counters = Counters::new();
        for refusal in &refusals {
            counters.refused(refusal);
        }
        let mut reasons = REASONS.to_vec();
        reasons.sort_unstable();
        assert!(counters.refusals.keys().eq(reasons.iter()), "{:?}", counters.refusals);
        counters.refused(&over.into());
        assert_eq!(counters.refusals["max-queue"], 1);
    }
}
