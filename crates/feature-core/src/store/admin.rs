//! Everything that is neither a read nor a write of features.

use std::collections::HashMap;

use futures::stream::{BoxStream, StreamExt};

use super::{Distinct, OnlineStore, RequestInfo};
use crate::backend::{Capabilities, Health, PurgeProgress, PurgeReport};
use crate::entity::EntityKey;
use crate::error::{Error, Result};
use crate::key::{RecordKey, Scope};
use crate::row::{FeatureRow, RowDecoder};

impl OnlineStore {
    /// Removes records at once and physically; for each key whether there was one. Unlike a
    /// [retraction](crate::FeatureWrite::retract) it leaves no trace: a late write may create the record
    /// again.
    ///
    /// # Errors
    /// `InvalidArgument` for an empty name. Everything else is the error of its row.
    pub async fn delete(
        &self,
        tenant_id: &str,
        feature_view: &str,
        entity_keys: &[EntityKey],
    ) -> Result<Vec<Result<bool>>> {
        let work = self.delete_rows(tenant_id, feature_view, entity_keys);
        let Some(observer) = &self.observer else { return work.await };
        let request = RequestInfo { tenant_id, feature_view: Some(feature_view), rows: entity_keys.len() };
        observer.delete(request, Box::pin(work)).await
    }

    async fn delete_rows(
        &self,
        tenant_id: &str,
        feature_view: &str,
        entity_keys: &[EntityKey],
    ) -> Result<Vec<Result<bool>>> {
        let view = self.view_key(tenant_id, feature_view).map_err(|e| self.error("delete", e))?;
        let mut distinct = Distinct::with_capacity(entity_keys.len());
        let mut keys = Vec::with_capacity(entity_keys.len());
        let number = |entity| {
            let key = self.key(&view, entity)?;
            let number = distinct.number(entity);
            if number == keys.len() {
                keys.push(key);
            }
            Ok(number)
        };
        let places: Vec<Result<usize>> = entity_keys.iter().map(number).collect();
        let call = self.call();
        let mut deleted = Vec::with_capacity(keys.len());
        for keys in keys.chunks(self.max_batch_rows()) {
            match self.within(call, self.shared.backend.delete(keys, call)).await {
                Some(rows) => deleted.extend(self.counted("delete", rows, keys.len(), true)),
                None => {
                    deleted.extend(keys.iter().map(|_| Err(self.out_of_time("delete").with_in_doubt(true))));
                }
            }
        }
        let row = |(entity, place): (&EntityKey, Result<usize>)| {
            place
                .and_then(|place| deleted[place].clone())
                .map_err(|e| self.error("delete", e).with_key(format_args!("{view}:{entity}")))
        };
        Ok(entity_keys.iter().zip(places).map(row).collect())
    }

    /// Streams the rows of a scope, with all features, in no particular order. What has expired, and what
    /// was retracted, is left out; a feature beyond its max age is marked, as in any read. A record that
    /// cannot be read is an `Err`, and the stream goes on. Has no deadline; stops when dropped.
    pub fn scan(&self, scope: &Scope) -> BoxStream<'static, Result<(RecordKey, FeatureRow)>> {
        let store = self.clone();
        let mut decoders: HashMap<String, RowDecoder> = HashMap::new();
        let rows = self.shared.backend.scan(scope).filter_map(move |record| {
            let row = record.and_then(|(key, record)| {
                if store.is_withheld(key.view().tenant()) {
                    return Ok(None);
                }
                let view = key.view().view();
                if !decoders.contains_key(view) {
                    decoders.insert(view.to_owned(), RowDecoder::new(None, store.max_age_of(view)));
                }
                let decoded = match decoders.get_mut(view) {
                    Some(decoder) => decoder.decode(key.entity(), &record.bytes, store.shared.clock.now()),
                    None => Ok(None),
                };
                let row = decoded.map_err(|e| e.with_key(&key))?;
                Ok(row.map(|row| (key, row)))
            });
            let row = row.map_err(|e| store.error("scan", e)).transpose();
            std::future::ready(row)
        });
        rows.boxed()
    }

    /// Removes all records of a view of a tenant, or of a tenant. Has no deadline, does not block readers
    /// or writers, and can be run again after a failure.
    ///
    /// # Errors
    /// `InvalidArgument` for [`Scope::Store`]; what the backend reports.
    pub async fn purge(&self, scope: &Scope) -> Result<PurgeReport> {
        self.purge_with_progress(scope, &PurgeProgress::default()).await
    }

    /// The same, counting in `progress` as it goes on.
    ///
    /// # Errors
    /// As [`purge`](Self::purge); what was removed before the error is counted.
    pub async fn purge_with_progress(&self, scope: &Scope, progress: &PurgeProgress) -> Result<PurgeReport> {
        let tenant = match scope {
            Scope::Tenant(tenant) => Ok(tenant.as_str()),
            Scope::View(view) => Ok(view.tenant()),
            Scope::Store => {
                Err(Error::invalid_argument("a purge is of a tenant, or of a view of a tenant: name one"))
            }
        };
        tenant.and_then(|tenant| self.check_tenant(tenant)).map_err(|e| self.error("purge", e))?;
        self.shared.backend.purge(scope, progress).await.map_err(|e| self.error("purge", e).with_key(scope))
    }

    /// Asks the store how it is.
    ///
    /// # Errors
    /// What keeps the store from answering; `DeadlineExceeded`.
    pub async fn check(&self) -> Result<Health> {
        let health = self.within(self.call(), self.shared.backend.check()).await;
        health.unwrap_or_else(|| Err(self.out_of_time("check"))).map_err(|e| self.error("check", e))
    }

    /// What the backend can do and where its limits are.
    pub fn capabilities(&self) -> &Capabilities {
        &self.shared.capabilities
    }

    /// Closes the backend, for every clone of this handle: acknowledged writes are made durable as far as
    /// the backend's settings promise, and files and connections are released.
    ///
    /// # Errors
    /// What the backend reports.
    pub async fn close(&self) -> Result<()> {
        self.shared.backend.close().await.map_err(|e| self.error("close", e))
    }
}
