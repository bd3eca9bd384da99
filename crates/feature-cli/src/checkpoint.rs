//! How far a long command is, kept in a file, so that it can go on where it stopped.

use std::fs;
use std::io;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::exit::{Failure, Result};

/// What a command before this one has left.
pub(crate) fn read<C: DeserializeOwned>(file: &Path) -> Result<Option<C>> {
    let unreadable = |e: &dyn std::fmt::Display| {
        Failure::Other(format!("cannot read the checkpoint {}: {e}; remove it to begin anew", file.display()))
    };
    match fs::read_to_string(file) {
        Ok(text) => serde_json::from_str(&text).map(Some).map_err(|e| unreadable(&e)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(unreadable(&e)),
    }
}

/// Writes a checkpoint so that there is always a whole one.
pub(crate) fn write(file: &Path, checkpoint: &impl Serialize) -> io::Result<()> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut new = tempfile::NamedTempFile::new_in(folder)?;
    serde_json::to_writer(&mut new, checkpoint)?;
    new.persist(file)?;
    Ok(())
}

/// Keeps where a command that has not ended can go on.
pub(crate) fn keep(file: &Path, checkpoint: Option<&impl Serialize>) -> Result<()> {
    let kept = match checkpoint {
        Some(checkpoint) => write(file, checkpoint),
        None => fs::remove_file(file).or_else(|e| match e.kind() {
            io::ErrorKind::NotFound => Ok(()),
            _ => Err(e),
        }),
    };
    kept.map_err(|e| Failure::Other(format!("cannot keep the checkpoint {}: {e}", file.display())))
}
