//! What a comparison finds is what differs, and what is forgotten is nowhere any more.

#![expect(clippy::unwrap_used, reason = "the helpers of these tests may panic as the tests do")]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use feature_core::{EntityKey, OnlineStoreBackend, Record, RecordKey, Scope, SystemClock};
use feature_ops::{Diff, DiffReport, Export, ExportFiles, ExportOptions, Forget, Side, Source, inspect};
use proptest::prelude::*;

use common::{Store, contents, put, records, store};

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().worker_threads(2).build().unwrap()
}

async fn diff(a: &Source, b: &Source) -> DiffReport {
    let diff = Diff { scope: Scope::Store, examples: 1_000, patience: Duration::from_secs(60) };
    diff.run(a, b, &SystemClock, |_| true, &Default::default()).await.unwrap()
}

async fn exported(store: &Store, folder: &std::path::Path) -> Source {
    let file = folder.join(format!("{}.ndjson", fastrand::u64(..)));
    let export = Export::to_file(&file, &ExportOptions::default()).unwrap();
    export.run(&**store, &SystemClock, |_| true, &Default::default()).await.unwrap();
    Source::Export(ExportFiles::find(&[file]).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn a_comparison_finds_exactly_what_differs(
        a in records(30), b in records(30), common in records(30), exports in any::<[bool; 2]>()
    ) {
        let with = |own: Vec<(RecordKey, Record)>| -> BTreeMap<String, (RecordKey, Record)> {
            own.into_iter().chain(common.clone()).map(|(k, r)| (k.to_string(), (k, r))).collect()
        };
        let (a, b) = (with(a), with(b));
        runtime().block_on(async {
            let folder = tempfile::tempdir().unwrap();
            let mut sides = Vec::new();
            for (records, is_export) in [(&a, exports[0]), (&b, exports[1])] {
                let store = store();
                put(&store, &records.values().cloned().collect::<Vec<_>>()).await;
                sides.push(match is_export {
                    true => exported(&store, folder.path()).await,
                    false => Source::Store(store),
                });
            }
            let report = diff(&sides[0], &sides[1]).await;
            let mut found: Vec<_> =
                report.examples.iter().map(|d| (d.key.to_string(), d.only_in())).collect();
            found.sort_by(|a, b| a.0.cmp(&b.0));
            let expected: Vec<_> = a
                .keys()
                .chain(b.keys().filter(|key| !a.contains_key(*key)))
                .filter(|key| a.get(*key) != b.get(*key))
                .map(|key| match (a.contains_key(key), b.contains_key(key)) {
                    (true, true) => (key.clone(), None),
                    (true, false) => (key.clone(), Some(Side::A)),
                    _ => (key.clone(), Some(Side::B)),
                })
                .collect::<BTreeMap<_, _>>()
                .into_iter()
                .collect();
            assert_eq!(report.is_equal(), expected.is_empty());
            assert_eq!((report.records_a, report.records_b), (a.len() as u64, b.len() as u64));
            assert_eq!(report.only_a + report.only_b + report.differing, expected.len() as u64);
            assert_eq!(found, expected);
        });
    }

    #[test]
    fn what_is_forgotten_is_in_no_store_and_nothing_else_is_missing(
        mine in records(40), other in records(40), name in "[ab]", value in "[0-9]"
    ) {
        let entity = EntityKey::new(&name, value).unwrap();
        runtime().block_on(async {
            let stores: Vec<(String, Store)> = vec![("one".to_owned(), store()), ("two".to_owned(), store())];
            put(&stores[0].1, &mine).await;
            put(&stores[1].1, &other).await;
            let is_meant = |key: &RecordKey| {
                key.view().tenant() == "a"
                    && key.entity().value_of(&name) == entity.value_of(&name)
            };
            let rest = |records: &[(RecordKey, Record)]| {
                let mut rest: Vec<_> = records
                    .iter()
                    .filter(|(key, _)| !is_meant(key))
                    .map(|(key, record)| (key.to_string(), record.encode().unwrap()))
                    .collect();
                rest.sort();
                rest
            };
            let meant = mine.iter().chain(&other).filter(|(key, _)| is_meant(key)).count();
            let mut forget = Forget {
                tenant: "a".to_owned(),
                entity: entity.clone(),
                dry_run: true,
                patience: Duration::from_secs(60),
            };
            let before = (contents(&stores[0].1).await, contents(&stores[1].1).await);
            let report = forget.run(&stores, &Default::default()).await.unwrap();
            assert_eq!((report.records.len(), &report.proven), (meant, &(meant == 0)));
            assert_eq!((contents(&stores[0].1).await, contents(&stores[1].1).await), before);
            forget.dry_run = false;
            let report = forget.run(&stores, &Default::default()).await.unwrap();
            assert_eq!((report.records.len(), report.proven), (meant, true));
            assert_eq!(contents(&stores[0].1).await, rest(&mine));
            assert_eq!(contents(&stores[1].1).await, rest(&other));
        });
    }
}

#[tokio::test]
async fn a_record_is_shown_as_it_lies_there() {
    let store = store();
    let key = RecordKey::parse("t:v:id=1").unwrap();
    let look = |store: &Store| {
        let (store, key) = (Arc::clone(store), key.clone());
        async move { inspect(&store, &key, &SystemClock, Duration::from_secs(60)).await.unwrap() }
    };
    assert!(look(&store).await.is_none());
    let record = Record::of_write(common::at(5), Some(common::at(6)), [("a", 1)].into());
    put(&store, &[(key.clone(), record.clone())]).await;
    let found = look(&store).await.unwrap();
    assert_eq!((found.bytes, found.format), (record.encode().unwrap().len(), 1));
    assert_eq!((found.record.unwrap(), found.left), (record, Some(Duration::ZERO)));
    let _: &dyn OnlineStoreBackend = &*store;
}
