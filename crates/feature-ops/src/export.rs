//! Records of a store into files.

use std::collections::HashSet;
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
use crate::folder::Folder;
use crate::is_gone;
use crate::manifest::{Manifest, Part};
use crate::source::ExportFiles;

/// How many bytes of keys and records are put in order at a time. One more such run is gathered, and one waits,
/// while one is written.
const RUN_BYTES: usize = 16 << 20;
/// How many damaged records are named.
const NAMED: usize = 100;

/// What is exported, and how.
#[derive(Clone, Debug)]
pub struct ExportOptions {
    /// Which records. Default all.
    pub scope: Scope,
    /// What the files are, where their name does not tell. Default Parquet.
    pub format: Format,
    /// How many records a file of a folder has at most; it has fewer once they come to 16 MiB. Default 100,000.
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
    Folder { folder: Folder, manifest: Manifest, part_records: u64 },
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
    pub fn to_folder(folder: impl Into<Folder>, options: &ExportOptions, clock: &dyn Clock) -> Result<Self> {
        let folder = folder.into();
        folder.make().map_err(|e| OpsError::cannot("make", &folder, e))?;
        let new = Manifest::new(options.format, &options.scope, clock.now());
        let manifest = match Manifest::read(&folder)? {
            None => {
                let files = folder.list().map_err(|e| OpsError::cannot("read", &folder, e))?;
                if !files.is_empty() {
                    return Err(OpsError::Request(format!(
                        "the folder {folder} has other files; name a new one"
                    )));
                }
                new
            }
            Some(found) if found.ended.is_some() => {
                return Err(OpsError::Request(format!(
                    "the folder {folder} has a whole export; name a new one"
                )));
            }
            Some(found)
                if (found.format, &found.tenant, &found.view) != (new.format, &new.tenant, &new.view) =>
            {
                let message = format!(
                    "the export in {folder} that was stopped is of other records or of another format; \
                     name a new folder"
                );
                return Err(OpsError::Request(message));
            }
            Some(found) => found,
        };
        // Its place is kept before there is anything to lose.
        manifest.write(&folder).map_err(|e| OpsError::cannot("write to", &folder, e))?;
        let known = known(&manifest, &folder)?;
        let part_records = options.part_records.max(1);
        let target = Target::Folder { folder, manifest, part_records };
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
        let most = target.most_records();
        let (sender, receiver) = mpsc::channel(1);
        let counts = progress.clone();
        let writing = tokio::task::spawn_blocking(move || write(target, receiver, &counts));
        let mut chunks = store.scan(&scope).chunks(CHUNK_ROWS);
        let mut failure = None;
        let (mut run, mut bytes_of_run) = (Vec::new(), 0);
        while let (Some(chunk), None) = (chunks.next().await, &failure) {
            progress.add(0, chunk.len());
            let now = clock.now();
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
                    Ok(header) if is_gone(&header, now) => {
                        report.expired += 1;
                        continue;
                    }
                    _ => {}
                }
                bytes_of_run += key.entity().canonical().len() + bytes.len();
                run.push(Row { key, bytes });
                if bytes_of_run >= RUN_BYTES || run.len() as u64 >= most {
                    bytes_of_run = 0;
                    if sender.send(std::mem::take(&mut run)).await.is_err() {
                        break;
                    }
                }
            }
        }
        // What has been read is written in any case, so that the export can go on after it. If nobody takes it,
        // the writing has failed, and says so.
        let _ = sender.send(run).await;
        drop(sender);
        let written = writing.await.map_err(|e| OpsError::File(format!("the writing stopped: {e}")))??;
        if let Some(error) = failure {
            return Err(error.into());
        }
        written.damaged.into_iter().for_each(|error| report.damage(error));
        report.damaged += written.more_damaged;
        (report.records, report.files) = (resumed + written.records, written.files);
        if let Some((folder, mut manifest)) = written.folder {
            manifest.ended = Some(clock.now());
            let ended = tokio::task::spawn_blocking(move || {
                manifest.write(&folder).map_err(|e| OpsError::cannot("write to", &folder, e))
            });
            ended.await.map_err(|e| OpsError::File(format!("the writing stopped: {e}")))??;
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

/// Enough to know a record again: of a thousand million, no two are mistaken for each other in practice.
pub(crate) fn hash(key: &RecordKey) -> u128 {
    XxHash3_128::oneshot(key.to_string().as_bytes())
}

/// What the parts of an export that was stopped have.
fn known(manifest: &Manifest, folder: &Folder) -> Result<HashSet<u128>> {
    let mut known = HashSet::new();
    let files = ExportFiles::of_parts(manifest, folder)?;
    for chunk in files.read() {
        known.extend(chunk?.iter().map(|row| hash(&row.key)));
    }
    Ok(known)
}

impl Target {
    /// How many records go into one of its files, or are put in order, at most.
    fn most_records(&self) -> u64 {
        match self {
            Self::Folder { part_records, .. } => *part_records,
            Self::File { .. } | Self::Out(..) => u64::MAX,
        }
    }
}

/// What the writing thread has done.
#[derive(Default)]
struct Written {
    records: u64,
    files: usize,
    damaged: Vec<Error>,
    more_damaged: u64,
    folder: Option<(Folder, Manifest)>,
}

/// Runs of rows on their way into files.
struct Runs<'a> {
    runs: mpsc::Receiver<Vec<Row>>,
    written: Written,
    progress: &'a ExportProgress,
}

fn write(target: Target, runs: mpsc::Receiver<Vec<Row>>, progress: &ExportProgress) -> Result<Written> {
    let mut runs = Runs { runs, written: Written::default(), progress };
    match target {
        Target::Out(out, format) => {
            let written = files::writer(format, out).and_then(|writer| runs.write_all(writer));
            written.map_err(|e| OpsError::File(format!("cannot write the export: {e}")))?;
        }
        Target::File { path, format } => {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let folder = Folder::from(path.parent().unwrap_or(&path));
            folder
                .write(&name, |file| runs.write_all(files::writer(format, file)?))
                .map_err(|e| OpsError::cannot("write", path.display(), e))?;
            runs.written.files = 1;
        }
        Target::Folder { folder, mut manifest, .. } => {
            while let Some(run) = runs.next() {
                let file = format!("part-{:05}.{}", manifest.parts.len(), manifest.format.extension());
                let place = folder.place(&file);
                let part = folder.write(&file, |out| {
                    let mut writer = files::writer(manifest.format, out)?;
                    let records = runs.write(run, &mut *writer)?;
                    writer.finish()?;
                    Ok(records)
                });
                let part = part.and_then(|records| {
                    manifest.parts.push(Part { file, records });
                    manifest.write(&folder)
                });
                part.map_err(|e| OpsError::cannot("write", place, e))?;
            }
            runs.written.files = manifest.parts.len();
            runs.written.folder = Some((folder, manifest));
        }
    }
    Ok(runs.written)
}

impl Runs<'_> {
    fn next(&mut self) -> Option<Vec<Row>> {
        std::iter::from_fn(|| self.runs.blocking_recv()).find(|run| !run.is_empty())
    }

    fn write_all(&mut self, mut writer: Box<dyn Writer>) -> io::Result<()> {
        while let Some(run) = self.next() {
            self.write(run, &mut *writer)?;
        }
        writer.finish()
    }

    /// Writes a run in the order of its keys, in which a store that sorts them takes it back at a fraction of the
    /// cost; returns how many records those were.
    fn write(&mut self, mut run: Vec<Row>, writer: &mut dyn Writer) -> io::Result<u64> {
        run.sort_by_cached_key(|row| row.key.to_string());
        let (mut rows, mut records) = (run.into_iter(), 0);
        while rows.len() > 0 {
            let decoded: Vec<_> =
                rows.by_ref().take(CHUNK_ROWS).filter_map(|row| self.written.decode(row)).collect();
            writer.write(&decoded)?;
            records += decoded.len() as u64;
            self.progress.add(1, decoded.len());
        }
        self.written.records += records;
        Ok(records)
    }
}

impl Written {
    /// The row, unless it is damaged.
    fn decode(&mut self, row: Row) -> Option<Decoded> {
        match Record::decode(&row.bytes) {
            Ok(record) => return Some(Decoded { row, record }),
            Err(error) if self.damaged.len() < NAMED => self.damaged.push(error.with_key(&row.key)),
            Err(_) => self.more_damaged += 1,
        }
        None
    }
}
