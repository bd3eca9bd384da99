//! What one core spends on a row apart from any store: in the record codec, and in the handle over a
//! backend that does nothing.
#![allow(clippy::print_stdout, reason = "a benchmark reports on standard output")]

use std::error::Error;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use feature_core::{
    CallContext, EntityKey, FeatureNames, FeatureWrite, Features, OnlineStore, OnlineStoreBackend,
    PutOutcome, Record, RecordKey, RecordPut, Result, RowDecoder, SystemClock, Timestamp, Ttl,
    VersionedRecord,
};
use store_testkit::MapStore;
use store_testkit::bench::{BenchOptions, BenchResult, report};

/// Takes every write, and gives the same record to every read.
#[derive(Debug)]
struct NullStore {
    record: VersionedRecord,
    /// What else a backend can do, this one does for it.
    beside: MapStore,
}

impl feature_core::BackendWrapper for NullStore {
    fn inner(&self) -> &dyn OnlineStoreBackend {
        &self.beside
    }

    async fn get(&self, keys: &[RecordKey], _: CallContext) -> Vec<Result<Option<VersionedRecord>>> {
        keys.iter().map(|_| Ok(Some(self.record.clone()))).collect()
    }

    async fn put(&self, puts: Vec<RecordPut>, _: CallContext) -> Vec<Result<PutOutcome>> {
        puts.iter().map(|_| Ok(PutOutcome::Stored)).collect()
    }

    async fn delete(&self, keys: &[RecordKey], _: CallContext) -> Vec<Result<bool>> {
        keys.iter().map(|_| Ok(true)).collect()
    }
}

const NOW: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

fn features(n: usize, seed: usize) -> Features {
    (0..n).map(|i| (format!("feature_{i:04}"), (seed * 31 + i) as f64 * 0.37)).collect()
}

fn record(n: usize) -> Record {
    Record::of_write(NOW, None, features(n, 0))
}

fn main() -> std::result::Result<(), Box<dyn Error>> {
    let Some(options) = BenchOptions::from_args() else { return Ok(()) };
    // `call` is given its number, and does a number of rows.
    let measure = |name: &str, rows: usize, call: &mut dyn FnMut(usize)| {
        let (rounds, least) = if options.quick { (3, 20) } else { (25, 100) };
        let mut number = 0;
        let mut rates: Vec<f64> = (0..=rounds)
            .map(|_| {
                let (start, first) = (Instant::now(), number);
                while start.elapsed() < Duration::from_millis(least) {
                    (0..1_000 / rows).for_each(|n| call(number + n));
                    number += 1_000 / rows;
                }
                ((number - first) * rows) as f64 / start.elapsed().as_secs_f64()
            })
            .skip(1)
            .collect();
        rates.sort_by(f64::total_cmp);
        let ours_per_s = rates[rates.len() / 2];
        BenchResult { name: name.to_owned(), ours_per_s, raw_per_s: None, ratio: None }
    };

    let entity = EntityKey::new("customer_id", 1)?;
    let fifty = record(50);
    let fifty_bytes = Bytes::from(fifty.encode()?);
    let wide_bytes = Bytes::from(record(1_000).encode()?);
    let five: FeatureNames =
        ["feature_0007", "feature_0300", "feature_0512", "feature_0733", "feature_0999"].iter().collect();

    let mut all = RowDecoder::new(None, None);
    let mut some = RowDecoder::new(Some(five.clone()), None);
    let decode = |decoder: &mut RowDecoder, bytes: &Bytes| {
        let row = decoder.decode(&entity, black_box(bytes), NOW);
        assert!(matches!(black_box(row), Ok(Some(_))));
    };

    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let store = OnlineStore::new(Arc::new(NullStore {
        record: VersionedRecord { bytes: fifty_bytes.clone(), version: 0 },
        beside: MapStore::new(Arc::new(SystemClock)),
    }));
    let entities =
        (0..10_000).map(|id| EntityKey::new("customer_id", id as u64)).collect::<Result<Vec<_>>>()?;
    let own_names: Vec<Features> = (0..entities.len()).map(|seed| features(50, seed)).collect();
    let shared_names: Vec<Features> = entities.iter().map(|_| own_names[0].clone()).collect();
    let start = |call: usize| call * 7_919 * 100 % entities.len();
    let write = |values: &[Features], call: usize| {
        let start = start(call);
        let writes = (start..start + 100).map(|i| {
            FeatureWrite::new(entities[i].clone(), values[i].clone()).at(NOW).with_ttl(Ttl::from_secs(86_400))
        });
        let report = runtime.block_on(store.batch_write("bench", "wide", writes));
        assert!(report.is_ok_and(|report| report.applied() == 100));
    };
    let read = |names: Option<&[&str]>, call: usize| {
        let start = start(call);
        let rows = runtime.block_on(store.batch_read("bench", "wide", &entities[start..start + 100], names));
        assert!(rows.is_ok_and(|rows| rows.iter().all(|row| matches!(row, Ok(Some(_))))));
    };

    let results = [
        measure("decode_50_of_50", 1, &mut |_| decode(&mut all, &fifty_bytes)),
        measure("decode_50_of_50_first_row", 1, &mut |_| {
            decode(&mut RowDecoder::new(None, None), &fifty_bytes);
        }),
        measure("decode_5_of_1000", 1, &mut |_| decode(&mut some, &wide_bytes)),
        measure("decode_5_of_1000_first_row", 1, &mut |_| {
            decode(&mut RowDecoder::new(Some(five.clone()), None), &wide_bytes);
        }),
        measure("encode_50", 1, &mut |_| drop(black_box(black_box(&fifty).encode()))),
        measure("copy_features_50", 100, &mut |call| {
            let start = start(call);
            drop(black_box(own_names[start..start + 100].to_vec()));
        }),
        measure("handle_write_100x50", 100, &mut |call| write(&own_names, call)),
        measure("handle_write_100x50_shared", 100, &mut |call| write(&shared_names, call)),
        measure("handle_read_100x50", 100, &mut |call| read(None, call)),
    ];
    report(&options, "codec", &results)?;
    for result in &results {
        println!("{:<28} {:>9.0} ns a row", result.name, 1e9 / result.ours_per_s);
    }
    Ok(())
}
