//! In place of `src/transports/watch.rs`: a side that is ended, and interrupted so that it looks.

use std::sync::Arc;

use loom::sync::atomic::{AtomicBool, Ordering};

use super::sync::AtomicU32;
use super::{Alive, RoundError};

/// Whether the channel has been ended.
#[derive(Debug, Clone)]
pub(super) struct Watch(Arc<AtomicBool>);

impl Watch {
    pub(super) fn new() -> Self {
        Self(Arc::new(AtomicBool::new(false)))
    }

    /// Ends the channel of the side that waits for this word.
    pub(super) fn end(&self, word: &AtomicU32) {
        self.0.store(true, Ordering::Relaxed);
        word.tick_for_ever();
    }
}

impl Alive for Watch {
    fn due(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    fn check(&mut self, _: u64) -> Result<(), RoundError> {
        if self.0.load(Ordering::Relaxed) { Err(RoundError::Ended) } else { Ok(()) }
    }
}
