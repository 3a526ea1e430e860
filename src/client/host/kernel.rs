//! The kernel: its version, and the settings of it that move a latency.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::root::Root;

/// The kernel and its settings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Kernel {
    /// The release, such as `6.12.9-amd64`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
    /// The build: number, preemption model and date.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The boot options that move a latency, by name; an option without a value has an empty one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub options: Option<BTreeMap<String, String>>,
    /// The clock source in use. Only a few, `tsc` first, can be read without a system call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock_source: Option<String>,
    /// The clock sources that could be used.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub clock_sources_available: BTreeSet<String>,
    /// When transparent huge pages are used: `always`, `madvise` or `never`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transparent_hugepage: Option<String>,
    /// How TCP decides how much may be under way, such as `cubic`: of this network namespace, and of loopback too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp_congestion_control: Option<String>,
    /// What the kernel does about each CPU vulnerability it knows, by the vulnerability's name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub mitigations: BTreeMap<String, String>,
}

impl Kernel {
    pub(super) fn read(root: Root<'_>) -> Self {
        Self {
            release: root.text("proc/sys/kernel/osrelease"),
            version: root.text("proc/sys/kernel/version"),
            options: root.text("proc/cmdline").map(|line| options(&line)),
            clock_source: clock_source(root),
            clock_sources_available: clock_sources_available(root),
            transparent_hugepage: root
                .text("sys/kernel/mm/transparent_hugepage/enabled")
                .and_then(|choices| chosen(&choices)),
            tcp_congestion_control: root.text("proc/sys/net/ipv4/tcp_congestion_control"),
            mitigations: mitigations(root),
        }
    }
}

/// The clock source in use.
pub(super) fn clock_source(root: Root<'_>) -> Option<String> {
    root.text("sys/devices/system/clocksource/clocksource0/current_clocksource")
}

/// The clock sources that could be used.
pub(super) fn clock_sources_available(root: Root<'_>) -> BTreeSet<String> {
    let names =
        root.text("sys/devices/system/clocksource/clocksource0/available_clocksource").unwrap_or_default();
    names.split_whitespace().map(str::to_owned).collect()
}

/// The boot options that move a latency. Others may hold secrets, so they are not told.
const OPTIONS: [&str; 14] = [
    "amd_pstate",
    "clocksource",
    "cpuidle.off",
    "idle",
    "intel_idle.max_cstate",
    "intel_pstate",
    "isolcpus",
    "mitigations",
    "nohz_full",
    "nosmt",
    "preempt",
    "processor.max_cstate",
    "rcu_nocbs",
    "tsc",
];

fn options(command_line: &str) -> BTreeMap<String, String> {
    command_line
        .split_whitespace()
        // What follows is for the first process and not for the kernel.
        .take_while(|word| *word != "--")
        .map(|word| word.split_once('=').unwrap_or((word, "")))
        .filter(|(name, _)| OPTIONS.contains(name))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// The choice in brackets, as in `always [madvise] never`.
fn chosen(choices: &str) -> Option<String> {
    choices.split_whitespace().find_map(|word| Some(word.strip_prefix('[')?.strip_suffix(']')?.to_owned()))
}

fn mitigations(root: Root<'_>) -> BTreeMap<String, String> {
    let folder = "sys/devices/system/cpu/vulnerabilities";
    let text = |name: String| Some((root.text(format!("{folder}/{name}"))?, name));
    root.names(folder).into_iter().filter_map(text).map(|(text, name)| (name, text)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_options_that_move_a_latency_are_told() {
        let found = options("root=/dev/sda1 isolcpus=2-3 nosmt idle=poll token=secret -- nohz_full=1");
        let expected = [("idle", "poll"), ("isolcpus", "2-3"), ("nosmt", "")];
        assert_eq!(found, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    }

    #[test]
    fn the_choice_is_the_word_in_brackets() {
        assert_eq!(chosen("always [madvise] never").as_deref(), Some("madvise"));
        assert_eq!(chosen("always madvise never"), None);
    }
}
