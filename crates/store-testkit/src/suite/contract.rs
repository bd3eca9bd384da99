//! The backend's contract, method by method, without the handle.

use std::time::Duration;

use feature_core::{
    ErrorKind, Features, Precondition, PurgeProgress, PutOutcome, Record, RecordHeader, RecordKey, RecordPut,
    Result, Scope, Timestamp, VersionedRecord,
};

use crate::case::{
    Context, Failure, Outcome, Subject, at, call, entity, failure, finite, holds, only, refused, same,
};

use Precondition::{NotNewer, NotNewerSameShape, Unchanged};

pub(super) fn add(s: &mut Subject<'_>) {
    preconditions(s);
    versions(s);
    rows(s);
    life(s);
}

fn is_refused(outcome: &PutOutcome) -> bool {
    matches!(outcome, PutOutcome::Refused(_))
}

/// A case of one put on a record of feature `f` at second 5: the feature, second and precondition of the put,
/// and whether it is stored.
fn on_a_record(
    s: &mut Subject<'_>,
    name: &str,
    feature: &'static str,
    second: i64,
    when: Precondition,
    stored: bool,
) {
    s.case(name, move |c| {
        let when = when.clone();
        async move {
            let e = entity("e")?;
            same(c.put(&e, "f", 5, Unchanged(None)).await?, PutOutcome::Stored)?;
            let before = c.stored(&e).await?;
            let outcome = c.put(&e, feature, second, when).await?;
            same(outcome == PutOutcome::Stored, stored)?;
            let after = c.stored(&e).await?;
            match stored {
                true => {
                    let bytes = c.put_of(&e, feature, second, at(second), NotNewer)?.bytes;
                    same(after.map(|record| record.bytes), Some(bytes))
                }
                false => {
                    if let PutOutcome::Refused(Some(in_the_way)) = outcome {
                        same(Some(in_the_way), before.clone())?;
                    }
                    same(after, before)
                }
            }
        }
    });
}

fn preconditions(s: &mut Subject<'_>) {
    for (name, when) in [
        ("not_newer_same_shape", NotNewerSameShape),
        ("not_newer", NotNewer),
        ("unchanged_nothing", Unchanged(None)),
    ] {
        s.case(format!("{name}::on_nothing_stores"), move |c| {
            let when = when.clone();
            async move {
                let e = entity("e")?;
                same(c.put(&e, "f", 5, when).await?, PutOutcome::Stored)?;
                holds(c.stored(&e).await?.is_some(), "there is no record after the put")
            }
        });
    }
    on_a_record(s, "not_newer_same_shape::on_an_older_record_stores", "f", 6, NotNewerSameShape, true);
    on_a_record(s, "not_newer_same_shape::on_one_of_the_same_time_stores", "f", 5, NotNewerSameShape, true);
    on_a_record(s, "not_newer_same_shape::on_a_newer_record_is_refused", "f", 4, NotNewerSameShape, false);
    on_a_record(s, "not_newer_same_shape::on_another_shape_is_refused", "g", 6, NotNewerSameShape, false);
    on_a_record(s, "not_newer::on_an_older_record_stores", "f", 6, NotNewer, true);
    on_a_record(s, "not_newer::on_another_shape_stores", "g", 6, NotNewer, true);
    on_a_record(s, "not_newer::on_one_of_the_same_time_stores", "g", 5, NotNewer, true);
    on_a_record(s, "not_newer::on_a_newer_record_is_refused", "f", 4, NotNewer, false);
    on_a_record(s, "unchanged_nothing::on_a_record_is_refused", "f", 6, Unchanged(None), false);
    for (label, stored, incoming, outcome) in [
        ("a_negative_time_is_older_than_zero", -1, 0, true),
        ("zero_is_newer_than_a_negative_time", 0, -1, false),
        ("the_earliest_time_is_the_oldest", i64::MIN, -1, true),
        ("the_latest_time_is_the_newest", i64::MAX, i64::MAX - 1, false),
        ("neighbouring_microseconds_differ", 1_767_225_600_000_001, 1_767_225_600_000_000, false),
    ] {
        s.case(format!("times::{label}"), move |c| async move {
            let e = entity("e")?;
            let put = |micros| c.put_of(&e, "f", 1, Timestamp::from_micros(micros), NotNewerSameShape);
            only(c.backend().put(vec![put(stored)?], call()).await)?;
            let found = only(c.backend().put(vec![put(incoming)?], call()).await)?;
            same(found == PutOutcome::Stored, outcome)
        });
    }
    s.case("a_floor_makes_another_shape", |c| async move {
        let e = entity("e")?;
        let mut record = Record::of_write(at(5), None, Features::from([("f", 1)]));
        record.floor = Some(at(5));
        let bytes = record.encode()?;
        let shape = RecordHeader::parse(&bytes)?.shape;
        let with_floor = RecordPut { bytes: bytes.into(), shape, ..c.put_of(&e, "f", 1, at(5), NotNewer)? };
        only(c.backend().put(vec![with_floor], call()).await)?;
        holds(is_refused(&c.put(&e, "f", 6, NotNewerSameShape).await?), "the floor was overwritten")
    });
}

fn versions(s: &mut Subject<'_>) {
    s.case("unchanged::on_the_record_itself_stores", |c| async move {
        let e = entity("e")?;
        c.put(&e, "f", 5, NotNewer).await?;
        let stored = c.stored(&e).await?;
        // Older, and of another shape: neither matters here.
        same(c.put(&e, "g", 4, Unchanged(stored)).await?, PutOutcome::Stored)
    });
    s.case("unchanged::on_a_record_changed_since_is_refused", |c| async move {
        let e = entity("e")?;
        c.put(&e, "f", 5, NotNewer).await?;
        let stored = c.stored(&e).await?;
        c.put(&e, "f", 6, NotNewer).await?;
        let before = c.stored(&e).await?;
        holds(is_refused(&c.put(&e, "f", 7, Unchanged(stored)).await?), "an update was lost")?;
        same(c.stored(&e).await?, before)
    });
    s.case("unchanged::on_a_record_deleted_since_is_refused", |c| async move {
        let e = entity("e")?;
        c.put(&e, "f", 5, NotNewer).await?;
        let stored = c.stored(&e).await?;
        only(c.backend().delete(&[c.key(&e)?], call()).await)?;
        holds(is_refused(&c.put(&e, "f", 7, Unchanged(stored)).await?), "a deleted record came back")?;
        same(c.stored(&e).await?, None)
    });
    s.case("unchanged::on_a_record_deleted_and_written_anew_is_refused", |c| async move {
        let e = entity("e")?;
        c.put(&e, "f", 5, NotNewer).await?;
        let stored = c.stored(&e).await?;
        only(c.backend().delete(&[c.key(&e)?], call()).await)?;
        c.put(&e, "f", 6, NotNewer).await?;
        let before = c.stored(&e).await?;
        holds(is_refused(&c.put(&e, "f", 7, Unchanged(stored)).await?), "an update was lost")?;
        same(c.stored(&e).await?, before)
    });
    s.case("unchanged::on_another_s_record_is_refused", |c| async move {
        let (e, other) = (entity("e")?, entity("other")?);
        c.put(&e, "f", 5, NotNewer).await?;
        c.put(&other, "f", 6, NotNewer).await?;
        let stored = c.stored(&other).await?;
        holds(is_refused(&c.put(&e, "f", 7, Unchanged(stored)).await?), "it is not the record expected")
    });
    s.case("a_record_that_nobody_changes_keeps_its_version", |c| async move {
        let e = entity("e")?;
        c.put(&e, "f", 5, NotNewer).await?;
        c.put(&entity("other")?, "f", 6, NotNewer).await?;
        same(c.stored(&e).await?, c.stored(&e).await?)
    });
    s.case("what_a_refusal_carries_can_be_merged_with", |c| async move {
        let e = entity("e")?;
        c.put(&e, "f", 5, NotNewer).await?;
        let PutOutcome::Refused(carried) = c.put(&e, "f", 4, NotNewer).await? else {
            return Err(failure("an older record was stored"));
        };
        let stored = c.stored(&e).await?;
        let expected = carried.or(stored);
        same(c.put(&e, "g", 6, Unchanged(expected)).await?, PutOutcome::Stored)
    });
    s.case("a_put_with_a_ttl_can_be_replaced_unchanged", |c| async move {
        let e = entity("e")?;
        let with_ttl =
            RecordPut { ttl: Some(Duration::from_secs(600)), ..c.put_of(&e, "f", 1, at(5), NotNewer)? };
        only(c.backend().put(vec![with_ttl], call()).await)?;
        let stored = c.stored(&e).await?;
        same(c.put(&e, "f", 6, Unchanged(stored)).await?, PutOutcome::Stored)
    });
}

async fn bytes_of(c: &Context, keys: &[RecordKey]) -> Result<Vec<Option<bytes::Bytes>>> {
    let rows = c.backend().get(keys, call()).await;
    rows.into_iter().map(|row| Ok(row?.map(|VersionedRecord { bytes, .. }| bytes))).collect()
}

fn rows(s: &mut Subject<'_>) {
    s.case("get::gives_the_bytes_that_were_put", |c| async move {
        let e = entity("e")?;
        let put = c.put_of(&e, "f", vec![0u8, 255, 10, 13, 0], at(0), NotNewer)?;
        only(c.backend().put(vec![put.clone()], call()).await)?;
        same(bytes_of(&c, &[put.key]).await?, vec![Some(put.bytes)])
    });
    s.case("get::answers_in_the_order_of_the_keys", |c| async move {
        let (keys, expected) = put_some(&c, &["m", "c", "x", "a"], &["c", "m", "a", "x"]).await?;
        same(bytes_of(&c, &keys).await?, expected)
    });
    s.case("get::has_a_row_for_each_missing_record", |c| async move {
        let (keys, expected) = put_some(&c, &["b", "d"], &["a", "b", "c", "d", "e"]).await?;
        same(bytes_of(&c, &keys).await?, expected)
    });
    s.case("get::reads_records_of_several_views_and_tenants_at_once", |c| async move {
        let other = c.as_tenant(format!("{}-2", c.tenant));
        let e = entity("e")?;
        c.put(&e, "f", 1, NotNewer).await?;
        other.put(&e, "f", 2, NotNewer).await?;
        let found = bytes_of(&c, &[other.key(&e)?, c.key(&e)?]).await?;
        let expected =
            |second| -> Result<_> { Ok(Some(c.put_of(&e, "f", second, at(second), NotNewer)?.bytes)) };
        same(found, vec![expected(2)?, expected(1)?])?;
        c.store.purge(&Scope::tenant(&other.tenant)?).await?;
        Ok(())
    });
    s.case("put::answers_in_the_order_of_the_rows", |c| async move {
        for name in ["b", "d"] {
            c.put(&entity(name)?, "f", 9, NotNewer).await?;
        }
        let puts = ["d", "a", "b", "c"].map(|name| c.put_of(&entity(name)?, "f", 1, at(1), NotNewer));
        let outcomes = c.backend().put(puts.into_iter().collect::<Result<_>>()?, call()).await;
        let refused = outcomes.into_iter().map(|row| Ok(is_refused(&row?))).collect::<Result<Vec<_>>>()?;
        same(refused, vec![true, false, true, false])
    });
    s.case("put::a_refused_row_does_not_hold_up_the_others", |c| async move {
        c.put(&entity("b")?, "f", 9, NotNewer).await?;
        let puts = ["a", "b", "c"].map(|name| c.put_of(&entity(name)?, "f", 1, at(1), NotNewer));
        c.backend().put(puts.into_iter().collect::<Result<_>>()?, call()).await;
        let there = [c.stored(&entity("a")?).await?.is_some(), c.stored(&entity("c")?).await?.is_some()];
        same(there, [true, true])
    });
    s.case("put::the_last_of_many_rows_is_conditional_too", |c| async move {
        let rows = c.store.capabilities().max_batch_rows.unwrap_or(usize::MAX).min(4_000);
        let puts = |second| {
            let put = |number| c.put_of(&entity(number)?, "f", second, at(second), NotNewerSameShape);
            (0..rows).map(put).collect::<Result<Vec<_>>>()
        };
        let stored = |outcomes: Vec<Result<PutOutcome>>| -> Result<usize> {
            let outcomes = outcomes.into_iter().collect::<Result<Vec<_>>>()?;
            Ok(outcomes.iter().filter(|outcome| **outcome == PutOutcome::Stored).count())
        };
        same(stored(c.backend().put(puts(5)?, call()).await)?, rows)?;
        same(stored(c.backend().put(puts(4)?, call()).await)?, 0)?;
        same(stored(c.backend().put(puts(6)?, call()).await)?, rows)
    });
    s.case("put::rows_of_one_call_may_have_different_preconditions", |c| async move {
        let e = entity("changed")?;
        c.put(&e, "f", 1, NotNewer).await?;
        let stored = c.stored(&e).await?;
        let puts = vec![
            c.put_of(&e, "g", 2, at(0), Unchanged(stored))?,
            c.put_of(&entity("new")?, "f", 1, at(1), Unchanged(None))?,
            c.put_of(&entity("plain")?, "f", 1, at(1), NotNewerSameShape)?,
        ];
        let outcomes = c.backend().put(puts, call()).await.into_iter().collect::<Result<Vec<_>>>()?;
        same(outcomes, vec![PutOutcome::Stored; 3])
    });
    s.case("delete::answers_in_the_order_of_the_keys", |c| async move {
        let (keys, _) = put_some(&c, &["b", "d"], &["d", "a", "b", "c"]).await?;
        let deleted = c.backend().delete(&keys, call()).await.into_iter().collect::<Result<Vec<_>>>()?;
        same(deleted, vec![true, false, true, false])?;
        same(bytes_of(&c, &keys).await?, vec![None; 4])
    });
    s.case("empty::calls_give_empty_answers", |c| async move {
        same(c.backend().get(&[], call()).await.len(), 0)?;
        same(c.backend().put(Vec::new(), call()).await.len(), 0)?;
        same(c.backend().delete(&[], call()).await.len(), 0)
    });
    s.case("scan::gives_the_records_as_they_are_stored", |c| async move {
        let e = entity("e")?;
        c.put(&e, "f", 5, NotNewer).await?;
        let rows = finite(c.backend().scan(&c.scope()?)).await?.into_iter().collect::<Result<Vec<_>>>()?;
        let stored = c.stored(&e).await?.ok_or_else(|| failure("there is no record"))?;
        same(rows.len(), 1)?;
        same((&rows[0].0, &rows[0].1.bytes), (&c.key(&e)?, &stored.bytes))
    });
}

/// Puts a record for each of `names`; the keys of `asked`, and what a get must give for them.
async fn put_some(
    c: &Context,
    names: &[&str],
    asked: &[&str],
) -> std::result::Result<(Vec<RecordKey>, Vec<Option<bytes::Bytes>>), Failure> {
    let mut expected = vec![None; asked.len()];
    for (name, number) in names.iter().zip(0i64..) {
        let put = c.put_of(&entity(name)?, "f", number, at(number), NotNewer)?;
        for (at, _) in asked.iter().enumerate().filter(|(_, other)| *other == name) {
            expected[at] = Some(put.bytes.clone());
        }
        only(c.backend().put(vec![put], call()).await)?;
    }
    let keys = asked.iter().map(|name| c.key(&entity(name)?)).collect::<Result<_>>()?;
    Ok((keys, expected))
}

fn life(s: &mut Subject<'_>) {
    s.case("check::an_open_store_answers", |c| async move {
        c.store.check().await?;
        Ok(())
    });
    s.case("close::may_be_repeated", |c| async move {
        let other = c.open_another().await?;
        other.backend().close().await?;
        other.backend().close().await?;
        Ok(())
    });
    s.case("close::of_one_instance_leaves_another_open", |c| async move {
        let other = c.open_another().await?;
        other.backend().close().await?;
        let e = entity("e")?;
        c.put(&e, "f", 5, NotNewer).await?;
        holds(c.stored(&e).await?.is_some(), "the record is missing")
    });
    after_close(s, "get", |c, key| async move { only(c.backend().get(&[key], call()).await).map(drop) });
    after_close(s, "put", |c, _| async move { c.put(&entity("e")?, "f", 5, NotNewer).await.map(drop) });
    after_close(
        s,
        "delete",
        |c, key| async move { only(c.backend().delete(&[key], call()).await).map(drop) },
    );
    after_close(s, "purge", |c, key| async move {
        c.backend().purge(&Scope::View(key.view().clone()), &PurgeProgress::default()).await.map(drop)
    });
    after_close(s, "check", |c, _| async move { c.backend().check().await.map(drop) });
    after_close(s, "scan", |c, key| async move {
        let mut rows = c.backend().scan(&Scope::View(key.view().clone()));
        match futures::StreamExt::next(&mut rows).await {
            Some(row) => row.map(drop),
            None => Ok(()),
        }
    });
    s.case("close::leaves_no_task_behind", |c| async move {
        tokio::task::spawn_blocking(move || tasks_left(&c)).await.map_err(|e| failure(e.to_string()))?
    });
    s.case("close::every_row_of_a_call_says_so", |c| async move {
        let other = c.open_another().await?;
        other.backend().close().await?;
        let keys = [other.key(&entity("a")?)?, other.key(&entity("b")?)?];
        let rows = other.backend().get(&keys, call()).await;
        same(rows.len(), 2)?;
        rows.into_iter().try_for_each(|row| refused(row, ErrorKind::Unavailable).map(drop))
    });
}

/// Opens, uses and closes an instance on a runtime of its own, which has nothing to do afterwards.
fn tasks_left(c: &Context) -> Outcome {
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let other = c.open_another().await?;
        other.put(&entity("e")?, "f", 5, NotNewer).await?;
        other.backend().close().await?;
        drop(other);
        for _ in 0..100 {
            if tokio::runtime::Handle::current().metrics().num_alive_tasks() == 0 {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
        Err(failure(format!("{tasks} tasks of a closed store still run")))
    })
}

/// A case in which a method of a closed backend is called.
fn after_close<F>(
    s: &mut Subject<'_>,
    method: &str,
    run: impl Fn(Context, RecordKey) -> F + Copy + Send + Sync + 'static,
) where
    F: Future<Output = Result<()>> + Send + 'static,
{
    s.case(format!("close::{method}_afterwards_is_unavailable"), move |c| async move {
        let other = c.open_another().await?;
        let key = other.key(&entity("e")?)?;
        run(other.clone(), key.clone()).await?;
        other.backend().close().await?;
        ends_unavailable(run(other, key).await)
    });
}

fn ends_unavailable(result: Result<()>) -> Outcome {
    refused(result, ErrorKind::Unavailable).map(drop)
}
