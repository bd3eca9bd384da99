//! Reads.

use std::time::Duration;

use feature_core::EntityKey;
use store_unified::{CellStatus, FeatureRef, FeatureRequest, Registry, UnifiedFeatureStore};
use tokio::time::Instant;

use super::table::FoundTable;
use super::{Cause, Refusal, RowFailure, Table, TenantCall, limit_of};

/// What a cell of a table takes: its value, status and event time.
const BYTES_OF_CELL: usize = 64;
/// What a row takes besides: its entity key, and that of each view.
const BYTES_OF_ROW: usize = 256;
/// How many features a row of a view is thought to have that nobody has declared.
const FEATURES_OF_UNDECLARED: usize = 64;

/// Which features.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Those of a service.
    Service(String),
    /// These.
    Features(Vec<FeatureRef>),
}

/// What a model asks for.
pub(crate) struct ReadRequest {
    pub(crate) wanted: Wanted,
    pub(crate) entities: Vec<EntityKey>,
    /// No feature older than this, by its event time.
    pub(crate) max_age: Option<Duration>,
}

impl TenantCall<'_> {
    /// Reads features of any declared views.
    pub(crate) async fn read(&mut self, request: ReadRequest) -> Result<Table, Refusal> {
        let ReadRequest { wanted, entities, max_age } = request;
        let columns = self.columns_of(&wanted)?;
        self.admit(entities.len(), columns)?;
        let request = match wanted {
            Wanted::Service(name) => FeatureRequest::service(&*self.tenant, name, entities),
            Wanted::Features(features) => FeatureRequest::features(&*self.tenant, features, entities),
        };
        let request = max_age.into_iter().fold(request, FeatureRequest::max_age);
        let (store, began) = (self.store()?, Instant::now());
        let table = store.read(&request).await.map_err(Refusal::from);
        let table = table.and_then(|table| settled(Table::Declared(table)));
        self.note_read(&request, began.elapsed(), &table);
        table
    }

    /// Reads features of one view; `None` is all of them. Also of a view that nobody has declared, where
    /// none is.
    pub(crate) async fn read_view(
        &mut self,
        view: &str,
        features: Option<&[String]>,
        entities: Vec<EntityKey>,
        max_age: Option<Duration>,
    ) -> Result<Table, Refusal> {
        self.check_view(view)?;
        if self.call.registry().is_some() {
            let wanted = match features {
                Some(names) => names.iter().map(|name| FeatureRef::new(view, name)).collect(),
                None => vec![FeatureRef::all(view)],
            };
            return self.read(ReadRequest { wanted: Wanted::Features(wanted), entities, max_age }).await;
        }
        self.admit(entities.len(), features.map_or(FEATURES_OF_UNDECLARED, <[_]>::len))?;
        let names: Option<Vec<&str>> = features.map(|names| names.iter().map(String::as_str).collect());
        let store = self.store()?;
        let store =
            max_age.iter().fold(store, |store, max_age| UnifiedFeatureStore::with_max_age(&store, *max_age));
        let began = Instant::now();
        let rows = store.batch_read(&self.tenant, view, &entities, names.as_deref()).await;
        let table = rows.map_err(Refusal::from);
        let table =
            table.and_then(|rows| settled(Table::Found(FoundTable::new(view, names.as_deref(), rows))));
        self.note_read_of(view, began.elapsed(), &table);
        table
    }

    /// How many features there are in what is asked for.
    fn columns_of(&self, wanted: &Wanted) -> Result<usize, Refusal> {
        let registry = self.call.registry().ok_or_else(|| {
            Refusal::invalid(
                "no feature view is declared, so there are no services and no features across views: read one view \
                 with `views/{view}/read`, or declare views in the settings",
            )
        })?;
        match wanted {
            Wanted::Service(name) => {
                let names = registry.output_names(name);
                names.map(|names| names.len()).ok_or_else(|| Refusal::unknown_service(name, registry))
            }
            Wanted::Features(features) => {
                features.iter().try_fold(0, |sum, feature| Ok(sum + columns_of(feature, registry)?))
            }
        }
    }

    /// Refuses what is too large, and takes the memory that the answer will need.
    fn admit(&mut self, rows: usize, columns: usize) -> Result<(), Refusal> {
        self.call.check_rows(rows)?;
        let cells = rows.saturating_mul(columns);
        limit_of("the answer", cells, self.call.live.settings.limits.cells, "cells (limits.cells)")?;
        self.call.memory.grow(cells * BYTES_OF_CELL + rows * BYTES_OF_ROW)
    }
}

fn columns_of(feature: &FeatureRef, registry: &Registry) -> Result<usize, Refusal> {
    let view =
        registry.view(feature.view()).ok_or_else(|| Refusal::unknown_view(feature.view(), registry))?;
    Ok(feature.feature().map_or(view.features.len(), |_| 1))
}

/// A table in which nothing at all could be read is a failure.
fn settled(table: Table) -> Result<Table, Refusal> {
    let Some(first) = table.errors().first() else { return Ok(table) };
    let failed = |status: &CellStatus| *status == CellStatus::Failed;
    if table.columns().any(|column| !column.statuses.iter().all(failed)) {
        return Ok(table);
    }
    let failures =
        table.errors().iter().map(|error| RowFailure { row: error.row, error: error.error.clone() });
    Err(Refusal::new(Cause::EveryRow(failures.collect()), first.error.clone()))
}
