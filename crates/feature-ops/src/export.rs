//! Records of a store into files.

mod write;

use std::collections::HashSet;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use feature_core::{Clock, Error, ErrorKind, OnlineStoreBackend, RecordHeader, RecordKey, Scope, ViewKey};
use futures::StreamExt;
use tokio::sync::mpsc;
use twox_hash::XxHash3_128;

use crate::error::{OpsError, Result};
use crate::files::{CHUNK_ROWS, Format, Row};
use crate::folder::Folder;
use crate::is_gone;
use crate::manifest::Manifest;
use crate::source::ExportFiles;
use write::Target;

/// How many bytes in memory are put in order at a time. One more such run is gathered, and one waits, while others are
/// written.
const RUN_BYTES: usize = 8 << 20;
/// About how many bytes a row takes in memory beside its text and its record.
const ROW_BYTES: usize = 160;
/// How many damaged records are named.
const NAMED: usize = 100;

/// What is exported, and how.
#[derive(Clone, Debug)]
pub struct ExportOptions {
    /// Which records. Default all.
    pub scope: Scope,
    /// What the files are, where their name does not tell. Default Parquet.
    pub format: Format,
    /// How many records a file of a folder has at most; it has fewer once they take 8 MiB of memory. Default 100,000.
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
        let writing = tokio::task::spawn_blocking(move || target.write(receiver, &counts));
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
                bytes_of_run += ROW_BYTES + key.entity().canonical().len() + bytes.len();
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
        if !run.is_empty() {
            let _ = sender.send(run).await;
        }
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
