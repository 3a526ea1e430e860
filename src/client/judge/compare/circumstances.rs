//! What differs between two runs beside their figures, in the words of the trade.

use std::fmt;

use crate::client::host::{Difference, Environment};
use crate::client::report::{Report, Settings};
use crate::units::latency;

/// A difference as a reader wants to hear it: `kernel 6.1 → 6.8`.
pub(crate) struct Circumstance<'a>(pub &'a Difference);

/// Keys of the environment's JSON that have a name of their own.
const NAMES: [(&str, &str); 33] = [
    ("hostname", "host"),
    ("boot_id", "rebooted"),
    ("os", "system"),
    ("memory_total_bytes", "memory in bytes"),
    ("cgroup_quota_cpus", "CPU quota"),
    ("cpu.model", "CPU"),
    ("cpu.online", "CPUs online"),
    ("cpu.allowed", "CPUs allowed"),
    ("cpu.smt_active", "SMT"),
    ("cpu.isolated", "CPUs isolated"),
    ("cpu.nohz_full", "CPUs without a tick"),
    ("power.governors", "governor"),
    ("power.energy_preferences", "energy preference"),
    ("power.boost", "boost"),
    ("kernel.release", "kernel"),
    ("kernel.version", "kernel build"),
    ("kernel.clock_source", "clock source"),
    ("kernel.transparent_hugepage", "huge pages"),
    ("kernel.tcp_congestion_control", "TCP congestion control"),
    ("machine.hypervisor", "hypervisor"),
    ("machine.container", "container"),
    ("build.version", "ipcd"),
    ("clock.source", "clock"),
    (DAEMON, "daemon"),
    ("settings.timing", "timing"),
    ("settings.rounds", "rounds of a trial"),
    ("settings.duration_ns", "time of a trial"),
    ("settings.warmup_rounds", "rounds of warm-up"),
    ("settings.warmup_ns", "time of warm-up"),
    ("settings.trials", "trials"),
    ("settings.precision_fraction", "precision"),
    ("settings.verification", "verification"),
    (LOAD, "load at the start"),
];

/// Whether a daemon was started for the run. It has no sandbox, and is in its client's scheduling group.
const DAEMON: &str = "settings.private_daemon";

/// The average over a minute before the first trial.
const LOAD: &str = "at_start.load_average";

/// A load that differs by less, in CPUs and as a share of the host's, is the same: it is an average of what had just
/// been, the run before among it.
const SAME_LOAD: f64 = 0.5;
const SAME_LOAD_OF_ALL: f64 = 0.1;

/// Parts of the environment whose keys begin with these.
const GROUPS: [(&str, &str); 2] =
    [("kernel.mitigations.", "mitigation of "), ("kernel.options.", "boot option ")];

impl fmt::Display for Circumstance<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Difference { key, from, to } = self.0;
        let named = NAMES.iter().find(|(known, _)| known == key).map(|(_, name)| (*name).to_owned());
        let grouped =
            GROUPS.iter().find_map(|(start, name)| Some(format!("{name}{}", key.strip_prefix(start)?)));
        let name = named.or(grouped).unwrap_or_else(|| key.clone());
        if key == "boot_id" {
            // Its values mean nothing.
            return f.write_str(&name);
        }
        let value = |value: &Option<String>| match value.as_deref() {
            None if key.starts_with("settings.") => "not set".to_owned(),
            None => "not told".to_owned(),
            Some("") => "none".to_owned(),
            Some(value) if key == DAEMON => {
                if value == "true" { "private" } else { "the service" }.to_owned()
            }
            Some(value) => match value.parse() {
                Ok(ns) if key.ends_with("_ns") => latency(ns),
                _ => value.to_owned(),
            },
        };
        write!(f, "{name} {} → {}", value(from), value(to))
    }
}

/// What a run ran under, as far as it may move a latency and stays the same during the run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Conditions<'a> {
    /// The host.
    pub environment: &'a Environment,
    /// What was asked for.
    pub settings: &'a Settings,
    /// The clock's source.
    pub clock: &'a str,
}

impl<'a> Conditions<'a> {
    /// Those of a report.
    #[must_use]
    pub(crate) fn of(report: &'a Report) -> Self {
        Self { environment: &report.environment, settings: &report.settings, clock: &report.clock.source }
    }

    /// What differs between two runs beside their figures, and may move a latency: environments, settings, clocks.
    #[must_use]
    pub(crate) fn differences(&self, other: &Self) -> Vec<Difference> {
        let mut all = environments(self.environment, other.environment);
        all.extend(self.asked_differences(other));
        all
    }

    /// The same without the environment.
    pub(super) fn asked_differences(&self, other: &Self) -> Vec<Difference> {
        let pairs = self.asked().into_iter().zip(other.asked());
        pairs
            .filter(|(from, to)| from != to)
            .map(|((key, from), (_, to))| Difference { key: key.to_owned(), from, to })
            .collect()
    }

    /// What was asked for, and the clock: each by its place in the report's JSON, `None` where it is not set.
    #[must_use]
    pub(crate) fn asked(&self) -> [(&'static str, Option<String>); 10] {
        let number = |value: Option<u64>| value.map(|value| value.to_string());
        let settings = self.settings;
        [
            ("clock.source", Some(self.clock.to_owned())),
            (DAEMON, Some(settings.private_daemon.to_string())),
            ("settings.timing", Some(settings.timing.clone())),
            ("settings.rounds", number(settings.rounds)),
            ("settings.duration_ns", number(settings.duration_ns)),
            ("settings.warmup_rounds", number(settings.warmup_rounds)),
            ("settings.warmup_ns", number(settings.warmup_ns)),
            ("settings.trials", number(Some(settings.trials.into()))),
            ("settings.precision_fraction", settings.precision_fraction.map(|part| part.to_string())),
            ("settings.verification", Some(settings.verification.clone())),
        ]
    }
}

/// What differs between two environments and may move a latency: all of it, but the reboot only for one host, the
/// kernel's build only where its release is the same, and memory only where it is more than its firmware's share.
fn environments(a: &Environment, b: &Environment) -> Vec<Difference> {
    let mut differences = a.differences(b);
    let same_host = a.hostname == b.hostname;
    let same_release = a.kernel.release == b.kernel.release;
    let memory = |environment: &Environment| environment.memory_total_bytes.unwrap_or(0) as f64;
    let same_memory = (memory(a) - memory(b)).abs() <= 0.01 * memory(a);
    differences.retain(|difference| match difference.key.as_str() {
        "boot_id" => same_host,
        "kernel.version" => same_release,
        "memory_total_bytes" => !same_memory,
        _ => true,
    });
    differences
}

/// What differs between two runs beside their figures: conditions, and the load that they began under.
pub(super) fn between(a: &Report, b: &Report) -> Vec<Difference> {
    let mut all = Conditions::of(a).differences(&Conditions::of(b));
    all.extend(load(a, b));
    all
}

/// One run's load tells nothing of the next one's: it stands beside a comparison, and is no change in a history.
fn load(a: &Report, b: &Report) -> Option<Difference> {
    let load = |report: &Report| report.at_start.load_average.map(|[minute, ..]| minute);
    let (from, to) = (load(a)?, load(b)?);
    let cpus = b.environment.cpu.online.as_ref().map_or(1, |cpus| cpus.len());
    let same = SAME_LOAD.max(SAME_LOAD_OF_ALL * cpus as f64);
    ((from - to).abs() >= same).then(|| Difference {
        key: LOAD.to_owned(),
        from: Some(from.to_string()),
        to: Some(to.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::report::sample;

    fn texts(a: &Environment, b: &Environment) -> Vec<String> {
        environments(a, b).iter().map(|difference| Circumstance(difference).to_string()).collect()
    }

    #[test]
    fn settings_the_clock_and_the_load_are_told_as_a_reader_says_them() {
        let a = sample::sweep();
        let told = |change: &dyn Fn(&mut Report)| {
            let mut b = a.clone();
            change(&mut b);
            let differences = between(&a, &b);
            differences.iter().map(|difference| Circumstance(difference).to_string()).collect::<Vec<_>>()
        };
        assert_eq!(told(&|_| {}), Vec::<String>::new());
        assert_eq!(told(&|b| b.settings.private_daemon = false), ["daemon private → the service"]);
        assert_eq!(told(&|b| b.settings.precision_fraction = None), ["precision 0.02 → not set"]);
        assert_eq!(told(&|b| b.clock.source = "monotonic".to_owned()), ["clock tsc → monotonic"]);
        assert_eq!(told(&|b| b.settings.rounds = Some(500)), ["rounds of a trial not set → 500"]);
        assert_eq!(
            told(&|b| b.settings.duration_ns = Some(1_200_000_000)),
            ["time of a trial 600 ms → 1.20 s"]
        );
        let load = |minute| move |b: &mut Report| b.at_start.load_average = Some([minute, 9.0, 9.0]);
        assert_eq!(told(&load(0.9)), Vec::<String>::new());
        assert_eq!(told(&load(1.5)), ["load at the start 0.5 → 1.5"]);
    }

    #[test]
    fn differences_are_told_in_the_words_of_the_trade() {
        let a = Environment {
            boot_id: Some("1".to_owned()),
            memory_total_bytes: Some(1_000_000_000),
            ..sample::single().environment
        };
        let mut b = a.clone();
        b.boot_id = Some("2".to_owned());
        b.memory_total_bytes = Some(1_000_100_000);
        b.kernel.release = Some("6.8".to_owned());
        b.kernel.version = Some("#2 SMP".to_owned());
        b.power.governors = ["performance".to_owned()].into();
        b.kernel.mitigations.insert("spectre_v2".to_owned(), "Vulnerable".to_owned());
        assert_eq!(
            texts(&a, &b),
            [
                "rebooted",
                "mitigation of spectre_v2 not told → Vulnerable",
                "kernel 6.1.0-sample → 6.8",
                "governor not told → performance",
            ]
        );
        b.hostname = Some("other".to_owned());
        b.memory_total_bytes = Some(2_000_000_000);
        let texts = texts(&a, &b);
        assert!(texts.contains(&"host sample → other".to_owned()), "{texts:?}");
        assert!(texts.contains(&"memory in bytes 1000000000 → 2000000000".to_owned()), "{texts:?}");
        assert!(!texts.contains(&"rebooted".to_owned()), "{texts:?}");
    }
}
