//! Warnings from the host and the build, for all cells of a run.

use super::warning::*;
use crate::client::host::{Build, Environment, Snapshot, Throttling};
use crate::client::report::{CellReport, Report};

/// What was found about one property of a host: nothing where the host does not report it, a text if it is fine, or a
/// warning.
pub(crate) type Found = Option<Result<String, Warning>>;

/// A warning, or the same finding as a text if it is not a problem.
fn found(warning: Warning, is_problem: bool) -> Found {
    Some(if is_problem { Err(warning) } else { Ok(warning.finding()) })
}

/// The run's warnings, in the order in which they are shown.
pub(super) fn warnings(report: &Report) -> Vec<Warning> {
    let (start, end) = (&report.at_start, &report.at_end);
    let changes = end.changes_since(start);
    let own_cpu_ms = report.results.iter().map(own_cpu_ms).sum();
    let governors = start.governors.union(&end.governors);
    [
        build(&report.environment).and_then(Result::err),
        end.suspended_since(start)
            .filter(|ms| *ms > SUSPENDED_MS)
            .map(|ms| Warning::Suspended { time_ns: ms.saturating_mul(1_000_000) }),
        (!changes.is_empty()).then_some(Warning::EnvironmentChanged { changes }),
        end.throttled_since(start).map(|by| throttled(by, false)),
        end.responder_throttled_since(start).map(|by| throttled(by, true)),
        steal_time(start, end, &report.environment).and_then(Result::err),
        other_load(start, end, own_cpu_ms, &report.environment).and_then(Result::err),
        frequency_scaling(governors, frequency_change(report)).err(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn throttled(Throttling { periods, time_ns }: Throttling, responder: bool) -> Warning {
    Warning::Throttled { periods, time_ns, responder }
}

/// The build's profile, which is a warning if it is a debug build.
pub(crate) fn build(environment: &Environment) -> Found {
    let Build { profile, version, .. } = &environment.build;
    Some(if profile == "debug" {
        Err(Warning::DebugBuild)
    } else {
        Ok(format!("{profile}, version {version}"))
    })
}

/// The time that the hypervisor took, as a fraction of one CPU's. Only busy CPUs lose time, and few are busy here:
/// as a fraction of all CPUs' time, steal would vanish on a large host.
pub(crate) fn steal_time(start: &Snapshot, end: &Snapshot, environment: &Environment) -> Found {
    let cpus = end.steal_fraction_since(start)? * cpus(environment).unwrap_or(1) as f64;
    found(Warning::StealTime { cpus }, STEAL_CPUS.exceeded(cpus))
}

fn cpus(environment: &Environment) -> Option<usize> {
    environment.cpu.online.as_ref().map(|online| online.len())
}

/// The load of other processes between two snapshots, less the `own_cpu_ms` of this program.
///
/// The load average is not used: for a minute it includes what ran before, such as the last measurement.
pub(crate) fn other_load(
    start: &Snapshot,
    end: &Snapshot,
    own_cpu_ms: f64,
    environment: &Environment,
) -> Found {
    let cpus = cpus(environment)?;
    let by_time = busy_cpu_ms(start, end).map(|(busy_ms, wall_ms)| (busy_ms - own_cpu_ms) / wall_ms);
    let busy_cpus = by_time.or_else(|| {
        // Too short for the kernel's ticks. A task that ran both before and after is assumed to have run all the time;
        // this program is one of them.
        let running = start.running_tasks?.min(end.running_tasks?);
        // More tasks than CPUs keep no more than all of these busy.
        Some((running.saturating_sub(1) as f64).min(cpus as f64))
    })?;
    let busy_cpus = busy_cpus.max(0.0);
    let competing = COMPETING_CPUS.exceeded(busy_cpus) && busy_cpus + NEEDED_CPUS > cpus as f64;
    let many = busy_cpus > OTHERS_SHARE * cpus as f64;
    found(Warning::OtherLoad { busy_cpus, cpus, competing, counted: by_time.is_none() }, competing || many)
}

/// Whether the CPU frequency is fixed, by the governors in use and how far it moved.
pub(crate) fn frequency_scaling<'a>(
    governors: impl Iterator<Item = &'a String>,
    moved: Option<f64>,
) -> Result<String, Warning> {
    let governors: Vec<String> = governors.filter(|governor| *governor != "performance").cloned().collect();
    match governors.is_empty() && moved.is_none() {
        true => Ok("performance".to_owned()),
        false => Err(Warning::FrequencyScaling { governors, moved }),
    }
}

/// The CPU time used by all processes, and the time that passed; `None` if that is too short.
fn busy_cpu_ms(start: &Snapshot, end: &Snapshot) -> Option<(f64, f64)> {
    let wall_ms = end.uptime_ms?.checked_sub(start.uptime_ms?)?;
    let total_ms = end.cpu_total_ms?.checked_sub(start.cpu_total_ms?)?;
    let idle_ms = end.cpu_idle_ms?.checked_sub(start.cpu_idle_ms?)?;
    let steal_ms = end.cpu_steal_ms.unwrap_or(0).saturating_sub(start.cpu_steal_ms.unwrap_or(0));
    let busy_ms = total_ms.saturating_sub(idle_ms).saturating_sub(steal_ms);
    // A sandbox may show a file with constant values.
    (wall_ms >= SHORTEST_FOR_CPU_TIME_MS && total_ms > 0).then_some((busy_ms as f64, wall_ms as f64))
}

/// CPU time of both sides. The kernel's figures cover the rounds. The warm-ups are assumed to use as much per second, or,
/// if rounds have pauses, which warm-ups have not, to keep both sides busy.
fn own_cpu_ms(cell: &CellReport) -> f64 {
    let costs = &cell.cost_per_round;
    let rounds_ns = (costs.client.cpu_ns + costs.server.cpu_ns) * cell.rounds as f64;
    let warmup_ns: f64 = cell.trials.iter().map(|trial| trial.warmup_ns as f64).sum();
    let paced = cell.gap_ns.is_some() || cell.interval_ns.is_some();
    let busy_cpus = match cell.elapsed_ns {
        elapsed_ns if elapsed_ns > 0.0 && !paced => rounds_ns / elapsed_ns,
        _ => NEEDED_CPUS,
    };
    (rounds_ns + warmup_ns * busy_cpus) / 1e6
}

/// How far the frequency of a CPU in use moved from start to end, as a fraction, if it moved much.
fn frequency_change(report: &Report) -> Option<f64> {
    let trials = report.results.iter().flat_map(|cell| &cell.trials);
    trials
        .flat_map(|trial| trial.client_cpus.iter().chain(&trial.server_cpus))
        .filter_map(|cpu| {
            let from = *report.at_start.frequencies_khz.get(cpu)? as f64;
            let to = *report.at_end.frequencies_khz.get(cpu)? as f64;
            (from > 0.0).then(|| (to / from - 1.0).abs())
        })
        .filter(|moved| *moved > FREQUENCY_MOVED)
        .max_by(f64::total_cmp)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::judge::warnings::{Severity, sample};

    fn of(change: impl FnOnce(&mut Report)) -> Vec<Warning> {
        let mut report = sample::report();
        change(&mut report);
        warnings(&report)
    }

    #[test]
    fn a_debug_build_is_reported() {
        assert_eq!(of(|report| report.environment.build.profile = "debug".to_owned()), [Warning::DebugBuild]);
    }

    #[test]
    fn a_suspended_host_is_reported() {
        let slept = |ms: i64| {
            of(|report| {
                (report.at_start.suspended_ms, report.at_end.suspended_ms) = (Some(5_000), Some(5_000 + ms))
            })
        };
        assert_eq!(slept(2), []);
        let seen = slept(10_000);
        assert_eq!(seen, [Warning::Suspended { time_ns: 10_000_000_000 }]);
        assert!(seen[0].to_string().starts_with("the host was suspended for 10.0 s during the run. "));
        assert_eq!(seen[0].severity(), Severity::Severe);
    }

    #[test]
    fn a_change_of_the_host_is_reported() {
        let seen = of(|report| report.at_end.clock_source = Some("hpet".to_owned()));
        let text = "clock source changed from tsc to hpet";
        assert_eq!(seen, [Warning::EnvironmentChanged { changes: vec![text.to_owned()] }]);
        assert!(seen[0].to_string().contains(text));
    }

    #[test]
    fn throttling_within_the_run_is_reported_and_earlier_throttling_is_not() {
        let throttled = |periods| Some(Throttling { periods, time_ns: periods * 50_000_000 });
        assert_eq!(
            of(|report| (report.at_start.throttling, report.at_end.throttling) =
                (throttled(3), throttled(3))),
            []
        );
        let seen = of(|report| {
            (report.at_start.throttling, report.at_end.throttling) = (throttled(3), throttled(5))
        });
        let warning = |responder| Warning::Throttled { periods: 2, time_ns: 100_000_000, responder };
        assert_eq!(seen, [warning(false)]);
        let daemon = of(|report| {
            (report.at_start.responder_throttling, report.at_end.responder_throttling) =
                (throttled(3), throttled(5))
        });
        assert_eq!(daemon, [warning(true)]);
        assert!(daemon[0].to_string().contains("the daemon's control group"), "{}", daemon[0]);
        let both = of(|report| {
            for (snapshot, periods) in [(&mut report.at_start, 3), (&mut report.at_end, 5)] {
                (snapshot.throttling, snapshot.responder_throttling) =
                    (throttled(periods), throttled(periods));
            }
        });
        assert_eq!(both, [warning(false)], "one group holds both");
    }

    #[test]
    fn steal_time_counts_against_one_cpu() {
        // The sample has 4 CPUs and runs for 10 s: 40 s of CPU time.
        let stolen = |ms| of(|report| report.at_end.cpu_steal_ms = Some(ms));
        assert_eq!(stolen(20), []);
        let seen = stolen(400);
        assert!(matches!(seen[..], [Warning::StealTime { cpus }] if (cpus - 0.04).abs() < 1e-9), "{seen:?}");
        assert_eq!(seen[0].severity(), Severity::Doubtful);
        assert_eq!(stolen(3_000)[0].severity(), Severity::Severe);
    }

    #[test]
    fn other_load_is_judged_by_the_cpus_that_it_leaves() {
        // Of 40 s of CPU time, the sample's own 2 s are not idle.
        let idle = |ms| of(|report| report.at_end.cpu_idle_ms = Some(ms));
        assert_eq!(idle(38_000), []);
        assert_eq!(idle(29_000), [], "0.9 of 4 CPUs: two are left");
        let many = idle(25_000);
        assert!(matches!(many[..], [Warning::OtherLoad { competing: false, .. }]), "{many:?}");
        assert_eq!(many[0].severity(), Severity::Slight);
        let competing = idle(8_000);
        assert!(
            matches!(competing[..], [Warning::OtherLoad { competing: true, busy_cpus, .. }] if busy_cpus > 2.9)
        );
        assert_eq!(competing[0].severity(), Severity::Severe);
    }

    #[test]
    fn warm_ups_are_not_other_load() {
        // 100 ms of CPU time a second for the rounds; the warm-ups take as long as the rounds, a second in all.
        let own = |gap_ns| {
            let mut cell = sample::cell();
            cell.gap_ns = gap_ns;
            cell.cost_per_round.client.cpu_ns = 1_000.0;
            cell.cost_per_round.server.cpu_ns = 0.0;
            cell.trials.iter_mut().for_each(|trial| trial.warmup_ns = 200_000_000);
            own_cpu_ms(&cell)
        };
        assert_eq!(own(None), 100.0 + 100.0);
        assert_eq!(own(Some(1_000_000)), 100.0 + 2_000.0);
    }

    #[test]
    fn in_a_short_run_running_tasks_are_counted_if_they_run_before_and_after() {
        let running = |before, after| {
            of(|report| {
                report.at_end.uptime_ms = report.at_start.uptime_ms.map(|ms| ms + 20);
                (report.at_start.running_tasks, report.at_end.running_tasks) = (Some(before), Some(after));
            })
        };
        assert_eq!(running(1, 9), []);
        assert_eq!(running(9, 1), []);
        let seen = running(6, 5);
        assert!(matches!(
            seen[..],
            [Warning::OtherLoad { competing: true, busy_cpus: 4.0, cpus: 4, counted: true }]
        ));
        let expected = "before and after this short run, other processes were ready to run on 4 of 4 CPUs";
        assert_eq!(seen[0].finding(), expected);
    }

    #[test]
    fn a_frequency_that_is_not_fixed_is_reported() {
        let seen = of(|report| _ = report.at_end.governors.insert("powersave".to_owned()));
        // The governor appeared during the run, which is a change besides.
        let scaling = Warning::FrequencyScaling { governors: vec!["powersave".to_owned()], moved: None };
        assert_eq!(seen.last(), Some(&scaling));
        let moved = |cpu, khz| of(|report| _ = report.at_end.frequencies_khz.insert(cpu, khz));
        assert_eq!(moved(2, 2_100_000), []);
        assert_eq!(moved(1, 1_000_000), [], "no side ran there");
        assert!(
            matches!(&moved(2, 1_000_000)[..], [Warning::FrequencyScaling { moved: Some(_), governors }] if governors.is_empty())
        );
    }
}
