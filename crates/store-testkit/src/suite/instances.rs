//! Several instances over the same data at the same time: what one does, the others see.

use std::sync::Arc;

use feature_core::{
    BackendWrapper, CallContext, EntityKey, FeatureWrite, OnlineStoreBackend, Precondition, PutOutcome,
    RecordKey, RecordPut, Result, VersionedRecord,
};

use crate::case::{Context, Failure, Subject, VIEW, at, entity, failure, holds, ints, same};
use crate::history::{HistoryPlan, histories};
use crate::suite::concurrency::{disjoint_writers, race};

pub(super) fn add(s: &mut Subject<'_>) {
    s.case("a_write_is_seen_by_another_that_has_read_the_record", |c| async move {
        let (one, other) = both(&c).await?;
        let e = entity("e")?;
        for second in 0..5 {
            let (writer, reader) = if second % 2 == 0 { (&one, &other) } else { (&other, &one) };
            writer.write(&e, [("f", second)], at(second)).await?;
            same(reader.features(&e).await?, ints([("f", second)]))?;
            same(writer.features(&e).await?, ints([("f", second)]))?;
        }
        Ok(())
    });
    s.case("a_write_is_seen_by_another_that_has_missed_the_record", |c| async move {
        let (one, other) = both(&c).await?;
        let e = entity("e")?;
        same(other.features(&e).await?, None)?;
        one.write(&e, [("f", 1)], at(0)).await?;
        same(other.features(&e).await?, ints([("f", 1)]))
    });
    s.case("a_delete_is_seen_by_another", |c| async move {
        let (one, other) = both(&c).await?;
        let e = entity("e")?;
        one.write(&e, [("f", 1)], at(5)).await?;
        same(other.features(&e).await?, ints([("f", 1)]))?;
        one.store.delete(&one.tenant, VIEW, std::slice::from_ref(&e)).await?.remove(0)?;
        same(other.features(&e).await?, None)?;
        // Nothing of the record is remembered that would keep an older one out.
        other.write(&e, [("f", 2)], at(1)).await?;
        same(one.features(&e).await?, ints([("f", 2)]))
    });
    s.case("a_purge_is_seen_by_another", |c| async move {
        let (one, other) = both(&c).await?;
        let keys = (0..20).map(entity).collect::<Result<Vec<_>>>()?;
        let write = |key: &EntityKey| FeatureWrite::new(key.clone(), [("f", 1i64)]).at(at(5));
        one.batch(keys.iter().map(write)).await?.into_result()?;
        for key in &keys {
            same(other.features(key).await?, ints([("f", 1)]))?;
        }
        same(one.store.purge(&one.scope()?).await?.removed, 20)?;
        for key in &keys {
            same(other.features(key).await?, None)?;
        }
        same(other.scan(&other.scope()?).await?, Vec::new())
    });
    s.case("a_scan_gives_what_another_has_written", |c| async move {
        let (one, other) = both(&c).await?;
        one.write(&entity(1)?, [("f", 1)], at(0)).await?;
        other.write(&entity(2)?, [("f", 2)], at(0)).await?;
        same(one.scan(&one.scope()?).await?.len(), 2)?;
        same(other.scan(&other.scope()?).await?.len(), 2)
    });
    s.case("a_precondition_looks_at_what_another_has_written", |c| async move {
        let (one, other) = both(&c).await?;
        let e = entity("e")?;
        one.put(&e, "f", 5, Precondition::NotNewer).await?;
        let stored = other.stored(&e).await?;
        one.put(&e, "f", 7, Precondition::NotNewer).await?;
        for precondition in [
            Precondition::NotNewer,
            Precondition::NotNewerSameShape,
            Precondition::Unchanged(None),
            Precondition::Unchanged(stored),
        ] {
            let refused =
                matches!(other.put(&e, "f", 6, precondition.clone()).await?, PutOutcome::Refused(_));
            holds(refused, &format!("{precondition:?} holds on a record that another has changed"))?;
        }
        same(other.features(&e).await?, ints([("f", 7)]))
    });
    s.case("of_racing_puts_of_two_one_is_stored", |c| async move {
        let (one, other) = both(&c).await?;
        for round in 0..10 {
            race([&one, &other], &entity(round)?, Precondition::Unchanged(None)).await?;
        }
        Ok(())
    });
    s.case("writers_of_disjoint_features_lose_nothing", |c| async move {
        let (one, other) = both(&c).await?;
        disjoint_writers([&one, &other]).await
    });
    s.case("histories_of_a_record_have_one_order", |c| async move {
        let (one, other) = both(&c).await?;
        let either = Arc::new(Either([one.backend().clone(), other.backend().clone()]));
        let plan = HistoryPlan { histories: 40, seed: fastrand::u64(..), ..HistoryPlan::default() };
        histories(&(either as _), &c.tenant, &plan).await.map(drop).map_err(failure)
    });
    s.case("closing_one_leaves_another_open", |c| async move {
        let (one, other) = both(&c).await?;
        let e = entity("e")?;
        one.write(&e, [("f", 1)], at(0)).await?;
        one.backend().close().await?;
        same(other.features(&e).await?, ints([("f", 1)]))?;
        other.write(&e, [("f", 2)], at(1)).await?;
        same(other.features(&e).await?, ints([("f", 2)]))
    });
}

/// Two instances over the same data.
async fn both(c: &Context) -> std::result::Result<(Context, Context), Failure> {
    let place = c.data(false).await?;
    Ok((c.over_data(&place).await?, c.over_data(&place).await?))
}

/// Each call goes to one of two instances.
#[derive(Debug)]
struct Either([Arc<dyn OnlineStoreBackend>; 2]);

impl BackendWrapper for Either {
    fn inner(&self) -> &dyn OnlineStoreBackend {
        &*self.0[usize::from(fastrand::bool())]
    }

    async fn get(&self, keys: &[RecordKey], call: CallContext) -> Vec<Result<Option<VersionedRecord>>> {
        self.inner().get(keys, call).await
    }

    async fn put(&self, puts: Vec<RecordPut>, call: CallContext) -> Vec<Result<PutOutcome>> {
        self.inner().put(puts, call).await
    }

    async fn delete(&self, keys: &[RecordKey], call: CallContext) -> Vec<Result<bool>> {
        self.inner().delete(keys, call).await
    }
}
