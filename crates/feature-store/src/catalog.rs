//! The feature views that are declared in a store itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use feature_core::{
    Clock, EntityKey, Error, FeatureRow, FeatureView, Features, OnlineStore, OnlineStoreBackend, Result,
    SYSTEM_TENANT, Scope, WriteOutcome,
};
use futures::TryStreamExt;

const DEFINITION: &str = "definition";

/// The feature views that are declared in a store itself, as records of a reserved tenant, so that every
/// program that shares the store shares them. `fstore apply` declares them.
#[derive(Clone, Debug)]
pub struct Catalog(OnlineStore);

impl Catalog {
    /// The view, of the [reserved tenant](SYSTEM_TENANT), that the declarations are in.
    pub const VIEW: &'static str = "feature_views";

    /// The catalog of the store under this backend.
    ///
    /// # Errors
    /// As [`OnlineStoreBuilder::build`](feature_core::OnlineStoreBuilder::build).
    pub fn new(backend: Arc<dyn OnlineStoreBackend>, clock: impl Clock) -> Result<Self> {
        Ok(Self(OnlineStore::builder(backend).clock(clock).build()?))
    }

    /// One view, if it is declared. One read, unlike [`all`](Self::all).
    ///
    /// # Errors
    /// `InvalidArgument` for an empty name, `Corrupt` for a declaration that cannot be read; what reading
    /// reports.
    pub async fn view(&self, name: &str) -> Result<Option<FeatureView>> {
        let row = self.0.read_features(SYSTEM_TENANT, Self::VIEW, &key(name)?, Some(&[DEFINITION])).await?;
        row.map(|row| view_of(&row)).transpose()
    }

    /// Every declared view, by name. A scan, which on Redis looks at every key of the database.
    ///
    /// # Errors
    /// `Corrupt` for a declaration that cannot be read; what scanning reports.
    pub async fn all(&self) -> Result<BTreeMap<String, FeatureView>> {
        let mut views = BTreeMap::new();
        let mut rows = self.0.scan(&Scope::view(SYSTEM_TENANT, Self::VIEW)?);
        while let Some((_, row)) = rows.try_next().await? {
            let view = view_of(&row)?;
            views.insert(view.name.clone(), view);
        }
        Ok(views)
    }

    /// Declares a view, or declares it anew. Whether stored records contradict the change is not looked at.
    ///
    /// # Errors
    /// `InvalidArgument` for a view that is wrong in itself, and where the store has a declaration from
    /// after now; what writing reports.
    pub async fn declare(&self, view: &FeatureView) -> Result<()> {
        view.validate()?;
        let definition = serde_json::to_string(view).map_err(|e| {
            Error::invalid_argument(format!("feature view `{}` cannot be written down: {e}", view.name))
        })?;
        let features = Features::from([(DEFINITION, definition)]);
        let outcome =
            self.0.write_features(SYSTEM_TENANT, Self::VIEW, &key(&view.name)?, features, None, None).await?;
        match outcome {
            WriteOutcome::Applied => Ok(()),
            WriteOutcome::Superseded => Err(Error::invalid_argument(format!(
                "the store has a declaration of feature view `{}` from after now; check this machine's clock",
                view.name
            ))),
        }
    }
}

fn key(name: &str) -> Result<EntityKey> {
    EntityKey::new("name", name)
}

fn view_of(row: &FeatureRow) -> Result<FeatureView> {
    let text = row.get(DEFINITION).and_then(|value| value.as_str()).unwrap_or_default();
    serde_json::from_str(text).map_err(|e| {
        Error::corrupt(format!("the declaration stored for `{}` cannot be read: {e}", row.entity_key))
    })
}
