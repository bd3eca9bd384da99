//! Writes: one rule, whatever the order of arrival.

use std::sync::Arc;

use feature_core::{EntityKey, ErrorKind, FeatureWrite, Features, Timestamp, WriteOutcome};

use crate::case::{Context, Failure, Outcome, START, Subject, VIEW, at, entity, ints, refused, same};
use crate::faults::{FaultyBackend, Operation};

use WriteOutcome::{Applied, Superseded};

pub(super) fn add(s: &mut Subject<'_>) {
    merging(s);
    replacing(s);
    ties(s);
    order(s);
    removing(s);
    calls(s);
    times(s);
}

fn merge(e: &EntityKey, features: &[(&'static str, i64)], second: i64) -> FeatureWrite {
    FeatureWrite::new(e.clone(), features.iter().copied().collect::<Features>()).at(at(second))
}

fn replace(e: &EntityKey, features: &[(&'static str, i64)], second: i64) -> FeatureWrite {
    merge(e, features, second).replacing()
}

/// Writes one after the other.
async fn write_all(c: &Context, writes: &[FeatureWrite]) -> Outcome {
    for write in writes {
        c.send(write.clone()).await?;
    }
    Ok(())
}

fn merging(s: &mut Subject<'_>) {
    s.case("merge_touches_the_features_it_names_alone", |c| async move {
        let e = entity("e")?;
        write_all(&c, &[merge(&e, &[("a", 1), ("b", 2)], 0), merge(&e, &[("b", 3), ("c", 4)], 1)]).await?;
        same(c.features(&e).await?, ints([("a", 1), ("b", 3), ("c", 4)]))
    });
    s.case("merge_of_the_same_features_replaces_them", |c| async move {
        let e = entity("e")?;
        write_all(&c, &[merge(&e, &[("a", 1), ("b", 2)], 0), merge(&e, &[("a", 3), ("b", 4)], 1)]).await?;
        same(c.features(&e).await?, ints([("a", 3), ("b", 4)]))
    });
    s.case("merge_of_one_feature_leaves_forty_nine_alone", |c| async move {
        let e = entity("e")?;
        let mut features: Features = (0..50).map(|n| (format!("f{n:02}"), n as i64)).collect();
        c.send(FeatureWrite::new(e.clone(), features.clone()).at(at(0))).await?;
        c.write(&e, [("f25", -1)], at(1)).await?;
        features.set("f25", -1i64);
        same(c.features(&e).await?, Some(features))
    });
    s.case("merge_does_not_touch_another_entity", |c| async move {
        let (e, neighbour) = (entity("e")?, entity("e2")?);
        c.write(&neighbour, [("a", 9)], at(0)).await?;
        let before = c.stored(&neighbour).await?;
        write_all(&c, &[merge(&e, &[("a", 1)], 0), merge(&e, &[("b", 1)], 1), replace(&e, &[], 2)]).await?;
        same(c.stored(&neighbour).await?, before)
    });
    s.case("merge_without_features_is_refused", |c| async move {
        let write = FeatureWrite::new(entity("e")?, Features::new()).at(at(0));
        refused(c.send(write).await, ErrorKind::InvalidArgument).map(drop)
    });
    s.case("an_empty_feature_name_is_refused", |c| async move {
        refused(c.write(&entity("e")?, [("", 1)], at(0)).await, ErrorKind::InvalidArgument).map(drop)
    });
    s.case("a_first_write_is_applied", |c| async move {
        same(c.write(&entity("e")?, [("a", 1)], at(0)).await?, Applied)
    });
}

fn replacing(s: &mut Subject<'_>) {
    s.case("replace_leaves_exactly_what_it_names", |c| async move {
        let e = entity("e")?;
        write_all(&c, &[merge(&e, &[("a", 1), ("b", 2)], 0), replace(&e, &[("b", 3)], 1)]).await?;
        same(c.features(&e).await?, ints([("b", 3)]))
    });
    s.case("replace_makes_a_record_where_there_is_none", |c| async move {
        let e = entity("e")?;
        same(c.send(replace(&e, &[("a", 1)], 0)).await?, Applied)?;
        same(c.features(&e).await?, ints([("a", 1)]))
    });
    s.case("replace_sweeps_older_features_that_arrive_later", |c| async move {
        let e = entity("e")?;
        c.send(replace(&e, &[("a", 1)], 5)).await?;
        same(c.send(merge(&e, &[("b", 2)], 4)).await?, Superseded)?;
        same(c.features(&e).await?, ints([("a", 1)]))
    });
    s.case("replace_that_arrives_late_sweeps_what_is_older_only", |c| async move {
        let e = entity("e")?;
        let early = [merge(&e, &[("old", 1)], 0), merge(&e, &[("new", 2)], 9)];
        write_all(&c, &early).await?;
        same(c.send(replace(&e, &[("mid", 3)], 5)).await?, Applied)?;
        same(c.features(&e).await?, ints([("mid", 3), ("new", 2)]))
    });
    s.case("replace_sweeps_even_after_a_newer_merge_of_other_features", |c| async move {
        let e = entity("e")?;
        write_all(&c, &[replace(&e, &[("a", 1)], 5), merge(&e, &[("b", 2)], 9)]).await?;
        same(c.send(merge(&e, &[("c", 3)], 4)).await?, Superseded)?;
        same(c.send(merge(&e, &[("d", 4)], 6)).await?, Applied)?;
        same(c.features(&e).await?, ints([("a", 1), ("b", 2), ("d", 4)]))
    });
    s.case("replace_of_a_replace_is_exact_again", |c| async move {
        let e = entity("e")?;
        write_all(&c, &[replace(&e, &[("a", 1), ("b", 1)], 1), replace(&e, &[("c", 2)], 2)]).await?;
        same(c.features(&e).await?, ints([("c", 2)]))?;
        same(c.send(replace(&e, &[("d", 9)], 1)).await?, Superseded)?;
        same(c.features(&e).await?, ints([("c", 2)]))
    });
    s.case("retraction_leaves_no_record", |c| async move {
        let e = entity("e")?;
        c.write(&e, [("a", 1)], at(0)).await?;
        same(c.send(FeatureWrite::retract(e.clone()).at(at(1))).await?, Applied)?;
        same(c.features(&e).await?, None)
    });
    s.case("retraction_keeps_older_writes_out", |c| async move {
        let e = entity("e")?;
        c.send(FeatureWrite::retract(e.clone()).at(at(5))).await?;
        same(c.write(&e, [("a", 1)], at(4)).await?, Superseded)?;
        same(c.features(&e).await?, None)
    });
    s.case("retraction_lets_newer_writes_in", |c| async move {
        let e = entity("e")?;
        write_all(&c, &[merge(&e, &[("a", 1)], 0), FeatureWrite::retract(e.clone()).at(at(5))]).await?;
        same(c.write(&e, [("b", 2)], at(6)).await?, Applied)?;
        same(c.features(&e).await?, ints([("b", 2)]))
    });
    s.case("retraction_that_arrives_late_spares_what_is_newer", |c| async move {
        let e = entity("e")?;
        write_all(&c, &[merge(&e, &[("a", 1)], 0), merge(&e, &[("b", 2)], 9)]).await?;
        c.send(FeatureWrite::retract(e.clone()).at(at(5))).await?;
        same(c.features(&e).await?, ints([("b", 2)]))
    });
}

fn ties(s: &mut Subject<'_>) {
    s.case("of_equal_times_the_later_arrival_wins", |c| async move {
        let e = entity("e")?;
        write_all(&c, &[merge(&e, &[("a", 1)], 0), merge(&e, &[("a", 2)], 0)]).await?;
        same(c.features(&e).await?, ints([("a", 2)]))
    });
    s.case("of_equal_times_the_later_arrival_wins_among_other_features", |c| async move {
        let e = entity("e")?;
        write_all(&c, &[merge(&e, &[("a", 1), ("b", 1)], 0), merge(&e, &[("a", 2), ("c", 2)], 0)]).await?;
        same(c.features(&e).await?, ints([("a", 2), ("b", 1), ("c", 2)]))
    });
    s.case("a_replace_of_the_record_s_very_time_wins", |c| async move {
        let e = entity("e")?;
        write_all(&c, &[merge(&e, &[("a", 1), ("b", 1)], 0), replace(&e, &[("b", 2)], 0)]).await?;
        same(c.features(&e).await?, ints([("b", 2)]))
    });
    s.case("a_merge_of_the_replace_s_very_time_is_added", |c| async move {
        let e = entity("e")?;
        write_all(&c, &[replace(&e, &[("b", 2)], 0), merge(&e, &[("a", 1)], 0)]).await?;
        same(c.features(&e).await?, ints([("a", 1), ("b", 2)]))
    });
    s.case("a_microsecond_is_newer", |c| async move {
        let e = entity("e")?;
        let next = Timestamp::from_micros(START.as_micros() + 1);
        c.write(&e, [("a", 2)], next).await?;
        same(c.write(&e, [("a", 1)], START).await?, Superseded)?;
        same(c.features(&e).await?, ints([("a", 2)]))
    });
}

fn order(s: &mut Subject<'_>) {
    s.case("an_older_write_of_the_same_features_is_superseded", |c| async move {
        let e = entity("e")?;
        c.write(&e, [("a", 2)], at(2)).await?;
        same(c.write(&e, [("a", 1)], at(1)).await?, Superseded)?;
        same(c.features(&e).await?, ints([("a", 2)]))
    });
    s.case("an_older_write_of_other_features_is_added", |c| async move {
        let e = entity("e")?;
        c.write(&e, [("a", 2)], at(2)).await?;
        same(c.write(&e, [("b", 1)], at(1)).await?, Applied)?;
        same(c.features(&e).await?, ints([("a", 2), ("b", 1)]))?;
        same(c.row(&e).await?.timestamp, at(2))
    });
    s.case("an_older_write_counts_where_it_is_not_older", |c| async move {
        let e = entity("e")?;
        c.write(&e, [("a", 3)], at(3)).await?;
        c.write(&e, [("b", 1)], at(1)).await?;
        same(c.write(&e, [("a", 2), ("b", 2)], at(2)).await?, Applied)?;
        same(c.features(&e).await?, ints([("a", 3), ("b", 2)]))
    });
    s.case("a_superseded_write_leaves_the_record_byte_for_byte", |c| async move {
        let e = entity("e")?;
        c.write(&e, [("a", 2)], at(2)).await?;
        let before = c.stored(&e).await?;
        c.write(&e, [("a", 1)], at(1)).await?;
        same(c.stored(&e).await?, before)
    });
    s.case("a_repeated_write_changes_nothing", |c| async move {
        let e = entity("e")?;
        let writes = [merge(&e, &[("a", 1)], 1), replace(&e, &[("b", 2)], 2), merge(&e, &[("c", 3)], 3)];
        write_all(&c, &writes).await?;
        let row = c.row(&e).await?;
        for _ in 0..3 {
            write_all(&c, &writes).await?;
        }
        same(c.row(&e).await?, row)
    });
    s.case("every_order_of_four_writes_ends_in_the_same_features", |c| async move {
        let mut rows = Vec::new();
        for (number, order) in permutations().into_iter().enumerate() {
            let e = entity(number)?;
            let writes = [
                merge(&e, &[("a", 1), ("b", 1)], 1),
                merge(&e, &[("b", 2), ("c", 2)], 2),
                replace(&e, &[("c", 3), ("d", 3)], 3),
                merge(&e, &[("a", 4), ("d", 4)], 4),
            ];
            let shuffled: Vec<_> = order.iter().map(|at| writes[*at].clone()).collect();
            write_all(&c, &shuffled).await?;
            rows.push(c.features(&e).await?);
        }
        same(rows.len(), 24)?;
        same(rows, vec![ints([("a", 4), ("c", 3), ("d", 4)]); 24])
    });
}

/// All 24 orders of four things.
fn permutations() -> Vec<[usize; 4]> {
    let numbers = (0..256usize).map(|n| [n & 3, n >> 2 & 3, n >> 4 & 3, n >> 6]);
    numbers.filter(|order| (0..4).all(|n| order.contains(&n))).collect()
}

fn removing(s: &mut Subject<'_>) {
    s.case("delete_says_whether_there_was_a_record", |c| async move {
        c.write(&entity("a")?, [("f", 1)], at(0)).await?;
        let keys = [entity("a")?, entity("b")?];
        same(delete(&c, &keys).await?, vec![true, false])?;
        same(delete(&c, &keys).await?, vec![false, false])
    });
    s.case("delete_is_seen_by_the_next_read", |c| async move {
        let e = entity("e")?;
        c.write(&e, [("f", 1)], at(0)).await?;
        c.read(&e).await?;
        delete(&c, std::slice::from_ref(&e)).await?;
        same(c.features(&e).await?, None)
    });
    s.case("delete_forgets_so_that_an_older_write_may_come_again", |c| async move {
        let e = entity("e")?;
        c.write(&e, [("f", 5)], at(5)).await?;
        delete(&c, std::slice::from_ref(&e)).await?;
        same(c.write(&e, [("f", 1)], at(1)).await?, Applied)?;
        same(c.features(&e).await?, ints([("f", 1)]))
    });
    s.case("delete_removes_a_retraction_too", |c| async move {
        let e = entity("e")?;
        c.send(FeatureWrite::retract(e.clone()).at(at(5))).await?;
        same(delete(&c, std::slice::from_ref(&e)).await?, vec![true])?;
        same(c.write(&e, [("f", 1)], at(1)).await?, Applied)
    });
    s.case("delete_leaves_the_neighbours_byte_for_byte", |c| async move {
        let (e, near) = (entity("e")?, entity("e1")?);
        c.write(&e, [("f", 1)], at(0)).await?;
        c.write(&near, [("f", 2)], at(0)).await?;
        let before = c.stored(&near).await?;
        delete(&c, &[e]).await?;
        same(c.stored(&near).await?, before)
    });
    s.case("delete_of_a_repeated_key_answers_for_each", |c| async move {
        let e = entity("e")?;
        c.write(&e, [("f", 1)], at(0)).await?;
        same(delete(&c, &[e.clone(), entity("x")?, e]).await?, vec![true, false, true])
    });
    s.case("delete_of_nothing_does_nothing", |c| async move { same(delete(&c, &[]).await?, Vec::new()) });
}

async fn delete(c: &Context, keys: &[EntityKey]) -> Result<Vec<bool>, Failure> {
    let rows = c.store.delete(&c.tenant, VIEW, keys).await?;
    Ok(rows.into_iter().collect::<feature_core::Result<_>>()?)
}

fn calls(s: &mut Subject<'_>) {
    s.case("a_newer_write_of_the_same_features_is_one_put_and_no_get", |c| async move {
        let counting = Arc::new(FaultyBackend::counting(c.backend().clone()));
        let c = c.over(counting.clone())?;
        let e = entity("e")?;
        for second in 0..3 {
            c.write(&e, [("a", second), ("b", second)], at(second)).await?;
        }
        same([counting.count(Operation::Put), counting.count(Operation::Get)], [3, 0])
    });
    s.case("a_newer_replace_is_one_put_and_no_get", |c| async move {
        let counting = Arc::new(FaultyBackend::counting(c.backend().clone()));
        let c = c.over(counting.clone())?;
        let e = entity("e")?;
        write_all(&c, &[merge(&e, &[("a", 1)], 1), replace(&e, &[("b", 2)], 2), replace(&e, &[], 3)]).await?;
        same([counting.count(Operation::Put), counting.count(Operation::Get)], [3, 0])
    });
    s.case("a_batch_of_new_entities_is_one_put", |c| async move {
        let counting = Arc::new(FaultyBackend::counting(c.backend().clone()));
        let c = c.over(counting.clone())?;
        let writes = (0..20).map(|n| Ok(merge(&entity(n)?, &[("a", 1)], 0)));
        c.batch(writes.collect::<feature_core::Result<Vec<_>>>()?).await?;
        same(
            counting.calls().iter().map(|call| (call.operation, call.rows)).collect(),
            vec![(Operation::Put, 20)],
        )
    });
    s.case("a_write_that_must_be_merged_ends_after_two_puts", |c| async move {
        let counting = Arc::new(FaultyBackend::counting(c.backend().clone()));
        let c = c.over(counting.clone())?;
        let e = entity("e")?;
        c.write(&e, [("a", 1)], at(0)).await?;
        c.write(&e, [("b", 1)], at(1)).await?;
        same(counting.count(Operation::Put), 3)?;
        same(counting.count(Operation::Get) <= 1, true)
    });
}

fn times(s: &mut Subject<'_>) {
    s.case("a_write_without_a_time_is_of_now", |c| async move {
        let e = entity("e")?;
        c.advance(std::time::Duration::from_micros(1_234_567));
        c.send(FeatureWrite::new(e.clone(), [("f", 1)])).await?;
        same(c.row(&e).await?.timestamp.as_micros(), START.as_micros() + 1_234_567)
    });
    s.case("an_event_time_at_the_limit_of_the_skew_is_taken", |c| async move {
        same(c.write(&entity("e")?, [("f", 1)], at(3_600)).await?, Applied)
    });
    s.case("an_event_time_a_microsecond_beyond_the_skew_is_refused", |c| async move {
        let e = entity("e")?;
        let beyond = Timestamp::from_micros(at(3_600).as_micros() + 1);
        refused(c.write(&e, [("f", 1)], beyond).await, ErrorKind::InvalidArgument)?;
        same(c.features(&e).await?, None)
    });
    s.case("a_future_write_is_served_at_once_and_keeps_older_ones_out", |c| async move {
        let e = entity("e")?;
        c.write(&e, [("f", 1)], at(600)).await?;
        same(c.features(&e).await?, ints([("f", 1)]))?;
        same(c.write(&e, [("f", 2)], at(599)).await?, Superseded)
    });
    s.case("times_before_1970_are_times", |c| async move {
        let e = entity("e")?;
        let time = Timestamp::from_micros;
        c.write(&e, [("f", 1)], time(-1)).await?;
        same(c.write(&e, [("f", 2)], time(-2)).await?, Superseded)?;
        same(c.write(&e, [("f", 3)], time(0)).await?, Applied)?;
        same(c.features(&e).await?, ints([("f", 3)]))
    });
    s.case("the_earliest_time_is_older_than_any_other", |c| async move {
        let e = entity("e")?;
        c.write(&e, [("f", 1)], Timestamp::MIN).await?;
        same(c.row(&e).await?.timestamp, Timestamp::MIN)?;
        same(c.write(&e, [("f", 2)], Timestamp::from_micros(i64::MIN + 1)).await?, Applied)?;
        same(c.write(&e, [("f", 3)], Timestamp::MIN).await?, Superseded)
    });
}
