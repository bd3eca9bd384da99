//! No stale value is served, to the microsecond; none goes early.
//!
//! Every TTL is of minutes, since a server reclaims by a clock of its own, which the case cannot move.

use std::time::Duration;

use feature_core::{
    EntityKey, ErrorKind, FeatureStatus, FeatureWrite, Features, Timestamp, Ttl, WriteOutcome,
};

use crate::case::{Context, Failure, START, Subject, VIEW, at, entity, ints, refused, same};

const MINUTE: Ttl = Ttl::from_secs(60);
const HOUR: Ttl = Ttl::from_secs(3_600);
const TICK: Duration = Duration::from_micros(1);

pub(super) fn add(s: &mut Subject<'_>) {
    instants(s);
    changes(s);
    absence(s);
    declared(s);
    max_age(s);
}

async fn put(c: &Context, e: &EntityKey, value: i64, second: i64, ttl: Ttl) -> Result<WriteOutcome, Failure> {
    let write = FeatureWrite::new(e.clone(), [("f", value)]).at(at(second)).with_ttl(ttl);
    Ok(c.send(write).await?)
}

/// Whether there is a record a microsecond before `seconds` after the beginning, and at that instant.
async fn around(c: &Context, e: &EntityKey, seconds: i64) -> Result<[bool; 2], Failure> {
    c.clock.set(at(seconds).saturating_sub(TICK));
    let before = c.read(e).await?.is_some();
    c.advance(TICK);
    Ok([before, c.read(e).await?.is_some()])
}

fn instants(s: &mut Subject<'_>) {
    s.case("a_record_is_there_until_its_ttl_is_over_to_the_microsecond", |c| async move {
        let e = entity("e")?;
        put(&c, &e, 1, 0, MINUTE).await?;
        same(around(&c, &e, 60).await?, [true, false])
    });
    s.case("a_ttl_counts_from_the_write_and_not_from_the_event", |c| async move {
        let e = entity("e")?;
        put(&c, &e, 1, -3_000, MINUTE).await?;
        same(around(&c, &e, 60).await?, [true, false])
    });
    s.case("a_ttl_of_odd_microseconds_is_kept_exactly", |c| async move {
        let e = entity("e")?;
        let ttl = Duration::from_micros(61_234_567);
        c.send(FeatureWrite::new(e.clone(), [("f", 1)]).with_ttl(ttl.into())).await?;
        c.advance(ttl - TICK);
        same(c.read(&e).await?.is_some(), true)?;
        c.advance(TICK);
        same(c.read(&e).await?.is_some(), false)
    });
    s.case("a_record_without_a_ttl_stays_for_decades", |c| async move {
        let e = entity("e")?;
        put(&c, &e, 1, 0, Ttl::Never).await?;
        c.advance(Duration::from_secs(50 * 365 * 86_400));
        same(c.row(&e).await?.expires_at, None)
    });
    s.case("a_long_ttl_is_kept", |c| async move {
        let e = entity("e")?;
        let ninety_days = 90 * 86_400;
        put(&c, &e, 1, 0, Ttl::from_secs(ninety_days)).await?;
        same(around(&c, &e, ninety_days as i64).await?, [true, false])
    });
    s.case("each_row_of_a_batch_has_its_own_ttl", |c| async move {
        let (short, long, never) = (entity("short")?, entity("long")?, entity("never")?);
        let write = |e: &EntityKey, ttl| FeatureWrite::new(e.clone(), [("f", 1)]).at(START).with_ttl(ttl);
        c.batch([write(&short, MINUTE), write(&long, HOUR), write(&never, Ttl::Never)])
            .await?
            .into_result()?;
        same(around(&c, &short, 60).await?, [true, false])?;
        same(around(&c, &long, 3_600).await?, [true, false])?;
        same(c.read(&never).await?.is_some(), true)
    });
    s.case("an_expired_record_is_missing_in_a_batch_too", |c| async move {
        let (gone, there) = (entity("gone")?, entity("there")?);
        put(&c, &gone, 1, 0, MINUTE).await?;
        put(&c, &there, 2, 0, HOUR).await?;
        c.clock.set(at(60));
        let rows = c.store.batch_read(&c.tenant, VIEW, &[gone, there], Some(&["f"])).await?;
        let found =
            rows.into_iter().map(|row| Ok(row?.is_some())).collect::<feature_core::Result<Vec<_>>>()?;
        same(found, vec![false, true])
    });
    s.case("an_expired_record_is_missing_in_a_scan", |c| async move {
        put(&c, &entity("gone")?, 1, 0, MINUTE).await?;
        put(&c, &entity("there")?, 2, 0, HOUR).await?;
        c.clock.set(at(60));
        same(c.scan(&c.scope()?).await?.len(), 1)
    });
    s.case("a_ttl_of_zero_is_refused", |c| async move {
        let write = FeatureWrite::new(entity("e")?, [("f", 1)]).with_ttl(Ttl::After(Duration::ZERO));
        refused(c.send(write).await, ErrorKind::InvalidArgument).map(drop)
    });
}

fn changes(s: &mut Subject<'_>) {
    s.case("a_newer_write_lengthens_the_life", |c| async move {
        let e = entity("e")?;
        put(&c, &e, 1, 0, MINUTE).await?;
        put(&c, &e, 2, 1, HOUR).await?;
        same(around(&c, &e, 60).await?, [true, true])?;
        same(around(&c, &e, 3_600).await?, [true, false])
    });
    s.case("a_newer_write_shortens_the_life", |c| async move {
        let e = entity("e")?;
        put(&c, &e, 1, 0, HOUR).await?;
        put(&c, &e, 2, 1, MINUTE).await?;
        same(around(&c, &e, 60).await?, [true, false])
    });
    s.case("a_newer_write_without_a_ttl_makes_it_stay", |c| async move {
        let e = entity("e")?;
        put(&c, &e, 1, 0, MINUTE).await?;
        put(&c, &e, 2, 1, Ttl::Never).await?;
        same(around(&c, &e, 86_400).await?, [true, true])
    });
    s.case("a_newer_write_with_a_ttl_ends_a_life_without_end", |c| async move {
        let e = entity("e")?;
        put(&c, &e, 1, 0, Ttl::Never).await?;
        put(&c, &e, 2, 1, MINUTE).await?;
        same(around(&c, &e, 60).await?, [true, false])
    });
    s.case("an_older_write_does_not_change_the_life", |c| async move {
        let e = entity("e")?;
        put(&c, &e, 2, 10, MINUTE).await?;
        let older = FeatureWrite::new(e.clone(), [("other", 1)]).at(at(5)).with_ttl(HOUR);
        same(c.send(older).await?, WriteOutcome::Applied)?;
        same(around(&c, &e, 60).await?, [true, false])
    });
    s.case("of_equal_times_the_later_arrival_s_ttl_holds", |c| async move {
        let e = entity("e")?;
        put(&c, &e, 1, 0, MINUTE).await?;
        put(&c, &e, 2, 0, HOUR).await?;
        same(around(&c, &e, 60).await?, [true, true])?;
        same(around(&c, &e, 3_600).await?, [true, false])
    });
    s.case("a_merge_of_other_features_brings_its_ttl_to_all", |c| async move {
        let e = entity("e")?;
        put(&c, &e, 1, 0, MINUTE).await?;
        let newer = FeatureWrite::new(e.clone(), [("other", 2)]).at(at(1)).with_ttl(HOUR);
        c.send(newer).await?;
        same(around(&c, &e, 60).await?, [true, true])?;
        same(c.features(&e).await?, Some(Features::new().with("f", 1i64).with("other", 2i32)))?;
        same(around(&c, &e, 3_600).await?, [true, false])
    });
    s.case("a_repeated_write_begins_the_life_anew", |c| async move {
        let e = entity("e")?;
        put(&c, &e, 1, 0, MINUTE).await?;
        c.clock.set(at(30));
        put(&c, &e, 1, 0, MINUTE).await?;
        same(around(&c, &e, 60).await?, [true, true])?;
        same(around(&c, &e, 90).await?, [true, false])
    });
}

fn absence(s: &mut Subject<'_>) {
    s.case("an_older_write_makes_a_record_where_one_has_expired", |c| async move {
        let e = entity("e")?;
        put(&c, &e, 2, 10, MINUTE).await?;
        c.clock.set(at(60));
        same(c.write(&e, [("f", 1)], at(5)).await?, WriteOutcome::Applied)?;
        same(c.features(&e).await?, ints([("f", 1)]))?;
        same(c.row(&e).await?.timestamp, at(5))
    });
    s.case("a_merge_finds_nothing_of_what_has_expired", |c| async move {
        let e = entity("e")?;
        put(&c, &e, 1, 0, MINUTE).await?;
        c.clock.set(at(60));
        c.write(&e, [("other", 2)], at(61)).await?;
        same(c.features(&e).await?, ints([("other", 2)]))
    });
    s.case("a_merge_a_microsecond_before_expiry_keeps_everything", |c| async move {
        let e = entity("e")?;
        put(&c, &e, 1, 0, MINUTE).await?;
        c.clock.set(at(60).saturating_sub(TICK));
        c.write(&e, [("other", 2)], at(1)).await?;
        c.advance(Duration::from_secs(86_400));
        same(c.features(&e).await?, ints([("f", 1), ("other", 2)]))
    });
    s.case("a_retraction_keeps_older_writes_out_until_its_ttl_is_over", |c| async move {
        let e = entity("e")?;
        c.send(FeatureWrite::retract(e.clone()).at(at(5)).with_ttl(MINUTE)).await?;
        c.clock.set(at(60).saturating_sub(TICK));
        same(c.write(&e, [("f", 1)], at(4)).await?, WriteOutcome::Superseded)?;
        c.advance(TICK);
        same(c.write(&e, [("f", 1)], at(4)).await?, WriteOutcome::Applied)?;
        same(c.features(&e).await?, ints([("f", 1)]))
    });
    s.case("a_record_may_expire_and_come_again_many_times", |c| async move {
        let e = entity("e")?;
        for round in 0..5 {
            let value = i64::from(round);
            c.send(FeatureWrite::new(e.clone(), [("f", value)]).with_ttl(MINUTE)).await?;
            same(c.features(&e).await?, ints([("f", value)]))?;
            c.advance(Duration::from_secs(60));
            same(c.features(&e).await?, None)?;
        }
        Ok(())
    });
}

const DECLARED: &str = "feature_views: [{name: customer_features, entities: [customer_id], \
                        features: {f: int64, g: int64}, ttl: 2m, max_age: 60s}]";

fn declared(s: &mut Subject<'_>) {
    s.case("the_view_s_ttl_holds_for_a_write_that_names_none", |c| async move {
        let e = entity("e")?;
        c.declaring(DECLARED)?.send(FeatureWrite::new(e.clone(), [("f", 1)])).await?;
        same(around(&c, &e, 120).await?, [true, false])
    });
    s.case("the_write_s_own_ttl_goes_before_the_view_s", |c| async move {
        let e = entity("e")?;
        let declaring = c.declaring(DECLARED)?;
        declaring.send(FeatureWrite::new(e.clone(), [("f", 1)]).with_ttl(HOUR)).await?;
        same(around(&c, &e, 3_600).await?, [true, false])?;
        declaring.send(FeatureWrite::new(e.clone(), [("f", 1)]).with_ttl(Ttl::Never)).await?;
        c.advance(Duration::from_secs(86_400));
        same(c.read(&e).await?.is_some(), true)
    });
    s.case("the_view_s_max_age_withholds_a_feature_to_the_microsecond", |c| async move {
        let e = entity("e")?;
        let c = c.declaring(DECLARED)?;
        c.write(&e, [("f", 1)], at(0)).await?;
        c.clock.set(at(60));
        same(c.row(&e).await?.status("f"), FeatureStatus::Present)?;
        c.advance(TICK);
        same(c.row(&e).await?.status("f"), FeatureStatus::OutsideMaxAge)?;
        same(c.row(&e).await?.get("f"), None)
    });
    s.case("the_shorter_max_age_holds", |c| async move {
        let e = entity("e")?;
        let c = c.declaring(DECLARED)?;
        c.write(&e, [("f", 1)], at(0)).await?;
        c.clock.set(at(30));
        let status = async |seconds| -> Result<FeatureStatus, Failure> {
            let store = c.store.with_max_age(Duration::from_secs(seconds));
            let row = store.read_features(&c.tenant, VIEW, &e, Some(&["f"])).await?;
            Ok(row.map_or(FeatureStatus::NotFound, |row| row.status("f")))
        };
        same(status(29).await?, FeatureStatus::OutsideMaxAge)?;
        same(status(3_600).await?, FeatureStatus::Present)?;
        c.clock.set(at(61));
        same(status(3_600).await?, FeatureStatus::OutsideMaxAge)
    });
}

fn max_age(s: &mut Subject<'_>) {
    s.case("max_age_goes_by_each_feature_s_own_time", |c| async move {
        let e = entity("e")?;
        c.write(&e, [("old", 1)], at(-100)).await?;
        c.write(&e, [("new", 2)], at(-10)).await?;
        let store = c.store.with_max_age(Duration::from_secs(50));
        let row = store.read_features(&c.tenant, VIEW, &e, Some(&["old", "new", "none"])).await?;
        let statuses = row.map(|row| row.statuses().collect::<Vec<_>>());
        let expected = vec![FeatureStatus::OutsideMaxAge, FeatureStatus::Present, FeatureStatus::NotFound];
        same(statuses, Some(expected))
    });
    s.case("max_age_of_one_read_does_not_bind_another", |c| async move {
        let e = entity("e")?;
        c.write(&e, [("f", 1)], at(-100)).await?;
        let strict = c.store.with_max_age(Duration::from_secs(1));
        let row = strict.read_features(&c.tenant, VIEW, &e, None).await?;
        same(row.map(|row| row.status("f")), Some(FeatureStatus::OutsideMaxAge))?;
        same(c.row(&e).await?.status("f"), FeatureStatus::Present)
    });
    s.case("max_age_marks_features_in_a_scan", |c| async move {
        let e = entity("e")?;
        c.write(&e, [("f", 1)], at(-100)).await?;
        let strict = c.store.with_max_age(Duration::from_secs(1));
        let rows = crate::case::finite(strict.scan(&c.scope()?)).await?;
        let statuses =
            rows.into_iter().map(|row| Ok(row?.1.status("f"))).collect::<feature_core::Result<Vec<_>>>()?;
        same(statuses, vec![FeatureStatus::OutsideMaxAge])
    });
    s.case("max_age_does_not_withhold_what_lies_in_the_future", |c| async move {
        let e = entity("e")?;
        c.write(&e, [("f", 1)], at(600)).await?;
        let strict = c.store.with_max_age(Duration::from_micros(1));
        let row = strict.read_features(&c.tenant, VIEW, &e, None).await?;
        same(row.map(|row| row.status("f")), Some(FeatureStatus::Present))
    });
    s.case("max_age_applies_to_a_null_too", |c| async move {
        let e = entity("e")?;
        let null = Features::new().with("f", feature_core::FeatureValue::Null);
        c.send(FeatureWrite::new(e.clone(), null).at(Timestamp::from_micros(0))).await?;
        let strict = c.store.with_max_age(Duration::from_secs(1));
        let row = strict.read_features(&c.tenant, VIEW, &e, None).await?;
        same(row.map(|row| row.status("f")), Some(FeatureStatus::OutsideMaxAge))
    });
}
