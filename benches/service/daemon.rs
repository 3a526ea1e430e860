//! A daemon of the benchmark's own.

use std::error::Error;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use ipcd::internals::client::{Client, LeaseWait};
use ipcd::internals::protocol::SocketAddress;
use tempfile::TempDir;

pub(crate) const IPCD: &str = env!("CARGO_BIN_EXE_ipcd");
pub(crate) const CLIENT: &str = env!("CARGO_BIN_EXE_ipc-client");

/// `ipcd start` in a temporary folder. Dropping it ends it.
pub(crate) struct Daemon {
    child: Child,
    folder: TempDir,
}

impl Daemon {
    pub(crate) fn start() -> Result<Self, Box<dyn Error>> {
        let folder = tempfile::tempdir()?;
        let child = Command::new(IPCD)
            .args(["start", "--max-channels", "1000", "--socket"])
            .arg(folder.path().join("ipcd.sock"))
            .env("RUST_LOG", "warn")
            .stderr(Stdio::piped())
            .spawn()?;
        let mut daemon = Self { child, folder };
        let stderr = daemon.child.stderr.take().ok_or("it was asked for")?;
        let mut lines = BufReader::new(stderr).lines();
        let listens =
            lines.find(|line| line.as_ref().is_ok_and(|line| line.starts_with("ipcd: listening on ")));
        // Whatever else it says must not stop it.
        std::thread::spawn(move || lines.for_each(|line| eprintln!("{}", line.unwrap_or_default())));
        listens.map(|_| daemon).ok_or("the daemon does not start".into())
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("ipcd.sock")
    }

    pub(crate) fn connect(&self) -> Result<Client, Box<dyn Error>> {
        Ok(Client::connect(&SocketAddress::resolve(Some(&self.socket())))?)
    }

    pub(crate) fn lease(&self) -> Result<Client, Box<dyn Error>> {
        let mut client = self.connect()?;
        client.acquire(LeaseWait::Queue, |_| ())?;
        Ok(client)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A number from one of its `/proc` files.
    pub(crate) fn number(&self, file: &str, key: &str) -> Result<u64, Box<dyn Error>> {
        number(self.pid(), file, key)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ =
            Command::new(IPCD).args(["stop", "--socket"]).arg(self.socket()).stderr(Stdio::null()).status();
        let _ = self.child.wait();
    }
}

/// The number in the line `key: number` of a file below a process's folder in `/proc`; sizes are in KiB.
pub(crate) fn number(pid: u32, file: &str, key: &str) -> Result<u64, Box<dyn Error>> {
    let text = fs::read_to_string(format!("/proc/{pid}/{file}"))?;
    let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    let word =
        value.and_then(|value| value.split_whitespace().next()).ok_or(format!("no {key} in {file}"))?;
    Ok(word.parse()?)
}
