//! Every record of an entity, out of every store.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use feature_core::{CallContext, EntityKey, Error, ErrorKind, OnlineStoreBackend, RecordKey, Result, Scope};
use futures::StreamExt;

/// How many records are removed in a call.
const ROWS: usize = 500;
/// How often the stores are gone through, if there is always something left.
const PASSES: usize = 5;

/// Whose records are to go: all of the tenant's whose entity has these join keys with these values, and perhaps
/// others, in whatever view.
#[derive(Clone, Debug)]
pub struct Forget {
    /// The tenant.
    pub tenant: String,
    /// The join keys.
    pub entity: EntityKey,
    /// Whether they are only listed.
    pub dry_run: bool,
    /// How long a call on a store may take.
    pub patience: Duration,
}

/// A record of the entity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forgotten {
    /// The store's name.
    pub store: String,
    /// The record.
    pub key: RecordKey,
    /// How many bytes it had.
    pub bytes: usize,
}

/// What was done, to be kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ForgetReport {
    /// The records that were found, and, unless it was a dry run, removed.
    pub records: Vec<Forgotten>,
    /// How many records of the tenant were looked at in the last pass, by store.
    pub looked_at: Vec<(String, u64)>,
    /// Whether a pass over all stores, after the last that removed anything, found nothing.
    pub proven: bool,
}

/// How far it is, to be read meanwhile. Clones share the count.
#[derive(Clone, Debug, Default)]
pub struct ForgetProgress(Arc<AtomicU64>);

impl ForgetProgress {
    /// Records looked at, in all passes.
    pub fn looked_at(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Forget {
    /// Looks through the stores, by name, and removes what is to go, until a pass finds nothing any more: a
    /// record may come back once when it is being copied from one store to another meanwhile.
    ///
    /// # Errors
    /// What a store reports: something may be left then, and it can be run again. `Conflict` when there is
    /// always something left, since others keep writing it.
    pub async fn run(
        &self,
        stores: &[(String, Arc<dyn OnlineStoreBackend>)],
        progress: &ForgetProgress,
    ) -> Result<ForgetReport> {
        let mut report = ForgetReport::default();
        for _ in 0..PASSES {
            let before = report.records.len();
            report.looked_at.clear();
            for (name, store) in stores {
                let looked_at = self.pass(name, &**store, &mut report.records, progress).await;
                let looked_at = looked_at.map_err(|e| e.with_operation("forget"))?;
                report.looked_at.push((name.clone(), looked_at));
            }
            report.proven = report.records.len() == before;
            if report.proven || self.dry_run {
                return Ok(report);
            }
        }
        Err(Error::new(
            ErrorKind::Conflict,
            format!(
                "records of {} kept coming back in {PASSES} passes: stop what writes them, and run it again",
                self.entity
            ),
        ))
    }

    /// Goes through one store; how many records that was.
    async fn pass(
        &self,
        name: &str,
        store: &dyn OnlineStoreBackend,
        found: &mut Vec<Forgotten>,
        progress: &ForgetProgress,
    ) -> Result<u64> {
        let names: Vec<String> = self.entity.join_keys().map(|(name, _)| name.into_owned()).collect();
        let mut looked_at = 0;
        let mut keys = Vec::new();
        let mut scan = store.scan(&Scope::tenant(&self.tenant)?);
        while let Some(row) = scan.next().await {
            looked_at += 1;
            progress.0.fetch_add(1, Ordering::Relaxed);
            let (key, record) = match row {
                Ok(row) => row,
                // Not a record of anybody, or one that cannot even be named.
                Err(error) if error.kind() == ErrorKind::Corrupt => continue,
                Err(error) => return Err(error),
            };
            if key.entity().project(&names).as_ref() != Some(&self.entity) {
                continue;
            }
            keys.push(key.clone());
            found.push(Forgotten { store: name.to_owned(), key, bytes: record.bytes.len() });
            if keys.len() == ROWS {
                self.remove(store, std::mem::take(&mut keys)).await?;
            }
        }
        self.remove(store, keys).await?;
        Ok(looked_at)
    }

    async fn remove(&self, store: &dyn OnlineStoreBackend, mut keys: Vec<RecordKey>) -> Result<()> {
        if self.dry_run || keys.is_empty() {
            return Ok(());
        }
        // A scan may give a record twice, a call may not.
        keys.sort_by_cached_key(ToString::to_string);
        keys.dedup();
        let most = store.capabilities().max_batch_rows.unwrap_or(ROWS).max(1);
        for keys in keys.chunks(most) {
            let call = CallContext::with_timeout(self.patience);
            let removed = tokio::time::timeout_at(call.deadline, store.delete(keys, call)).await;
            let removed = removed.map_err(|_| {
                Error::new(ErrorKind::DeadlineExceeded, "a removal took too long").with_in_doubt(true)
            })?;
            for (key, removed) in keys.iter().zip(removed) {
                removed.map_err(|e| e.with_key(key))?;
            }
        }
        Ok(())
    }
}
