//! Which CPUs the two sides of a measurement run on.
//!
//! [`Placement`] names how far apart they are; [`Topology`] knows this host's CPUs and finds a [`CpuPair`] for a
//! placement, or says why there is none.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{CpuList, cpu};
use crate::transports::sys::Affinity;
use crate::transports::sys::root::Root;

/// How far apart the two sides run. It moves a result more than the mechanism does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Placement {
    /// Wherever the scheduler puts them.
    Unpinned,
    /// Both on the same logical CPU, taking turns.
    SameCore,
    /// On two hardware threads of one core.
    Smt,
    /// On two cores of one socket.
    CrossCore,
    /// On two sockets.
    CrossSocket,
}

impl Placement {
    /// All placements, from no choice to the farthest.
    pub(crate) const ALL: [Self; 5] =
        [Self::Unpinned, Self::SameCore, Self::Smt, Self::CrossCore, Self::CrossSocket];

    /// The name on the command line and in JSON.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Unpinned => "unpinned",
            Self::SameCore => "same-core",
            Self::Smt => "smt",
            Self::CrossCore => "cross-core",
            Self::CrossSocket => "cross-socket",
        }
    }
}

impl fmt::Display for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // `pad` keeps to the width that a table asks for.
        f.pad(self.name())
    }
}

impl FromStr for Placement {
    type Err = UnknownPlacement;

    fn from_str(text: &str) -> Result<Self, UnknownPlacement> {
        let named = Self::ALL.into_iter().find(|placement| placement.name() == text);
        named.ok_or_else(|| UnknownPlacement { name: text.to_owned() })
    }
}

/// The name of an unknown placement.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown placement `{name}`; placements are {}", Placement::ALL.map(Placement::name).join(", "))]
pub struct UnknownPlacement {
    name: String,
}

/// The logical CPUs that the two sides are pinned to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CpuPair {
    /// The client's CPU.
    pub client: u32,
    /// The server's (responder's) CPU.
    pub server: u32,
}

/// Why the two sides cannot be placed as requested.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlacementError {
    /// The kernel did not return this process's affinity mask.
    #[error("cannot read which CPUs this process may use")]
    Affinity(#[from] rustix::io::Errno),
    /// The CPU is not online; the list has those that are.
    #[error("CPU {0} is not online; online are {1}")]
    Offline(u32, CpuList),
    /// The CPU is not isolated, and not among those that this side may use.
    #[error("CPU {0} is not among {1}")]
    NotAllowed(u32, Allowed),
    /// No CPU is both online and allowed to both sides.
    #[error("no online CPU is allowed to both sides: {0}")]
    NoCpu(Allowed),
    /// The host does not report how CPUs share cores.
    #[error("this host does not report which CPUs share a core")]
    Unknown,
    /// No two of the allowed CPUs are threads of one core.
    #[error("no SMT siblings among {0}")]
    NoSiblings(Allowed),
    /// No two of the allowed CPUs are on two cores of one socket.
    #[error("no two cores of one socket among {0}")]
    NoCores(Allowed),
    /// The host reports at most one socket.
    #[error("this host has one socket only")]
    OneSocket,
    /// The host has several sockets, and all allowed CPUs are on one.
    #[error("{0} are on one socket")]
    NoSockets(Allowed),
}

/// The CPUs that the two sides may use, by affinity and cpuset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowed {
    client: CpuList,
    /// The responder's, which differ if a cpuset confines the daemon.
    server: CpuList,
}

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |cpus: &CpuList| if cpus.is_empty() { "none".to_owned() } else { cpus.to_string() };
        let [client, server] = [&self.client, &self.server].map(shown);
        match client == server {
            true => write!(f, "the allowed CPUs {client}"),
            false => write!(f, "the allowed CPUs, {client} for the client and {server} for the responder"),
        }
    }
}

/// Where a logical CPU is. What the host does not report is `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct CpuPosition {
    cpu: u32,
    package: Option<u32>,
    node: Option<u32>,
    /// The logical CPUs on its core, itself included.
    siblings: Option<CpuList>,
    /// The logical CPUs that share its last level cache, itself included.
    last_level_cache: Option<CpuList>,
}

/// The CPUs of this host that are online, and which of them the two sides may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    /// Every online CPU, in ascending order.
    cpus: Vec<CpuPosition>,
    /// The online CPUs in the affinity mask of each side.
    allowed: Allowed,
    /// The CPUs excluded from the default mask, which can be used by naming them.
    isolated: CpuList,
}

impl Topology {
    /// The topology of this host for the calling thread's affinity mask, which pinning changes.
    ///
    /// # Errors
    /// The kernel does not return the mask.
    pub fn read() -> Result<Self, PlacementError> {
        let allowed = Affinity::of_thread()?.cpus().collect();
        Ok(Self::read_from(Path::new("/"), allowed))
    }

    /// The same, for a responder that may use these CPUs.
    pub(crate) fn with_responder(mut self, allowed: &CpuList) -> Self {
        let online = self.cpus.iter().map(|position| position.cpu).collect();
        self.allowed.server = allowed.intersection(&online);
        self
    }

    /// The topology in the `/sys` below `root`, for an affinity mask.
    pub(crate) fn read_from(root: &Path, allowed: CpuList) -> Self {
        let root = Root(root);
        // A CPU that the scheduler may use is online, even where /sys is hidden.
        let online = cpu::online(root).unwrap_or_else(|| allowed.clone());
        let position = |cpu| CpuPosition {
            cpu,
            package: cpu::package_id(root, cpu),
            node: cpu::numa_node(root, cpu),
            siblings: cpu::thread_siblings(root, cpu),
            last_level_cache: cpu::last_level_cache(root, cpu),
        };
        let allowed = allowed.intersection(&online);
        Self {
            cpus: online.iter().map(position).collect(),
            allowed: Allowed { client: allowed.clone(), server: allowed },
            isolated: cpu::isolated(root).unwrap_or_default(),
        }
    }

    /// The online CPUs that both sides may use.
    pub(crate) fn common(&self) -> CpuList {
        self.allowed.client.intersection(&self.allowed.server)
    }

    /// Checks that CPUs that the user named can be used. Isolated CPUs can: `isolcpus=` removes them from the mask
    /// that processes start with, so that nothing runs there unless it asks to.
    pub(crate) fn check(&self, client: Option<u32>, server: Option<u32>) -> Result<(), PlacementError> {
        client.map(|cpu| self.position(cpu, &self.allowed.client)).transpose()?;
        server.map(|cpu| self.position(cpu, &self.allowed.server)).transpose()?;
        Ok(())
    }

    /// The placement of a pair of CPUs; never [`Placement::Unpinned`].
    pub(crate) fn classify(&self, pair: CpuPair) -> Result<Placement, PlacementError> {
        let client = self.position(pair.client, &self.allowed.client)?;
        let server = self.position(pair.server, &self.allowed.server)?;
        relation(client, server).ok_or(PlacementError::Unknown)
    }

    /// The best pair of allowed CPUs for a placement; `None` for [`Placement::Unpinned`].
    ///
    /// A pair within one NUMA node and one last level cache is preferred, so that "cross-core" means the same on most
    /// hosts; then one away from CPU 0 and its core, where most interrupts and housekeeping run.
    ///
    /// # Errors
    /// No pair of allowed CPUs has this placement.
    pub fn resolve(&self, placement: Placement) -> Result<Option<CpuPair>, PlacementError> {
        if placement == Placement::Unpinned {
            return Ok(None);
        }
        let usable = |allowed: &'_ CpuList| -> Vec<&CpuPosition> {
            self.cpus.iter().filter(|cpu| allowed.contains(cpu.cpu)).collect()
        };
        let (clients, servers) = (usable(&self.allowed.client), usable(&self.allowed.server));
        let pairs = clients.iter().flat_map(|&client| servers.iter().map(move |&server| (client, server)));
        let fitting = pairs.filter(|(client, server)| relation(client, server) == Some(placement));
        let best = fitting.min_by_key(|(client, server)| drawbacks(client, server));
        let pair = best.map(|(client, server)| CpuPair { client: client.cpu, server: server.cpu });
        pair.map(Some).ok_or_else(|| self.refusal(placement))
    }

    /// The placements that this host offers this process, each with its best pair; without [`Placement::Unpinned`],
    /// which needs no pair.
    #[cfg(test)]
    fn available(&self) -> Vec<(Placement, CpuPair)> {
        let resolved = |placement| Some((placement, self.resolve(placement).ok()??));
        Placement::ALL.into_iter().filter_map(resolved).collect()
    }

    /// Where a CPU is that a side may use, to which these are allowed.
    fn position(&self, cpu: u32, allowed: &CpuList) -> Result<&CpuPosition, PlacementError> {
        let online = || self.cpus.iter().map(|position| position.cpu).collect();
        let position = self.cpus.iter().find(|position| position.cpu == cpu);
        let position = position.ok_or_else(|| PlacementError::Offline(cpu, online()))?;
        if allowed.contains(cpu) || self.isolated.contains(cpu) {
            Ok(position)
        } else {
            Err(PlacementError::NotAllowed(cpu, self.allowed.clone()))
        }
    }

    /// Why no pair of allowed CPUs fits.
    fn refusal(&self, placement: Placement) -> PlacementError {
        let allowed = self.allowed.clone();
        if allowed.client.is_empty() || allowed.server.is_empty() || placement == Placement::SameCore {
            return PlacementError::NoCpu(allowed);
        }
        let is_usable = |cpu| allowed.client.contains(cpu) || allowed.server.contains(cpu);
        if self.cpus.iter().any(|cpu| is_usable(cpu.cpu) && cpu.siblings.is_none()) {
            return PlacementError::Unknown;
        }
        let first = self.cpus.first().and_then(|cpu| cpu.package);
        let one_socket = self.cpus.iter().all(|cpu| cpu.package == first);
        match placement {
            Placement::CrossSocket if one_socket => PlacementError::OneSocket,
            Placement::CrossSocket => PlacementError::NoSockets(allowed),
            Placement::CrossCore => PlacementError::NoCores(allowed),
            Placement::Smt => PlacementError::NoSiblings(allowed),
            // Any common CPU will do for these two.
            Placement::SameCore | Placement::Unpinned => PlacementError::NoCpu(allowed),
        }
    }
}

/// How far apart two CPUs are; `None` if the host does not report which CPUs share a core. Sockets that it does not
/// report count as one.
fn relation(a: &CpuPosition, b: &CpuPosition) -> Option<Placement> {
    if a.cpu == b.cpu {
        return Some(Placement::SameCore);
    }
    Some(match (a.package, b.package) {
        _ if a.siblings.as_ref()?.contains(b.cpu) => Placement::Smt,
        (Some(a), Some(b)) if a != b => Placement::CrossSocket,
        _ => Placement::CrossCore,
    })
}

/// The drawbacks of a pair, the most important first; the numbers at the end make the choice deterministic.
fn drawbacks(client: &CpuPosition, server: &CpuPosition) -> (bool, bool, bool, bool, u32, u32) {
    let pair = [client, server];
    let one_cache = client.last_level_cache.as_ref().is_none_or(|sharers| sharers.contains(server.cpu));
    (
        client.node != server.node,
        !one_cache,
        pair.iter().any(|side| side.cpu == 0),
        pair.iter().any(|side| side.siblings.as_ref().is_some_and(|siblings| siblings.contains(0))),
        client.cpu,
        server.cpu,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_same_as_text_and_in_json() {
        for placement in Placement::ALL {
            assert_eq!(placement.to_string().parse(), Ok(placement));
            assert_eq!(serde_json::to_value(placement).unwrap(), placement.name());
        }
        assert_eq!(format!("{:>6}", Placement::Smt), "   smt");
    }

    #[test]
    fn an_unknown_name_is_reported_with_the_known_ones() {
        let error = "same_core".parse::<Placement>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "unknown placement `same_core`; placements are unpinned, same-core, smt, cross-core, cross-socket"
        );
    }
    use crate::client::host::fixture::Tree;

    fn list(text: &str) -> CpuList {
        text.parse().unwrap()
    }

    fn read(tree: &Tree, allowed: &str) -> Topology {
        Topology::read_from(tree.path(), list(allowed))
    }

    fn pair(client: u32, server: u32) -> CpuPair {
        CpuPair { client, server }
    }

    fn refusal(topology: &Topology, placement: Placement) -> String {
        topology.resolve(placement).unwrap_err().to_string()
    }

    fn two_cores() -> Tree {
        Tree::new().online("0-1").cpu(0, 0, 0, 0, "0", "0-1").cpu(1, 1, 0, 0, "1", "0-1")
    }

    /// Numbered as Linux does on Intel: all cores' first threads, then all second ones.
    fn four_cores_of_two_threads() -> Tree {
        (0..8).fold(Tree::new().online("0-7"), |tree, cpu| {
            let core = cpu % 4;
            tree.cpu(cpu, core as i32, 0, 0, &format!("{core},{}", core + 4), "0-7")
        })
    }

    /// Two sockets of four cores, each socket a NUMA node of two caches.
    fn two_sockets() -> Tree {
        (0..8).fold(Tree::new().online("0-7"), |tree, cpu| {
            let (package, first) = (cpu / 4, cpu / 2 * 2);
            let cache = format!("{first}-{}", first + 1);
            tree.cpu(cpu, (cpu % 4) as i32, package as i32, package, &cpu.to_string(), &cache)
        })
    }

    #[test]
    fn one_cpu_allows_the_same_core_only() {
        let tree = Tree::new().online("0").cpu(0, 0, 0, 0, "0", "0");
        let topology = read(&tree, "0");
        assert_eq!(topology.available(), [(Placement::SameCore, pair(0, 0))]);
        assert_eq!(topology.resolve(Placement::Unpinned), Ok(None));
        assert_eq!(refusal(&topology, Placement::Smt), "no SMT siblings among the allowed CPUs 0");
        assert_eq!(
            refusal(&topology, Placement::CrossCore),
            "no two cores of one socket among the allowed CPUs 0"
        );
        assert_eq!(refusal(&topology, Placement::CrossSocket), "this host has one socket only");
    }

    #[test]
    fn two_cores_give_the_second_for_one_side_and_both_for_two() {
        let topology = read(&two_cores(), "0-1");
        assert_eq!(
            topology.available(),
            [(Placement::SameCore, pair(1, 1)), (Placement::CrossCore, pair(0, 1))]
        );
        assert_eq!(refusal(&topology, Placement::Smt), "no SMT siblings among the allowed CPUs 0-1");
    }

    #[test]
    fn smt_siblings_are_distinguished_from_cores_and_the_first_core_is_avoided() {
        let topology = read(&four_cores_of_two_threads(), "0-7");
        assert_eq!(
            topology.available(),
            [
                (Placement::SameCore, pair(1, 1)),
                (Placement::Smt, pair(1, 5)),
                (Placement::CrossCore, pair(1, 2))
            ]
        );
    }

    #[test]
    fn two_sockets_give_a_near_pair_within_one_and_a_far_pair_across() {
        let topology = read(&two_sockets(), "0-7");
        assert_eq!(
            topology.available(),
            [
                (Placement::SameCore, pair(1, 1)),
                (Placement::CrossCore, pair(2, 3)),
                (Placement::CrossSocket, pair(1, 4))
            ]
        );
        assert_eq!(topology.position(6, &list("6")).unwrap().node, Some(1));
    }

    #[test]
    fn a_near_pair_with_cpu_0_is_better_than_a_far_one_without() {
        let topology = read(&two_sockets(), "0-2");
        assert_eq!(topology.resolve(Placement::CrossCore), Ok(Some(pair(0, 1))));
    }

    #[test]
    fn only_allowed_cpus_are_chosen() {
        let tree = four_cores_of_two_threads();
        let topology = read(&tree, "2-3,6");
        assert_eq!(
            topology.available(),
            [
                (Placement::SameCore, pair(2, 2)),
                (Placement::Smt, pair(2, 6)),
                (Placement::CrossCore, pair(2, 3))
            ]
        );
        assert_eq!(
            refusal(&read(&tree, "1-2"), Placement::Smt),
            "no SMT siblings among the allowed CPUs 1-2"
        );
        assert_eq!(
            refusal(&read(&two_sockets(), "4-7"), Placement::CrossSocket),
            "the allowed CPUs 4-7 are on one socket"
        );
        assert_eq!(
            refusal(&read(&tree, "40"), Placement::SameCore),
            "no online CPU is allowed to both sides: the allowed CPUs none"
        );
    }

    #[test]
    fn each_side_has_its_own_cpus() {
        let topology = read(&two_cores(), "0-1").with_responder(&list("0"));
        assert_eq!(
            topology.available(),
            [(Placement::SameCore, pair(0, 0)), (Placement::CrossCore, pair(1, 0))]
        );
        assert_eq!(topology.common(), list("0"));
        assert_eq!((topology.check(Some(1), Some(0)), topology.check(Some(1), None)), (Ok(()), Ok(())));
        let both = "the allowed CPUs, 0-1 for the client and 0 for the responder";
        let error = topology.check(Some(0), Some(1)).unwrap_err().to_string();
        assert_eq!(error, format!("CPU 1 is not among {both}"));
        assert_eq!(refusal(&topology, Placement::Smt), format!("no SMT siblings among {both}"));
        let apart = read(&two_cores(), "1").with_responder(&list("0"));
        assert_eq!(apart.available(), [(Placement::CrossCore, pair(1, 0))]);
        assert_eq!(
            refusal(&apart, Placement::SameCore),
            "no online CPU is allowed to both sides: the allowed CPUs, 1 for the client and 0 for the responder"
        );
        let none = read(&two_cores(), "1").with_responder(&list("7"));
        assert!(
            refusal(&none, Placement::CrossCore).ends_with("1 for the client and none for the responder")
        );
    }

    #[test]
    fn cpus_beyond_the_c_librarys_type_are_placed() {
        let tree = (1022..1026).fold(Tree::new().online("0-1025"), |tree, cpu| {
            tree.cpu(cpu, cpu as i32, 0, 0, &cpu.to_string(), "1022-1025")
        });
        let topology = read(&tree, "1024-1025");
        assert_eq!(
            topology.available(),
            [(Placement::SameCore, pair(1024, 1024)), (Placement::CrossCore, pair(1024, 1025))]
        );
        assert_eq!(topology.check(Some(1025), Some(1024)), Ok(()));
    }

    #[test]
    fn a_named_cpu_is_checked() {
        let topology = read(&two_sockets(), "0-3,5,9");
        assert_eq!(topology.check(Some(5), None), Ok(()));
        let error = |cpu| topology.check(None, Some(cpu)).unwrap_err().to_string();
        assert_eq!(error(6), "CPU 6 is not among the allowed CPUs 0-3,5");
        assert_eq!(error(9), "CPU 9 is not online; online are 0-7");
    }

    #[test]
    fn an_isolated_cpu_is_used_when_named_and_not_chosen() {
        let tree = two_cores()
            .online("0-2")
            .cpu(2, 2, 0, 0, "2", "0-2")
            .file("sys/devices/system/cpu/isolated", "2");
        let topology = read(&tree, "0-1");
        assert_eq!(topology.resolve(Placement::CrossCore), Ok(Some(pair(0, 1))));
        assert_eq!(topology.classify(pair(1, 2)), Ok(Placement::CrossCore));
    }

    #[test]
    fn a_pair_is_named_by_how_its_cpus_lie() {
        let cores = read(&four_cores_of_two_threads(), "0-7");
        assert_eq!(cores.classify(pair(3, 3)), Ok(Placement::SameCore));
        assert_eq!(cores.classify(pair(7, 3)), Ok(Placement::Smt));
        assert_eq!(cores.classify(pair(3, 0)), Ok(Placement::CrossCore));
        assert!(matches!(cores.classify(pair(3, 8)), Err(PlacementError::Offline(8, _))));
        let sockets = read(&two_sockets(), "0-7");
        assert_eq!(sockets.classify(pair(7, 0)), Ok(Placement::CrossSocket));
    }

    #[test]
    fn a_host_that_hides_its_topology_still_offers_the_same_core() {
        let topology = read(&Tree::new(), "0-3");
        assert_eq!(topology.available(), [(Placement::SameCore, pair(1, 1))]);
        assert_eq!(
            refusal(&topology, Placement::CrossCore),
            "this host does not report which CPUs share a core"
        );
        assert_eq!(topology.classify(pair(1, 2)), Err(PlacementError::Unknown));
    }

    #[test]
    fn sockets_that_the_firmware_does_not_number_count_as_one() {
        let tree = Tree::new().online("0-1").cpu(0, 0, -1, 0, "0", "0-1").cpu(1, 1, -1, 0, "1", "0-1");
        let topology = read(&tree, "0-1");
        assert_eq!(topology.classify(pair(0, 1)), Ok(Placement::CrossCore));
        assert_eq!(refusal(&topology, Placement::CrossSocket), "this host has one socket only");
    }

    #[test]
    fn this_host_has_at_least_one_cpu() {
        let topology = Topology::read().unwrap();
        assert!(topology.available().iter().any(|(placement, _)| *placement == Placement::SameCore));
        for (placement, pair) in topology.available() {
            assert_eq!(topology.classify(pair), Ok(placement));
        }
    }
}
