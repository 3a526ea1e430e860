//! How much misbehaving peers can write into the log: each user a handful of lines at once, and then a line a second.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Lines that may come at once.
const AT_ONCE: u32 = 100;

/// How long it takes until one more may.
const EACH: Duration = Duration::from_secs(1);

/// Users whose lines are counted apart. Who has more user ids than that (a user namespace's) shares what the others of them
/// have.
const MOST_USERS: usize = 256;

/// A ration of lines for each user, and one for what is no user's doing.
#[derive(Debug, Default)]
pub(super) struct Rations {
    users: BTreeMap<Option<u32>, Ration>,
}

impl Rations {
    /// Whether a line about this user may be written now; if so, how many were withheld since the last one.
    pub(super) fn take(&mut self, user: Option<u32>, now: Instant) -> Option<u64> {
        if !self.users.contains_key(&user) && self.users.len() >= MOST_USERS {
            // Who has the whole ration again has none to be remembered for.
            self.users.retain(|_, ration| !ration.is_whole(now));
        }
        let is_full = self.users.len() >= MOST_USERS && !self.users.contains_key(&user);
        let user = if is_full { None } else { user };
        self.users.entry(user).or_insert_with(|| Ration::new(now)).take(now)
    }
}

/// A ration of lines that refills with time.
#[derive(Debug)]
struct Ration {
    left: u32,
    since: Instant,
    withheld: u64,
}

impl Ration {
    fn new(now: Instant) -> Self {
        Self { left: AT_ONCE, since: now, withheld: 0 }
    }

    fn take(&mut self, now: Instant) -> Option<u64> {
        self.refill(now);
        if self.left == 0 {
            self.withheld += 1;
            return None;
        }
        self.left -= 1;
        Some(std::mem::take(&mut self.withheld))
    }

    fn refill(&mut self, now: Instant) {
        let refill = now.saturating_duration_since(self.since).as_secs() / EACH.as_secs();
        if refill > 0 {
            self.left = self.left.saturating_add(u32::try_from(refill).unwrap_or(u32::MAX)).min(AT_ONCE);
            self.since = now;
        }
    }

    /// Whether nothing of it is missing, and nothing is left to be told.
    fn is_whole(&mut self, now: Instant) -> bool {
        self.refill(now);
        self.left == AT_ONCE && self.withheld == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_and_told_of_later() {
        let start = Instant::now();
        let mut ration = Ration::new(start);
        let written = (0..10_000).filter(|_| ration.take(start).is_some()).count();
        assert_eq!(written, usize::try_from(AT_ONCE).unwrap());
        assert_eq!(ration.take(start + EACH), Some(9_900), "and the next line tells of the others");
        assert_eq!(ration.take(start + EACH), None);
        assert_eq!(ration.take(start + Duration::from_secs(1 << 40)), Some(1));
        assert_eq!((0..10_000).filter(|_| ration.take(start + EACH).is_some()).count(), 99);
    }

    #[test]
    fn nobody_uses_up_what_another_user_may_say() {
        let start = Instant::now();
        let mut rations = Rations::default();
        while rations.take(Some(1), start).is_some() {}
        assert_eq!(rations.take(Some(2), start), Some(0));
        assert_eq!(rations.take(None, start), Some(0));
    }

    #[test]
    fn any_number_of_users_is_remembered_in_bounded_memory() {
        let start = Instant::now();
        let mut rations = Rations::default();
        let told = (0..10_000).filter(|user| rations.take(Some(*user), start).is_some()).count();
        assert!(rations.users.len() <= MOST_USERS + 1, "{}", rations.users.len());
        assert!((MOST_USERS..MOST_USERS + 2 * usize::try_from(AT_ONCE).unwrap()).contains(&told), "{told}");
        // Those who were quiet for a while make room.
        let later = start + Duration::from_secs(600);
        rations.users.retain(|user, _| user.is_some());
        assert_eq!(rations.take(Some(20_000), later), Some(0));
        assert_eq!(rations.users.len(), 1);
    }
}
