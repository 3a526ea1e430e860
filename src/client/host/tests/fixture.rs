//! Small trees of files that describe other hosts, for tests.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

/// A folder used as `/`, removed when dropped.
pub(crate) struct Tree(TempDir);

impl Tree {
    /// An empty root folder.
    pub(crate) fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    /// Adds a file that ends in a newline, as the kernel's do.
    pub(crate) fn file(self, path: &str, text: &str) -> Self {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, format!("{text}\n")).unwrap();
        self
    }

    /// Adds a CPU's topology: its number, core, socket, NUMA node, thread siblings, and last level cache sharers.
    pub(crate) fn cpu(
        self,
        cpu: u32,
        core: i32,
        package: i32,
        node: u32,
        siblings: &str,
        cache: &str,
    ) -> Self {
        let folder = format!("sys/devices/system/cpu/cpu{cpu}");
        self.file(&format!("{folder}/topology/core_id"), &core.to_string())
            .file(&format!("{folder}/topology/physical_package_id"), &package.to_string())
            .file(&format!("{folder}/topology/thread_siblings_list"), siblings)
            .file(&format!("{folder}/node{node}/cpulist"), "")
            .file(&format!("{folder}/cache/index0/level"), "1")
            .file(&format!("{folder}/cache/index0/shared_cpu_list"), siblings)
            .file(&format!("{folder}/cache/index3/level"), "3")
            .file(&format!("{folder}/cache/index3/shared_cpu_list"), cache)
    }

    /// Sets the CPUs that are online.
    pub(crate) fn online(self, cpus: &str) -> Self {
        self.file("sys/devices/system/cpu/online", cpus)
    }

    /// The root folder.
    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }
}
