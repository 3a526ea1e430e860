//! Where metrics are told: a TCP address or a unix socket.

use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::io::Errno;
use rustix::net::{SocketFlags, accept_with};

use super::results::Results;
use crate::config::MetricsAddress;
use crate::daemon::socket::{Access, BindError, Bound, bind};
use crate::protocol::SocketAddress;

/// How many may ask at a time. More are told to come again.
pub(in crate::daemon) const MOST_SCRAPES: usize = 8;

/// A place at which metrics are told. A unix socket's files go with it.
#[derive(Debug)]
pub struct Endpoint {
    listener: Listener,
    results: Option<Results>,
}

#[derive(Debug)]
enum Listener {
    Tcp(TcpListener),
    Unix(Bound),
}

impl Endpoint {
    /// Listens at `address`; a unix socket is for whom `access` names. `results` is the file of results.
    ///
    /// # Errors
    /// The address is taken, or the system refuses.
    pub fn bind(
        address: &MetricsAddress,
        access: Access,
        results: Option<PathBuf>,
    ) -> Result<Self, BindError> {
        let listener = match address {
            MetricsAddress::Tcp(at) => {
                let listen = || {
                    let listener = TcpListener::bind(at)?;
                    listener.set_nonblocking(true)?;
                    Ok(listener)
                };
                let failed = |source| BindError::Metrics { address: address.to_string(), source };
                Listener::Tcp(listen().map_err(failed)?)
            }
            MetricsAddress::Unix(path) => {
                let bound = bind(&SocketAddress::resolve(Some(path)))?;
                bound.set_access(access)?;
                Listener::Unix(bound)
            }
        };
        Ok(Self { listener, results: results.map(Results::new) })
    }

    /// Where that is, as a browser or curl has it.
    #[must_use]
    pub fn shown(&self) -> String {
        match &self.listener {
            Listener::Tcp(listener) => match listener.local_addr() {
                Ok(address) => format!("http://{address}/metrics"),
                Err(error) => format!("an address that is not told: {error}"),
            },
            Listener::Unix(bound) => format!("{}, path /metrics", bound.path().display()),
        }
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        match &self.listener {
            Listener::Tcp(listener) => listener.as_fd(),
            Listener::Unix(bound) => bound.as_fd(),
        }
    }

    pub(super) fn accept(&self) -> Result<OwnedFd, Errno> {
        accept_with(self.fd(), SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)
    }

    pub(super) fn results(&mut self) -> Option<&mut Results> {
        self.results.as_mut()
    }
}
