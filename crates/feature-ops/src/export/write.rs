//! Rows into files.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use feature_core::{Error, Record};
use tokio::sync::mpsc::Receiver;

use super::{ExportProgress, NAMED};
use crate::error::{OpsError, Result};
use crate::files::{self, CHUNK_ROWS, Decoded, Format, Row, Writer};
use crate::folder::Folder;
use crate::manifest::{Manifest, Part};

/// How many files of a folder are written at a time: to take records apart and to compress them costs more than to
/// read them.
const FILES_AT_A_TIME: usize = 2;

/// Where rows go.
pub(super) enum Target {
    /// Each run into a file of its own.
    Folder {
        folder: Folder,
        manifest: Manifest,
        part_records: u64,
    },
    File {
        path: PathBuf,
        format: Format,
    },
    Out(Box<dyn Write + Send>, Format),
}

/// Rows that are put in order, and written together.
pub(super) type Run = Vec<Row>;

/// What has been written.
#[derive(Default)]
pub(super) struct Written {
    pub(super) records: u64,
    pub(super) files: usize,
    pub(super) damaged: Vec<Error>,
    pub(super) more_damaged: u64,
    pub(super) folder: Option<(Folder, Manifest)>,
}

impl Target {
    /// How many records a run has, at most.
    pub(super) fn most_records(&self) -> u64 {
        match self {
            Self::Folder { part_records, .. } => *part_records,
            Self::File { .. } | Self::Out(..) => u64::MAX,
        }
    }

    /// Writes all runs. Blocks.
    pub(super) fn write(self, mut runs: Receiver<Run>, progress: &ExportProgress) -> Result<Written> {
        match self {
            Self::Out(out, format) => {
                let written =
                    files::writer(format, out).and_then(|writer| write_all(&mut runs, writer, progress));
                written.map_err(|e| OpsError::File(format!("cannot write the export: {e}")))
            }
            Self::File { path, format } => {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                let folder = Folder::from(path.parent().unwrap_or(&path));
                let written = folder
                    .write(&name, |file| write_all(&mut runs, files::writer(format, file)?, progress))
                    .map_err(|e| OpsError::cannot("write", path.display(), e))?;
                Ok(Written { files: 1, ..written })
            }
            Self::Folder { folder, manifest, .. } => Parts::new(folder, manifest).write(runs, progress),
        }
    }
}

/// Writes all runs into one file.
fn write_all(
    runs: &mut Receiver<Run>,
    mut writer: Box<dyn Writer>,
    progress: &ExportProgress,
) -> io::Result<Written> {
    let mut written = Written::default();
    while let Some(run) = runs.blocking_recv() {
        written.add(write_run(run, &mut *writer, progress)?);
    }
    writer.finish()?;
    Ok(written)
}

/// Writes a run in the order of its keys, in which a store that sorts them takes it back at a fraction of the cost.
fn write_run(mut run: Run, writer: &mut dyn Writer, progress: &ExportProgress) -> io::Result<Written> {
    run.sort_by_cached_key(|row| row.key.to_string());
    let (mut rows, mut written) = (run.into_iter(), Written::default());
    while rows.len() > 0 {
        let decoded: Vec<_> = rows.by_ref().take(CHUNK_ROWS).filter_map(|row| written.decode(row)).collect();
        writer.write(&decoded)?;
        written.records += decoded.len() as u64;
        progress.add(1, decoded.len());
    }
    Ok(written)
}

impl Written {
    /// The row, unless it is damaged.
    fn decode(&mut self, row: Row) -> Option<Decoded> {
        match Record::decode(&row.bytes) {
            Ok(record) => return Some(Decoded { row, record }),
            Err(error) => self.damage(error.with_key(&row.key)),
        }
        None
    }

    fn damage(&mut self, error: Error) {
        match self.damaged.len() < NAMED {
            true => self.damaged.push(error),
            false => self.more_damaged += 1,
        }
    }

    fn add(&mut self, other: Self) {
        self.records += other.records;
        self.more_damaged += other.more_damaged;
        other.damaged.into_iter().for_each(|error| self.damage(error));
    }
}

/// The files of a folder.
struct Parts {
    folder: Folder,
    state: Mutex<State>,
}

struct State {
    manifest: Manifest,
    /// How many have been begun, those of an export that was stopped included.
    begun: usize,
    /// Those that are whole, while one before them is not. After a stop they are written anew.
    ahead: BTreeMap<usize, Part>,
    written: Written,
    failure: Option<OpsError>,
}

impl Parts {
    fn new(folder: Folder, manifest: Manifest) -> Self {
        let begun = manifest.parts.len();
        let state =
            State { manifest, begun, ahead: BTreeMap::new(), written: Written::default(), failure: None };
        Self { folder, state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(self, runs: Receiver<Run>, progress: &ExportProgress) -> Result<Written> {
        let runs = Mutex::new(runs);
        thread::scope(|scope| {
            for _ in 0..FILES_AT_A_TIME {
                scope.spawn(|| {
                    while let Some((number, run)) = self.next(&runs) {
                        if let Err(failure) = self.write_part(number, run, progress) {
                            self.state().failure.get_or_insert(failure);
                            break;
                        }
                    }
                    // Who gives runs learns that nobody takes them.
                    if self.state().failure.is_some() {
                        runs.lock().unwrap_or_else(PoisonError::into_inner).close();
                    }
                });
            }
        });
        let State { manifest, mut written, failure, .. } =
            self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Some(failure) = failure {
            return Err(failure);
        }
        written.files = manifest.parts.len();
        written.folder = Some((self.folder, manifest));
        Ok(written)
    }

    /// The next run, and the number of its file.
    fn next(&self, runs: &Mutex<Receiver<Run>>) -> Option<(usize, Run)> {
        let mut runs = runs.lock().unwrap_or_else(PoisonError::into_inner);
        let run = runs.blocking_recv()?;
        let mut state = self.state();
        state.begun += 1;
        Some((state.begun - 1, run))
    }

    fn write_part(&self, number: usize, run: Run, progress: &ExportProgress) -> Result<()> {
        let format = self.state().manifest.format;
        let file = format!("part-{number:05}.{}", format.extension());
        let cannot = |e| OpsError::cannot("write", self.folder.place(&file), e);
        let written = self.folder.write(&file, |out| {
            let mut writer = files::writer(format, out)?;
            let written = write_run(run, &mut *writer, progress)?;
            writer.finish()?;
            Ok(written)
        });
        let written = written.map_err(cannot)?;
        let mut state = self.state();
        let part = Part { file: file.clone(), records: written.records };
        state.ahead.insert(number, part);
        state.written.add(written);
        let State { manifest, ahead, .. } = &mut *state;
        if number != manifest.parts.len() {
            return Ok(());
        }
        while let Some(part) = ahead.remove(&manifest.parts.len()) {
            manifest.parts.push(part);
        }
        manifest.write(&self.folder).map_err(cannot)
    }
}
