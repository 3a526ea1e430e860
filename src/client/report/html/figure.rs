//! A chart on the page: its title, the drawing, what its marks mean, and its figures as a table.

use std::fmt::{self, Write};
use std::io;

use super::chart::Chart;
use super::markup::{Table, Text};
use super::theme;

/// A line of a legend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) name: String,
    /// The line's number in the theme.
    pub(super) number: usize,
    pub(super) mark: Mark,
}

/// What it looks like in the chart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    Line,
    Dot,
    Ring,
    /// A heat map's level, of the key's number.
    Field,
    /// A heat map's field of both sides on one CPU.
    OneCpu,
}

/// A chart with all that belongs to it.
pub(super) struct Figure<'a> {
    pub(super) id: &'a str,
    pub(super) title: &'a str,
    pub(super) chart: &'a Chart,
    pub(super) legend: &'a [Key],
    /// What stands below the legend, as markup.
    pub(super) notes: &'a str,
    pub(super) table: &'a Table,
}

impl Figure<'_> {
    /// Writes it.
    ///
    /// # Errors
    /// Those of the drawing.
    pub(super) fn write(&self, out: &mut String) -> io::Result<()> {
        let svg = self.chart.draw()?;
        self.write_parts(&svg, out).map_err(io::Error::other)
    }

    fn write_parts(&self, svg: &str, out: &mut String) -> fmt::Result {
        writeln!(out, "<figure id=\"{}\"><figcaption>{}</figcaption>\n{svg}", self.id, Text(self.title))?;
        if !self.legend.is_empty() {
            out.write_str("<ul class=\"legend\">")?;
            for Key { name, number, mark } in self.legend {
                let colour = theme::line_name(*number);
                out.write_str("<li><svg viewBox=\"0 0 32 8\" aria-hidden=\"true\">")?;
                match mark {
                    Mark::Line => write!(out, "<path d=\"M0 4H32\" stroke=\"var(--{colour})\"/>")?,
                    Mark::Dot => {
                        write!(out, "<circle cx=\"26\" cy=\"4\" r=\"3\" fill=\"var(--{colour})\"/>")?
                    }
                    Mark::Field => {
                        write!(out, "<rect x=\"12\" width=\"20\" height=\"8\" fill=\"var(--h{number})\"/>")?
                    }
                    Mark::OneCpu => {
                        out.write_str("<rect x=\"12\" width=\"20\" height=\"8\" fill=\"var(--one-cpu)\"/>")?
                    }
                    Mark::Ring => {
                        write!(out, "<circle cx=\"26\" cy=\"4\" r=\"3\" stroke=\"var(--{colour})\"/>")?
                    }
                }
                write!(out, "</svg>{}</li>", Text(name))?;
            }
            out.write_str("</ul>\n")?;
        }
        writeln!(out, "{}<details><summary>Figures</summary>", self.notes)?;
        self.table.write(None, out)?;
        out.write_str("</details></figure>\n")
    }
}
