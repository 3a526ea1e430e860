//! Heat maps: a grid of medians in colours of equal ratios, between the fastest and the slowest.

use super::super::escape::Text;
use super::theme;
use crate::units::latency;

/// How many levels there are: as many as an eye distinguishes and a digit names.
pub(crate) const LEVELS: usize = theme::HEAT.len();

/// The legend's name for fields of both sides on one CPU.
pub(crate) const ONE_CPU: &str = "same CPU";

/// The range is at least this wide. Differences within less are noise, which must not look like structure.
const LEAST_RATIO: f64 = 2.0;

/// A field with its figure written on it takes this many points of the drawing's width at least.
const WORDS: i32 = 60;
/// Limits of a field's width and height, in points.
const NARROWEST: i32 = 6;
const WIDEST: i32 = 96;
/// The width of a letter in points, generously, to reserve room for labels.
const LETTER: i32 = 8;
/// The room above a separate drawing for its title, in points.
const HEAD: i32 = 60;

/// The levels between the fastest and the slowest of some latencies.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Levels {
    /// The fastest latency.
    pub(crate) low: f64,
    /// The slowest latency, or somewhat more.
    pub(crate) high: f64,
}

impl Levels {
    /// The levels of these latencies. `None` if there is none.
    pub(crate) fn between(ns: impl Iterator<Item = f64>) -> Option<Self> {
        let range = |(low, high): (f64, f64), ns: f64| (low.min(ns), high.max(ns));
        let (low, high) = ns.filter(|ns| *ns > 0.0).fold((f64::INFINITY, 0.0), range);
        (high > 0.0).then(|| Self { low, high: high.max(low * LEAST_RATIO) })
    }

    /// The level of a latency, from 0; latencies outside the range are in the first or the last.
    pub(crate) fn level(&self, ns: f64) -> usize {
        let share = (ns / self.low).ln() / (self.high / self.low).ln();
        // A negative number or NaN becomes 0.
        ((share * LEVELS as f64) as usize).min(LEVELS - 1)
    }

    /// Where the level begins.
    pub(crate) fn bound(&self, level: usize) -> f64 {
        self.low * (self.high / self.low).powf(level as f64 / LEVELS as f64)
    }
}

/// A heat map before it is drawn.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Heat {
    pub(crate) title: String,
    /// Titles of the rows and of the columns.
    pub(crate) heads: (&'static str, &'static str),
    pub(crate) rows: Vec<String>,
    pub(crate) columns: Vec<String>,
    /// Medians in nanoseconds, row by row.
    pub(crate) values: Vec<Option<f64>>,
    pub(crate) levels: Option<Levels>,
    /// Whether rows and columns are CPUs, so that a row's own column is one CPU for both sides, which has no level.
    pub(crate) of_cpus: bool,
    /// What a pointer shows for each; may be empty.
    pub(crate) tips: Vec<String>,
}

impl Heat {
    /// The drawing as a part of a page whose style sheet has the colours, about `total` points wide.
    pub(crate) fn draw(&self, total: i32) -> String {
        let (body, width, height) = self.body(total);
        let label = format!("{}: {} by {}", self.title, self.rows.len(), self.columns.len());
        format!(
            "<svg class=\"heat\" width=\"{width}\" height=\"{height}\" role=\"img\" aria-label=\"{}\">\n{body}</svg>",
            Text(label)
        )
    }

    /// The drawing as a separate document, with its title and a line below it.
    pub(crate) fn draw_document(&self, total: i32, subtitle: &str) -> String {
        let (body, width, height) = self.body(total);
        let letters = self.title.chars().count().max(subtitle.chars().count()) as i32;
        let (width, height) = (width.max(letters * LETTER + 20), height + HEAD);
        let (title, subtitle) = (Text(&self.title), Text(subtitle));
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"heat\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
             height=\"{height}\" role=\"img\">\n<title>{title}; {subtitle}</title>\n<style>\n{}</style>\n\
             <rect class=\"page\" width=\"{width}\" height=\"{height}\"/>\n<text x=\"10\" y=\"24\" font-weight=\"600\">{title}</text>\n\
             <text x=\"10\" y=\"46\">{subtitle}</text>\n<g transform=\"translate(0 {HEAD})\">\n{body}</g></svg>\n",
            theme::document_css()
        )
    }

    /// The fields with their labels and the legend below them, and the drawing's width and height in points.
    fn body(&self, total: i32) -> (String, i32, i32) {
        let (columns, rows) = (self.columns.len() as i32, self.rows.len() as i32);
        let words = columns <= total / WORDS;
        let letters =
            |names: &[String]| names.iter().map(|name| name.chars().count()).max().unwrap_or(0) as i32;
        let left = (letters(&self.rows) * LETTER).max(self.heads.0.chars().count() as i32 * LETTER) + 16;
        let narrowest = if words { WORDS - 10 } else { NARROWEST };
        let width = ((total - left) / columns.max(1)).clamp(narrowest, WIDEST);
        let height = if words { 28 } else { width };
        let top = if self.heads.1.is_empty() { 26 } else { 46 };
        let mut body = String::new();
        let mut add = |line: String| {
            body.push_str(&line);
            body.push('\n');
        };
        if !self.heads.1.is_empty() {
            add(format!("<text x=\"{left}\" y=\"16\">{}</text>", self.heads.1));
            add(format!(
                "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>",
                left - 8,
                top - 8,
                self.heads.0
            ));
        }
        // Names that would collide are left out.
        let every = (letters(&self.columns) * LETTER + 6) / width + 1;
        for (at, name) in self.columns.iter().enumerate().step_by(every as usize) {
            let x = left + width * at as i32 + width / 2;
            add(format!("<text x=\"{x}\" y=\"{}\" text-anchor=\"middle\">{}</text>", top - 8, Text(name)));
        }
        for (at, name) in self.rows.iter().enumerate().step_by((18 / height + 1) as usize) {
            let y = top + height * at as i32 + height / 2 + 5;
            add(format!("<text x=\"{}\" y=\"{y}\" text-anchor=\"end\">{}</text>", left - 8, Text(name)));
        }
        for (at, value) in self.values.iter().enumerate() {
            let (row, column) = (at / self.columns.len(), at % self.columns.len());
            let one_cpu = self.of_cpus && row == column;
            let class = match value.zip(self.levels) {
                Some(_) if one_cpu => "one-cpu".to_owned(),
                Some((ns, levels)) => format!("h{}", levels.level(ns)),
                None => "none".to_owned(),
            };
            let (x, y) = (left + width * column as i32, top + height * row as i32);
            let text = match words {
                true => format!(
                    "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
                    x + width / 2,
                    y + height / 2 + 5,
                    value.map_or("–".to_owned(), latency)
                ),
                false => String::new(),
            };
            let tip =
                self.tips.get(at).map(|tip| format!("<title>{}</title>", Text(tip))).unwrap_or_default();
            add(format!(
                "<g class=\"{class}\">{tip}<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\"/>{text}</g>"
            ));
        }
        let below = top + height * rows + 14;
        let legend = self.legend();
        let step = letters(&legend.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>()) * LETTER + 34;
        let in_row = (total.max(left + width * columns) / step).max(1);
        for ((name, class), at) in legend.iter().zip(0..) {
            let (x, y) = (10 + at % in_row * step, below + at / in_row * 22);
            add(format!("<g class=\"{class}\"><rect x=\"{x}\" y=\"{y}\" width=\"20\" height=\"14\"/></g>"));
            add(format!("<text x=\"{}\" y=\"{}\">{name}</text>", x + 26, y + 12));
        }
        let entries = legend.len() as i32;
        let wide = (left + width * columns + width.min(20)).max(10 + entries.min(in_row) * step);
        (body, wide, below + (entries + in_row - 1) / in_row * 22)
    }

    /// Where each level begins, and the field's class.
    fn legend(&self) -> Vec<(String, String)> {
        let level = |level| Some((format!("≥ {}", latency(self.levels?.bound(level))), format!("h{level}")));
        let one_cpu = self.of_cpus.then(|| (ONE_CPU.to_owned(), "one-cpu".to_owned()));
        (0..LEVELS).filter_map(level).chain(one_cpu).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_of_equal_ratios_and_hold_what_lies_beyond() {
        let levels = Levels { low: 100.0, high: 51_200.0 }; // Nine doublings.
        for (ns, level) in [(1.0, 0), (100.0, 0), (199.0, 0), (201.0, 1), (401.0, 2), (51_100.0, 8), (1e9, 8)]
        {
            assert_eq!(levels.level(ns), level, "{ns}");
        }
        assert!((levels.bound(1) - 200.0).abs() < 1e-9);
        assert_eq!(levels.level(f64::NAN), 0);
    }

    #[test]
    fn noise_does_not_look_like_structure() {
        let levels = Levels::between([214.0, 228.0].into_iter()).unwrap();
        assert_eq!(levels, Levels { low: 214.0, high: 428.0 });
        assert_eq!(levels.level(218.0), levels.level(214.0));
        assert_eq!(Levels::between([0.0].into_iter()), None);
    }
}
