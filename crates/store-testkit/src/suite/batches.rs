//! Batches: each row for itself, whatever their number.

use feature_core::{EntityKey, ErrorKind, FeatureWrite, Features, Result, WriteOutcome};

use crate::case::{
    Context, Outcome, Subject, VIEW, at, call, entity, features_of, holds, ints, only, refused, same,
};

const MANY: usize = 10_000;

pub(super) fn add(s: &mut Subject<'_>) {
    s.case("an_empty_batch_is_written_at_once", |c| async move { same(c.batch([]).await?.rows().len(), 0) });
    s.case("ten_thousand_rows_are_written_and_read", |c| async move {
        let keys = many()?;
        same(write_many(&c, &keys, 0, 0).await?, MANY)?;
        all_hold(&c, &keys, 0).await
    });
    s.case("ten_thousand_rows_are_overwritten", |c| async move {
        let keys = many()?;
        write_many(&c, &keys, 0, 0).await?;
        same(write_many(&c, &keys, 1_000_000, 1).await?, MANY)?;
        all_hold(&c, &keys, 1_000_000).await
    });
    s.case("ten_thousand_rows_are_superseded", |c| async move {
        let keys = many()?;
        write_many(&c, &keys, 5, 1).await?;
        same(write_many(&c, &keys, 9, 0).await?, 0)?;
        all_hold(&c, &keys, 5).await
    });
    s.case("ten_thousand_rows_are_deleted", |c| async move {
        let keys = many()?;
        write_many(&c, &keys, 0, 0).await?;
        let deleted = c.store.delete(&c.tenant, VIEW, &keys).await?;
        same(deleted.iter().filter(|row| matches!(row, Ok(true))).count(), MANY)?;
        let rows = c.store.batch_read(&c.tenant, VIEW, &keys, None).await?;
        same(rows.iter().filter(|row| matches!(row, Ok(None))).count(), MANY)
    });
    s.case("ten_thousand_rows_of_one_entity_are_one_record", |c| async move {
        let e = entity("e")?;
        let write = |n: usize| FeatureWrite::new(e.clone(), [("f", n as i64)]).at(at(0));
        same(c.batch((0..MANY).map(write)).await?.written(), MANY)?;
        same(c.features(&e).await?, ints([("f", MANY as i64 - 1)]))
    });
    s.case("rows_of_one_entity_are_merged_in_their_order", |c| async move {
        let (e, f) = (entity("e")?, entity("f")?);
        let write = |e: &EntityKey, name: &'static str, value: i64| {
            FeatureWrite::new(e.clone(), [(name, value)]).at(at(0))
        };
        let rows = [write(&e, "a", 1), write(&f, "a", 2), write(&e, "a", 3), write(&e, "b", 4)];
        c.batch(rows).await?.into_result()?;
        same(c.features(&e).await?, ints([("a", 3), ("b", 4)]))?;
        same(c.features(&f).await?, ints([("a", 2)]))
    });
    s.case("rows_of_one_entity_at_different_times_end_as_if_sent_alone", |c| async move {
        let (together, alone) = (entity("together")?, entity("alone")?);
        let rows = |e: &EntityKey| {
            let write = |second: i64, names: &[&'static str]| {
                let features: Features = names.iter().map(|name| (*name, second)).collect();
                FeatureWrite::new(e.clone(), features).at(at(second))
            };
            [write(3, &["a", "b"]), write(1, &["a", "c"]), write(2, &["d"]).replacing(), write(4, &["e"])]
        };
        c.batch(rows(&together)).await?.into_result()?;
        for row in rows(&alone) {
            c.send(row).await?;
        }
        same(c.features(&together).await?, c.features(&alone).await?)?;
        same(c.features(&together).await?, ints([("a", 3), ("b", 3), ("d", 2), ("e", 4)]))
    });
    s.case("a_row_beaten_within_its_batch_is_superseded", |c| async move {
        let e = entity("e")?;
        let write = |second| FeatureWrite::new(e.clone(), [("f", second)]).at(at(second));
        let report = c.batch([write(1), write(3), write(2)]).await?;
        let outcomes = report.rows().iter().cloned().collect::<Result<Vec<_>>>()?;
        use WriteOutcome::{Applied, Superseded};
        same(outcomes, vec![Superseded, Applied, Superseded])
    });
    s.case("the_report_counts_every_row_once", |c| async move {
        c.write(&entity("newer")?, [("f", 9)], at(9)).await?;
        let report = c
            .batch([
                FeatureWrite::new(entity("new")?, [("f", 1)]).at(at(1)),
                FeatureWrite::new(entity("bad")?, Features::new()).at(at(1)),
                FeatureWrite::new(entity("newer")?, [("f", 1)]).at(at(1)),
                FeatureWrite::new(entity("future")?, [("f", 1)]).at(at(99_999)),
            ])
            .await?;
        same([report.written(), report.applied(), report.superseded()], [2, 1, 1])?;
        same(report.failures().map(|(row, _)| row).collect(), vec![1, 3])
    });
    s.case("rows_that_fail_say_which_entity_and_why", |c| async move {
        let report = c.batch([FeatureWrite::new(entity("bad")?, Features::new()).at(at(1))]).await?;
        let error = refused(report.rows()[0].clone(), ErrorKind::InvalidArgument)?;
        holds(error.key().is_some_and(|key| key.contains("customer_id=bad")), "the error names no entity")?;
        holds(error.backend() == Some(c.store.capabilities().backend), "the error names no backend")
    });
    s.case("a_batch_of_mixed_fates_settles_each_row", |c| async move {
        let names = ["absent", "older", "newer", "other_shape", "retracted"];
        let keys = names.iter().map(entity).collect::<Result<Vec<_>>>()?;
        c.write(&keys[1], [("f", 1)], at(1)).await?;
        c.write(&keys[2], [("f", 9)], at(9)).await?;
        c.write(&keys[3], [("g", 1)], at(1)).await?;
        c.send(FeatureWrite::retract(keys[4].clone()).at(at(9))).await?;
        let report =
            c.batch(keys.iter().map(|key| FeatureWrite::new(key.clone(), [("f", 5)]).at(at(5)))).await?;
        let outcomes = report.rows().iter().cloned().collect::<Result<Vec<_>>>()?;
        use WriteOutcome::{Applied, Superseded};
        same(outcomes, vec![Applied, Applied, Superseded, Applied, Superseded])?;
        let rows = c.store.batch_read(&c.tenant, VIEW, &keys, Some(&["f"])).await?;
        let values = rows.into_iter().map(|row| Ok(row?.and_then(|row| row.get("f")?.as_i64())));
        same(values.collect::<Result<Vec<_>>>()?, vec![Some(5), Some(5), Some(9), Some(5), None])
    });
    s.case("a_corrupt_record_is_an_error_of_its_row_alone", |c| async move {
        let keys = corrupted(&c).await?;
        let rows = c.store.batch_read(&c.tenant, VIEW, &keys, None).await?;
        let kinds: Vec<_> =
            rows.iter().map(|row| row.as_ref().err().map(feature_core::Error::kind)).collect();
        same(kinds, vec![None, Some(ErrorKind::Corrupt), Some(ErrorKind::Corrupt), None])?;
        let found = rows.iter().filter(|row| matches!(row, Ok(Some(_)))).count();
        same(found, 2)
    });
    s.case("a_corrupt_record_does_not_end_a_scan", |c| async move {
        corrupted(&c).await?;
        let rows = crate::case::finite(c.store.scan(&c.scope()?)).await?;
        let good = rows.iter().filter_map(|row| Some(features_of(&row.as_ref().ok()?.1)));
        same(good.collect(), vec![Features::from([("f", 1)]); 2])?;
        same(rows.iter().filter(|row| row.is_err()).count(), 2)
    });
    s.case("a_corrupt_record_does_not_keep_its_neighbours_from_being_written", |c| async move {
        let keys = corrupted(&c).await?;
        let writes = keys.iter().map(|key| FeatureWrite::new(key.clone(), [("g", 2)]).at(at(2)));
        let report = c.batch(writes).await?;
        same([report.rows()[0].is_ok(), report.rows()[3].is_ok()], [true, true])?;
        same(c.features(&keys[3]).await?, Some(Features::from([("f", 1), ("g", 2)])))
    });
    s.case("a_corrupt_record_can_be_deleted_and_written_again", |c| async move {
        let keys = corrupted(&c).await?;
        let deleted = c.store.delete(&c.tenant, VIEW, &keys[1..3]).await?;
        same(deleted.into_iter().collect::<Result<Vec<_>>>()?, vec![true, true])?;
        for key in &keys[1..3] {
            c.write(key, [("f", 3)], at(0)).await?;
            same(c.features(key).await?, ints([("f", 3)]))?;
        }
        Ok(())
    });
}

fn many() -> Result<Vec<EntityKey>> {
    (0..MANY).map(|n| entity(format!("cust-{n}"))).collect()
}

/// Writes `base` plus its number to each entity; how many rows were applied.
async fn write_many(c: &Context, keys: &[EntityKey], base: i64, second: i64) -> Result<usize> {
    let row = |(n, key): (i64, &EntityKey)| FeatureWrite::new(key.clone(), [("f", base + n)]).at(at(second));
    Ok(c.batch((0..).zip(keys).map(row)).await?.into_result()?.applied())
}

async fn all_hold(c: &Context, keys: &[EntityKey], base: i64) -> Outcome {
    let rows = c.store.batch_read(&c.tenant, VIEW, keys, Some(&["f"])).await?;
    same(rows.len(), keys.len())?;
    for (n, row) in (0..).zip(rows) {
        same(row?.and_then(|row| row.get("f")?.as_i64()), Some(base + n))?;
    }
    Ok(())
}

/// Four entities, of which the second's record is garbage and the third's has a damaged byte.
async fn corrupted(c: &Context) -> std::result::Result<Vec<EntityKey>, crate::case::Failure> {
    let keys = (0..4).map(entity).collect::<Result<Vec<_>>>()?;
    for (n, key) in keys.iter().enumerate() {
        let mut put = c.put_of(key, "f", 1, at(0), feature_core::Precondition::Unchanged(None))?;
        put.bytes = match n {
            1 => b"\x01\xff is where a record begins that never was one".as_slice().into(),
            2 => {
                let mut bytes = put.bytes.to_vec();
                let last = bytes.len() - 1;
                bytes[last] ^= 1;
                bytes.into()
            }
            _ => put.bytes,
        };
        same(only(c.backend().put(vec![put], call()).await)?, feature_core::PutOutcome::Stored)?;
    }
    Ok(keys)
}
