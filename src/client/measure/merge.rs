//! Trials that have run side by side, as one.

use std::time::Duration;

use super::{CpusSeen, Probe, Recorder, Trial, histogram};
use crate::protocol::Usage;

impl Trial {
    /// These trials as one, in `elapsed` from the start of the first one's rounds to the end of the last
    /// one's, and its interval at a fixed rate: counts and usages are sums, latencies those of all rounds.
    pub(super) fn together(trials: &[Self], elapsed: Duration) -> Self {
        let mut response = trials.iter().any(|trial| trial.response.is_some()).then(histogram);
        for one in trials.iter().filter_map(|trial| trial.response.as_ref()) {
            if let Some(response) = &mut response {
                // The bounds are the same, so that it cannot fail.
                let _ = response.add(one);
            }
        }
        let usage = |side: fn(&Self) -> &Usage| {
            trials.iter().map(side).fold(Usage { migrations: Some(0), ..Usage::default() }, |a, b| a.plus(b))
        };
        Self {
            recorder: Recorder::together(trials.iter().map(|trial| &trial.recorder)),
            response,
            rounds: trials.iter().map(|trial| trial.rounds).sum(),
            lost: trials.iter().map(|trial| trial.lost).sum(),
            elapsed_ps: trials
                .iter()
                .map(|trial| trial.elapsed_ps)
                .chain([u64::try_from(elapsed.as_nanos() * 1000).unwrap_or(u64::MAX)])
                .max()
                .unwrap_or(0),
            probe: probe(trials.iter().filter_map(|trial| trial.probe)),
            longest_gap: trials.iter().filter_map(|trial| trial.longest_gap).max(),
            warmup_rounds: trials.iter().map(|trial| trial.warmup_rounds).sum(),
            warmup_time: trials.iter().map(|trial| trial.warmup_time).max().unwrap_or_default(),
            client_usage: usage(|trial| &trial.client_usage),
            server_usage: usage(|trial| &trial.server_usage),
            cpus: CpusSeen {
                client: seen(trials.iter().map(|trial| &trial.cpus.client)),
                server: seen(trials.iter().map(|trial| &trial.cpus.server)),
            },
        }
    }
}

fn probe(probes: impl Iterator<Item = Probe>) -> Option<Probe> {
    let (sum_ps, rounds) = probes.fold((0.0, 0), |(sum_ps, rounds), probe| {
        (sum_ps + probe.untimed_mean_ps * probe.untimed_rounds as f64, rounds + probe.untimed_rounds)
    });
    (rounds > 0).then(|| Probe { untimed_mean_ps: sum_ps / rounds as f64, untimed_rounds: rounds })
}

fn seen<'a>(sides: impl Iterator<Item = &'a Vec<u32>>) -> Vec<u32> {
    let mut cpus: Vec<u32> = sides.flatten().copied().collect();
    cpus.sort_unstable();
    cpus.dedup();
    cpus
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trials_side_by_side_add_up() {
        let trial = |cpu: u32, mean: f64| Trial {
            recorder: Recorder::default(),
            response: None,
            rounds: 100,
            lost: 1,
            elapsed_ps: 7,
            probe: Some(Probe { untimed_mean_ps: mean, untimed_rounds: 10 }),
            longest_gap: None,
            warmup_rounds: 5,
            warmup_time: Duration::from_millis(u64::from(cpu)),
            client_usage: Usage { cpu_ns: 50, migrations: Some(2), ..Usage::default() },
            server_usage: Usage { cpu_ns: 30, ..Usage::default() },
            cpus: CpusSeen { client: vec![cpu, 0], server: vec![1] },
        };
        let both = Trial::together(&[trial(3, 10.0), trial(1, 20.0)], Duration::from_nanos(9));
        assert_eq!((both.rounds, both.lost, both.elapsed_ps, both.warmup_rounds), (200, 2, 9000, 10));
        let paced = Trial { elapsed_ps: 12_000, ..trial(0, 10.0) };
        let both_paced = Trial::together(&[trial(3, 10.0), paced], Duration::from_nanos(9));
        assert_eq!(both_paced.elapsed_ps, 12_000, "it has its last interval");
        assert_eq!(both.warmup_time, Duration::from_millis(3), "they were side by side too");
        assert_eq!(both.probe, Some(Probe { untimed_mean_ps: 15.0, untimed_rounds: 20 }));
        assert_eq!((both.client_usage.cpu_ns, both.client_usage.migrations), (100, Some(4)));
        assert_eq!((both.server_usage.cpu_ns, both.server_usage.migrations), (60, None));
        assert_eq!((both.cpus.client, both.cpus.server), (vec![0, 1, 3], vec![1]));
    }
}
