//! Environments of other hosts, each a small tree of files.

use std::path::Path;

use super::fixture::Tree;
use super::*;
use crate::client::judge::differences::Conditions;
use crate::client::judge::warnings::sample;

fn capture(tree: &Tree) -> Environment {
    Environment::capture_from(tree.path())
}

fn list(text: &str) -> Option<CpuList> {
    Some(text.parse().unwrap())
}

/// Two sockets of two cores of two threads.
fn bare_metal() -> Tree {
    let cpu = "sys/devices/system/cpu";
    let mut tree = Tree::new()
        .online("0-7")
        .file("proc/sys/kernel/hostname", "box")
        .file("proc/sys/kernel/osrelease", "6.12.9-amd64")
        .file("proc/sys/kernel/version", "#1 SMP PREEMPT_DYNAMIC Debian")
        .file("proc/sys/kernel/arch", "x86_64")
        .file("proc/sys/kernel/random/boot_id", "aaaa-bbbb")
        .file("etc/os-release", "NAME=\"Debian\"\nPRETTY_NAME=\"Debian GNU/Linux 13 (trixie)\"")
        .file("proc/cpuinfo", "processor\t: 0\nmodel name\t: Intel(R) Xeon(R) Gold 6130\nflags\t\t: fpu tsc")
        .file("proc/self/status", "Name:\tipc\nCpus_allowed:\tff\nCpus_allowed_list:\t0-63")
        .file("proc/cmdline", "root=/dev/sda1 isolcpus=2-3 nohz_full=2-3 mitigations=off quiet")
        .file("proc/meminfo", "MemTotal:       65536 kB\nMemFree: 1 kB")
        .file(&format!("{cpu}/smt/active"), "1")
        .file(&format!("{cpu}/isolated"), "2-3")
        .file(&format!("{cpu}/nohz_full"), "2-3")
        .file(&format!("{cpu}/intel_pstate/no_turbo"), "1")
        .file(&format!("{cpu}/cpuidle/current_driver"), "intel_idle")
        .file(&format!("{cpu}/cpuidle/current_governor_ro"), "menu")
        .file(&format!("{cpu}/vulnerabilities/meltdown"), "Mitigation: PTI")
        .file("sys/devices/system/node/online", "0-1")
        .file("sys/devices/system/clocksource/clocksource0/current_clocksource", "tsc")
        .file("sys/devices/system/clocksource/clocksource0/available_clocksource", "tsc hpet acpi_pm ")
        .file("sys/kernel/mm/transparent_hugepage/enabled", "[always] madvise never")
        .file("proc/sys/net/ipv4/tcp_congestion_control", "bbr\n")
        .file("sys/class/dmi/id/sys_vendor", "Dell Inc.")
        .file("sys/class/dmi/id/product_name", "PowerEdge R640");
    for number in 0..8 {
        let (package, core) = (number / 4, number / 2 % 2);
        let first = number / 2 * 2;
        let cache = if package == 0 { "0-3" } else { "4-7" };
        tree = tree
            .cpu(number, core as i32, package as i32, package, &format!("{first}-{}", first + 1), cache)
            .file(&format!("{cpu}/cpu{number}/cpufreq/scaling_driver"), "intel_pstate")
            .file(&format!("{cpu}/cpu{number}/cpufreq/scaling_min_freq"), "1000000")
            .file(&format!("{cpu}/cpu{number}/cpufreq/scaling_max_freq"), &format!("{}", 3_700_000 - number))
            .file(&format!("{cpu}/cpu{number}/cpufreq/energy_performance_preference"), "performance")
            .file(
                &format!("{cpu}/cpu{number}/cpufreq/scaling_governor"),
                if number == 5 { "powersave" } else { "performance" },
            );
    }
    tree
}

#[test]
fn a_bare_metal_host_with_two_sockets_reports_everything() {
    let tree = bare_metal();
    let found = capture(&tree);
    assert_eq!(found.hostname.as_deref(), Some("box"));
    assert_eq!(found.boot_id.as_deref(), Some("aaaa-bbbb"));
    assert_eq!(found.os.as_deref(), Some("Debian GNU/Linux 13 (trixie)"));
    assert_eq!(found.architecture.as_deref(), Some("x86_64"));
    assert_eq!(found.memory_total_bytes, Some(65536 * 1024));
    assert_eq!(found.cgroup_quota_cpus, None);

    assert_eq!(found.cpu.model.as_deref(), Some("Intel(R) Xeon(R) Gold 6130"));
    assert_eq!(found.cpu.online, list("0-7"));
    assert_eq!(found.cpu.allowed, list("0-7"), "the mask includes absent CPUs");
    assert_eq!((found.cpu.cores, found.cpu.sockets), (Some(4), Some(2)));
    assert_eq!((found.cpu.threads_per_core, found.cpu.smt_active), (Some(2), Some(true)));
    assert_eq!((found.cpu.isolated, found.cpu.nohz_full), (list("2-3"), list("2-3")));
    assert_eq!(found.cpu.numa_nodes, Some(2));

    assert_eq!(found.power.governors, ["performance", "powersave"].map(str::to_owned).into());
    assert_eq!(found.power.energy_preferences, ["performance".to_owned()].into());
    assert_eq!(found.power.scaling_driver.as_deref(), Some("intel_pstate"));
    assert_eq!(
        (found.power.min_frequency_khz, found.power.max_frequency_khz),
        (Some(1_000_000), Some(3_700_000))
    );
    assert_eq!(found.power.boost, Some(false));
    assert_eq!(found.power.idle_driver.as_deref(), Some("intel_idle"));
    assert_eq!(found.power.idle_governor.as_deref(), Some("menu"));

    assert_eq!(found.kernel.release.as_deref(), Some("6.12.9-amd64"));
    let options = found.kernel.options.unwrap();
    assert_eq!(options.keys().collect::<Vec<_>>(), ["isolcpus", "mitigations", "nohz_full"]);
    assert_eq!(found.kernel.clock_source.as_deref(), Some("tsc"));
    assert_eq!(found.kernel.clock_sources_available.len(), 3);
    assert_eq!(found.kernel.transparent_hugepage.as_deref(), Some("always"));
    assert_eq!(found.kernel.tcp_congestion_control.as_deref(), Some("bbr"));
    assert_eq!(found.kernel.mitigations["meltdown"], "Mitigation: PTI");

    assert_eq!(found.machine.vendor.as_deref(), Some("Dell Inc."));
    assert_eq!(found.machine.product.as_deref(), Some("PowerEdge R640"));
    assert_eq!(found.machine.virtualized, Some(false));
    assert_eq!((found.machine.hypervisor, found.machine.container), (None, None));
}

#[test]
fn a_virtual_machine_is_detected_by_its_flag_and_named_by_its_firmware_or_clock() {
    let guest = || Tree::new().file("proc/cpuinfo", "flags : fpu hypervisor");
    let machine = |tree: &Tree| {
        let machine = capture(tree).machine;
        (machine.virtualized, machine.hypervisor)
    };
    assert_eq!(machine(&guest()), (Some(true), None));
    let clocks = "sys/devices/system/clocksource/clocksource0/available_clocksource";
    assert_eq!(machine(&guest().file(clocks, "tsc kvm-clock")), (Some(true), Some("kvm".to_owned())));
    let vmware = guest().file("sys/class/dmi/id/sys_vendor", "VMware, Inc.");
    assert_eq!(machine(&vmware), (Some(true), Some("vmware".to_owned())));
    let xen = Tree::new().file("sys/hypervisor/type", "xen");
    assert_eq!(machine(&xen), (Some(true), Some("xen".to_owned())));
    let bare_cloud = Tree::new().file("sys/class/dmi/id/sys_vendor", "Amazon EC2");
    assert_eq!(machine(&bare_cloud), (None, None));
    let no_flag = Tree::new().file("proc/cpuinfo", "flags : fpu").file("sys/class/dmi/id/sys_vendor", "QEMU");
    assert_eq!(machine(&no_flag), (Some(false), None));
}

#[test]
fn a_container_is_named_by_its_own_statement_before_its_traces() {
    let container = |tree: Tree| capture(&tree).machine.container;
    let docker = || Tree::new().file(".dockerenv", "");
    assert_eq!(container(docker()).as_deref(), Some("docker"));
    assert_eq!(
        container(docker().file("run/systemd/container", "systemd-nspawn")).as_deref(),
        Some("systemd-nspawn")
    );
    assert_eq!(
        container(docker().file("proc/self/environ", "A=1\0container=lxc\0B=2")).as_deref(),
        Some("lxc")
    );
    assert_eq!(container(Tree::new().file("run/.containerenv", "")).as_deref(), Some("podman"));
    let pod = Tree::new().file("proc/self/environ", "KUBERNETES_SERVICE_HOST=10.0.0.1\0");
    assert_eq!(container(pod).as_deref(), Some("kubernetes"));
    let grouped = Tree::new().file("proc/1/cgroup", "12:cpu,cpuacct:/docker/0123abcd");
    assert_eq!(container(grouped).as_deref(), Some("docker"));
    assert_eq!(container(Tree::new().file("proc/1/cgroup", "0::/init.scope")), None);
}

#[test]
fn the_tightest_quota_up_the_tree_of_version_2_applies() {
    let mounts = "31 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate";
    let tree = Tree::new()
        .file("proc/self/mountinfo", mounts)
        .file("proc/self/cgroup", "0::/app.slice/app.service")
        .file("sys/fs/cgroup/cpu.stat", "usage_usec 5")
        .file("sys/fs/cgroup/app.slice/cpu.max", "150000 100000")
        .file(
            "sys/fs/cgroup/app.slice/cpu.stat",
            "usage_usec 5\nnr_periods 9\nnr_throttled 3\nthrottled_usec 70",
        )
        .file("sys/fs/cgroup/app.slice/app.service/cpu.max", "max 100000")
        .file(
            "sys/fs/cgroup/app.slice/app.service/cpu.stat",
            "nr_periods 0\nnr_throttled 0\nthrottled_usec 0",
        );
    assert_eq!(capture(&tree).cgroup_quota_cpus, Some(1.5));
    let throttling = Snapshot::capture_from(tree.path()).throttling;
    assert_eq!(throttling, Some(Throttling { periods: 3, time_ns: 70_000 }));
    let tighter = tree.file("sys/fs/cgroup/app.slice/app.service/cpu.max", "20000 100000");
    assert_eq!(capture(&tighter).cgroup_quota_cpus, Some(0.2));
}

#[test]
fn a_container_that_sees_only_its_own_group_has_its_quota() {
    let quota = |mounts: &str, membership: &str, file: &str, text: &str| {
        let tree = Tree::new().file("proc/self/mountinfo", mounts).file("proc/self/cgroup", membership);
        capture(&tree.file(file, text)).cgroup_quota_cpus
    };
    // A control group name space: the own group is `/`.
    let own = "31 23 0:26 / /sys/fs/cgroup ro - cgroup2 cgroup rw";
    assert_eq!(quota(own, "0::/", "sys/fs/cgroup/cpu.max", "50000 100000"), Some(0.5));
    // None, but the mount starts at the own group; another group of a similar name is not above it.
    let host = "31 23 0:26 /docker/12 /sys/fs/cgroup ro - cgroup2 cgroup rw";
    assert_eq!(quota(host, "0::/docker/12", "sys/fs/cgroup/cpu.max", "50000 100000"), Some(0.5));
    assert_eq!(quota(host, "0::/docker/123", "sys/fs/cgroup/3/cpu.max", "50000 100000"), None);
    // The process is outside of its name space.
    assert_eq!(quota(own, "0::/../other", "sys/fs/cgroup/cpu.max", "50000 100000"), Some(0.5));
}

#[test]
fn a_quota_of_version_1_is_found_beside_version_2() {
    let mounts = "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
                  33 31 0:30 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n\
                  41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw";
    let tree = Tree::new()
        .file("proc/self/mountinfo", mounts)
        .file("proc/self/cgroup", "5:cpuset:/x\n4:cpu,cpuacct:/job\n0::/")
        .file("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1")
        .file("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000")
        .file("sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_quota_us", "25000")
        .file("sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_period_us", "50000")
        .file("sys/fs/cgroup/cpu,cpuacct/job/cpu.stat", "nr_periods 8\nnr_throttled 2\nthrottled_time 900");
    assert_eq!(capture(&tree).cgroup_quota_cpus, Some(0.5));
    let throttling = Snapshot::capture_from(tree.path()).throttling;
    assert_eq!(throttling, Some(Throttling { periods: 2, time_ns: 900 }));
}

#[test]
fn a_64_bit_arm_host_names_its_cores_and_claims_no_unknown_sockets() {
    let cpuinfo = "processor\t: 0\nFeatures\t: fp asimd\nCPU implementer\t: 0x41\nCPU part\t: 0xd0c\n";
    let tree = Tree::new()
        .online("0-1")
        .file("proc/sys/kernel/arch", "aarch64")
        .file("proc/cpuinfo", cpuinfo)
        .file("sys/devices/system/clocksource/clocksource0/current_clocksource", "arch_sys_counter")
        .file("sys/devices/system/cpu/nohz_full", "(null)")
        .file("sys/devices/system/cpu/cpufreq/boost", "1")
        .cpu(0, 0, -1, 0, "0", "0-1")
        .cpu(1, 1, -1, 0, "1", "0-1");
    let found = capture(&tree);
    assert_eq!(found.architecture.as_deref(), Some("aarch64"));
    assert_eq!(found.cpu.model.as_deref(), Some("ARM Neoverse-N1"));
    assert_eq!((found.cpu.cores, found.cpu.sockets), (Some(2), None));
    assert_eq!((found.cpu.threads_per_core, found.cpu.smt_active), (Some(1), Some(false)));
    assert_eq!(found.cpu.nohz_full, None);
    assert_eq!(found.power.boost, Some(true));
    assert_eq!(found.machine.virtualized, None);
}

#[test]
fn a_host_that_reports_nothing_has_an_environment_that_claims_nothing() {
    let empty = Tree::new();
    for root in [empty.path(), Path::new("/nonexistent")] {
        let found = Environment::capture_from(root);
        let json = serde_json::to_value(&found).unwrap();
        let claimed = json.as_object().unwrap().iter().filter(|(_, value)| **value != serde_json::json!({}));
        assert_eq!(claimed.map(|(key, _)| key.as_str()).collect::<Vec<_>>(), ["build"]);
    }
}

#[test]
fn an_environment_survives_json() {
    for tree in [bare_metal(), Tree::new()] {
        let found = capture(&tree);
        let json = serde_json::to_string(&found).unwrap();
        assert!(!json.contains("null"), "{json}");
        assert_eq!(serde_json::from_str::<Environment>(&json).unwrap(), found);
    }
}

#[test]
fn differences_name_the_place_and_both_values() {
    let settings = sample::report().settings;
    let conditions = |tree: Tree| Conditions::new(&capture(&tree), &settings, "tsc");
    let before = conditions(bare_metal());
    assert!(before.differences(&before).is_empty());
    let changed = bare_metal()
        .file("proc/sys/kernel/random/boot_id", "cccc")
        .file("sys/devices/system/cpu/cpu5/cpufreq/scaling_governor", "performance")
        .file("sys/devices/system/cpu/vulnerabilities/retbleed", "Not affected")
        .file("sys/kernel/mm/transparent_hugepage/enabled", "");
    let found = before.differences(&conditions(changed));
    let found: Vec<_> = found
        .iter()
        .map(|difference| (&difference.key[..], difference.from.as_deref(), difference.to.as_deref()))
        .collect();
    assert_eq!(
        found,
        [
            ("boot_id", Some("aaaa-bbbb"), Some("cccc")),
            ("kernel.mitigations.retbleed", None, Some("Not affected")),
            ("kernel.transparent_hugepage", Some("always"), None),
            ("power.governors", Some("performance, powersave"), Some("performance")),
        ]
    );
}

#[test]
fn this_host_reports_what_every_linux_reports() {
    let found = Environment::capture();
    assert!(found.hostname.is_some() && found.architecture.is_some() && found.kernel.release.is_some());
    assert!(found.page_size_bytes.is_some_and(|bytes| bytes >= 4096));
}
