//! What a client may ask, and what is done about it.

use super::{ConnectionId, Held, Server, count};
use crate::daemon::channel::Channel;
use crate::daemon::lease::Acquired;
use crate::protocol::{ChannelId, ChannelSpec, PROTOCOL_VERSION, Refusal, Reply, Request, Status};
use crate::transports::{self, Owner};

impl Server {
    /// Does what is asked, and replies now or, for a channel, once its responder has something to tell.
    pub(super) fn answer(&mut self, id: ConnectionId, request: Request) {
        let reply = match request {
            Request::Status => Reply::Status(self.status()),
            Request::Methods => Reply::Methods(transports::states_for(self.peer(id))),
            Request::Stop => match self.may_stop(id) {
                Ok(()) => {
                    self.stopping = true;
                    Reply::Stopping
                }
                Err(refusal) => return self.refuse(Some(id), refusal),
            },
            Request::Acquire { wait } => return self.acquire(id, wait),
            Request::Release => {
                self.end_run(id, "done");
                self.pass_on_lease(id);
                Reply::Released
            }
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
            max_connections: count(self.config.limits.connections),
            lease_holders: self.lease.holders().iter().map(|id| self.pid_of(*id)).collect(),
            queue: self.lease.queue().map(|id| self.pid_of(id)).collect(),
            channels: self
                .channels
                .values()
                .map(|held| held.channel.status(held.owner.map_or(0, |id| self.pid_of(id))))
                .collect(),
            max_channels: count(self.config.limits.channels),
            totals: self.totals,
        }
    }

    fn may_stop(&self, id: ConnectionId) -> Result<(), Refusal> {
        let uid = self.connections.get(&id).map_or(u32::MAX, |connection| connection.peer.uid);
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
            Acquired::QueueFull => {
                self.refuse(Some(id), Refusal::QueueFull { limit: count(self.config.limits.queue) });
            }
        }
    }

    fn open(&mut self, id: ConnectionId, spec: &ChannelSpec) -> Result<(), Refusal> {
        if self.stopping {
            return Err(Refusal::Stopping);
        }
        if !self.lease.is_held_by(id) {
            return Err(Refusal::NoLease);
        }
        if self.channels.len() >= self.config.limits.channels {
            return Err(Refusal::TooManyChannels { limit: count(self.config.limits.channels) });
        }
        let channel_id = self.next_channel;
        let name = format!("{}-{channel_id}", self.instance);
        let channel = Channel::start(channel_id, spec, name, self.peer(id))?;
        self.next_channel += 1;
        self.channels.insert(channel_id, Held { channel, owner: Some(id), closing: false });
        Ok(())
    }

    /// Who is at the other end of a connection.
    fn peer(&self, id: ConnectionId) -> Owner {
        self.connections.get(&id).map_or_else(Owner::this, |connection| connection.peer)
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
