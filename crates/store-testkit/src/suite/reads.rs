//! Reads: what is asked for, in the order in which it is asked for.

use std::sync::Arc;

use feature_core::{
    EntityKey, ErrorKind, FeatureRow, FeatureStatus, FeatureValue, Features, Result, ViewRead,
};

use crate::case::{Context, Subject, VIEW, at, entity, ints, refused, same};
use crate::faults::{FaultyBackend, Operation};

const OTHER: &str = "merchant_features";

pub(super) fn add(s: &mut Subject<'_>) {
    rows(s);
    subsets(s);
    views(s);
}

fn rows(s: &mut Subject<'_>) {
    s.case("an_entity_that_was_never_written_has_no_row", |c| async move {
        same(c.read(&entity("e")?).await?, None)
    });
    s.case("all_features_come_sorted_by_name", |c| async move {
        let e = entity("e")?;
        c.write(&e, [("zeta", 1), ("alpha", 2), ("Beta", 3), ("beta_2", 4)], at(0)).await?;
        let row = c.row(&e).await?;
        same(row.names().iter().collect(), vec!["Beta", "alpha", "beta_2", "zeta"])
    });
    s.case("a_row_says_its_entity_time_and_expiry", |c| async move {
        let e = entity("e")?;
        let ttl = Some(feature_core::Ttl::from_secs(600));
        c.store.write_features(&c.tenant, VIEW, &e, [("f", 1)], Some(at(-5)), ttl).await?;
        let row = c.row(&e).await?;
        same((row.entity_key, row.timestamp, row.expires_at), (e, at(-5), Some(at(600))))
    });
    s.case("a_feature_keeps_the_event_time_of_its_own_write", |c| async move {
        let e = entity("e")?;
        c.write(&e, [("old", 1)], at(-90)).await?;
        c.write(&e, [("new", 2)], at(-10)).await?;
        let row = c.row(&e).await?;
        same(row.timestamp, at(-10))?;
        same([row.event_time("old"), row.event_time("new")], [Some(at(-90)), Some(at(-10))])
    });
    s.case("rows_keep_the_order_of_the_keys_asked_for", |c| async move {
        let names = ["m", "z", "a", "q", "b"];
        for (value, name) in (0..).zip(names) {
            c.write(&entity(name)?, [("f", value)], at(0)).await?;
        }
        same(read_values(&c, &names).await?, (0..5).map(Some).collect())?;
        same(read_values(&c, &["b", "a", "z"]).await?, vec![Some(4), Some(2), Some(1)])
    });
    s.case("a_repeated_key_is_given_as_often_as_it_is_asked_for", |c| async move {
        c.write(&entity("a")?, [("f", 1)], at(0)).await?;
        c.write(&entity("b")?, [("f", 2)], at(0)).await?;
        same(read_values(&c, &["a", "b", "a", "a"]).await?, vec![Some(1), Some(2), Some(1), Some(1)])
    });
    s.case("a_repeated_key_is_fetched_once", |c| async move {
        let counting = Arc::new(FaultyBackend::counting(c.backend().clone()));
        let c = c.over(counting.clone())?;
        read_values(&c, &["a", "b", "a", "a"]).await?;
        let calls = counting.calls();
        same(calls.iter().map(|call| (call.operation, call.rows)).collect(), vec![(Operation::Get, 2)])
    });
    s.case("missing_rows_stay_in_their_places", |c| async move {
        c.write(&entity("b")?, [("f", 1)], at(0)).await?;
        c.write(&entity("d")?, [("f", 2)], at(0)).await?;
        same(read_values(&c, &["a", "b", "c", "d", "e"]).await?, vec![None, Some(1), None, Some(2), None])
    });
    s.case("no_keys_give_no_rows", |c| async move { same(read_values(&c, &[]).await?, Vec::new()) });
    s.case("reading_changes_nothing", |c| async move {
        let e = entity("e")?;
        c.write(&e, [("f", 1)], at(0)).await?;
        let before = c.stored(&e).await?;
        c.row(&e).await?;
        c.store.read_features(&c.tenant, VIEW, &e, Some(&["f", "x"])).await?;
        same(c.stored(&e).await?, before)
    });
    s.case("a_first_write_is_seen_after_a_read_that_found_nothing", |c| async move {
        for n in 0..5 {
            let e = entity(n)?;
            same(c.features(&e).await?, None)?;
            c.write(&e, [("f", n)], at(0)).await?;
            same(c.features(&e).await?, ints([("f", n)]))?;
        }
        Ok(())
    });
    s.case("a_write_is_seen_by_the_very_next_read", |c| async move {
        let e = entity("e")?;
        for value in 0..50 {
            c.write(&e, [("f", value)], at(value)).await?;
            same(c.features(&e).await?, ints([("f", value)]))?;
        }
        Ok(())
    });
}

fn subsets(s: &mut Subject<'_>) {
    s.case("a_subset_comes_in_the_order_asked_for", |c| async move {
        let row = subset(&c, &["c", "a"]).await?;
        same(shown(row.as_ref()), vec![("c", FeatureStatus::Present), ("a", FeatureStatus::Present)])
    });
    s.case("an_unknown_feature_is_not_found_and_the_rest_is_there", |c| async move {
        let row = subset(&c, &["x", "b", ""][..2]).await?;
        same(shown(row.as_ref()), vec![("x", FeatureStatus::NotFound), ("b", FeatureStatus::Present)])
    });
    s.case("a_subset_of_unknown_features_is_a_row_all_the_same", |c| async move {
        let row = subset(&c, &["x", "y"]).await?;
        same(shown(row.as_ref()), vec![("x", FeatureStatus::NotFound), ("y", FeatureStatus::NotFound)])
    });
    s.case("a_feature_asked_for_twice_is_given_twice", |c| async move {
        let row = subset(&c, &["a", "b", "a"]).await?;
        let present = FeatureStatus::Present;
        same(shown(row.as_ref()), vec![("a", present), ("b", present), ("a", present)])
    });
    s.case("an_empty_subset_tells_that_there_is_a_record", |c| async move {
        same(subset(&c, &[]).await?.map(|row| row.len()), Some(0))
    });
    s.case("an_empty_feature_name_is_refused", |c| async move {
        let read = c.store.read_features(&c.tenant, VIEW, &entity("e")?, Some(&["a", ""])).await;
        refused(read, ErrorKind::InvalidArgument).map(drop)
    });
    s.case("five_of_a_thousand_features_are_the_right_five", |c| async move {
        let e = entity("wide")?;
        let names: Vec<String> = (0..1_000).map(|n| format!("feature_{n:04}")).collect();
        let features: Features = names.iter().zip(0i64..).map(|(name, n)| (name.as_str(), n)).collect();
        c.store.write_features(&c.tenant, VIEW, &e, features, Some(at(0)), None).await?;
        let wanted = ["feature_0999", "feature_0000", "feature_0015", "feature_0016", "feature_0512"];
        let row = c.store.read_features(&c.tenant, VIEW, &e, Some(&wanted)).await?;
        let values = row.map(|row| row.values().iter().filter_map(FeatureValue::as_i64).collect());
        same(values, Some(vec![999, 0, 15, 16, 512]))?;
        same(c.row(&e).await?.len(), 1_000)
    });
    s.case("hostile_feature_names_are_names_like_any_other", |c| async move {
        let e = entity("e")?;
        let long = "n".repeat(255);
        let names = ["a:b", "a|b=c", "{x}", "a\0b", "東京", "%41", " ", "a.b.c", &long];
        let features: Features = names.iter().zip(0i64..).map(|(name, n)| (*name, n)).collect();
        c.store.write_features(&c.tenant, VIEW, &e, features.clone(), Some(at(0)), None).await?;
        same(c.features(&e).await?, Some(features))
    });
}

fn views(s: &mut Subject<'_>) {
    s.case("several_views_are_read_each_with_its_own_keys_and_features", |c| async move {
        let keys = two_views(&c).await?;
        let twice = [keys[1].clone(), keys[0].clone(), keys[1].clone()];
        let names = Arc::new(["f", "x"].iter().collect());
        let reads = [
            ViewRead { feature_view: OTHER, entity_keys: &twice, feature_names: Some(&names) },
            ViewRead { feature_view: VIEW, entity_keys: &keys[..1], feature_names: None },
        ];
        let views = c.store.read_views(&c.tenant, &reads).await?;
        let first =
            |row: &Result<Option<FeatureRow>>| row.as_ref().ok()?.as_ref()?.values().first()?.as_i64();
        let values: Vec<Vec<_>> = views.iter().map(|rows| rows.iter().map(first).collect()).collect();
        same(values, vec![vec![Some(11), Some(10), Some(11)], vec![Some(0)]])
    });
    s.case("several_views_are_one_call_on_the_backend", |c| async move {
        let keys = two_views(&c).await?;
        let counting = Arc::new(FaultyBackend::counting(c.backend().clone()));
        let c = c.over(counting.clone())?;
        let read = |feature_view| ViewRead { feature_view, entity_keys: &keys, feature_names: None };
        c.store.read_views(&c.tenant, &[read(VIEW), read(OTHER), read(VIEW)]).await?;
        let calls = counting.calls();
        same(calls.iter().map(|call| (call.operation, call.rows)).collect(), vec![(Operation::Get, 4)])
    });
    s.case(
        "no_views_give_nothing",
        |c| async move { same(c.store.read_views(&c.tenant, &[]).await?.len(), 0) },
    );
    s.case("a_declared_view_refuses_names_that_it_does_not_have", |c| async move {
        let c = c.declaring(
            "feature_views: [{name: customer_features, entities: [customer_id], features: {f: int64}}]",
        )?;
        let read = c.store.read_features(&c.tenant, VIEW, &entity("e")?, Some(&["f", "g"])).await;
        refused(read, ErrorKind::InvalidArgument).map(drop)
    });
    s.case("a_declared_view_widens_and_refuses_row_by_row", |c| async move {
        let c = c.declaring(
            "feature_views: [{name: customer_features, entities: [customer_id], features: {f: int64}}]",
        )?;
        let (good, bad) = (entity("good")?, entity("bad")?);
        let report = c
            .batch([
                feature_core::FeatureWrite::new(bad.clone(), [("f", "text")]).at(at(0)),
                feature_core::FeatureWrite::new(good.clone(), [("f", 7i32)]).at(at(0)),
            ])
            .await?;
        refused(report.rows()[0].clone(), ErrorKind::InvalidArgument)?;
        same(c.read(&bad).await?, None)?;
        same(c.features(&good).await?, ints([("f", 7)]))
    });
}

async fn read_values(c: &Context, names: &[&str]) -> Result<Vec<Option<i64>>> {
    let keys = names.iter().map(entity).collect::<Result<Vec<EntityKey>>>()?;
    let rows = c.store.batch_read(&c.tenant, VIEW, &keys, None).await?;
    rows.into_iter().map(|row| Ok(row?.and_then(|row| row.get("f")?.as_i64()))).collect()
}

/// Those features of a record of `a`, `b` and `c`.
async fn subset(c: &Context, names: &[&str]) -> Result<Option<FeatureRow>> {
    let e = entity("e")?;
    c.write(&e, [("a", 1), ("b", 2), ("c", 3)], at(0)).await?;
    c.store.read_features(&c.tenant, VIEW, &e, Some(names)).await
}

fn shown(row: Option<&FeatureRow>) -> Vec<(&str, FeatureStatus)> {
    row.map(|row| row.iter().map(|(name, status, _)| (name, status)).collect()).unwrap_or_default()
}

/// Two entities with 0 and 1 in the one view, 10 and 11 in the other.
async fn two_views(c: &Context) -> Result<[EntityKey; 2]> {
    let keys = [entity("a")?, entity("b")?];
    for (value, key) in (0i64..).zip(&keys) {
        c.write(key, [("f", value)], at(0)).await?;
        c.store.write_features(&c.tenant, OTHER, key, [("f", value + 10)], Some(at(0)), None).await?;
    }
    Ok(keys)
}
