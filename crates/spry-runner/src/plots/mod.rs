//! Pictures, as SVG by plotters.
//!
//! - [`LinePlot`]: curves over a common axis.
//! - [`bars`]: stacked bars.
//! - [`run`]: the pictures of one run.

pub mod bars;
pub mod run;

use plotters::prelude::*;
use plotters::style::RGBColor;

use crate::text::label;
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

/// Size of a picture, which is higher where a long legend needs it.
const SIZE: (u32, u32) = (720, 440);

/// Least height of what is below the legend.
const BODY: u32 = 300;

/// Names that a legend has at most.
const LEGEND: usize = 120;

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
        let header = Header::new(&self.title, curves.iter().map(|(name, _)| name), SIZE.0);
        let size = (SIZE.0, header.height_of_picture());
        let area = SVGBackend::with_string(svg, size).into_drawing_area();
        area.fill(&WHITE)?;
        let bottom = header.draw(&area)?;
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
            .x_desc(label(&self.x_label))
            .y_desc(label(&self.y_label))
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

/// A title and, below it, a legend in as many rows as it needs, where it hides nothing.
struct Header {
    title: String,
    names: Vec<String>,
    /// Row and left end of each name.
    places: Vec<(i32, i32)>,
}

impl Header {
    /// Of a picture of some width. What others have named may be anything, so a name is shortened,
    /// and a legend does not list thousands.
    fn new<'a>(title: &str, names: impl Iterator<Item = &'a String>, width: u32) -> Self {
        let mut names: Vec<String> = names.map(|name| label(name)).collect();
        if names.len() > LEGEND {
            let more = names.len() - (LEGEND - 1);
            names.truncate(LEGEND - 1);
            names.push(format!("… and {more} more"));
        }
        let places = legend_places(&names, width as i32 - 80);
        Self { title: label(title), names, places }
    }

    fn height(&self) -> u32 {
        38 + 20 * self.places.last().map_or(0, |(row, _)| row + 1) as u32
    }

    /// Of the whole picture.
    fn height_of_picture(&self) -> u32 {
        SIZE.1.max(self.height() + BODY)
    }

    /// Draws it; returns the area below it.
    fn draw<'a>(&self, area: &Area<'a>) -> Result<Area<'a>, Box<dyn std::error::Error>> {
        let (top, bottom) = area.split_vertically(self.height());
        let style = ("sans-serif", 18).into_font().color(&BLACK);
        top.draw(&Text::new(self.title.clone(), (72, 10), style))?;
        let entries = self.names.iter().zip(COLORS.iter().cycle()).zip(&self.places);
        for ((name, color), (row, left)) in entries {
            let (left, y) = (72 + left, 46 + 20 * row);
            top.draw(&Rectangle::new([(left, y - 3), (left + 20, y + 3)], color.filled()))?;
            let style = ("sans-serif", 13).into_font().color(&BLACK);
            top.draw(&Text::new(name.clone(), (left + 26, y - 7), style))?;
        }
        Ok(bottom)
    }
}

/// Row and left end of each entry of a legend of a given width.
fn legend_places(names: &[String], width: i32) -> Vec<(i32, i32)> {
    let (mut row, mut left) = (0, 0);
    let place = |name: &String| {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Names that would end the tag, the file or the reading direction, and one of a megabyte.
    fn names() -> Vec<String> {
        let mut names =
            ["</text><script>alert(1)</script>", "a&b", "\"quoted\"", "\u{0}\u{8}\u{1b}[31m"]
                .map(str::to_string)
                .to_vec();
        names.extend(["\u{202e}gnp.exe", "x\u{fffe}y", "two\nlines"].map(str::to_string));
        names.push("long ".repeat(200_000));
        names
    }

    fn check(svg: &str) {
        assert!(svg.len() < 200_000, "{} bytes", svg.len());
        // What XML 1.0 has no place for, and what hides or turns around.
        let is_bad = |c: char| {
            (c.is_control() && c != '\n')
                || matches!(c, '\u{202a}'..='\u{202e}' | '\u{fffe}' | '\u{ffff}')
        };
        assert_eq!(svg.chars().find(|c| is_bad(*c)), None, "{svg}");
        assert!(!svg.contains("<script"), "{svg}");
        assert!(svg.contains("&lt;script&gt;") && svg.contains("a&amp;b"), "{svg}");
        assert!(svg.contains(r"\u{1b}[31m") && svg.contains(r"two\nlines"), "{svg}");
    }

    #[test]
    fn names_are_text_and_nothing_else() {
        let curves = names().into_iter().map(|name| (name, vec![(0.0, 1.0), (1.0, 2.0)])).collect();
        let title = names().concat();
        let plot = LinePlot { title: title.clone(), x_label: title, curves, ..Default::default() };
        check(&plot.to_svg().unwrap().unwrap());
        check(&bars::stacked("clients", &[vec![1; 8], vec![2; 8]], &names()).unwrap());
    }

    /// Banking77 has 77 classes, other sets have thousands.
    #[test]
    fn a_long_legend_leaves_room_for_the_picture() {
        for count in [1, 77, 20_000] {
            let names: Vec<String> = (0..count).map(|n| format!("a class of number {n}")).collect();
            let svg = bars::stacked("clients", &[vec![1; count], vec![2; count]], &names).unwrap();
            let height = svg.split("height=\"").nth(1).unwrap().split('"').next().unwrap();
            let height: u32 = height.parse().unwrap();
            let header = Header::new("clients", names.iter(), 710);
            assert!(height >= header.height() + BODY, "{count}: {height}");
            assert!((440..=3000).contains(&height), "{count}: {height}");
            assert_eq!(
                svg.matches("a class of number").count(),
                count.min(if count > LEGEND { LEGEND - 1 } else { LEGEND })
            );
        }
    }
}
