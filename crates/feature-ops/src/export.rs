//! Records of a store into files.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use feature_core::{
    Clock, Error, ErrorKind, OnlineStoreBackend, Record, RecordHeader, RecordKey, Scope, ViewKey,
};
use futures::StreamExt;
use tokio::sync::mpsc;
use twox_hash::XxHash3_128;

use crate::error::{OpsError, Result};
use crate::files::{self, CHUNK_ROWS, Decoded, Format, Row, Writer};
use crate::is_gone;
use crate::manifest::{Manifest, Part};

/// How many chunks of rows may wait for being written.
const CHUNKS_AHEAD: usize = 2;
/// How many damaged records are named.
const NAMED: usize = 100;

/// What is exported, and how.
#[derive(Clone, Debug)]
pub struct ExportOptions {
    /// Which records. Default all.
    pub scope: Scope,
    /// What the files are, where their name does not tell. Default Parquet.
    pub format: Format,
    /// How many records a file of a folder has. Default 100,000.
    pub part_records: u64,
}

impl Default for ExportOptions {
    fn default() -> Self {
        Self { scope: Scope::Store, format: Format::Parquet, part_records: 100_000 }
    }
}

/// An export that can run.
pub struct Export {
    scope: Scope,
    target: Target,
    /// What an export that was stopped already has, by hash.
    known: HashSet<u128>,
}

enum Target {
    Folder { path: PathBuf, manifest: Manifest, part_records: u64 },
    File { path: PathBuf, format: Format },
    Out(Box<dyn Write + Send>, Format),
}

/// How far an export is, to be read while it runs. Clones share the counts.
#[derive(Clone, Debug, Default)]
pub struct ExportProgress(Arc<[AtomicU64; 2]>);

impl ExportProgress {
    /// Records that the store has given.
    pub fn read(&self) -> u64 {
        self.0[0].load(Ordering::Relaxed)
    }

    /// Records that are in the files.
    pub fn written(&self) -> u64 {
        self.0[1].load(Ordering::Relaxed)
    }

    fn add(&self, at: usize, records: usize) {
        self.0[at].fetch_add(records as u64, Ordering::Relaxed);
    }
}

/// What an export has done.
#[derive(Clone, Debug, Default)]
pub struct ExportReport {
    /// Records in the files.
    pub records: u64,
    /// How many of those an export that was stopped had already.
    pub resumed: u64,
    /// Records that had expired, and are left out.
    pub expired: u64,
    /// Records that are damaged, and are left out.
    pub damaged: u64,
    /// Why, of the first hundred of those.
    pub failures: Vec<Error>,
    /// Files written, those of the export that was stopped included.
    pub files: usize,
}

impl Export {
    /// An export into a folder, in parts; one that was stopped there goes on.
    ///
    /// # Errors
    /// `Request` where the folder has another export, or one that has ended; `File` for what cannot be read or
    /// made.
    pub fn to_folder(path: &Path, options: &ExportOptions, clock: &dyn Clock) -> Result<Self> {
        fs::create_dir_all(path).map_err(|e| OpsError::cannot("make", path, e))?;
        let new = Manifest::new(options.format, &options.scope, clock.now());
        let found = Manifest::read(path)?;
        let name = path.display();
        let manifest = match found {
            None => {
                let mut entries = fs::read_dir(path).map_err(|e| OpsError::cannot("read", path, e))?;
                if entries.any(|entry| entry.is_ok_and(|entry| !is_scratch(&entry.file_name()))) {
                    return Err(OpsError::Request(format!(
                        "the folder {name} has other files; name a new one"
                    )));
                }
                new
            }
            Some(found) if found.ended.is_some() => {
                return Err(OpsError::Request(format!(
                    "the folder {name} has a whole export; name a new one"
                )));
            }
            Some(found)
                if (found.format, &found.tenant, &found.view) != (new.format, &new.tenant, &new.view) =>
            {
                let message = format!(
                    "the export in {name} that was stopped is of other records or of another format; \
                     name a new folder"
                );
                return Err(OpsError::Request(message));
            }
            Some(found) => found,
        };
        // Its place is kept before there is anything to lose.
        manifest.write(path).map_err(|e| OpsError::cannot("write to", path, e))?;
        let known = known(&manifest, path)?;
        let part_records = options.part_records.max(1);
        let target = Target::Folder { path: path.to_owned(), manifest, part_records };
        Ok(Self { scope: options.scope.clone(), target, known })
    }

    /// An export into one file, which is there once it is whole. Its name tells the format.
    ///
    /// # Errors
    /// `Request` where the name does not.
    pub fn to_file(path: &Path, options: &ExportOptions) -> Result<Self> {
        let format = Format::of_name(path).ok_or_else(|| {
            OpsError::Request(format!("{} is not named .parquet or .ndjson", path.display()))
        })?;
        let target = Target::File { path: path.to_owned(), format };
        Ok(Self { scope: options.scope.clone(), target, known: HashSet::new() })
    }

    /// An export into what a program has open, such as standard output.
    pub fn to_writer(out: impl Write + Send + 'static, options: &ExportOptions) -> Self {
        let target = Target::Out(Box::new(out), options.format);
        Self { scope: options.scope.clone(), target, known: HashSet::new() }
    }

    /// How many records an export that was stopped has already.
    pub fn resumed(&self) -> u64 {
        self.known.len() as u64
    }

    /// Writes the records of the views that `keep` names. Each is as the store had it at some instant
    /// meanwhile; writes need not wait.
    ///
    /// # Errors
    /// What the store reports, unless it is about one record; what keeps files from being written.
    pub async fn run(
        self,
        store: &dyn OnlineStoreBackend,
        clock: &dyn Clock,
        keep: impl Fn(&ViewKey) -> bool,
        progress: &ExportProgress,
    ) -> Result<ExportReport> {
        let Self { scope, target, mut known } = self;
        let resumed = known.len() as u64;
        let mut report = ExportReport { resumed, ..ExportReport::default() };
        let (sender, receiver) = mpsc::channel(CHUNKS_AHEAD);
        let counts = progress.clone();
        let writing = tokio::task::spawn_blocking(move || write(target, receiver, &counts));
        let mut chunks = store.scan(&scope).chunks(CHUNK_ROWS);
        let mut failure = None;
        while let (Some(chunk), None) = (chunks.next().await, &failure) {
            progress.add(0, chunk.len());
            let now = clock.now();
            let mut rows = Vec::with_capacity(chunk.len());
            for row in chunk {
                let (key, bytes) = match row {
                    Ok((key, record)) => (key, record.bytes),
                    // Anything else ends the scan, and what is left would be missing.
                    Err(error) if error.kind() == ErrorKind::Corrupt => {
                        report.damage(error);
                        continue;
                    }
                    Err(error) => {
                        failure = Some(error);
                        break;
                    }
                };
                if !keep(key.view()) || (resumed > 0 && !known.insert(hash(&key))) {
                    continue;
                }
                match RecordHeader::parse(&bytes) {
                    Ok(header) if is_gone(&header, now) => report.expired += 1,
                    _ => rows.push(Row { key, bytes }),
                }
            }
            if sender.send(rows).await.is_err() {
                break;
            }
        }
        // What has been read is written in any case, so that the export can go on after it.
        drop(sender);
        let written = writing.await.map_err(|e| OpsError::File(format!("the writing stopped: {e}")))??;
        if let Some(error) = failure {
            return Err(error.into());
        }
        written.damaged.into_iter().for_each(|error| report.damage(error));
        report.damaged += written.more_damaged;
        (report.records, report.files) = (resumed + written.records, written.files);
        if let Some((path, mut manifest)) = written.folder {
            manifest.ended = Some(clock.now());
            manifest.write(&path).map_err(|e| OpsError::cannot("write to", &path, e))?;
        }
        Ok(report)
    }
}

impl ExportReport {
    fn damage(&mut self, error: Error) {
        self.damaged += 1;
        if self.failures.len() < NAMED {
            self.failures.push(error);
        }
    }
}

/// Files that an export which was stopped leaves half written.
fn is_scratch(name: &std::ffi::OsStr) -> bool {
    name.to_str().is_some_and(|name| name.starts_with('.'))
}

/// Enough to know a record again: of a thousand million, no two are mistaken for each other in practice.
pub(crate) fn hash(key: &RecordKey) -> u128 {
    XxHash3_128::oneshot(key.to_string().as_bytes())
}

/// What the parts of an export that was stopped have.
fn known(manifest: &Manifest, folder: &Path) -> Result<HashSet<u128>> {
    let mut known = HashSet::new();
    for part in &manifest.parts {
        let path = folder.join(&part.file);
        for rows in files::read(&path, manifest.format)? {
            let rows = rows.map_err(|e| OpsError::cannot("read", &path, e))?;
            known.extend(rows.iter().map(|row| hash(&row.key)));
        }
    }
    Ok(known)
}

/// What the writing thread has done.
#[derive(Default)]
struct Written {
    records: u64,
    files: usize,
    damaged: Vec<Error>,
    more_damaged: u64,
    folder: Option<(PathBuf, Manifest)>,
}

fn write(target: Target, rows: mpsc::Receiver<Vec<Row>>, progress: &ExportProgress) -> Result<Written> {
    let mut rows = Rows { rows, next: Vec::new(), written: Written::default(), progress };
    match target {
        Target::Out(out, format) => {
            let written = files::writer(format, out).and_then(|writer| rows.write(writer, u64::MAX));
            written.map_err(|e| OpsError::File(format!("cannot write the export: {e}")))?;
        }
        Target::File { path, format } => {
            rows.write_file(&path, format, u64::MAX).map_err(|e| OpsError::cannot("write", &path, e))?;
            rows.written.files = 1;
        }
        Target::Folder { path, mut manifest, part_records } => {
            while rows.fill() {
                let file = format!("part-{:05}.{}", manifest.parts.len(), manifest.format.extension());
                let place = path.join(&file);
                let part = rows.write_file(&place, manifest.format, part_records).and_then(|records| {
                    manifest.parts.push(Part { file, records });
                    manifest.write(&path)
                });
                part.map_err(|e| OpsError::cannot("write", &place, e))?;
            }
            rows.written.files = manifest.parts.len();
            rows.written.folder = Some((path, manifest));
        }
    }
    Ok(rows.written)
}

/// Rows on their way into files.
struct Rows<'a> {
    rows: mpsc::Receiver<Vec<Row>>,
    next: Vec<Decoded>,
    written: Written,
    progress: &'a ExportProgress,
}

impl Rows<'_> {
    /// Whether there are more; those that come next are decoded.
    fn fill(&mut self) -> bool {
        while self.next.is_empty() {
            let Some(rows) = self.rows.blocking_recv() else { return false };
            for row in rows {
                match Record::decode(&row.bytes) {
                    Ok(record) => self.next.push(Decoded { row, record }),
                    Err(error) if self.written.damaged.len() < NAMED => {
                        self.written.damaged.push(error.with_key(&row.key));
                    }
                    Err(_) => self.written.more_damaged += 1,
                }
            }
        }
        true
    }

    /// Writes a file that is there once it is whole.
    fn write_file(&mut self, path: &Path, format: Format, most: u64) -> io::Result<u64> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let new = path.with_file_name(format!(".{name}.new"));
        let file = File::create(&new)?;
        let records = self.write(files::writer(format, file.try_clone()?)?, most)?;
        file.sync_all()?;
        fs::rename(new, path)?;
        Ok(records)
    }

    /// Writes at most so many rows.
    fn write(&mut self, mut writer: Box<dyn Writer>, most: u64) -> io::Result<u64> {
        let mut records = 0;
        while records < most && self.fill() {
            let room = usize::try_from(most - records).unwrap_or(usize::MAX).min(self.next.len());
            writer.write(&self.next[..room])?;
            self.next.drain(..room);
            records += room as u64;
            self.written.records += room as u64;
            self.progress.add(1, room);
        }
        writer.finish()?;
        Ok(records)
    }
}
