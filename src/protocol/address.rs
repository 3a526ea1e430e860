//! Where daemon and client meet: one rule for both.
//!
//! An address that was named (`--socket`, then `$IPCD_SOCKET`, then in a configuration file) is the only one. Else the candidates are, in order:
//! `$RUNTIME_DIRECTORY/ipcd.sock`, `$XDG_RUNTIME_DIR/ipcd/ipcd.sock`, `/run/ipcd/ipcd.sock`, and
//! `ipcd-UID/ipcd.sock` in the temporary folder. A daemon takes the first whose folder it may write to (or make); a
//! client the first that answers. Both go on after a place that they cannot use, and name it if they find none.

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::diagnostics::{User, error_chain};

const SOCKET_NAME: &str = "ipcd.sock";

/// The longest path that a socket can have (`sun_path` holds 108 bytes, the last one 0).
pub(crate) const MAX_PATH_LEN: usize = 107;

/// Where to find the daemon's control socket: a path that was named, or candidates in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketAddress {
    /// Whether the user named the path.
    pub named: bool,
    /// The paths to try, in order; at least one.
    pub candidates: Vec<Candidate>,
}

/// A place where the socket may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The socket's path.
    pub path: PathBuf,
    /// The rule that it comes from, for messages.
    pub origin: &'static str,
    folder: Folder,
}

/// How a candidate's folder is treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Folder {
    /// It must exist; its permissions are up to the user.
    Existing,
    /// Made where missing.
    Made {
        /// Mode 0700 and owned by this user: any user may write to the temporary folder.
        private: bool,
    },
}

/// Why a candidate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AddressError {
    /// Too long for a socket's name.
    #[error("the socket path {} has {} bytes; {MAX_PATH_LEN} at most", .0.display(), .0.as_os_str().len())]
    TooLong(PathBuf),
    /// The folder does not exist and cannot be made.
    #[error("the folder {} cannot be used", .path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Another user may have made the folder.
    #[error("the folder {} is not private: it must be a folder of {} with mode 0700", .path.display(), User(*uid))]
    NotPrivate {
        /// The folder.
        path: PathBuf,
        /// Who should own it.
        uid: u32,
    },
    /// Any user may have put the socket there.
    #[error("the socket {} is user {owner}'s, in a folder that any user may write to", .path.display())]
    Planted {
        /// The socket.
        path: PathBuf,
        /// Its owner.
        owner: u32,
    },
}

/// The inputs of the rule.
struct Surroundings {
    configured: Option<PathBuf>,
    ipcd_socket: Option<OsString>,
    runtime_directory: Option<OsString>,
    xdg_runtime_dir: Option<OsString>,
    temp_dir: PathBuf,
    uid: u32,
}

impl SocketAddress {
    /// The address at `named`, else at `$IPCD_SOCKET`, else the default candidates from this process's environment.
    #[must_use]
    pub fn resolve(named: Option<&Path>) -> Self {
        Self::resolve_with(named, None)
    }

    /// The same, where a configuration file may have named it.
    #[must_use]
    pub(crate) fn resolve_with(named: Option<&Path>, configured: Option<&Path>) -> Self {
        let var = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        Self::from_surroundings(
            named,
            &Surroundings {
                configured: configured.map(Path::to_owned),
                ipcd_socket: var("IPCD_SOCKET"),
                runtime_directory: var("RUNTIME_DIRECTORY"),
                xdg_runtime_dir: var("XDG_RUNTIME_DIR"),
                temp_dir: std::env::temp_dir(),
                uid: rustix::process::geteuid().as_raw(),
            },
        )
    }

    /// The first candidate at which `attempt` finds something: the one search of daemon and client. An error of a place that
    /// was named is returned, any other place that is not `usable` is remembered, with the reason.
    ///
    /// # Errors
    /// Those of `attempt`, which end the search, and of a named place.
    pub(crate) fn search<T, E: From<AddressError>>(
        &self,
        usable: impl Fn(&Candidate) -> Result<(), AddressError>,
        mut attempt: impl FnMut(&Candidate) -> Result<Result<T, String>, E>,
    ) -> Result<Result<T, Tried>, E> {
        let mut tried = Tried::default();
        for candidate in &self.candidates {
            let found = match usable(candidate) {
                Ok(()) => attempt(candidate)?,
                Err(error) if self.named => return Err(error.into()),
                Err(error) => Err(error_chain(&error)),
            };
            match found {
                Ok(found) => return Ok(Ok(found)),
                Err(why) => tried.0.push((candidate.path.clone(), why)),
            }
        }
        Ok(Err(tried))
    }

    fn from_surroundings(named: Option<&Path>, around: &Surroundings) -> Self {
        let candidate = |path, origin, folder| Candidate { path, origin, folder };
        let named =
            named.map(|path| candidate(path.to_owned(), "--socket", Folder::Existing)).or_else(|| {
                around.ipcd_socket.as_ref().map(|p| candidate(p.into(), "$IPCD_SOCKET", Folder::Existing))
            });
        let named = named.or_else(|| {
            let path = around.configured.as_ref()?;
            Some(candidate(path.clone(), "the configuration", Folder::Existing))
        });
        if let Some(named) = named {
            return Self { named: true, candidates: vec![named] };
        }
        let mut candidates = Vec::new();
        if let Some(list) = &around.runtime_directory {
            // systemd gives several folders with colons between them.
            if let Some(first) = std::env::split_paths(list).next() {
                candidates.push(candidate(first.join(SOCKET_NAME), "$RUNTIME_DIRECTORY", Folder::Existing));
            }
        }
        if let Some(dir) = &around.xdg_runtime_dir {
            let path = Path::new(dir).join("ipcd").join(SOCKET_NAME);
            candidates.push(candidate(path, "$XDG_RUNTIME_DIR", Folder::Made { private: true }));
        }
        let system = Path::new("/run/ipcd").join(SOCKET_NAME);
        candidates.push(candidate(system, "the system's", Folder::Made { private: false }));
        let own = around.temp_dir.join(format!("ipcd-{}", around.uid)).join(SOCKET_NAME);
        candidates.push(candidate(own, "the user's temporary", Folder::Made { private: true }));
        Self { named: false, candidates }
    }
}

/// The places of a search that led nowhere, and why.
#[derive(Debug, Default)]
pub struct Tried(pub(crate) Vec<(PathBuf, String)>);

impl fmt::Display for Tried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let each: Vec<_> = self.0.iter().map(|(path, why)| format!("{} ({why})", path.display())).collect();
        f.write_str(&each.join(", "))
    }
}

impl Candidate {
    /// Makes the folder ready for a daemon's socket.
    ///
    /// # Errors
    /// See [`AddressError`].
    pub(crate) fn prepare(&self) -> Result<(), AddressError> {
        self.check_length()?;
        let folder = self.folder();
        let fail = |source| AddressError::Folder { path: folder.to_owned(), source };
        if let Folder::Made { private } = self.folder {
            let mode = if private { 0o700 } else { 0o755 };
            match fs::DirBuilder::new().mode(mode).create(folder) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(fail(error)),
                _ => {}
            }
        } else if !fs::metadata(folder).map_err(fail)?.is_dir() {
            return Err(fail(io::ErrorKind::NotADirectory.into()));
        }
        self.check_private()?;
        rustix::fs::access(folder, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK)
            .map_err(|error| fail(error.into()))
    }

    /// Whether a client may trust what it finds here.
    ///
    /// # Errors
    /// See [`AddressError`].
    pub(crate) fn check(&self) -> Result<(), AddressError> {
        self.check_length()?;
        // Connecting will report what is missing.
        let Ok(folder) = fs::metadata(self.folder()) else { return Ok(()) };
        let own = rustix::process::geteuid().as_raw();
        match fs::symlink_metadata(&self.path) {
            Ok(socket) if folder.mode() & 0o002 != 0 && ![0, own].contains(&socket.uid()) => {
                Err(AddressError::Planted { path: self.path.clone(), owner: socket.uid() })
            }
            _ => self.check_private(),
        }
    }

    fn folder(&self) -> &Path {
        match self.path.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        }
    }

    fn check_length(&self) -> Result<(), AddressError> {
        if self.path.as_os_str().len() > MAX_PATH_LEN {
            return Err(AddressError::TooLong(self.path.clone()));
        }
        Ok(())
    }

    fn check_private(&self) -> Result<(), AddressError> {
        if self.folder != (Folder::Made { private: true }) {
            return Ok(());
        }
        let path = self.folder();
        // Not followed: a link in the temporary folder may be another user's.
        let meta = fs::symlink_metadata(path)
            .map_err(|source| AddressError::Folder { path: path.to_owned(), source })?;
        let uid = rustix::process::geteuid().as_raw();
        if !meta.is_dir() || meta.uid() != uid || meta.mode() & 0o077 != 0 {
            return Err(AddressError::NotPrivate { path: path.to_owned(), uid });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn around(temp: &Path) -> Surroundings {
        Surroundings {
            configured: Some("/c/sock".into()),
            ipcd_socket: Some("/a/sock".into()),
            runtime_directory: Some("/run/x:/run/y".into()),
            xdg_runtime_dir: Some("/run/user/7".into()),
            temp_dir: temp.to_owned(),
            uid: 7,
        }
    }

    fn paths(address: &SocketAddress) -> Vec<&str> {
        address.candidates.iter().map(|c| c.path.to_str().unwrap()).collect()
    }

    #[test]
    fn the_rule_in_its_order() {
        let mut around = around(Path::new("/tmp"));
        let address = SocketAddress::from_surroundings(Some(Path::new("here.sock")), &around);
        assert!(address.named);
        assert_eq!(paths(&address), ["here.sock"]);

        let address = SocketAddress::from_surroundings(None, &around);
        assert!(address.named);
        assert_eq!(paths(&address), ["/a/sock"]);

        around.ipcd_socket = None;
        let address = SocketAddress::from_surroundings(None, &around);
        assert!(address.named);
        assert_eq!(paths(&address), ["/c/sock"]);

        around.configured = None;
        let address = SocketAddress::from_surroundings(None, &around);
        assert!(!address.named);
        assert_eq!(
            paths(&address),
            [
                "/run/x/ipcd.sock",
                "/run/user/7/ipcd/ipcd.sock",
                "/run/ipcd/ipcd.sock",
                "/tmp/ipcd-7/ipcd.sock"
            ]
        );

        around.runtime_directory = None;
        around.xdg_runtime_dir = None;
        let address = SocketAddress::from_surroundings(None, &around);
        assert_eq!(paths(&address), ["/run/ipcd/ipcd.sock", "/tmp/ipcd-7/ipcd.sock"]);
    }

    #[test]
    fn the_folder_in_the_temporary_folder_is_made_private_and_must_be() {
        let temp = tempfile::tempdir().unwrap();
        let mut around = around(temp.path());
        (around.ipcd_socket, around.configured) = (None, None);
        let address = SocketAddress::from_surroundings(None, &around);
        let own = address.candidates.last().unwrap();

        own.check().expect("nothing is there, which connecting will report");
        own.prepare().unwrap();
        assert_eq!(fs::metadata(own.folder()).unwrap().mode() & 0o777, 0o700);
        own.prepare().expect("it may be there already");

        fs::set_permissions(own.folder(), fs::Permissions::from_mode(0o777)).unwrap();
        assert!(matches!(own.prepare(), Err(AddressError::NotPrivate { .. })));
        assert!(matches!(own.check(), Err(AddressError::NotPrivate { .. })));
    }

    /// Where a daemon would listen and where its client would connect.
    #[test]
    fn both_sides_pass_over_what_they_cannot_use() {
        let temp = tempfile::tempdir().unwrap();
        let open = temp.path().join("open");
        fs::create_dir_all(open.join("ipcd")).unwrap();
        fs::set_permissions(open.join("ipcd"), fs::Permissions::from_mode(0o755)).unwrap();
        for unusable in [open, temp.path().join("x".repeat(120))] {
            let mut around = around(temp.path());
            (around.ipcd_socket, around.configured) = (None, None);
            (around.runtime_directory, around.xdg_runtime_dir) = (None, Some(unusable.clone().into()));
            let mut address = SocketAddress::from_surroundings(None, &around);
            address.candidates.retain(|candidate| candidate.origin != "the system's");
            let take = |candidate: &Candidate| Ok::<_, AddressError>(Ok(candidate.path.clone()));
            let listens = address.search(Candidate::prepare, take).unwrap().unwrap();
            assert_eq!(listens, temp.path().join("ipcd-7/ipcd.sock"));
            assert_eq!(address.search(Candidate::check, take).unwrap().unwrap(), listens);

            let nothing = |_: &Candidate| Ok::<Result<(), _>, AddressError>(Err("nothing there".to_owned()));
            let tried = address.search(Candidate::check, nothing).unwrap().unwrap_err().to_string();
            assert!(
                tried.contains(unusable.to_str().unwrap()) && tried.ends_with("(nothing there)"),
                "{tried}"
            );
            address.named = true;
            assert!(address.search(Candidate::check, nothing).is_err(), "a named place is the only one");
        }
    }

    #[test]
    fn a_path_too_long_for_a_socket_is_named() {
        let long = PathBuf::from(format!("/tmp/{}", "x".repeat(120)));
        let address = SocketAddress::resolve(Some(&long));
        let error = address.candidates[0].prepare().unwrap_err().to_string();
        assert!(error.contains("125 bytes; 107 at most"), "{error}");
    }
}
