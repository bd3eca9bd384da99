//! Every decoder of bodies over mutated seeds: whatever the bytes are, there are rows or a refusal.

use bytes::Bytes;
use fastrand::Rng;
use feature_core::FeatureView;

use super::arrow;
use super::json::{self, Bounds, DeleteSeed, ReadSeed, WriteSeed};
use crate::calls::Refusal;
use crate::settings::Limits;

const LIMITS: Limits = Limits {
    body: 1 << 20,
    rows: 20,
    cells: 100,
    response: 1 << 20,
    in_flight: 1,
    ingests: 1,
    connections: 1,
    memory: 1 << 20,
};

fn view() -> FeatureView {
    let yaml = "feature_views: [{ name: v, entities: [id], features: { a: int64, b: 'list<float32>', c: map, d: timestamp } }]";
    FeatureView::from_yaml(yaml).unwrap().remove(0)
}

/// Mutations of these seeds and of each other.
fn inputs(seeds: &[Vec<u8>], runs: usize) -> impl Iterator<Item = Vec<u8>> {
    let mut rng = Rng::with_seed(14);
    let seeds = seeds.to_vec();
    (0..runs).map(move |_| {
        let mut data = rng.choice(&seeds).cloned().unwrap_or_default();
        for _ in 0..rng.usize(0..6) {
            let at = rng.usize(..=data.len());
            match rng.u8(..5) {
                0 => data.insert(at, rng.u8(..)),
                1 => data.truncate(at),
                2 => data.extend_from_within(at..),
                3 => data.splice(at.., rng.choice(&seeds).cloned().unwrap_or_default()).for_each(drop),
                _ => {
                    if let Some(byte) = data.get_mut(at) {
                        *byte = *rng.choice(b"\x00\x01\x7f\x80\xff{}[]\",:-e0N").unwrap_or(&0);
                    }
                }
            }
        }
        data
    })
}

/// What was understood stays within the limits, and what was not says why.
fn check<T>(outcome: Result<T, Refusal>, rows: impl Fn(&T) -> usize) {
    match outcome {
        Ok(read) => assert!(rows(&read) <= LIMITS.rows),
        Err(refusal) => assert!(!refusal.error().message().is_empty()),
    }
}

#[test]
fn json_is_rows_or_a_refusal() {
    let seeds: Vec<Vec<u8>> = [
        r#"{"service":"s","entities":{"id":[1,"x"]},"max_age":"1d","include":["event_times"]}"#,
        r#"{"features":["v:a","v:*"],"entities":[{"id":1},{"id":-9223372036854775808}],"max_age":5}"#,
        r#"{"rows":[{"entity":{"id":1},"features":{"a":1,"b":[0.5,"NaN"],"c":{"x":{"y":null}},"d":"2026-01-01"},"ttl":"7d","mode":"replace"}]}"#,
        r#"{"entities":{"id":[1,2]},"features":{"a":[1,null]},"event_times":["2026-01-01T00:00:00Z",null],"ttl":60}"#,
        r#"{"entities":{"id":["\u0000\ud83d\ude00"]},"features":{"a":[1e400,18446744073709551615]}}"#,
    ]
    .iter()
    .map(|text| text.as_bytes().to_vec())
    .collect();
    let view = view();
    for data in inputs(&seeds, 30_000) {
        for view in [None, Some(&view)] {
            let bounds = Bounds::new(&LIMITS);
            check(json::read(&data, &bounds, WriteSeed { bounds: &bounds, view }), Vec::len);
        }
        for any_view in [false, true] {
            let bounds = Bounds::new(&LIMITS);
            let read = json::read(&data, &bounds, ReadSeed { bounds: &bounds, any_view });
            check(read, |body| body.entities.as_ref().map_or(0, Vec::len));
        }
        let bounds = Bounds::new(&LIMITS);
        check(json::read(&data, &bounds, DeleteSeed(&bounds)), Vec::len);
    }
}

#[test]
fn arrow_is_rows_or_a_refusal() {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, Int64Array, ListArray, RecordBatch, StringArray};
    use arrow_ipc::writer::StreamWriter;

    let floats = ListArray::from_iter_primitive::<arrow_array::types::Float32Type, _, _>([
        Some(vec![Some(0.5), None]),
        None,
    ]);
    let batch = RecordBatch::try_from_iter([
        ("id", Arc::new(Int64Array::from(vec![1, 2])) as ArrayRef),
        ("b", Arc::new(floats)),
        ("c", Arc::new(StringArray::from(vec![Some("{}"), None]))),
    ])
    .unwrap();
    let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema()).unwrap();
    writer.write(&batch).unwrap();
    writer.write(&batch).unwrap();
    let seeds = [writer.into_inner().unwrap()];
    let (view, options) = (view(), arrow::decode::Options::of_query(Some("entities=id")).unwrap());
    // What the library panics at is caught; that it says so each time would drown everything else.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    for data in inputs(&seeds, 20_000) {
        let data = Bytes::from(data);
        for view in [None, Some(&view)] {
            check(arrow::decode::rows(&data, view, &options, &LIMITS), Vec::len);
        }
    }
    std::panic::set_hook(hook);
}
