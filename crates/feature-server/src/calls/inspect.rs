//! Records as they lie in the store, for people.

use bytes::Bytes;
use feature_core::{CallContext, EntityKey, FeatureView, RecordKey, Timestamp, ViewKey};
use store_unified::{Decision, provenance};

use super::{Refusal, TenantCall};

/// One record as the store gave it.
pub(crate) struct Stored {
    pub(crate) view: String,
    /// The join keys that are the record's.
    pub(crate) entity: EntityKey,
    /// Where the settings say that it is.
    pub(crate) decision: Decision,
    /// Whether the fallback store gave it.
    pub(crate) from_fallback: bool,
    /// Encoded, expired or not; `None` is no record.
    pub(crate) bytes: feature_core::Result<Option<Bytes>>,
}

impl TenantCall<'_> {
    /// The record of an entity in each of these views, by the way that a read takes. No application reads it, so it
    /// does not count as a request.
    ///
    /// # Errors
    /// Where a view is not declared, or the entity lacks a join key of one.
    pub(crate) async fn inspect(&self, views: &[&str], entity: &EntityKey) -> Result<Vec<Stored>, Refusal> {
        self.call.check_rows(views.len())?;
        let mut keys = Vec::with_capacity(views.len());
        for view in views {
            let entity = own_key(self.declared(view)?, entity)?;
            keys.push(RecordKey::new(ViewKey::new(&self.tenant, view)?, entity));
        }
        let backend = self.call.live.store.online().backend();
        let deadline = CallContext::with_timeout(self.call.left()?);
        let (found, from_fallback) = provenance::watch(backend.get(&keys, deadline)).await;
        let stored = keys.into_iter().zip(found).zip(views).map(|((key, found), view)| {
            Ok(Stored {
                view: (*view).to_owned(),
                entity: key.entity().clone(),
                decision: self.call.live.store.route(&self.tenant, view)?,
                from_fallback: from_fallback.contains(&key),
                bytes: found.map(|found| found.map(|found| found.bytes)),
            })
        });
        stored.collect()
    }

    /// What time it is, as reads have it.
    pub(crate) fn now(&self) -> Timestamp {
        self.call.live.clock.now()
    }
}

/// The join keys that a view has of these.
fn own_key(view: Option<&FeatureView>, entity: &EntityKey) -> Result<EntityKey, Refusal> {
    let Some(view) = view else { return Ok(entity.clone()) };
    entity.project(&view.entities).ok_or_else(|| {
        Refusal::invalid(format!(
            "feature view `{}` is of the join keys {}: write the entity as {}",
            view.name,
            view.entities.join(", "),
            view.entities.iter().map(|name| format!("{name}=…")).collect::<Vec<_>>().join("|"),
        ))
    })
}
