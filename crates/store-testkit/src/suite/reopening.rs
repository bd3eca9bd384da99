//! The same data opened again: after a close, and after the process that wrote them was killed.

use std::time::Duration;

use feature_core::{FeatureWrite, Precondition, PutOutcome, Result, Ttl, WriteOutcome};

use crate::case::{
    Context, Failure, Subject, VIEW, at, call, entity, failure, holds, ints, only, same, skipped,
};
use crate::writing::{ENTITIES, Writing};

/// How often the writing process is killed.
const KILLS: usize = 3;

pub(super) fn add(s: &mut Subject<'_>) {
    s.case("what_was_acknowledged_is_there_after_a_close", |c| async move {
        let place = c.data(true).await?;
        let before = c.over_data(&place).await?;
        before.write(&entity("merged")?, [("a", 1)], at(1)).await?;
        before.write(&entity("merged")?, [("b", 2)], at(0)).await?;
        before.send(FeatureWrite::new(entity("replaced")?, [("a", 1i64)]).at(at(0)).replacing()).await?;
        before.write(&entity("deleted")?, [("a", 1)], at(0)).await?;
        before.store.delete(&before.tenant, VIEW, &[entity("deleted")?]).await?.remove(0)?;
        before.write(&entity("retracted")?, [("a", 1)], at(0)).await?;
        before.send(FeatureWrite::retract(entity("retracted")?).at(at(5))).await?;
        let many = (0..500).map(|n| Ok(FeatureWrite::new(entity(n)?, [("n", n)]).at(at(n))));
        before.batch(many.collect::<Result<Vec<_>>>()?).await?.into_result()?;
        let stored = before.scan(&before.scope()?).await?;
        before.backend().close().await?;

        let after = c.over_data(&place).await?;
        same(after.features(&entity("merged")?).await?, ints([("a", 1), ("b", 2)]))?;
        same(after.features(&entity("replaced")?).await?, ints([("a", 1)]))?;
        same(after.features(&entity("deleted")?).await?, None)?;
        same(after.write(&entity("retracted")?, [("a", 2)], at(4)).await?, WriteOutcome::Superseded)?;
        same(after.features(&entity(499)?).await?, ints([("n", 499)]))?;
        same(after.scan(&after.scope()?).await?, stored)
    });
    s.case("what_was_purged_stays_purged", |c| async move {
        let place = c.data(true).await?;
        let before = c.over_data(&place).await?;
        for n in 0..20 {
            before.write(&entity(n)?, [("f", n)], at(0)).await?;
        }
        before.store.purge(&before.scope()?).await?;
        before.write(&entity("later")?, [("f", 1)], at(0)).await?;
        before.backend().close().await?;
        let after = c.over_data(&place).await?;
        same(after.scan(&after.scope()?).await?.len(), 1)
    });
    s.case("a_life_goes_on_while_the_store_is_closed", |c| async move {
        let place = c.data(true).await?;
        let before = c.over_data(&place).await?;
        for (name, ttl) in
            [("short", Ttl::from_secs(60)), ("long", Ttl::from_secs(3_600)), ("endless", Ttl::Never)]
        {
            before.send(FeatureWrite::new(entity(name)?, [("f", 1i64)]).at(at(0)).with_ttl(ttl)).await?;
        }
        before.backend().close().await?;
        c.clock.set(at(60));
        let after = c.over_data(&place).await?;
        same(after.features(&entity("short")?).await?, None)?;
        c.clock.set(at(3_600).saturating_sub(Duration::from_micros(1)));
        same(after.features(&entity("long")?).await?, ints([("f", 1)]))?;
        c.clock.set(at(3_600));
        same(after.features(&entity("long")?).await?, None)?;
        same(after.features(&entity("endless")?).await?, ints([("f", 1)]))
    });
    s.case("a_precondition_looks_at_what_was_written_before_the_close", |c| async move {
        let place = c.data(true).await?;
        let before = c.over_data(&place).await?;
        let e = entity("e")?;
        before.write(&e, [("f", 5)], at(5)).await?;
        before.backend().close().await?;
        let after = c.over_data(&place).await?;
        for (feature, second, precondition) in [
            ("f", 4, Precondition::NotNewer),
            ("f", 4, Precondition::NotNewerSameShape),
            ("g", 6, Precondition::NotNewerSameShape),
            ("f", 6, Precondition::Unchanged(None)),
        ] {
            let outcome = after.put(&e, feature, second, precondition.clone()).await?;
            holds(
                matches!(outcome, PutOutcome::Refused(_)),
                &format!("{precondition:?} holds after the close"),
            )?;
        }
        let stored = after.stored(&e).await?;
        same(after.put(&e, "f", 6, Precondition::Unchanged(stored)).await?, PutOutcome::Stored)
    });
    s.case("no_state_of_before_the_close_is_taken_for_one_of_after_it", |c| async move {
        let place = c.data(true).await?;
        let mut known: Vec<feature_core::VersionedRecord> = Vec::new();
        for time in 0..3 {
            let c = c.over_data(&place).await?;
            only(c.backend().delete(&[c.key(&entity("e")?)?], call()).await)?;
            for second in 0..8 {
                // Each state has bytes of its own, and counted from the beginning its versions are the same.
                c.put(&entity("e")?, "f", time * 8 + second, Precondition::NotNewer).await?;
                let stored = c.stored(&entity("e")?).await?.ok_or_else(|| failure("there is no record"))?;
                for old in &known {
                    let put =
                        c.put_of(&entity("e")?, "f", 99, at(99), Precondition::Unchanged(Some(old.clone())));
                    let outcome = only(c.backend().put(vec![put?], call()).await)?;
                    holds(matches!(outcome, PutOutcome::Refused(_)), "an update was lost")?;
                }
                known.push(stored);
            }
            c.backend().close().await?;
        }
        Ok(())
    });
    s.case("what_was_acknowledged_is_there_after_a_kill", |c| async move { killed(&c).await });
}

/// A process writes, is killed, and what it was told is there, whole.
async fn killed(c: &Context) -> std::result::Result<(), Failure> {
    let data = c.data(true).await?;
    if !Writing::is_allowed() {
        return Err(skipped("only a test target of `conformance` can be started again to be killed"));
    }
    for kill in 0..KILLS {
        let tenant = format!("{}-{kill}", c.tenant);
        let writing =
            Writing { backend: c.backend_name().to_owned(), data: data.clone(), tenant: tenant.clone() };
        let acknowledged = writing.killed_after(fastrand::usize(1..60)).await.map_err(failure)?;
        let after = c.over_data(&data).await?.as_tenant(tenant);
        for number in 0..ENTITIES {
            let features = after.features(&entity(number)?).await?;
            let features = features.ok_or_else(|| failure("a record that was acknowledged is gone"))?;
            same(features.get("a"), features.get("b"))?;
            let round = features.get("a").and_then(feature_core::FeatureValue::as_i64).unwrap_or(-1);
            let text = format!("round {acknowledged} was acknowledged, and the record is of round {round}");
            holds(round >= acknowledged, &text)?;
        }
        after.store.purge(&feature_core::Scope::tenant(&after.tenant)?).await?;
        after.backend().close().await?;
    }
    Ok(())
}
