//! How much misbehaving peers can write into the log: a handful at once, and then a line a second.

use std::time::{Duration, Instant};

/// Lines that may come at once.
const AT_ONCE: u32 = 100;

/// How long it takes until one more may.
const EACH: Duration = Duration::from_secs(1);

/// A ration of lines that refills with time.
#[derive(Debug)]
pub(super) struct Ration {
    left: u32,
    since: Instant,
    withheld: u64,
}

impl Ration {
    pub(super) fn new(now: Instant) -> Self {
        Self { left: AT_ONCE, since: now, withheld: 0 }
    }

    /// Whether a line may be written now; if so, how many were withheld since the last one.
    pub(super) fn take(&mut self, now: Instant) -> Option<u64> {
        let refill = now.saturating_duration_since(self.since).as_secs() / EACH.as_secs();
        if refill > 0 {
            self.left = self.left.saturating_add(u32::try_from(refill).unwrap_or(u32::MAX)).min(AT_ONCE);
            self.since = now;
        }
        if self.left == 0 {
            self.withheld += 1;
            return None;
        }
        self.left -= 1;
        Some(std::mem::take(&mut self.withheld))
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
}
