#![doc = include_str!("../README.md")]

mod diff;
mod error;
mod export;
mod files;
mod folder;
mod forget;
mod import;
mod inspect;
mod manifest;
mod source;

pub use diff::{Diff, DiffProgress, DiffReport, Difference, Side};
pub use error::{OpsError, Result};
pub use export::{Export, ExportOptions, ExportProgress, ExportReport};
pub use files::Format;
pub use folder::{Folder, ObjectFolder};
pub use forget::{Forget, ForgetProgress, ForgetReport, Forgotten};
pub use import::{Import, ImportCheckpoint, ImportOptions, ImportProgress};
pub use inspect::{Inspected, inspect};
pub use manifest::{MANIFEST, Manifest, Part};
pub use source::{ExportFiles, Source};

use feature_core::{RecordHeader, Timestamp};

/// Whether a record is as good as none: it has expired, or stands for one that was deleted while it was copied.
fn is_gone(header: &RecordHeader, now: Timestamp) -> bool {
    header.is_expired(now) || (header.features == 0 && header.event_time == Timestamp::MIN)
}
