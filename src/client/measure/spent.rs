//! What the two sides of a trial have used for its rounds.

use crate::protocol::Usage;
use crate::transports::sys::{thread_cpu_ns, usage};

/// What a side used for the rounds, and the CPUs it was seen on.
#[derive(Debug, Default)]
pub(super) struct Spent {
    pub(super) usage: Usage,
    pub(super) cpus: Vec<u32>,
}

impl Spent {
    pub(super) fn between(before: &Usage, after: &Usage) -> Self {
        let mut cpus: Vec<u32> = before.cpu.into_iter().chain(after.cpu).collect();
        cpus.dedup();
        Self { usage: after.since(before), cpus }
    }
}

/// What the calling thread has used before the rounds.
#[derive(Debug)]
pub(super) struct Own(Usage);

impl Own {
    /// Looks now. The CPU time is read last here and first by [`spent`](Self::spent): to read the rest takes longer than
    /// many a round.
    pub(super) fn now() -> Self {
        let before = usage(None).unwrap_or_default();
        Self(Usage { cpu_ns: thread_cpu_ns(), ..before })
    }

    /// What it has used since.
    pub(super) fn spent(&self) -> Spent {
        let cpu_ns = thread_cpu_ns();
        Spent::between(&self.0, &Usage { cpu_ns, ..usage(None).unwrap_or_default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn to_look_at_the_usage_is_not_in_it() {
        // The least of many, since anything may come between.
        let least = |cpu_ns: fn() -> u64| (0..200).map(|_| cpu_ns()).min().unwrap();
        let nothing = least(|| Own::now().spent().usage.cpu_ns);
        let one_look = least(|| {
            let before = thread_cpu_ns();
            let _ = usage(None);
            thread_cpu_ns() - before
        });
        assert!(nothing < one_look, "{nothing} ns for nothing, {one_look} ns for one reading");
    }
}
