#![doc = include_str!("../README.md")]

mod checkpoint;
mod error;
pub mod follow;
mod format;
mod guess;
mod input;
mod layout;
mod load;
mod mapping;
mod options;
mod pipeline;
mod plan;
mod progress;
mod rejects;
mod row;
mod schema;
pub mod text;
mod time;
mod worker;

pub use checkpoint::Checkpoint;
pub use error::{IngestError, Result};
pub use input::Input;
#[cfg(feature = "object-store")]
pub use input::ObjectFolder;
pub use load::{Load, Report};
pub use options::{Decimals, Format, IngestOptions, MissingColumns, NULL_VALUES};
pub use pipeline::Ended;
pub use plan::{ColumnPlan, ColumnRole};
pub use progress::Progress;
pub use rejects::{RejectSink, RejectsFile};
pub use row::Reject;
pub use time::{TimeUnit, Timezone};
