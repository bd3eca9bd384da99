//! From Arrow's record batches to rows.

use std::sync::Arc;

use ::arrow::array::RecordBatch;
use ::arrow::error::ArrowError;
use feature_core::ValueType;

use super::arrow::{Rules, cells, instants, key, keys};
use super::types::fit;
use crate::layout::{At, FeatureAt, From, Layout};
use crate::mapping::{Mapping, Named};
use crate::row::{Cell, Chunk, Row};

/// The rows of record batches.
pub(super) struct TableRows<B> {
    batches: B,
    layout: Layout,
    named: Named,
    mapping: Arc<Mapping>,
    /// How many rows are read, those that were passed over included.
    done: u64,
    /// How many bytes have been read when so many rows have.
    bytes: Box<dyn Fn(u64) -> u64 + Send>,
}

impl<B: Iterator<Item = Result<RecordBatch, ArrowError>>> TableRows<B> {
    /// The rows of batches whose columns stand as the layout says, of an input of which `done` rows have
    /// been passed over.
    pub(super) fn new(
        batches: B,
        layout: Layout,
        mapping: Arc<Mapping>,
        done: u64,
        bytes: impl Fn(u64) -> u64 + Send + 'static,
    ) -> Self {
        Self { batches, named: layout.named(), layout, mapping, done, bytes: Box::new(bytes) }
    }

    fn rows(&mut self, batch: &RecordBatch) -> Result<Vec<Row>, ArrowError> {
        let mapping = &*self.mapping;
        let key_columns = self.layout.entity.iter().map(|at| match at {
            At::Column(at) => keys(batch.column(*at)).map(Some),
            At::Constant(_) => Ok(None),
        });
        let key_columns = key_columns.collect::<Result<Vec<_>, _>>()?;
        let mut times = match &self.layout.timestamp {
            Some(At::Column(at)) => Some(instants(batch.column(*at), mapping)?.into_iter()),
            _ => None,
        };
        let column = |feature: &FeatureAt| match &feature.from {
            From::Column(at) => column(batch, *at, feature.wanted, mapping).map(Vec::into_iter).map(Some),
            From::Value(_) => Ok(None),
        };
        let mut columns = self.layout.features.iter().map(column).collect::<Result<Vec<_>, _>>()?;
        let missing = || Err("the column ends early".to_owned());
        let mut rows = Vec::with_capacity(batch.num_rows());
        for at in 0..batch.num_rows() {
            self.done += 1;
            let features = columns.iter_mut().zip(&self.layout.features).map(|(cells, feature)| {
                match (cells, &feature.from) {
                    (Some(cells), _) => cells.next().unwrap_or_else(missing),
                    (None, From::Value(value)) => Ok(value.clone()),
                    (None, From::Column(_)) => missing(),
                }
            });
            let features = self.named.features(features);
            let time = match (&mut times, &self.layout.timestamp) {
                (Some(times), _) => {
                    Some(times.next().unwrap_or_else(|| Err("the column ends early".to_owned())))
                }
                (None, Some(At::Constant(text))) => Some(mapping.instant_of_text(text.as_deref())),
                (None, _) => None,
            };
            let entity =
                key_columns.iter().zip(&self.layout.entity).map(|(column, from)| match (column, from) {
                    (Some(column), _) => key(column, at),
                    (None, At::Constant(text)) => Ok(text.as_deref().map(Into::into)),
                    (None, At::Column(_)) => Ok(None),
                });
            rows.push(mapping.row(self.done, entity, time, features));
        }
        Ok(rows)
    }
}

/// The values of a feature's column.
fn column(
    batch: &RecordBatch,
    at: usize,
    wanted: Option<ValueType>,
    mapping: &Mapping,
) -> Result<Vec<Cell>, ArrowError> {
    let rules = Rules { decimals: mapping.decimals, zone: &mapping.zone, wanted };
    let mut cells = cells(batch.column(at), rules)?;
    if let Some(wanted) = wanted {
        for cell in &mut cells {
            if matches!(cell, Ok(value) if !value.is_null() && value.value_type() != Some(wanted)) {
                let own = std::mem::replace(cell, Ok(feature_core::FeatureValue::Null));
                *cell = own.and_then(|value| fit(value, wanted, &mapping.zone));
            }
        }
    }
    Ok(cells)
}

impl<B: Iterator<Item = Result<RecordBatch, ArrowError>>> Iterator for TableRows<B> {
    type Item = Result<Chunk, String>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.batches.next()?;
        let rows = batch.and_then(|batch| self.rows(&batch));
        let broken = |e| format!("reading stopped after row {}: {e}", self.done);
        Some(rows.map(|rows| Chunk { rows, bytes: (self.bytes)(self.done) }).map_err(broken))
    }
}
