//! Pictures, as SVG by plotters.
//!
//! - [`LinePlot`]: curves over a common axis.
//! - [`bars`]: stacked bars.
//! - [`run`]: the pictures of one run.

pub mod bars;
pub mod run;

use plotters::prelude::*;
use plotters::style::RGBColor;

use crate::{Error, Result};

/// First those that stay apart for colour-blind readers (Okabe and Ito 2008), without the yellow
/// one, which is too light on white; then more, for comparisons of many runs.
pub(crate) const COLORS: [RGBColor; 12] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
    RGBColor(90, 90, 90),
    RGBColor(110, 60, 160),
    RGBColor(130, 80, 40),
    RGBColor(150, 170, 30),
    RGBColor(170, 20, 60),
    RGBColor(0, 60, 60),
];

/// Size of a picture.
const SIZE: (u32, u32) = (720, 440);

/// Curves over a common axis.
#[derive(Clone, Debug, Default)]
pub struct LinePlot {
    /// What it shows.
    pub title: String,
    /// Horizontal axis, with its unit.
    pub x_label: String,
    /// Vertical axis, with its unit.
    pub y_label: String,
    /// Range of the vertical axis, if it is not that of the values.
    pub y_range: Option<(f64, f64)>,
    /// Whether the vertical axis begins at 0, as it should for amounts.
    pub from_zero: bool,
    /// The curves, each with its name and points `(x, y)`; those without points are left out.
    pub curves: Vec<(String, Vec<(f64, f64)>)>,
}

impl LinePlot {
    /// The picture; `None` if there is nothing to show.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`] if it cannot be drawn.
    pub fn to_svg(&self) -> Result<Option<String>> {
        let curves: Vec<_> = self.curves.iter().filter(|(_, points)| !points.is_empty()).collect();
        let points = || curves.iter().flat_map(|(_, points)| points.iter().copied());
        let finite = |value: &f64| value.is_finite();
        let Some(x) = range(points().map(|(x, _)| x).filter(finite)) else { return Ok(None) };
        let Some(y) = range(points().map(|(_, y)| y).filter(finite)) else { return Ok(None) };
        let y = if self.from_zero { (f64::min(0.0, y.0), y.1) } else { y };
        let y = self.y_range.unwrap_or_else(|| padded(y));
        let x = if x.0 == x.1 { (x.0 - 0.5, x.1 + 0.5) } else { x };

        let mut svg = String::new();
        self.draw(&mut svg, &curves, x, y).map_err(|error| undrawable(&self.title, &error))?;
        Ok(Some(svg))
    }

    fn draw(
        &self,
        svg: &mut String,
        curves: &[&(String, Vec<(f64, f64)>)],
        x: (f64, f64),
        y: (f64, f64),
    ) -> Result<(), Box<dyn std::error::Error>> {
        let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
        area.fill(&WHITE)?;
        let names: Vec<&str> = curves.iter().map(|(name, _)| name.as_str()).collect();
        let bottom = with_header(&area, &self.title, &names)?;
        // There is no round 1.2.
        let is_whole =
            curves.iter().all(|(_, points)| points.iter().all(|(x, _)| x.fract() == 0.0));
        let x_label = |x: &f64| match is_whole && x.fract() != 0.0 {
            true => String::new(),
            false => number(x),
        };
        let mut chart = ChartBuilder::on(&bottom)
            .margin(10)
            .margin_right(24)
            .x_label_area_size(42)
            .y_label_area_size(62)
            .build_cartesian_2d(x.0..x.1, y.0..y.1)?;
        chart
            .configure_mesh()
            .x_desc(self.x_label.clone())
            .y_desc(self.y_label.clone())
            .x_label_formatter(&x_label)
            .y_label_formatter(&number)
            .light_line_style(TRANSPARENT)
            .bold_line_style(BLACK.mix(0.12))
            .axis_desc_style(("sans-serif", 14))
            .label_style(("sans-serif", 12))
            .draw()?;
        for ((_, points), color) in curves.iter().zip(COLORS.iter().cycle()) {
            let finite = || points.iter().copied().filter(|(x, y)| x.is_finite() && y.is_finite());
            chart.draw_series(LineSeries::new(finite(), color.stroke_width(2)))?;
            // Few points may be no visible line.
            if points.len() <= 40 {
                let dot = |point| Circle::new(point, 3, color.filled());
                chart.draw_series(finite().map(dot))?;
            }
        }
        area.present()?;
        Ok(())
    }
}

/// Smallest and largest value.
fn range(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    values.fold(None, |range, value| {
        let (low, high) = range.unwrap_or((value, value));
        Some((f64::min(low, value), f64::max(high, value)))
    })
}

/// A range with some room around it, and 0 in it where it is near.
fn padded((low, high): (f64, f64)) -> (f64, f64) {
    let room = if high > low { 0.06 * (high - low) } else { 0.5 * high.abs().max(1e-3) };
    let is_near_0 = low >= 0.0 && (low < 0.4 * high || low == high);
    let bottom = if is_near_0 { 0.0 } else { low - room };
    (bottom, high + room)
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

/// Draws a title and, below it, a legend in as many rows as it needs, where it hides nothing;
/// returns the area below them.
fn with_header<'a>(
    area: &Area<'a>,
    title: &str,
    names: &[&str],
) -> Result<Area<'a>, Box<dyn std::error::Error>> {
    let (width, _) = area.dim_in_pixel();
    let places = legend_places(names, width as i32 - 80);
    let header = 38 + 20 * places.last().map_or(0, |(row, _)| row + 1);
    let (top, bottom) = area.split_vertically(header);
    let style = ("sans-serif", 18).into_font().color(&BLACK);
    top.draw(&Text::new(title.to_string(), (72, 10), style))?;
    for ((name, color), (row, left)) in names.iter().zip(COLORS.iter().cycle()).zip(places) {
        let (left, y) = (72 + left, 46 + 20 * row);
        top.draw(&Rectangle::new([(left, y - 3), (left + 20, y + 3)], color.filled()))?;
        let style = ("sans-serif", 13).into_font().color(&BLACK);
        top.draw(&Text::new(name.to_string(), (left + 26, y - 7), style))?;
    }
    Ok(bottom)
}

/// Row and left end of each entry of a legend of a given width.
fn legend_places(names: &[&str], width: i32) -> Vec<(i32, i32)> {
    let (mut row, mut left) = (0, 0);
    let place = |name: &&str| {
        // Wide letters of 13 pixels, and the sample of the colour.
        let entry = 48 + 7 * name.chars().count() as i32;
        if left > 0 && left + entry > width {
            (row, left) = (row + 1, 0);
        }
        let place = (row, left);
        left += entry;
        place
    };
    names.iter().map(place).collect()
}

/// A number as short as an axis wants it: 0, 0.25, 12, 1500, 2.0e-5.
pub(crate) fn number(value: &f64) -> String {
    let size = value.abs();
    match size {
        0.0 => "0".to_string(),
        _ if !(1e-3..1e7).contains(&size) => format!("{value:.1e}"),
        _ => {
            let text = format!("{value:.3}");
            text.trim_end_matches('0').trim_end_matches('.').to_string()
        }
    }
}

pub(crate) fn undrawable(title: &str, error: &dyn std::fmt::Display) -> Error {
    Error::Failed(format!("cannot draw the plot `{title}`: {error}"))
}
