//! What a round cost either side, by the kernel's accounting.

use serde::{Deserialize, Serialize};

use crate::protocol::Usage;

/// What a round cost, on both sides.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Costs {
    /// The client.
    pub client: Cost,
    /// The responder.
    pub server: Cost,
}

/// What a round cost a process, by the kernel's accounting.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Cost {
    /// CPU time.
    pub cpu_ns: f64,
    /// Context switches because it waited.
    pub voluntary_switches: f64,
    /// Context switches because its time was up.
    pub involuntary_switches: f64,
    /// Page faults without I/O.
    pub minor_faults: f64,
    /// Page faults with I/O.
    pub major_faults: f64,
    /// Moves from CPU to CPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub migrations: Option<f64>,
}

impl Cost {
    /// A process's usage, spread over its rounds.
    #[must_use]
    pub(crate) fn of(usage: &Usage, rounds: u64) -> Self {
        let each = |n: u64| if rounds == 0 { 0.0 } else { n as f64 / rounds as f64 };
        Self {
            cpu_ns: each(usage.cpu_ns),
            voluntary_switches: each(usage.voluntary_switches),
            involuntary_switches: each(usage.involuntary_switches),
            minor_faults: each(usage.minor_faults),
            major_faults: each(usage.major_faults),
            migrations: usage.migrations.map(each),
        }
    }
}
