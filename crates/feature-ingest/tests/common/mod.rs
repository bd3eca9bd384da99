//! Loads into a store in memory, and what came of them.

#![allow(dead_code, reason = "no test target uses all of it")]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "the helpers of these tests may panic as the tests do"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use arrow::array::{ArrayRef, RecordBatch};
use feature_core::{FeatureRow, FeatureValue, FeatureView, OnlineStore, Scope};
use feature_ingest::{IngestError, IngestOptions, Load, Reject, Report};
use futures::TryStreamExt;
use store_embedded::EmbeddedOnlineStore;

/// A folder for files, gone at the end.
pub(crate) struct Files(tempfile::TempDir);

impl Files {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file, and its folders.
    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path.display().to_string()
    }
}

/// What a load has done.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) report: Report,
    pub(crate) rejects: Vec<Reject>,
    /// For each column that is a feature, its type.
    pub(crate) columns: Vec<(String, Option<String>)>,
    pub(crate) notes: Vec<String>,
    rows: Vec<FeatureRow>,
}

impl Loaded {
    /// The record of an entity, such as `id=a`.
    pub(crate) fn row(&self, entity: &str) -> &FeatureRow {
        self.rows.iter().find(|row| row.entity_key.canonical() == entity).unwrap_or_else(|| {
            panic!("no {entity}: rejected are {:?}, written {:?}", self.rejects, self.entities())
        })
    }

    pub(crate) fn value(&self, entity: &str, feature: &str) -> FeatureValue {
        let mut features = self.row(entity).iter();
        let found = features.find(|(name, ..)| *name == feature);
        found.unwrap_or_else(|| panic!("no `{feature}` in {entity}")).2.clone()
    }

    /// The event time of an entity, in RFC 3339.
    pub(crate) fn time(&self, entity: &str) -> String {
        self.row(entity).timestamp.to_string()
    }

    pub(crate) fn entities(&self) -> Vec<String> {
        let mut all: Vec<_> = self.rows.iter().map(|row| row.entity_key.to_string()).collect();
        all.sort();
        all
    }

    /// Why a row was rejected.
    pub(crate) fn reason(&self, row: u64) -> &str {
        let found = self.rejects.iter().find(|reject| reject.row == row);
        found.map_or_else(|| panic!("row {row} is not rejected: {:?}", self.rejects), |reject| &reject.reason)
    }

    pub(crate) fn type_of(&self, feature: &str) -> Option<&str> {
        self.columns.iter().find(|(name, _)| name == feature)?.1.as_deref()
    }
}

/// Rows by `id` and, where there is a column `ts`, event time.
pub(crate) fn options() -> IngestOptions {
    IngestOptions {
        entity: vec!["id".to_owned()],
        timestamp: Some("ts".to_owned()),
        ..IngestOptions::default()
    }
}

pub(crate) async fn try_load(
    names: &[&str],
    options: IngestOptions,
    view: Option<&FeatureView>,
) -> Result<Loaded, IngestError> {
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let load = Load::open(&names, options, view).await?;
    let of = |column: &feature_ingest::ColumnPlan| {
        (column.name.clone(), column.becomes.map(|value_type| value_type.to_string()))
    };
    let columns = load.columns().iter().map(of).collect();
    let notes = load.columns().iter().filter_map(|c| Some(format!("{}: {}", c.name, c.note.as_ref()?)));
    let notes = notes.chain(load.notes().iter().cloned()).collect();
    let rejects = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&rejects);
    let load = load.rejects(move |reject| {
        kept.lock().unwrap().push(reject);
        Ok(())
    });
    let backend = Arc::new(EmbeddedOnlineStore::in_memory().unwrap());
    let store = OnlineStore::builder(backend).views(view.cloned()).build().unwrap();
    let report = load.run(&store, "t", "v", std::future::pending()).await;
    let rows =
        store.scan(&Scope::view("t", "v").unwrap()).map_ok(|(_, row)| row).try_collect().await.unwrap();
    let rejects = rejects.lock().unwrap().clone();
    Ok(Loaded { report, rejects, columns, notes, rows })
}

pub(crate) async fn load(names: &[&str], options: IngestOptions) -> Loaded {
    try_load(names, options, None).await.unwrap()
}

/// A table as a Parquet file.
pub(crate) fn parquet(columns: Vec<(&str, ArrayRef)>) -> Vec<u8> {
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut bytes = Vec::new();
    let mut writer = parquet::arrow::ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bytes
}

/// A table as an Arrow file.
pub(crate) fn arrow_file(columns: Vec<(&str, ArrayRef)>) -> Vec<u8> {
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut bytes = Vec::new();
    let mut writer = arrow::ipc::writer::FileWriter::try_new(&mut bytes, &batch.schema()).unwrap();
    writer.write(&batch).unwrap();
    writer.finish().unwrap();
    drop(writer);
    bytes
}

/// A table as an Arrow stream.
pub(crate) fn arrow_stream(columns: Vec<(&str, ArrayRef)>) -> Vec<u8> {
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut bytes = Vec::new();
    let mut writer = arrow::ipc::writer::StreamWriter::try_new(&mut bytes, &batch.schema()).unwrap();
    writer.write(&batch).unwrap();
    writer.finish().unwrap();
    drop(writer);
    bytes
}

/// What a gzip program would make of it.
pub(crate) fn gzip(content: impl AsRef<[u8]>) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(content.as_ref()).unwrap();
    encoder.finish().unwrap()
}

/// What a zstd program would make of it.
pub(crate) fn zstd(content: impl AsRef<[u8]>) -> Vec<u8> {
    zstd::encode_all(content.as_ref(), 0).unwrap()
}

/// A path as an argument.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
