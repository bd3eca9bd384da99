//! The results, in the format that the user wants.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};

use super::measure::{Measured, Second, Series};
use super::run::Plan;
use crate::cli::Format;
use crate::exit::Result;
use crate::output::Output;

const QUANTILES: [(&str, f64); 6] =
    [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("p99.99", 0.9999), ("max", 1.0)];
/// How many lines of a table time has.
const LINES: usize = 15;

/// Says what was measured.
pub(crate) fn report(measured: &Measured, plan: &Plan, batch: u64, output: &mut Output) -> Result<()> {
    match output.format() {
        Format::Json | Format::Ndjson => document(measured, plan, batch, output),
        Format::Csv => latencies(measured, output),
        Format::Table => {
            throughput(measured, output)?;
            latencies(measured, output)?;
            over_time(&measured.seconds, output)
        }
    }
}

fn operations(measured: &Measured) -> impl Iterator<Item = (&'static str, &Series)> {
    let all = [("read", &measured.reads), ("write", &measured.writes)];
    all.into_iter().filter(|(_, series)| !series.response.is_empty())
}

fn document(measured: &Measured, plan: &Plan, batch: u64, output: &mut Output) -> Result<()> {
    let of = |histogram: &Histogram<u64>| -> Value {
        let quantiles =
            QUANTILES.iter().map(|(name, q)| ((*name).to_owned(), json!(quantile(histogram, *q))));
        let mean = ("mean".to_owned(), json!(rounded(histogram.mean() / 1e6)));
        quantiles.chain([mean]).collect::<Map<_, _>>().into()
    };
    let seconds = measured.lasted.as_secs_f64();
    let operations: Map<String, Value> = operations(measured)
        .map(|(name, series)| {
            let value = json!({
                "calls": series.calls,
                "failed": series.failed,
                "rows": series.rows,
                "found": series.found,
                "calls_per_second": per_second(series.calls, seconds),
                "rows_per_second": per_second(series.rows, seconds),
                "service_ms": of(&series.service),
                "response_ms": of(&series.response),
            });
            (name.to_owned(), value)
        })
        .collect();
    let over_time: Vec<Value> = measured
        .seconds
        .iter()
        .map(|Second { calls, failed, p50, p99, longest }| {
            json!({ "calls": calls, "failed": failed,
                    "response_ms": { "p50": millis(*p50), "p99": millis(*p99), "max": millis(*longest) } })
        })
        .collect();
    output.record(&[
        ("rate", json!(plan.rate)),
        ("concurrency", json!(plan.concurrency)),
        ("batch", json!(batch)),
        ("warm_up_seconds", json!(plan.warm_up.as_secs_f64())),
        ("seconds", json!(rounded(seconds))),
        ("not_begun", json!(measured.not_begun)),
        ("operations", operations.into()),
        ("failures", json!(measured.reasons)),
        ("per_second", over_time.into()),
    ])
}

fn throughput(measured: &Measured, output: &mut Output) -> Result<()> {
    let seconds = measured.lasted.as_secs_f64();
    let mut rows = output.rows(&["operation", "calls", "failed", "rows", "found", "calls/s", "rows/s"]);
    for (name, series) in operations(measured) {
        let Series { calls, failed, rows: read, found, .. } = series;
        let rates = [*calls, *read].map(|count| json!(per_second(count, seconds)));
        let counts = [calls, failed, read, found].map(|count| json!(count));
        rows.push([json!(name)].into_iter().chain(counts).chain(rates).collect())?;
    }
    rows.finish()?;
    if measured.not_begun > 0 {
        output.record(&[("due, and not begun at the end", json!(measured.not_begun))])?;
    }
    Ok(())
}

fn latencies(measured: &Measured, output: &mut Output) -> Result<()> {
    let mut rows = output.rows(&["operation", "quantile", "service ms", "response ms"]);
    for (operation, series) in operations(measured) {
        for (name, q) in QUANTILES {
            let [service, response] = [&series.service, &series.response].map(|of| json!(quantile(of, q)));
            rows.push(vec![json!(operation), json!(name), service, response])?;
        }
    }
    rows.finish()
}

fn over_time(seconds: &[Second], output: &mut Output) -> Result<()> {
    let step = seconds.len().div_ceil(LINES).max(1);
    let mut rows = output.rows(&["from second", "calls/s", "failed", "slowest p99 ms", "max ms"]);
    for (at, some) in seconds.chunks(step).enumerate() {
        let calls: u64 = some.iter().map(|second| second.calls).sum();
        let failed: u64 = some.iter().map(|second| second.failed).sum();
        let longest = |of: fn(&Second) -> Duration| some.iter().map(of).max().unwrap_or_default();
        rows.push(vec![
            json!(at * step),
            json!(per_second(calls, some.len() as f64)),
            json!(failed),
            json!(millis(longest(|second| second.p99))),
            json!(millis(longest(|second| second.longest))),
        ])?;
    }
    rows.finish()
}

fn per_second(count: u64, seconds: f64) -> u64 {
    (count as f64 / seconds.max(1e-6)).round() as u64
}

fn quantile(histogram: &Histogram<u64>, q: f64) -> f64 {
    millis(Duration::from_nanos(histogram.value_at_quantile(q)))
}

fn millis(time: Duration) -> f64 {
    rounded(time.as_secs_f64() * 1e3)
}

/// To three places.
fn rounded(number: f64) -> f64 {
    (number * 1e3).round() / 1e3
}
