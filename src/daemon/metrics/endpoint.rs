//! Where metrics are told: a TCP address or a unix socket.

use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::io::{Errno, ioctl_fionbio};
use rustix::net::{AddressFamily, SocketFlags, SocketType, accept_with, sockopt};

use super::results::Results;
use crate::config::MetricsAddress;
use crate::daemon::socket::{Access, BindError, Bound, bind};
use crate::protocol::SocketAddress;

/// How many may ask at a time. More are told to come again.
pub(in crate::daemon) const MOST_SCRAPES: usize = 8;

/// A place at which metrics are told. A unix socket's files go with it.
#[derive(Debug)]
pub(crate) struct Endpoint {
    listener: Listener,
    results: Option<Results>,
}

#[derive(Debug)]
enum Listener {
    Tcp(TcpListener),
    Unix(Bound),
    /// The service manager's, a unix socket, which it keeps.
    Handed(OwnedFd),
}

impl Endpoint {
    /// Listens at `address`; a unix socket is for whom `access` names. `results` is the file of results.
    ///
    /// # Errors
    /// The address is taken, or the system refuses.
    pub(crate) fn bind(
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

    /// The same over a socket that the service manager has handed over.
    ///
    /// # Errors
    /// It is no TCP or unix stream socket that listens.
    pub(crate) fn over(socket: OwnedFd, results: Option<PathBuf>) -> Result<Self, BindError> {
        let asked = || {
            let family = sockopt::socket_domain(&socket)?;
            let listens =
                sockopt::socket_type(&socket)? == SocketType::STREAM && sockopt::socket_acceptconn(&socket)?;
            ioctl_fionbio(&socket, true)?;
            Ok((family, listens))
        };
        let wrong = |what| BindError::HandedMetrics { what };
        let listener = match asked().map_err(|error: Errno| wrong(error.to_string()))? {
            (AddressFamily::INET | AddressFamily::INET6, true) => Listener::Tcp(socket.into()),
            (AddressFamily::UNIX, true) => Listener::Handed(socket),
            _ => return Err(wrong("one that does not listen, or of another kind".to_owned())),
        };
        Ok(Self { listener, results: results.map(Results::new) })
    }

    /// Whether other hosts may reach it.
    #[must_use]
    pub(crate) fn is_open(&self) -> bool {
        match &self.listener {
            Listener::Tcp(listener) => {
                listener.local_addr().map_or(true, |address| !address.ip().to_canonical().is_loopback())
            }
            Listener::Unix(_) | Listener::Handed(_) => false,
        }
    }

    /// Where that is, as a browser or curl has it.
    #[must_use]
    pub(crate) fn shown(&self) -> String {
        match &self.listener {
            Listener::Tcp(listener) => match listener.local_addr() {
                Ok(address) => format!("http://{address}/metrics"),
                Err(error) => format!("an address that is not told: {error}"),
            },
            Listener::Unix(bound) => format!("{}, path /metrics", bound.path().display()),
            Listener::Handed(_) => "the service manager's socket, path /metrics".to_owned(),
        }
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        match &self.listener {
            Listener::Tcp(listener) => listener.as_fd(),
            Listener::Unix(bound) => bound.as_fd(),
            Listener::Handed(socket) => socket.as_fd(),
        }
    }

    pub(super) fn accept(&self) -> Result<OwnedFd, Errno> {
        accept_with(self.fd(), SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)
    }

    pub(super) fn results(&mut self) -> Option<&mut Results> {
        self.results.as_mut()
    }
}
