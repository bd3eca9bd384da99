//! What a folder with an export says of itself.

use std::fmt;
use std::io::{self, BufReader, Write};

use feature_core::{Result as CoreResult, Scope, Timestamp};
use serde::{Deserialize, Serialize};

use crate::error::{OpsError, Result};
use crate::files::Format;
use crate::folder::Folder;

/// The file's name. It begins so that programs which read folders of data pass it over.
pub const MANIFEST: &str = "_export.json";

/// What a folder with an export says of itself. Written anew after each part, so that an export that was stopped
/// can go on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The version of this description, and of the files' columns.
    pub version: u32,
    /// What the files are.
    pub format: Format,
    /// The tenant; `None` is all.
    pub tenant: Option<String>,
    /// The feature view; `None` is all.
    pub view: Option<String>,
    /// When the export began. Each record is as it was at some instant since.
    pub began: Timestamp,
    /// When it ended; `None` where it has not.
    pub ended: Option<Timestamp>,
    /// The files.
    pub parts: Vec<Part>,
}

/// A file of an export.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Its name.
    pub file: String,
    /// How many records it has.
    pub records: u64,
}

impl Manifest {
    pub(crate) fn new(format: Format, scope: &Scope, began: Timestamp) -> Self {
        let (tenant, view) = match scope {
            Scope::Store => (None, None),
            Scope::Tenant(tenant) => (Some(tenant.clone()), None),
            Scope::View(view) => (Some(view.tenant().to_owned()), Some(view.view().to_owned())),
        };
        Self { version: 1, format, tenant, view, began, ended: None, parts: Vec::new() }
    }

    /// What was exported.
    ///
    /// # Errors
    /// `InvalidArgument` for an empty name.
    pub fn scope(&self) -> CoreResult<Scope> {
        match (&self.tenant, &self.view) {
            (Some(tenant), Some(view)) => Scope::view(tenant, view),
            (Some(tenant), None) => Scope::tenant(tenant),
            (None, _) => Ok(Scope::Store),
        }
    }

    /// The manifest of a folder; `None` where there is none.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub fn read(folder: &Folder) -> Result<Option<Self>> {
        let unreadable = |e: &dyn fmt::Display| OpsError::cannot("read", folder.place(MANIFEST), e);
        let Some(file) = folder.open(MANIFEST).map_err(|e| unreadable(&e))? else { return Ok(None) };
        let manifest: Self = serde_json::from_reader(BufReader::new(file)).map_err(|e| unreadable(&e))?;
        match manifest.version {
            1 => Ok(Some(manifest)),
            version => Err(unreadable(&format_args!(
                "it has version {version}, this software reads version 1; update it"
            ))),
        }
    }

    /// Writes it so that there is always a whole one.
    pub(crate) fn write(&self, folder: &Folder) -> io::Result<()> {
        folder.write(MANIFEST, |mut file| {
            serde_json::to_writer_pretty(&mut file, self)?;
            file.write_all(b"\n")
        })
    }
}
