//! Each limit: just inside it works, just outside it is refused before anything is sent, with an error
//! that names it. Where there is no limit, a sizeable value works.

use std::sync::Arc;
use std::time::Duration;

use feature_core::{EntityKey, ErrorKind, FeatureValue, FeatureWrite, Features, Record, Ttl};

use crate::case::{
    Context, Failure, Outcome, START, Subject, VIEW, at, entity, holds, refused, same, skipped,
};
use crate::faults::FaultyBackend;

/// A record, a key and a number of rows that every store takes which has no limit of its own.
const SIZEABLE_RECORD: usize = 512 * 1024;
const SIZEABLE_KEY: usize = 4_000;

pub(super) fn add(s: &mut Subject<'_>) {
    s.case("a_record_of_the_largest_size_is_kept", |c| async move {
        let size = c.store.capabilities().max_record_bytes.unwrap_or(SIZEABLE_RECORD);
        let e = entity("e")?;
        let features = of_size(size)?;
        c.send(FeatureWrite::new(e.clone(), features.clone()).at(START)).await?;
        holds(c.features(&e).await? == Some(features), "the record is not what was written")
    });
    s.case("a_record_one_byte_too_large_is_refused", |c| async move {
        let limit =
            c.store.capabilities().max_record_bytes.ok_or_else(|| skipped("records have no limit"))?;
        let e = entity("e")?;
        let write = FeatureWrite::new(e.clone(), of_size(limit + 1)?).at(START);
        names(&refused(c.send(write).await, ErrorKind::LimitExceeded)?, limit)?;
        same(c.read(&e).await?, None)
    });
    s.case("a_merge_that_makes_a_record_too_large_leaves_it_as_it_was", |c| async move {
        let limit =
            c.store.capabilities().max_record_bytes.ok_or_else(|| skipped("records have no limit"))?;
        let e = entity("e")?;
        c.send(FeatureWrite::new(e.clone(), of_size(limit)?).at(START)).await?;
        let before = c.stored(&e).await?;
        refused(c.write(&e, [("one_more", 1)], at(1)).await, ErrorKind::LimitExceeded)?;
        same(c.stored(&e).await?, before)
    });
    s.case("a_key_of_the_longest_size_is_kept", |c| async move {
        let e = of_length(&c, c.store.capabilities().max_key_bytes.unwrap_or(SIZEABLE_KEY))?;
        c.write(&e, [("f", 1)], START).await?;
        same(c.read(&e).await?.is_some(), true)?;
        let listed = crate::case::finite(c.store.scan(&c.scope()?)).await?;
        let keys = listed
            .into_iter()
            .map(|row| Ok(row?.0.entity().clone()))
            .collect::<feature_core::Result<Vec<_>>>()?;
        same(keys, vec![e.clone()])?;
        same(c.store.delete(&c.tenant, VIEW, &[e]).await?.remove(0)?, true)
    });
    s.case("a_key_one_byte_too_long_is_refused", |c| async move {
        let limit = c.store.capabilities().max_key_bytes.ok_or_else(|| skipped("keys have no limit"))?;
        let e = of_length(&c, limit + 1)?;
        names(&refused(c.write(&e, [("f", 1)], START).await, ErrorKind::LimitExceeded)?, limit)?;
        refused(c.read(&e).await, ErrorKind::LimitExceeded)?;
        let deleted = c.store.delete(&c.tenant, VIEW, &[e]).await?.remove(0);
        refused(deleted, ErrorKind::LimitExceeded).map(drop)
    });
    s.case("the_longest_ttl_is_kept", |c| async move {
        let century = Duration::from_secs(100 * 365 * 86_400);
        let e = entity("e")?;
        let ttl = c.store.capabilities().max_ttl.map_or(century, |limit| limit.min(century));
        c.send(FeatureWrite::new(e.clone(), [("f", 1)]).with_ttl(ttl.into())).await?;
        same(c.row(&e).await?.expires_at, Some(START.saturating_add(ttl)))
    });
    s.case("a_ttl_a_microsecond_too_long_is_refused", |c| async move {
        let limit = c.store.capabilities().max_ttl.ok_or_else(|| skipped("TTLs have no limit"))?;
        let e = entity("e")?;
        let ttl = Ttl::After(limit + Duration::from_micros(1));
        refused(
            c.send(FeatureWrite::new(e.clone(), [("f", 1)]).with_ttl(ttl)).await,
            ErrorKind::LimitExceeded,
        )?;
        same(c.read(&e).await?, None)
    });
    s.case("no_call_has_more_rows_than_the_backend_takes", |c| async move {
        let limit = c.store.capabilities().max_batch_rows.unwrap_or(usize::MAX);
        let rows = limit.saturating_add(1).min(2_500);
        let counting = Arc::new(FaultyBackend::counting(c.backend().clone()));
        let c = c.over(counting.clone())?;
        let keys = (0..rows).map(entity).collect::<feature_core::Result<Vec<_>>>()?;
        let writes = keys.iter().map(|key| FeatureWrite::new(key.clone(), [("f", 1)]).at(START));
        same(c.batch(writes).await?.applied(), rows)?;
        let found = c.store.batch_read(&c.tenant, VIEW, &keys, None).await?;
        same(found.iter().filter(|row| matches!(row, Ok(Some(_)))).count(), rows)?;
        let deleted = c.store.delete(&c.tenant, VIEW, &keys).await?;
        same(deleted.iter().filter(|row| matches!(row, Ok(true))).count(), rows)?;
        holds(counting.calls().iter().all(|call| call.rows <= limit), "a call has too many rows")
    });
    s.case("too_many_features_are_refused", |c| async move {
        let e = entity("e")?;
        let features: Features =
            (0..=feature_core::MAX_FEATURES).map(|n| (format!("{n:05}"), true)).collect();
        let write = FeatureWrite::new(e.clone(), features).at(START);
        refused(c.send(write).await, ErrorKind::LimitExceeded)?;
        same(c.read(&e).await?, None)
    });
    s.case("a_feature_name_one_byte_too_long_is_refused", |c| async move {
        let e = entity("e")?;
        let name = "n".repeat(feature_core::MAX_FEATURE_NAME_BYTES + 1);
        let write = FeatureWrite::new(e.clone(), Features::new().with(name, 1)).at(START);
        refused(c.send(write).await, ErrorKind::LimitExceeded)?;
        same(c.read(&e).await?, None)
    });
    s.case("limits_are_known_and_never_change", |c| async move {
        let before = c.backend().capabilities();
        c.write(&entity("e")?, [("f", 1)], START).await?;
        same(c.backend().capabilities(), before.clone())?;
        holds(!before.backend.is_empty(), "the backend has no name")?;
        let positive = [before.max_record_bytes, before.max_key_bytes, before.max_batch_rows];
        holds(positive.iter().all(|limit| *limit != Some(0)), "a limit of 0 leaves nothing to store")
    });
    s.case("what_is_too_large_does_not_fail_its_neighbours", |c| async move {
        let limit = c.store.capabilities().max_record_bytes;
        let (good, bad) = (entity("good")?, entity("bad")?);
        let too_long = "n".repeat(256);
        let too_large = match limit {
            Some(limit) => of_size(limit + 1)?,
            None => Features::new().with(too_long, 1),
        };
        let write = |e: &EntityKey, features: Features| FeatureWrite::new(e.clone(), features).at(START);
        let report = c.batch([write(&bad, too_large), write(&good, Features::from([("f", 1)]))]).await?;
        refused(report.rows()[0].clone(), ErrorKind::LimitExceeded)?;
        same([c.read(&bad).await?.is_some(), c.read(&good).await?.is_some()], [false, true])
    });
}

/// One feature whose record has exactly this many bytes.
fn of_size(size: usize) -> Result<Features, Failure> {
    // Where a longer value needs a longer length before it, one size is skipped; a longer name meets it.
    for name in ["blob", "blob_"] {
        let mut length = size;
        loop {
            // Bytes that no compression on the way makes small.
            let mut bytes = vec![0; length];
            fastrand::Rng::with_seed(7).fill(&mut bytes);
            let features = Features::new().with(name, FeatureValue::Bytes(bytes));
            let found = Record::of_write(START, None, features.clone()).encode()?.len();
            match found.checked_sub(size) {
                Some(0) => return Ok(features),
                Some(over) if over <= length => length -= over,
                _ => break,
            }
        }
    }
    Err(crate::case::failure(format!("no record has exactly {size} bytes")))
}

/// An entity whose record's key has exactly this many bytes.
fn of_length(c: &Context, length: usize) -> Result<EntityKey, Failure> {
    let rest = length.saturating_sub(c.key(&entity("")?)?.text_len());
    Ok(entity("k".repeat(rest))?)
}

fn names(error: &feature_core::Error, limit: usize) -> Outcome {
    holds(error.message().contains(&limit.to_string()), "the error does not name the limit")
}
