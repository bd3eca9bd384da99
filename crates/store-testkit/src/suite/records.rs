//! Whole records, as a backup has them: they come exactly as they were, and nothing newer is lost.

use std::time::Duration;

use feature_core::{
    EntityKey, FeatureWrite, Features, Record, RecordKey, Timestamp, Ttl, WriteOutcome, merge,
};

use crate::case::{Context, Failure, Subject, at, entity, holds, ints, same};

use WriteOutcome::{Applied, Superseded};

pub(super) fn add(s: &mut Subject<'_>) {
    s.case("a_record_comes_into_an_empty_store_as_it_was", |c| async move {
        let e = entity("e")?;
        let record = mixed()?;
        same(join(&c, &e, &record).await?, Applied)?;
        same(bytes(&c, &e).await?, Some(record.encode()?))?;
        same(join(&c, &e, &record).await?, Superseded)?;
        same(bytes(&c, &e).await?, Some(record.encode()?))
    });
    s.case("a_record_meets_what_is_stored_feature_by_feature", |c| async move {
        let e = entity("e")?;
        c.write(&e, [("b", 9), ("d", 9)], at(5)).await?;
        let stored = bytes(&c, &e).await?.unwrap_or_default();
        let expected = merge(Record::decode(&stored)?, mixed()?);
        same(join(&c, &e, &mixed()?).await?, Applied)?;
        same(bytes(&c, &e).await?, Some(expected.encode()?))
    });
    s.case("what_is_newer_stays", |c| async move {
        let e = entity("e")?;
        c.write(&e, [("a", 1)], at(1)).await?;
        let old = Record::decode(&bytes(&c, &e).await?.unwrap_or_default())?;
        c.write(&e, [("a", 2)], at(2)).await?;
        same(join(&c, &e, &old).await?, Superseded)?;
        same(c.features(&e).await?, ints([("a", 2)]))
    });
    s.case("of_equal_event_times_what_is_stored_stays", |c| async move {
        let e = entity("e")?;
        c.write(&e, [("a", 1)], at(1)).await?;
        let before = Record::decode(&bytes(&c, &e).await?.unwrap_or_default())?;
        c.write(&e, [("a", 2)], at(1)).await?;
        same(join(&c, &e, &before).await?, Superseded)?;
        same(c.features(&e).await?, ints([("a", 2)]))
    });
    s.case("a_record_keeps_its_instant_of_expiry", |c| async move {
        let e = entity("e")?;
        let record = Record::of_write(at(0), Some(at(60)), Features::from([("a", 1)]));
        c.advance(Duration::from_secs(30));
        same(join(&c, &e, &record).await?, Applied)?;
        c.clock.set(at(60).saturating_sub(Duration::from_micros(1)));
        holds(c.read(&e).await?.is_some(), "it went early")?;
        c.advance(Duration::from_micros(1));
        holds(c.read(&e).await?.is_none(), "it stayed too long")?;
        same(join(&c, &entity("late")?, &record).await?, Superseded)?;
        holds(c.stored(&entity("late")?).await?.is_none(), "an expired record was written")
    });
    s.case("a_record_that_has_expired_meets_nothing", |c| async move {
        let e = entity("e")?;
        let gone = FeatureWrite::new(e.clone(), [("gone", 1)]).at(at(0)).with_ttl(Ttl::from_secs(10));
        c.send(gone).await?;
        c.advance(Duration::from_secs(10));
        same(join(&c, &e, &mixed()?).await?, Applied)?;
        same(bytes(&c, &e).await?, Some(mixed()?.encode()?))
    });
    s.case("a_retraction_that_is_brought_back_still_sweeps_what_is_older", |c| async move {
        let e = entity("e")?;
        let retraction = Record { floor: Some(at(5)), ..Record::of_write(at(5), None, Features::new()) };
        c.write(&e, [("a", 1)], at(4)).await?;
        same(join(&c, &e, &retraction).await?, Applied)?;
        same(c.features(&e).await?, None)?;
        c.write(&e, [("a", 2)], at(4)).await?;
        same(c.features(&e).await?, None)
    });
    s.case("records_of_one_call_have_each_its_outcome", |c| async move {
        let (e, other) = (entity("e")?, entity("other")?);
        let far = Record::of_write(at(1_000_000), None, Features::from([("a", 1)]));
        let records = vec![
            (c.key(&e)?, of_time(at(1))),
            (c.key(&other)?, far),
            (c.key(&e)?, of_time(at(2))),
            (RecordKey::new(c.key(&e)?.view().clone(), entity("third")?), of_time(at(1))),
        ];
        let report = c.store.merge_records(records).await;
        let outcomes: Vec<_> = report.rows().iter().map(|row| row.clone().ok()).collect();
        same(outcomes, vec![Some(Applied), None, Some(Applied), Some(Applied)])?;
        same(bytes(&c, &e).await?, Some(of_time(at(2)).encode()?))?;
        holds(c.stored(&other).await?.is_none(), "a record from the far future was written")
    });
}

fn of_time(time: Timestamp) -> Record {
    Record::of_write(time, None, Features::from([("a", 1)]))
}

/// A record with a floor, and a feature that is older than the record.
fn mixed() -> Result<Record, Failure> {
    let replaced =
        Record { floor: Some(at(2)), ..Record::of_write(at(2), None, Features::from([("a", 1), ("b", 2)])) };
    Ok(merge(replaced, Record::of_write(at(7), Some(at(9_000)), Features::from([("b", 3), ("c", 4)]))))
}

async fn join(c: &Context, e: &EntityKey, record: &Record) -> Result<WriteOutcome, Failure> {
    let report = c.store.merge_records(vec![(c.key(e)?, record.clone())]).await.into_result()?;
    report.rows().first().cloned().unwrap_or(Ok(Superseded)).map_err(Failure::from)
}

async fn bytes(c: &Context, e: &EntityKey) -> Result<Option<Vec<u8>>, Failure> {
    Ok(c.stored(e).await?.map(|record| record.bytes.to_vec()))
}
