//! What confines the processes of this one's control groups: CPUs, and the quotas of version 1 and 2, and how often they throttled
//! it.

use std::path::{Component, Path, PathBuf};

use super::Affinity;
use super::root::Root;
use crate::protocol::{Confinement, Throttling};

/// What confines this process and those that it starts.
pub(crate) fn confinement() -> Confinement {
    confinement_from(Path::new("/"))
}

fn confinement_from(root: &Path) -> Confinement {
    let root = Root(root);
    let group = memberships(root).into_iter().next().map(|(_, path)| path);
    Confinement {
        cpus: Affinity::of_thread().map(|affinity| affinity.cpus().collect()).unwrap_or_default(),
        cgroup: group,
        quota_millicpus: quota_cpus(root).map(|cpus| (cpus * 1000.0).round() as u64),
        throttling: throttling(root),
    }
}

/// The tightest CPU quota on this process, in CPUs: 1.5 is 150 ms of CPU time in each 100 ms.
pub(crate) fn quota_cpus(root: Root<'_>) -> Option<f64> {
    let quotas = groups(root).into_iter().filter_map(|group| group.quota_cpus(root));
    quotas.min_by(f64::total_cmp)
}

/// The throttling of all groups above this process, summed: a quota anywhere up the tree throttles it.
pub(crate) fn throttling(root: Root<'_>) -> Option<Throttling> {
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
    let mut groups = Vec::new();
    for (version, path) in memberships(root) {
        if let Some(mount) = mounts.lines().find_map(|line| Mount::parse(line, version)) {
            groups.extend(mount.up_from(&path).into_iter().map(|folder| Group { version, folder }));
        }
    }
    groups
}

/// The paths of this process's groups that may limit CPU time.
fn memberships(root: Root<'_>) -> Vec<(Version, String)> {
    let lines = root.text("proc/self/cgroup").unwrap_or_default();
    let parse = |line: &str| {
        // `0::/path` in version 2, `4:cpu,cpuacct:/path` in version 1.
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?);
        let version = match controllers {
            "" => Version::V2,
            _ if has_cpu(controllers) => Version::V1,
            _ => return None,
        };
        Some((version, path.to_owned()))
    };
    lines.lines().filter_map(parse).collect()
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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_confines_a_service_is_found() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("proc/self/cgroup", "0::/system.slice/ipcd.service\n");
        write("proc/self/mountinfo", "30 20 0:26 / /sys/fs/cgroup rw shared:1 - cgroup2 cgroup2 rw\n");
        write("sys/fs/cgroup/system.slice/ipcd.service/cpu.max", "20000 100000\n");
        write("sys/fs/cgroup/system.slice/ipcd.service/cpu.stat", "nr_throttled 4\nthrottled_usec 70\n");
        let found = confinement_from(root.path());
        assert!(!found.cpus.is_empty());
        assert_eq!(found.cgroup.as_deref(), Some("/system.slice/ipcd.service"));
        assert_eq!(found.quota_millicpus, Some(200));
        assert_eq!(found.throttling, Some(Throttling { periods: 4, time_ns: 70_000 }));
        let nothing = tempfile::tempdir().unwrap();
        let found = Confinement { cpus: Vec::new(), ..confinement_from(nothing.path()) };
        assert_eq!(found, Confinement::default());
    }
}
