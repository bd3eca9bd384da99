//! Where records come from: a store, or the files of an export.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use feature_core::{OnlineStoreBackend, Scope};
use futures::stream::{self, BoxStream, StreamExt};
use itertools::Itertools;
use tokio::sync::mpsc;

use crate::error::{OpsError, Result};
use crate::files::{self, CHUNK_ROWS, Chunks, Format, Row};
use crate::folder::Folder;
use crate::manifest::{Manifest, Part};

const IS_GONE: &str = "it is not there any more";

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
#[derive(Clone, Debug, Default)]
pub struct ExportFiles {
    files: Vec<ExportFile>,
    unfinished: bool,
}

#[derive(Clone, Debug)]
struct ExportFile {
    folder: Folder,
    name: String,
    bytes: u64,
    format: Format,
}

/// How many files are read side by side, so that rows which each has in the order of their keys come in that order.
const SIDE_BY_SIDE: usize = 32;

/// Some rows of files that are read side by side.
pub(crate) struct Chunk {
    /// Which files those are.
    pub(crate) group: usize,
    /// How many rows of them are behind these and those before them.
    pub(crate) end: u64,
    pub(crate) rows: Vec<Row>,
}

impl ExportFiles {
    /// Finds the files that these names stand for: files, and folders that an export was written to.
    ///
    /// # Errors
    /// `Request` for a name that does not tell what it is, `File` for what cannot be read.
    pub fn find<P: AsRef<Path>>(names: &[P]) -> Result<Self> {
        let mut found = Self::default();
        for path in names.iter().map(AsRef::as_ref) {
            if path.is_dir() {
                found.add(Self::of_folder(path)?);
                continue;
            }
            let format = Format::of_name(path).ok_or_else(|| {
                OpsError::Request(format!(
                    "{} is neither a folder nor named .parquet or .ndjson",
                    path.display()
                ))
            })?;
            let unreadable = |e| OpsError::cannot("read", path.display(), e);
            let bytes = fs::metadata(path).map_err(unreadable)?.len();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let folder = Folder::from(path.parent().unwrap_or(path));
            found.files.push(ExportFile { folder, name, bytes, format });
        }
        Ok(found)
    }

    /// The files of a folder that an export was written to.
    ///
    /// # Errors
    /// `Request` for a folder without an export, `File` for what cannot be read.
    pub fn of_folder(folder: impl Into<Folder>) -> Result<Self> {
        let folder = folder.into();
        let manifest = Manifest::read(&folder)?
            .ok_or_else(|| OpsError::Request(format!("the folder {folder} has no export in it")))?;
        Self::of_parts(&manifest, &folder)
    }

    pub(crate) fn of_parts(manifest: &Manifest, folder: &Folder) -> Result<Self> {
        let listed = folder.list().map_err(|e| OpsError::cannot("read", folder, e))?;
        let sizes: HashMap<String, u64> = listed.into_iter().collect();
        let file = |part: &Part| {
            let bytes = sizes.get(&part.file).copied();
            let bytes = bytes.ok_or_else(|| OpsError::cannot("read", folder.place(&part.file), IS_GONE))?;
            let name = part.file.clone();
            Ok(ExportFile { folder: folder.clone(), name, bytes, format: manifest.format })
        };
        let files = manifest.parts.iter().map(file).collect::<Result<_>>()?;
        Ok(Self { files, unfinished: manifest.ended.is_none() })
    }

    /// Adds the files of another.
    pub fn add(&mut self, other: Self) {
        self.files.extend(other.files);
        self.unfinished |= other.unfinished;
    }

    /// Whether some of it was stopped before its end.
    pub fn is_unfinished(&self) -> bool {
        self.unfinished
    }

    /// The files, in the order in which they are read: where they are, and their bytes.
    pub(crate) fn sizes(&self) -> impl Iterator<Item = (String, u64)> {
        self.files.iter().map(|file| (file.place(), file.bytes))
    }

    /// The rows, file by file.
    pub(crate) fn read(&self) -> impl Iterator<Item = Result<Vec<Row>>> {
        self.files.iter().flat_map(ExportFile::read)
    }

    /// The rows, from this group of files on, read on a thread of its own.
    pub(crate) fn chunks(&self, first: usize) -> BoxStream<'static, Result<Chunk>> {
        let (sender, receiver) = mpsc::channel(2);
        let files = self.files.clone();
        tokio::task::spawn_blocking(move || {
            for (group, files) in files.chunks(SIDE_BY_SIDE).enumerate().skip(first) {
                let mut rows = files.iter().map(ExportFile::rows).kmerge_by(comes_first);
                let mut end = 0;
                loop {
                    let some: Result<Vec<Row>> =
                        rows.by_ref().take(CHUNK_ROWS).map(|row| row.map(|(row, _)| row)).collect();
                    let chunk = some.map(|rows| {
                        end += rows.len() as u64;
                        Chunk { group, end, rows }
                    });
                    if chunk.as_ref().is_ok_and(|chunk| chunk.rows.is_empty()) {
                        break;
                    }
                    let last = chunk.is_err();
                    // Nobody wants more once the receiver is gone.
                    if sender.blocking_send(chunk).is_err() || last {
                        return;
                    }
                }
            }
        });
        stream::unfold(receiver, |mut chunks| async move { Some((chunks.recv().await?, chunks)) }).boxed()
    }
}

/// A row, and the text by which stores put it in order.
type Placed = Result<(Row, String)>;

impl ExportFile {
    fn place(&self) -> String {
        self.folder.place(&self.name)
    }

    fn open(&self) -> Result<Chunks> {
        let place = self.place();
        let file = self.folder.open(&self.name).map_err(|e| OpsError::cannot("read", &place, e))?;
        files::read(file.ok_or_else(|| OpsError::cannot("read", &place, IS_GONE))?, &place, self.format)
    }

    /// Its rows, up to what keeps it from being read.
    fn read(&self) -> Box<dyn Iterator<Item = Result<Vec<Row>>> + '_> {
        match self.open() {
            Ok(chunks) => {
                Box::new(chunks.map(|rows| rows.map_err(|why| OpsError::cannot("read", self.place(), why))))
            }
            Err(error) => Box::new(std::iter::once(Err(error))),
        }
    }

    fn rows(&self) -> impl Iterator<Item = Placed> {
        self.read().flat_map(|chunk| {
            let (rows, failure) = match chunk {
                Ok(rows) => (rows, None),
                Err(error) => (Vec::new(), Some(Err(error))),
            };
            let placed = |row: Row| {
                let text = row.key.to_string();
                Ok((row, text))
            };
            rows.into_iter().map(placed).chain(failure)
        })
    }
}

/// Whether a row comes before another; what keeps a file from being read comes first.
fn comes_first(a: &Placed, b: &Placed) -> bool {
    match (a, b) {
        (Ok((_, a)), Ok((_, b))) => a < b,
        (a, _) => a.is_err(),
    }
}
