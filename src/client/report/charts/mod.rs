//! Charts as SVG whose text is text: lines and dots that fill the width they are given, bars for a table, and heat maps.

mod axis;
mod heat;
mod theme;

use std::fmt::Write as _;

pub(super) use self::axis::{Axis, duration, percentile};
pub(super) use self::heat::{Heat, LEVELS, Levels, ONE_CPU};
pub(super) use self::theme::{DARK, LINES, classes, write_css};
use super::escape::Text;

/// How a series is drawn, and shown in the legend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    Line,
    LineWithDots,
    Dots,
    Rings,
}

/// Points of one colour.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Series {
    /// As in the legend.
    pub(super) name: String,
    pub(super) mark: Mark,
    /// Of the colour and the dash.
    pub(super) classes: String,
    pub(super) points: Vec<(f64, f64)>,
}

/// A chart before it is drawn.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Chart {
    /// A description for readers who cannot see it.
    pub(super) label: String,
    pub(super) x: Axis,
    pub(super) y: Axis,
    pub(super) series: Vec<Series>,
    /// The values on the x axis of the rows of the table below the chart, which a pointer shows.
    pub(super) rows: Vec<f64>,
}

impl Chart {
    /// The drawing: an element that is the plane between the axes. Labels lie outside of it, in its margin. Positions are
    /// in per cent, so that text keeps its size at every width.
    pub(super) fn draw(&self) -> String {
        let rows: Vec<String> = self.rows.iter().map(|x| percent(self.x.share(*x))).collect();
        let mut svg = format!(
            "<svg class=\"plot\" role=\"img\" aria-label=\"{}\" data-x=\"{}\">\n",
            Text(&self.label),
            rows.join(" ")
        );
        for (value, label) in &self.y.ticks {
            let y = percent(1.0 - self.y.share(*value));
            svg += &format!(
                "<line x2=\"100%\" y1=\"{y}%\" y2=\"{y}%\"/><text class=\"y\" x=\"-8\" y=\"{y}%\">{label}</text>\n"
            );
        }
        for (number, (value, label)) in self.x.ticks.iter().enumerate() {
            let (x, class) = (percent(self.x.share(*value)), if number % 2 == 0 { "x" } else { "x odd" });
            svg += &format!(
                "<line x1=\"{x}%\" x2=\"{x}%\" y2=\"100%\"/><text class=\"{class}\" x=\"{x}%\" y=\"100%\">{label}</text>\n"
            );
        }
        svg += &format!("<text class=\"title\" x=\"50%\" y=\"100%\">{}</text>\n", Text(&self.x.title));
        let at = |(x, y): &(f64, f64)| (self.x.share(*x), 1.0 - self.y.share(*y));
        svg += "<svg viewBox=\"0 0 1000 1000\" preserveAspectRatio=\"none\">\n";
        for Series { classes, points, .. } in self.series.iter().filter(|series| series.mark.has_line()) {
            let points = points.iter().map(at);
            let points: Vec<String> =
                points.map(|(x, y)| format!("{:.1},{:.1}", x * 1000.0, y * 1000.0)).collect();
            svg += &format!("<polyline class=\"{classes}\" points=\"{}\"/>\n", points.join(" "));
        }
        svg += "</svg>\n";
        for Series { mark, classes, points, .. } in &self.series {
            let (radius, class) = match mark {
                Mark::Line => continue,
                Mark::Rings => (6, "ring "),
                Mark::LineWithDots | Mark::Dots => (3, ""),
            };
            for (x, y) in points.iter().map(at) {
                let (x, y) = (percent(x), percent(y));
                svg +=
                    &format!("<circle class=\"{class}{classes}\" cx=\"{x}%\" cy=\"{y}%\" r=\"{radius}\"/>\n");
            }
        }
        svg + "</svg>"
    }

    /// The legend, as a list.
    pub(super) fn legend(&self) -> String {
        let mut legend = String::from("<ul class=\"legend\">");
        for Series { name, mark, classes, .. } in &self.series {
            let _ = write!(legend, "<li>{}{}</li>", mark.key(classes), Text(name));
        }
        legend + "</ul>"
    }
}

impl Mark {
    fn has_line(self) -> bool {
        matches!(self, Self::Line | Self::LineWithDots)
    }

    /// The symbol before a name in a legend: its line or dot.
    pub(super) fn key(self, classes: &str) -> String {
        let mark = match self {
            Self::Line | Self::LineWithDots => format!("<path class=\"{classes}\" d=\"M0 5H30\"/>"),
            Self::Dots => format!("<circle class=\"{classes}\" cx=\"24\" cy=\"5\" r=\"3\"/>"),
            Self::Rings => format!("<circle class=\"ring {classes}\" cx=\"24\" cy=\"5\" r=\"4\"/>"),
        };
        format!("<svg class=\"key\" viewBox=\"0 0 30 10\" aria-hidden=\"true\">{mark}</svg>")
    }
}

/// A bar of a table's row, as long as a share of the column, and the interval around its end.
pub(super) fn bar(classes: &str, share: f64, interval: Option<(f64, f64)>) -> String {
    let mut svg = format!(
        "<svg class=\"bar\" aria-hidden=\"true\"><rect class=\"{classes}\" width=\"{}%\" height=\"100%\"/>",
        percent(share)
    );
    if let Some((low, high)) = interval {
        svg += &format!("<line x1=\"{}%\" x2=\"{}%\" y1=\"50%\" y2=\"50%\"/>", percent(low), percent(high));
        // What lies outside has no end here.
        for end in [low, high].into_iter().filter(|end| (0.0..=1.0).contains(end)).map(percent) {
            svg += &format!("<line x1=\"{end}%\" x2=\"{end}%\" y1=\"25%\" y2=\"75%\"/>");
        }
    }
    svg + "</svg>"
}

fn percent(share: f64) -> String {
    format!("{:.2}", share.clamp(0.0, 1.0) * 100.0)
}
