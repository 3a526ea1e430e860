//! Everything that can go wrong in the client, with its exit code and what the user can do about it.

use std::error::Error;
use std::io;

use crate::exit::Exit;
use crate::protocol::link::LinkError;
use crate::protocol::{DialError, End, GreetingError, Refusal};
use crate::shortage::is_shortage;
use crate::transports::{ConnectError, RoundError};

use super::PrivateError;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// There is no daemon to talk to.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// No private daemon could be started.
    #[error(transparent)]
    Private(#[from] PrivateError),
    /// The daemon is gone or breaks the protocol.
    #[error("the daemon is lost")]
    Link(#[from] LinkError),
    /// The daemon stops.
    #[error("the daemon is stopping")]
    Stopping,
    /// The daemon refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The daemon answered something else than was asked.
    #[error("the daemon gave an answer that was not asked for: {0}")]
    Unexpected(String),
    /// A channel was opened and cannot be connected to.
    #[error("cannot connect to the {method} channel")]
    Connect {
        /// The mechanism.
        method: String,
        /// Why.
        source: ConnectError,
    },
    /// A round failed.
    #[error("the {method} channel broke off{}", .end.as_ref().map(|end| format!(": {end}")).unwrap_or_default())]
    Round {
        /// The mechanism.
        method: String,
        /// How the responder ended, if the daemon told.
        end: Option<End>,
        /// What the client saw.
        source: RoundError,
    },
    /// This process cannot run where it should.
    #[error("the client cannot run on CPU {cpu}")]
    Pin {
        /// The CPU.
        cpu: u32,
        /// The system's error.
        source: io::Error,
    },
    /// One of several channels that were open at once ended the run of all.
    #[error("channel {number} of {count} ended the run")]
    OneOf {
        /// Which, from 1.
        number: u32,
        /// How many there were.
        count: u32,
        /// What happened to it.
        source: Box<ClientError>,
    },
    /// This process could not have as many threads or descriptors as it has channels.
    #[error("this process cannot drive so many channels at once")]
    Thread(#[source] io::Error),
    /// Datagrams were lost one after the other: nobody answers.
    #[error("the {method} channel broke off: {losses} datagrams in a row were lost")]
    Silent {
        /// The mechanism.
        method: String,
        /// How many.
        losses: u32,
    },
    /// Whoever runs it has had enough, as [`Client::interrupt`](super::Client::interrupt) tells.
    #[error("the run was interrupted before all of its trials were completed")]
    Interrupted,
}

impl ClientError {
    /// The exit code that tells of it.
    #[must_use]
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
            Self::Link(LinkError::Closed | LinkError::Silent(_) | LinkError::Io(_)) | Self::Stopping => {
                Exit::Broken
            }
            Self::Link(_) | Self::Unexpected(_) => Exit::NotIpcd,
            Self::Refused(refusal) => refusal.exit(),
            Self::Connect { source, .. } if source.is_denied() => Exit::Permission,
            Self::Connect { source, .. } if source.is_unavailable() => Exit::Unavailable,
            Self::Connect { .. } | Self::Round { .. } | Self::Silent { .. } | Self::Interrupted => {
                Exit::Broken
            }
        }
    }

    /// Whether a channel that could not be opened is not to be had, here or by this client, where other mechanisms may be.
    #[must_use]
    pub(crate) fn is_lack(&self) -> bool {
        match self {
            Self::Connect { source, .. } => source.is_lack(),
            // It did not get at its client.
            Self::Round { end: Some(End::Failed(_)), .. } => true,
            Self::Refused(refusal) => {
                matches!(refusal, Refusal::Unavailable { .. } | Refusal::NotOpened { end: End::Failed(_) })
            }
            _ => false,
        }
    }

    /// Whether no later request through the same connection can succeed.
    pub(crate) fn is_final(&self) -> bool {
        matches!(self, Self::Link(_) | Self::Stopping | Self::Unexpected(_))
    }

    /// What the user can do, where that is not plain from the error.
    #[must_use]
    pub(crate) fn advice(&self) -> Option<&'static str> {
        match self {
            Self::Dial(error) => error.advice(),
            Self::Private(error) => error.advice(),
            Self::OneOf { source, .. } => source.advice(),
            Self::Thread(_) => Some("raise \"ulimit -n\" and \"ulimit -u\", or ask for fewer channels"),
            Self::Refused(refusal) => refusal.advice(),
            Self::Connect { source, .. } if source.is_denied() => {
                Some("ask for membership in the daemon's group, or use a daemon of your own (--private)")
            }
            Self::Connect { source, .. } if source.is_elsewhere() => Some(
                "look whether this client sees the daemon's processes, network and folders, which a container or a sandbox \
                 may keep from it; --private measures it",
            ),
            Self::Link(LinkError::Silent(_)) => {
                Some("look whether the daemon is stopped or its host is overloaded")
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
