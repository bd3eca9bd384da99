//! The record codec alone, without a store: how many rows a second one core decodes and encodes.
#![allow(clippy::print_stdout, reason = "a benchmark reports on standard output")]

use std::error::Error;
use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::Bytes;
use feature_core::{EntityKey, FeatureNames, Features, Record, RowDecoder, Timestamp};
use store_testkit::bench::{BenchOptions, BenchResult, report};

fn record(features: usize) -> Record {
    let features: Features = (0..features).map(|i| (format!("feature_{i:04}"), i as f64 * 0.37)).collect();
    Record::of_write(Timestamp::from_micros(1_700_000_000_000_000), None, features)
}

fn main() -> Result<(), Box<dyn Error>> {
    let Some(options) = BenchOptions::from_args() else { return Ok(()) };
    let measure = |name: &str, call: &mut dyn FnMut()| {
        let (rounds, least) = if options.quick { (3, 20) } else { (25, 100) };
        let mut rates: Vec<f64> = (0..=rounds)
            .map(|_| {
                let (start, mut calls) = (Instant::now(), 0u32);
                while start.elapsed() < Duration::from_millis(least) {
                    (0..1_000).for_each(|_| call());
                    calls += 1_000;
                }
                f64::from(calls) / start.elapsed().as_secs_f64()
            })
            .skip(1)
            .collect();
        rates.sort_by(f64::total_cmp);
        BenchResult {
            name: name.to_owned(),
            ours_per_s: rates[rates.len() / 2],
            raw_per_s: None,
            ratio: None,
        }
    };

    let entity = EntityKey::new("customer_id", 1)?;
    let now = Timestamp::from_micros(1_700_000_000_000_001);
    let fifty = record(50);
    let fifty_bytes = Bytes::from(fifty.encode()?);
    let wide_bytes = Bytes::from(record(1_000).encode()?);
    let five: FeatureNames =
        ["feature_0007", "feature_0300", "feature_0512", "feature_0733", "feature_0999"].iter().collect();

    let mut all = RowDecoder::new(None, None);
    let mut some = RowDecoder::new(Some(five.clone()), None);
    let decode = |decoder: &mut RowDecoder, bytes: &Bytes| {
        let row = decoder.decode(&entity, black_box(bytes), now);
        assert!(matches!(black_box(row), Ok(Some(_))));
    };
    let results = [
        measure("decode_50_of_50", &mut || decode(&mut all, &fifty_bytes)),
        measure("decode_50_of_50_first_row", &mut || decode(&mut RowDecoder::new(None, None), &fifty_bytes)),
        measure("decode_5_of_1000", &mut || decode(&mut some, &wide_bytes)),
        measure("decode_5_of_1000_first_row", &mut || {
            decode(&mut RowDecoder::new(Some(five.clone()), None), &wide_bytes);
        }),
        measure("encode_50", &mut || drop(black_box(black_box(&fifty).encode()))),
    ];
    report(&options, "codec", &results)?;
    for result in &results {
        println!("{:<28} {:>9.0} ns a row", result.name, 1e9 / result.ours_per_s);
    }
    Ok(())
}
