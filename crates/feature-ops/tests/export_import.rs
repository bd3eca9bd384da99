//! What is exported comes back byte for byte, whatever interrupts it, and without harm to what is newer.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "the helpers of these tests may panic as the tests do"
)]

mod common;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use feature_core::{
    BackendWrapper, CallContext, EntityKey, Error, ErrorKind, FeatureWrite, Features, OnlineStore,
    OnlineStoreBackend, PutOutcome, Record, RecordKey, RecordPut, Result, Scope, SystemClock, Ttl,
    VersionedRecord, ViewKey,
};
use feature_ops::{
    Export, ExportFiles, ExportOptions, ExportReport, Folder, Format, Import, ImportCheckpoint,
    ImportOptions, ImportProgress, MANIFEST, ObjectFolder, OpsError,
};
use futures::stream::{self, BoxStream, StreamExt};
use proptest::prelude::*;

use common::{Store, at, contents, put, records, store};

fn options(format: Format, part_records: u64) -> ExportOptions {
    ExportOptions { format, part_records, ..ExportOptions::default() }
}

async fn export(store: &Store, folder: &Path, options: &ExportOptions) -> Result<ExportReport, OpsError> {
    let export = Export::to_folder(folder, options, &SystemClock)?;
    export.run(&**store, &SystemClock, |_| true, &Default::default()).await
}

async fn import(files: &ExportFiles, store: &Store) -> ImportProgress {
    let import = Import::new(files.clone(), ImportOptions::default());
    let handle = OnlineStore::new(Arc::clone(store));
    import.run(&handle, |_| true, |_, _| (), |error| panic!("{error}")).await.unwrap()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().worker_threads(2).build().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_round_trip_is_exact(
        records in records(30),
        format in prop_oneof![Just(Format::Parquet), Just(Format::Ndjson)],
        part in 1..40_u64,
        one_file in any::<bool>(),
    ) {
        runtime().block_on(async {
            let (source, target, folder) = (store(), store(), tempfile::tempdir().unwrap());
            put(&source, &records).await;
            let mut path = folder.path().join("export");
            let report = if one_file {
                path = path.with_extension(format.extension());
                let export = Export::to_file(&path, &ExportOptions::default()).unwrap();
                export.run(&*source, &SystemClock, |_| true, &Default::default()).await.unwrap()
            } else {
                export(&source, &path, &options(format, part)).await.unwrap()
            };
            assert_eq!((report.records, report.damaged), (records.len() as u64, 0));
            let files = ExportFiles::find(&[&path]).unwrap();
            assert_eq!(import(&files, &target).await.applied, records.len() as u64);
            assert_eq!(contents(&target).await, contents(&source).await);
            assert_eq!(import(&files, &target).await.superseded, records.len() as u64, "again");
            assert_eq!(contents(&target).await, contents(&source).await);
        });
    }

    #[test]
    fn an_import_is_the_merge_of_both(pairs in (records(20), records(20))) {
        runtime().block_on(async {
            let (source, target, folder) = (store(), store(), tempfile::tempdir().unwrap());
            put(&source, &pairs.0).await;
            put(&target, &pairs.1).await;
            let file = folder.path().join("all.parquet");
            let written = Export::to_file(&file, &ExportOptions::default()).unwrap();
            written.run(&*source, &SystemClock, |_| true, &Default::default()).await.unwrap();
            import(&ExportFiles::find(&[&file]).unwrap(), &target).await;

            let mut expected: BTreeMap<String, Record> =
                pairs.0.iter().map(|(key, record)| (key.to_string(), record.clone())).collect();
            for (key, stored) in &pairs.1 {
                let merged = match expected.remove(&key.to_string()) {
                    Some(exported) => feature_core::merge(exported, stored.clone()),
                    None => stored.clone(),
                };
                expected.insert(key.to_string(), merged);
            }
            let expected: Vec<_> = expected.into_iter().map(|(key, r)| (key, r.encode().unwrap())).collect();
            assert_eq!(contents(&target).await, expected);
        });
    }
}

/// `n` records of a view, each a write.
fn many(n: i64) -> Vec<(RecordKey, Record)> {
    let view = ViewKey::new("t", "v").unwrap();
    let record = |id: i64| Record::of_write(at(id), None, Features::from([("a", id), ("b", -id)]));
    (0..n).map(|id| (RecordKey::new(view.clone(), EntityKey::new("id", id).unwrap()), record(id))).collect()
}

/// A store whose scan breaks off.
#[derive(Debug)]
struct BreaksOff {
    inner: Store,
    after: usize,
}

impl BackendWrapper for BreaksOff {
    fn inner(&self) -> &dyn OnlineStoreBackend {
        &*self.inner
    }

    async fn get(&self, keys: &[RecordKey], call: CallContext) -> Vec<Result<Option<VersionedRecord>>> {
        self.inner.get(keys, call).await
    }

    async fn put(&self, puts: Vec<RecordPut>, call: CallContext) -> Vec<Result<PutOutcome>> {
        self.inner.put(puts, call).await
    }

    async fn delete(&self, keys: &[RecordKey], call: CallContext) -> Vec<Result<bool>> {
        self.inner.delete(keys, call).await
    }

    fn scan(&self, scope: &Scope) -> BoxStream<'static, Result<(RecordKey, VersionedRecord)>> {
        let lost = Error::new(ErrorKind::Unavailable, "the connection was lost");
        self.inner.scan(scope).take(self.after).chain(stream::iter([Err(lost)])).boxed()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_that_is_stopped_again_and_again_ends_whole() {
    let (source, target, folder) = (store(), store(), tempfile::tempdir().unwrap());
    put(&source, &many(9_500)).await;
    for format in [Format::Parquet, Format::Ndjson] {
        let path = folder.path().join(format.extension());
        let options = options(format, 700);
        let mut resumed = 0;
        for round in 1..10 {
            let breaks: Store = Arc::new(BreaksOff { inner: source.clone(), after: round * 1_000 + 7 });
            let stopped = export(&breaks, &path, &options).await.unwrap_err();
            assert!(matches!(stopped, OpsError::Store(_)), "{stopped}");
            // What was under way when the process died, and must not be taken for a part.
            std::fs::write(path.join(".part-00099.parquet.new"), "half").unwrap();
            let files = ExportFiles::find(&[&path]).unwrap();
            assert!(files.is_unfinished());
            let known = Export::to_folder(&path, &options, &SystemClock).unwrap().resumed();
            assert!(known > resumed, "{known} after {resumed}");
            resumed = known;
        }
        let report = export(&source, &path, &options).await.unwrap();
        assert_eq!((report.records, report.resumed), (9_500, resumed));
        let files = ExportFiles::find(&[&path]).unwrap();
        assert!(!files.is_unfinished());
        assert_eq!(import(&files, &target).await.read, 9_500, "each record is there once");
        assert_eq!(contents(&target).await, contents(&source).await);
        let again = export(&source, &path, &options).await.unwrap_err();
        assert!(matches!(&again, OpsError::Request(message) if message.contains("whole export")), "{again}");
    }
}

/// A folder of an object store, in memory.
#[derive(Debug, Default)]
struct InMemory(Mutex<BTreeMap<String, Vec<u8>>>);

impl ObjectFolder for InMemory {
    fn url(&self) -> &str {
        "memory://backup"
    }

    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        let objects = self.0.lock().unwrap();
        Ok(objects.iter().map(|(name, bytes)| (name.clone(), bytes.len() as u64)).collect())
    }

    fn get(&self, name: &str, to: &mut File) -> io::Result<bool> {
        let objects = self.0.lock().unwrap();
        objects.get(name).map_or(Ok(false), |bytes| to.write_all(bytes).map(|()| true))
    }

    fn put(&self, name: &str, from: &mut File) -> io::Result<()> {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes)?;
        self.0.lock().unwrap().insert(name.to_owned(), bytes);
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_to_objects_goes_on_where_it_stopped_and_comes_back() {
    let (source, target) = (store(), store());
    put(&source, &many(5_000)).await;
    let objects = Arc::new(InMemory::default());
    let folder = || Folder::Objects(objects.clone());
    let options = options(Format::Parquet, 700);
    for after in [1_500, 3_000] {
        let breaks: Store = Arc::new(BreaksOff { inner: source.clone(), after });
        let export = Export::to_folder(folder(), &options, &SystemClock).unwrap();
        export.run(&*breaks, &SystemClock, |_| true, &Default::default()).await.unwrap_err();
    }
    let export = Export::to_folder(folder(), &options, &SystemClock).unwrap();
    assert_eq!(export.resumed(), 3_000);
    let report = export.run(&*source, &SystemClock, |_| true, &Default::default()).await.unwrap();
    assert_eq!(report.records, 5_000);
    let files = ExportFiles::of_folder(folder()).unwrap();
    assert!(!files.is_unfinished());
    assert_eq!(import(&files, &target).await.applied, 5_000);
    assert_eq!(contents(&target).await, contents(&source).await);

    objects.0.lock().unwrap().remove("part-00001.parquet");
    let lost = ExportFiles::of_folder(folder()).unwrap_err().to_string();
    assert_eq!(lost, "cannot read memory://backup/part-00001.parquet: it is not there any more");
}

/// A store that gives its records in any order, and notes the order in which it gets some.
#[derive(Debug)]
struct Unordered {
    inner: Store,
    rows: Vec<(RecordKey, VersionedRecord)>,
    got: Mutex<Vec<String>>,
}

impl BackendWrapper for Unordered {
    fn inner(&self) -> &dyn OnlineStoreBackend {
        &*self.inner
    }

    async fn get(&self, keys: &[RecordKey], call: CallContext) -> Vec<Result<Option<VersionedRecord>>> {
        self.inner.get(keys, call).await
    }

    async fn put(&self, puts: Vec<RecordPut>, call: CallContext) -> Vec<Result<PutOutcome>> {
        self.got.lock().unwrap().extend(puts.iter().map(|put| put.key.to_string()));
        self.inner.put(puts, call).await
    }

    async fn delete(&self, keys: &[RecordKey], call: CallContext) -> Vec<Result<bool>> {
        self.inner.delete(keys, call).await
    }

    fn scan(&self, _: &Scope) -> BoxStream<'static, Result<(RecordKey, VersionedRecord)>> {
        stream::iter(self.rows.clone()).map(Ok).boxed()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn records_are_imported_in_the_order_of_their_keys() {
    let (inner, folder) = (store(), tempfile::tempdir().unwrap());
    put(&inner, &many(9_500)).await;
    let mut rows: Vec<_> = inner.scan(&Scope::Store).map(Result::unwrap).collect().await;
    fastrand::shuffle(&mut rows);
    let source: Store = Arc::new(Unordered { inner, rows, got: Mutex::default() });
    export(&source, folder.path(), &options(Format::Parquet, 700)).await.unwrap();
    let target = Arc::new(Unordered { inner: store(), rows: Vec::new(), got: Mutex::default() });
    let files = ExportFiles::of_folder(folder.path()).unwrap();
    let import = Import::new(files, ImportOptions { concurrency: 1 });
    import.run(&OnlineStore::new(target.clone()), |_| true, |_, _| (), |e| panic!("{e}")).await.unwrap();
    let got = target.got.lock().unwrap();
    assert_eq!(got.len(), 9_500);
    assert!(got.is_sorted());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_goes_on_where_it_stopped() {
    let (source, target, folder) = (store(), store(), tempfile::tempdir().unwrap());
    put(&source, &many(9_500)).await;
    export(&source, folder.path(), &options(Format::Ndjson, 2_500)).await.unwrap();
    let files = ExportFiles::find(&[folder.path()]).unwrap();
    let handle = OnlineStore::new(target.clone());
    let mut at = None;
    let mut read = 0;
    for _ in 0..20 {
        let mut import = Import::new(files.clone(), ImportOptions { concurrency: 2 });
        if let Some(at) = at.clone() {
            import = import.resume(at).unwrap();
        }
        let (mut batches, stop) = (0, tokio::sync::Notify::new());
        let mut reached: Option<(ImportCheckpoint, u64)> = None;
        let tell = |progress: &ImportProgress, checkpoint: &ImportCheckpoint| {
            batches += 1;
            reached = Some((checkpoint.clone(), progress.read));
            if batches == 2 {
                stop.notify_one();
            }
        };
        let ended = tokio::select! {
            biased;
            () = stop.notified() => None,
            done = import.run(&handle, |_| true, tell, |error| panic!("{error}")) => Some(done.unwrap()),
        };
        let (checkpoint, rows) = reached.unwrap();
        read += rows;
        // As a file keeps it.
        at = Some(serde_json::from_str(&serde_json::to_string(&checkpoint).unwrap()).unwrap());
        if ended.is_some() {
            break;
        }
    }
    assert_eq!(read, 9_500, "nothing was read twice, or left out");
    assert_eq!(contents(&target).await, contents(&source).await);

    std::fs::write(folder.path().join("other.ndjson"), "{}\n").unwrap();
    let other = ExportFiles::find(&[folder.path().join("other.ndjson")]).unwrap();
    assert!(Import::new(other, ImportOptions::default()).resume(at.unwrap()).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_into_a_store_that_is_written_loses_nothing_newer() {
    const ENTITIES: i64 = 2_000;
    let (source, target, folder) = (store(), store(), tempfile::tempdir().unwrap());
    put(&source, &many(ENTITIES)).await;
    export(&source, folder.path(), &options(Format::Parquet, 500)).await.unwrap();
    let files = ExportFiles::find(&[folder.path()]).unwrap();
    let handle = OnlineStore::new(target.clone());
    let done = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..3_i64)
        .map(|writer| {
            let (handle, done) = (handle.clone(), Arc::clone(&done));
            tokio::spawn(async move {
                let mut written = Vec::new();
                for round in 0_i64.. {
                    let id = fastrand::i64(0..ENTITIES);
                    // Newer than the export, or, of feature `b`, older.
                    let (name, time) = if round % 2 == 0 { ("a", 1 << 40) } else { ("b", -(1 << 40)) };
                    let time = time + round * 3 + writer;
                    let write =
                        FeatureWrite::new(EntityKey::new("id", id).unwrap(), [(name, time)]).at(at(time));
                    handle.batch_write("t", "v", [write]).await.unwrap().into_result().unwrap();
                    written.push((id, name, time));
                    if done.load(Ordering::Relaxed) && round > 500 {
                        break;
                    }
                }
                written
            })
        })
        .collect();
    import(&files, &target).await;
    done.store(true, Ordering::Relaxed);
    let mut expected: Vec<(i64, i64)> = (0..ENTITIES).map(|id| (id, -id)).collect();
    let mut newest = vec![0; ENTITIES as usize];
    for writer in writers {
        for (id, name, time) in writer.await.unwrap() {
            if name == "a" && time >= newest[id as usize] {
                (newest[id as usize], expected[id as usize].0) = (time, time);
            }
        }
    }
    for (id, (a, b)) in (0..).zip(expected) {
        let entity = EntityKey::new("id", id).unwrap();
        let row = handle.read_features("t", "v", &entity, None).await.unwrap().unwrap();
        assert_eq!((row.get("a"), row.get("b")), (Some(&a.into()), Some(&b.into())), "{id}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_expired_is_left_out_and_what_is_damaged_is_told() {
    let (source, folder) = (store(), tempfile::tempdir().unwrap());
    put(&source, &many(3)).await;
    let handle = OnlineStore::new(source.clone());
    let ttl = Ttl::After(std::time::Duration::from_micros(1));
    let gone = FeatureWrite::new(EntityKey::new("id", 9).unwrap(), [("a", 1)]).with_ttl(ttl);
    handle.batch_write("t", "v", [gone]).await.unwrap().into_result().unwrap();
    let mut damaged = many(5).pop().unwrap().1.encode().unwrap();
    *damaged.last_mut().unwrap() ^= 1;
    let broken = RecordPut {
        key: many(5).pop().unwrap().0,
        event_time: at(4),
        shape: 0,
        ttl: None,
        precondition: feature_core::Precondition::NotNewer,
        bytes: damaged.into(),
    };
    source.put(vec![broken], common::call()).await.pop().unwrap().unwrap();
    let report = export(&source, folder.path(), &options(Format::Parquet, 500)).await.unwrap();
    assert_eq!((report.records, report.damaged), (3, 1));
    assert!(report.failures[0].to_string().contains("t:v:id=4"), "{:?}", report.failures);
}

#[tokio::test(flavor = "multi_thread")]
async fn other_folders_and_files_are_refused() {
    let (source, folder) = (store(), tempfile::tempdir().unwrap());
    let options = options(Format::Parquet, 500);
    let refused = |result: Result<ExportReport, OpsError>, says: &str| match result {
        Err(OpsError::Request(message)) => assert!(message.contains(says), "{message}"),
        other => panic!("{other:?}"),
    };
    std::fs::write(folder.path().join("letter.txt"), "dear").unwrap();
    refused(export(&source, folder.path(), &options).await, "has other files");
    assert!(!folder.path().join(MANIFEST).exists());

    let mine = folder.path().join("mine");
    let breaks: Store = Arc::new(BreaksOff { inner: source.clone(), after: 0 });
    assert!(export(&breaks, &mine, &options).await.is_err());
    let other = ExportOptions { scope: Scope::tenant("t").unwrap(), ..options.clone() };
    refused(export(&source, &mine, &other).await, "of other records");
    export(&source, &mine, &options).await.unwrap();

    assert!(ExportFiles::find(&[folder.path()]).is_err(), "a folder without an export");
    assert!(ExportFiles::find(&[folder.path().join("letter.txt")]).is_err());
    let cut = folder.path().join("cut.ndjson");
    std::fs::write(&cut, "{\"tenant\":\"t\"").unwrap();
    let import = Import::new(ExportFiles::find(&[&cut]).unwrap(), ImportOptions::default());
    let cut = import.run(&OnlineStore::new(source), |_| true, |_, _| (), |_| ()).await.unwrap_err();
    assert!(cut.to_string().contains("line 1 is cut off"), "{cut}");
}
