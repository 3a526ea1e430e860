//! A test's own folder, environment and processes.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, Once};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::process::Processes;
use super::{Daemon, Output, PATIENCE, Process, SOON, leftovers, not_tested};

const DAEMON: &str = env!("CARGO_BIN_EXE_ipcd");
const CLIENT: &str = env!("CARGO_BIN_EXE_ipc-client");

/// A user without rights.
pub(crate) const NOBODY: u32 = 65534;

/// Whether this user may become another.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whether [`NOBODY`] can run this sandbox's programs; prints so if not.
pub(crate) fn another_user_can_run(sandbox: &Sandbox) -> bool {
    if !is_root() {
        not_tested("root", "this needs root, which becomes other users");
        return false;
    }
    let mut version = sandbox.client(&["--version"]);
    version.uid(NOBODY).gid(NOBODY).current_dir("/").stdout(Stdio::null());
    let can = version.status().is_ok_and(|status| status.success());
    if !can {
        let why = format!(
            "user {NOBODY} cannot reach the programs; set IPCD_TEST_PROGRAMS=FOLDER to have them copied there"
        );
        not_tested("users", why);
    }
    can
}

/// Where the programs are. If `IPCD_TEST_PROGRAMS` names a folder, copies in it are used, which its creator removes: other
/// users may not reach the build folder.
fn program(built: &str) -> PathBuf {
    static COPIES: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());
    let Some(folder) = std::env::var_os("IPCD_TEST_PROGRAMS") else { return built.into() };
    let copy = Path::new(&folder).join(Path::new(built).file_name().unwrap());
    let mut copies = COPIES.lock().unwrap();
    if !copies.contains(&copy) {
        // Another test process may be running the existing copy, which therefore stays intact.
        let new = Path::new(&folder).join(format!("new-{}", std::process::id()));
        fs::copy(built, &new).unwrap();
        fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).unwrap();
        fs::rename(&new, &copy).unwrap();
        copies.push(copy.clone());
    }
    copy
}

/// A shell starts what it runs in the background with SIGINT ignored, which every program of a test would inherit. What is
/// handled here is not ignored there.
fn heed_interrupts() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| ctrlc::set_handler(|| std::process::exit(130)).unwrap());
}

/// A test's own folder, environment and processes.
#[derive(Debug)]
pub(crate) struct Sandbox {
    folder: TempDir,
    processes: Processes,
}

impl Sandbox {
    pub(super) fn new() -> Self {
        heed_interrupts();
        Self {
            folder: tempfile::Builder::new().prefix("ipcd-test-").tempdir().unwrap(),
            processes: Processes::default(),
        }
    }

    pub(super) fn processes(&self) -> Processes {
        self.processes.clone()
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The control socket of this sandbox's programs, unless they are given another.
    pub(crate) fn socket(&self) -> PathBuf {
        self.folder().join("ipcd.sock")
    }

    /// `ipcd` with these arguments, in an environment that holds the sandbox and nothing of the host.
    pub(crate) fn ipcd(&self, arguments: &[&str]) -> Command {
        self.program(DAEMON, arguments)
    }

    /// `ipc-client` with these arguments, in the same environment.
    pub(crate) fn client(&self, arguments: &[&str]) -> Command {
        self.program(CLIENT, arguments)
    }

    fn program(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(self::program(program));
        command.args(arguments).env_clear().current_dir(self.folder());
        command.env("TMPDIR", self.folder()).env("IPCD_SOCKET", self.socket());
        // No configuration of this host's.
        command.env("IPCD_CONFIG", "/dev/null");
        // Where a program that is built for coverage puts its counts.
        command.envs(std::env::var_os("LLVM_PROFILE_FILE").map(|file| ("LLVM_PROFILE_FILE", file)));
        command
    }

    /// Starts a program of this sandbox.
    pub(crate) fn start(&self, command: &mut Command) -> Process {
        self.start_with_stdin(command, Stdio::null())
    }

    /// The same, with this as its standard input.
    pub(crate) fn start_with_stdin(&self, command: &mut Command, stdin: Stdio) -> Process {
        let name = Path::new(command.get_program()).file_name().unwrap().to_string_lossy().into_owned();
        let arguments: Vec<_> = command.get_args().map(|argument| argument.to_string_lossy()).collect();
        let process = Process::start(&format!("{name} {}", arguments.join(" ")), command, stdin);
        self.processes.add(&process);
        process
    }

    /// Runs a program of this sandbox to its end.
    pub(crate) fn finish(&self, command: &mut Command) -> Output {
        self.start(command).wait(PATIENCE)
    }

    /// Starts a daemon at this sandbox's socket, and waits until it says that it listens.
    pub(crate) fn daemon(&self) -> Daemon {
        self.daemon_with(&[])
    }

    /// The same, with more arguments.
    pub(crate) fn daemon_with(&self, arguments: &[&str]) -> Daemon {
        Daemon::start(self, self.ipcd(&[&["start"], arguments].concat()))
    }

    /// What is there of processes, shared memory, message queues and channels' files.
    pub(crate) fn left(&self) -> Vec<String> {
        let mut left = leftovers::processes(self.folder());
        left.extend(leftovers::named(self.folder()));
        left.extend(leftovers::system_v_queues(|pid| self.processes.has(pid)));
        left
    }

    /// Files in the sandbox's folder.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        leftovers::files(self.folder())
    }

    /// Waits until no process of this sandbox is left, and nothing that has a name.
    pub(crate) fn settle(&self) {
        let start = Instant::now();
        loop {
            let left = self.left();
            if left.is_empty() {
                return;
            }
            assert!(start.elapsed() < SOON, "left behind: {left:?}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Checks that nothing is left. What a test itself has put here, it has removed.
    pub(super) fn close(self) {
        self.settle();
        let files = self.files();
        assert!(files.is_empty(), "left behind: {files:?}");
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // Whatever is still there when a test has failed; its responders end with it.
        self.processes.kill();
    }
}
