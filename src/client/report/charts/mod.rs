//! Charts: lines, dots and heat maps, drawn as SVG whose text is text.

mod axis;
mod heat;
mod theme;

use std::fmt::Write as _;
use std::io;

use plotters::backend::SVGBackend;
use plotters::chart::ChartBuilder;
use plotters::coord::Shift;
use plotters::drawing::{DrawingArea, IntoDrawingArea};
use plotters::element::{Circle, PathElement, Rectangle, Text};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, IntoFont, RGBColor, ShapeStyle, TRANSPARENT, TextStyle};

pub(super) use self::axis::{Axis, duration, percentile};
pub(super) use self::heat::{Heat, LEVELS, Levels, ONE_CPU};
use self::theme::Rgb;
pub(super) use self::theme::{DARK, LINES, line, named, write_css};
use super::escape;

/// Coordinates in a drawing are integers; this many of them make one point.
const FINE: i32 = 10;
/// Text size in points. A drawing 480 points wide is shrunk to three quarters on a phone.
const FONT: i32 = 14;
/// The width of a letter in points, generously, to reserve room beside an axis.
const LETTER: i32 = 8;
/// plotters divides a font's size by this.
const EM: f64 = 1.24;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// How a series is drawn, and shown in the legend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    Line,
    LineWithDots,
    Dots,
    Rings,
    /// A level of a heat map.
    Field,
}

/// Points of one colour.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Series {
    /// As in the legend.
    pub(super) name: String,
    pub(super) mark: Mark,
    pub(super) colour: Rgb,
    pub(super) points: Vec<(f64, f64)>,
}

/// A field of a heat map.
#[derive(Debug, Clone, PartialEq)]
struct Field {
    column: usize,
    row: usize,
    colour: Rgb,
    /// What is written on it, and in which colour.
    text: Option<(String, Rgb)>,
    /// What a pointer shows.
    tip: Option<String>,
}

/// A chart before it is drawn.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Chart {
    /// A description for readers who cannot see it.
    pub(super) label: String,
    /// Width and height in points.
    size: (i32, i32),
    x: Axis,
    y: Axis,
    pub(super) series: Vec<Series>,
    fields: Vec<Field>,
    /// The name and colour of each level of the fields.
    levels: Vec<(String, Rgb)>,
}

impl Chart {
    /// An empty chart of the usual size.
    pub(super) fn new(label: String, x: Axis, y: Axis) -> Self {
        Self { label, size: (480, 320), x, y, series: Vec::new(), fields: Vec::new(), levels: Vec::new() }
    }

    /// The entries of a legend.
    pub(super) fn legend(&self) -> impl Iterator<Item = (&str, Mark, Rgb)> {
        let levels = self.levels.iter().map(|(name, colour)| (name.as_str(), Mark::Field, *colour));
        self.series.iter().map(|series| (series.name.as_str(), series.mark, series.colour)).chain(levels)
    }

    /// The drawing as a part of a page whose style sheet defines the colours.
    ///
    /// # Errors
    /// The drawing library's, which has none for a drawing into memory.
    pub(super) fn draw(&self) -> io::Result<String> {
        let (width, height) = (self.size.0 * FINE, self.size.1 * FINE);
        let (body, _) = svg(self.size, |area| self.draw_on(area))?;
        Ok(format!(
            "<svg viewBox=\"0 0 {width} {height}\" style=\"max-width:{}px\" role=\"img\" aria-label=\"{}\">{}",
            self.size.0 * 4 / 3,
            escape::Text(&self.label),
            named(body)
        ))
    }

    /// The drawing as a separate document, with its title, a line below it, and its legend. Viewers without a dark
    /// scheme or style sheets show the light one.
    ///
    /// # Errors
    /// As for [`Self::draw`].
    pub(super) fn draw_document(&self, title: &str, subtitle: &str) -> io::Result<String> {
        let legend = self.legend_chart();
        let letters = title.chars().count().max(subtitle.chars().count()) as i32;
        let width = self.size.0.max(legend.size.0).max(letters * LETTER + 20);
        let height = TITLE_HEIGHT + self.size.1 + legend.size.1;
        let (body, tips) = svg((width, height), |area| {
            area.fill(&rgb(theme::colour("page")))?;
            let (head, rest) = area.split_vertically(TITLE_HEIGHT * FINE);
            let ink = theme::colour("ink");
            head.draw(&Text::new(title, (10 * FINE, 10 * FINE), text(ink, FONT + 3)))?;
            head.draw(&Text::new(subtitle, (10 * FINE, 34 * FINE), text(ink, FONT)))?;
            let (chart, rest) = rest.split_vertically(self.size.1 * FINE);
            let tips = self.draw_on(&chart.split_horizontally(self.size.0 * FINE).0)?;
            legend.draw_on(&rest.split_horizontally(legend.size.0 * FINE).0)?;
            Ok(tips)
        })?;
        let body = body.strip_suffix("</svg>\n").unwrap_or(&body);
        Ok(format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {}\" width=\"{width}\" height=\"{height}\" \
             role=\"img\">\n<title>{}; {}</title>\n<style>\n{}</style>{body}{tips}</svg>\n",
            width * FINE,
            height * FINE,
            escape::Text(title),
            escape::Text(subtitle),
            theme::dark_rules()
        ))
    }

    /// Draws it, and returns the markup of what a pointer shows.
    fn draw_on(&self, area: &Area<'_>) -> Drawn<String> {
        let ink = text(theme::colour("ink"), FONT);
        // The last label below may be centred on the plane's end.
        let right = (self.x.longest_label() as i32 * LETTER / 2).max(24) * FINE;
        let mut chart = ChartBuilder::on(area)
            .margin(10 * FINE)
            .margin_right(right)
            .x_label_area_size(46 * FINE)
            .y_label_area_size(self.y.width_beside() * FINE)
            .build_cartesian_2d(self.x.clone(), self.y.clone())?;
        let mut mesh = chart.configure_mesh();
        mesh.label_style(ink.clone())
            .axis_desc_style(ink)
            .axis_style(stroke(theme::colour("muted"), 1))
            .light_line_style(TRANSPARENT)
            .set_all_tick_mark_size(5 * FINE)
            .bold_line_style(stroke(theme::colour("grid"), 1));
        if !self.x.title.is_empty() {
            mesh.x_desc(self.x.title.clone());
        }
        if !self.y.title.is_empty() {
            mesh.y_desc(self.y.title.clone());
        }
        if !self.fields.is_empty() {
            mesh.disable_mesh();
        }
        mesh.draw()?;
        let plane = chart.plotting_area();
        let mut tips = String::new();
        for field in &self.fields {
            let (x, y) = (field.column as f64, field.row as f64);
            let corners = [(x, y), (x + 1.0, y + 1.0)];
            plane.draw(&Rectangle::new(corners, rgb(field.colour).filled()))?;
            plane.draw(&Rectangle::new(corners, stroke(theme::colour("page"), 1)))?;
            if let Some((words, colour)) = &field.text {
                let style = text(*colour, FONT).pos(Pos::new(HPos::Center, VPos::Center));
                plane.draw(&Text::new(words.as_str(), (x + 0.5, y + 0.5), style))?;
            }
            if let Some(tip) = &field.tip {
                let [(left, top), (right, bottom)] = corners.map(|corner| plane.map_coordinate(&corner));
                writeln!(
                    tips,
                    "<rect x=\"{left}\" y=\"{top}\" width=\"{}\" height=\"{}\" fill-opacity=\"0\"><title>{}</title></rect>",
                    right - left,
                    bottom - top,
                    escape::Text(tip)
                )?;
            }
        }
        for Series { mark, colour, points, .. } in &self.series {
            if matches!(mark, Mark::Line | Mark::LineWithDots) {
                plane.draw(&PathElement::new(points.clone(), stroke(*colour, 2)))?;
            }
            let (radius, style) = match mark {
                Mark::LineWithDots | Mark::Dots => (3 * FINE, rgb(*colour).filled()),
                Mark::Rings => (5 * FINE, stroke(*colour, 2)),
                Mark::Line | Mark::Field => continue,
            };
            for point in points {
                plane.draw(&Circle::new(*point, radius, style))?;
            }
        }
        Ok(tips)
    }
}

/// The room above a drawing for its title and subtitle, in points.
const TITLE_HEIGHT: i32 = 56;

/// What `draw` draws, without the first tag, and what it returns.
fn svg<T>((width, height): (i32, i32), draw: impl FnOnce(&Area<'_>) -> Drawn<T>) -> io::Result<(String, T)> {
    let mut svg = String::new();
    let size = ((width * FINE).cast_unsigned(), (height * FINE).cast_unsigned());
    let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
    let drawn = draw(&area).map_err(io::Error::other)?;
    area.present().map_err(io::Error::other)?;
    drop(area);
    let start = svg.find('>').map_or(0, |end| end + 1);
    Ok((svg.split_off(start).replace(" opacity=\"1\"", ""), drawn))
}

fn rgb((red, green, blue): Rgb) -> RGBColor {
    RGBColor(red, green, blue)
}

/// A line `width` points wide.
fn stroke(colour: Rgb, width: i32) -> ShapeStyle {
    let stroke_width = (width * FINE).cast_unsigned();
    ShapeStyle { color: rgb(colour).to_rgba(), filled: false, stroke_width }
}

fn text(colour: Rgb, points: i32) -> TextStyle<'static> {
    ("sans-serif", f64::from(points * FINE) * EM).into_font().color(&rgb(colour))
}
