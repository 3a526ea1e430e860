//! `doctor`: whether a host is fit for measuring, before anything is measured, and how small a difference it can show.

use std::io::{self, Write};

use serde::Serialize;
use textwrap::{Options, fill};

use super::noise::{Noise, Resolution};
use super::warnings::*;
use crate::client::bench::{Bench, Outcome};
use crate::client::host::placement::Placement;
use crate::client::host::{CpuList, Environment, Snapshot, Throttling};
use crate::client::report::{Clock, Report, warnings};
use crate::client::stats::{Comparison, Statistic, compare_pairs, median};
use crate::diagnostics::error_chain;
use crate::protocol::Wait;
use crate::units::{latency, percent, signed, size};

/// The version of the JSON's layout, as [`crate::client::report::SCHEMA`].
const SCHEMA: u32 = 1;

/// What the checks examine.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Host<'a> {
    /// What stays the same.
    pub environment: &'a Environment,
    /// What changes, at two moments between which this program slept.
    pub earlier: &'a Snapshot,
    /// The second of them.
    pub now: &'a Snapshot,
    /// The calibrated clock.
    pub clock: &'a Clock,
}

/// One property of the host.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Check {
    name: &'static str,
    /// `ok`, `doubtful` or `unknown`.
    state: &'static str,
    finding: String,
    /// What it means and what to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<&'static str>,
}

/// Every check of the host, in the order in which they are shown.
pub(crate) fn checks(host: Host<'_>) -> Vec<Check> {
    let Host { environment, earlier, now, clock } = host;
    let Environment { cpu, power, kernel, machine, .. } = environment;
    let check = |name, found: Found, detail: &str| {
        let (state, finding, advice) = match found {
            None => ("unknown", "the host does not report it".to_owned(), None),
            Some(Ok(text)) => ("ok", text + detail, None),
            Some(Err(warning)) => ("doubtful", warning.finding() + detail, Some(warning.advice())),
        };
        Check { name, state, finding, advice }
    };
    let switch = |on: Option<bool>, warning| Some(if on? { Err(warning) } else { Ok("off".to_owned()) });
    let load_average =
        now.load_average.map_or(String::new(), |[minute, ..]| format!(", load average {minute:.1}"));
    let clock_detail = format!(
        " by {}, resolution {}: under 10 % of round trips longer than {}",
        clock.source,
        latency(clock.resolution_ns),
        latency(clock.cost_ns / CLOCK_COST)
    );
    vec![
        check("build", build(environment), ""),
        check("allowed CPUs", allowed_cpus(environment), ""),
        check("isolated CPUs", isolated_cpus(environment), ""),
        check("load", other_load(earlier, now, 0.0, environment), &load_average),
        check("CPU quota", cpu_quota(host), ""),
        // A container costs nothing in itself; its limits have their own checks.
        check("container", Some(Ok(machine.container.clone().unwrap_or("none detected".to_owned()))), ""),
        check(
            "virtualization",
            machine.virtualized.map(|guest| match guest {
                true => Err(Warning::Virtualized { hypervisor: machine.hypervisor.clone() }),
                false => Ok("none".to_owned()),
            }),
            "",
        ),
        match machine.virtualized {
            Some(false) => check("steal time", Some(Ok("none: no hypervisor".to_owned())), ""),
            _ => check("steal time", steal_time(earlier, now, environment), &stolen_since_boot(now)),
        },
        check(
            "governor",
            (!now.governors.is_empty()).then(|| frequency_scaling(now.governors.iter(), None)),
            "",
        ),
        check("turbo", switch(power.boost, Warning::Turbo), ""),
        check("idle states", idle_states(environment), ""),
        check("SMT", switch(cpu.smt_active, Warning::Smt), ""),
        check(
            "clock source",
            now.clock_source.clone().map(|name| match FAST_CLOCKS.contains(&name.as_str()) {
                true => Ok(name),
                false => Err(Warning::SlowClockSource { name }),
            }),
            "",
        ),
        check(
            "clock cost",
            Some(match clock.cost_ns > SLOW_CLOCK_NS {
                true => Err(Warning::SlowClock { cost_ns: clock.cost_ns }),
                false => Ok(format!("{} per reading", latency(clock.cost_ns))),
            }),
            &clock_detail,
        ),
        check(
            "huge pages",
            kernel.transparent_hugepage.clone().map(|choice| match choice.as_str() {
                "always" => Err(Warning::HugePages),
                _ => Ok(choice),
            }),
            "",
        ),
        // They are part of what this host costs, and not a problem.
        check("mitigations", mitigations(environment).map(Ok), ""),
    ]
}

fn allowed_cpus(environment: &Environment) -> Found {
    let online = environment.cpu.online.as_ref();
    let check = |allowed: &CpuList, responder| {
        let cpus = online.map_or(allowed.len(), CpuList::len);
        match allowed.len() {
            0 | 1 => Err(Warning::OneCpu { allowed: allowed.len(), cpus, responder }),
            count => Ok(format!("{allowed} ({count} of {cpus})")),
        }
    };
    let own = check(environment.cpu.allowed.as_ref()?, false);
    let responder = environment.responder.as_ref().and_then(|side| side.allowed.as_ref());
    Some(both(own, responder.map(|allowed| check(allowed, true))))
}

/// One finding about the client's side and the daemon's, if that is another: what is wrong with either.
fn both(own: Result<String, Warning>, responder: Option<Result<String, Warning>>) -> Result<String, Warning> {
    match (own, responder) {
        (Ok(own), Some(responder)) => Ok(format!("{own}; the daemon: {}", responder?)),
        (own, _) => own,
    }
}

fn isolated_cpus(environment: &Environment) -> Found {
    let isolated = environment.cpu.isolated.as_ref()?;
    if isolated.is_empty() {
        return Some(Err(Warning::NoIsolatedCpus));
    }
    Some(Ok(match environment.cpu.nohz_full.as_ref().filter(|tickless| !tickless.is_empty()) {
        Some(tickless) => format!("{isolated}, and {tickless} without a timer tick"),
        None => isolated.to_string(),
    }))
}

fn cpu_quota(host: Host<'_>) -> Found {
    let check = |quota, throttling: Option<Throttling>, responder| {
        let periods = throttling.map_or(0, |throttling| throttling.periods);
        match quota {
            None => Ok("none detected".to_owned()),
            Some(cpus) if periods > 0 || cpus < NEEDED_CPUS => {
                Err(Warning::CpuQuota { cpus, periods, responder })
            }
            Some(cpus) => Ok(format!("{cpus} CPUs")),
        }
    };
    let own = check(host.environment.cgroup_quota_cpus, host.now.throttling, false);
    let responder = host
        .environment
        .responder
        .as_ref()
        .map(|side| check(side.cgroup_quota_cpus, host.now.responder_throttling, true));
    Some(both(own, responder))
}

/// The share since boot, which covers many more of the kernel's ticks of 10 ms than half a second does.
fn stolen_since_boot(now: &Snapshot) -> String {
    match (now.cpu_total_ms.filter(|ms| *ms > 0), now.cpu_steal_ms) {
        (Some(total), Some(steal)) => {
            format!(", and {} of all CPU time since boot", percent(steal as f64 / total as f64))
        }
        _ => String::new(),
    }
}

/// Boot options and values that keep CPUs out of deep idle states.
const SHALLOW_IDLE: [(&str, &[&str]); 4] = [
    ("idle", &["poll"]),
    ("cpuidle.off", &["1"]),
    ("intel_idle.max_cstate", &["0", "1"]),
    ("processor.max_cstate", &["0", "1"]),
];

fn idle_states(environment: &Environment) -> Found {
    let Environment { power, kernel, machine, .. } = environment;
    let options = kernel.options.clone().unwrap_or_default();
    if options.get("idle").is_some_and(|value| value == "poll") {
        return Some(Ok("never entered (idle=poll)".to_owned()));
    }
    let mut driver = format!("driver {}", power.idle_driver.as_ref()?);
    if let Some(governor) = &power.idle_governor {
        driver.push_str(&format!(", governor {governor}"));
    }
    let limited = SHALLOW_IDLE
        .iter()
        .find(|(name, values)| options.get(*name).is_some_and(|value| values.contains(&value.as_str())));
    Some(match limited {
        // An idle CPU leaves the guest whatever the guest's own limits are.
        Some((name, _)) if machine.virtualized != Some(true) => Ok(format!("{driver}, limited by {name}")),
        _ => Err(Warning::IdleStates { driver }),
    })
}

/// Clock sources that are read without a system call. Source: the kernel's vDSO modes, `VDSO_CLOCKMODE_*`.
const FAST_CLOCKS: [&str; 6] =
    ["tsc", "kvm-clock", "hyperv_clocksource_tsc_page", "arch_sys_counter", "timebase", "riscv_clocksource"];

/// A reading with a system call takes longer, one without takes less.
const SLOW_CLOCK_NS: f64 = 60.0;

fn mitigations(environment: &Environment) -> Option<String> {
    let all = &environment.kernel.mitigations;
    let with = |prefix: &str| {
        let names = all.iter().filter(|(_, text)| text.starts_with(prefix)).map(|(name, _)| name.as_str());
        names.collect::<Vec<_>>().join(", ")
    };
    let parts = [("against", with("Mitigation")), ("vulnerable to", with("Vulnerable"))];
    let parts: Vec<String> = parts
        .into_iter()
        .filter(|(_, names)| !names.is_empty())
        .map(|(what, names)| format!("{what} {names}"))
        .collect();
    match parts.is_empty() {
        true => (!all.is_empty()).then(|| "none needed".to_owned()),
        false => Some(parts.join("; ")),
    }
}

/// The A/A test of a cell: measured against itself, it shows how small a difference this host can show.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct SelfTest {
    /// The mechanism.
    pub method: String,
    /// Bytes carried each way in a round.
    pub size_bytes: u32,
    /// How both sides waited.
    pub wait: Wait,
    /// Where the two sides ran.
    pub placement: Placement,
    /// The median round trip of each trial, in pairs.
    pub medians_ns: Vec<(f64, f64)>,
    /// The median of all of those.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub median_ns: Option<f64>,
    /// How much slower the second of a pair is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comparison: Option<Comparison>,
    /// Whether chance does not explain that, as it should.
    pub differs: bool,
    /// The smallest relative difference that is distinguishable from none within one session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub smallest_detectable: Option<f64>,
    /// The same for runs, which differ by more: what the history can show.
    pub between_runs: Resolution,
    /// Why it ended early.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// The plan of one cell's test: the cell twice, with interleaved trials, so that slow drift affects both alike.
pub(crate) fn twice(bench: &Bench, cell: usize) -> Bench {
    Bench { cells: vec![bench.cells[cell].clone(); 2], ..bench.clone() }
}

impl SelfTest {
    /// From the outcomes of the two cells of [`twice`].
    pub(crate) fn of(a: &Outcome, b: &Outcome, noise: &Noise) -> Self {
        let ns = Outcome::medians;
        let pairs: Vec<(f64, f64)> = ns(a).into_iter().zip(ns(b)).collect();
        let comparison = compare_pairs(&pairs);
        let all: Vec<f64> = pairs.iter().flat_map(|(a, b)| [*a, *b]).collect();
        Self {
            method: a.cell.spec.method.clone(),
            size_bytes: a.cell.spec.size_bytes,
            wait: a.cell.wait,
            placement: a.cell.placement,
            medians_ns: pairs,
            median_ns: median(&all),
            comparison,
            differs: comparison.is_some_and(|comparison| comparison.is_real()),
            smallest_detectable: comparison.map(|comparison| comparison.smallest_detectable()),
            between_runs: noise.resolution(Statistic::P50),
            error: a.error.as_ref().or(b.error.as_ref()).map(|error| error_chain(error)),
        }
    }
}

/// The doctor's document.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Diagnosis {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The host's settings.
    pub checks: Vec<Check>,
    /// Each cell against itself.
    pub self_tests: Vec<SelfTest>,
    /// The self-tests' measurements, each cell twice, with their warnings and their grade.
    pub report: Report,
}

impl Diagnosis {
    /// Judges the report, whose results are each cell twice, in the order of the tests. The checks do not affect the
    /// grade: what the host's settings do to figures shows in the figures.
    pub(crate) fn new(checks: Vec<Check>, self_tests: Vec<SelfTest>, mut report: Report) -> Self {
        judge(&mut report);
        for cell in &mut report.results {
            // The test is about medians.
            let no_tail = |warning: &Warning| matches!(warning, Warning::TooFewSamples { quantile, .. } if *quantile != Statistic::P50);
            cell.warnings.retain(|warning| !no_tail(warning));
        }
        for (test, cells) in self_tests.iter().zip(report.results.chunks_exact_mut(2)) {
            if let Some(comparison) = test.comparison.filter(|_| test.differs) {
                cells[1].warnings.push(Warning::SelfTestDiffers { change: comparison.change });
            }
        }
        grade(&mut report);
        Self { schema: SCHEMA, checks, self_tests, report }
    }
}

/// Writes a line for each check, with its advice below, in lines of at most `width` columns.
///
/// # Errors
/// The writer's.
pub(crate) fn write_checks(checks: &[Check], width: usize, out: &mut dyn Write) -> io::Result<()> {
    let names = checks.iter().map(|check| check.name.len()).max().unwrap_or(0);
    writeln!(out, "This host:")?;
    for Check { name, state, finding, advice } in checks {
        let first = format!("  {:<8}  {name:<names$}  ", state);
        let rest = " ".repeat(first.len());
        let lines = Options::new(width).subsequent_indent(&rest);
        writeln!(out, "{}", fill(finding, lines.clone().initial_indent(&first)))?;
        if let Some(advice) = advice {
            writeln!(out, "{}", fill(advice, lines.initial_indent(&rest)))?;
        }
    }
    Ok(())
}

/// Writes the self-tests' results, the warnings and the grade.
///
/// # Errors
/// The writer's.
pub(crate) fn write_self_tests(diagnosis: &Diagnosis, out: &mut dyn Write) -> io::Result<()> {
    writeln!(
        out,
        "Self-test: each cell measured against itself, {} pairs of trials:",
        diagnosis.report.settings.trials
    )?;
    for test in &diagnosis.self_tests {
        write_self_test(test, out)?;
    }
    warnings::lines(&diagnosis.report).iter().try_for_each(|line| writeln!(out, "{line}"))
}

fn write_self_test(test: &SelfTest, out: &mut dyn Write) -> io::Result<()> {
    let SelfTest { method, size_bytes, wait, placement, .. } = test;
    write!(out, "  {method}, {}, {placement}, {wait}: ", size(u64::from(*size_bytes)))?;
    if let (Some(median_ns), Some(comparison), Some(smallest)) =
        (test.median_ns, test.comparison, test.smallest_detectable)
    {
        let verdict = match test.differs {
            true => "a difference where there is none",
            false => "no difference, as it should be",
        };
        writeln!(
            out,
            "p50 {}; change {} [{}, {}]: {verdict}",
            latency(median_ns),
            signed(comparison.change),
            signed(comparison.interval.low),
            signed(comparison.interval.high)
        )?;
        writeln!(out, "    smallest detectable difference within one session: {}", percent(smallest))?;
        let Resolution { smallest_difference, source } = test.between_runs;
        writeln!(out, "    between runs: {} ({})", percent(smallest_difference), source.text())?;
    } else {
        writeln!(out, "too few trials completed")?;
    }
    match &test.error {
        Some(error) => writeln!(out, "    failed: {error}"),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use crate::protocol::Confinement;
    use std::time::Duration;

    use super::*;
    use crate::client::bench::Cell;
    use crate::client::host::fixture::Tree;
    use crate::client::measure::Trial;
    use crate::client::stats::Latency;
    use crate::protocol::Usage;

    const CPU: &str = "sys/devices/system/cpu";

    /// An idle bare host of 4 CPUs, set up for measuring.
    fn quiet() -> Tree {
        let tree = Tree::new()
            .online("0-3")
            .file("proc/self/status", "Cpus_allowed_list:\t0-3")
            .file("proc/cpuinfo", "flags\t\t: fpu tsc")
            .file("proc/cmdline", "isolcpus=2-3 nohz_full=2-3 intel_idle.max_cstate=1 processor.max_cstate=1")
            .file("proc/loadavg", "0.01 0.02 0.03 1/92 4798")
            .file("proc/stat", "cpu  1000 0 1000 78000 0 0 0 0 0 0\nprocs_running 1")
            .file("proc/uptime", "200.50 780.00")
            .file(&format!("{CPU}/isolated"), "2-3")
            .file(&format!("{CPU}/nohz_full"), "2-3")
            .file(&format!("{CPU}/smt/active"), "0")
            .file(&format!("{CPU}/intel_pstate/no_turbo"), "1")
            .file(&format!("{CPU}/cpuidle/current_driver"), "intel_idle")
            .file(&format!("{CPU}/cpuidle/current_governor"), "menu")
            .file(&format!("{CPU}/vulnerabilities/meltdown"), "Not affected")
            .file(&format!("{CPU}/vulnerabilities/spectre_v1"), "Mitigation: usercopy/swapgs barriers")
            .file("sys/devices/system/clocksource/clocksource0/current_clocksource", "tsc")
            .file("sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never");
        (0..4).fold(tree, |tree, cpu| {
            tree.file(&format!("{CPU}/cpu{cpu}/cpufreq/scaling_governor"), "performance")
        })
    }

    /// The checks of a host, half a second after it was as in [`quiet`], half a second of idling aside.
    fn look(tree: &Tree) -> Vec<Check> {
        let mut environment = Environment::capture_from(tree.path());
        environment.build.profile = "release".to_owned();
        let now = Snapshot::capture_from(tree.path());
        let earlier = Snapshot {
            uptime_ms: Some(200_000),
            cpu_total_ms: Some(798_000),
            cpu_idle_ms: Some(778_000),
            cpu_steal_ms: Some(0),
            ..now.clone()
        };
        checks(Host {
            environment: &environment,
            earlier: &earlier,
            now: &now,
            clock: &sample::report().clock,
        })
    }

    fn doubtful_ones(checks: &[Check]) -> Vec<(&'static str, &str)> {
        let doubtful = checks.iter().filter(|check| check.state == "doubtful");
        doubtful.map(|check| (check.name, check.finding.as_str())).collect()
    }

    #[test]
    fn a_prepared_host_passes_all_checks() {
        let checks = look(&quiet());
        for check in &checks {
            assert_eq!((check.state, check.advice), ("ok", None), "{check:?}");
        }
        let finding = |name| checks.iter().find(|check| check.name == name).unwrap().finding.as_str();
        assert_eq!(finding("isolated CPUs"), "2-3, and 2-3 without a timer tick");
        assert_eq!(finding("load"), "other processes kept 0.0 of 4 CPUs busy, load average 0.0");
        assert_eq!(finding("mitigations"), "against spectre_v1");
        assert_eq!(
            finding("clock cost"),
            "20.0 ns per reading by tsc, resolution 1.00 ns: under 10 % of round trips longer than 200 ns"
        );
    }

    #[test]
    fn each_setting_that_moves_latencies_is_doubtful_by_itself_and_has_advice() {
        for (name, finding, tree) in [
            ("allowed CPUs", "only 1 of 4 CPUs", quiet().file("proc/self/status", "Cpus_allowed_list:\t1")),
            ("isolated CPUs", "no CPU is isolated", quiet().file(&format!("{CPU}/isolated"), "")),
            (
                "load",
                "other processes kept 2.9 of 4 CPUs busy, leaving fewer than two for the two sides, load average 3.0",
                quiet()
                    .file("proc/loadavg", "3.00 0.02 0.03 4/92 4798")
                    .file("proc/stat", "cpu  1145 0 1000 77855 0 0 0 0 0 0"),
            ),
            (
                "governor",
                "the CPU frequency is not fixed (governor powersave)",
                quiet().file(&format!("{CPU}/cpu1/cpufreq/scaling_governor"), "powersave"),
            ),
            ("turbo", "turbo is on", quiet().file(&format!("{CPU}/intel_pstate/no_turbo"), "0")),
            (
                "idle states",
                "idle CPUs sleep (driver intel_idle, governor menu)",
                quiet().file("proc/cmdline", "quiet"),
            ),
            ("SMT", "SMT is on", quiet().file(&format!("{CPU}/smt/active"), "1")),
            (
                "clock source",
                "reading hpet takes a system call",
                quiet().file("sys/devices/system/clocksource/clocksource0/current_clocksource", "hpet"),
            ),
            (
                "huge pages",
                "always on",
                quiet().file("sys/kernel/mm/transparent_hugepage/enabled", "[always] madvise never"),
            ),
        ] {
            let checks = look(&tree);
            assert_eq!(doubtful_ones(&checks), [(name, finding)]);
            let check = checks.iter().find(|check| check.name == name).unwrap();
            assert!(check.advice.is_some_and(|advice| advice.ends_with('.')), "{check:?}");
        }
    }

    #[test]
    fn a_guest_is_doubtful_and_so_is_stolen_time() {
        let guest = || {
            quiet().file("proc/cpuinfo", "flags\t\t: fpu tsc hypervisor").file("sys/hypervisor/type", "xen")
        };
        let idle = ("idle states", "idle CPUs sleep (driver intel_idle, governor menu)");
        let virtualization = ("virtualization", "a guest of xen");
        assert_eq!(doubtful_ones(&look(&guest())), [virtualization, idle]);
        let stolen = guest().file("proc/stat", "cpu  1000 0 1000 77980 0 0 0 20 0 0");
        let steal = (
            "steal time",
            "the hypervisor took 40.0 % of a CPU's time, and 0.03 % of all CPU time since boot",
        );
        assert_eq!(doubtful_ones(&look(&stolen)), [virtualization, steal, idle]);
    }

    #[test]
    fn a_quota_is_doubtful_if_it_is_below_two_cpus_or_was_used_up() {
        let with = |limit: &str, throttled: u32| {
            quiet()
                .file("proc/self/cgroup", "0::/box")
                .file("proc/self/mountinfo", "30 20 0:26 / /sys/fs/cgroup rw shared:1 - cgroup2 cgroup2 rw")
                .file("sys/fs/cgroup/box/cpu.max", limit)
                .file("sys/fs/cgroup/box/cpu.stat", &format!("nr_throttled {throttled}\nthrottled_usec 5000"))
        };
        assert_eq!(doubtful_ones(&look(&with("300000 100000", 0))), []);
        assert_eq!(doubtful_ones(&look(&with("150000 100000", 0))), [("CPU quota", "1.5 CPUs")]);
        assert_eq!(
            doubtful_ones(&look(&with("300000 100000", 7))),
            [("CPU quota", "3 CPUs, used up in 7 periods so far")]
        );
    }

    #[test]
    fn the_daemons_side_is_judged_as_the_clients() {
        let tree = quiet();
        let checks_with = |cpus: &[u32], quota_millicpus, periods| {
            let throttling = Some(Throttling { periods, time_ns: 5_000_000 });
            let cgroup = Some("/system.slice/ipcd.service".to_owned());
            let confinement = Confinement { cpus: cpus.to_vec(), cgroup, quota_millicpus, throttling };
            let mut environment = Environment::capture_from(tree.path());
            environment.build.profile = "release".to_owned();
            environment.add_responder(&confinement);
            let now = Snapshot { responder_throttling: throttling, ..Snapshot::capture_from(tree.path()) };
            let clock = sample::report().clock;
            checks(Host { environment: &environment, earlier: &now, now: &now, clock: &clock })
        };
        let doubtful = |checks: &[Check]| -> Vec<_> {
            let ours = checks.iter().filter(|check| ["allowed CPUs", "CPU quota"].contains(&check.name));
            ours.map(|check| (check.state, check.finding.clone())).collect()
        };
        let found = |cpus: &str, quota: (&'static str, &str)| {
            [("ok", cpus.to_owned()), (quota.0, quota.1.to_owned())].to_vec()
        };
        assert_eq!(
            doubtful(&checks_with(&[0, 1, 2, 3], None, 0)),
            found("0-3 (4 of 4)", ("ok", "none detected; the daemon: none detected"))
        );
        assert_eq!(
            doubtful(&checks_with(&[1, 2], Some(200), 7)),
            found(
                "0-3 (4 of 4); the daemon: 1-2 (2 of 4)",
                ("doubtful", "the daemon: 0.2 CPUs, used up in 7 periods so far")
            )
        );
        let one = doubtful(&checks_with(&[2], Some(3000), 0));
        assert_eq!(one[0], ("doubtful", "the daemon: only 1 of 4 CPUs".to_owned()));
        assert_eq!(one[1], ("ok", "none detected; the daemon: 3 CPUs".to_owned()));
    }

    #[test]
    fn a_debug_build_and_a_slow_clock_are_doubtful() {
        let tree = quiet();
        let mut environment = Environment::capture_from(tree.path());
        environment.build.profile = "debug".to_owned();
        let now = Snapshot::capture_from(tree.path());
        let clock = Clock { source: "monotonic".to_owned(), cost_ns: 400.0, ..sample::report().clock };
        let checks = checks(Host { environment: &environment, earlier: &now, now: &now, clock: &clock });
        let names: Vec<_> = doubtful_ones(&checks).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["build", "clock cost"]);
    }

    #[test]
    fn a_host_that_reports_nothing_is_unknown_and_not_ok() {
        let checks = look(&Tree::new());
        let state = |name| checks.iter().find(|check| check.name == name).unwrap().state;
        for name in [
            "allowed CPUs",
            "isolated CPUs",
            "load",
            "virtualization",
            "steal time",
            "governor",
            "turbo",
            "idle states",
            "SMT",
            "clock source",
            "huge pages",
            "mitigations",
        ] {
            assert_eq!(state(name), "unknown", "{name}");
        }
        assert_eq!(doubtful_ones(&checks), []);
    }

    fn diagnosis(pairs: &[(f64, f64)]) -> Diagnosis {
        let comparison = compare_pairs(pairs);
        let test = SelfTest {
            method: "tcp".to_owned(),
            size_bytes: 8,
            wait: Wait::Block,
            placement: Placement::CrossCore,
            medians_ns: pairs.to_vec(),
            median_ns: Some(10_000.0),
            comparison,
            differs: comparison.is_some_and(|comparison| comparison.is_real()),
            smallest_detectable: comparison.map(|comparison| comparison.smallest_detectable()),
            between_runs: Noise::default().resolution(Statistic::P50),
            error: None,
        };
        let mut report = sample::report();
        report.results[0].headline_ns.p99 = None;
        report.results.push(sample::cell());
        Diagnosis::new(Vec::new(), vec![test], report)
    }

    #[test]
    fn a_self_test_that_differs_lowers_the_grade_and_one_that_does_not_leaves_it() {
        let same = diagnosis(&[(100.0, 101.0), (100.0, 99.0), (100.0, 100.0), (100.0, 102.0), (100.0, 98.0)]);
        assert_eq!(same.report.grade, Grade::A);
        let differs = diagnosis(&[(100.0, 120.0), (100.0, 121.0), (100.0, 119.0), (100.0, 122.0)]);
        assert_eq!(differs.report.grade, Grade::C);
        assert!(matches!(differs.report.results[1].warnings[..], [Warning::SelfTestDiffers { .. }]));
    }

    #[test]
    fn the_text_has_the_smallest_detectable_difference() {
        let text = |diagnosis: &Diagnosis| {
            let mut out = Vec::new();
            write_self_tests(diagnosis, &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        let same = text(&diagnosis(&[(100.0, 101.0), (100.0, 99.0), (100.0, 100.0)]));
        assert!(same.contains("tcp, 8 B, cross-core, block: p50 10.0 µs"), "{same}");
        assert!(
            same.contains("no difference, as it should be")
                && same.contains("detectable difference within one session: ")
                && same.contains("between runs: 4.82 % (fewer than six unchanged runs"),
            "{same}"
        );
        let differs = text(&diagnosis(&[(100.0, 120.0), (100.0, 121.0), (100.0, 119.0), (100.0, 122.0)]));
        assert!(
            differs.contains("a difference where there is none") && differs.contains("Grade: C"),
            "{differs}"
        );
    }

    /// An outcome whose trials have these medians, in nanoseconds.
    fn outcome(medians_ns: &[u64]) -> Outcome {
        let trial = |ns: &u64| Trial {
            latency: Latency { samples: 1, mean: Some(*ns as f64), ..Latency::default() },
            response: None,
            series: Vec::new(),
            rounds: 1,
            lost: 0,
            elapsed_ps: 1,
            probe: None,
            longest_gap: None,
            warmup_rounds: 0,
            warmup_time: Duration::ZERO,
            client_usage: Usage::default(),
            server_usage: Usage::default(),
            cpus: Default::default(),
            partial: false,
        };
        Outcome { trials: medians_ns.iter().map(trial).collect(), ..Outcome::of(Cell::sample("tcp")) }
    }

    #[test]
    fn equal_trials_do_not_differ_and_show_the_smallest_difference() {
        let a = outcome(&[10_000, 10_100, 9_900, 10_050, 9_950, 10_020, 9_980]);
        let b = outcome(&[10_050, 10_000, 9_950, 9_990, 10_010, 9_970, 10_060]);
        let test = SelfTest::of(&a, &b, &Noise::default());
        assert!(!test.differs && test.medians_ns.len() == 7);
        assert!(
            test.smallest_detectable.is_some_and(|smallest| (0.002..0.02).contains(&smallest)),
            "{test:?}"
        );
        assert!(test.median_ns.is_some_and(|median| (median - 10_000.0).abs() < 20.0));
    }

    #[test]
    fn a_host_that_favours_one_of_two_is_detected() {
        let a = outcome(&[10_000, 10_100, 9_900, 10_050, 9_950, 10_020, 9_980]);
        let b = outcome(&[11_000, 11_200, 10_900, 11_060, 10_950, 11_030, 10_990]);
        let test = SelfTest::of(&a, &b, &Noise::default());
        assert!(test.differs && test.smallest_detectable.is_some_and(|smallest| smallest > 0.1));
    }

    #[test]
    fn a_test_that_failed_says_so_and_claims_nothing() {
        let mut b = outcome(&[]);
        b.error = Some(crate::client::ClientError::Stopping);
        let test = SelfTest::of(&outcome(&[10_000]), &b, &Noise::default());
        assert_eq!((test.comparison, test.differs, test.smallest_detectable), (None, false, None));
        assert_eq!(test.error.as_deref(), Some("the daemon is stopping"));
    }
}
