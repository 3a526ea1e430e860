//! Lines that are longer than the terminal is wide, broken between words.

use std::io::{self, Write};

/// What a terminal makes of a tab at the start of a line.
const TAB: usize = 8;

/// What is not torn off its number.
const UNITS: [&str; 8] = ["ns", "µs", "ms", "s", "%", "B", "KiB", "MiB"];

/// Writes text with each line broken at blanks so that it fits; what follows a break is indented further.
pub(super) fn write(text: &[u8], width: Option<u16>, out: &mut dyn Write) -> io::Result<()> {
    let Some(width) = width.map(usize::from) else { return out.write_all(text) };
    for line in String::from_utf8_lossy(text).lines() {
        let (indent, words) = match line.strip_prefix('\t') {
            Some(words) => ("\t", words),
            None => ("", line),
        };
        write!(out, "{indent}")?;
        let start = TAB * indent.len();
        let mut used = start;
        for (number, word) in glued(words).enumerate() {
            let length = word.chars().count();
            if number > 0 && used + 1 + length > width {
                write!(out, "\n{indent}    {word}")?;
                used = start + 4 + length;
            } else {
                write!(out, "{}{word}", if number > 0 { " " } else { "" })?;
                used += length + usize::from(number > 0);
            }
        }
        writeln!(out)?;
    }
    Ok(())
}

/// The words of a line, a number and its unit being one.
fn glued(line: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(line);
    std::iter::from_fn(move || {
        let words = rest?;
        let blanks = words.char_indices().filter(|(_, character)| *character == ' ');
        for (blank, _) in blanks {
            let next = words[blank + 1..].split(' ').next().unwrap_or_default();
            if !UNITS.contains(&next.trim_end_matches([',', ')', ';'])) {
                rest = Some(&words[blank + 1..]);
                return Some(&words[..blank]);
            }
        }
        rest = None;
        Some(words)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrapped(text: &str, width: Option<u16>) -> String {
        let mut out = Vec::new();
        write(text.as_bytes(), width, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn lines_break_between_words_and_stay_indented() {
        let text = "\tone two three\nfour\n\n";
        assert_eq!(wrapped(text, None), text);
        assert_eq!(wrapped(text, Some(80)), text);
        assert_eq!(wrapped(text, Some(15)), "\tone two\n\t    three\nfour\n\n");
        assert_eq!(wrapped("min 20 µs, p50 -", Some(9)), "min\n    20 µs,\n    p50 -\n");
        assert_eq!(wrapped("incomprehensible word", Some(4)), "incomprehensible\n    word\n");
    }
}
