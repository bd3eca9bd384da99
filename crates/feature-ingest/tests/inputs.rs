//! Files as people name and pack them.

mod common;

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, StringArray};
use feature_core::{FeatureValue, OnlineStore};
use feature_ingest::{Ended, Format, IngestOptions, Input, Load, MissingColumns};
use store_embedded::EmbeddedOnlineStore;

use common::{Files, arrow_file, arrow_stream, gzip, load, options, parquet, text, try_load, zstd};

fn untimed() -> IngestOptions {
    IngestOptions { timestamp: None, ..options() }
}

fn table() -> Vec<(&'static str, ArrayRef)> {
    vec![
        ("id", Arc::new(StringArray::from(vec!["a", "b"])) as ArrayRef),
        ("x", Arc::new(Int64Array::from(vec![Some(1), None])) as ArrayRef),
    ]
}

const CSV: &str = "id,x\na,1\nb,\n";
const NDJSON: &str = "{\"id\":\"a\",\"x\":1}\n{\"id\":\"b\",\"x\":null}\n";
const ARRAY: &str = "[{\"id\":\"a\",\"x\":1},\n {\"id\":\"b\",\"x\":null}]";

#[tokio::test]
async fn every_format_compressed_or_not_gives_the_same_rows() {
    let files = Files::new();
    let (parquet, arrow, stream) = (parquet(table()), arrow_file(table()), arrow_stream(table()));
    let plain: [(&str, &[u8]); 8] = [
        ("a.csv", CSV.as_bytes()),
        ("a.tsv", b"id\tx\na\t1\nb\t\n"),
        ("a.ndjson", NDJSON.as_bytes()),
        ("a.json", ARRAY.as_bytes()),
        ("b.json", NDJSON.as_bytes()),
        ("a.parquet", &parquet),
        ("a.arrow", &arrow),
        ("a.arrows", &stream),
    ];
    for (name, content) in plain {
        let names = [
            files.file(name, content),
            files.file(&format!("{name}.gz"), gzip(content)),
            files.file(&format!("{name}.zst"), zstd(content)),
        ];
        for name in names {
            let loaded = load(&[&name], untimed()).await;
            assert!(matches!(loaded.report.ended, Ended::Complete), "{name}: {:?}", loaded.report);
            assert_eq!(loaded.entities(), ["id=a", "id=b"], "{name}");
            assert_eq!(loaded.value("id=a", "x"), 1_i64.into(), "{name}");
            assert_eq!(loaded.value("id=b", "x"), FeatureValue::Null, "{name}");
        }
    }
}

#[tokio::test]
async fn what_a_program_has_open_is_told_from_its_content() {
    let (parquet, arrow, stream) = (parquet(table()), arrow_file(table()), arrow_stream(table()));
    let zipped = gzip(NDJSON);
    let contents: [(&[u8], Option<Format>); 7] = [
        (NDJSON.as_bytes(), None),
        (ARRAY.as_bytes(), None),
        (CSV.as_bytes(), Some(Format::Csv)),
        (&parquet, None),
        (&arrow, None),
        (&stream, None),
        (&zipped, None),
    ];
    for (content, format) in contents {
        // It comes byte by byte, as it may from a pipe.
        struct Slow(std::io::Cursor<Vec<u8>>);
        impl std::io::Read for Slow {
            fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
                let one = buffer.len().min(1);
                self.0.read(&mut buffer[..one])
            }
        }
        let input = Input::reader("the body", format, Slow(std::io::Cursor::new(content.to_vec())));
        let store = OnlineStore::new(Arc::new(EmbeddedOnlineStore::in_memory().unwrap()));
        let load = Load::of_input(input, untimed(), None).await.unwrap();
        let report = load.run(&store, "t", "v", std::future::pending()).await;
        assert!(matches!(report.ended, Ended::Complete), "{report:?}");
        assert_eq!(report.progress.written, 2, "{report:?}");
    }
    let input = Input::reader("the body", None, CSV.as_bytes());
    let error = Load::of_input(input, untimed(), None).await.unwrap_err().to_string();
    assert!(error.contains("neither the name nor the content of the body tells what it is"), "{error}");
}

#[tokio::test]
async fn folders_of_hive_and_spark_give_columns() {
    let files = Files::new();
    files.file("d/country=US/day=2024-01-01/part-0.parquet", parquet(table()));
    files.file("d/country=S%C3%A3o/day=2024-01-02/part-0.csv", CSV);
    files.file("d/country=__HIVE_DEFAULT_PARTITION__/day=2024-01-03/part-0.ndjson", NDJSON);
    files.file("d/_SUCCESS", "");
    files.file("d/country=US/.part-0.parquet.crc", "x");
    let entity = vec!["id".to_owned(), "day".to_owned()];
    for name in ["d", "d/*/*", "d/**/part-*"] {
        let loaded =
            load(&[text(&files.path(name))], IngestOptions { entity: entity.clone(), ..untimed() }).await;
        assert_eq!(loaded.entities().len(), 6, "{name}: {:?}", loaded.entities());
        assert_eq!(loaded.value("day=2024-01-01|id=a", "country"), "US".into(), "{name}");
        assert_eq!(loaded.value("day=2024-01-02|id=a", "country"), "São".into(), "{name}");
        assert_eq!(loaded.value("day=2024-01-03|id=a", "country"), FeatureValue::Null, "{name}");
    }
    // It can be the event time, too.
    let timed = IngestOptions { timestamp: Some("day".to_owned()), ..untimed() };
    assert_eq!(load(&[text(&files.path("d"))], timed).await.time("id=a"), "2024-01-03T00:00:00Z");
}

#[tokio::test]
async fn a_file_that_lacks_a_column_is_an_error_or_gives_nulls_as_asked() {
    let files = Files::new();
    let a = files.file("a.csv", "id,x,y\na,1,2\n");
    let b = files.file("b.csv", "id,x\nb,3\n");
    let error = try_load(&[&a, &b], untimed(), None).await.unwrap_err().to_string();
    assert!(error.contains("b.csv has no feature column `y`; its columns are `id`, `x`"), "{error}");
    let nulls = IngestOptions { missing_columns: MissingColumns::Null, ..untimed() };
    let loaded = load(&[&a, &b], nulls).await;
    assert_eq!(loaded.value("id=b", "y"), FeatureValue::Null);
    assert_eq!(loaded.value("id=a", "y"), 2_i64.into());
    // Types are told from all files together.
    let c = files.file("c.csv", "id,x,y\nc,0.5,2\n");
    let loaded = load(&[&a, &c], untimed()).await;
    assert_eq!((loaded.value("id=a", "x"), loaded.value("id=c", "x")), (1.0.into(), 0.5.into()));
}

#[tokio::test]
async fn an_empty_file_is_said_once_by_name() {
    let files = Files::new();
    for name in ["e.csv", "e.ndjson", "e.parquet", "e.arrow"] {
        let name = files.file(name, "");
        let error = try_load(&[&name], untimed(), None).await.unwrap_err().to_string();
        assert_eq!(error, format!("{name} is empty"));
    }
    let loaded = load(&[&files.file("a.csv", CSV), &files.file("z.csv", "")], untimed()).await;
    assert_eq!(loaded.report.progress.written, 2);
    assert!(loaded.notes[0].ends_with("z.csv is empty"), "{:?}", loaded.notes);
}

#[tokio::test]
async fn excluded_columns_are_no_features_and_other_delimiters_are_read() {
    let files = Files::new();
    let name = files.file("a.csv", "id;x;y\na;1;2\n");
    let options = IngestOptions { delimiter: Some(b';'), exclude: vec!["y".to_owned()], ..untimed() };
    let loaded = load(&[&name], options.clone()).await;
    assert_eq!(loaded.row("id=a").iter().map(|(name, ..)| name).collect::<Vec<_>>(), ["x"]);
    let both = IngestOptions { features: Some(vec!["y".to_owned()]), ..options };
    assert!(
        try_load(&[&name], both, None).await.unwrap_err().to_string().contains("both a feature and excluded")
    );
}

#[tokio::test]
async fn a_load_that_stopped_goes_on_and_leaves_nothing_out() {
    const ROWS: u64 = 20_000;
    let files = Files::new();
    let rows = |of: std::ops::Range<u64>| of.map(|id| format!("{id},{id}\n")).collect::<String>();
    let (a, b) = (format!("id,x\n{}", rows(0..ROWS / 2)), format!("id,x\n{}", rows(ROWS / 2..ROWS)));
    let ids =
        |of: std::ops::Range<u64>| Arc::new(Int64Array::from_iter_values(of.map(|id| id as i64))) as ArrayRef;
    let columns = |of: std::ops::Range<u64>| vec![("id", ids(of.clone())), ("x", ids(of))];
    for (kind, one, two) in [
        ("csv", a.into_bytes(), b.into_bytes()),
        ("parquet", parquet(columns(0..ROWS / 2)), parquet(columns(ROWS / 2..ROWS))),
        ("arrow", arrow_file(columns(0..ROWS / 2)), arrow_file(columns(ROWS / 2..ROWS))),
    ] {
        let names = [files.file(&format!("a.{kind}"), one), files.file(&format!("b.{kind}"), two)];
        let store = OnlineStore::new(Arc::new(EmbeddedOnlineStore::in_memory().unwrap()));
        let options = IngestOptions { batch_size: 100, concurrency: 3, ..untimed() };
        let mut checkpoint = None;
        let (mut read, mut runs) = (0, 0);
        loop {
            runs += 1;
            let mut load = Load::open(&names, options.clone(), None).await.unwrap();
            if let Some(checkpoint) = &checkpoint {
                // As it would come back out of a file.
                let text = serde_json::to_string(checkpoint).unwrap();
                load = load.resume(&serde_json::from_str(&text).unwrap()).unwrap();
            }
            // Each run stops after some batches.
            let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
            let mut stop = Some(stop);
            let load = load.on_progress(std::time::Duration::from_millis(1), move |progress, _| {
                if progress.read > 3_000 {
                    stop.take();
                }
            });
            let report = load.run(&store, "t", "v", async { stopped.await.unwrap_or_default() }).await;
            read += report.progress.read;
            checkpoint = report.checkpoint;
            match report.ended {
                Ended::Complete => break,
                Ended::Interrupted => assert!(checkpoint.is_some()),
                Ended::Failed(e) => panic!("{e}"),
            }
        }
        let keys: Vec<_> = (0..ROWS).map(|id| feature_core::EntityKey::new("id", id).unwrap()).collect();
        let found = store.batch_read("t", "v", &keys, None).await.unwrap();
        let right = found.iter().zip(0_i64..).all(|(row, id)| {
            row.as_ref().unwrap().as_ref().is_some_and(|row| row.get("x") == Some(&id.into()))
        });
        assert!(right, "{kind}");
        assert!(runs > 1 && read < 2 * ROWS, "{kind}: {runs} runs read {read} rows");
    }
    // Of other files it does not.
    let name = files.file("a.csv", "id,x\n1,1\n");
    let checkpoint = {
        let load = Load::open(std::slice::from_ref(&name), untimed(), None).await.unwrap();
        let store = OnlineStore::new(Arc::new(EmbeddedOnlineStore::in_memory().unwrap()));
        load.run(&store, "t", "v", std::future::ready(())).await.checkpoint.unwrap()
    };
    files.file("a.csv", "id,x\n1,1\n2,2\n");
    let error =
        Load::open(&[name], untimed(), None).await.unwrap().resume(&checkpoint).unwrap_err().to_string();
    assert!(error.contains("not those of the load that stopped"), "{error}");
}
