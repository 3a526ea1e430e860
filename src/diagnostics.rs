//! What both programs print: results on standard output, and errors, warnings and log lines for a terminal, a pipe or the
//! journal. Nothing in these messages can drive a terminal.

use std::borrow::Cow;
use std::env;
use std::error::Error;
use std::fmt::{self, Write as _};
use std::fs;
use std::io::{self, BufWriter, Write};
use std::sync::OnceLock;

use log::Level;

use crate::exit::Exit;
use crate::shortage;

/// An error and its causes in one line, and the limit of this process or host behind it, if there is one.
#[must_use]
pub fn error_chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut limit = shortage::hint(error);
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        limit = limit.or_else(|| shortage::hint(error));
        cause = error.source();
    }
    if let Some(limit) = limit {
        text.push_str(": ");
        text.push_str(&limit);
    }
    text
}

/// A user for messages, with the name where the host has one: `user 1002 (alice)`.
pub(crate) struct User(pub(crate) u32);

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "user {}", self.0)?;
        name_of(self.0, "/etc/passwd").map_or(Ok(()), |name| write!(f, " ({name})"))
    }
}

/// The name that a file such as `/etc/passwd` or `/etc/group` has for a number.
pub(crate) fn name_of(id: u32, file: &str) -> Option<String> {
    let (id, entries) = (id.to_string(), fs::read_to_string(file).ok()?);
    entries.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1) == Some(&id)).then(|| name.to_owned())
    })
}

/// The known name that an unknown one probably means.
#[must_use]
pub(crate) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let near = known.map(|other| (strsim::damerau_levenshtein(name, other), other));
    let near = near.filter(|(distance, _)| *distance <= 1 + name.len() / 4);
    near.min_by_key(|(distance, _)| *distance).map(|(_, other)| other)
}

/// Prints on stderr why `program` failed, and what the user can do.
pub(crate) fn report_error(program: &str, error: &(dyn Error + 'static), advice: Option<&str>) {
    print_message(program, Level::Error, &error_chain(error));
    if let Some(advice) = advice {
        print_message(program, Level::Error, advice);
    }
}

/// Prints help or the version on stdout, or a usage error on stderr.
#[must_use]
pub(crate) fn report_usage_error(program: &str, error: &clap::Error) -> Exit {
    match error.use_stderr() {
        true if stderr_is_journal() => print_message(program, Level::Error, &error.render().to_string()),
        // If the write fails, the exit code remains.
        true => drop(error.print()),
        false => error.print().unwrap_or_else(lose_output),
    }
    let exit = if error.use_stderr() { Exit::Usage } else { Exit::Success };
    exit_code(program, exit)
}

/// The first error of writing to standard output.
static OUTPUT_ERROR: OnceLock<io::Error> = OnceLock::new();

/// Writes results to standard output. If its reader is gone or it is full, the rest of them is dropped and the command goes
/// on, since its exit code and its other outputs do not depend on that; [`exit_code`] reports the loss.
///
/// # Errors
/// Those of `write` itself.
pub(crate) fn to_stdout<E: From<io::Error>>(
    write: impl FnOnce(&mut dyn Write) -> Result<(), E>,
) -> Result<(), E> {
    let mut stdout = Stdout(None);
    let mut out = BufWriter::new(&mut stdout);
    let written = write(&mut out).and_then(|()| Ok(out.flush()?));
    // Without another attempt to write what is left.
    drop(out.into_parts());
    let Some(error) = stdout.0 else { return written };
    lose_output(error);
    Ok(())
}

fn lose_output(error: io::Error) {
    // A reader that closes its pipe has seen enough.
    if error.kind() != io::ErrorKind::BrokenPipe {
        let _ = OUTPUT_ERROR.set(error);
    }
}

/// The exit code of a command that ended with `exit`: that one, unless it is success and its results could not be written.
#[must_use]
pub(crate) fn exit_code(program: &str, exit: Exit) -> Exit {
    let Some(error) = OUTPUT_ERROR.get() else { return exit };
    print_message(program, Level::Error, &format!("cannot write standard output: {error}"));
    exit.or(Exit::Failure)
}

/// Standard output, and its first error.
struct Stdout(Option<io::Error>);

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = io::stdout().write_all(bytes).and_then(|()| io::stdout().flush());
        written.map(|()| bytes.len()).map_err(|error| {
            let kind = error.kind();
            self.0 = Some(error);
            kind.into()
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Prints a message on stderr, line by line: with a priority for the journal, else with the program's name.
pub(crate) fn print_message(program: &str, level: Level, text: &str) {
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        match stderr_is_journal() {
            true => print_line(format_args!("{}", journal_line(level, line))),
            false => print_line(format_args!("{program}: {line}")),
        }
    }
}

/// Prints lines that begin with the place they are about, such as a file's name and a line's number: as they are, so that
/// editors find the place; in the journal with a priority.
pub(crate) fn print_located(level: Level, text: &str) {
    for line in text.lines() {
        match stderr_is_journal() {
            true => print_line(format_args!("{}", journal_line(level, line))),
            false => print_line(format_args!("{line}")),
        }
    }
}

/// Prints a line on stderr in one write, since other processes write there too. If the write fails (a full file system, a
/// closed pipe), the exit code remains.
pub(crate) fn print_line(line: fmt::Arguments<'_>) {
    let line = format!("{}\n", printable(&line.to_string(), &['\n', '\t']));
    let _ = io::stderr().write_all(line.as_bytes());
}

/// Whether stderr is connected to the journal: `$JOURNAL_STREAM` names its device and inode. Checked once.
#[must_use]
pub(crate) fn stderr_is_journal() -> bool {
    static IS_JOURNAL: OnceLock<bool> = OnceLock::new();
    *IS_JOURNAL.get_or_init(|| {
        let stream = env::var("JOURNAL_STREAM").ok();
        let named = stream.as_deref().and_then(|stream| {
            let (device, inode) = stream.split_once(':')?;
            Some((device.parse::<u64>().ok()?, inode.parse::<u64>().ok()?))
        });
        let own = rustix::fs::fstat(rustix::stdio::stderr()).map(|stat| (stat.st_dev, stat.st_ino));
        named.is_some() && named == own.ok()
    })
}

/// A line for the journal, with its syslog(3) priority.
#[must_use]
pub(crate) fn journal_line(level: Level, text: &str) -> String {
    let priority = match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    };
    format!("<{priority}>{}", printable(text, &[]))
}

/// Whether a character does more than show itself: controls (C0 and C1), which drive a terminal, and changes of the text
/// direction, which make one name look like another.
#[must_use]
pub(crate) fn is_unprintable(character: char) -> bool {
    character.is_control() || matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The text with such characters escaped (`\u{1b}`), except those in `keep`.
#[must_use]
pub(crate) fn printable<'a>(text: &'a str, keep: &[char]) -> Cow<'a, str> {
    let is_escaped = |character: char| is_unprintable(character) && !keep.contains(&character);
    if !text.contains(is_escaped) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        match is_escaped(character) {
            // Writing to a string does not fail.
            true => drop(write!(escaped, "{}", character.escape_default())),
            false => escaped.push(character),
        }
    }
    Cow::Owned(escaped)
}

/// A writer that escapes everything [unprintable](is_unprintable) except newlines and tabs. All text output about runs
/// goes through it.
#[derive(Debug)]
pub(crate) struct Printable<W> {
    out: W,
    /// The first bytes of a character whose rest is not written yet.
    begun: Vec<u8>,
}

impl<W: Write> Printable<W> {
    /// Writes to `out`.
    pub(crate) fn new(out: W) -> Self {
        Self { out, begun: Vec::new() }
    }
}

impl<W: Write> Write for Printable<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.begun.extend_from_slice(bytes);
        let whole = match str::from_utf8(&self.begun) {
            Ok(text) => text.len(),
            // A piece can end inside a character; anything invalid before that is replaced.
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
    fn a_user_has_a_name_where_the_host_has_one() {
        assert_eq!(User(0).to_string(), "user 0 (root)");
        assert_eq!(User(4_000_000_000).to_string(), "user 4000000000");
    }

    #[test]
    fn levels_map_to_journal_priorities() {
        let lines: Vec<_> = Level::iter().map(|level| journal_line(level, "a\nb")).collect();
        assert_eq!(lines, [3, 4, 6, 7, 7].map(|priority| format!("<{priority}>a\\nb")));
    }

    #[test]
    fn characters_that_drive_a_terminal_are_escaped() {
        assert_eq!(printable("größer als 1 µs", &[]), "größer als 1 µs");
        assert_eq!(printable("a\nb\x1b[31mc\u{9b}d\0", &[]), "a\\nb\\u{1b}[31mc\\u{9b}d\\u{0}");
        assert_eq!(printable("a\tb\nc\rd\u{202e}e", &['\n', '\t']), "a\tb\nc\\rd\\u{202e}e");
    }

    #[test]
    fn text_written_in_pieces_is_escaped_like_the_whole() {
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
