//! Charts, as SVG.

use std::time::Duration;

use maud::{Markup, html};

use super::format::age;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 170.0;
/// Where the plot begins, for what stands at its left and below.
const LEFT: f64 = 56.0;
const BELOW: f64 = 20.0;
/// How many lines tell themselves apart.
const STYLES: usize = 4;

/// A line of a chart: a value for each step, the oldest first.
pub(super) struct Line<'a> {
    pub(super) name: &'a str,
    pub(super) values: Vec<Option<f64>>,
}

/// A chart over the last so much time. Its text says how it ends.
pub(super) fn lines(title: &str, span: Duration, lines: &[Line<'_>], unit: impl Fn(f64) -> String) -> Markup {
    let most = lines
        .iter()
        .flat_map(|line| line.values.iter().flatten())
        .fold(0.0, |most: f64, value| most.max(*value));
    let top = if most > 0.0 { most } else { 1.0 };
    let last =
        |line: &Line<'_>| line.values.iter().rev().find_map(|value| *value).map_or("none".to_owned(), &unit);
    let ends: Vec<String> = lines.iter().map(|line| format!("{} {}", line.name, last(line))).collect();
    let summary = format!("{title}, now: {}", ends.join(", "));
    html! {
        figure.card {
            figcaption { h2 { (title) } }
            svg.chart viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } role="img" aria-label=(summary) {
                @for part in [0.0, 0.5, 1.0] {
                    @let y = 8.0 + (1.0 - part) * (HEIGHT - BELOW - 8.0);
                    line.rule x1=(LEFT) x2=(WIDTH) y1=(y) y2=(y) {}
                    // Where nothing was there is no scale either.
                    @if most > 0.0 || part == 0.0 {
                        text x=(LEFT - 6.0) y=(y + 4.0) text-anchor="end" { (unit(part * top)) }
                    }
                }
                text x=(LEFT) y=(HEIGHT - 4.0) { (age(span)) " ago" }
                text x=(WIDTH) y=(HEIGHT - 4.0) text-anchor="end" { "now" }
                @for (number, line) in lines.iter().enumerate() {
                    path class={ "line s" (number % STYLES) } d=(path(&line.values, top)) {}
                }
            }
            ul.legend {
                @for (number, line) in lines.iter().enumerate() {
                    li {
                        svg viewBox="0 0 26 8" aria-hidden="true" {
                            path class={ "line chart-key s" (number % STYLES) } d="M0 4H26" {}
                        }
                        (line.name) ": " (last(line))
                    }
                }
            }
        }
    }
}

/// A line that is broken where there is no value.
fn path(values: &[Option<f64>], top: f64) -> String {
    let step = (WIDTH - LEFT) / values.len().saturating_sub(1).max(1) as f64;
    let (mut path, mut drawing) = (String::new(), false);
    for (number, value) in values.iter().enumerate() {
        match value {
            None => drawing = false,
            Some(value) => {
                let x = LEFT + step * number as f64;
                let y = 8.0 + (1.0 - value / top) * (HEIGHT - BELOW - 8.0);
                path.push_str(&format!("{}{x:.0} {y:.1}", if drawing { 'L' } else { 'M' }));
                drawing = true;
            }
        }
    }
    path
}

/// How the counts of buckets change: a column for each minute, a row for each bucket, the darker the larger its share.
pub(super) fn heat(title: &str, bounds: &[String], minutes: &[&[u32]]) -> Markup {
    let (wide, high) = ((WIDTH - LEFT) / minutes.len().max(1) as f64, 18.0);
    let height = high * bounds.len() as f64;
    html! {
        figure.card {
            figcaption { h2 { (title) } }
            svg.chart viewBox={ "0 0 " (WIDTH) " " (height + BELOW) } role="img" aria-label=(title) {
                @for (row, bound) in bounds.iter().enumerate() {
                    text x=(LEFT - 6.0) y=(height - high * row as f64 - 5.0) text-anchor="end" { (bound) }
                }
                rect.plot x=(LEFT) y="0" width=(WIDTH - LEFT) height=(height) {}
                @for (column, counts) in minutes.iter().enumerate() {
                    @let all: u32 = counts.iter().sum();
                    @for (row, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
                        @let share = f64::from(*count) / f64::from(all);
                        rect.heat x=(format!("{:.0}", LEFT + wide * column as f64)) width=(format!("{:.0}", wide - 1.0))
                            y=(height - high * (row + 1) as f64) height=(high - 1.0)
                            fill-opacity=(format!("{:.2}", 0.2 + 0.8 * share)) { title { (count) " of " (all) } }
                    }
                }
                text x=(LEFT) y=(height + 15.0) { (minutes.len() - 1) " min ago" }
                text x=(WIDTH) y=(height + 15.0) text-anchor="end" { "now" }
            }
        }
    }
}

/// A number of things a second.
pub(super) fn per_second(rate: f64) -> String {
    match rate {
        0.0 => "0/s".to_owned(),
        rate if rate < 10.0 => format!("{rate:.1}/s"),
        rate if rate < 10_000.0 => format!("{rate:.0}/s"),
        rate => format!("{:.0}k/s", rate / 1_000.0),
    }
}

/// A duration that may be very short.
pub(super) fn seconds(seconds: f64) -> String {
    match seconds {
        0.0 => "0".to_owned(),
        seconds if seconds < 0.001 => format!("{:.0} µs", seconds * 1e6),
        seconds if seconds < 1.0 => format!("{:.1} ms", seconds * 1e3),
        seconds if seconds < 60.0 => format!("{seconds:.1} s"),
        seconds => age(Duration::from_secs_f64(seconds.min(1e12))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_broken_where_nothing_was() {
        assert_eq!(path(&[Some(0.0), Some(1.0), None, Some(1.0)], 1.0), "M56 150.0L251 8.0M640 8.0");
        assert_eq!(path(&[], 1.0), "");
    }
}
