//! What the daemon counts for its metrics, and the metrics.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use rustix::time::{ClockId, clock_gettime};

use super::Server;
use crate::daemon::metrics::Scrapes;
use crate::exposition::{self, Family};
use crate::protocol::{OverLimit, PROTOCOL_VERSION, Refusal, Resource, Scope};
use crate::transports;

/// Names the reasons for which requests are refused, but for the limits: each once, for what is counted and what is told.
macro_rules! reasons {
    ($($refusal:pat => $name:literal,)*) => {
        const REASONS: &[&str] = &[$($name),*];

        /// Why this one is refused.
        fn reason(refusal: &Refusal) -> &'static str {
            match refusal {
                Refusal::OverLimit(over) => limit_name(over.resource, over.scope),
                $($refusal => $name,)*
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

/// What has happened since the start, by kinds.
#[derive(Debug)]
pub(super) struct Counters {
    /// The start.
    began: SystemTime,
    /// Times that a client got the lease.
    pub(super) measurements: u64,
    opened: BTreeMap<&'static str, u64>,
    broken: BTreeMap<&'static str, u64>,
    refusals: BTreeMap<&'static str, u64>,
}

impl Counters {
    pub(super) fn new() -> Self {
        Self {
            began: SystemTime::now(),
            measurements: 0,
            opened: BTreeMap::new(),
            broken: BTreeMap::new(),
            refusals: BTreeMap::new(),
        }
    }

    /// A channel of this mechanism was opened.
    pub(super) fn opened(&mut self, method: &'static str) {
        *self.opened.entry(method).or_default() += 1;
    }

    /// One ended before its client closed it.
    pub(super) fn broke(&mut self, method: &'static str) {
        *self.broken.entry(method).or_default() += 1;
    }

    /// A request was refused.
    pub(super) fn refused(&mut self, refusal: &Refusal) {
        *self.refusals.entry(reason(refusal)).or_default() += 1;
    }

    /// It, or a connection, would have passed a limit.
    pub(super) fn refused_over(&mut self, over: &OverLimit) {
        *self.refusals.entry(limit_name(over.resource, over.scope)).or_default() += 1;
    }
}

/// A limit, as the option that sets it is called.
fn limit_name(resource: Resource, scope: Scope) -> &'static str {
    match (resource, scope) {
        (Resource::Connections, Scope::Total) => "max-connections",
        (Resource::Connections, Scope::User { .. }) => "max-connections-per-user",
        (Resource::Channels, Scope::Total) => "max-channels",
        (Resource::Channels, Scope::User { .. }) => "max-channels-per-user",
        (Resource::Queue, Scope::Total) => "max-queue",
        (Resource::Queue, Scope::User { .. }) => "max-queue-per-user",
        (Resource::Memory, Scope::Total) => "max-memory",
        (Resource::Memory, Scope::User { .. }) => "max-memory-per-user",
    }
}

impl Server {
    /// Serves who asks for metrics.
    pub(super) fn serve_metrics(&mut self) {
        if let Some(mut metrics) = self.metrics.take() {
            metrics.serve(self);
            self.metrics = Some(metrics);
            self.idle_since = None;
        }
    }

    /// The metrics: the daemon's own, and the results.
    pub(in crate::daemon) fn exposition(&self, scrapes: &mut Scrapes) -> (String, Option<Rc<str>>) {
        let told = scrapes.told();
        let mut families = self.families();
        let mut answers = Family::counter(
            "ipcd_service_http_responses_total",
            "Answers to who asked for metrics, by their codes, this one included.",
        );
        for (code, count) in scrapes.answers() {
            answers.add(&[("code", &code.to_string())], *count as f64);
        }
        families.push(answers);
        if let Some(usable) = told.usable {
            families.push(gauge(
                "ipcd_service_results_up",
                "1 if the file of results is told, 0 if it is not there or cannot be used.",
                if usable { 1.0 } else { 0.0 },
            ));
        }
        (exposition::text(families), told.results)
    }

    fn families(&self) -> Vec<Family> {
        let mut info = Family::gauge("ipcd_service_info", "Release and protocol version of the service.");
        let protocol = PROTOCOL_VERSION.to_string();
        info.add(&[("version", env!("CARGO_PKG_VERSION")), ("protocol_version", &protocol)], 1.0);
        let mut families = vec![info];
        families.extend(self.process());
        families.extend(self.resources());
        families.extend(self.by_method());

        let by_limit = Resource::ALL.into_iter().flat_map(|resource| {
            [Scope::Total, Scope::User { uid: 0 }].map(|scope| limit_name(resource, scope))
        });
        let mut refusals =
            Family::counter("ipcd_service_refusals_total", "Requests refused, by reason or limit.");
        for reason in by_limit.chain(REASONS.iter().copied()) {
            let count = self.counters.refusals.get(reason).copied().unwrap_or(0);
            refusals.add(&[("reason", reason)], count as f64);
        }
        families.push(refusals);
        families.extend([
            gauge(
                "ipcd_service_measuring",
                "Clients that hold the lease.",
                self.lease.holders().len() as f64,
            ),
            counter(
                "ipcd_service_measurements_total",
                "Times that a client got the lease.",
                self.counters.measurements,
            ),
            counter(
                "ipcd_service_connections_accepted_total",
                "Control connections accepted.",
                self.totals.connections,
            ),
            gauge(
                "ipcd_service_config_ok",
                "0 if the configuration that was read last does not hold.",
                if self.misconfigured.is_none() { 1.0 } else { 0.0 },
            ),
        ]);
        families
    }

    /// The process itself, by the names that all programs use.
    fn process(&self) -> Vec<Family> {
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        let cpu = Duration::try_from(cpu).unwrap_or_default().as_secs_f64();
        let mut cpu_seconds =
            Family::counter("process_cpu_seconds_total", "CPU time of the service, without responders.");
        cpu_seconds.add(&[], cpu);
        let started = self.counters.began.duration_since(SystemTime::UNIX_EPOCH).ok();
        let mut families = vec![cpu_seconds];
        families.extend(started.map(|started| {
            gauge("process_start_time_seconds", "When the service began.", started.as_secs_f64())
        }));
        // In pages, of which the second is the resident ones.
        let pages = std::fs::read_to_string("/proc/self/statm").ok();
        let pages = pages.and_then(|text| text.split_whitespace().nth(1)?.parse::<usize>().ok());
        families.extend(pages.map(|pages| {
            let bytes = (pages * rustix::param::page_size()) as f64;
            gauge("process_resident_memory_bytes", "Memory of the service, without responders.", bytes)
        }));
        families
    }

    /// What clients hold, of what they may.
    fn resources(&self) -> impl Iterator<Item = Family> + '_ {
        let named = [
            (
                Resource::Connections,
                ["ipcd_service_connections", "ipcd_service_connections_limit"],
                "Control connections",
            ),
            (Resource::Channels, ["ipcd_service_channels", "ipcd_service_channels_limit"], "Data channels"),
            (
                Resource::Queue,
                ["ipcd_service_queue_length", "ipcd_service_queue_limit"],
                "Clients in line for the lease",
            ),
            (
                Resource::Memory,
                ["ipcd_service_payload_bytes", "ipcd_service_payload_limit_bytes"],
                "Memory that responders hold for payloads",
            ),
        ];
        named.into_iter().flat_map(|(resource, [name, limit_name], what)| {
            let limit = self.config.limits.of(resource);
            let used = self.used(resource).tell(resource, limit).used;
            [
                gauge(name, &format!("{what} now."), used as f64),
                gauge(limit_name, &format!("{what}: the most."), limit.total as f64),
            ]
        })
    }

    fn by_method(&self) -> [Family; 2] {
        let counted = [
            ("ipcd_service_channels_opened_total", "Channels opened.", &self.counters.opened),
            (
                "ipcd_service_channels_broken_total",
                "Channels that ended before their client closed them.",
                &self.counters.broken,
            ),
        ];
        counted.map(|(name, help, counts)| {
            let mut family = Family::counter(name, help);
            for method in transports::ALL.iter().map(|mechanism| mechanism.info().name) {
                family.add(&[("method", method)], counts.get(method).copied().unwrap_or(0) as f64);
            }
            family
        })
    }
}

fn gauge(name: &str, help: &str, value: f64) -> Family {
    let mut family = Family::gauge(name, help);
    family.add(&[], value);
    family
}

fn counter(name: &str, help: &str, value: u64) -> Family {
    let mut family = Family::counter(name, help);
    family.add(&[], value as f64);
    family
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{ChannelId, End};

    #[test]
    fn a_limit_is_called_as_its_option_is() {
        for resource in Resource::ALL {
            let name = format!("max-{}", resource.name());
            assert_eq!(limit_name(resource, Scope::Total), name);
            assert_eq!(limit_name(resource, Scope::User { uid: 7 }), format!("{name}-per-user"));
        }
    }

    #[test]
    fn every_refusal_has_a_reason_that_is_told_from_the_start() {
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
        assert!(counters.refusals.keys().eq(&reasons), "{:?}", counters.refusals);
        counters.refused(&over.into());
        assert_eq!(counters.refusals["max-queue"], 1);
    }
}
