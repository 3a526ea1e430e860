//! What a client may ask, and what is done about it.

use super::{ConnectionId, Held, Server, count};
use crate::daemon::channel::Channel;
use crate::daemon::lease::Acquired;
use crate::diagnostics::error_chain;
use crate::protocol::{ChannelId, ChannelSpec, PROTOCOL_VERSION, Refusal, Reply, Request, Resource, Status};
use crate::transports::sys::{find_descriptors, peer_groups};
use crate::transports::{self, Owner};

/// What it takes, for a moment, to see whether the host has a mechanism.
const PROBE_DESCRIPTORS: usize = 8;

impl Server {
    /// Does what is asked, and replies now or, for a channel, once its responder has something to tell.
    pub(super) fn answer(&mut self, id: ConnectionId, request: Request) {
        let reply = match request {
            Request::Status => Reply::Status(self.status()),
            Request::Methods => match find_descriptors(PROBE_DESCRIPTORS) {
                Ok(()) => Reply::Methods(transports::states_for(self.peer(id), self.groups(id).as_deref())),
                Err(error) => {
                    return self.refuse(Some(id), Refusal::Shortage { reason: error_chain(&error) });
                }
            },
            Request::Stop => match self.may_stop(id) {
                Ok(()) => {
                    self.stopping = true;
                    Reply::Stopping
                }
                Err(refusal) => return self.refuse(Some(id), refusal),
            },
            Request::Acquire { wait } => return self.acquire(id, wait),
            Request::Release => match self.release(id) {
                Ok(()) => Reply::Released,
                Err(refusal) => return self.refuse(Some(id), refusal),
            },
            Request::Open(spec) => match self.open(id, &spec) {
                Ok(()) => return,
                Err(refusal) => return self.refuse(Some(id), refusal),
            },
            Request::Usage(channel) => match self.usage(id, channel) {
                Ok(reply) => reply,
                Err(refusal) => return self.refuse(Some(id), refusal),
            },
            Request::Close(channel) => match self.channels.get_mut(&channel) {
                Some(held) if held.owner == Some(id) && !held.closing => {
                    held.closing = true;
                    return held.channel.kill();
                }
                _ => return self.refuse(Some(id), Refusal::NoChannel { channel }),
            },
        };
        self.send(id, &reply, Vec::new());
    }

    fn status(&self) -> Status {
        Status {
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            protocol_version: PROTOCOL_VERSION,
            uptime_ns: u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX),
            connections: count(self.connections.len()),
            lease_holders: self
                .lease
                .holders()
                .iter()
                .take(Status::MOST_LISTED)
                .map(|id| self.pid_of(*id))
                .collect(),
            queue: self.lease.queue().take(Status::MOST_LISTED).map(|id| self.pid_of(id)).collect(),
            channels: self
                .channels
                .values()
                .take(Status::MOST_LISTED)
                .map(|held| held.channel.status(held.owner.map_or(0, |id| self.pid_of(id))))
                .collect(),
            limits: Resource::ALL
                .map(|resource| self.used(resource).tell(resource, self.config.limits.of(resource)))
                .to_vec(),
            totals: self.totals,
        }
    }

    fn may_stop(&self, id: ConnectionId) -> Result<(), Refusal> {
        let uid = self.uid_of(id);
        if uid == 0 || uid == rustix::process::geteuid().as_raw() {
            Ok(())
        } else {
            Err(Refusal::NotPermitted { uid })
        }
    }

    fn acquire(&mut self, id: ConnectionId, wait: bool) {
        if self.stopping {
            return self.refuse(Some(id), Refusal::Stopping);
        }
        if wait
            && self.lease.is_full_for(id)
            && let Err(over) = self.admit(Resource::Queue, self.uid_of(id), 1)
        {
            return self.refuse(Some(id), over.into());
        }
        match self.lease.acquire(id, wait) {
            Acquired::Now => {
                self.begin_run(id);
                self.send(id, &Reply::Acquired, Vec::new());
            }
            Acquired::Place(place) => self.send(id, &Reply::Queued { place: count(place) }, Vec::new()),
            Acquired::Busy => {
                let holder_pid = self.lease.holders().first().map_or(0, |holder| self.pid_of(*holder));
                self.refuse(Some(id), Refusal::Busy { holder_pid });
            }
        }
    }

    fn release(&mut self, id: ConnectionId) -> Result<(), Refusal> {
        let open = |held: &&Held| held.owner == Some(id) && !held.closing;
        let channels = self.channels.values().filter(open).count();
        if channels > 0 {
            return Err(Refusal::ChannelsOpen { channels: count(channels) });
        }
        self.end_run(id, "done");
        self.pass_on_lease(id);
        Ok(())
    }

    fn open(&mut self, id: ConnectionId, spec: &ChannelSpec) -> Result<(), Refusal> {
        if self.stopping {
            return Err(Refusal::Stopping);
        }
        if !self.lease.is_held_by(id) {
            return Err(Refusal::NoLease);
        }
        let client = self.peer(id);
        let memory = transports::memory_of(spec)?;
        self.admit(Resource::Channels, client.uid, 1)?;
        self.admit(Resource::Memory, client.uid, memory)?;
        let channel_id = self.next_channel;
        let name = format!("{}-{channel_id}", self.instance);
        let channel = Channel::start(channel_id, spec, name, client)?;
        self.next_channel += 1;
        self.channels
            .insert(channel_id, Held { channel, owner: Some(id), uid: client.uid, memory, closing: false });
        Ok(())
    }

    /// Who is at the other end of a connection.
    fn peer(&self, id: ConnectionId) -> Owner {
        self.connections.get(&id).map_or_else(Owner::this, |connection| connection.peer)
    }

    /// What further groups that is in; nothing where the kernel does not tell (before Linux 4.13).
    fn groups(&self, id: ConnectionId) -> Option<Vec<u32>> {
        self.connections.get(&id).and_then(|connection| peer_groups(connection).ok())
    }

    fn usage(&self, id: ConnectionId, channel: ChannelId) -> Result<Reply, Refusal> {
        self.channels
            .get(&channel)
            .filter(|held| held.owner == Some(id))
            .and_then(|held| transports::sys::usage(Some(held.channel.responder_pid())).ok())
            .map(Reply::Usage)
            .ok_or(Refusal::NoChannel { channel })
    }
}
