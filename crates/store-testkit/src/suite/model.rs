//! Random operations against the reference model.

use std::sync::Arc;
use std::time::Duration;

use feature_core::{
    Clock, EntityKey, FeatureValue, FeatureWrite, Features, RecordKey, Result, Scope, Ttl, ViewKey, WriteMode,
};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestCaseError, TestError, TestRunner};
use tokio::runtime::Handle;

use crate::case::{Context, Failure, Outcome, Subject, failure, finite, same};
use crate::model::{Model, ModelRow};
use crate::unhurried::Unhurried;

/// How many sequences of operations a case tries.
const SEQUENCES: u32 = 48;

const TENANTS: [&str; 2] = ["", "_v"];
const VIEWS: [&str; 2] = ["v", "v_v"];
const FEATURES: [&str; 4] = ["a", "b", "c", "d"];

#[derive(Clone, Debug)]
enum Step {
    Write { place: Place, rows: Vec<Row> },
    Read { place: Place, entities: Vec<usize>, names: Option<Vec<&'static str>>, max_age: Option<Duration> },
    Delete { place: Place, entity: usize },
    Advance(Duration),
    Scan(Place),
    Purge(Place),
}

/// Index of a tenant, and of a view, of which there may be none in a scope of a whole tenant.
#[derive(Clone, Copy, Debug)]
struct Place {
    tenant: usize,
    view: usize,
}

#[derive(Clone, Debug)]
struct Row {
    entity: usize,
    /// Seconds from where the clock began; `None` is now.
    second: Option<i64>,
    features: Vec<(&'static str, FeatureValue)>,
    mode: WriteMode,
    ttl: Ttl,
}

pub(super) fn add(s: &mut Subject<'_>) {
    s.case("writes_and_reads_of_one_entity", |c| {
        agrees(c, || prop_oneof![6 => writes(1, 1), 2 => reads(1, 1)].boxed())
    });
    s.case("writes_that_expire", |c| {
        agrees(c, || prop_oneof![4 => writes(2, 1), 3 => advances(), 1 => reads(2, 1)].boxed())
    });
    s.case("batches_over_several_entities", |c| {
        agrees(c, || prop_oneof![4 => writes(3, 6), 1 => reads(3, 6)].boxed())
    });
    s.case("deletes_and_purges_among_writes", |c| {
        agrees(c, || prop_oneof![4 => writes(3, 2), 3 => removals(), 1 => reads(3, 2)].boxed())
    });
    s.case("everything_at_once", |c| {
        agrees(c, || {
            prop_oneof![4 => writes(3, 3), 2 => advances(), 2 => reads(3, 3), 1 => removals()].boxed()
        })
    });
}

fn removals() -> impl Strategy<Value = Step> {
    prop_oneof![
        (places(), 0..3usize).prop_map(|(place, entity)| Step::Delete { place, entity }),
        places().prop_map(Step::Scan),
        places().prop_map(Step::Purge),
    ]
}

fn places() -> impl Strategy<Value = Place> {
    (0..TENANTS.len(), 0..VIEWS.len()).prop_map(|(tenant, view)| Place { tenant, view })
}

fn writes(entities: usize, rows: usize) -> impl Strategy<Value = Step> {
    let value = prop_oneof![
        4 => any::<i8>().prop_map(|v| FeatureValue::Int64(v.into())),
        1 => Just(FeatureValue::Null),
        1 => "[a-z]{0,8}".prop_map(FeatureValue::String),
        1 => any::<u64>().prop_map(|bits| FeatureValue::Float64(f64::from_bits(bits))),
    ];
    let features = prop::collection::vec((select(&FEATURES[..]), value), 0..4);
    let ttl =
        prop_oneof![3 => Just(Ttl::Never), 2 => select(vec![60, 61, 120, 3_600]).prop_map(Ttl::from_secs)];
    let mode = prop_oneof![3 => Just(WriteMode::Merge), 1 => Just(WriteMode::Replace)];
    let row = (0..entities, prop::option::weighted(0.8, -6..6i64), features, mode, ttl).prop_map(
        |(entity, second, features, mode, ttl)| {
            // A merge needs a feature; a replace of none is a retraction.
            let mode = if features.is_empty() { WriteMode::Replace } else { mode };
            Row { entity, second, features, mode, ttl }
        },
    );
    (places(), prop::collection::vec(row, 1..=rows)).prop_map(|(place, rows)| Step::Write { place, rows })
}

fn reads(entities: usize, rows: usize) -> impl Strategy<Value = Step> {
    let names = prop::collection::vec(select(vec!["a", "b", "c", "d", "e"]), 0..4);
    let max_age = select(vec![0, 1, 3, 60]).prop_map(Duration::from_secs);
    (
        places(),
        prop::collection::vec(0..entities, 1..=rows + 1),
        prop::option::of(names),
        prop::option::weighted(0.3, max_age),
    )
        .prop_map(|(place, entities, names, max_age)| Step::Read { place, entities, names, max_age })
}

fn advances() -> impl Strategy<Value = Step> {
    select(vec![1, 999_999, 30_000_000, 59_999_999, 60_000_000, 3_600_000_000])
        .prop_map(|micros| Step::Advance(Duration::from_micros(micros)))
}

/// Whether backend and model agree on each of many random sequences; a failure is shrunk and printed.
async fn agrees(c: Context, step: fn() -> BoxedStrategy<Step>) -> Outcome {
    let handle = Handle::current();
    let work = move || {
        let config = Config {
            cases: SEQUENCES,
            max_shrink_iters: 500,
            failure_persistence: None,
            ..Config::default()
        };
        let run = |steps: Vec<Step>| {
            let outcome = handle.block_on(play(&c, &steps));
            outcome.map_err(|failure| TestCaseError::fail(failure.to_string()))
        };
        TestRunner::new(config).run(&prop::collection::vec(step(), 1..24), run)
    };
    let result = tokio::task::spawn_blocking(work).await.map_err(|e| failure(e.to_string()))?;
    result.map_err(|error| match error {
        TestError::Fail(reason, steps) => failure(format!("{reason}\n  after the steps {steps:#?}")),
        TestError::Abort(reason) => failure(reason.to_string()),
    })
}

/// One sequence, in tenants of its own.
async fn play(c: &Context, steps: &[Step]) -> Outcome {
    let c = c.as_tenant(format!("{}-{:08x}", c.tenant, fastrand::u32(..)));
    // Clocks advance to just before an expiry here, and stay there while the server's goes on.
    let c = c.over(Arc::new(Unhurried(c.backend().clone())))?;
    let begin = c.clock.now();
    let mut model = Model::new(begin);
    for step in steps {
        match step {
            Step::Advance(by) => {
                c.advance(*by);
                model.now = c.clock.now();
            }
            Step::Write { place, rows } => {
                let view = view(&c, *place)?;
                let write = |row: &Row| -> Result<FeatureWrite> {
                    let features: Features = row.features.iter().cloned().collect();
                    let timestamp = row.second.map(|second| {
                        feature_core::Timestamp::from_micros(begin.as_micros() + second * 1_000_000)
                    });
                    let (mode, ttl) = (row.mode, Some(row.ttl));
                    Ok(FeatureWrite { timestamp, ttl, mode, ..FeatureWrite::new(key(row.entity)?, features) })
                };
                let writes = rows.iter().map(write).collect::<Result<Vec<_>>>()?;
                let expected = model.write(&view, &writes);
                let report = c.store.batch_write(view.tenant(), view.view(), writes).await?;
                same(report.rows().iter().cloned().collect::<Result<Vec<_>>>()?, expected)?;
            }
            Step::Read { place, entities, names, max_age } => {
                let view = view(&c, *place)?;
                let keys = entities.iter().map(|entity| key(*entity)).collect::<Result<Vec<_>>>()?;
                check_reads(&c, &model, &view, &keys, names.as_deref(), *max_age).await?;
            }
            Step::Delete { place, entity } => {
                let view = view(&c, *place)?;
                let entity = key(*entity)?;
                let expected = model.delete(&RecordKey::new(view.clone(), entity.clone()));
                let found = c.store.delete(view.tenant(), view.view(), &[entity]).await?.remove(0)?;
                same(expected.unwrap_or(found), found)?;
            }
            Step::Scan(place) => {
                for scope in scopes(&c, *place)? {
                    check_scan(&c, &model, &scope).await?;
                }
            }
            Step::Purge(place) => {
                let [scope, _] = scopes(&c, *place)?;
                let (least, most) = model.purge(&scope);
                let removed = c.store.purge(&scope).await?.removed;
                same((least..=most).contains(&removed), true)?;
            }
        }
    }
    // Whatever the steps were, in the end every record is as the model has it.
    for tenant in 0..TENANTS.len() {
        for index in 0..VIEWS.len() {
            let view = view(&c, Place { tenant, view: index })?;
            let keys = (0..3).map(key).collect::<Result<Vec<_>>>()?;
            check_reads(&c, &model, &view, &keys, None, None).await?;
        }
        c.store.purge(&Scope::tenant(&tenant_name(&c, tenant))?).await?;
    }
    Ok(())
}

fn tenant_name(c: &Context, tenant: usize) -> String {
    format!("{}{}", c.tenant, TENANTS[tenant])
}

fn view(c: &Context, place: Place) -> Result<ViewKey> {
    ViewKey::new(&tenant_name(c, place.tenant), VIEWS[place.view])
}

/// The view of a place, and its tenant.
fn scopes(c: &Context, place: Place) -> Result<[Scope; 2]> {
    Ok([Scope::View(view(c, place)?), Scope::tenant(&tenant_name(c, place.tenant))?])
}

fn key(number: usize) -> Result<EntityKey> {
    EntityKey::new("id", number.to_string())
}

async fn check_reads(
    c: &Context,
    model: &Model,
    view: &ViewKey,
    keys: &[EntityKey],
    names: Option<&[&str]>,
    max_age: Option<Duration>,
) -> std::result::Result<(), Failure> {
    let store = max_age.map_or_else(|| c.store.clone(), |max_age| c.store.with_max_age(max_age));
    let rows = store.batch_read(view.tenant(), view.view(), keys, names).await?;
    same(rows.len(), keys.len())?;
    for (entity, row) in keys.iter().zip(rows) {
        let expected = model.read(&RecordKey::new(view.clone(), entity.clone()), names, max_age);
        same(row?.as_ref().map(ModelRow::from), expected)?;
    }
    Ok(())
}

async fn check_scan(c: &Context, model: &Model, scope: &Scope) -> Outcome {
    let mut found = Vec::new();
    for row in finite(c.store.scan(scope)).await? {
        let (key, row) = row?;
        same(Some(ModelRow::from(&row)), model.read(&key, None, None))?;
        found.push(key.to_string());
    }
    found.sort();
    found.dedup();
    let mut expected: Vec<String> = model.scan(scope).iter().map(ToString::to_string).collect();
    expected.sort();
    same(found, expected)
}
