//! The part of the environment that changes: captured at the start and at the end of a run, and compared.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use super::{cpu, kernel};
use crate::protocol::Throttling;
use crate::transports::sys;
use crate::transports::sys::root::Root;

/// The state of the host at one moment. What the host does not report is `None` or empty, and left out of the JSON.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Time since boot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uptime_ms: Option<u64>,
    /// The part of it in which the host was suspended: CLOCK_BOOTTIME, which continues during suspension, minus
    /// CLOCK_MONOTONIC, which does not. In a time namespace it starts at an arbitrary value, possibly negative.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suspended_ms: Option<i64>,
    /// Tasks that ran or waited to run, or for a disk: averages over 1, 5 and 15 minutes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load_average: Option<[f64; 3]>,
    /// Tasks running or ready to run at this moment, this one included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub running_tasks: Option<u64>,
    /// CPU time since boot, idle time included, summed over all CPUs. Milliseconds, since nanoseconds of hundreds of
    /// CPUs overflow within a few years, and the kernel counts in steps of 10 ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_total_ms: Option<u64>,
    /// The part of it in which a CPU of this host had nothing to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_idle_ms: Option<u64>,
    /// The part of it in which the hypervisor ran something else although a CPU of this host had work.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_steal_ms: Option<u64>,
    /// How the CPU quota throttled this process's control groups.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub throttling: Option<Throttling>,
    /// How it throttled the responders' control groups; `None` with a private daemon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub responder_throttling: Option<Throttling>,
    /// The current frequency of each CPU that reports one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub frequencies_khz: BTreeMap<u32, u64>,
    /// The cpufreq governors in use, each once.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub governors: BTreeSet<String>,
    /// The clock source in use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock_source: Option<String>,
}

impl Snapshot {
    /// The state of this host now.
    pub(crate) fn capture() -> Self {
        let suspended_ms = since(ClockId::Boottime) - since(ClockId::Monotonic);
        Self { suspended_ms: Some(suspended_ms), ..Self::capture_from(Path::new("/")) }
    }

    /// The state in the `/proc` and `/sys` below `root`.
    pub(crate) fn capture_from(root: &Path) -> Self {
        let root = Root(root);
        let stat = root.text("proc/stat").unwrap_or_default();
        let cpu_time = cpu_time_ms(&stat);
        Self {
            uptime_ms: root.text("proc/uptime").and_then(|text| uptime_ms(&text)),
            suspended_ms: None,
            load_average: root.text("proc/loadavg").and_then(|text| load_average(&text)),
            running_tasks: stat
                .lines()
                .find_map(|line| line.strip_prefix("procs_running ")?.trim().parse().ok()),
            cpu_total_ms: cpu_time.map(|time| time.total),
            cpu_idle_ms: cpu_time.and_then(|time| time.idle),
            cpu_steal_ms: cpu_time.and_then(|time| time.steal),
            throttling: sys::throttling(root),
            responder_throttling: None,
            frequencies_khz: cpu::frequencies_khz(root).collect(),
            governors: cpu::governors(root),
            clock_source: kernel::clock_source(root),
        }
    }

    /// The share of all CPU time since `earlier` that the hypervisor took, from 0 to 1. `None` if the host does not
    /// report it, or if less than one tick of the kernel's count has passed.
    pub(crate) fn steal_fraction_since(&self, earlier: &Self) -> Option<f64> {
        let total = self.cpu_total_ms?.checked_sub(earlier.cpu_total_ms?).filter(|&total| total > 0)?;
        let steal = self.cpu_steal_ms?.checked_sub(earlier.cpu_steal_ms?)?;
        Some(steal as f64 / total as f64)
    }

    /// How long the host was suspended since `earlier`, in milliseconds.
    pub(crate) fn suspended_since(&self, earlier: &Self) -> Option<u64> {
        let ms = self.suspended_ms?.checked_sub(earlier.suspended_ms?)?;
        // The clocks are read one after the other.
        Some(u64::try_from(ms).unwrap_or(0))
    }

    /// The throttling of this process since `earlier`, if there was any.
    pub(crate) fn throttled_since(&self, earlier: &Self) -> Option<Throttling> {
        throttled(self.throttling?, earlier.throttling?)
    }

    /// The same of the responders. Figures equal to this process's are those of one group that holds both.
    pub(crate) fn responder_throttled_since(&self, earlier: &Self) -> Option<Throttling> {
        throttled(self.responder_throttling?, earlier.responder_throttling?)
            .filter(|throttling| self.throttled_since(earlier) != Some(*throttling))
    }

    /// The settings that changed since `earlier` and that a run should have found constant, each as a sentence such
    /// as `governor changed from powersave to performance`.
    pub(crate) fn changes_since(&self, earlier: &Self) -> Vec<String> {
        let join = |names: &BTreeSet<String>| {
            let joined = names.iter().map(String::as_str).collect::<Vec<_>>().join(" + ");
            (!joined.is_empty()).then_some(joined)
        };
        let settings = [
            ("governor", join(&earlier.governors), join(&self.governors)),
            ("clock source", earlier.clock_source.clone(), self.clock_source.clone()),
        ];
        let changed = settings.into_iter().filter_map(|(name, from, to)| Some((name, from?, to?)));
        changed
            .filter(|(_, from, to)| from != to)
            .map(|(name, from, to)| format!("{name} changed from {from} to {to}"))
            .collect()
    }
}

fn throttled(now: Throttling, before: Throttling) -> Option<Throttling> {
    let periods = now.periods.checked_sub(before.periods).filter(|periods| *periods > 0)?;
    Some(Throttling { periods, time_ns: now.time_ns.checked_sub(before.time_ns)? })
}

fn since(clock: ClockId) -> i64 {
    let time = clock_gettime(clock);
    time.tv_sec * 1000 + time.tv_nsec / 1_000_000
}

fn uptime_ms(text: &str) -> Option<u64> {
    let seconds: f64 = text.split_whitespace().next()?.parse().ok()?;
    Some((seconds * 1000.0).round() as u64)
}

fn load_average(text: &str) -> Option<[f64; 3]> {
    let averages: Vec<f64> = text.split_whitespace().take(3).map_while(|word| word.parse().ok()).collect();
    averages.try_into().ok()
}

/// CPU time since boot, in milliseconds.
#[derive(Clone, Copy)]
struct CpuTime {
    total: u64,
    idle: Option<u64>,
    steal: Option<u64>,
}

/// From the line `cpu user nice system idle iowait irq softirq steal guest guest_nice`. Guest time is in user time
/// already; a CPU that waits for a disk is idle.
fn cpu_time_ms(stat: &str) -> Option<CpuTime> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks: Vec<u64> = line.split_whitespace().take(8).map_while(|word| word.parse().ok()).collect();
    let ms = |ticks: u64| ticks.saturating_mul(1000) / rustix::param::clock_ticks_per_second().max(1);
    let total = ticks.iter().copied().reduce(u64::saturating_add)?;
    let idle = ticks.get(3).map(|idle| idle.saturating_add(ticks.get(4).copied().unwrap_or(0)));
    Some(CpuTime { total: ms(total), idle: idle.map(ms), steal: ticks.get(7).copied().map(ms) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::host::fixture::Tree;

    fn at(stat: &str, governor: &str, clock: &str) -> Snapshot {
        Snapshot::capture_from(
            Tree::new()
                .file("proc/stat", stat)
                .file("proc/uptime", "744.68 1390.42")
                .file("proc/loadavg", "0.15 1.19 22.09 3/92 4798")
                .file("sys/devices/system/cpu/online", "0-1")
                .file("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", governor)
                .file("sys/devices/system/cpu/cpu1/cpufreq/scaling_cur_freq", "2100000")
                .file("sys/devices/system/clocksource/clocksource0/current_clocksource", clock)
                .path(),
        )
    }

    #[test]
    fn everything_readable_is_reported() {
        let now = at("cpu  10 0 5 80 1 0 1 3 0 0\ncpu0 1 2 3\nprocs_running 4\n", "powersave", "tsc");
        assert_eq!(now.uptime_ms, Some(744_680));
        assert_eq!(now.load_average, Some([0.15, 1.19, 22.09]));
        assert_eq!(now.running_tasks, Some(4));
        assert_eq!((now.cpu_total_ms, now.cpu_steal_ms), (Some(1000), Some(30)));
        assert_eq!(now.cpu_idle_ms, Some(810));
        assert_eq!(now.frequencies_khz, BTreeMap::from([(1, 2_100_000)]));
        assert_eq!(serde_json::from_str::<Snapshot>(&serde_json::to_string(&now).unwrap()).unwrap(), now);
    }

    #[test]
    fn the_steal_fraction_is_that_of_the_time_between() {
        let before = at("cpu  10 0 5 80 1 0 1 3 0 0\n", "powersave", "tsc");
        let after = at("cpu  20 0 10 220 3 0 2 45 0 0\n", "powersave", "tsc");
        assert_eq!(after.steal_fraction_since(&before), Some(0.21));
        assert_eq!(before.steal_fraction_since(&before), None);
        assert_eq!(before.steal_fraction_since(&after), None);
        assert_eq!(after.steal_fraction_since(&Snapshot::default()), None);
    }

    #[test]
    fn an_old_kernel_without_steal_time_reports_none() {
        let now = at("cpu  10 0 5 80\n", "powersave", "tsc");
        assert_eq!((now.cpu_total_ms, now.cpu_steal_ms), (Some(950), None));
    }

    #[test]
    fn the_time_suspended_is_the_growth_of_the_gap_between_two_clocks() {
        let at = |suspended_ms| Snapshot { suspended_ms: Some(suspended_ms), ..Snapshot::default() };
        assert_eq!(at(40_000).suspended_since(&at(10_000)), Some(30_000));
        assert_eq!(at(-20_000).suspended_since(&at(-50_000)), Some(30_000), "in a time namespace");
        assert_eq!(at(10_000).suspended_since(&at(10_001)), Some(0));
        assert_eq!(at(1).suspended_since(&Snapshot::default()), None);
        let (before, after) = (Snapshot::capture(), Snapshot::capture());
        assert!(after.suspended_since(&before).is_some_and(|ms| ms < 1000), "{before:?} {after:?}");
    }

    #[test]
    fn throttling_is_that_of_the_time_between() {
        let with = |periods, time_ns| Snapshot {
            throttling: Some(Throttling { periods, time_ns }),
            ..Snapshot::default()
        };
        let between = with(7, 1500).throttled_since(&with(5, 1000));
        assert_eq!(between, Some(Throttling { periods: 2, time_ns: 500 }));
        assert_eq!(with(1, 1).throttled_since(&Snapshot::default()), None);
    }

    #[test]
    fn changed_settings_are_reported_and_unreadable_ones_are_not() {
        let before = at("", "powersave", "tsc");
        let after = at("", "performance", "hpet");
        assert_eq!(
            after.changes_since(&before),
            ["governor changed from powersave to performance", "clock source changed from tsc to hpet"]
        );
        assert!(before.changes_since(&before).is_empty());
        assert!(after.changes_since(&Snapshot::default()).is_empty());
    }

    #[test]
    fn an_empty_tree_reports_nothing() {
        assert_eq!(Snapshot::capture_from(Tree::new().path()), Snapshot::default());
    }
}
