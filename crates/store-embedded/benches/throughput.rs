//! Throughput of the embedded store against plain `redb` gets and puts of the same bytes, both on a file
//! in a temporary directory, both with commits that do not wait for the disk.
#![allow(clippy::expect_used, reason = "a benchmark that cannot go on may stop")]

use std::error::Error;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use feature_core::{OnlineStore, StoreUrl, SystemClock};
use redb::{Database, Durability, ReadableDatabase, TableDefinition};
use store_embedded::{EmbeddedConfig, EmbeddedOnlineStore};
use store_testkit::bench::{BenchOptions, RawStore, report, throughput};

const TABLE: TableDefinition<&str, &[u8]> = TableDefinition::new("records");

struct Raw(Database);

#[async_trait]
impl RawStore for Raw {
    async fn get(&self, keys: &[String]) -> Vec<Vec<u8>> {
        let transaction = self.0.begin_read().expect("a read transaction");
        let table = transaction.open_table(TABLE).expect("the table");
        let value =
            |key: &String| table.get(key.as_str()).expect("a read").expect("a value").value().to_vec();
        keys.iter().map(value).collect()
    }

    async fn put(&self, rows: &[(String, Bytes)]) {
        let mut transaction = self.0.begin_write().expect("a write transaction");
        transaction.set_durability(Durability::None).expect("durability");
        {
            let mut table = transaction.open_table(TABLE).expect("the table");
            for (key, value) in rows {
                table.insert(key.as_str(), &value[..]).expect("a write");
            }
        }
        transaction.commit().expect("a commit");
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let Some(options) = BenchOptions::from_args() else { return Ok(()) };
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("ours.redb");
    let url = format!("embedded:{}?durability=off&cache_mb=256", file.display());
    let config = EmbeddedConfig::from_url(&StoreUrl::parse(&url)?)?;
    let store = OnlineStore::new(Arc::new(EmbeddedOnlineStore::connect(config, Arc::new(SystemClock))?));
    let raw = Raw(Database::builder().set_cache_size(256 << 20).create(folder.path().join("raw.redb"))?);
    let results = throughput(&options, &store, &raw).await?;
    report(&options, "embedded", &results)?;
    store.close().await?;
    Ok(())
}
