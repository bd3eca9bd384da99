//! Parquet files.

use std::fs::File;
use std::sync::Arc;

use ::arrow::array::RecordBatch;
use ::arrow::datatypes::Schema;
use ::parquet::arrow::ProjectionMask;
use ::parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use feature_core::{FeatureValue, ValueType};

use super::arrow::{cells, value_type};
use super::row::{CHUNK_ROWS, Cell, Chunk, Row, Source};
use super::wanted::{Columns, NEEDS_UNIT, Wanted};
use crate::exit::{Failure, Result};

/// The rows of a Parquet file. Only the columns that are wanted are read.
pub(super) fn open(file: File, wanted: Wanted) -> Result<Source> {
    let broken = |e: ::parquet::errors::ParquetError| {
        Failure::Other(format!("it is not a readable Parquet file: {e}"))
    };
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(broken)?;
    let schema = Arc::clone(builder.schema());
    let names: Vec<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
    let mut columns = wanted.columns(&names)?;
    check_types(&schema, &columns, &wanted)?;

    // A batch has the columns that are read, in the order of the file.
    let mut read: Vec<usize> = columns.features.iter().map(|(_, at)| *at).collect();
    read.extend(columns.entity.iter().chain(&columns.timestamp));
    read.sort_unstable();
    read.dedup();
    let in_batch = |at: &mut usize| *at = read.binary_search(at).unwrap_or_default();
    columns.features.iter_mut().for_each(|(_, at)| in_batch(at));
    columns.entity.iter_mut().chain(&mut columns.timestamp).for_each(in_batch);

    let rows = u64::try_from(builder.metadata().file_metadata().num_rows()).ok();
    let mask = ProjectionMask::roots(builder.parquet_schema(), read.iter().copied());
    let batches = builder.with_projection(mask).with_batch_size(CHUNK_ROWS).build().map_err(broken)?;
    let types = columns.features.iter().map(|(name, _)| wanted.type_of(name)).collect();
    Ok(Source { total: rows, chunks: Box::new(Chunks { batches, columns, types, wanted, done: 0 }) })
}

fn check_types(schema: &Schema, columns: &Columns, wanted: &Wanted) -> Result<()> {
    let own_type = |at: usize| {
        let column = schema.field(at);
        value_type(column.data_type()).map_err(|why| (column, why))
    };
    let refuse = |what: &str, (column, why): (&::arrow::datatypes::Field, String)| {
        Failure::Usage(format!("{what} column `{}` is {}: {why}", column.name(), column.data_type()))
    };
    for at in &columns.entity {
        let found = own_type(*at).map_err(|e| refuse("entity", e))?;
        if !matches!(found, None | Some(ValueType::String | ValueType::Int32 | ValueType::Int64)) {
            let why = "an entity key is made of text and integers".to_owned();
            return Err(refuse("entity", (schema.field(*at), why)));
        }
    }
    if let Some(at) = columns.timestamp {
        let why = match own_type(at).map_err(|e| refuse("timestamp", e))? {
            None | Some(ValueType::Timestamp | ValueType::String) => None,
            Some(ValueType::Int32 | ValueType::Int64) => wanted.unit.is_none().then_some(NEEDS_UNIT),
            Some(_) => Some("an event time is a time, a date, RFC 3339 text or an integer"),
        };
        if let Some(why) = why {
            return Err(refuse("timestamp", (schema.field(at), why.to_owned())));
        }
    }
    for (name, at) in &columns.features {
        let found = own_type(*at).map_err(|e| refuse("feature", e))?;
        if let (Some(found), Some(declared)) = (found, wanted.type_of(name))
            && !fits(found, declared)
        {
            let why = format!("the applied view says {declared}");
            return Err(refuse("feature", (schema.field(*at), why)));
        }
    }
    Ok(())
}

/// Whether some values of one type can be values of another.
fn fits(found: ValueType, wanted: ValueType) -> bool {
    use ValueType as T;
    let number = |t| matches!(t, T::Int32 | T::Int64 | T::Float32 | T::Float64);
    let numbers = |t| matches!(t, T::Int32List | T::Int64List | T::Float32List | T::Float64List);
    found == wanted
        || (number(found) && number(wanted))
        || (numbers(found) && numbers(wanted))
        || (found == T::String && wanted == T::Timestamp)
}

/// The value as one of the type that the applied view states: a whole float as an integer, since many
/// programs write integers so, a 64-bit float rounded to 32 bits, RFC 3339 text as a time.
fn fit(value: FeatureValue, wanted: ValueType) -> Cell {
    value.widen(wanted).or_else(|value| match value.value_type() {
        Some(found) if fits(found, wanted) => {
            FeatureValue::from_json(&value.to_json(), Some(wanted)).map_err(|e| e.message().to_owned())
        }
        found => Err(format!("expected {wanted}, found {}", found.map_or("null", ValueType::name))),
    })
}

struct Chunks {
    batches: ParquetRecordBatchReader,
    columns: Columns,
    /// The types that the applied view states, for each feature column.
    types: Vec<Option<ValueType>>,
    wanted: Wanted,
    done: u64,
}

impl Iterator for Chunks {
    type Item = Result<Chunk>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.batches.next()?;
        let rows = batch.and_then(|batch| self.rows(&batch));
        let broken = |e| Failure::Other(format!("reading stopped after row {}: {e}", self.done));
        Some(rows.map(|rows| Chunk { rows, position: self.done }).map_err(broken))
    }
}

impl Chunks {
    fn rows(&mut self, batch: &RecordBatch) -> Result<Vec<Row>, ::arrow::error::ArrowError> {
        let column = |at: usize| cells(batch.column(at)).map(Vec::into_iter);
        let mut entity = self.columns.entity.iter().map(|at| column(*at)).collect::<Result<Vec<_>, _>>()?;
        let mut time = self.columns.timestamp.map(column).transpose()?;
        let mut features =
            self.columns.features.iter().map(|(_, at)| column(*at)).collect::<Result<Vec<_>, _>>()?;
        let missing = || Err("the column ends early".to_owned());
        let mut rows = Vec::with_capacity(batch.num_rows());
        for _ in 0..batch.num_rows() {
            self.done += 1;
            let declared = self.columns.features.iter().zip(&self.types);
            let features = features.iter_mut().zip(declared).map(|(cells, ((name, _), declared))| {
                let cell = cells.next().unwrap_or_else(missing);
                let cell = match declared {
                    Some(declared) => cell.and_then(|value| fit(value, *declared)),
                    None => cell,
                };
                (Arc::clone(name), cell)
            });
            // Every column gives its cell, so that a row without an entity does not shift the next one's.
            let entity: Vec<_> =
                entity.iter_mut().map(|cells| cells.next().unwrap_or_else(missing)).collect();
            let time = time.as_mut().map(|cells| cells.next().unwrap_or_else(missing));
            let features: Vec<_> = features.collect();
            rows.push(self.wanted.row(self.done, entity.into_iter(), time, features.into_iter()));
        }
        Ok(rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_fit_the_declared_type_or_are_refused() {
        for (value, wanted, fitted) in [
            (FeatureValue::Float64(2004.0), ValueType::Int32, FeatureValue::Int32(2004)),
            (FeatureValue::Int64(5), ValueType::Int32, 5.into()),
            (FeatureValue::Float64(0.1), ValueType::Float32, 0.1_f32.into()),
            (vec![0.5_f64].into(), ValueType::Float32List, vec![0.5_f32].into()),
            (
                "1970-01-01T00:00:00Z".into(),
                ValueType::Timestamp,
                FeatureValue::Timestamp(Default::default()),
            ),
            (FeatureValue::Null, ValueType::Int32, FeatureValue::Null),
        ] {
            assert_eq!(fit(value, wanted), Ok(fitted));
        }
        for (value, wanted) in [
            (FeatureValue::Float64(0.5), ValueType::Int64),
            (FeatureValue::Int64(1 << 40), ValueType::Int32),
            (FeatureValue::Float64(f64::NAN), ValueType::Int64),
            (vec![1_u8].into(), ValueType::String),
            ("AQI=".into(), ValueType::Bytes),
        ] {
            assert!(fit(value, wanted).is_err());
        }
    }
}
