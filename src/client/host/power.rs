//! What the host does to save power: frequency scaling and idle states, which move a latency more than most code does.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::root::Root;
use super::sysfs_cpu;

/// How the CPUs' frequency and idle states are managed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Power {
    /// The cpufreq governors in use, each once; empty where there is no frequency scaling to see.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub governors: BTreeSet<String>,
    /// The energy-performance preferences in use, which steer drivers that choose the frequency in hardware.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub energy_preferences: BTreeSet<String>,
    /// The cpufreq driver, such as `intel_pstate`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scaling_driver: Option<String>,
    /// The lowest frequency that the scaling limits in force allow any CPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_frequency_khz: Option<u64>,
    /// The highest frequency that the scaling limits in force allow any CPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_frequency_khz: Option<u64>,
    /// Whether turbo (boost) frequencies are allowed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boost: Option<bool>,
    /// The cpuidle driver, which enters the C-states, such as `intel_idle`; `none` where there is no driver.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_driver: Option<String>,
    /// The cpuidle governor, which chooses the C-state, such as `menu`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_governor: Option<String>,
}

impl Power {
    pub(super) fn read(root: Root<'_>) -> Self {
        let frequencies = |file| sysfs_cpu::numbers(root, file).map(|(_, khz)| khz);
        let drivers = sysfs_cpu::distinct(root, "cpufreq/scaling_driver");
        Self {
            governors: governors(root),
            energy_preferences: sysfs_cpu::distinct(root, "cpufreq/energy_performance_preference"),
            scaling_driver: drivers.into_iter().next(),
            min_frequency_khz: frequencies("cpufreq/scaling_min_freq").min(),
            max_frequency_khz: frequencies("cpufreq/scaling_max_freq").max(),
            boost: boost(root),
            idle_driver: root.text("sys/devices/system/cpu/cpuidle/current_driver"),
            // Before Linux 5.8 only the read-only name was always there.
            idle_governor: root
                .text("sys/devices/system/cpu/cpuidle/current_governor")
                .or_else(|| root.text("sys/devices/system/cpu/cpuidle/current_governor_ro")),
        }
    }
}

/// The cpufreq governors in use.
pub(super) fn governors(root: Root<'_>) -> BTreeSet<String> {
    sysfs_cpu::distinct(root, "cpufreq/scaling_governor")
}

fn boost(root: Root<'_>) -> Option<bool> {
    let intel = root.switch("sys/devices/system/cpu/intel_pstate/no_turbo").map(|off| !off);
    intel.or_else(|| root.switch("sys/devices/system/cpu/cpufreq/boost"))
}
