//! Keys that differ only far behind, or whose short hashes must collide.

use feature_core::{
    EntityKey, FeatureRow, FeatureValue, FeatureWrite, Precondition, RecordKey, Result, Scope, ViewKey,
};

use crate::case::{Context, Failure, Outcome, Subject, VIEW, at, call, failure, holds, same};

/// Behind how many bytes the names differ: where columns, indexes and buffers of databases have ended.
const LENGTHS: [usize; 14] = [15, 31, 63, 64, 127, 128, 191, 255, 256, 511, 767, 1_024, 2_048, 3_072];
/// The longest key that is tried where keys have no limit.
const LONGEST: usize = 4_000;

/// So many keys that two have the same hash of 32 bits, in all but one of 30,000 stores.
const MANY: u64 = 300_000;

pub(super) fn add(s: &mut Subject<'_>) {
    for place in ["tenant", "view", "join_key", "entity_value"] {
        s.case(format!("apart::{place}_that_differs_far_behind"), move |c| far_behind(c, place));
    }
    s.case("apart::so_many_keys_that_short_hashes_collide", |c| async move { many(&c).await });
}

/// Two names of each length that differ in the last byte, and the name that both begin with.
async fn far_behind(c: Context, place: &'static str) -> Outcome {
    let limit = c.store.capabilities().max_key_bytes.unwrap_or(LONGEST);
    let key = |name: &str| -> Result<RecordKey> {
        // The tenant is the case's own in any case.
        let tenant = if place == "tenant" { format!("{}{name}", c.tenant) } else { c.tenant.clone() };
        let view = ViewKey::new(&tenant, if place == "view" { name } else { VIEW })?;
        let entity = match place {
            "join_key" => EntityKey::new(name, "1"),
            "entity_value" => EntityKey::new("id", name),
            _ => EntityKey::new("id", "1"),
        }?;
        Ok(RecordKey::new(view, entity))
    };
    let spent = key("").or_else(|_| key("n"))?.text_len();
    let room = limit.saturating_sub(spent + 1);
    let mut keys = Vec::new();
    for length in LENGTHS.into_iter().filter(|length| *length < room).chain([room]) {
        let beginning = "n".repeat(length);
        for name in [format!("{beginning}1"), format!("{beginning}2")] {
            keys.push(key(&name)?);
        }
    }
    for (number, key) in (0i64..).zip(&keys) {
        let (view, write) = (key.view(), FeatureWrite::new(key.entity().clone(), [("f", number)]).at(at(0)));
        c.store.batch_write(view.tenant(), view.view(), [write]).await?.into_result()?;
    }
    for (number, key) in (0i64..).zip(&keys) {
        let view = key.view();
        let row = c.store.read_features(view.tenant(), view.view(), key.entity(), None).await?;
        same(row.as_ref().and_then(value), Some(number)).map_err(|_| {
            let text = key.text_len();
            failure(format!("a {place} that differs in its last byte is another's (key of {text} bytes)"))
        })?;
    }
    for key in &keys {
        c.store.purge(&Scope::View(key.view().clone())).await?;
    }
    Ok(())
}

fn value(row: &FeatureRow) -> Option<i64> {
    row.get("f").and_then(FeatureValue::as_i64)
}

/// Each key's record is its own, among all.
async fn many(c: &Context) -> Result<(), Failure> {
    let rows = c.store.capabilities().max_batch_rows.unwrap_or(5_000).min(5_000) as u64;
    let view = ViewKey::new(&c.tenant, VIEW)?;
    let key = |number| Ok(RecordKey::new(view.clone(), EntityKey::new("id", number)?));
    // The record of each is that of the first with its own number behind the header.
    let first = c.put_of(&EntityKey::new("id", 0)?, "f", 0, at(0), Precondition::NotNewer)?;
    let bytes = |number: u64| -> bytes::Bytes { [&first.bytes[..], &number.to_be_bytes()].concat().into() };
    let chunks =
        || (0..MANY).step_by(usize::try_from(rows).unwrap_or(1)).map(|from| from..MANY.min(from + rows));
    for chunk in chunks() {
        let puts = chunk.map(|number| {
            Ok(feature_core::RecordPut { key: key(number)?, bytes: bytes(number), ..first.clone() })
        });
        let outcomes = c.backend().put(puts.collect::<Result<_>>()?, call()).await;
        outcomes.into_iter().collect::<Result<Vec<_>>>()?;
    }
    for chunk in chunks() {
        let keys = chunk.clone().map(key).collect::<Result<Vec<_>>>()?;
        let found = c.backend().get(&keys, call()).await;
        same(found.len(), keys.len())?;
        for (number, found) in chunk.zip(found) {
            let whole = found?.is_some_and(|record| record.bytes == bytes(number));
            holds(whole, &format!("the record of key {number} of {MANY} is another's, or gone"))?;
        }
    }
    Ok(())
}
