//! What was written in the formats of earlier versions is read today, and what a later version has written is
//! refused with the reason. The files are described in `formats/README.md`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, its helpers too")]

mod formats;
#[expect(dead_code, reason = "this program uses some of it")]
mod migration;

use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;

use feature_core::{
    CallContext, ErrorKind, FeatureView, ManualClock, Record, RecordKey, Scope, StoreUrl, SystemClock,
};
use feature_store::Catalog;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use formats::{
    CALL, Files, NOW, Outcome, Store, describe_all, hex, is_read_and_goes_on,
    later_format_is_refused_and_kept, put, records, same_text, unhex,
};
use store_embedded::{EmbeddedConfig, EmbeddedOnlineStore};
use store_testkit::MapStore;
use store_testkit::servers::{AerospikeOptions, RedisOptions, Server};
use store_unified::{MigrationProgress, Phase, StartOptions};

/// Which tenant migrates in the store that was kept.
const MIGRATES: &str = "acme";

#[test]
fn records_are_read() -> Outcome {
    for files in Files::of_every_format()? {
        let records = files
            .lines::<[String; 2]>("records.jsonl")?
            .into_iter()
            .map(|[key, bytes]| Ok((RecordKey::parse(&key)?, Record::decode(&unhex(&bytes)?)?)));
        let records = records.collect::<Outcome<Vec<_>>>()?;
        same_text(&describe_all(records), &files.expected()?)?;
    }
    Ok(())
}

#[test]
fn the_newest_files_are_what_is_written_today() -> Outcome {
    let newest = Files::of_every_format()?.pop().ok_or("no files")?;
    same_text(&written_today()?, &newest.text("records.jsonl")?)?;
    same_text(&describe_all(records::all()?), &newest.expected()?)
}

fn written_today() -> Outcome<String> {
    let lines = records::all()?.into_iter().map(|(key, record)| {
        Ok(serde_json::json!([key.to_string(), hex(&record.encode()?)]).to_string() + "\n")
    });
    lines.collect()
}

#[tokio::test]
async fn an_embedded_store_is_read_and_goes_on() -> Outcome {
    for files in Files::of_every_format()? {
        let folder = tempfile::tempdir()?;
        let config = EmbeddedConfig::file(unpack(&files, folder.path())?);
        let store: Store = Arc::new(EmbeddedOnlineStore::connect(config, Arc::new(ManualClock::at(NOW)))?);
        is_read_and_goes_on(&store, &files.expected()?).await?;
        store.close().await?;
    }
    Ok(())
}

/// The store as it was kept, in a folder.
fn unpack(files: &Files, folder: &Path) -> Outcome<std::path::PathBuf> {
    let path = folder.join("old.redb");
    let mut store = Vec::new();
    GzDecoder::new(&files.bytes("embedded.redb.gz")?[..]).read_to_end(&mut store)?;
    std::fs::write(&path, store)?;
    Ok(path)
}

#[tokio::test]
async fn declared_views_and_a_migration_under_way_are_read_and_go_on() -> Outcome {
    for files in Files::of_every_format()? {
        let folder = tempfile::tempdir()?;
        let old = unpack(&files, folder.path())?;
        let catalog = Catalog::new(Arc::new(EmbeddedOnlineStore::open(&old)?), SystemClock)?;
        assert_eq!(catalog.all().await?.into_values().collect::<Vec<_>>(), [declared()]);
        drop(catalog);

        let store = open_two(folder.path()).await?;
        let [status] = &store.migrations().status().await?[..] else {
            return Err("there is no migration".into());
        };
        assert_eq!(
            (status.scope.prefix(), &*status.to, status.phase),
            ("acme:".into(), "new", Phase::Copied)
        );
        let (scope, progress) = (Scope::tenant(MIGRATES)?, MigrationProgress::default());
        // The other store was not kept: all of it is copied once more.
        store.migrations().start(&scope, "new", StartOptions::default(), &progress).await?;
        let compared = store.migrations().verify(&scope, false, &progress).await?;
        let counts = compared.counts;
        assert_eq!((counts.differing, counts.source_records), (0, counts.target_records));
        store.close().await?;
    }
    Ok(())
}

fn declared() -> FeatureView {
    let view = serde_json::json!({
        "name": "customers", "entities": ["customer_id", "country"], "ttl": "7d", "max_age": "1d",
        "features": {"orders": "int64", "tags": "list<string>", "at": "timestamp"},
    });
    serde_json::from_value(view).expect("a view")
}

async fn open_two(folder: &Path) -> feature_core::Result<store_unified::UnifiedFeatureStore> {
    let url = |name: &str| format!("\"embedded:{}\"", folder.join(name).display());
    migration::open(&migration::settings_file(folder, &url("old.redb"), &url("new.redb"))).await
}

#[tokio::test]
async fn a_record_of_a_later_format_is_refused_and_kept() -> Outcome {
    let clock = Arc::new(ManualClock::at(NOW));
    later_format_is_refused_and_kept(&(Arc::new(MapStore::new(clock.clone())) as Store)).await?;
    let embedded = Arc::new(EmbeddedOnlineStore::connect(EmbeddedConfig::default(), clock.clone())?);
    later_format_is_refused_and_kept(&(Arc::clone(&embedded) as Store)).await?;

    // When it expires is not known, whatever its header seems to say.
    let (key, record) = records::all()?.into_iter().find(|(_, record)| record.expires_at.is_some()).unwrap();
    let mut bytes = record.encode()?;
    bytes[0] = 255;
    let store: Store = Arc::clone(&embedded) as Store;
    put(&store, key.clone(), &bytes).await?;
    clock.set(record.expires_at.unwrap());
    embedded.reclaim_now().await?;
    assert!(store.get(&[key], CallContext::with_timeout(CALL)).await.remove(0)?.is_some());
    assert_eq!(embedded.verify().await.unwrap_err().kind(), ErrorKind::Unsupported);
    Ok(())
}

/// Writes the files of the current format, from today's code, to the folder that `FSTORE_FORMAT_FOLDER` names.
#[tokio::test]
#[ignore = "writes the files of a new format"]
async fn write_files() -> Outcome {
    let folder = std::env::var_os("FSTORE_FORMAT_FOLDER").ok_or("FSTORE_FORMAT_FOLDER names no folder")?;
    let files = Files::in_folder(folder.into());
    files.write("records.txt", describe_all(records::all()?))?;
    files.write("records.jsonl", written_today()?)?;
    files.write("embedded.redb.gz", embedded().await?)?;

    let server = Server::start_redis(&RedisOptions::default()).await?;
    fill(&migration::connect(&StoreUrl::parse(server.url())?).await?).await?;
    files.write("redis.jsonl", formats::redis::dump(&server).await?)?;
    let server = Server::start_aerospike(&AerospikeOptions::default()).await?;
    fill(&migration::connect(&StoreUrl::parse(server.url())?).await?).await?;
    files.write("aerospike.jsonl", formats::aerospike::dump(&server).await?)
}

async fn fill(store: &Store) -> Outcome {
    for (key, record) in records::all()? {
        put(store, key, &record.encode()?).await?;
    }
    Ok(())
}

/// An embedded store, with what the software itself keeps in one, compressed.
async fn embedded() -> Outcome<Vec<u8>> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("old.redb");
    let store = Arc::new(EmbeddedOnlineStore::open(&path)?);
    fill(&(Arc::clone(&store) as Store)).await?;
    Catalog::new(store, SystemClock)?.declare(&declared()).await?;

    let unified = open_two(folder.path()).await?;
    let (scope, progress) = (Scope::tenant(MIGRATES)?, MigrationProgress::default());
    unified.migrations().start(&scope, "new", StartOptions::default(), &progress).await?;
    unified.close().await?;
    drop(unified);

    let store = EmbeddedOnlineStore::open(&path)?;
    store.compact().await?;
    drop(store);
    let mut packed = GzEncoder::new(Vec::new(), Compression::best());
    packed.write_all(&std::fs::read(&path)?)?;
    Ok(packed.finish()?)
}
