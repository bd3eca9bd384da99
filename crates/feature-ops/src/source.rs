//! Where records come from: a store, or the files of an export.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use feature_core::{OnlineStoreBackend, Scope};
use futures::stream::{self, BoxStream, StreamExt};
use tokio::sync::mpsc;

use crate::error::{OpsError, Result};
use crate::files::{self, Format, Row};
use crate::manifest::Manifest;

/// Something that has records.
#[derive(Clone, Debug)]
pub enum Source {
    /// A store.
    Store(Arc<dyn OnlineStoreBackend>),
    /// An export.
    Export(ExportFiles),
}

impl Source {
    /// The records of a scope, in no particular order, some perhaps twice.
    pub(crate) fn scan(&self, scope: &Scope) -> BoxStream<'static, Result<Row>> {
        match self {
            Self::Store(store) => {
                let rows = store.scan(scope);
                rows.map(|row| row.map(|(key, r)| Row { key, bytes: r.bytes }).map_err(OpsError::from))
                    .boxed()
            }
            Self::Export(files) => {
                let scope = scope.clone();
                let rows = files.chunks(0).flat_map(|chunk| {
                    let (rows, failure) = match chunk {
                        Ok(chunk) => (chunk.rows, None),
                        Err(error) => (Vec::new(), Some(Err(error))),
                    };
                    stream::iter(rows.into_iter().map(Ok).chain(failure))
                });
                let of_scope = move |row: &Result<Row>| {
                    std::future::ready(row.as_ref().map_or(true, |row| scope.contains(&row.key)))
                };
                rows.filter(of_scope).boxed()
            }
        }
    }
}

/// The files of an export: one, or those of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportFiles {
    files: Vec<(PathBuf, Format)>,
    unfinished: bool,
}

/// Some rows of a file.
pub(crate) struct Chunk {
    pub(crate) file: usize,
    /// How many rows of the file are behind these and those before them.
    pub(crate) end: u64,
    pub(crate) rows: Vec<Row>,
}

impl ExportFiles {
    /// Finds the files that these names stand for: files, and folders that an export was written to.
    ///
    /// # Errors
    /// `Request` for a name that does not tell what it is, `File` for what cannot be read.
    pub fn find<P: AsRef<Path>>(names: &[P]) -> Result<Self> {
        let (mut files, mut unfinished) = (Vec::new(), false);
        for path in names.iter().map(AsRef::as_ref) {
            if !path.is_dir() {
                let format = Format::of_name(path).ok_or_else(|| {
                    OpsError::Request(format!(
                        "{} is neither a folder nor named .parquet or .ndjson",
                        path.display()
                    ))
                })?;
                fs::metadata(path).map_err(|e| OpsError::cannot("read", path, e))?;
                files.push((path.to_owned(), format));
                continue;
            }
            let manifest = Manifest::read(path)?.ok_or_else(|| {
                OpsError::Request(format!("the folder {} has no export in it", path.display()))
            })?;
            unfinished |= manifest.ended.is_none();
            files.extend(manifest.parts.iter().map(|part| (path.join(&part.file), manifest.format)));
        }
        Ok(Self { files, unfinished })
    }

    /// Whether some of it was stopped before its end.
    pub fn is_unfinished(&self) -> bool {
        self.unfinished
    }

    /// The files, in the order in which they are read.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(|(path, _)| path.as_path())
    }

    /// The rows, from this file on, read on a thread of its own.
    pub(crate) fn chunks(&self, first: usize) -> BoxStream<'static, Result<Chunk>> {
        let (sender, receiver) = mpsc::channel(2);
        let files = self.files.clone();
        tokio::task::spawn_blocking(move || {
            let mut rows = files.iter().enumerate().skip(first).flat_map(|(file, (path, format))| {
                let mut end = 0;
                let chunks: Box<dyn Iterator<Item = Result<Chunk>>> = match files::read(path, *format) {
                    Err(error) => Box::new(std::iter::once(Err(error))),
                    Ok(chunks) => Box::new(chunks.map(move |rows| {
                        let rows = rows.map_err(|e| OpsError::cannot("read", path, e))?;
                        end += rows.len() as u64;
                        Ok(Chunk { file, end, rows })
                    })),
                };
                chunks
            });
            // Nobody wants more once the receiver is gone.
            let _ = rows.try_for_each(|chunk| {
                let last = chunk.is_err();
                sender.blocking_send(chunk).map_err(drop)?;
                if last { Err(()) } else { Ok(()) }
            });
        });
        stream::unfold(receiver, |mut chunks| async move { Some((chunks.recv().await?, chunks)) }).boxed()
    }
}
