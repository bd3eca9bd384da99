//! Objects: files in S3, Google Cloud Storage and Azure Blob Storage, and behind HTTP.

mod explain;
mod find;
mod folder;
mod object;
#[cfg(feature = "parquet")]
mod ranges;
mod store;

pub(crate) use find::find;
pub use folder::ObjectFolder;
pub(crate) use object::Object;
#[cfg(feature = "parquet")]
pub(crate) use ranges::Ranges;

#[cfg(test)]
#[cfg(all(feature = "arrow", feature = "compression", feature = "csv", feature = "parquet"))]
mod tests;
