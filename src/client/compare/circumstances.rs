//! What differs between two runs beside their figures, in the words of the trade.

use std::fmt;

use crate::client::environment::{Difference, Environment};
use crate::client::report::Report;

/// A difference as a reader wants to hear it: `kernel 6.1 → 6.8`.
pub struct Circumstance<'a>(pub &'a Difference);

/// Keys of the environment's JSON that have a name of their own.
const NAMES: [(&str, &str); 22] = [
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
    ("machine.hypervisor", "hypervisor"),
    ("machine.container", "container"),
    ("build.version", "ipcd"),
    ("clock.source", "clock"),
];

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
            None => "not told".to_owned(),
            Some("") => "none".to_owned(),
            Some(value) => value.to_owned(),
        };
        write!(f, "{name} {} → {}", value(from), value(to))
    }
}

/// What differs between two environments and may move a latency: all of it, but the reboot only for one host, the
/// kernel's build only where its release is the same, and memory only where it is more than its firmware's share.
#[must_use]
pub fn circumstances(a: &Environment, b: &Environment) -> Vec<Difference> {
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

/// What differs between two runs beside their figures: environments, clocks, settings.
pub(super) fn between(a: &Report, b: &Report) -> Vec<Difference> {
    let mut all = circumstances(&a.environment, &b.environment);
    let number = |value: Option<u64>| value.map(|value| value.to_string());
    for (key, from, to) in [
        ("clock.source", Some(a.clock.source.clone()), Some(b.clock.source.clone())),
        ("settings.timing", Some(a.settings.timing.clone()), Some(b.settings.timing.clone())),
        ("settings.rounds", number(a.settings.rounds), number(b.settings.rounds)),
        ("settings.duration_ns", number(a.settings.duration_ns), number(b.settings.duration_ns)),
        ("settings.warmup_rounds", number(a.settings.warmup_rounds), number(b.settings.warmup_rounds)),
        ("settings.warmup_ns", number(a.settings.warmup_ns), number(b.settings.warmup_ns)),
        ("settings.trials", number(Some(a.settings.trials.into())), number(Some(b.settings.trials.into()))),
    ] {
        if from != to {
            all.push(Difference { key: key.to_owned(), from, to });
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::report::sample;

    fn texts(a: &Environment, b: &Environment) -> Vec<String> {
        circumstances(a, b).iter().map(|difference| Circumstance(difference).to_string()).collect()
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
