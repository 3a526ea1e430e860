//! What a host's settings promise before anything is measured: one check for each, with advice.

use serde::Serialize;

use crate::client::host::{CpuList, Environment, Snapshot};
use crate::client::judge::warnings::{Others, limits, percent, stolen_cpus};
use crate::client::report::Clock;
use crate::units::latency;

/// What the checks look at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Host<'a> {
    /// What stays.
    pub environment: &'a Environment,
    /// What moves, at two moments between which this program slept.
    pub earlier: &'a Snapshot,
    /// The second of them.
    pub now: &'a Snapshot,
    /// The calibrated clock.
    pub clock: &'a Clock,
}

/// What a check came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    /// As it should be for measuring.
    Ok,
    /// It moves latencies, or makes them vary.
    Doubtful,
    /// The host does not tell.
    Unknown,
}

impl State {
    /// Its name.
    #[must_use]
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Doubtful => "doubtful",
            Self::Unknown => "unknown",
        }
    }
}

/// One property of the host.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Check {
    /// Which.
    pub name: &'static str,
    /// What it came to.
    pub state: State,
    /// What was found.
    pub finding: String,
    /// What it means and what can be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<&'static str>,
}

/// A check's result before it has its name.
type Found = (State, String, Option<&'static str>);

fn ok(finding: impl Into<String>) -> Found {
    (State::Ok, finding.into(), None)
}

fn doubtful(finding: impl Into<String>, advice: &'static str) -> Found {
    (State::Doubtful, finding.into(), Some(advice))
}

fn unknown() -> Found {
    (State::Unknown, "the host does not tell".to_owned(), None)
}

/// A name, and the function that looks.
type Row = (&'static str, fn(Host<'_>) -> Found);

/// Every check, in the order in which they are shown.
const CHECKS: [Row; 16] = [
    ("build", build),
    ("allowed CPUs", allowed_cpus),
    ("isolated CPUs", isolated_cpus),
    ("load", load),
    ("CPU quota", cpu_quota),
    ("container", container),
    ("virtualization", virtualization),
    ("steal time", steal_time),
    ("governor", governor),
    ("turbo", turbo),
    ("idle states", idle_states),
    ("SMT", smt),
    ("clock source", clock_source),
    ("clock cost", clock_cost),
    ("huge pages", huge_pages),
    ("mitigations", mitigations),
];

/// Checks the host.
#[must_use]
pub(crate) fn checks(host: Host<'_>) -> Vec<Check> {
    let check = |(name, look): Row| {
        let (state, finding, advice) = look(host);
        Check { name, state, finding, advice }
    };
    CHECKS.into_iter().map(check).collect()
}

fn build(host: Host<'_>) -> Found {
    let build = &host.environment.build;
    let finding = format!("{} build of version {}", build.profile, build.version);
    match build.profile.as_str() {
        "debug" => doubtful(finding, "Its own cost is a large part of a round: build with --release."),
        _ => ok(finding),
    }
}

fn allowed_cpus(host: Host<'_>) -> Found {
    let Some(allowed) = &host.environment.cpu.allowed else { return unknown() };
    let online = host.environment.cpu.online.as_ref().map_or(allowed.len(), CpuList::len);
    let finding = format!("{allowed} ({} of {online})", allowed.len());
    match allowed.len() {
        0 | 1 => doubtful(finding, "Both sides share it: allow a second one (taskset, cpuset)."),
        _ => ok(finding),
    }
}

fn isolated_cpus(host: Host<'_>) -> Found {
    let cpu = &host.environment.cpu;
    match &cpu.isolated {
        Some(isolated) if !isolated.is_empty() => ok(match &cpu.nohz_full {
            Some(tickless) if !tickless.is_empty() => {
                format!("{isolated}, and {tickless} without a timer tick")
            }
            _ => isolated.to_string(),
        }),
        Some(_) => doubtful(
            "none",
            "Other tasks and the timer tick may interrupt rounds on every CPU: for the quietest tail, boot with \
             isolcpus= and nohz_full=, and name these CPUs with --client-cpu and --server-cpu.",
        ),
        None => unknown(),
    }
}

fn load(host: Host<'_>) -> Found {
    let Some(others) = Others::between(host.earlier, host.now, 0.0, host.environment) else {
        return unknown();
    };
    let mut finding = format!("other processes keep {:.1} of {} CPUs busy", others.busy_cpus, others.cpus);
    if let Some([average, ..]) = host.now.load_average {
        finding.push_str(&format!(", load average {average:.1}"));
    }
    match others.warning() {
        Some(_) => {
            doubtful(finding, "They take CPUs, caches and turbo from the two sides: end them, or wait.")
        }
        None => ok(finding),
    }
}

fn cpu_quota(host: Host<'_>) -> Found {
    let throttled = host.now.throttling.map_or(0, |throttling| throttling.periods);
    match host.environment.cgroup_quota_cpus {
        None => ok("none to see"),
        Some(quota) if throttled > 0 => doubtful(
            format!("{quota} CPUs, used up in {throttled} periods so far"),
            "Each time, everything stops for some 10 ms: raise it (cpu.max, docker --cpus, a pod's CPU limit).",
        ),
        Some(quota) if quota < limits::NEEDED_CPUS => doubtful(
            format!("{quota} CPUs"),
            "Two sides that spin need two: raise it (cpu.max, docker --cpus, a pod's CPU limit), or use --wait block.",
        ),
        Some(quota) => ok(format!("{quota} CPUs")),
    }
}

fn container(host: Host<'_>) -> Found {
    match &host.environment.machine.container {
        // It costs nothing in itself; what it limits has its own lines.
        Some(container) => ok(container.as_str()),
        None => ok("none to see"),
    }
}

fn virtualization(host: Host<'_>) -> Found {
    let machine = &host.environment.machine;
    match (machine.virtualized, &machine.hypervisor) {
        (Some(false), _) => ok("none"),
        (Some(true), hypervisor) => doubtful(
            format!("a guest of {}", hypervisor.as_deref().unwrap_or("a hypervisor without a name")),
            "An idle CPU leaves the guest, so that waking it up costs tens of microseconds, and neighbours cannot be \
             seen: compare with results of the same kind of guest only.",
        ),
        (None, _) => unknown(),
    }
}

fn steal_time(host: Host<'_>) -> Found {
    if host.environment.machine.virtualized == Some(false) {
        return ok("none: no hypervisor");
    }
    let Some(now) = stolen_cpus(host.earlier, host.now, host.environment) else { return unknown() };
    let mut finding = format!("{} of a CPU now", percent(now));
    // Half a second has few of the kernel's steps of 10 ms; since boot there were more.
    if let (Some(total), Some(steal)) = (host.now.cpu_total_ms.filter(|ms| *ms > 0), host.now.cpu_steal_ms) {
        finding.push_str(&format!(", {} of all CPU time since boot", percent(steal as f64 / total as f64)));
    }
    match limits::STEAL_CPUS.passed(now) {
        true => doubtful(
            finding,
            "The hypervisor runs others on these CPUs: use CPUs of your own, or a quieter hour.",
        ),
        false => ok(finding),
    }
}

fn governor(host: Host<'_>) -> Found {
    let governors: Vec<&str> = host.now.governors.iter().map(String::as_str).collect();
    match &governors[..] {
        [] => unknown(),
        ["performance"] => ok("performance"),
        names => doubtful(
            names.join(" and "),
            "The frequency follows the load, and waiting looks like idling: cpupower frequency-set -g performance.",
        ),
    }
}

fn turbo(host: Host<'_>) -> Found {
    match host.environment.power.boost {
        Some(false) => ok("off"),
        Some(true) => doubtful(
            "on",
            "The frequency depends on temperature and on what other cores do. To compare runs, switch it off: 1 into \
             /sys/devices/system/cpu/intel_pstate/no_turbo, or 0 into /sys/devices/system/cpu/cpufreq/boost.",
        ),
        None => unknown(),
    }
}

/// Boot options and values that keep CPUs out of deep idle states.
const SHALLOW_IDLE: [(&str, &[&str]); 4] = [
    ("idle", &["poll"]),
    ("cpuidle.off", &["1"]),
    ("intel_idle.max_cstate", &["0", "1"]),
    ("processor.max_cstate", &["0", "1"]),
];

fn idle_states(host: Host<'_>) -> Found {
    let Environment { power, kernel, machine, .. } = host.environment;
    let options = kernel.options.clone().unwrap_or_default();
    if options.get("idle").is_some_and(|value| value == "poll") {
        return ok("never entered (idle=poll)");
    }
    let Some(driver) = &power.idle_driver else { return unknown() };
    let governor =
        power.idle_governor.as_ref().map_or(String::new(), |governor| format!(", governor {governor}"));
    let finding = format!("driver {driver}{governor}");
    let limited = SHALLOW_IDLE
        .iter()
        .find(|(name, values)| options.get(*name).is_some_and(|value| values.contains(&value.as_str())));
    match limited {
        Some((name, _)) if machine.virtualized != Some(true) => ok(format!("{finding}, limited by {name}")),
        _ => doubtful(
            finding,
            "A CPU that waits goes to sleep, and waking it up can cost more than the mechanism. To see the mechanism \
             alone use --wait spin, --placement same-core, or boot with idle=poll.",
        ),
    }
}

fn smt(host: Host<'_>) -> Found {
    match host.environment.cpu.smt_active {
        Some(false) => ok("off"),
        Some(true) => doubtful(
            "on",
            "Work on a core's other thread slows a side down unseen: keep the siblings of the CPUs in use idle, or \
             switch it off (off into /sys/devices/system/cpu/smt/control).",
        ),
        None => unknown(),
    }
}

/// Clock sources that are read without a system call. Source: the kernel's vDSO modes, `VDSO_CLOCKMODE_*`.
const FAST_CLOCKS: [&str; 6] =
    ["tsc", "kvm-clock", "hyperv_clocksource_tsc_page", "arch_sys_counter", "timebase", "riscv_clocksource"];

fn clock_source(host: Host<'_>) -> Found {
    match &host.now.clock_source {
        None => unknown(),
        Some(source) if FAST_CLOCKS.contains(&source.as_str()) => ok(source.as_str()),
        Some(source) => doubtful(
            source.as_str(),
            "Reading it takes a system call, for every program on this host: find out why the kernel gave up the tsc \
             (dmesg | grep -i clocksource).",
        ),
    }
}

/// A read that takes a system call takes longer, and one without takes less.
const SLOW_CLOCK_NS: f64 = 60.0;

fn clock_cost(host: Host<'_>) -> Found {
    let Clock { source, cost_ns, resolution_ns, .. } = host.clock;
    let finding = format!(
        "{} a read by {source}, resolution {}: under 10 % of rounds of {}",
        latency(*cost_ns),
        latency(*resolution_ns),
        latency(cost_ns / limits::CLOCK_COST)
    );
    match *cost_ns > SLOW_CLOCK_NS {
        true => doubtful(finding, "Use --timing batch:1000 for fast mechanisms, and see the clock source."),
        false => ok(finding),
    }
}

fn huge_pages(host: Host<'_>) -> Found {
    match host.environment.kernel.transparent_hugepage.as_deref() {
        None => unknown(),
        Some("always") => doubtful(
            "always",
            "The kernel stops a process now and then to merge its pages: madvise into \
             /sys/kernel/mm/transparent_hugepage/enabled.",
        ),
        Some(choice) => ok(choice),
    }
}

fn mitigations(host: Host<'_>) -> Found {
    let all = &host.environment.kernel.mitigations;
    if all.is_empty() {
        return unknown();
    }
    let with = |prefix: &str| {
        let names = all.iter().filter(|(_, text)| text.starts_with(prefix)).map(|(name, _)| name.as_str());
        names.collect::<Vec<_>>()
    };
    // They are what this host costs, and so no doubt.
    ok(match (&with("Mitigation")[..], &with("Vulnerable")[..]) {
        ([], []) => "none needed".to_owned(),
        (active, []) => format!("against {}", active.join(", ")),
        ([], open) => format!("none in force; vulnerable to {}", open.join(", ")),
        (active, open) => format!("against {}; vulnerable to {}", active.join(", "), open.join(", ")),
    })
}

#[cfg(test)]
mod tests;
