//! Scans as a stream of record batches, with the columns that a write takes.

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, StringArray};
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{ArrowError, DataType, Field, Schema};
use bytes::Bytes;
use feature_core::{
    Error, ErrorKind, FeatureRow, FeatureStatus, FeatureValue, FeatureView, RecordKey, Timestamp, ValueType,
};

use super::data_type;
use super::encode::{instants, of_type};
use crate::calls::Refusal;

/// What a row has besides: when it was true, until when it is, and why it could not be given.
const FURTHER: [(&str, ValueType); 3] = [
    ("event_time", ValueType::Timestamp),
    ("expires_at", ValueType::Timestamp),
    ("error", ValueType::String),
];

/// Makes batches of rows.
pub(crate) struct Batches {
    join_keys: Vec<String>,
    features: Vec<(String, ValueType)>,
    schema: Arc<Schema>,
    writer: StreamWriter<Vec<u8>>,
}

type Row = feature_core::Result<(RecordKey, FeatureRow)>;

impl Batches {
    /// Of a view whose types are declared.
    ///
    /// # Errors
    /// `InvalidArgument` when a feature is called like another column.
    pub(crate) fn new(view: &FeatureView) -> Result<Self, Refusal> {
        if let Some((taken, _)) = FURTHER.iter().find(|(name, _)| view.features.contains_key(*name)) {
            return Err(Refusal::invalid(format!(
                "the feature `{taken}` is called like a column that a scan has besides: ask for NDJSON"
            )));
        }
        let join_keys = view.entities.clone();
        let features: Vec<_> = view.features.iter().map(|(name, of)| (name.clone(), *of)).collect();
        let further = FURTHER.iter().map(|(name, of)| Field::new(*name, data_type(*of), true));
        let fields = join_keys.iter().map(|name| Field::new(name, DataType::Utf8, true));
        let fields = fields.chain(features.iter().map(|(name, of)| Field::new(name, data_type(*of), true)));
        let schema = Arc::new(Schema::new(fields.chain(further).collect::<Vec<_>>()));
        let writer = StreamWriter::try_new(Vec::new(), &schema).map_err(|error| unwritten(&error))?;
        Ok(Self { join_keys, features, schema, writer })
    }

    /// The bytes of a batch, and of the schema before the first.
    ///
    /// # Errors
    /// `Internal` when Arrow cannot write it.
    pub(crate) fn next(&mut self, rows: &[Row]) -> feature_core::Result<Bytes> {
        let found: Vec<Option<&FeatureRow>> =
            rows.iter().map(|row| row.as_ref().ok().map(|(_, row)| row)).collect();
        let join_keys = self.join_keys.iter().map(|name| -> ArrayRef {
            let of_key = |(key, _): &(RecordKey, FeatureRow)| {
                let mut own = key.entity().join_keys();
                own.find(|(own, _)| own == name).map(|(_, value)| value.to_string())
            };
            Arc::new(rows.iter().map(|row| row.as_ref().ok().and_then(of_key)).collect::<StringArray>())
        });
        let features = self.features.iter().map(|(name, of)| {
            let values: Vec<FeatureValue> = found.iter().map(|row| served(*row, name)).collect();
            of_type(&values, *of)
        });
        let times =
            |of: fn(&FeatureRow) -> Option<Timestamp>| instants(found.iter().map(|row| row.and_then(of)));
        let errors = rows.iter().map(|row| row.as_ref().err().map(ToString::to_string));
        let further: [ArrayRef; 3] = [
            times(|row| Some(row.timestamp)),
            times(|row| row.expires_at),
            Arc::new(errors.collect::<StringArray>()),
        ];
        let columns = join_keys.chain(features).chain(further).collect();
        let batch =
            RecordBatch::try_new(Arc::clone(&self.schema), columns).map_err(|error| unwritten(&error))?;
        self.writer.write(&batch).map_err(|error| unwritten(&error))?;
        Ok(std::mem::take(self.writer.get_mut()).into())
    }

    /// The bytes at the end of the stream.
    ///
    /// # Errors
    /// `Internal` when Arrow cannot write it.
    pub(crate) fn end(mut self) -> feature_core::Result<Bytes> {
        self.writer.finish().map_err(|error| unwritten(&error))?;
        Ok(std::mem::take(self.writer.get_mut()).into())
    }
}

/// The value of a feature; null where there is none, and where it is too old to be served.
fn served(row: Option<&FeatureRow>, name: &str) -> FeatureValue {
    let row = row.filter(|row| row.status(name) != FeatureStatus::OutsideMaxAge);
    row.and_then(|row| row.get(name)).cloned().unwrap_or(FeatureValue::Null)
}

fn unwritten(error: &ArrowError) -> Error {
    Error::new(ErrorKind::Internal, format!("the rows cannot be written as Arrow: {error}"))
}
