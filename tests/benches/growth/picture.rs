//! The series as a picture.

use std::error::Error;

use plotters::prelude::*;

use super::Growth;

const PANEL: (u32, u32) = (450, 300);
const COLORS: [RGBColor; 2] = [RGBColor(0x33, 0x66, 0xaa), RGBColor(0xcc, 0x55, 0x33)];
const FONT: &str = "sans-serif";

/// A panel for each question, both axes logarithmic, as SVG.
pub(crate) fn draw(all: &[Growth]) -> Result<String, Box<dyn Error>> {
    let mut svg = String::new();
    {
        let lines = all.len().div_ceil(2).max(1);
        let size = (PANEL.0 * 2, PANEL.1 * lines as u32);
        let whole = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        whole.fill(&WHITE)?;
        for (growth, area) in all.iter().zip(whole.split_evenly((lines, 2))) {
            panel(growth, &area)?;
        }
        whole.present()?;
    }
    Ok(svg)
}

fn panel(
    growth: &Growth,
    area: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
) -> Result<(), Box<dyn Error>> {
    let micros = |calls_per_s: f64| 1e6 / calls_per_s;
    let points = || growth.series.iter().flat_map(|series| &series.points);
    let times = points().map(|point| micros(point.calls_per_s));
    let (low, high) = times.fold((f64::MAX, 0.0_f64), |(low, high), t| (low.min(t), high.max(t)));
    let most = points().map(|point| point.x).max().unwrap_or(1) as f64;
    let least = points().map(|point| point.x).min().unwrap_or(1) as f64;
    let mut chart = ChartBuilder::on(area)
        .caption(format!("{}: µs a call", growth.name), (FONT, 15))
        .margin(8)
        .x_label_area_size(32)
        .y_label_area_size(60)
        .build_cartesian_2d((least..most).log_scale(), (low / 2.0..high * 2.0).log_scale())?;
    chart.configure_mesh().x_desc(growth.unit).light_line_style(TRANSPARENT).draw()?;
    for (series, color) in growth.series.iter().zip(COLORS) {
        let line: Vec<_> = series.points.iter().map(|p| (p.x as f64, micros(p.calls_per_s))).collect();
        chart.draw_series(line.iter().map(|point| Circle::new(*point, 3, color.filled())))?;
        chart
            .draw_series(LineSeries::new(line, color))?
            .label(series.store)
            .legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 20, y)], color));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE)
        .border_style(BLACK.mix(0.3))
        .draw()?;
    Ok(())
}
