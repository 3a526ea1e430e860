//! Everything that can go wrong in the client, with its exit code and what the user can do about it.

use std::error::Error;
use std::io;
use std::time::Duration;

use crate::diagnostics::report_error;
use crate::exit::Exit;
use crate::protocol::link::LinkError;
use crate::protocol::{DialError, End, GreetingError, Refusal};
use crate::shortage::is_shortage;
use crate::transports::{ConnectError, RoundError};

use super::PrivateError;

/// An error of a [`Client`](super::Client) or of a measurement through it. The cause is in
/// [`source`](std::error::Error::source).
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No connection to the daemon could be made.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// No private daemon could be started.
    #[error(transparent)]
    Private(#[from] PrivateError),
    /// The connection to the daemon is lost, or the daemon violates the protocol.
    #[error("the daemon is lost")]
    Link(#[from] LinkError),
    /// The daemon is stopping.
    #[error("the daemon is stopping")]
    Stopping,
    /// The daemon took the lease from this client, since its process made no progress.
    #[error(
        "the daemon revoked the lease: this process made no progress for {} while other clients waited",
        humantime::format_duration(*.after)
    )]
    Revoked {
        /// For how long.
        after: Duration,
    },
    /// Another client held the lease for longer than this one waits.
    #[error("another measurement is still running after {}", humantime::format_duration(*.waited))]
    StillBusy {
        /// How long this client has waited.
        waited: Duration,
    },
    /// The daemon refused the request.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The daemon sent a reply that does not match the request.
    #[error("the daemon's reply does not match the request: {0}")]
    Unexpected(String),
    /// A channel was opened, but connecting to it failed.
    #[error("cannot connect to the {method} channel")]
    Connect {
        /// The method's name.
        method: String,
        /// The reason.
        source: ConnectError,
    },
    /// A round failed.
    #[error("the {method} channel failed{}", .end.as_ref().map(|end| format!(": {end}")).unwrap_or_default())]
    Round {
        /// The method's name.
        method: String,
        /// How the responder ended, if the daemon reported it.
        end: Option<End>,
        /// The round's error.
        source: RoundError,
    },
    /// The client cannot be pinned to the CPU.
    #[error("the client cannot run on CPU {cpu}")]
    Pin {
        /// The CPU.
        cpu: u32,
        /// The system's error.
        source: io::Error,
    },
    /// One of several parallel channels ended the run of all.
    #[error("channel {number} of {count} ended the run")]
    OneOf {
        /// Its number, from 1.
        number: u32,
        /// The number of channels.
        count: u32,
        /// Its error.
        source: Box<ClientError>,
    },
    /// The system allows too few threads or descriptors for this many channels.
    #[error("this process cannot drive this many channels at once")]
    Thread(#[source] io::Error),
    /// Several datagrams in a row were lost: the responder does not reply.
    #[error("the {method} channel failed: {losses} datagrams in a row were lost")]
    Silent {
        /// The method's name.
        method: String,
        /// The number of lost datagrams.
        losses: u32,
    },
    /// The run was interrupted, by SIGINT or SIGTERM in `ipc-client`.
    #[error("the run was interrupted before all of its trials were completed")]
    Interrupted,
}

impl ClientError {
    /// The exit code for this error.
    #[must_use]
    #[doc(hidden)]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Dial(error) => error.exit(),
            Self::Private(error) => error.exit(),
            Self::Thread(error) if is_shortage(error) => Exit::Unavailable,
            Self::Thread(_) => Exit::Failure,
            Self::OneOf { source, .. } => source.exit(),
            Self::Pin { .. } => Exit::Unavailable,
            Self::Link(LinkError::Greeting(GreetingError::Version { .. })) => Exit::Version,
            Self::Link(error) if is_shortage(error) => Exit::Unavailable,
            Self::Link(LinkError::Closed | LinkError::Silent(_) | LinkError::Io(_))
            | Self::Stopping
            | Self::Revoked { .. } => Exit::Broken,
            Self::StillBusy { .. } => Exit::Busy,
            Self::Link(_) | Self::Unexpected(_) => Exit::NotIpcd,
            Self::Refused(refusal) => refusal.exit(),
            Self::Connect { source, .. } if source.is_denied() => Exit::Permission,
            Self::Connect { source, .. } if source.is_unavailable() => Exit::Unavailable,
            Self::Connect { .. } | Self::Round { .. } | Self::Silent { .. } | Self::Interrupted => {
                Exit::Broken
            }
        }
    }

    /// Whether opening a channel failed because this host or this client lacks the method, so that others may work.
    #[must_use]
    pub(crate) fn is_lack(&self) -> bool {
        match self {
            Self::Connect { source, .. } => source.is_lack(),
            // The responder could not reach its client.
            Self::Round { end: Some(End::Failed(_)), .. } => true,
            Self::Refused(refusal) => {
                matches!(refusal, Refusal::Unavailable { .. } | Refusal::NotOpened { end: End::Failed(_) })
            }
            _ => false,
        }
    }

    /// Whether no later request through the same connection can succeed.
    pub(crate) fn is_final(&self) -> bool {
        matches!(self, Self::Link(_) | Self::Stopping | Self::Revoked { .. } | Self::Unexpected(_))
    }

    /// What the user can do, if that is not clear from the error.
    #[must_use]
    pub(crate) fn advice(&self) -> Option<&'static str> {
        match self {
            Self::Dial(error) => error.advice(),
            Self::Private(error) => error.advice(),
            Self::OneOf { source, .. } => source.advice(),
            Self::Thread(_) => Some("raise \"ulimit -n\" and \"ulimit -u\", or ask for fewer channels"),
            Self::Refused(refusal) => refusal.advice(),
            Self::Connect { source, .. } if source.is_denied() => {
                Some("join the daemon's group, or use a private daemon (--private)")
            }
            Self::Connect { source, .. } if source.is_elsewhere() => Some(
                "check that this client sees the daemon's processes, network and folders, which a container or a sandbox may \
                 hide; --private measures without the daemon",
            ),
            Self::Revoked { .. } => Some(
                "do not stop or freeze a client that measures, or start the daemon with a larger --revoke-after",
            ),
            Self::StillBusy { .. } => Some("\"ipc-client status\" shows which process measures"),
            Self::Link(LinkError::Silent(_)) => {
                Some("check whether the daemon is suspended or its host is overloaded")
            }
            _ => None,
        }
    }
}

/// Why a command failed: the error, what the user can do, and the exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    pub error: Box<dyn Error>,
    pub advice: Option<String>,
    pub exit: Exit,
}

impl Failure {
    /// A failure without advice.
    pub(crate) fn new(exit: Exit, error: impl Into<Box<dyn Error>>) -> Self {
        Self { error: error.into(), advice: None, exit }
    }

    /// Prints why and what the user can do, and returns the exit code.
    pub(crate) fn report(&self) -> Exit {
        report_error("ipc-client", self.error.as_ref(), self.advice.as_deref());
        self.exit
    }

    /// The command line asks for something impossible.
    pub(crate) fn usage(error: impl Into<Box<dyn Error>>) -> Self {
        Self::new(Exit::Usage, error)
    }

    /// This host cannot do it.
    pub(crate) fn unavailable(error: impl Into<Box<dyn Error>>) -> Self {
        Self::new(Exit::Unavailable, error)
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self { advice: error.advice().map(str::to_owned), exit: error.exit(), error: error.into() }
    }
}
