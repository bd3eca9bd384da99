//! The results as a picture.

use std::error::Error;

use hdrhistogram::Histogram;
use plotters::prelude::*;

use super::measure::{Measured, Second, Series};

const SIZE: (u32, u32) = (900, 900);
const RATE: RGBColor = RGBColor(0x33, 0x66, 0xaa);
const SERVICE: RGBColor = RGBColor(0x55, 0xa0, 0x55);
const RESPONSE: RGBColor = RGBColor(0xcc, 0x55, 0x33);
const FONT: &str = "sans-serif";
/// Up to how many nines quantiles are drawn.
const NINES: f64 = 5.0;

type Drawn = Result<(), Box<dyn Error>>;

/// Throughput and response times over time, and how long which part of the calls took at most, as SVG.
pub(crate) fn plot(measured: &Measured) -> Result<String, Box<dyn Error>> {
    let mut svg = String::new();
    {
        let whole = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        whole.fill(&WHITE)?;
        let parts = whole.split_evenly((3, 1));
        if let [first, second, third] = &parts[..] {
            throughput(first, &measured.seconds)?;
            over_time(second, &measured.seconds)?;
            quantiles(third, measured)?;
        }
        whole.present()?;
    }
    Ok(svg)
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

fn throughput(area: &Area<'_>, seconds: &[Second]) -> Drawn {
    let calls = points(seconds, |second| second.calls as f64);
    let highest = highest(&calls, 1.0);
    let mut chart = ChartBuilder::on(area)
        .caption("calls answered a second", (FONT, 16))
        .margin(10)
        .x_label_area_size(30)
        .y_label_area_size(70)
        .build_cartesian_2d(0.0..seconds.len().max(1) as f64, 0.0..highest * 1.1)?;
    chart.configure_mesh().x_desc("seconds").light_line_style(TRANSPARENT).draw()?;
    chart.draw_series(LineSeries::new(calls, &RATE))?;
    Ok(())
}

fn over_time(area: &Area<'_>, seconds: &[Second]) -> Drawn {
    let p99 = points(seconds, |second| second.p99.as_secs_f64() * 1e3);
    let longest = points(seconds, |second| second.longest.as_secs_f64() * 1e3);
    let highest = highest(&longest, 0.1);
    let mut chart = ChartBuilder::on(area)
        .caption("response time, ms", (FONT, 16))
        .margin(10)
        .x_label_area_size(30)
        .y_label_area_size(70)
        .build_cartesian_2d(0.0..seconds.len().max(1) as f64, 0.0..highest * 1.1)?;
    chart.configure_mesh().x_desc("seconds").light_line_style(TRANSPARENT).draw()?;
    let line = |color: RGBColor| move |(x, y)| PathElement::new(vec![(x, y), (x + 20, y)], color);
    chart.draw_series(LineSeries::new(longest, &RESPONSE))?.label("max").legend(line(RESPONSE));
    chart.draw_series(LineSeries::new(p99, &RATE))?.label("p99").legend(line(RATE));
    chart.configure_series_labels().background_style(WHITE).border_style(BLACK.mix(0.3)).draw()?;
    Ok(())
}

/// On a scale of nines, as latencies are judged: 0.9, 0.99, 0.999.
fn quantiles(area: &Area<'_>, measured: &Measured) -> Drawn {
    let (service, response) = both(measured)?;
    let curve = |of: &Histogram<u64>| -> Vec<(f64, f64)> {
        let nines = (0..=100_u32).map(|at| f64::from(at) * NINES / 100.0);
        nines
            .map(|nines| (nines, (of.value_at_quantile(1.0 - 10_f64.powf(-nines)) as f64 / 1e6).max(1e-3)))
            .collect()
    };
    let (service, response) = (curve(&service), curve(&response));
    let all = || service.iter().chain(&response).map(|(_, millis)| *millis);
    let (lowest, highest) = (all().fold(f64::MAX, f64::min), all().fold(1e-3, f64::max));
    let mut chart = ChartBuilder::on(area)
        .caption("latency by quantile, ms", (FONT, 16))
        .margin(10)
        .x_label_area_size(30)
        .y_label_area_size(70)
        .build_cartesian_2d(0.0..NINES, (lowest / 1.5..highest * 1.5).log_scale())?;
    let name = |nines: &f64| match nines.round() {
        at if at < 1.0 => "0".to_owned(),
        at => format!("0.{}", "9".repeat(at as usize)),
    };
    chart
        .configure_mesh()
        .x_labels(NINES as usize + 1)
        .x_label_formatter(&name)
        .light_line_style(TRANSPARENT)
        .draw()?;
    let line = |color: RGBColor| move |(x, y)| PathElement::new(vec![(x, y), (x + 20, y)], color);
    chart.draw_series(LineSeries::new(response, &RESPONSE))?.label("response").legend(line(RESPONSE));
    chart.draw_series(LineSeries::new(service, &SERVICE))?.label("service").legend(line(SERVICE));
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE)
        .border_style(BLACK.mix(0.3))
        .draw()?;
    Ok(())
}

/// The service and response times of all calls.
fn both(measured: &Measured) -> Result<(Histogram<u64>, Histogram<u64>), Box<dyn Error>> {
    let Series { service, response, .. } = &measured.reads;
    let (mut service, mut response) = (service.clone(), response.clone());
    service.add(&measured.writes.service)?;
    response.add(&measured.writes.response)?;
    Ok((service, response))
}

fn points(seconds: &[Second], of: impl Fn(&Second) -> f64) -> Vec<(f64, f64)> {
    seconds.iter().enumerate().map(|(at, second)| (at as f64 + 0.5, of(second))).collect()
}

fn highest(points: &[(f64, f64)], least: f64) -> f64 {
    points.iter().map(|(_, y)| *y).fold(least, f64::max)
}
