//! A channel that is announced but not yet connected: what an unauthenticated peer finds.

use std::error::Error;
use std::os::fd::{AsFd, BorrowedFd};

use ipcd::internals::protocol::Link;
use ipcd::internals::protocol::{
    ChannelId, ChannelSpec, End, Event, Reply, Request, SocketAddress, dial, error_chain,
};
use ipcd::internals::transports::{
    ConnectError, Endpoint, RoundError, Rounds, Settings, Watch, find, reveal_sender, sender,
};

use super::daemon::clock;
use super::{Daemon, PATIENCE};

/// A channel that is announced but not yet connected, and the control connection that opened it.
pub(crate) struct Announced {
    pub(crate) link: Link,
    pub(crate) channel: ChannelId,
    pub(crate) settings: Settings,
    pub(crate) endpoint: Endpoint,
}

impl Announced {
    /// Takes the lease, which must be free or one of several, and asks for a channel.
    pub(crate) fn by(daemon: &Daemon, spec: &ChannelSpec) -> Self {
        match Self::try_by(daemon, spec) {
            Ok(announced) => announced,
            Err(other) => panic!("{spec:?}: {other:?}"),
        }
    }

    /// The same, or what is said instead.
    pub(crate) fn try_by(daemon: &Daemon, spec: &ChannelSpec) -> Result<Self, Box<Reply>> {
        Self::ask(daemon, spec).unwrap()
    }

    /// The same of a daemon that others use, too, whose turn may take however long, and that may end meanwhile.
    ///
    /// # Errors
    /// The daemon is lost: in words.
    pub(crate) fn ask(daemon: &Daemon, spec: &ChannelSpec) -> Result<Result<Self, Box<Reply>>, String> {
        let lost = |error: &(dyn Error + 'static)| error_chain(error);
        let address = SocketAddress::resolve(Some(&daemon.socket));
        let (mut link, _) = dial(&address).map_err(|error| lost(&error))?;
        reveal_sender(&link).unwrap();
        link.send(&Request::Acquire { wait: true }, &[]).map_err(|error| lost(&error))?;
        let daemon = sender(&link).map_err(|error| error.to_string())?;
        let mut patience = Some(PATIENCE);
        loop {
            match link.receive::<Reply>(patience).map_err(|error| lost(&error))? {
                Reply::Acquired => break,
                Reply::Queued { .. } => patience = None,
                other => return Ok(Err(Box::new(other))),
            }
        }
        link.send(&Request::Open(spec.clone()), &[]).map_err(|error| lost(&error))?;
        Ok(match link.receive(Some(PATIENCE)).map_err(|error| lost(&error))? {
            Reply::Opened { channel, token, endpoint, .. } => Ok(Self {
                channel,
                settings: Settings::of_own(spec, token).unwrap().1,
                endpoint: Endpoint { address: endpoint, descriptors: link.take_descriptors(), daemon },
                link,
            }),
            other => Err(Box::new(other)),
        })
    }

    /// Where it is, for another who wants to get there.
    pub(crate) fn endpoint(&self) -> Endpoint {
        let descriptors = self.endpoint.descriptors.iter().map(|one| one.try_clone().unwrap()).collect();
        Endpoint { address: self.endpoint.address.clone(), descriptors, daemon: self.endpoint.daemon }
    }

    /// Connects as the client that it was opened for. The channel goes with the connection, the second value.
    #[track_caller]
    pub(crate) fn connect(self) -> (Connected, Link) {
        let control = self.link.as_fd().try_clone_to_owned().unwrap();
        self.connect_watching(control.as_fd())
    }

    /// The same; its waits are given up for what can be read from `news`, and not from the control connection.
    #[track_caller]
    pub(crate) fn connect_watching(self, news: BorrowedFd<'_>) -> (Connected, Link) {
        let method = self.settings.method;
        let (connected, link) = self.try_connect(news);
        (connected.unwrap_or_else(|error| panic!("{method}: {error:?}")), link)
    }

    /// The same, or what became of it.
    pub(crate) fn try_connect(self, news: BorrowedFd<'_>) -> (Result<Connected, ConnectError>, Link) {
        let mut watch = Watch::new(news).unwrap();
        let mechanism = find(self.settings.method).unwrap();
        let connected = mechanism.connect(&self.settings, self.endpoint, &mut watch);
        (connected.map(|side| Connected { side, watch, next: 1 }), self.link)
    }

    /// Connects as the client that it was opened for, and runs rounds.
    #[track_caller]
    pub(crate) fn serves_its_client(self) {
        let method = self.settings.method;
        let (mut connected, _link) = self.connect();
        connected.rounds(50).unwrap_or_else(|error| panic!("{method}: {error}"));
    }

    /// Waits until the daemon reports the channel's end.
    #[track_caller]
    pub(crate) fn ends(mut self) -> End {
        end_of(&mut self.link, self.channel)
    }
}

/// Waits until the daemon reports a channel's end.
#[track_caller]
pub(crate) fn end_of(link: &mut Link, expected: ChannelId) -> End {
    match link.receive(Some(PATIENCE)) {
        Ok(Reply::Event(Event::Ended { channel, end })) => {
            assert_eq!(channel, expected);
            end
        }
        other => panic!("no end of channel {expected}: {other:?}"),
    }
}

/// The client's side of a channel, without the library's client around it.
pub(crate) struct Connected {
    side: Box<dyn Rounds>,
    watch: Watch,
    /// The next round's number.
    pub(crate) next: u64,
}

impl Connected {
    /// Runs rounds and compares the last one's bytes.
    pub(crate) fn rounds(&mut self, count: usize) -> Result<(), RoundError> {
        let block = self.side.timed(self.next, clock(), &mut vec![0; count], &mut self.watch);
        self.next += u64::try_from(block.done).unwrap();
        block.stop.map_or(Ok(()), Err)?;
        assert_eq!(block.done, count);
        self.side.verify()
    }
}
