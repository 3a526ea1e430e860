//! How many rounds the next block has.

/// The most rounds in a block: what it stores fits well into the first cache.
pub(super) const MAX_ROUNDS: usize = 1024;

/// How long a block should take at most: what is decided between blocks (time is up, an interval is over, the bar
/// moves on) is decided that often.
const BLOCK_PS: f64 = 10e9;

/// Chooses the length of blocks.
#[derive(Debug, Default)]
pub(super) struct BlockLen {
    mean_ps: Option<f64>,
    /// What lies between the starts of rounds at least.
    pace_ps: f64,
}

impl BlockLen {
    /// What the last rounds took.
    pub(super) fn learn(&mut self, rounds: usize, ps: u64) {
        if rounds > 0 {
            self.mean_ps = Some(ps as f64 / rounds as f64);
        }
    }

    /// Rounds start this far apart from now on, however fast they are: the first of a block, which does not wait, and
    /// a warm-up, which is not paced, would promise far too many.
    pub(super) fn pace(&mut self, ps: f64) {
        self.pace_ps = ps;
    }

    /// The next block's length; at least 1. Nothing is known at first: a short block finds out.
    pub(super) fn next(&self) -> usize {
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "clamped to a small range"
        )]
        match self.mean_ps {
            None => 16,
            Some(mean) => (BLOCK_PS / mean.max(self.pace_ps).max(1.0)).clamp(1.0, MAX_ROUNDS as f64) as usize,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fast_rounds_come_in_long_blocks_and_slow_ones_alone() {
        let mut len = BlockLen::default();
        len.learn(16, 16 * 100_000);
        assert_eq!(len.next(), MAX_ROUNDS);
        len.learn(1, 1_000_000_000_000);
        assert_eq!(len.next(), 1);
        len.learn(10, 10 * 1_000_000_000);
        assert_eq!(len.next(), 10);
        len.pace(1e12);
        len.learn(1000, 1000 * 10_000_000);
        assert_eq!(len.next(), 1, "a second's gap, whatever the rounds take");
    }
}
