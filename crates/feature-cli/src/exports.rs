//! Where exports are: in the file system, or in an object store.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use feature_ingest::ObjectFolder;
use feature_ops::{ExportFiles, Folder};

use crate::exit::{Failure, Result};

#[derive(Debug)]
struct Objects(ObjectFolder);

impl feature_ops::ObjectFolder for Objects {
    fn url(&self) -> &str {
        self.0.url()
    }

    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        self.0.list()
    }

    fn get(&self, name: &str, to: &mut File) -> io::Result<bool> {
        self.0.get(name, to)
    }

    fn put(&self, name: &str, from: &mut File) -> io::Result<()> {
        self.0.put(name, from)
    }
}

/// Whether a path is the URL of an object store.
pub(crate) fn is_url(path: &Path) -> bool {
    path.to_str().is_some_and(|text| text.contains("://"))
}

/// The folder that is meant.
pub(crate) fn folder(path: &Path) -> Result<Folder> {
    match path.to_str().filter(|_| is_url(path)) {
        Some(url) => Ok(Folder::Objects(Arc::new(Objects(ObjectFolder::open(url)?)))),
        None => Ok(Folder::from(path)),
    }
}

/// The files of exports.
pub(crate) async fn files(names: Vec<PathBuf>) -> Result<ExportFiles> {
    blocking(move || {
        let mut all = ExportFiles::default();
        for name in names {
            all.add(match is_url(&name) {
                true => ExportFiles::of_folder(folder(&name)?)?,
                false => ExportFiles::find(&[name])?,
            });
        }
        Ok(all)
    })
    .await
}

/// Waits for what may take a while on a thread where that does no harm.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|e| Failure::Other(format!("the reading stopped: {e}")))?
}
