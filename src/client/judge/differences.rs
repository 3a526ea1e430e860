//! What two runs were measured under, and how that differs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;
use serde_json::Value;

use crate::client::host::Environment;
use crate::client::report::{Report, Settings};
use crate::units::latency;

/// A fact that differs between two runs. Displayed, it reads `kernel 6.1 → 6.8`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Difference {
    /// The fact's place in the report's JSON, such as `kernel.release` of the environment or `settings.rounds`.
    pub key: String,
    /// Its value before; `None` if it was not reported.
    pub from: Option<String>,
    /// Its value after; `None` if it is not reported.
    pub to: Option<String>,
}

/// Keys that have a name of their own.
const NAMES: [(&str, &str); 35] = [
    ("hostname", "host"),
    ("boot_id", "rebooted"),
    ("os", "system"),
    ("memory_total_bytes", "memory in bytes"),
    ("cgroup_quota_cpus", "CPU quota"),
    ("responder.allowed", "CPUs allowed to the responder"),
    ("responder.cgroup_quota_cpus", "the responder's CPU quota"),
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
    ("settings.rounds", "rounds per trial"),
    ("settings.duration_ns", "time per trial"),
    ("settings.warmup_rounds", "warm-up rounds"),
    ("settings.warmup_ns", "warm-up time"),
    ("settings.trials", "trials"),
    ("settings.precision_fraction", "precision"),
    ("settings.verification", "verification"),
    (LOAD, "load at the start"),
];

/// Whether a daemon was started for the run. A private one has no sandbox, and is in its client's scheduling group.
const DAEMON: &str = "settings.private_daemon";

/// The average over a minute before the first trial.
const LOAD: &str = "at_start.load_average";

/// Loads that differ by less, in CPUs and as a share of the host's, are the same: the average includes what ran before,
/// such as the previous run.
const SAME_LOAD: f64 = 0.5;
const SAME_LOAD_OF_ALL: f64 = 0.1;

/// Names of keys with these prefixes.
const GROUPS: [(&str, &str); 2] =
    [("kernel.mitigations.", "mitigation of "), ("kernel.options.", "boot option ")];

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, from, to } = self;
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
            None => "unknown".to_owned(),
            Some("") => "none".to_owned(),
            Some("true") if key == DAEMON => "private".to_owned(),
            Some(_) if key == DAEMON => "the service".to_owned(),
            Some(value) => match value.parse() {
                Ok(ns) if key.ends_with("_ns") => latency(ns),
                _ => value.to_owned(),
            },
        };
        write!(f, "{name} {} → {}", value(from), value(to))
    }
}

/// The differences in one line.
pub(crate) fn in_one_line(differences: &[Difference]) -> String {
    match differences {
        [] => "no recorded setting changed".to_owned(),
        _ => differences.iter().map(Difference::to_string).collect::<Vec<_>>().join("; "),
    }
}

/// What a run was measured under, as far as it may affect a latency and stays the same during the run: environment,
/// settings and clock, each fact by its place in the report's JSON.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Conditions(BTreeMap<String, String>);

impl Conditions {
    /// Those of a report.
    pub(crate) fn of(report: &Report) -> Self {
        Self::new(&report.environment, &report.settings, &report.clock.source)
    }

    /// From their parts.
    pub(crate) fn new(environment: &Environment, settings: &Settings, clock: &str) -> Self {
        let mut facts = BTreeMap::new();
        flatten("settings", json(settings), &mut facts);
        facts.insert("clock.source".to_owned(), clock.to_owned());
        flatten("", json(environment), &mut facts);
        // How the settings were given does not matter, nor what the daemon's control group is called.
        let ignored = ["settings.arguments", "settings.profile_flags", "responder.cgroup"];
        facts.retain(|key, _| !ignored.contains(&key.as_str()));
        Self(facts)
    }

    /// Every fact by its key.
    pub(crate) fn into_facts(self) -> BTreeMap<String, String> {
        self.0
    }

    /// What differs between two runs, apart from their figures, and may affect a latency: every fact, but a reboot only
    /// of one host, the kernel's build only of one release, and memory only if it is more than the firmware's share.
    pub(crate) fn differences(&self, other: &Self) -> Vec<Difference> {
        let same = |key: &str| self.0.get(key) == other.0.get(key);
        let memory =
            |of: &Self| of.0.get("memory_total_bytes").and_then(|bytes| bytes.parse().ok()).unwrap_or(0.0);
        let (before, after): (f64, f64) = (memory(self), memory(other));
        let keys: BTreeSet<&String> = self.0.keys().chain(other.0.keys()).collect();
        keys.into_iter()
            .filter(|key| {
                !same(key)
                    && match key.as_str() {
                        "boot_id" => same("hostname"),
                        "kernel.version" => same("kernel.release"),
                        "memory_total_bytes" => (before - after).abs() > 0.01 * before,
                        _ => true,
                    }
            })
            .map(|key| Difference {
                key: key.clone(),
                from: self.0.get(key).cloned(),
                to: other.0.get(key).cloned(),
            })
            .collect()
    }

    /// Whether a run under these conditions repeats one under the others. A reboot alone is not a change: its effect on a
    /// latency is part of the noise. Nor is the number of trials, which affects no median.
    pub(crate) fn is_unchanged(&self, other: &Self) -> bool {
        let matters = |key: &str| !["boot_id", "settings.trials"].contains(&key);
        !self.differences(other).iter().any(|difference| matters(&difference.key))
    }
}

/// What differs between two runs apart from their figures: conditions, and the load at the start.
pub(super) fn between(a: &Report, b: &Report) -> Vec<Difference> {
    let mut all = Conditions::of(a).differences(&Conditions::of(b));
    all.extend(load(a, b));
    all
}

/// Consecutive runs have independent loads: a comparison shows the load, but a history does not treat it as a change.
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

fn json(value: &impl Serialize) -> Value {
    serde_json::to_value(value).expect("maps with text keys always convert")
}

/// Adds every fact of a value, by its place in it.
fn flatten(key: &str, value: Value, facts: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let key = if key.is_empty() { name } else { format!("{key}.{name}") };
                flatten(&key, value, facts);
            }
        }
        value => drop(facts.insert(key.to_owned(), text(&value))),
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(values) => values.iter().map(text).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::report::sample;

    fn texts(a: &Environment, b: &Environment) -> Vec<String> {
        let settings = sample::single().settings;
        let conditions = |environment| Conditions::new(environment, &settings, "tsc");
        conditions(a).differences(&conditions(b)).iter().map(Difference::to_string).collect()
    }

    #[test]
    fn settings_the_clock_and_the_load_are_named() {
        let a = sample::sweep();
        let texts = |change: &dyn Fn(&mut Report)| {
            let mut b = a.clone();
            change(&mut b);
            let differences = between(&a, &b);
            differences.iter().map(Difference::to_string).collect::<Vec<_>>()
        };
        assert_eq!(texts(&|_| {}), Vec::<String>::new());
        assert_eq!(texts(&|b| b.settings.private_daemon = false), ["daemon private → the service"]);
        assert_eq!(texts(&|b| b.settings.precision_fraction = None), ["precision 0.02 → not set"]);
        assert_eq!(texts(&|b| b.clock.source = "monotonic".to_owned()), ["clock tsc → monotonic"]);
        assert_eq!(texts(&|b| b.settings.rounds = Some(500)), ["rounds per trial not set → 500"]);
        assert_eq!(
            texts(&|b| b.settings.duration_ns = Some(1_200_000_000)),
            ["time per trial 600 ms → 1.20 s"]
        );
        let load = |minute| move |b: &mut Report| b.at_start.load_average = Some([minute, 9.0, 9.0]);
        assert_eq!(texts(&load(0.9)), Vec::<String>::new());
        assert_eq!(texts(&load(1.5)), ["load at the start 0.5 → 1.5"]);
    }

    #[test]
    fn facts_of_the_environment_are_named() {
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
                "mitigation of spectre_v2 unknown → Vulnerable",
                "kernel 6.1.0-sample → 6.8",
                "governor unknown → performance",
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
