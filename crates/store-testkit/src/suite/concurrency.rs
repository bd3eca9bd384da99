//! Many writers at once: nothing is lost, nothing older is served afterwards.

use std::collections::BTreeMap;
use std::time::Duration;

use feature_core::{EntityKey, FeatureWrite, Features, Precondition, PutOutcome, Result};
use futures::future::{join_all, try_join_all};

use crate::case::{
    Context, Failure, Outcome, Subject, VIEW, at, call, entity, failure, holds, ints, only, same,
};

const WRITERS: i64 = 16;

pub(super) fn add(s: &mut Subject<'_>) {
    writers(s);
    cancellation(s);
}

/// Runs the work in a task of its own, so that it is truly beside the others.
async fn beside<T: Send + 'static>(
    work: impl Future<Output = std::result::Result<T, Failure>> + Send + 'static,
) -> std::result::Result<T, Failure> {
    tokio::spawn(work).await.map_err(|e| failure(e.to_string()))?
}

fn writers(s: &mut Subject<'_>) {
    s.case("writers_of_disjoint_features_lose_nothing", |c| async move { disjoint_writers([&c, &c]).await });
    s.case("of_writers_of_one_feature_the_newest_wins", |c| async move {
        let e = entity("e")?;
        let mut times: Vec<i64> = (0..WRITERS * 4).collect();
        fastrand::shuffle(&mut times);
        let writer = |second: i64| {
            let (c, e) = (c.clone(), e.clone());
            beside(async move { Ok(c.write(&e, [("f", second)], at(second)).await?) })
        };
        try_join_all(times.into_iter().map(writer)).await?;
        same(c.features(&e).await?, ints([("f", WRITERS * 4 - 1)]))
    });
    s.case("overlapping_writers_at_shuffled_times_end_as_the_newest_of_each_feature", |c| async move {
        let e = entity("e")?;
        let mut writes: Vec<(i64, Vec<u8>)> =
            (0..60).map(|second| (second, (0..8u8).filter(|_| fastrand::bool()).collect())).collect();
        writes.retain(|(_, features)| !features.is_empty());
        let mut newest = BTreeMap::new();
        for (second, features) in &writes {
            newest.extend(features.iter().map(|number| (format!("f{number}"), *second)));
        }
        fastrand::shuffle(&mut writes);
        let writer = |(second, numbers): (i64, Vec<u8>)| {
            let (c, e) = (c.clone(), e.clone());
            beside(async move {
                let features: Features = numbers.iter().map(|n| (format!("f{n}"), second)).collect();
                Ok(c.send(FeatureWrite::new(e, features).at(at(second))).await?)
            })
        };
        try_join_all(writes.into_iter().map(writer)).await?;
        same(c.features(&e).await?, Some(newest.into_iter().collect()))
    });
    s.case("merges_beside_a_replace_end_as_if_one_after_the_other", |c| async move {
        let e = entity("e")?;
        let writer = |second: i64| {
            let (c, e) = (c.clone(), e.clone());
            beside(async move {
                let features = Features::new().with(format!("f{second:02}"), second);
                let write = FeatureWrite::new(e, features).at(at(second));
                Ok(c.send(if second == 10 { write.replacing() } else { write }).await?)
            })
        };
        let mut times: Vec<i64> = (0..20).collect();
        fastrand::shuffle(&mut times);
        try_join_all(times.into_iter().map(writer)).await?;
        let expected = (10..20i64).map(|second| (format!("f{second:02}"), second)).collect();
        same(c.features(&e).await?, Some(expected))
    });
    s.case("batches_over_the_same_entities_lose_nothing", |c| async move {
        let keys = (0..20).map(entity).collect::<Result<Vec<EntityKey>>>()?;
        let writer = |number: i64| {
            let (c, keys) = (c.clone(), keys.clone());
            beside(async move {
                let write = |key: &EntityKey| {
                    let feature = Features::new().with(format!("f{number:02}"), number);
                    FeatureWrite::new(key.clone(), feature).at(at(number))
                };
                Ok(c.batch(keys.iter().map(write)).await?.into_result()?)
            })
        };
        try_join_all((0..8).map(writer)).await?;
        let expected: Features = (0..8i64).map(|number| (format!("f{number:02}"), number)).collect();
        for key in &keys {
            same(c.features(key).await?, Some(expected.clone()))?;
        }
        Ok(())
    });
    s.case("a_reader_never_sees_a_record_missing_or_in_part", |c| async move {
        let e = entity("e")?;
        c.write(&e, [("a", 0), ("b", 0)], at(0)).await?;
        let writer = {
            let (c, e) = (c.clone(), e.clone());
            beside(async move {
                for n in 1..200 {
                    c.write(&e, [("a", n), ("b", n)], at(n)).await?;
                    tokio::task::yield_now().await;
                }
                Ok(())
            })
        };
        let reader = |_| {
            let (c, e) = (c.clone(), e.clone());
            beside(async move {
                let mut last = 0;
                for _ in 0..200 {
                    let row = c.row(&e).await?;
                    let value = |name| row.get(name).and_then(feature_core::FeatureValue::as_i64);
                    same(value("a"), value("b"))?;
                    let now = value("a").unwrap_or(-1);
                    holds(now >= last, "a read gave an older record than the read before it")?;
                    last = now;
                    tokio::task::yield_now().await;
                }
                Ok(())
            })
        };
        let readers = join_all((0..3).map(reader));
        let (written, read) = futures::join!(writer, readers);
        written?;
        read.into_iter().collect()
    });
    s.case("of_racing_puts_on_nothing_one_is_stored", |c| async move {
        race([&c, &c], &entity("e")?, Precondition::Unchanged(None)).await
    });
    s.case("of_racing_puts_on_the_same_record_one_is_stored", |c| async move {
        let e = entity("e")?;
        c.write(&e, [("f", 0)], at(0)).await?;
        let stored = c.stored(&e).await?;
        race([&c, &c], &e, Precondition::Unchanged(stored)).await
    });
    s.case("a_purge_beside_writers_leaves_whole_records", |c| async move {
        let keys = (0..50).map(entity).collect::<Result<Vec<EntityKey>>>()?;
        let writer = {
            let (c, keys) = (c.clone(), keys.clone());
            beside(async move {
                for second in 0..10 {
                    let write = |key: &EntityKey| {
                        FeatureWrite::new(key.clone(), [("a", second), ("b", second)]).at(at(second))
                    };
                    c.batch(keys.iter().map(write)).await?.into_result()?;
                }
                Ok(())
            })
        };
        let purger = {
            let c = c.clone();
            beside(async move {
                for _ in 0..5 {
                    c.store.purge(&c.scope()?).await?;
                    tokio::task::yield_now().await;
                }
                Ok(())
            })
        };
        let (written, purged) = futures::join!(writer, purger);
        written.and(purged)?;
        for (_, features) in c.scan(&c.scope()?).await? {
            same(features.len(), 2)?;
            same(features.get("a"), features.get("b"))?;
        }
        Ok(())
    });
}

/// Sixteen puts with the same precondition, all at once, half of them by either.
pub(super) async fn race(by: [&Context; 2], e: &EntityKey, precondition: Precondition) -> Outcome {
    let racer = |(number, c): (i64, &Context)| {
        let (c, e, precondition) = (c.clone(), e.clone(), precondition.clone());
        beside(async move {
            let put = c.put_of(&e, "f", number, at(1), precondition)?;
            Ok((number, only(c.backend().put(vec![put], call()).await)?))
        })
    };
    let outcomes = try_join_all((0..WRITERS).zip(by.into_iter().cycle()).map(racer)).await?;
    let stored: Vec<i64> =
        outcomes.into_iter().filter(|(_, outcome)| *outcome == PutOutcome::Stored).map(|(n, _)| n).collect();
    same(stored.len(), 1)?;
    same(by[0].features(e).await?, ints([("f", stored[0])]))
}

/// Sixteen writers, each of a feature of its own, half of them by either.
pub(super) async fn disjoint_writers(by: [&Context; 2]) -> Outcome {
    let e = entity("e")?;
    let writer = |(number, c): (i64, &Context)| {
        let (c, e) = (c.clone(), e.clone());
        beside(async move {
            for round in 0..5 {
                let feature = Features::new().with(format!("f{number}"), round);
                c.send(FeatureWrite::new(e.clone(), feature).at(at(round * WRITERS + number))).await?;
            }
            Ok(())
        })
    };
    try_join_all((0..WRITERS).zip(by.into_iter().cycle()).map(writer)).await?;
    let expected = (0..WRITERS).map(|number| (format!("f{number}"), 4i64)).collect();
    same(by[1].features(&e).await?, Some(expected))
}

fn cancellation(s: &mut Subject<'_>) {
    s.case("a_write_dropped_in_mid_call_is_there_as_a_whole_or_not_at_all", |c| async move {
        let keys = (0..20).map(entity).collect::<Result<Vec<EntityKey>>>()?;
        let write = |key: &EntityKey, n: i64| FeatureWrite::new(key.clone(), [("a", n), ("b", n)]).at(at(n));
        c.batch(keys.iter().map(|key| write(key, 0))).await?.into_result()?;
        for n in 1..30 {
            give_up(c.batch(keys.iter().map(|key| write(key, n))), n).await;
            for key in &keys {
                let features = c.features(key).await?.ok_or_else(|| failure("the record is gone"))?;
                same(features.get("a"), features.get("b"))?;
            }
        }
        c.batch(keys.iter().map(|key| write(key, 30))).await?.into_result()?;
        for key in &keys {
            same(c.features(key).await?, ints([("a", 30), ("b", 30)]))?;
        }
        Ok(())
    });
    s.case("a_read_dropped_in_mid_call_leaves_the_next_one_right", |c| async move {
        let (one, two) = (entity("one")?, entity("two")?);
        c.write(&one, [("f", 1)], at(0)).await?;
        c.write(&two, [("f", 2)], at(0)).await?;
        for n in 0..20 {
            give_up(c.read(&one), n).await;
            // An answer that is left over must not be taken for the next one.
            same(c.features(&two).await?, ints([("f", 2)]))?;
        }
        same(c.features(&one).await?, ints([("f", 1)]))
    });
    s.case("a_delete_dropped_in_mid_call_leaves_the_store_usable", |c| async move {
        let keys = (0..20).map(entity).collect::<Result<Vec<EntityKey>>>()?;
        for n in 0..10 {
            let write = |key: &EntityKey| FeatureWrite::new(key.clone(), [("f", n)]).at(at(n));
            c.batch(keys.iter().map(write)).await?.into_result()?;
            give_up(c.store.delete(&c.tenant, VIEW, &keys), n).await;
            for row in c.store.batch_read(&c.tenant, VIEW, &keys, None).await? {
                let value = row?.and_then(|row| row.get("f")?.as_i64());
                holds(value.is_none_or(|value| value == n), "a record is not the one last written")?;
            }
        }
        c.store.delete(&c.tenant, VIEW, &keys).await?.into_iter().collect::<Result<Vec<_>>>()?;
        same(c.scan(&c.scope()?).await?, Vec::new())
    });
    s.case("a_scan_dropped_in_the_middle_leaves_the_store_usable", |c| async move {
        let keys = (0..100).map(entity).collect::<Result<Vec<EntityKey>>>()?;
        let write = |key: &EntityKey| FeatureWrite::new(key.clone(), [("f", 1)]).at(at(0));
        c.batch(keys.iter().map(write)).await?.into_result()?;
        for _ in 0..5 {
            let mut rows = c.store.scan(&c.scope()?);
            futures::StreamExt::next(&mut rows).await;
        }
        c.write(&keys[0], [("f", 2)], at(1)).await?;
        same(c.scan(&c.scope()?).await?.len(), 100)
    });
    s.case("a_purge_dropped_in_mid_call_is_finished_by_the_next", |c| async move {
        let keys = (0..100).map(entity).collect::<Result<Vec<EntityKey>>>()?;
        let write = |key: &EntityKey| FeatureWrite::new(key.clone(), [("f", 1)]).at(at(0));
        c.batch(keys.iter().map(write)).await?.into_result()?;
        let scope = c.scope()?;
        give_up(c.store.purge(&scope), 0).await;
        c.store.purge(&scope).await?;
        same(c.scan(&scope).await?, Vec::new())
    });
}

/// Begins the work and drops it: at once, at the first wait, or a little later.
async fn give_up<T>(work: impl Future<Output = T>, patience: i64) {
    let _ = match patience % 3 {
        0 => tokio::time::timeout(Duration::ZERO, work).await.ok().map(drop),
        1 => {
            let mut work = Box::pin(work);
            futures::poll!(&mut work).is_ready().then_some(())
        }
        _ => tokio::time::timeout(Duration::from_micros(patience.unsigned_abs() * 50), work)
            .await
            .ok()
            .map(drop),
    };
}
