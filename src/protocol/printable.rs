//! Text for a terminal: what came from a peer, a file or a history cannot drive it.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, Write};

/// Whether a character does something else than to be seen: controls, by which a terminal is driven (of both sets, C0 and
/// C1), and what turns the direction of the text behind it, by which a name can look like another.
#[must_use]
pub(crate) fn is_unprintable(character: char) -> bool {
    character.is_control() || matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A text in which such characters are shown instead: `\u{1b}`. `keep` are those that stay.
#[must_use]
pub(crate) fn printable<'a>(text: &'a str, keep: &[char]) -> Cow<'a, str> {
    let is_shown = |character: char| is_unprintable(character) && !keep.contains(&character);
    if !text.contains(is_shown) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        match is_shown(character) {
            // Writing to a string does not fail.
            true => drop(write!(shown, "{}", character.escape_default())),
            false => shown.push(character),
        }
    }
    Cow::Owned(shown)
}

/// A writer of text with lines and tabulators, in which nothing else drives a terminal. Everything that a command tells of
/// runs as text goes through it.
#[derive(Debug)]
pub(crate) struct Printable<W> {
    out: W,
    /// The beginning of a character whose rest was not written yet.
    begun: Vec<u8>,
}

impl<W: Write> Printable<W> {
    /// Text that goes on to `out`.
    pub(crate) fn new(out: W) -> Self {
        Self { out, begun: Vec::new() }
    }
}

impl<W: Write> Write for Printable<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.begun.extend_from_slice(bytes);
        let whole = match str::from_utf8(&self.begun) {
            Ok(text) => text.len(),
            // The end of a piece can be in the middle of a character; whatever is wrong before that, is shown as such.
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            Err(_) => self.begun.len(),
        };
        let text = String::from_utf8_lossy(&self.begun[..whole]);
        self.out.write_all(printable(&text, &['\n', '\t']).as_bytes())?;
        self.begun.drain(..whole);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_drives_a_terminal_is_shown() {
        assert_eq!(printable("größer als 1 µs", &[]), "größer als 1 µs");
        assert_eq!(printable("a\nb\x1b[31mc\u{9b}d\0", &[]), "a\\nb\\u{1b}[31mc\\u{9b}d\\u{0}");
        assert_eq!(printable("a\tb\nc\rd\u{202e}e", &['\n', '\t']), "a\tb\nc\\rd\\u{202e}e");
    }

    #[test]
    fn a_text_in_pieces_is_the_same_text() {
        let text = "µ\u{1b}]0;title\u{7}\tok\n\u{9b}2J ▁█";
        for size in 1..text.len() {
            let mut out = Vec::new();
            let mut printable = Printable::new(&mut out);
            text.as_bytes().chunks(size).for_each(|piece| printable.write_all(piece).unwrap());
            assert_eq!(String::from_utf8(out).unwrap(), "µ\\u{1b}]0;title\\u{7}\tok\n\\u{9b}2J ▁█", "{size}");
        }
        let mut out = Vec::new();
        Printable::new(&mut out).write_all(b"a\xffb\x1b").unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "a\u{fffd}b\\u{1b}");
    }
}
