//! A load on a store, from this process.

use std::sync::Arc;

use feature_core::{EntityKey, Error, FeatureNames, FeatureWrite, OnlineStore, Result, ViewRead};

use super::measure::Kind;
use super::run::{Load, Sent};
use super::shape::{Shape, Shaped, View};

/// A load on a store.
pub(crate) struct OnStore {
    shape: Shape,
    store: OnlineStore,
    /// The features that are read; `None` is all.
    features: Option<Arc<FeatureNames>>,
}

pub(crate) enum Call {
    Read(Vec<Vec<EntityKey>>),
    Write(String, Vec<FeatureWrite>),
}

impl OnStore {
    pub(crate) fn new(shape: Shape, store: OnlineStore, features: Option<&[String]>) -> Self {
        let features = features.map(|names| Arc::new(names.iter().collect()));
        Self { shape, store, features }
    }

    async fn read(&self, entities: &[Vec<EntityKey>]) -> Result<Sent> {
        let feature_names = self.features.as_ref();
        let views = self.shape.views.iter().zip(entities);
        let reads: Vec<_> = views
            .map(|(view, entity_keys)| ViewRead { feature_view: &view.name, entity_keys, feature_names })
            .collect();
        let views = self.store.read_views(&self.shape.tenant, &reads).await?;
        let rows = || views.iter().flatten();
        Ok(Sent {
            kind: Kind::Read,
            rows: rows().count() as u64,
            found: rows().filter(|row| matches!(row, Ok(Some(_)))).count() as u64,
            failure: rows().find_map(|row| row.as_ref().err()).map(reason),
        })
    }

    async fn write(&self, view: &str, writes: Vec<FeatureWrite>) -> Result<Sent> {
        let report = self.store.batch_write(&self.shape.tenant, view, writes).await?;
        Ok(Sent {
            kind: Kind::Write,
            rows: report.rows().len() as u64,
            found: report.written() as u64,
            failure: report.failures().next().map(|(_, error)| reason(error)),
        })
    }
}

impl Load for OnStore {
    type Call = Result<Call>;

    fn prepare(&self, number: u64) -> Self::Call {
        match self.shape.kind(number) {
            Kind::Read => self.shape.reads(number).map(Call::Read),
            Kind::Write => {
                self.shape.written(number).map(|(view, writes)| Call::Write(view.name.clone(), writes))
            }
        }
    }

    fn kind(&self, number: u64) -> Kind {
        self.shape.kind(number)
    }

    async fn send(&self, call: Self::Call) -> Sent {
        let (kind, sent) = match call {
            Ok(Call::Read(entities)) => (Kind::Read, self.read(&entities).await),
            Ok(Call::Write(view, writes)) => (Kind::Write, self.write(&view, writes).await),
            Err(error) => (Kind::Read, Err(error)),
        };
        sent.unwrap_or_else(|error| Sent::failed(kind, reason(&error)))
    }
}

impl Shaped for OnStore {
    fn shape(&self) -> &Shape {
        &self.shape
    }

    fn fill(&self, view: &View, writes: Vec<FeatureWrite>) -> Self::Call {
        Ok(Call::Write(view.name.clone(), writes))
    }
}

/// Why something failed, without the key, by which reasons would be different ones.
fn reason(error: &Error) -> String {
    format!("{}: {}", error.kind(), error.message())
}
