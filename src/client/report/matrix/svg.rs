//! SVG: a heat map that stands alone, in a browser's light or dark scheme. Each cell tells its figures when pointed at.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, Write};

use super::levels::{COLOURS, DARK, LEVELS, Levels, ONE_CPU};
use super::{Matrix, Pair};
use crate::units::latency;

/// Up to so many CPUs, a cell holds its median in words.
const MOST_IN_WORDS: usize = 16;

/// Where things are, in user units.
struct Layout {
    cell: (usize, usize),
    words: bool,
    left: usize,
    top: usize,
    width: usize,
    height: usize,
}

const MARGIN: usize = 16;
const SWATCH: (usize, usize) = (64, 14);

impl Layout {
    fn of(matrix: &Matrix) -> Self {
        let cpus = matrix.cpus.len();
        let words = cpus <= MOST_IN_WORDS;
        let cell = if words { (64, 32) } else { (18, 18) };
        let (left, top) = (MARGIN + 88, 104);
        let longest = matrix.title().chars().count().max(matrix.subtitle().chars().count());
        // A letter is about half as wide as its font is high, and a little more.
        let widest = (left + cpus * cell.0).max((LEVELS + 1) * SWATCH.0 + MARGIN).max(MARGIN + longest * 8);
        Self { cell, words, left, top, width: widest + MARGIN, height: top + cpus * cell.1 + 72 }
    }
}

/// Writes the drawing.
///
/// # Errors
/// The writer's.
pub(crate) fn write(matrix: &Matrix, out: &mut dyn Write) -> io::Result<()> {
    // The text is made at once; writing to a string cannot fail.
    out.write_all(draw(matrix).unwrap_or_default().as_bytes())
}

fn draw(matrix: &Matrix) -> Result<String, std::fmt::Error> {
    let layout = Layout::of(matrix);
    let levels = Levels::of(matrix);
    let Layout { left, top, width, height, .. } = layout;
    let mut svg = String::new();
    writeln!(
        svg,
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">"#
    )?;
    writeln!(svg, "<title>{}; {}</title>", escape(&matrix.title()), escape(&matrix.subtitle()))?;
    writeln!(svg, "<style>\n{}</style>", style()?)?;
    writeln!(svg, r#"<rect class="page" width="{width}" height="{height}"/>"#)?;
    writeln!(svg, r#"<text class="title" x="{MARGIN}" y="28">{}</text>"#, escape(&matrix.title()))?;
    writeln!(svg, r#"<text x="{MARGIN}" y="48">{}</text>"#, escape(&matrix.subtitle()))?;
    writeln!(svg, r#"<text x="{left}" y="{}">responder's CPU</text>"#, top - 24)?;
    writeln!(svg, r#"<text class="end" x="{}" y="{}">client's CPU</text>"#, left - 6, top - 6)?;

    let (cell_width, cell_height) = layout.cell;
    for (column, cpu) in matrix.cpus.iter().enumerate() {
        let x = left + column * cell_width + cell_width / 2;
        writeln!(svg, r#"<text class="cpu mid" x="{x}" y="{}">{cpu}</text>"#, top - 6)?;
    }
    for (row, (cpu, pairs)) in matrix.rows().enumerate() {
        let y = top + row * cell_height;
        let base = y + cell_height / 2 + 4;
        writeln!(svg, r#"<text class="cpu end" x="{}" y="{base}">{cpu}</text>"#, left - 6)?;
        for (column, pair) in pairs.iter().enumerate() {
            draw_pair(&mut svg, &layout, levels, pair, (left + column * cell_width, y))?;
        }
    }
    draw_legend(&mut svg, levels, height - 48)?;
    svg.push_str("</svg>\n");
    Ok(svg)
}

fn draw_pair(
    svg: &mut String,
    layout: &Layout,
    levels: Option<Levels>,
    pair: &Pair,
    (x, y): (usize, usize),
) -> std::fmt::Result {
    let (width, height) = layout.cell;
    let p50 = pair.p50_ns();
    let class = match (levels, p50) {
        (_, Some(_)) if pair.is_of_one_cpu() => "same".to_owned(),
        (Some(levels), Some(p50)) => format!("l{}", levels.level(p50) + 1),
        _ => "none".to_owned(),
    };
    write!(
        svg,
        r#"<g class="{class}"><title>{}</title><rect x="{x}" y="{y}" width="{}" height="{}"/>"#,
        escape(&pair.figures()),
        width - 1,
        height - 1
    )?;
    if layout.words {
        let told = p50.map_or_else(|| "-".to_owned(), latency);
        write!(svg, r#"<text class="mid" x="{}" y="{}">{told}</text>"#, x + width / 2, y + height / 2 + 4)?;
    }
    svg.push_str("</g>\n");
    Ok(())
}

/// The levels' colours, with where each begins, and that of one CPU.
fn draw_legend(svg: &mut String, levels: Option<Levels>, y: usize) -> std::fmt::Result {
    let (width, height) = SWATCH;
    let levels = levels.into_iter().flat_map(Levels::names);
    let levels = levels.zip(1..).map(|(name, level)| (format!("l{level}"), name));
    for (at, (class, name)) in levels.chain([("same".to_owned(), ONE_CPU.to_owned())]).enumerate() {
        let x = MARGIN + at * width;
        writeln!(
            svg,
            r#"<g class="{class}"><rect x="{x}" y="{y}" width="{}" height="{height}"/></g><text class="cpu" x="{x}" y="{}">{name}</text>"#,
            width - 1,
            y + height + 14,
        )?;
    }
    Ok(())
}

/// The drawing's style sheet. In the dark scheme the levels' colours go the other way, so that the fastest pairs are
/// still the ones nearest to the page.
fn style() -> Result<String, std::fmt::Error> {
    let mut css = String::from(
        "svg { color-scheme: light dark; font: 13px system-ui, sans-serif }\n\
         text { fill: #1a1a1a } .title { font-size: 16px; font-weight: 600 } .cpu { font-size: 11px }\n\
         .mid { text-anchor: middle } .end { text-anchor: end }\n\
         .page { fill: #ffffff } .none rect { fill: #d9d9d9 } .same rect { fill: #dce6f2 }\n\
         g rect { stroke: #808080; stroke-opacity: 0.4 }\n",
    );
    scheme(&mut css, |level| level)?;
    css.push_str(
        "@media (prefers-color-scheme: dark) {\ntext { fill: #e6e6e6 } .page { fill: #161616 } .none rect { fill: #404040 }\n.same rect { fill: #2b3a4d }\n",
    );
    scheme(&mut css, |level| LEVELS - 1 - level)?;
    css.push_str("}\n");
    Ok(css)
}

fn scheme(css: &mut String, colour_of: impl Fn(usize) -> usize) -> std::fmt::Result {
    for level in 0..LEVELS {
        let colour = colour_of(level);
        let (red, green, blue) = COLOURS[colour];
        let ink = if colour >= DARK { "#ffffff" } else { "#000000" };
        writeln!(
            css,
            ".l{0} rect {{ fill: #{red:02x}{green:02x}{blue:02x} }} .l{0} text {{ fill: {ink} }}",
            level + 1
        )?;
    }
    Ok(())
}

/// Text as XML has it. Characters that XML cannot hold are replaced.
fn escape(text: &str) -> String {
    let escaped = text.chars().map(|c| match c {
        '&' => Cow::Borrowed("&amp;"),
        '<' => Cow::Borrowed("&lt;"),
        '>' => Cow::Borrowed("&gt;"),
        '"' => Cow::Borrowed("&quot;"),
        '\n' | '\t' => Cow::Borrowed(" "),
        '\u{fffe}' | '\u{ffff}' => Cow::Borrowed("\u{fffd}"),
        c if c.is_control() => Cow::Borrowed("\u{fffd}"),
        c => Cow::Owned(c.to_string()),
    });
    escaped.collect()
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{two_cpus, two_sockets};
    use super::*;
    use crate::client::report::golden::assert_golden;

    fn written(matrix: &Matrix) -> String {
        let mut out = Vec::new();
        write(matrix, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn two_cpus_are_drawn_to_the_byte() {
        assert_golden("matrix.svg", written(&two_cpus()).as_bytes());
    }

    #[test]
    fn every_ordered_pair_is_drawn_with_its_figures() {
        let svg = written(&two_sockets());
        assert_eq!(svg.matches("<title>client on CPU").count(), 64 * 64);
        assert!(svg.contains("client on CPU 63, responder on CPU 0 (cross-socket): median 420 ns"));
        assert!(!svg.contains("<text class=\"mid\""), "64 cells of words would be too wide to read");
    }

    #[test]
    fn text_is_escaped() {
        assert_eq!(escape("a<b> & \"c\"\u{1b}[1m\n"), "a&lt;b&gt; &amp; &quot;c&quot;\u{fffd}[1m ");
    }

    #[test]
    fn a_matrix_without_a_figure_is_drawn_nevertheless() {
        let mut matrix = two_cpus();
        matrix.pairs.iter_mut().for_each(|pair| pair.trials.clear());
        let svg = written(&matrix);
        assert_eq!(svg.matches("class=\"none\"").count(), 4);
        assert!(!svg.contains("NaN"));
    }
}
