//! Where results go: which format, into which file.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Seek, Write};
use std::path::{Path, PathBuf};

use super::Failure;
use super::args::{BenchArgs, Format};
use crate::client::report::file::{self, FileError};
use crate::client::report::{Report, csv, json, markdown, stream, text};
use crate::diagnostics::Printable;

/// The results' formats and files, as the command line has them.
pub(super) struct Output {
    /// The report's; `None` if the stream is all.
    format: Option<Format>,
    /// stdout if `None`.
    file: Option<PathBuf>,
    /// Whether stdout has lines of JSON.
    pub(super) stream: bool,
    /// The HdrHistogram log's.
    pub(super) hdr_log: Option<PathBuf>,
}

impl Output {
    /// What the arguments ask for. Files are tried now: a long run must not end with a file that cannot be written.
    pub(super) fn of(args: &BenchArgs) -> Result<Self, Failure> {
        let file = args.output.clone().filter(|path| path != Path::new("-"));
        let named = if args.json { Some(Format::Json) } else { args.format };
        if args.json_stream && named.is_some() && file.is_none() {
            return Err(Failure::usage(
                "--json-stream takes stdout: --format needs a file beside it, by --output",
            ));
        }
        let only_stream = args.json_stream && file.is_none();
        let format = (!only_stream).then(|| named.unwrap_or_else(|| Format::of_file(file.as_deref())));
        let told = args.json_stream || args.hdr_log.is_some() || format == Some(Format::Text);
        if args.interval.is_some() && !told {
            return Err(Failure::usage(
                "--interval tells of parts of a trial in text, and a report in JSON, CSV or Markdown has none: leave it \
                 away, or add --json-stream or --hdr-log",
            ));
        }
        if args.parallel > 1 && args.interval.is_some() {
            return Err(Failure::usage("--interval tells of one channel, and --parallel asks for several"));
        }
        if args.hdr_log.as_deref() == Some(Path::new("-")) {
            return Err(Failure::usage("--hdr-log needs a file: stdout has the report"));
        }
        if file.is_some() && file == args.hdr_log {
            return Err(Failure::usage("--output and --hdr-log need a file each"));
        }
        for path in file.iter().chain(&args.hdr_log) {
            file::check(path)?;
        }
        Ok(Self { format, file, stream: args.json_stream, hdr_log: args.hdr_log.clone() })
    }

    /// Whether intervals are told as text.
    pub(super) fn tells_intervals_as_text(&self) -> bool {
        self.format == Some(Format::Text) && !self.stream
    }

    /// Writes all that is told at the end. `hdr_log` is the log, read from its start.
    pub(super) fn write(&self, report: &Report, hdr_log: Option<File>) -> Result<(), Failure> {
        // Files first: whoever closes stdout early still gets them.
        if let (Some(path), Some(mut log)) = (&self.hdr_log, hdr_log) {
            log.rewind().map_err(|source| FileError { path: path.clone(), source })?;
            file::write_whole(path, |out| io::copy(&mut log, out).map(drop))?;
        }
        if let (Some(path), Some(format)) = (&self.file, self.format) {
            file::write_whole(path, |out| write(report, format, None, out))?;
        }
        Ok(self.write_stdout(report).map_err(FileError::stdout)?)
    }

    fn write_stdout(&self, report: &Report) -> io::Result<()> {
        let mut out = BufWriter::new(io::stdout().lock());
        if self.stream {
            stream::write_end(report, &mut out)?;
        } else if let (None, Some(format)) = (&self.file, self.format) {
            write(report, format, terminal_width(), &mut out)?;
        }
        out.flush()
    }
}

/// Writes a report that was there before, where and how a new one would go.
pub(super) fn show(report: &Report, format: Option<Format>, file: Option<&Path>) -> Result<(), Failure> {
    let file = file.filter(|path| *path != Path::new("-")).map(Path::to_owned);
    let format = Some(format.unwrap_or_else(|| Format::of_file(file.as_deref())));
    Output { format, file, stream: false, hdr_log: None }.write(report, None)
}

fn write(report: &Report, format: Format, width: Option<u16>, out: &mut dyn Write) -> io::Result<()> {
    let mut printable = Printable::new(&mut *out);
    match format {
        Format::Text => text::write(report, width, &mut printable),
        Format::Json => json::write(report, out),
        Format::Csv => csv::write(report, &mut printable),
        Format::Markdown => markdown::write(report, &mut printable),
    }
}

/// The width to keep to; none where stdout is no terminal.
fn terminal_width() -> Option<u16> {
    let stdout = io::stdout();
    let (terminal_size::Width(width), _) =
        stdout.is_terminal().then(|| terminal_size::terminal_size_of(&stdout)).flatten()?;
    Some(width)
}
