//! Where the files of an export are.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Seek};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A folder of an object store, as far as exports need one. Its methods block.
pub trait ObjectFolder: fmt::Debug + Send + Sync {
    /// Its URL, for messages.
    fn url(&self) -> &str;

    /// The objects in it: names and bytes.
    ///
    /// # Errors
    /// Why the store does not tell.
    fn list(&self) -> io::Result<Vec<(String, u64)>>;

    /// Writes an object to a file; `false` where there is none.
    ///
    /// # Errors
    /// Why it cannot be read, or written.
    fn get(&self, name: &str, to: &mut File) -> io::Result<bool>;

    /// Makes an object of what a file has, so that nobody sees a part of it.
    ///
    /// # Errors
    /// Why the store does not take it.
    fn put(&self, name: &str, from: &mut File) -> io::Result<()>;
}

/// A folder that an export is written to, or read from.
#[derive(Clone, Debug)]
pub enum Folder {
    /// Of the file system.
    Local(PathBuf),
    /// Of an object store.
    Objects(Arc<dyn ObjectFolder>),
}

impl<P: AsRef<Path> + ?Sized> From<&P> for Folder {
    fn from(path: &P) -> Self {
        Self::Local(path.as_ref().to_owned())
    }
}

impl fmt::Display for Folder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(path) => path.display().fmt(f),
            Self::Objects(objects) => f.write_str(objects.url()),
        }
    }
}

impl Folder {
    /// A file of it, as its user knows it.
    pub(crate) fn place(&self, name: &str) -> String {
        match self {
            Self::Local(path) => path.join(name).display().to_string(),
            Self::Objects(objects) => format!("{}/{name}", objects.url()),
        }
    }

    /// Makes it where it does not exist.
    pub(crate) fn make(&self) -> io::Result<()> {
        match self {
            Self::Local(path) => fs::create_dir_all(path),
            Self::Objects(_) => Ok(()),
        }
    }

    /// The files in it: names and bytes. Without what was half written when a process died.
    pub(crate) fn list(&self) -> io::Result<Vec<(String, u64)>> {
        let path = match self {
            Self::Local(path) => path,
            Self::Objects(objects) => return objects.list(),
        };
        let mut files = Vec::new();
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if !name.starts_with('.') {
                files.push((name, entry.metadata()?.len()));
            }
        }
        Ok(files)
    }

    /// A file of it to be read; an object as a copy, which is gone once it is closed. `None` where there is none.
    pub(crate) fn open(&self, name: &str) -> io::Result<Option<File>> {
        match self {
            Self::Local(path) => match File::open(path.join(name)) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
                file => file.map(Some),
            },
            Self::Objects(objects) => {
                let mut copy = tempfile::tempfile()?;
                let found = objects.get(name, &mut copy)?;
                copy.rewind()?;
                Ok(found.then_some(copy))
            }
        }
    }

    /// Writes a file that is there once it is whole.
    pub(crate) fn write<T>(&self, name: &str, fill: impl FnOnce(File) -> io::Result<T>) -> io::Result<T> {
        match self {
            Self::Local(path) => {
                let new = path.join(format!(".{name}.new"));
                let file = File::create(&new)?;
                let filled = fill(file.try_clone()?)?;
                file.sync_all()?;
                fs::rename(new, path.join(name))?;
                Ok(filled)
            }
            Self::Objects(objects) => {
                let mut file = tempfile::tempfile()?;
                let filled = fill(file.try_clone()?)?;
                file.rewind()?;
                objects.put(name, &mut file)?;
                Ok(filled)
            }
        }
    }
}
