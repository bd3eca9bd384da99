//! Where rejected rows go.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::row::Reject;

/// Takes the rows that are not written.
pub trait RejectSink: Send + 'static {
    /// Takes a row.
    ///
    /// # Errors
    /// Why it cannot be kept, which ends the load.
    fn reject(&mut self, reject: Reject) -> io::Result<()>;

    /// Makes sure that every row is kept.
    ///
    /// # Errors
    /// Why one cannot be.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Any function that takes them.
impl<F: FnMut(Reject) -> io::Result<()> + Send + 'static> RejectSink for F {
    fn reject(&mut self, reject: Reject) -> io::Result<()> {
        self(reject)
    }
}

/// A file with a JSON object a line, made (or overwritten) when the first row is rejected.
#[derive(Debug)]
pub struct RejectsFile {
    path: PathBuf,
    file: Option<BufWriter<File>>,
    /// Whether what the file already has is kept.
    append: bool,
}

impl RejectsFile {
    /// The file at this path.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), file: None, append: false }
    }

    /// Keeps what the file already has, for a load that goes on where another stopped.
    #[must_use]
    pub fn append(mut self) -> Self {
        self.append = true;
        self
    }
}

impl RejectSink for RejectsFile {
    fn reject(&mut self, reject: Reject) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            None => {
                let mut options = File::options();
                let options = options.create(true).write(true).append(self.append).truncate(!self.append);
                self.file.insert(BufWriter::new(options.open(&self.path)?))
            }
        };
        serde_json::to_writer(&mut *file, &reject)?;
        file.write_all(b"\n")
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.as_mut().map_or(Ok(()), BufWriter::flush)
    }
}
