//! Scans and purges: the records of the scope, all of them, and no other.

use std::collections::BTreeSet;

use feature_core::{
    EntityKey, ErrorKind, FeatureWrite, Features, PurgeProgress, RecordKey, Result, Scope, Ttl,
    VersionedRecord, ViewKey,
};

use crate::case::{Context, Failure, Outcome, Subject, VIEW, at, call, entity, finite, holds, refused, same};

/// What a tenant's name ends in, after the case's own, and a view.
type Place = (&'static str, &'static str);

/// A place, and one that is easily mistaken for a part of it.
const NEIGHBOURS: [(&str, Place, Place); 12] = [
    ("pay_beside_team_pay", ("", "pay"), ("", "team_pay")),
    ("pay_beside_pay_2", ("", "pay"), ("", "pay_2")),
    ("pay_beside_pay_colon", ("", "pay"), ("", "pay:x")),
    ("pay_beside_upper_case_pay", ("", "pay"), ("", "PAY")),
    ("underscores_between_tenant_and_view", ("_a_b", "c"), ("_a", "b_c")),
    ("tenant_beside_a_longer_one", ("a", "v"), ("ab", "v")),
    ("tenant_beside_one_with_a_colon", ("a", "v"), ("a:b", "v")),
    ("tenant_with_a_colon_beside_its_beginning", ("a:b", "v"), ("a", "b:v")),
    ("glob_star", ("", "a*"), ("", "abc")),
    ("glob_question_mark", ("", "a?c"), ("", "abc")),
    ("glob_brackets", ("", "a[b]c"), ("", "abc")),
    ("percent", ("", "a%3Ab"), ("", "a:b")),
];

pub(super) fn add(s: &mut Subject<'_>) {
    for (label, own, other) in NEIGHBOURS {
        s.case(format!("scan_leaves_out::{label}"), move |c| scan_leaves_out(c, own, other));
        s.case(format!("purge_spares::{label}"), move |c| purge_spares(c, own, other, false));
    }
    for (label, own, other) in NEIGHBOURS {
        if own.0 != other.0 {
            s.case(format!("purge_of_a_tenant_spares::{label}"), move |c| purge_spares(c, own, other, true));
        }
    }
    scans(s);
    purges(s);
}

/// Writes ten records to each of the two, and gives the neighbour's back as they are stored.
async fn side_by_side(
    c: &Context,
    own: Place,
    other: Place,
) -> std::result::Result<([(String, ViewKey); 2], Vec<RecordKey>), Failure> {
    let place = |(suffix, view): Place| -> Result<(String, ViewKey)> {
        let tenant = format!("{}{suffix}", c.tenant);
        let view = ViewKey::new(&tenant, view)?;
        Ok((tenant, view))
    };
    let places = [place(own)?, place(other)?];
    for (tenant, view) in &places {
        let writes = (0..10).map(|n| Ok(FeatureWrite::new(entity(n)?, [("f", n)]).at(at(0))));
        let writes = writes.collect::<Result<Vec<_>>>()?;
        c.store.batch_write(tenant, view.view(), writes).await?.into_result()?;
    }
    let keys = (0..10).map(|n| Ok(RecordKey::new(places[1].1.clone(), entity(n)?)));
    let keys = keys.collect::<Result<Vec<_>>>()?;
    Ok((places, keys))
}

async fn fetch(c: &Context, keys: &[RecordKey]) -> Result<Vec<Option<VersionedRecord>>> {
    c.backend().get(keys, call()).await.into_iter().collect()
}

async fn clear(c: &Context, places: &[(String, ViewKey)]) -> Outcome {
    for (_, view) in places {
        c.store.purge(&Scope::View(view.clone())).await?;
    }
    Ok(())
}

async fn scan_leaves_out(c: Context, own: Place, other: Place) -> Outcome {
    let (places, _) = side_by_side(&c, own, other).await?;
    for (_, view) in &places {
        let scope = Scope::View(view.clone());
        let rows = c.scan(&scope).await?;
        holds(
            rows.iter().all(|(key, _)| key.starts_with(view.prefix())),
            "a record of a neighbour is given",
        )?;
        same(rows.len(), 10)?;
    }
    clear(&c, &places).await
}

async fn purge_spares(c: Context, own: Place, other: Place, whole_tenant: bool) -> Outcome {
    let (places, neighbours) = side_by_side(&c, own, other).await?;
    let before = fetch(&c, &neighbours).await?;
    let (tenant, view) = &places[0];
    let scope = if whole_tenant { Scope::tenant(tenant)? } else { Scope::View(view.clone()) };
    same(c.store.purge(&scope).await?.removed, 10)?;
    same(c.scan(&scope).await?, Vec::new())?;
    holds(before.iter().all(Option::is_some), "the neighbour was not there to begin with")?;
    same(fetch(&c, &neighbours).await?, before)?;
    clear(&c, &places).await
}

fn scans(s: &mut Subject<'_>) {
    s.case(
        "scan_of_an_empty_view_gives_nothing",
        |c| async move { same(c.scan(&c.scope()?).await?, Vec::new()) },
    );
    s.case("scan_gives_every_record_of_a_view", |c| async move {
        let written = write_some(&c, VIEW, 3_000).await?;
        let rows = c.scan(&c.scope()?).await?;
        // A record may be given more than once, never not at all.
        same(rows.into_iter().map(|(key, _)| key).collect::<BTreeSet<_>>(), written)
    });
    s.case("scan_gives_the_features_of_each_record", |c| async move {
        for n in 0..20 {
            c.write(&entity(n)?, [("f", n), ("g", -n)], at(0)).await?;
        }
        for (key, features) in c.scan(&c.scope()?).await? {
            let n: i64 = key.rsplit('=').next().and_then(|n| n.parse().ok()).unwrap_or(-1);
            same(features, Features::from([("f", n), ("g", -n)]))?;
        }
        Ok(())
    });
    s.case("scan_of_a_tenant_gives_all_its_views", |c| async move {
        let mut written = write_some(&c, VIEW, 20).await?;
        written.extend(write_some(&c, "other_view", 30).await?);
        let rows = c.scan(&Scope::tenant(&c.tenant)?).await?;
        same(rows.into_iter().map(|(key, _)| key).collect::<BTreeSet<_>>(), written)
    });
    s.case("scan_of_the_store_gives_this_tenant_too", |c| async move {
        let written = write_some(&c, VIEW, 10).await?;
        // Other cases may be at work in the same store, so only this one's records are looked for.
        let rows = finite(c.backend().scan(&Scope::Store)).await?;
        let keys: BTreeSet<String> =
            rows.iter().filter_map(|row| Some(row.as_ref().ok()?.0.to_string())).collect();
        holds(written.is_subset(&keys), "a record is missing")
    });
    s.case("scan_leaves_retractions_out", |c| async move {
        c.write(&entity("a")?, [("f", 1)], at(0)).await?;
        c.send(FeatureWrite::retract(entity("b")?).at(at(0))).await?;
        same(c.scan(&c.scope()?).await?.len(), 1)
    });
    s.case("scan_leaves_deleted_records_out", |c| async move {
        c.write(&entity("a")?, [("f", 1)], at(0)).await?;
        c.write(&entity("b")?, [("f", 1)], at(0)).await?;
        c.store.delete(&c.tenant, VIEW, &[entity("a")?]).await?.remove(0)?;
        same(c.scan(&c.scope()?).await?.len(), 1)
    });
    s.case("scan_is_not_held_up_by_what_has_expired", |c| async move {
        for n in 0..60 {
            let ttl = if n % 3 == 0 { Ttl::Never } else { Ttl::from_secs(60) };
            c.send(FeatureWrite::new(entity(n)?, [("f", n)]).at(at(0)).with_ttl(ttl)).await?;
        }
        c.clock.set(at(60));
        same(c.scan(&c.scope()?).await?.len(), 20)?;
        c.store.purge(&c.scope()?).await?;
        same(c.scan(&c.scope()?).await?, Vec::new())
    });
    s.case("scan_is_not_disturbed_by_deletes_beside_it", |c| async move {
        let written = write_some(&c, VIEW, 2_500).await?;
        let mut rows = c.store.scan(&c.scope()?);
        let (mut seen, mut deleted) = (BTreeSet::new(), BTreeSet::new());
        while let Some(row) = futures::StreamExt::next(&mut rows).await {
            let key = row?.0;
            holds(seen.len() < 10_000, "the scan does not end")?;
            seen.insert(key.to_string());
            // What has been given goes, so that what is counted off from the beginning moves.
            if seen.len() % 2 == 0 {
                c.store.delete(&c.tenant, VIEW, std::slice::from_ref(key.entity())).await?.remove(0)?;
                deleted.insert(key.to_string());
            }
        }
        holds(written.is_subset(&seen), "a record that was there all the time is missing")?;
        same(c.scan(&c.scope()?).await?.len(), written.len() - deleted.len())
    });
    s.case("scan_is_not_disturbed_by_writes_beside_it", |c| async move {
        let written = write_some(&c, VIEW, 500).await?;
        let mut rows = c.store.scan(&c.scope()?);
        let mut seen = BTreeSet::new();
        let mut number = 0i64;
        while let Some(row) = futures::StreamExt::next(&mut rows).await {
            seen.insert(row?.0.to_string());
            number += 1;
            holds(number < 10_000, "the scan does not end")?;
            if number <= 200 {
                c.write(&entity(format!("new-{number}"))?, [("f", number)], at(0)).await?;
                c.write(&entity(number)?, [("f", -number)], at(1)).await?;
            }
        }
        holds(written.is_subset(&seen), "a record that was there all the time is missing")
    });
}

/// Writes this many records to a view; returns their keys.
async fn write_some(c: &Context, view: &str, count: i64) -> std::result::Result<BTreeSet<String>, Failure> {
    let keys = (0..count).map(entity).collect::<Result<Vec<EntityKey>>>()?;
    let writes = keys.iter().map(|key| FeatureWrite::new(key.clone(), [("f", 1)]).at(at(0)));
    c.store.batch_write(&c.tenant, view, writes).await?.into_result()?;
    let view = ViewKey::new(&c.tenant, view)?;
    Ok(keys.into_iter().map(|key| RecordKey::new(view.clone(), key).to_string()).collect())
}

fn purges(s: &mut Subject<'_>) {
    s.case("purge_of_nothing_removes_nothing", |c| async move {
        same(c.store.purge(&c.scope()?).await?.removed, 0)?;
        same(c.store.purge(&Scope::tenant(&c.tenant)?).await?.removed, 0)
    });
    s.case("purge_removes_every_record_of_a_view", |c| async move {
        write_some(&c, VIEW, 3_000).await?;
        same(c.store.purge(&c.scope()?).await?.removed, 3_000)?;
        same(c.scan(&c.scope()?).await?, Vec::new())?;
        same(c.read(&entity(0)?).await?, None)
    });
    s.case("purge_is_seen_by_a_read_that_has_seen_the_record", |c| async move {
        let e = entity("e")?;
        c.write(&e, [("f", 1)], at(0)).await?;
        same(c.read(&e).await?.is_some(), true)?;
        c.store.purge(&c.scope()?).await?;
        same(c.read(&e).await?, None)?;
        c.write(&e, [("f", 2)], at(0)).await?;
        same(c.read(&e).await?.is_some(), true)?;
        c.store.purge(&Scope::tenant(&c.tenant)?).await?;
        same(c.read(&e).await?, None)
    });
    s.case("purge_takes_nothing_that_comes_later", |c| async move {
        write_some(&c, VIEW, 50).await?;
        c.store.purge(&c.scope()?).await?;
        write_some(&c, VIEW, 50).await?;
        c.advance(std::time::Duration::from_secs(86_400));
        same(c.scan(&c.scope()?).await?.len(), 50)?;
        same(c.read(&entity(7)?).await?.is_some(), true)
    });
    s.case("purge_counts_what_it_has_removed_as_it_goes", |c| async move {
        for n in 0..3 {
            c.write(&entity(n)?, [("f", n)], at(0)).await?;
        }
        let progress = PurgeProgress::default();
        let report = c.store.purge_with_progress(&c.scope()?, &progress).await?;
        same((report.removed, progress.removed()), (3, 3))
    });
    s.case("purge_of_a_tenant_removes_all_its_views", |c| async move {
        write_some(&c, VIEW, 20).await?;
        write_some(&c, "other_view", 30).await?;
        let scope = Scope::tenant(&c.tenant)?;
        same(c.store.purge(&scope).await?.removed, 50)?;
        same(c.scan(&scope).await?, Vec::new())
    });
    s.case("purge_of_a_view_spares_the_tenant_s_other_views", |c| async move {
        write_some(&c, VIEW, 20).await?;
        let others = write_some(&c, "other_view", 30).await?;
        c.store.purge(&c.scope()?).await?;
        let rows = c.scan(&Scope::tenant(&c.tenant)?).await?;
        same(rows.into_iter().map(|(key, _)| key).collect::<BTreeSet<_>>(), others)
    });
    s.case("purge_removes_retractions_too", |c| async move {
        let e = entity("e")?;
        c.send(FeatureWrite::retract(e.clone()).at(at(5))).await?;
        same(c.store.purge(&c.scope()?).await?.removed, 1)?;
        same(c.stored(&e).await?, None)
    });
    s.case("purge_may_be_repeated", |c| async move {
        write_some(&c, VIEW, 5).await?;
        same(c.store.purge(&c.scope()?).await?.removed, 5)?;
        same(c.store.purge(&c.scope()?).await?.removed, 0)
    });
    s.case("purge_forgets_so_that_an_older_write_may_come_again", |c| async move {
        let e = entity("e")?;
        c.write(&e, [("f", 5)], at(5)).await?;
        c.store.purge(&c.scope()?).await?;
        same(c.write(&e, [("f", 1)], at(1)).await?, feature_core::WriteOutcome::Applied)
    });
    s.case("purge_of_the_whole_store_is_refused", |c| async move {
        let e = entity("e")?;
        c.write(&e, [("f", 1)], at(0)).await?;
        refused(c.store.purge(&Scope::Store).await, ErrorKind::InvalidArgument)?;
        same(c.read(&e).await?.is_some(), true)
    });
}
