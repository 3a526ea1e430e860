//! The CPU quotas of this process's control groups, versions 1 and 2, and how often they throttled it.

use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::root::Root;

/// How often and for how long the CPU quota throttled this process's control groups, since their creation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Throttling {
    /// Periods in which a group had used up its quota.
    pub periods: u64,
    /// How long they were throttled, summed over CPUs and groups: it can exceed the wall-clock time.
    pub time_ns: u64,
}

/// The tightest CPU quota on this process, in CPUs: 1.5 is 150 ms of CPU time in each 100 ms.
pub(super) fn quota_cpus(root: Root<'_>) -> Option<f64> {
    let quotas = groups(root).into_iter().filter_map(|group| group.quota_cpus(root));
    quotas.min_by(f64::total_cmp)
}

/// The throttling of all groups above this process, summed: a quota anywhere up the tree throttles it.
pub(super) fn throttling(root: Root<'_>) -> Option<Throttling> {
    groups(root).into_iter().filter_map(|group| group.throttling(root)).reduce(|sum, one| Throttling {
        periods: sum.periods.saturating_add(one.periods),
        time_ns: sum.time_ns.saturating_add(one.time_ns),
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    V1,
    V2,
}

/// A control group: its folder below the root, and the version that decides which files are there.
struct Group {
    version: Version,
    folder: PathBuf,
}

impl Group {
    fn quota_cpus(&self, root: Root<'_>) -> Option<f64> {
        let file = |name: &str| root.text(self.folder.join(name));
        let (quota, period) = match self.version {
            Version::V1 => (file("cpu.cfs_quota_us")?, file("cpu.cfs_period_us")?),
            Version::V2 => {
                let limit = file("cpu.max")?;
                let (quota, period) = limit.split_once(' ')?;
                (quota.to_owned(), period.to_owned())
            }
        };
        let (quota_us, period_us): (f64, f64) = (quota.parse().ok()?, period.parse().ok()?);
        // `max` (version 2) and -1 (version 1) mean no limit.
        (quota_us > 0.0 && period_us > 0.0).then(|| quota_us / period_us)
    }

    fn throttling(&self, root: Root<'_>) -> Option<Throttling> {
        let stat = root.text(self.folder.join("cpu.stat"))?;
        let count = |key: &str| -> Option<u64> {
            stat.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
        };
        let time_ns = match self.version {
            Version::V1 => count("throttled_time")?,
            Version::V2 => count("throttled_usec")?.saturating_mul(1000),
        };
        Some(Throttling { periods: count("nr_throttled")?, time_ns })
    }
}

/// This process's groups that may limit CPU time, each followed by its ancestors up to the mount point.
fn groups(root: Root<'_>) -> Vec<Group> {
    let mounts = root.text("proc/self/mountinfo").unwrap_or_default();
    let memberships = root.text("proc/self/cgroup").unwrap_or_default();
    let mut groups = Vec::new();
    for membership in memberships.lines() {
        // `0::/path` in version 2, `4:cpu,cpuacct:/path` in version 1.
        let mut fields = membership.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let version = match controllers {
            "" => Version::V2,
            _ if has_cpu(controllers) => Version::V1,
            _ => continue,
        };
        if let Some(mount) = mounts.lines().find_map(|line| Mount::parse(line, version)) {
            groups.extend(mount.up_from(path).into_iter().map(|folder| Group { version, folder }));
        }
    }
    groups
}

fn has_cpu(controllers: &str) -> bool {
    controllers.split(',').any(|controller| controller == "cpu")
}

/// Where a control group hierarchy is mounted.
struct Mount {
    /// The group visible at the mount point: not `/` in a container that sees only its own groups.
    group: PathBuf,
    /// The mount point, relative to the root folder.
    point: PathBuf,
}

impl Mount {
    /// A line of mountinfo: `id parent device group point options … - type source super-options`.
    fn parse(line: &str, version: Version) -> Option<Self> {
        let (place, kind) = line.split_once(" - ")?;
        let mut kind = kind.split(' ');
        let (file_system, super_options) = (kind.next()?, kind.nth(1)?);
        let wanted = match version {
            Version::V1 => file_system == "cgroup" && has_cpu(super_options),
            Version::V2 => file_system == "cgroup2",
        };
        let mut place = place.split(' ').skip(3);
        let (group, point) = (place.next()?, place.next()?);
        wanted.then(|| Self { group: group.into(), point: point.trim_start_matches('/').into() })
    }

    /// The folders of the group at `path` and of all its visible ancestors, itself first.
    fn up_from(&self, path: &str) -> Vec<PathBuf> {
        // A group outside the mount is visible as the mount point, if at all.
        let below = Path::new(path).strip_prefix(&self.group).unwrap_or(Path::new(""));
        let inside = below.components().all(|part| matches!(part, Component::Normal(_)));
        let below = if inside { below } else { Path::new("") };
        below.ancestors().map(|group| self.point.join(group)).collect()
    }
}
