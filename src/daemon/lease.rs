//! Whose turn it is to measure: two measurements at a time disturb each other.

use std::collections::VecDeque;

/// The lease and the line of those who wait for it.
#[derive(Debug)]
pub(super) struct Lease<Id> {
    slots: usize,
    holders: Vec<Id>,
    queue: VecDeque<Id>,
}

/// What became of a request for the lease.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Acquired {
    /// It is the caller's.
    Now,
    /// The caller stands in line; 1 is next.
    Place(usize),
    /// It is taken.
    Busy,
}

impl<Id: Copy + PartialEq> Lease<Id> {
    /// A lease that `slots` may hold at a time.
    pub(super) fn new(slots: usize) -> Self {
        Self { slots, holders: Vec::new(), queue: VecDeque::new() }
    }

    /// Asks for the lease. Who has it keeps it; who stands in line keeps its place, unless it does not want to wait.
    pub(super) fn acquire(&mut self, id: Id, wait: bool) -> Acquired {
        if self.is_held_by(id) {
            return Acquired::Now;
        }
        if let Some(place) = self.place(id) {
            if wait {
                return Acquired::Place(place);
            }
            self.queue.retain(|waiting| *waiting != id);
            return Acquired::Busy;
        }
        if self.holders.len() < self.slots {
            self.holders.push(id);
            return Acquired::Now;
        }
        if !wait {
            return Acquired::Busy;
        }
        self.queue.push_back(id);
        Acquired::Place(self.queue.len())
    }

    /// Gives the lease back, or leaves the line.
    pub(super) fn release(&mut self, id: Id) {
        self.queue.retain(|waiting| *waiting != id);
        self.holders.retain(|holder| *holder != id);
    }

    /// From now on, `slots` may hold it at a time. Who has it keeps it.
    pub(super) fn resize(&mut self, slots: usize) {
        self.slots = slots;
    }

    /// Gives it to the next in line, if there is room. Returns who that is.
    pub(super) fn call_up(&mut self) -> Option<Id> {
        if self.holders.len() < self.slots {
            let next = self.queue.pop_front()?;
            self.holders.push(next);
            return Some(next);
        }
        None
    }

    /// Whether `id` would have to join the line to get it.
    pub(super) fn is_full_for(&self, id: Id) -> bool {
        self.holders.len() >= self.slots && !self.is_held_by(id) && self.place(id).is_none()
    }

    /// Whether the lease is `id`'s.
    pub(super) fn is_held_by(&self, id: Id) -> bool {
        self.holders.contains(&id)
    }

    /// Who holds it.
    pub(super) fn holders(&self) -> &[Id] {
        &self.holders
    }

    /// Who waits, the next one first.
    pub(super) fn queue(&self) -> impl Iterator<Item = Id> + '_ {
        self.queue.iter().copied()
    }

    fn place(&self, id: Id) -> Option<usize> {
        self.queue.iter().position(|waiting| *waiting == id).map(|index| index + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who has it when one has given it back.
    fn given_back(lease: &mut Lease<char>, id: char) -> Option<char> {
        lease.release(id);
        lease.call_up()
    }

    #[test]
    fn more_room_calls_up_as_many() {
        let mut lease = Lease::new(1);
        for id in ['a', 'b', 'c', 'd'] {
            lease.acquire(id, true);
        }
        assert_eq!(lease.call_up(), None);
        lease.resize(3);
        assert_eq!([lease.call_up(), lease.call_up(), lease.call_up()], [Some('b'), Some('c'), None]);
        // Less room takes it from nobody.
        lease.resize(1);
        assert_eq!(given_back(&mut lease, 'a'), None);
        assert!(lease.is_held_by('b') && lease.is_held_by('c'));
    }

    #[test]
    fn one_at_a_time_and_the_others_in_their_order() {
        let mut lease = Lease::new(1);
        assert_eq!(lease.acquire('a', true), Acquired::Now);
        assert_eq!(lease.acquire('b', true), Acquired::Place(1));
        assert_eq!(lease.acquire('c', true), Acquired::Place(2));
        assert_eq!(given_back(&mut lease, 'a'), Some('b'));
        assert!(lease.is_held_by('b') && !lease.is_held_by('a'));
        assert_eq!(given_back(&mut lease, 'b'), Some('c'));
        assert_eq!(given_back(&mut lease, 'c'), None);
        assert!(lease.holders().is_empty());
    }

    #[test]
    fn who_does_not_wait_is_told() {
        let mut lease = Lease::new(1);
        lease.acquire('a', true);
        assert_eq!(lease.acquire('b', false), Acquired::Busy);
        assert_eq!(given_back(&mut lease, 'a'), None);
    }

    #[test]
    fn asking_twice_changes_nothing() {
        let mut lease = Lease::new(1);
        lease.acquire('a', true);
        lease.acquire('b', true);
        assert_eq!(lease.acquire('a', false), Acquired::Now);
        assert_eq!(lease.acquire('b', true), Acquired::Place(1));
        assert_eq!(lease.queue().count(), 1);
    }

    #[test]
    fn who_leaves_the_line_is_passed_over() {
        let mut lease = Lease::new(1);
        for id in ['a', 'b', 'c'] {
            lease.acquire(id, true);
        }
        assert_eq!(given_back(&mut lease, 'b'), None);
        assert_eq!(given_back(&mut lease, 'a'), Some('c'));
    }

    #[test]
    fn only_who_would_join_the_line_finds_it_full() {
        let mut lease = Lease::new(1);
        assert!(!lease.is_full_for('a'));
        lease.acquire('a', true);
        lease.acquire('b', true);
        assert_eq!(['a', 'b', 'c'].map(|id| lease.is_full_for(id)), [false, false, true]);
    }
}
