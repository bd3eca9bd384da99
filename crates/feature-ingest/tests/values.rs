//! Values as files have them: the right value, or a refusal that says what to do, in every format.

#![expect(clippy::unwrap_used, reason = "the helpers of these tests may panic as the tests do")]

mod common;

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Decimal128Array, Float64Array, Int64Array, StringArray, TimestampMicrosecondArray,
    TimestampNanosecondArray, UInt64Array,
};
use feature_core::{FeatureValue, FeatureView};
use feature_ingest::{Decimals, IngestOptions, TimeUnit};

use common::{Files, Loaded, arrow_file, arrow_stream, load, options, parquet, try_load};

fn texts(values: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

fn ids() -> (&'static str, ArrayRef) {
    ("id", texts(&["a", "b", "c"]))
}

/// The table in each format that has types.
fn typed(files: &Files, columns: &[(&str, ArrayRef)]) -> Vec<String> {
    vec![
        files.file("x.parquet", parquet(columns.to_vec())),
        files.file("x.arrow", arrow_file(columns.to_vec())),
        files.file("x.arrows", arrow_stream(columns.to_vec())),
    ]
}

fn untimed() -> IngestOptions {
    IngestOptions { timestamp: None, ..options() }
}

fn view(yaml: &str) -> FeatureView {
    FeatureView::from_yaml(&format!("feature_views:\n  - {yaml}\n")).unwrap().remove(0)
}

#[tokio::test]
async fn times_without_a_zone_are_utc_or_of_the_given_zone_in_every_format() {
    let times = [
        ("a", "2024-01-01 12:00:00", "2024-01-01T12:00:00Z", "2024-01-01T11:00:00Z"),
        ("b", "2024-01-01 12:00:00+00:00", "2024-01-01T12:00:00Z", "2024-01-01T12:00:00Z"),
        ("c", "2024-01-01 12:00:00.123456", "2024-01-01T12:00:00.123456Z", "2024-01-01T11:00:00.123456Z"),
        ("d", "2024-01-01", "2024-01-01T00:00:00Z", "2023-12-31T23:00:00Z"),
        ("f", "2024-01-01T12:00:00", "2024-01-01T12:00:00Z", "2024-01-01T11:00:00Z"),
        ("g", "2024-01-01T12:00:00+0000", "2024-01-01T12:00:00Z", "2024-01-01T12:00:00Z"),
    ];
    let files = Files::new();
    let csv: String = times.iter().map(|(id, text, ..)| format!("{id},{text},{text}\n")).collect();
    let json: String = times
        .iter()
        .map(|(id, text, ..)| format!("{{\"id\":\"{id}\",\"ts\":\"{text}\",\"x\":\"{text}\"}}\n"))
        .collect();
    let columns = |of: fn(&(&str, &'static str, &str, &str)) -> &'static str| {
        texts(&times.iter().map(of).collect::<Vec<_>>())
    };
    let ids = texts(&times.iter().map(|(id, ..)| *id).collect::<Vec<_>>());
    let table = vec![("id", ids), ("ts", columns(|row| row.1)), ("x", columns(|row| row.1))];
    let mut names = typed(&files, &table);
    names.push(files.file("x.csv", format!("id,ts,x\n{csv}")));
    names.push(files.file("x.ndjson", json));
    // A timestamp feature, declared, and the event time itself keep to the same rule.
    let declared = view("{ name: v, entities: [id], features: { x: timestamp } }");
    for name in &names {
        let utc = try_load(&[name], options(), Some(&declared)).await.unwrap();
        let zone = IngestOptions { timezone: "Europe/Berlin".parse().unwrap(), ..options() };
        let berlin = try_load(&[name], zone, Some(&declared)).await.unwrap();
        for (id, _, in_utc, in_berlin) in times {
            for (loaded, expected) in [(&utc, in_utc), (&berlin, in_berlin)] {
                let entity = format!("id={id}");
                assert_eq!(loaded.time(&entity), expected, "{name} {id}");
                let feature = loaded.value(&entity, "x");
                assert_eq!(feature, FeatureValue::Timestamp(expected.parse().unwrap()), "{name} {id}");
            }
        }
    }
    // Parquet's own times: those without a zone are like text without one.
    let noon = 1_704_110_400_000_000;
    for (zoned, expected) in [(false, "2024-01-01T11:00:00Z"), (true, "2024-01-01T12:00:00Z")] {
        let time = TimestampMicrosecondArray::from(vec![noon; 3]).with_timezone_opt(zoned.then_some("UTC"));
        let table =
            [self::ids(), ("ts", Arc::new(time.clone()) as ArrayRef), ("x", Arc::new(time) as ArrayRef)];
        for name in typed(&files, &table) {
            let zone = IngestOptions { timezone: "Europe/Berlin".parse().unwrap(), ..options() };
            let loaded = load(&[&name], zone).await;
            assert_eq!(loaded.time("id=a"), expected, "{name}");
            assert_eq!(
                loaded.value("id=a", "x"),
                FeatureValue::Timestamp(expected.parse().unwrap()),
                "{name}"
            );
        }
    }
}

#[tokio::test]
async fn a_time_that_may_mean_two_days_is_refused_in_every_format() {
    let files = Files::new();
    let table = [("id", texts(&["a"])), ("ts", texts(&["01/02/2024 12:00"])), ("x", texts(&["1"]))];
    let mut names = typed(&files, &table);
    names.push(files.file("x.csv", "id,ts,x\na,01/02/2024 12:00,1\n"));
    names.push(files.file("x.ndjson", "{\"id\":\"a\",\"ts\":\"01/02/2024 12:00\",\"x\":1}\n"));
    for name in names {
        let loaded = load(&[&name], options()).await;
        assert!(loaded.reason(1).contains("`01/02/2024 12:00` is not a time: expected RFC 3339"), "{name}");
    }
}

#[tokio::test]
async fn numbers_are_event_times_with_a_unit_also_with_a_fraction() {
    let files = Files::new();
    let seconds: ArrayRef =
        Arc::new(Float64Array::from(vec![1_704_110_400.5, 1_704_110_401.25, 1_704_110_402.0]));
    let decimals = Decimal128Array::from(vec![1_704_110_400_500_i128, 1_704_110_401_250, 1_704_110_402_000]);
    let decimals: ArrayRef = Arc::new(decimals.with_precision_and_scale(18, 3).unwrap());
    let mut names = typed(&files, &[ids(), ("ts", seconds), ("x", texts(&["1", "2", "3"]))]);
    names.push(
        files.file("decimal.parquet", parquet(vec![ids(), ("ts", decimals), ("x", texts(&["1", "2", "3"]))])),
    );
    names.push(files.file("x.csv", "id,ts,x\na,1704110400.5,1\nb,1704110401.25,2\nc,1704110402,3\n"));
    names.push(files.file(
        "x.ndjson",
        "{\"id\":\"a\",\"ts\":1704110400.5,\"x\":1}\n{\"id\":\"b\",\"ts\":1704110401.25,\"x\":2}\n\
         {\"id\":\"c\",\"ts\":\"1704110402\",\"x\":3}\n",
    ));
    for name in &names {
        let seconds = IngestOptions { timestamp_unit: Some(TimeUnit::Second), ..options() };
        let loaded = load(&[name], seconds).await;
        let times = ["id=a", "id=b", "id=c"].map(|id| loaded.time(id));
        assert_eq!(
            times,
            ["2024-01-01T12:00:00.5Z", "2024-01-01T12:00:01.25Z", "2024-01-01T12:00:02Z"],
            "{name}"
        );
        // Without a unit it is said before anything is written, or, where there is no type, for each row.
        match try_load(&[name], options(), None).await {
            Err(e) => assert!(e.to_string().contains("numbers are times only with a timestamp unit"), "{e}"),
            Ok(loaded) => assert!(name.ends_with("ndjson") && loaded.reason(1).contains("timestamp unit")),
        }
    }
}

#[tokio::test]
async fn event_times_finer_than_a_microsecond_are_cut_and_counted() {
    let files = Files::new();
    let nanos: ArrayRef =
        Arc::new(TimestampNanosecondArray::from(vec![1_000_000_001, 1_000_001_000, 2]).with_timezone("UTC"));
    let mut names = typed(&files, &[ids(), ("ts", nanos), ("x", texts(&["1", "2", "3"]))]);
    let text =
        ["1970-01-01T00:00:01.000000001Z", "1970-01-01T00:00:01.000001Z", "1970-01-01T00:00:00.000000002Z"];
    let rows: Vec<_> = ["a", "b", "c"].into_iter().zip(text).collect();
    let csv: String = rows.iter().map(|(id, ts)| format!("{id},{ts},1\n")).collect();
    names.push(files.file("x.csv", format!("id,ts,x\n{csv}")));
    let json: String =
        rows.iter().map(|(id, ts)| format!("{{\"id\":\"{id}\",\"ts\":\"{ts}\",\"x\":1}}\n")).collect();
    names.push(files.file("x.ndjson", json));
    for name in names {
        let loaded = load(&[&name], options()).await;
        assert_eq!(loaded.report.progress.times_cut, 2, "{name}");
        assert_eq!(loaded.time("id=a"), "1970-01-01T00:00:01Z", "{name}");
        assert_eq!(loaded.time("id=b"), "1970-01-01T00:00:01.000001Z", "{name}");
    }
}

#[tokio::test]
async fn whole_decimals_and_unsigned_integers_are_entities_and_features() {
    let files = Files::new();
    let decimals = Decimal128Array::from(vec![1_i128, 2, 3]).with_precision_and_scale(38, 0).unwrap();
    let decimals: ArrayRef = Arc::new(decimals);
    for name in typed(&files, &[("id", Arc::clone(&decimals)), ("x", decimals)]) {
        let loaded = load(&[&name], untimed()).await;
        assert_eq!(loaded.entities(), ["id=1", "id=2", "id=3"], "{name}");
        assert_eq!(loaded.value("id=2", "x"), 2_i64.into(), "{name}");
    }
    let wide = [1, 1 << 63, u64::MAX];
    let unsigned: ArrayRef = Arc::new(UInt64Array::from(wide.to_vec()));
    let mut names = typed(&files, &[("id", Arc::clone(&unsigned)), ("x", unsigned)]);
    names.push(files.file("x.ndjson", wide.map(|v| format!("{{\"id\":{v},\"x\":{v}}}\n")).concat()));
    for name in &names {
        let loaded = load(&[name], untimed()).await;
        assert_eq!(loaded.value("id=1", "x"), 1_i64.into(), "{name}");
        let reason = loaded.reason(3);
        assert!(
            reason.contains(
                "18446744073709551615 is beyond the range of int64; declare the feature as a string"
            ),
            "{name}: {reason}"
        );
        // What the reason says to do helps.
        let strings = view("{ name: v, entities: [id], features: { x: string } }");
        let loaded = try_load(&[name], untimed(), Some(&strings)).await.unwrap();
        assert_eq!(loaded.value("id=18446744073709551615", "x"), "18446744073709551615".into(), "{name}");
    }
    // Text has no unsigned integers: a column of such numbers is text, and says so.
    let csv = files.file("x.csv", wide.map(|v| format!("{v},{v}\n")).concat().replacen("", "id,x\n", 1));
    let loaded = load(&[&csv], untimed()).await;
    assert_eq!(loaded.value("id=18446744073709551615", "x"), "18446744073709551615".into());
    assert!(
        loaded.notes[0]
            .starts_with("x: text, since 2 of 3 cells are not a number that int64 or float64 holds"),
        "{loaded:?}"
    );
}

#[tokio::test]
async fn digits_that_float64_would_lose_are_kept_or_refused_as_asked() {
    let files = Files::new();
    let long = 1_234_567_890_123_456_789_012_i128;
    let decimals =
        Decimal128Array::from(vec![Some(110), Some(long), None]).with_precision_and_scale(25, 2).unwrap();
    let mut names = typed(&files, &[ids(), ("x", Arc::new(decimals) as ArrayRef)]);
    names.push(files.file(
        "x.ndjson",
        "{\"id\":\"a\",\"x\":1.10}\n{\"id\":\"b\",\"x\":12345678901234567890.12}\n{\"id\":\"c\",\"x\":null}\n",
    ));
    let nearest = FeatureValue::from(12_345_678_901_234_567_890.12_f64);
    for name in &names {
        let with = async |decimals| load(&[name], IngestOptions { decimals, ..untimed() }).await;
        let exact = with(Decimals::Exact).await;
        assert_eq!(exact.value("id=a", "x"), 1.1.into(), "{name}");
        assert_eq!(exact.value("id=c", "x"), FeatureValue::Null, "{name}");
        let reason = exact.reason(2);
        assert!(
            reason.contains("12345678901234567890.12 has more digits than float64 holds"),
            "{name}: {reason}"
        );
        assert_eq!(with(Decimals::Float64).await.value("id=b", "x"), nearest, "{name}");
        let strings = with(Decimals::String).await;
        assert_eq!(strings.value("id=b", "x"), "12345678901234567890.12".into(), "{name}");
        assert_eq!(strings.value("id=a", "x"), "1.10".into(), "{name}");
        // The declared type decides.
        let floats = view("{ name: v, entities: [id], features: { x: float64 } }");
        let loaded = try_load(&[name], untimed(), Some(&floats)).await.unwrap();
        assert_eq!(loaded.value("id=b", "x"), nearest, "{name}");
    }
    let csv = files.file("x.csv", "id,x\na,1.10\nb,12345678901234567890.12\nc,\n");
    let with = async |decimals| load(&[&csv], IngestOptions { decimals, ..untimed() }).await;
    let exact = with(Decimals::Exact).await;
    assert_eq!(exact.value("id=b", "x"), "12345678901234567890.12".into(), "text keeps its digits");
    assert!(exact.notes[0].contains("`12345678901234567890.12` in row 2"), "{:?}", exact.notes);
    assert_eq!(with(Decimals::Float64).await.value("id=b", "x"), nearest);
}

#[tokio::test]
async fn missing_values_in_csv_are_null_unless_quoted() {
    let files = Files::new();
    let spellings = ["", "NA", "N/A", "NaN", "null", "None", "NULL", "\\N"];
    let rows: String =
        spellings.iter().enumerate().map(|(id, text)| format!("{id},{text},{text},\"{text}\"\n")).collect();
    let csv = files.file("x.csv", format!("id,x,y,quoted\n{rows}99,5,a,b\n"));
    let loaded = load(&[&csv], untimed()).await;
    assert_eq!((loaded.type_of("x"), loaded.type_of("y")), (Some("int64"), Some("string")));
    assert_eq!(loaded.value("id=99", "x"), 5_i64.into());
    for (id, text) in spellings.iter().enumerate() {
        let entity = format!("id={id}");
        assert_eq!(loaded.value(&entity, "x"), FeatureValue::Null, "{text}");
        assert_eq!(loaded.value(&entity, "y"), FeatureValue::Null, "{text}");
        assert_eq!(loaded.value(&entity, "quoted"), (*text).into());
    }
    let own = IngestOptions { null_values: vec!["-".to_owned()], ..untimed() };
    let csv = files.file("own.csv", "id,x\na,-\nb,NA\n");
    let loaded = load(&[&csv], own).await;
    assert_eq!(loaded.value("id=a", "x"), FeatureValue::Null);
    assert_eq!(loaded.value("id=b", "x"), "NA".into());
}

#[tokio::test]
async fn a_column_that_is_text_because_of_few_cells_says_which() {
    let files = Files::new();
    let rows: String = (1..=100).map(|id| format!("{id},{}\n", if id == 42 { "n/k" } else { "7" })).collect();
    let loaded = load(&[&files.file("x.csv", format!("id,x\n{rows}"))], untimed()).await;
    assert_eq!(loaded.type_of("x"), Some("string"));
    assert_eq!(loaded.notes, ["x: text, since 1 of 100 cells is not a number: `n/k` in row 42"]);
}

#[tokio::test]
async fn a_column_without_a_name_is_left_out_and_said() {
    let files = Files::new();
    let ones = || Arc::new(Int64Array::from(vec![1, 2, 3])) as ArrayRef;
    let table = [ids(), ("größe", ones()), ("特徴", ones()), ("a b", ones()), ("", ones())];
    let mut names = typed(&files, &table);
    // As pandas writes its index.
    names.push(files.file("x.csv", ",id,größe,特徴,a b\n0,a,1,1,1\n1,b,2,2,2\n2,c,3,3,3\n"));
    for name in names {
        let loaded = load(&[&name], untimed()).await;
        let features: Vec<_> = loaded.row("id=b").iter().map(|(name, ..)| name.to_owned()).collect();
        assert_eq!(features, ["a b", "größe", "特徴"], "{name}");
        assert!(
            loaded.notes[0].contains("left out, since a feature needs a name"),
            "{name}: {:?}",
            loaded.notes
        );
        let named = IngestOptions { features: Some(vec![String::new()]), ..untimed() };
        let error = try_load(&[&name], named, None).await.unwrap_err().to_string();
        assert!(error.contains("a feature column has no name"), "{name}: {error}");
    }
}

fn counts(loaded: &Loaded) -> (u64, u64, u64) {
    let progress = loaded.report.progress;
    (progress.read, progress.written, progress.rejected)
}

#[tokio::test]
async fn files_that_disagree_about_a_type_are_made_one_or_refused_by_name() {
    let files = Files::new();
    let a = files.file(
        "a.parquet",
        parquet(vec![ids(), ("x", Arc::new(Int64Array::from(vec![1, 2, 3])) as ArrayRef)]),
    );
    let floats: ArrayRef = Arc::new(Float64Array::from(vec![4.0, 5.5, 6.0]));
    let b = files.file("b.parquet", parquet(vec![("id", texts(&["d", "e", "f"])), ("x", floats)]));
    let loaded = load(&[&a, &b], untimed()).await;
    assert_eq!(counts(&loaded), (6, 5, 1));
    assert_eq!(loaded.value("id=d", "x"), 4_i64.into());
    assert_eq!(loaded.rejects[0].file.as_deref(), Some(b.as_str()));
    let c = files.file("c.parquet", parquet(vec![ids(), ("x", texts(&["1", "2", "3"]))]));
    let error = try_load(&[&a, &c], untimed(), None).await.unwrap_err().to_string();
    assert!(error.contains("c.parquet: the feature column `x` is Utf8: another file says int64"), "{error}");
}
