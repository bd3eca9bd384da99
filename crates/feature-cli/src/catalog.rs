//! The declared feature views. They live in the store itself, as records of a reserved tenant, so that
//! every program that shares the store shares them.

use std::collections::BTreeMap;
use std::sync::Arc;

use feature_core::{
    Clock, EntityKey, Error, FeatureRow, FeatureView, Features, OnlineStore, OnlineStoreBackend,
    SYSTEM_TENANT, Scope, WriteOutcome,
};
use futures::TryStreamExt;

use crate::exit::Result;

const CATALOG_VIEW: &str = "feature_views";
const DEFINITION: &str = "definition";

/// The catalog of a store.
pub(crate) struct Catalog(OnlineStore);

impl Catalog {
    /// The catalog of the store under this backend.
    pub(crate) fn of(backend: Arc<dyn OnlineStoreBackend>, clock: impl Clock) -> Result<Self> {
        Ok(Self(OnlineStore::builder(backend).clock(clock).build()?))
    }

    /// One view, if it is declared. One read, unlike [`all`](Self::all).
    pub(crate) async fn view(&self, name: &str) -> Result<Option<FeatureView>> {
        let row = self.0.read_features(SYSTEM_TENANT, CATALOG_VIEW, &key(name)?, Some(&[DEFINITION])).await?;
        row.map(|row| view_of(&row)).transpose()
    }

    /// Every declared view, by name.
    pub(crate) async fn all(&self) -> Result<BTreeMap<String, FeatureView>> {
        let mut views = BTreeMap::new();
        let mut rows = self.0.scan(&Scope::view(SYSTEM_TENANT, CATALOG_VIEW)?);
        while let Some((_, row)) = rows.try_next().await? {
            let view = view_of(&row)?;
            views.insert(view.name.clone(), view);
        }
        Ok(views)
    }

    /// Declares a view, or declares it anew.
    pub(crate) async fn declare(&self, view: &FeatureView) -> Result<()> {
        let definition = serde_json::to_string(view).map_err(|e| {
            Error::invalid_argument(format!("feature view `{}` cannot be written down: {e}", view.name))
        })?;
        let features = Features::from([(DEFINITION, definition)]);
        let outcome = self
            .0
            .write_features(SYSTEM_TENANT, CATALOG_VIEW, &key(&view.name)?, features, None, None)
            .await?;
        match outcome {
            WriteOutcome::Applied => Ok(()),
            WriteOutcome::Superseded => Err(Error::invalid_argument(format!(
                "the store has a declaration of feature view `{}` from after now; check this machine's clock",
                view.name
            ))
            .into()),
        }
    }
}

fn key(name: &str) -> Result<EntityKey> {
    Ok(EntityKey::new("name", name)?)
}

fn view_of(row: &FeatureRow) -> Result<FeatureView> {
    let text = row.get(DEFINITION).and_then(|value| value.as_str()).unwrap_or_default();
    serde_json::from_str(text).map_err(|e| {
        let message = format!("the declaration stored for `{}` cannot be read: {e}", row.entity_key);
        Error::corrupt(message).into()
    })
}
