//! Where rows are read from: files, standard input, object stores, and what a program already has open.

mod find;
#[cfg(feature = "object-store")]
mod remote;
mod stream;

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

#[cfg(feature = "arrow")]
use ::arrow::array::RecordBatchReader;

pub(crate) use find::find;
#[cfg(feature = "object-store")]
pub use remote::ObjectFolder;
#[cfg(all(feature = "object-store", feature = "parquet"))]
pub(crate) use remote::Ranges;
pub(crate) use stream::{Count, Stream};

use crate::error::{IngestError, Result};
use crate::options::Format;

/// Something that rows are read from.
pub struct Input {
    name: String,
    place: Place,
    format: Option<Format>,
    /// Columns that the folders of its path give it: `country=US`. `None` is null.
    partitions: Vec<(String, Option<String>)>,
    /// How many bytes it has, where that is known.
    bytes: Option<u64>,
}

enum Place {
    File(PathBuf),
    #[cfg(feature = "object-store")]
    Object(remote::Object),
    /// What can be read once. Empty when it has been.
    Once(Mutex<Option<Box<dyn Read + Send>>>),
    /// What is in memory already, or made as it is read. Empty when it has been.
    #[cfg(feature = "arrow")]
    Batches(Mutex<Option<Box<dyn RecordBatchReader + Send>>>),
}

impl Input {
    /// What a program already has open, such as the body of a request. `name` stands in messages; without a
    /// format the content tells it.
    pub fn reader(name: &str, format: Option<Format>, reader: impl Read + Send + 'static) -> Self {
        let place = Place::Once(Mutex::new(Some(Box::new(reader))));
        Self { name: name.to_owned(), place, format, partitions: Vec::new(), bytes: None }
    }

    /// Record batches that a program has, such as a table of another library. `name` stands in messages.
    #[cfg(feature = "arrow")]
    pub fn batches(name: &str, batches: impl RecordBatchReader + Send + 'static) -> Self {
        let place = Place::Batches(Mutex::new(Some(Box::new(batches))));
        let format = Some(Format::Arrow);
        Self { name: name.to_owned(), place, format, partitions: Vec::new(), bytes: None }
    }

    /// The name, as the user knows it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many bytes it has, where that is known before it is read.
    pub fn bytes(&self) -> Option<u64> {
        self.bytes
    }

    pub(crate) fn partitions(&self) -> &[(String, Option<String>)] {
        &self.partitions
    }

    /// Whether it can be read but once.
    pub(crate) fn is_once(&self) -> bool {
        match self.place {
            Place::Once(_) => true,
            #[cfg(feature = "arrow")]
            Place::Batches(_) => true,
            // A pipe.
            Place::File(_) => self.bytes.is_none(),
            #[cfg(feature = "object-store")]
            Place::Object(_) => false,
        }
    }

    /// The bytes from the start, decompressed.
    pub(crate) fn stream(&self) -> Result<Stream> {
        let raw: Box<dyn Read + Send> = match &self.place {
            Place::File(path) => Box::new(File::open(path).map_err(|e| self.unreadable(e))?),
            #[cfg(feature = "object-store")]
            Place::Object(object) => object.read(),
            Place::Once(reader) => {
                let reader = reader.lock().unwrap_or_else(PoisonError::into_inner).take();
                reader.ok_or_else(|| self.read_before())?
            }
            // Nobody asks for their bytes: they are taken as they are.
            #[cfg(feature = "arrow")]
            Place::Batches(_) => return Err(self.read_before()),
        };
        Stream::new(raw).map_err(|e| self.unreadable(e))
    }

    /// The batches, if it is made of such.
    ///
    /// # Errors
    /// When they have been taken before.
    #[cfg(feature = "arrow")]
    pub(crate) fn take_batches(&self) -> Result<Option<Box<dyn RecordBatchReader + Send>>> {
        let Place::Batches(batches) = &self.place else { return Ok(None) };
        let batches = batches.lock().unwrap_or_else(PoisonError::into_inner).take();
        batches.ok_or_else(|| self.read_before()).map(Some)
    }

    fn read_before(&self) -> IngestError {
        self.unreadable("it can be read only once")
    }

    /// The bytes as a file, for formats whose reading begins at the end. What is not a plain file is copied
    /// into a temporary one.
    pub(crate) fn file(&self, mut stream: Stream) -> Result<File> {
        if let Place::File(path) = &self.place
            && !stream.is_compressed()
            && self.bytes.is_some()
        {
            return File::open(path).map_err(|e| self.unreadable(e));
        }
        let mut spooled = || -> io::Result<File> {
            let mut file = tempfile::tempfile()?;
            io::copy(&mut stream.reader, &mut file)?;
            file.seek(SeekFrom::Start(0))?;
            Ok(file)
        };
        spooled()
            .map_err(|e| IngestError::Input(format!("cannot copy {} into a temporary file: {e}", self.name)))
    }

    /// The parts of an object that is a Parquet file, if its store hands them out.
    #[cfg(all(feature = "object-store", feature = "parquet"))]
    pub(crate) fn ranges(&self) -> Option<Ranges> {
        match &self.place {
            Place::Object(object) => Ranges::open(object),
            _ => None,
        }
    }

    /// What it is: as its name says, or else its first bytes, which the stream still has.
    pub(crate) fn format(&self, stream: impl FnOnce() -> Result<Option<Format>>) -> Result<Format> {
        match self.format {
            Some(format) => Ok(format),
            None => stream()?.ok_or_else(|| {
                IngestError::Request(format!(
                    "neither the name nor the content of {} tells what it is: name its format, parquet, arrow, \
                     csv or json",
                    self.name
                ))
            }),
        }
    }

    pub(crate) fn unreadable(&self, why: impl fmt::Display) -> IngestError {
        IngestError::Input(format!("cannot read {}: {why}", self.name))
    }
}

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Input")
            .field("name", &self.name)
            .field("format", &self.format)
            .field("partitions", &self.partitions)
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}
