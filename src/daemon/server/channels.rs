//! What becomes of channels: open, broken off, closed.

use std::io;
use std::time::{Duration, Instant};

use log::{Level, debug, warn};

use super::{Held, Server, count, runs};
use crate::daemon::channel::{News, READY_PATIENCE, State};
use crate::protocol::{ChannelId, End, Event, Refusal, Reply};

/// How long responders may take to end when the daemon stops. They are killed: only the kernel can delay them.
const STOP_PATIENCE: Duration = Duration::from_millis(900);

impl Server {
    pub(super) fn hear_channel(&mut self, id: ChannelId) {
        let Some(held) = self.channels.get_mut(&id) else { return };
        match held.channel.receive() {
            None => {}
            Some(News::Ready { endpoint, descriptors, cpu }) => {
                let channel = &mut held.channel;
                if channel.state != State::Starting {
                    return;
                }
                channel.state = State::Open;
                let reply = Reply::Opened {
                    channel: id,
                    token: channel.token,
                    endpoint,
                    descriptors: count(descriptors.len()),
                    responder_pid: channel.responder_pid(),
                    responder_cpu: cpu,
                };
                let Some(owner) = held.owner else { return };
                let kind = channel.kind();
                debug!("client {owner}: channel {id} is open: {kind}, responder {}", channel.responder_pid());
                self.runs.entry(owner).and_modify(|run| run.opened(kind));
                self.totals.channels_opened += 1;
                self.counters.opened(held.channel.method());
                self.send(owner, &reply, descriptors);
            }
            Some(News::Ended(end)) => {
                if let Some(held) = self.channels.remove(&id) {
                    // What removes a folder has to open it.
                    self.spare.lend(|| held.channel.remove_leftovers());
                    self.bury(&held, end);
                }
            }
        }
    }

    /// Deals with a channel that has not come so far in time.
    pub(super) fn wait_no_longer(&mut self, id: ChannelId) {
        let Some(held) = self.channels.get_mut(&id) else { return };
        if held.channel.state != State::Starting || held.channel.is_leaving() {
            return self.hear_channel(id);
        }
        held.channel.kill();
        let (owner, uid) = (held.owner, held.uid);
        let line = format_args!("channel {id}: its responder is not ready in time and is killed");
        self.tell_rationed(Some(uid), Level::Warn, line);
        let deadline_ms = u32::try_from(READY_PATIENCE.as_millis()).unwrap_or(u32::MAX);
        self.refuse(owner, Refusal::NotReady { deadline_ms });
    }

    /// Tells whom it concerns that a channel is no more.
    fn bury(&mut self, held: &Held, end: End) {
        let id = held.channel.id;
        let Some(owner) = held.owner else {
            return debug!("channel {id}: ended, its client is gone");
        };
        if held.closing {
            debug!("client {owner}: channel {id} is closed");
            return self.send(owner, &Reply::Closed, Vec::new());
        }
        match held.channel.state {
            State::Starting => self.refuse(Some(owner), Refusal::NotOpened { end }),
            // It was killed for being late, which its client knows.
            State::Ending => {}
            State::Open => {
                // Code 0 says that the client has closed its side: it goes, and will say so or be gone.
                if end == End::Exited(0) {
                    debug!("client {owner}: channel {id} ({}) was left by its client", held.channel.kind());
                } else {
                    let line =
                        format_args!("client {owner}: channel {id} ({}) ended: {end}", held.channel.kind());
                    self.tell_rationed(Some(held.uid), Level::Warn, line);
                    self.totals.channels_broken += 1;
                    self.counters.broke(held.channel.method());
                    self.runs.entry(owner).and_modify(runs::Run::broke);
                }
                self.send(owner, &Reply::Event(Event::Ended { channel: id, end }), Vec::new());
            }
        }
    }

    /// Ends every channel, and tells every client.
    pub(super) fn end_channels(&mut self) -> io::Result<()> {
        self.stopping = true;
        let ids: Vec<_> = self.connections.keys().copied().collect();
        for id in ids {
            self.end_run(id, "the daemon stops");
            self.send(id, &Reply::Event(Event::Stopping), Vec::new());
        }
        for held in self.channels.values_mut() {
            held.owner = None;
            held.channel.kill();
        }
        let deadline = Instant::now() + STOP_PATIENCE;
        while !self.channels.is_empty() && Instant::now() < deadline {
            self.accept_again = Some(deadline);
            self.turn(None, None, None)?;
        }
        for held in self.channels.values() {
            warn!("channel {}: its responder does not end", held.channel.id);
        }
        Ok(())
    }
}
