//! What is written is read: every type, at its extremes.

use std::collections::BTreeMap;

use feature_core::{ErrorKind, FeatureStatus, FeatureValue, FeatureWrite, Features, Timestamp};

use crate::case::{Context, Outcome, Subject, VIEW, at, entity, refused, same};

/// A type, what is extreme about the value, the value.
fn extremes() -> Vec<(&'static str, &'static str, FeatureValue)> {
    let all_bytes: Vec<u8> = (0..=255).collect();
    let time = Timestamp::from_micros;
    let long = "long ".repeat(2_000);
    vec![
        ("bool", "true", true.into()),
        ("bool", "false", false.into()),
        ("int32", "min", i32::MIN.into()),
        ("int32", "max", i32::MAX.into()),
        ("int32", "zero", 0i32.into()),
        ("int32", "minus_one", (-1i32).into()),
        ("int64", "min", i64::MIN.into()),
        ("int64", "max", i64::MAX.into()),
        ("int64", "zero", 0i64.into()),
        ("int64", "beyond_the_precision_of_a_double", ((1i64 << 53) + 1).into()),
        ("float32", "nan", f32::NAN.into()),
        ("float32", "nan_payload", f32::from_bits(0xffc0_1234).into()),
        ("float32", "infinity", f32::INFINITY.into()),
        ("float32", "minus_infinity", f32::NEG_INFINITY.into()),
        ("float32", "minus_zero", (-0.0f32).into()),
        ("float32", "smallest", f32::from_bits(1).into()),
        ("float32", "max", f32::MAX.into()),
        ("float64", "nan", f64::NAN.into()),
        ("float64", "nan_payload", f64::from_bits(0xfff8_dead_beef_cafe).into()),
        ("float64", "signalling_nan", f64::from_bits(0x7ff0_0000_0000_0001).into()),
        ("float64", "infinity", f64::INFINITY.into()),
        ("float64", "minus_infinity", f64::NEG_INFINITY.into()),
        ("float64", "minus_zero", (-0.0f64).into()),
        ("float64", "smallest", f64::from_bits(1).into()),
        ("float64", "max", f64::MAX.into()),
        ("float64", "a_tenth", 0.1f64.into()),
        ("string", "empty", "".into()),
        ("string", "nul_and_control_bytes", "a\0b\r\n\u{1b}".into()),
        ("string", "unicode", "zürich 東京 👩‍🚀 \u{202e}".into()),
        ("string", "looks_like_a_number", "007.50".into()),
        ("string", "looks_like_null", "null".into()),
        ("string", "long", long.as_str().into()),
        ("bytes", "empty", FeatureValue::Bytes(Vec::new())),
        ("bytes", "every_byte", all_bytes.clone().into()),
        ("bytes", "not_utf8", vec![0xff, 0xfe, 0x80].into()),
        ("bytes", "long", all_bytes.repeat(64).into()),
        ("timestamp", "min", Timestamp::MIN.into()),
        ("timestamp", "max", Timestamp::MAX.into()),
        ("timestamp", "epoch", time(0).into()),
        ("timestamp", "a_microsecond_before_1970", time(-1).into()),
        ("list_of_bool", "empty", FeatureValue::BoolList(Vec::new())),
        ("list_of_bool", "mixed", vec![true, false, true].into()),
        ("list_of_int32", "empty", FeatureValue::Int32List(Vec::new())),
        ("list_of_int32", "extremes", vec![i32::MIN, -1, 0, i32::MAX].into()),
        ("list_of_int64", "empty", FeatureValue::Int64List(Vec::new())),
        ("list_of_int64", "extremes", vec![i64::MIN, -1, 0, i64::MAX].into()),
        ("list_of_float32", "empty", FeatureValue::Float32List(Vec::new())),
        ("list_of_float32", "extremes", vec![f32::NAN, f32::INFINITY, -0.0, f32::from_bits(1)].into()),
        ("list_of_float32", "embedding", (0..768i16).map(|n| f32::from(n) / 7.0).collect::<Vec<_>>().into()),
        ("list_of_float64", "empty", FeatureValue::Float64List(Vec::new())),
        ("list_of_float64", "extremes", vec![f64::NAN, f64::NEG_INFINITY, -0.0, f64::MAX].into()),
        ("list_of_string", "empty", FeatureValue::StringList(Vec::new())),
        ("list_of_string", "empty_texts", vec![String::new(), "é\0".into(), String::new()].into()),
        ("list_of_bytes", "empty", FeatureValue::BytesList(Vec::new())),
        ("list_of_bytes", "empty_and_every_byte", vec![Vec::new(), all_bytes].into()),
        ("list_of_timestamp", "empty", FeatureValue::TimestampList(Vec::new())),
        ("list_of_timestamp", "extremes", vec![Timestamp::MIN, time(0), Timestamp::MAX].into()),
        ("map", "empty", FeatureValue::Map(BTreeMap::new())),
        (
            "map",
            "mixed",
            FeatureValue::Map(BTreeMap::from([
                (String::new(), FeatureValue::Null),
                ("a\0b".to_owned(), 1.into()),
                ("list".to_owned(), vec!["x".to_owned()].into()),
            ])),
        ),
        ("map", "as_deep_as_may_be", nested(FeatureValue::MAX_DEPTH)),
    ]
}

fn nested(depth: usize) -> FeatureValue {
    (0..depth).fold(FeatureValue::Int64(1), |inner, _| {
        FeatureValue::Map(BTreeMap::from([("in".to_owned(), inner)]))
    })
}

pub(super) fn add(s: &mut Subject<'_>) {
    for (kind, label, value) in extremes() {
        s.case(format!("{kind}::{label}"), move |c| survives(c, value.clone()));
    }
    s.case("null::is_a_value_and_not_absence", |c| async move {
        let e = entity("e")?;
        let features = Features::new().with("null", FeatureValue::Null).with("one", 1);
        c.send(FeatureWrite::new(e.clone(), features.clone()).at(at(0))).await?;
        let row = c.row(&e).await?;
        same([row.status("null"), row.status("absent")], [FeatureStatus::Null, FeatureStatus::NotFound])?;
        same(row.event_time("null"), Some(at(0)))?;
        same(c.features(&e).await?, Some(features))
    });
    s.case("null::alone_makes_a_record", |c| async move {
        let e = entity("e")?;
        c.send(FeatureWrite::new(e.clone(), Features::new().with("null", FeatureValue::Null)).at(at(0)))
            .await?;
        same(c.row(&e).await?.status("null"), FeatureStatus::Null)
    });
    s.case("null::replaces_a_value_and_is_replaced", |c| async move {
        let e = entity("e")?;
        c.write(&e, [("f", 1)], at(0)).await?;
        c.send(FeatureWrite::new(e.clone(), Features::new().with("f", FeatureValue::Null)).at(at(1))).await?;
        same(c.row(&e).await?.status("f"), FeatureStatus::Null)?;
        c.write(&e, [("f", 2)], at(2)).await?;
        same(c.row(&e).await?.get("f"), Some(&2i64.into()))
    });
    s.case("a_feature_may_change_its_type", |c| async move {
        let e = entity("e")?;
        for (second, value) in [(0, FeatureValue::from(1)), (1, "one".into()), (2, vec![1.0].into())] {
            c.send(FeatureWrite::new(e.clone(), Features::new().with("f", value.clone())).at(at(second)))
                .await?;
            same(c.row(&e).await?.get("f"), Some(&value))?;
        }
        Ok(())
    });
    s.case("every_type_side_by_side_in_one_record", |c| async move {
        let e = entity("e")?;
        let named = extremes().into_iter().map(|(kind, label, value)| (format!("{kind} {label}"), value));
        let features: Features = named.collect();
        c.send(FeatureWrite::new(e.clone(), features.clone()).at(at(0))).await?;
        same(c.features(&e).await?, Some(features))
    });
    s.case("map::one_too_deep_fails_for_its_row_alone", |c| async move {
        let (good, bad) = (entity("good")?, entity("bad")?);
        let too_deep = Features::new().with("f", nested(FeatureValue::MAX_DEPTH + 1));
        let report = c
            .batch([
                FeatureWrite::new(bad.clone(), too_deep).at(at(0)),
                FeatureWrite::new(good.clone(), [("f", 1)]).at(at(0)),
            ])
            .await?;
        refused(report.rows()[0].clone(), ErrorKind::InvalidArgument)?;
        same(c.read(&bad).await?, None)?;
        same(c.row(&good).await?.get("f"), Some(&1i32.into()))
    });
}

/// Alone, merged beside another feature, and read as a subset, the value keeps its every bit.
async fn survives(c: Context, value: FeatureValue) -> Outcome {
    let e = entity("e")?;
    c.send(FeatureWrite::new(e.clone(), Features::new().with("f", value.clone())).at(at(0))).await?;
    same(c.row(&e).await?.get("f"), Some(&value))?;
    c.write(&e, [("a_neighbour", 1)], at(1)).await?;
    same(c.row(&e).await?.get("f"), Some(&value))?;
    let row = c.store.read_features(&c.tenant, VIEW, &e, Some(&["f"])).await?;
    same(row.map(|row| row.values().to_vec()), Some(vec![value]))
}
