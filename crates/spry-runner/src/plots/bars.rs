//! Stacked bars: what each client has of each class.

use plotters::prelude::*;

use super::{COLORS, Header, number, undrawable};
use crate::Result;

/// One bar per row of `counts` (`[client][class]`), stacked by class.
///
/// # Errors
///
/// If it cannot be drawn.
pub fn stacked(title: &str, counts: &[Vec<usize>], classes: &[String]) -> Result<String> {
    let mut svg = String::new();
    draw(&mut svg, title, counts, classes).map_err(|error| undrawable(title, &error))?;
    Ok(svg)
}

/// Narrowest and widest bar, in pixels.
const BAR: (usize, usize) = (4, 28);

fn draw(
    svg: &mut String,
    title: &str,
    counts: &[Vec<usize>],
    classes: &[String],
) -> Result<(), Box<dyn std::error::Error>> {
    let clients = counts.len().max(1);
    let width = (clients * (600 / clients).clamp(BAR.0, BAR.1)).max(360) as u32 + 110;
    let header = Header::new(title, classes.iter(), width);
    let size = (width, header.height_of_picture());
    let area = SVGBackend::with_string(svg, size).into_drawing_area();
    area.fill(&WHITE)?;
    let bottom = header.draw(&area)?;
    let highest = counts.iter().map(|row| row.iter().sum::<usize>()).max().unwrap_or(0).max(1);
    let mut chart = ChartBuilder::on(&bottom)
        .margin(10)
        .margin_right(24)
        .x_label_area_size(42)
        .y_label_area_size(62)
        .build_cartesian_2d(-0.5..clients as f64 - 0.5, 0.0..highest as f64 * 1.03)?;
    // Labels stand under bars, so only at whole numbers.
    let client = |x: &f64| if x.fract() == 0.0 { number(x) } else { String::new() };
    chart
        .configure_mesh()
        .x_desc("client")
        .y_desc("examples")
        .x_label_formatter(&client)
        .y_label_formatter(&number)
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(BLACK.mix(0.12))
        .axis_desc_style(("sans-serif", 14))
        .label_style(("sans-serif", 12))
        .draw()?;
    // Gaps between very thin bars would flicker.
    let half = if clients > 150 { 0.5 } else { 0.42 };
    for (client, row) in counts.iter().enumerate() {
        let mut below = 0;
        for (&count, color) in row.iter().zip(COLORS.iter().cycle()) {
            let (x, from, to) = (client as f64, below as f64, (below + count) as f64);
            if count > 0 {
                let bar = Rectangle::new([(x - half, from), (x + half, to)], color.filled());
                chart.draw_series([bar])?;
            }
            below += count;
        }
    }
    area.present()?;
    Ok(())
}
