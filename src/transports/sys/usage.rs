//! What a process or a thread has used so far, as the kernel accounts for it.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::protocol::Usage;

/// The usage of process `pid`, which like a responder has one thread, from `/proc`; of the calling thread if `None`.
///
/// # Errors
/// The process is gone.
pub fn usage(pid: Option<u32>) -> std::io::Result<Usage> {
    let process = pid.map_or("thread-self".into(), |pid| pid.to_string());
    read(&Path::new("/proc").join(process))
}

/// The CPU time of a process so far, all its threads together; `None` if it is gone. Any user's process can be asked for, also
/// where `/proc` does not show it.
#[must_use]
pub(crate) fn process_cpu(pid: u32) -> Option<Duration> {
    let pid = libc::pid_t::try_from(pid).ok().filter(|pid| *pid > 0)?;
    let mut clock = 0;
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: both calls write to a live local.
    let read = unsafe {
        libc::clock_getcpuclockid(pid, &raw mut clock) == 0 && libc::clock_gettime(clock, &raw mut time) == 0
    };
    let [seconds, nanos] = [u64::try_from(time.tv_sec).ok()?, u64::try_from(time.tv_nsec).ok()?];
    read.then(|| Duration::from_secs(seconds) + Duration::from_nanos(nanos))
}

/// The calling thread's CPU time so far. The figure in `/proc` is updated at ticks and switches only, which are milliseconds
/// apart in a thread that never sleeps.
#[must_use]
pub(crate) fn thread_cpu_ns() -> u64 {
    let time = Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default();
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn read(folder: &Path) -> std::io::Result<Usage> {
    let stat = fs::read_to_string(folder.join("stat"))?;
    // The second field, the command, may hold anything; numbers follow its last parenthesis.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    // Numbered as in proc(5); `fields` begins with the third.
    let field = |number: usize| fields.get(number - 3).and_then(|text| text.parse::<u64>().ok());

    let status = fs::read_to_string(folder.join("status"))?;
    let switches = |key| value(&status, key).unwrap_or(0);

    // Kernels without schedstat still count clock ticks in stat.
    let ran_ns = fs::read_to_string(folder.join("schedstat"))
        .ok()
        .and_then(|text| text.split_whitespace().next()?.parse().ok());
    let tick_ns = 1_000_000_000 / rustix::param::clock_ticks_per_second().max(1);
    let ticks = field(14).unwrap_or(0) + field(15).unwrap_or(0);

    let sched = fs::read_to_string(folder.join("sched")).unwrap_or_default();
    Ok(Usage {
        cpu_ns: ran_ns.unwrap_or(ticks * tick_ns),
        voluntary_switches: switches("voluntary_ctxt_switches"),
        involuntary_switches: switches("nonvoluntary_ctxt_switches"),
        minor_faults: field(10).unwrap_or(0),
        major_faults: field(12).unwrap_or(0),
        migrations: value(&sched, "se.nr_migrations"),
        cpu: field(39).and_then(|cpu| u32::try_from(cpu).ok()),
    })
}

/// The number in a line `key : number`.
fn value(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name.trim() == key).then(|| value.trim().parse().ok()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_grows_with_work() {
        let before = usage(None).unwrap();
        let mut sum = 0_u64;
        while usage(None).unwrap().cpu_ns < before.cpu_ns + 2_000_000 {
            sum = sum.wrapping_add(std::hint::black_box(1));
        }
        let after = usage(None).unwrap();
        assert!(after.cpu_ns > before.cpu_ns && sum > 0);
        assert!(after.minor_faults >= before.minor_faults);
        assert!(after.cpu.is_some());
    }

    #[test]
    fn a_process_is_asked_for_its_cpu_time() {
        let own = process_cpu(std::process::id()).unwrap();
        while process_cpu(std::process::id()).unwrap() < own + Duration::from_millis(1) {}
        assert_eq!(process_cpu(0), None, "a process of another namespace");
        assert_eq!(process_cpu(u32::MAX), None);
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        assert_eq!(process_cpu(child.id()), None);
    }

    #[test]
    fn a_command_with_parentheses_and_spaces_is_skipped() {
        let temp = tempfile::tempdir().unwrap();
        let mut fields = vec!["0"; 49];
        fields[7] = "11"; // minor faults
        fields[9] = "12"; // major faults
        fields[36] = "3"; // processor
        fs::write(temp.path().join("stat"), format!("7 (a ) b) {}", fields.join(" "))).unwrap();
        fs::write(
            temp.path().join("status"),
            "voluntary_ctxt_switches:\t5\nnonvoluntary_ctxt_switches:\t6\n",
        )
        .unwrap();
        fs::write(temp.path().join("schedstat"), "123 4 5\n").unwrap();
        fs::write(temp.path().join("sched"), "a b (7, #threads: 1)\nse.nr_migrations      :      9\n")
            .unwrap();
        let usage = read(temp.path()).unwrap();
        assert_eq!(
            usage,
            Usage {
                cpu_ns: 123,
                voluntary_switches: 5,
                involuntary_switches: 6,
                minor_faults: 11,
                major_faults: 12,
                migrations: Some(9),
                cpu: Some(3),
            }
        );
    }
}
