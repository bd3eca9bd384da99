//! Scans and purges: set by set, through all that each holds.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use aerospike::query::RecordStream;
use aerospike::{Bins, PartitionFilter, QueryPolicy, Record, Statement, Value};
use feature_core::{
    CallContext, Error, PurgeProgress, PurgeReport, RecordKey, Result, Scope, VersionedRecord,
};
use futures::stream::{self, BoxStream, Stream, StreamExt};

use crate::cluster::Cluster;
use crate::config::millis;
use crate::error::from_client;
use crate::info;
use crate::key::{Keys, Set};
use crate::{value, write};

/// How long one request of a purge may take, its repetitions included.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn scan(
    cluster: Arc<Cluster>,
    keys: Keys,
    scope: Scope,
) -> BoxStream<'static, Result<(RecordKey, VersionedRecord)>> {
    let inside = scope.clone();
    let rows = records(cluster, keys, scope, Bins::All).filter_map(move |found| {
        let row = found.and_then(|(set, record)| {
            let key = set.parse_key(user_key(&record)?)?;
            let inside = inside.contains(&key);
            inside
                .then(|| Ok((key.clone(), value::decode(record).map_err(|e| e.with_key(&key))?)))
                .transpose()
        });
        std::future::ready(row.transpose())
    });
    rows.boxed()
}

/// Reads the keys of the scope's records and deletes those. Truncating sets would be quicker, but neither
/// counts nor takes what has come since the purge began into account, and on the Community edition it does
/// not survive a restart.
pub(crate) async fn purge(
    cluster: &Arc<Cluster>,
    keys: &Keys,
    scope: &Scope,
    progress: &PurgeProgress,
) -> Result<PurgeReport> {
    let mut report = PurgeReport::default();
    let rows = cluster.config().batch_rows;
    let mut parts = records(Arc::clone(cluster), keys.clone(), scope.clone(), Bins::None).chunks(rows);
    while let Some(part) = parts.next().await {
        let mut keys = Vec::with_capacity(part.len());
        for found in part {
            let (set, record) = found?;
            if set.is_of_one_view() || scope.contains(&set.parse_key(user_key(&record)?)?) {
                keys.extend(record.key);
            }
        }
        let sender = cluster.sender(CallContext::with_timeout(PATIENCE), true)?;
        let deleted = write::delete_keys(&sender, keys.len(), |row| Ok(keys[row].clone())).await;
        let removed = deleted.iter().filter(|row| matches!(row, Ok(true))).count() as u64;
        report.removed += removed;
        progress.add(removed);
        deleted.into_iter().collect::<Result<Vec<_>>>()?;
    }
    Ok(report)
}

type Found = Result<(Arc<Set>, Record)>;

/// The records in the sets of a scope.
fn records(cluster: Arc<Cluster>, keys: Keys, scope: Scope, bins: Bins) -> BoxStream<'static, Found> {
    let sets = stream::once(async move {
        let existing = match scope {
            Scope::View(_) => BTreeSet::new(),
            Scope::Tenant(_) | Scope::Store => info::sets(cluster.client()?, cluster.config()).await?,
        };
        let sets = keys.sets(&scope, existing.iter().map(String::as_str));
        Ok::<_, Error>((cluster, sets))
    });
    let rows = sets.flat_map(move |sets| match sets {
        Err(error) => stream::once(async { Err(error) }).boxed(),
        Ok((cluster, sets)) => {
            let bins = bins.clone();
            let rows = move |set| records_of(Arc::clone(&cluster), set, bins.clone());
            stream::iter(sets).flat_map(rows).boxed()
        }
    });
    rows.boxed()
}

fn records_of(cluster: Arc<Cluster>, set: Set, bins: Bins) -> BoxStream<'static, Found> {
    let set = Arc::new(set);
    let name = set.name.clone();
    let started = stream::once(async move {
        let (client, config) = (cluster.client()?, cluster.config());
        let mut policy = QueryPolicy::default();
        policy.base_policy.socket_timeout = millis(config.socket_timeout.max(PATIENCE));
        let namespace = config.namespace.clone();
        let statement = Statement::new(&namespace, name, bins);
        let rows = client.query(&policy, PartitionFilter::all(), statement).await;
        match rows {
            Ok(rows) => Ok(Rows { rows: rows.into_stream(), namespace }),
            Err(error) => Err(from_client(&error, &namespace)),
        }
    });
    let rows = started.flat_map(|rows| match rows {
        Ok(rows) => rows.boxed(),
        Err(error) => stream::once(async { Err(error) }).boxed(),
    });
    rows.map(move |row| Ok((Arc::clone(&set), row?))).boxed()
}

/// What a query gives; dropped, it stops the query, which otherwise would wait for a reader for ever.
struct Rows {
    rows: RecordStream,
    namespace: String,
}

impl Stream for Rows {
    type Item = Result<Record>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = self.rows.poll_next_unpin(context);
        next.map(|row| row.map(|row| row.map_err(|error| from_client(&error, &self.namespace))))
    }
}

impl Drop for Rows {
    fn drop(&mut self) {
        self.rows.as_ref().close();
    }
}

/// The text that a record was stored under.
fn user_key(record: &Record) -> Result<&str> {
    match record.key.as_ref().and_then(|key| key.user_key()) {
        Some(Value::String(text)) => Ok(text),
        _ => Err(Error::corrupt(
            "a record has no key as this store writes it: another program has put it into the set",
        )),
    }
}
