//! The terminal that results are shown on, if they are.

use std::io;

use terminal_size::{Width, terminal_size_of};

/// The width that prose is wrapped to where there is no terminal.
const PROSE: usize = 80;

/// Longer lines of prose are hard to read, shorter ones hold too few words.
const READABLE: std::ops::RangeInclusive<usize> = 30..=100;

/// How many columns the terminal has; `None` if stdout is none.
pub(super) fn width() -> Option<usize> {
    terminal_size_of(io::stdout()).map(|(Width(width), _)| width.into())
}

/// The width to wrap prose to.
pub(super) fn prose_width() -> usize {
    width().unwrap_or(PROSE).clamp(*READABLE.start(), *READABLE.end())
}
