//! Drawings: lines, dots and heat maps, as SVG that names the page's colours and whose text is text.

use std::io;

use plotters::backend::SVGBackend;
use plotters::chart::ChartBuilder;
use plotters::coord::Shift;
use plotters::drawing::{DrawingArea, IntoDrawingArea};
use plotters::element::{Circle, PathElement, Rectangle, Text};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, IntoFont, RGBColor, ShapeStyle, TRANSPARENT, TextStyle};

use super::axis::Axis;
use super::markup;
use super::theme::{self, Rgb};

/// A drawing is on a grid of whole numbers: so many of them make one of the page's points.
const FINE: i32 = 10;
/// Of text, in points. A drawing 480 points wide fits a phone at three quarters of that.
const FONT: i32 = 14;
/// What a letter takes at most, in points, for the room beside an axis.
const LETTER: i32 = 8;
/// plotters divides a font's size by this.
const EM: f64 = 1.24;

/// A line.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Line {
    pub(super) points: Vec<(f64, f64)>,
    pub(super) colour: Rgb,
    /// In points.
    pub(super) width: i32,
    /// Whether the points are marked.
    pub(super) dots: bool,
}

/// A field of a heat map, in its column and row.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Field {
    pub(super) column: usize,
    pub(super) row: usize,
    pub(super) colour: Rgb,
    /// What is written on it, and in which colour.
    pub(super) text: Option<(String, Rgb)>,
}

/// A chart before it is drawn.
pub(super) struct Chart {
    /// What it shows, for who does not see it.
    pub(super) label: String,
    /// Width and height in points.
    pub(super) size: (i32, i32),
    pub(super) x: Axis,
    pub(super) y: Axis,
    pub(super) lines: Vec<Line>,
    pub(super) dots: Vec<Line>,
    pub(super) fields: Vec<Field>,
}

impl Chart {
    /// An empty chart of usual size.
    pub(super) fn new(label: String, x: Axis, y: Axis) -> Self {
        Self { label, size: (480, 320), x, y, lines: Vec::new(), dots: Vec::new(), fields: Vec::new() }
    }

    /// The drawing.
    ///
    /// # Errors
    /// The drawing library's, which has none for a drawing into memory.
    pub(super) fn draw(&self) -> io::Result<String> {
        let mut svg = String::new();
        let (width, height) = (self.size.0 * FINE, self.size.1 * FINE);
        {
            let backend = SVGBackend::with_string(&mut svg, (width.cast_unsigned(), height.cast_unsigned()));
            let area = backend.into_drawing_area();
            self.draw_on(&area).map_err(io::Error::other)?;
            area.present().map_err(io::Error::other)?;
        }
        let start = svg.find('>').map_or(0, |end| end + 1);
        Ok(format!(
            "<svg viewBox=\"0 0 {width} {height}\" style=\"max-width:{}px\" role=\"img\" aria-label=\"{}\">{}",
            self.size.0 * 4 / 3,
            markup::Text(&self.label),
            theme::named(svg.split_off(start).replace(" opacity=\"1\"", ""))
        ))
    }

    fn draw_on(
        &self,
        area: &DrawingArea<SVGBackend<'_>, Shift>,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let ink = text(theme::colour("ink"));
        let beside =
            (self.y.longest_label() as i32 * LETTER + 18 + if self.y.title.is_empty() { 0 } else { 20 })
                * FINE;
        // The last label below may be centred on the plane's end.
        let right = (self.x.longest_label() as i32 * LETTER / 2).max(24) * FINE;
        let mut chart = ChartBuilder::on(area)
            .margin(10 * FINE)
            .margin_right(right)
            .x_label_area_size(46 * FINE)
            .y_label_area_size(beside)
            .build_cartesian_2d(self.x.clone(), self.y.clone())?;
        let mut mesh = chart.configure_mesh();
        mesh.label_style(ink.clone())
            .axis_desc_style(ink)
            .axis_style(stroke(theme::colour("muted"), FINE))
            .light_line_style(TRANSPARENT)
            .set_all_tick_mark_size(5 * FINE)
            .bold_line_style(stroke(theme::colour("grid"), FINE));
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
        for field in &self.fields {
            let (x, y) = (field.column as f64, field.row as f64);
            plane.draw(&Rectangle::new([(x, y), (x + 1.0, y + 1.0)], rgb(field.colour).filled()))?;
            plane.draw(&Rectangle::new([(x, y), (x + 1.0, y + 1.0)], stroke(theme::colour("page"), FINE)))?;
            if let Some((words, colour)) = &field.text {
                let style = text(*colour).pos(Pos::new(HPos::Center, VPos::Center));
                plane.draw(&Text::new(words.as_str(), (x + 0.5, y + 0.5), style))?;
            }
        }
        for line in &self.lines {
            plane.draw(&PathElement::new(line.points.clone(), stroke(line.colour, line.width * FINE)))?;
        }
        for dots in self.lines.iter().filter(|line| line.dots).chain(&self.dots) {
            let radius = if dots.dots { 3 * FINE } else { 5 * FINE };
            let style = if dots.dots { rgb(dots.colour).filled() } else { stroke(dots.colour, 2 * FINE) };
            for point in &dots.points {
                plane.draw(&Circle::new(*point, radius, style))?;
            }
        }
        Ok(())
    }
}

fn rgb((red, green, blue): Rgb) -> RGBColor {
    RGBColor(red, green, blue)
}

fn stroke(colour: Rgb, width: i32) -> ShapeStyle {
    ShapeStyle { color: rgb(colour).to_rgba(), filled: false, stroke_width: width.cast_unsigned() }
}

fn text(colour: Rgb) -> TextStyle<'static> {
    ("sans-serif", f64::from(FONT * FINE) * EM).into_font().color(&rgb(colour))
}
