//! Requests: what a model asks for, and the table it gets.

mod cells;
mod json;
mod table;

use std::sync::Arc;
use std::time::Duration;

use feature_core::{EntityKey, OnlineStore, Result, ViewRead};

pub use table::{CellStatus, ColumnSlice, FeatureColumn, FeatureTable, RowError, TableCell, TableRow};

use cells::Cells;

use crate::registry::plan::Plan;
use crate::registry::{FeatureRef, Registry};

/// What a model asks for: features of any views, of some entities of a tenant.
///
/// Each entity is a row of the result. It may have more join keys than one view needs: each view takes its
/// own. Entities may repeat; each record is read once.
#[derive(Clone, Debug)]
pub struct FeatureRequest {
    tenant: String,
    entities: Vec<EntityKey>,
    wanted: Wanted,
    max_age: Option<Duration>,
}

#[derive(Clone, Debug)]
enum Wanted {
    Service(String),
    Features(Vec<FeatureRef>),
}

impl FeatureRequest {
    /// The features of a service, in its order.
    pub fn service(
        tenant: impl Into<String>,
        service: impl Into<String>,
        entities: impl IntoIterator<Item = EntityKey>,
    ) -> Self {
        Self::new(tenant.into(), Wanted::Service(service.into()), entities)
    }

    /// These features, in this order, each at most once; they are called what those of a
    /// [`FeatureService`](crate::FeatureService) would be. A service is resolved once, a list with each
    /// request.
    pub fn features(
        tenant: impl Into<String>,
        features: impl IntoIterator<Item = FeatureRef>,
        entities: impl IntoIterator<Item = EntityKey>,
    ) -> Self {
        Self::new(tenant.into(), Wanted::Features(features.into_iter().collect()), entities)
    }

    fn new(tenant: String, wanted: Wanted, entities: impl IntoIterator<Item = EntityKey>) -> Self {
        Self { tenant, entities: entities.into_iter().collect(), wanted, max_age: None }
    }

    /// Wants no feature older than this, by its own event time. The max age of a view still holds where it
    /// is shorter.
    #[must_use]
    pub fn max_age(mut self, max_age: Duration) -> Self {
        self.max_age = Some(max_age);
        self
    }

    /// Whose features.
    pub fn tenant(&self) -> &str {
        &self.tenant
    }

    /// What is wanted, as it was declared: the entries of the service, or the list. Nothing of a service that
    /// the registry does not have.
    pub fn references<'a>(&'a self, registry: &'a Registry) -> &'a [FeatureRef] {
        match &self.wanted {
            Wanted::Service(name) => registry.service(name).map_or(&[], |service| &service.features),
            Wanted::Features(features) => features,
        }
    }

    /// The name of the service or of the one view that is wanted, or a note that there are several.
    pub(crate) fn what(&self) -> &str {
        match &self.wanted {
            Wanted::Service(name) => name,
            Wanted::Features(features) => match &features[..] {
                [first, rest @ ..] if rest.iter().all(|other| other.view() == first.view()) => first.view(),
                _ => "several",
            },
        }
    }

    /// The rows.
    pub fn entities(&self) -> &[EntityKey] {
        &self.entities
    }

    /// Reads what is asked for from a store, in one call on its backend however many views there are. The
    /// store should have been [given the registry's views](feature_core::OnlineStoreBuilder::views), since it
    /// is the store that applies their max age.
    ///
    /// # Errors
    /// `InvalidArgument` with all that is wrong with the request: a service, view or feature that the
    /// registry does not have, features that would be called the same, rows that lack a join key. What
    /// goes wrong with a record is an error of the table, at its row.
    pub async fn read(&self, store: &OnlineStore, registry: &Registry) -> Result<FeatureTable> {
        let plan = self.plan(registry)?;
        let keys = plan.project(&self.entities)?;
        let reads: Vec<ViewRead<'_>> = plan
            .views
            .iter()
            .map(|view| ViewRead {
                feature_view: &view.name,
                entity_keys: &keys[view.join_keys],
                feature_names: Some(&view.features),
            })
            .collect();
        let mut cells = Cells::new(Arc::clone(&plan), self.entities.len());
        match self.max_age {
            Some(max_age) => store.with_max_age(max_age).read_into(&self.tenant, &reads, &mut cells).await?,
            None => store.read_into(&self.tenant, &reads, &mut cells).await?,
        }
        Ok(FeatureTable::new(&self.tenant, &self.entities, keys, cells))
    }

    fn plan(&self, registry: &Registry) -> Result<Arc<Plan>> {
        match &self.wanted {
            Wanted::Service(name) => registry.plan_of_service(name),
            Wanted::Features(features) => registry.plan_of(features),
        }
    }
}

#[cfg(test)]
mod tests;
