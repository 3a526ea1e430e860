//! Mechanisms by which a process reaches its peer by the peer's process id. They do not cross PID namespaces.

use super::{ConnectError, ServeError, Settings};

/// The client's process id, as the responder has it.
pub(super) fn client(settings: &Settings) -> Result<i32, ServeError> {
    let client = settings.client;
    if client.pid == 0 {
        return Err(ServeError::Peer(
            "the client's process is not to be seen from here: it has a PID namespace \
                                     of its own"
                .into(),
        ));
    }
    Ok(client.pid.cast_signed())
}

/// The endpoint of a responder: its process, its supervisor's, and its client's.
pub(super) fn endpoint(client: i32) -> String {
    let supervisor = rustix::process::getppid().map_or(0, |pid| pid.as_raw_nonzero().get());
    format!("process {} of {supervisor} for {client}", std::process::id())
}

/// Where a responder is.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Responder {
    pub(super) pid: i32,
    /// Its supervisor.
    pub(super) supervisor: i32,
}

impl Responder {
    /// Understands an [`endpoint`].
    pub(super) fn of(endpoint: &str) -> Result<Self, ConnectError> {
        let words: Vec<_> = endpoint.split(' ').collect();
        let ["process", pid, "of", supervisor, "for", client] = words[..] else {
            return Err(ConnectError::Endpoint(endpoint.to_owned()));
        };
        let number = |word: &str| word.parse().map_err(|_| ConnectError::Endpoint(endpoint.to_owned()));
        // Known there by another number: what it says of itself would be another process here.
        if number(client)? != std::process::id().cast_signed() {
            return Err(ConnectError::OtherNamespace);
        }
        Ok(Self { pid: number(pid)?, supervisor: number(supervisor)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_understood_by_the_client_that_it_is_for() {
        let own = std::process::id().cast_signed();
        let responder = Responder::of(&endpoint(own)).unwrap();
        assert_eq!(responder.pid, own);
        assert!(responder.supervisor > 0);
        assert!(matches!(Responder::of(&endpoint(own + 1)), Err(ConnectError::OtherNamespace)));
        assert!(matches!(Responder::of("process x of y for z"), Err(ConnectError::Endpoint(_))));
    }
}
