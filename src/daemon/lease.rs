//! The lease: one measurement at a time, since two would disturb each other. Who holds it, who waits for it, what the
//! holders have opened so far, and which of them make no progress.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::time::{Duration, Instant};

use log::{Level, debug};

use super::connection::ConnectionId;
use super::logging::RateLimit;
use crate::transports::Owner;
use crate::units::counted;

/// How many kinds of channels the log line of a run lists.
const KINDS_LISTED: usize = 6;

/// How many kinds of channels a run counts separately: a client that keeps changing sizes must not grow the daemon.
const KINDS_COUNTED: usize = 100;

/// How many times in a row a holder must be found without progress. A daemon that was itself stopped or suspended finds it
/// once.
const CHECKS: u32 = 4;

/// The lease and the queue for it.
#[derive(Debug)]
pub(super) struct Lease {
    slots: usize,
    /// How long a holder may make no progress while others want the lease.
    patience: Duration,
    /// Whether a client that does not wait was refused since a holder last gave the lease back.
    refused: bool,
    /// When to check the holders' progress; `None` while no client wants the lease.
    check_at: Option<Instant>,
    holders: Vec<Run>,
    queue: VecDeque<Waiting>,
    /// Separate from the limit for misbehaving peers, which must not suppress the record of what was measured.
    log: RateLimit,
}

/// A client that holds the lease, and its channels: one log line at the end.
#[derive(Debug)]
pub(super) struct Run {
    id: ConnectionId,
    /// The client's process and user.
    pub(super) client: Owner,
    since: Instant,
    /// Channels opened, by kind.
    kinds: BTreeMap<String, u32>,
    /// Channels of kinds that are not counted separately.
    others: u32,
    broken: u32,
    /// The CPU time of the client's process when it was last checked.
    cpu: Option<Duration>,
    /// How many checks in a row have found no progress.
    stalled: u32,
}

/// A client in the queue.
#[derive(Debug)]
struct Waiting {
    id: ConnectionId,
    client: Owner,
    /// The position that the client was last sent.
    position: usize,
}

/// The result of a request for the lease.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Acquired {
    /// The client holds it.
    Now,
    /// The client's position in the queue; 1 is next.
    Queued(usize),
    /// Another client holds it, and this one does not wait.
    Busy {
        /// That client's process.
        holder_pid: u32,
    },
}

impl Lease {
    /// A lease for up to `slots` clients at a time, which may make no progress for `patience`.
    pub(super) fn new(slots: usize, patience: Duration) -> Self {
        Self {
            slots,
            patience,
            refused: false,
            check_at: None,
            holders: Vec::new(),
            queue: VecDeque::new(),
            log: RateLimit::default(),
        }
    }

    /// Requests the lease. A holder keeps it; a waiting client keeps its position, unless it no longer waits.
    pub(super) fn acquire(&mut self, id: ConnectionId, client: Owner, wait: bool) -> Acquired {
        if self.run(id).is_some() {
            return Acquired::Now;
        }
        if !wait {
            self.queue.retain(|waiting| waiting.id != id);
        } else if let Some(waiting) = self.queue.iter().find(|waiting| waiting.id == id) {
            return Acquired::Queued(waiting.position);
        }
        if self.holders.len() < self.slots {
            self.grant(id, client);
            return Acquired::Now;
        }
        self.check_at.get_or_insert_with(|| Instant::now() + self.patience / CHECKS);
        if !wait {
            self.refused = true;
            return Acquired::Busy { holder_pid: self.holders.first().map_or(0, |run| run.client.pid) };
        }
        let position = self.queue.len() + 1;
        self.queue.push_back(Waiting { id, client, position });
        Acquired::Queued(position)
    }

    /// Takes the lease, or the position in the queue, from a client. `why` goes to the log.
    pub(super) fn release(&mut self, id: ConnectionId, why: impl fmt::Display) {
        self.queue.retain(|waiting| waiting.id != id);
        if let Some(index) = self.holders.iter().position(|run| run.id == id) {
            let run = self.holders.remove(index);
            self.refused = false;
            if run.kinds.is_empty() {
                debug!("client {id}: {run}; {why}");
            } else {
                self.log.write(Some(run.client.uid), Level::Info, format_args!("{run}; {why}"));
            }
        }
    }

    /// Changes how many clients may hold the lease, and how patient others are. Present holders keep it.
    pub(super) fn reconfigure(&mut self, slots: usize, patience: Duration) {
        self.slots = slots;
        self.patience = patience;
        self.check_at = self.check_at.map(|_| Instant::now() + patience / CHECKS);
    }

    /// How long a holder may make no progress.
    pub(super) fn patience(&self) -> Duration {
        self.patience
    }

    /// When to check the holders' [progress](Self::stalled).
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.check_at
    }

    /// The holders that have made no progress for too long, while others want the lease. A client makes progress if its process
    /// uses any CPU time: its [tick](crate::transports::Watch) does with each open channel, whatever it waits for. One whose process
    /// is not visible here cannot be judged.
    pub(super) fn stalled(
        &mut self,
        now: Instant,
        cpu_of: impl Fn(u32) -> Option<Duration>,
    ) -> Vec<ConnectionId> {
        if self.check_at.is_none_or(|at| at > now) {
            return Vec::new();
        }
        let is_wanted = self.refused || !self.queue.is_empty();
        self.check_at = is_wanted.then(|| now + self.patience / CHECKS);
        for run in &mut self.holders {
            let cpu = cpu_of(run.client.pid);
            run.stalled = if is_wanted && cpu.is_some() && cpu == run.cpu { run.stalled + 1 } else { 0 };
            run.cpu = cpu;
        }
        self.holders.iter().filter(|run| run.stalled >= CHECKS).map(|run| run.id).collect()
    }

    /// Grants the lease to the next client in the queue, if there is a free slot.
    pub(super) fn grant_next(&mut self) -> Option<ConnectionId> {
        if self.holders.len() >= self.slots {
            return None;
        }
        let next = self.queue.pop_front()?;
        self.grant(next.id, next.client);
        Some(next.id)
    }

    /// The clients whose position in the queue differs from what they were sent, with their new positions.
    pub(super) fn moved(&mut self) -> Vec<(ConnectionId, usize)> {
        let mut moved = Vec::new();
        for (index, waiting) in self.queue.iter_mut().enumerate() {
            if waiting.position != index + 1 {
                waiting.position = index + 1;
                moved.push((waiting.id, waiting.position));
            }
        }
        moved
    }

    /// Whether a client would have to join the queue.
    pub(super) fn would_queue(&self, id: ConnectionId) -> bool {
        let is_known = self.holders.iter().any(|run| run.id == id) || self.queue.iter().any(|it| it.id == id);
        self.holders.len() >= self.slots && !is_known
    }

    /// The run of a client that holds the lease.
    pub(super) fn run(&mut self, id: ConnectionId) -> Option<&mut Run> {
        self.holders.iter_mut().find(|run| run.id == id)
    }

    /// The runs of the clients that hold the lease.
    pub(super) fn holders(&self) -> &[Run] {
        &self.holders
    }

    /// The clients that wait, the next one first.
    pub(super) fn queue(&self) -> impl Iterator<Item = Owner> {
        self.queue.iter().map(|waiting| waiting.client)
    }

    fn grant(&mut self, id: ConnectionId, client: Owner) {
        debug!("client {id}: has the lease");
        let since = Instant::now();
        let kinds = BTreeMap::new();
        self.holders.push(Run { id, client, since, kinds, others: 0, broken: 0, cpu: None, stalled: 0 });
    }
}

/// The daemon's status line for the service manager.
impl fmt::Display for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let holders: Vec<_> = self
            .holders
            .iter()
            .map(|Run { client, .. }| format!("user {}, process {}", client.uid, client.pid))
            .collect();
        match (holders.is_empty(), self.queue.len()) {
            (true, _) => f.write_str("idle"),
            (false, 0) => write!(f, "measuring for {}", holders.join(" and for ")),
            (false, waiting) => write!(f, "measuring for {}; {waiting} waiting", holders.join(" and for ")),
        }
    }
}

impl Run {
    /// Counts a channel that was opened.
    pub(super) fn opened(&mut self, kind: &str) {
        if let Some(count) = self.kinds.get_mut(kind) {
            *count = count.saturating_add(1);
        } else if self.kinds.len() < KINDS_COUNTED {
            self.kinds.insert(kind.to_owned(), 1);
        } else {
            self.others = self.others.saturating_add(1);
        }
    }

    /// Counts a channel that ended before its client closed it.
    pub(super) fn broke(&mut self) {
        self.broken = self.broken.saturating_add(1);
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = Duration::from_millis(u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX));
        let channels = self.kinds.values().fold(self.others, |sum, count| sum.saturating_add(*count));
        write!(
            f,
            "user {}, process {} measured for {}: {}",
            self.client.uid,
            self.client.pid,
            humantime::format_duration(time),
            counted(channels.into(), "channel"),
        )?;
        for (index, (kind, count)) in self.kinds.iter().take(KINDS_LISTED).enumerate() {
            write!(f, "{} {count} × {kind}", if index == 0 { ":" } else { ";" })?;
        }
        match self.kinds.len().saturating_sub(KINDS_LISTED) {
            0 => {}
            more if self.others == 0 => write!(f, "; and {more} more kinds")?,
            more => write!(f, "; and over {more} more kinds")?,
        }
        match self.broken {
            0 => Ok(()),
            broken => write!(f, "; {broken} ended early"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    const NONE: [ConnectionId; 0] = [];

    fn new_lease() -> Lease {
        Lease::new(1, PATIENCE)
    }

    fn acquire(lease: &mut Lease, id: ConnectionId, wait: bool) -> Acquired {
        lease.acquire(id, Owner::this(), wait)
    }

    /// The client that is granted the lease when another has released it.
    fn release(lease: &mut Lease, id: ConnectionId) -> Option<ConnectionId> {
        lease.release(id, "done");
        lease.grant_next()
    }

    fn holders(lease: &Lease) -> Vec<ConnectionId> {
        lease.holders().iter().map(|run| run.id).collect()
    }

    #[test]
    fn added_slots_are_granted_at_once() {
        let mut lease = new_lease();
        for id in 1..=4 {
            acquire(&mut lease, id, true);
        }
        assert_eq!(lease.grant_next(), None);
        lease.reconfigure(3, PATIENCE);
        assert_eq!([lease.grant_next(), lease.grant_next(), lease.grant_next()], [Some(2), Some(3), None]);
        assert_eq!(lease.moved(), [(4, 1)]);
        assert_eq!(lease.moved(), []);
        // Fewer slots take it from no client.
        lease.reconfigure(1, PATIENCE);
        assert_eq!(release(&mut lease, 1), None);
        assert_eq!(holders(&lease), [2, 3]);
    }

    #[test]
    fn the_lease_is_granted_to_one_client_at_a_time_in_order() {
        let mut lease = new_lease();
        assert_eq!(acquire(&mut lease, 1, true), Acquired::Now);
        assert_eq!(acquire(&mut lease, 2, true), Acquired::Queued(1));
        assert_eq!(acquire(&mut lease, 3, true), Acquired::Queued(2));
        assert_eq!(release(&mut lease, 1), Some(2));
        assert_eq!(holders(&lease), [2]);
        assert_eq!(release(&mut lease, 2), Some(3));
        assert_eq!(release(&mut lease, 3), None);
        assert!(lease.holders().is_empty());
    }

    #[test]
    fn a_client_that_does_not_wait_is_refused() {
        let mut lease = new_lease();
        acquire(&mut lease, 1, true);
        let busy = Acquired::Busy { holder_pid: std::process::id() };
        assert_eq!(acquire(&mut lease, 2, false), busy);
        assert_eq!(acquire(&mut lease, 3, true), Acquired::Queued(1));
        assert_eq!(acquire(&mut lease, 3, false), busy, "and leaves the queue");
        assert_eq!(release(&mut lease, 1), None);
    }

    #[test]
    fn a_repeated_request_changes_nothing() {
        let mut lease = new_lease();
        acquire(&mut lease, 1, true);
        acquire(&mut lease, 2, true);
        assert_eq!(acquire(&mut lease, 1, false), Acquired::Now);
        assert_eq!(acquire(&mut lease, 2, true), Acquired::Queued(1));
        assert_eq!(lease.queue().count(), 1);
    }

    #[test]
    fn a_client_that_leaves_the_queue_is_skipped() {
        let mut lease = new_lease();
        for id in 1..=3 {
            acquire(&mut lease, id, true);
        }
        assert_eq!(release(&mut lease, 2), None);
        assert_eq!(lease.moved(), [(3, 1)]);
        assert_eq!(release(&mut lease, 1), Some(3));
    }

    #[test]
    fn only_a_new_client_would_join_the_queue() {
        let mut lease = new_lease();
        assert!(!lease.would_queue(1));
        acquire(&mut lease, 1, true);
        acquire(&mut lease, 2, true);
        assert_eq!([1, 2, 3].map(|id| lease.would_queue(id)), [false, false, true]);
    }

    /// The holders that are found without progress in checks at their time, with these CPU times of the holder's process.
    fn stalled_at(lease: &mut Lease, cpu_s: &[u64]) -> Vec<Vec<ConnectionId>> {
        let check = |cpu: &u64| {
            let at = lease.deadline().expect("others want the lease");
            lease.stalled(at, |_| Some(Duration::from_secs(*cpu)))
        };
        cpu_s.iter().map(check).collect()
    }

    #[test]
    fn a_holder_without_progress_is_found_once_others_have_waited() {
        let mut lease = new_lease();
        acquire(&mut lease, 1, true);
        assert_eq!(lease.deadline(), None, "no client waits, and no timer wakes the daemon");
        for wait in [true, false] {
            acquire(&mut lease, 2, wait);
            let start = Instant::now();
            assert_eq!(stalled_at(&mut lease, &[1, 1, 1, 1, 2, 2, 2, 2]), vec![NONE; 8], "it is slow");
            assert_eq!(stalled_at(&mut lease, &[2]), [[1]]);
            assert!(lease.deadline().unwrap() >= start + 2 * PATIENCE);
            stalled_at(&mut lease, &[0]);
        }
        // It has been checked too late: the daemon was stopped, and the client may have been.
        let late = lease.deadline().unwrap() + 10 * PATIENCE;
        assert_eq!(lease.stalled(late, |_| Some(Duration::ZERO)), NONE);
        for _ in 0..2 * CHECKS {
            let at = lease.deadline().unwrap();
            assert_eq!(lease.stalled(at, |_| None), NONE, "its process is not visible");
        }
        // The next holder is judged for itself, and nothing is checked when no client wants the lease.
        acquire(&mut lease, 3, true);
        assert_eq!(release(&mut lease, 1), Some(3));
        assert_eq!(stalled_at(&mut lease, &[5]), [NONE]);
        assert_eq!(lease.deadline(), None);
    }

    #[test]
    fn a_run_counts_a_bounded_number_of_kinds() {
        let mut lease = new_lease();
        acquire(&mut lease, 1, true);
        let run = lease.run(1).unwrap();
        for size in 0..10_000 {
            run.opened(&format!("tcp, {size} bytes"));
        }
        run.opened("tcp, 0 bytes");
        assert_eq!(run.kinds.len(), KINDS_COUNTED);
        let shown = run.to_string();
        assert!(shown.contains(": 10001 channels") && shown.contains("over 94 more kinds"), "{shown}");
    }
}
