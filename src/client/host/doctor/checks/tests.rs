//! The checks on hosts that are not this one, each a small tree of files.

use super::*;
use crate::client::host::fixture::Tree;
use crate::client::judge::warnings::sample;

const CPU: &str = "sys/devices/system/cpu";

/// A bare host of 4 CPUs that does nothing and is set up for measuring.
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
    (0..4)
        .fold(tree, |tree, cpu| tree.file(&format!("{CPU}/cpu{cpu}/cpufreq/scaling_governor"), "performance"))
}

/// The checks of a host, half a second after it was as [`quiet`] has it but for half a second of idling.
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
    checks(Host { environment: &environment, earlier: &earlier, now: &now, clock: &sample::report().clock })
}

fn doubtful_ones(checks: &[Check]) -> Vec<(&'static str, &str)> {
    let doubtful = checks.iter().filter(|check| check.state == State::Doubtful);
    doubtful.map(|check| (check.name, check.finding.as_str())).collect()
}

#[test]
fn a_host_that_was_prepared_is_ok_in_all() {
    let checks = look(&quiet());
    for check in &checks {
        assert_eq!((check.state, check.advice), (State::Ok, None), "{check:?}");
    }
    let finding = |name| checks.iter().find(|check| check.name == name).unwrap().finding.as_str();
    assert_eq!(finding("isolated CPUs"), "2-3, and 2-3 without a timer tick");
    assert_eq!(finding("load"), "other processes keep 0.0 of 4 CPUs busy, load average 0.0");
    assert_eq!(finding("mitigations"), "against spectre_v1");
    assert_eq!(
        finding("clock cost"),
        "20.0 ns a read by tsc, resolution 1.00 ns: under 10 % of rounds of 200 ns"
    );
}

#[test]
fn each_setting_that_moves_latencies_is_doubtful_by_itself_and_has_advice() {
    for (name, finding, tree) in [
        ("allowed CPUs", "1 (1 of 4)", quiet().file("proc/self/status", "Cpus_allowed_list:\t1")),
        ("isolated CPUs", "none", quiet().file(&format!("{CPU}/isolated"), "")),
        (
            "load",
            "other processes keep 2.9 of 4 CPUs busy, load average 3.0",
            quiet()
                .file("proc/loadavg", "3.00 0.02 0.03 4/92 4798")
                .file("proc/stat", "cpu  1145 0 1000 77855 0 0 0 0 0 0"),
        ),
        (
            "governor",
            "performance and powersave",
            quiet().file(&format!("{CPU}/cpu1/cpufreq/scaling_governor"), "powersave"),
        ),
        ("turbo", "on", quiet().file(&format!("{CPU}/intel_pstate/no_turbo"), "0")),
        ("idle states", "driver intel_idle, governor menu", quiet().file("proc/cmdline", "quiet")),
        ("SMT", "on", quiet().file(&format!("{CPU}/smt/active"), "1")),
        (
            "clock source",
            "hpet",
            quiet().file("sys/devices/system/clocksource/clocksource0/current_clocksource", "hpet"),
        ),
        (
            "huge pages",
            "always",
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
fn a_guest_is_doubtful_and_so_is_what_is_stolen_from_it() {
    let guest =
        || quiet().file("proc/cpuinfo", "flags\t\t: fpu tsc hypervisor").file("sys/hypervisor/type", "xen");
    // An idle guest CPU leaves the guest whatever the guest's own limits are.
    let idle = ("idle states", "driver intel_idle, governor menu");
    let virtualization = ("virtualization", "a guest of xen");
    assert_eq!(doubtful_ones(&look(&guest())), [virtualization, idle]);
    let stolen = guest().file("proc/stat", "cpu  1000 0 1000 77980 0 0 0 20 0 0");
    let steal = ("steal time", "40 % of a CPU now, 0.03 % of all CPU time since boot");
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
fn a_host_that_tells_nothing_is_unknown_and_not_ok() {
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
        assert_eq!(state(name), State::Unknown, "{name}");
    }
    assert_eq!(doubtful_ones(&checks), []);
}
