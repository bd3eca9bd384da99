//! The arguments of `inspect`, `export`, `import`, `diff` and `forget`.

use std::path::PathBuf;

use clap::Args;
use feature_core::EntityKey;

use super::{Place, entity, name, tenant};

#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    #[command(flatten)]
    pub(crate) place: Place,
    /// The entity, such as customer_id=cust-123.
    #[arg(value_parser = entity)]
    pub(crate) entity: EntityKey,
}

/// Which records; by default all.
#[derive(Debug, Args)]
pub(crate) struct Records {
    /// The tenant; by default all of them.
    #[arg(long, value_parser = tenant)]
    pub(crate) tenant: Option<String>,
    /// The feature view; by default all.
    #[arg(long, value_parser = name, requires = "tenant")]
    pub(crate) view: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = EXPORT_HELP)]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    pub(crate) records: Records,
    /// A folder, which must be new or have an export that was stopped, also of an object store, such as
    /// s3://bucket/backup; or one file, named .parquet or .ndjson; or `-`, which is NDJSON on standard output.
    #[arg(long, value_name = "PLACE")]
    pub(crate) to: PathBuf,
    /// What the files of a folder are.
    #[arg(long = "as", value_name = "FORMAT", default_value = "parquet", value_parser = ["parquet", "ndjson"])]
    pub(crate) files: String,
    /// How many records a file of a folder has, at most. It has fewer once they take 8 MiB of memory.
    #[arg(long, default_value_t = 100_000, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) part_records: u64,
}

const EXPORT_HELP: &str = "\
    Each record is as the store had it at some instant meanwhile; nothing waits for the export. Expired records are \
    left out. An export into a folder that was stopped goes on when it is run again. Without --tenant, what \
    `fstore apply` has declared is among the records.";

#[derive(Debug, Args)]
#[command(after_help = IMPORT_HELP)]
pub(crate) struct ImportArgs {
    /// Folders that `fstore export` has written, also of an object store, or files.
    #[arg(required = true, value_name = "FROM")]
    pub(crate) from: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) records: Records,
    /// How many batches of 1,000 records are written at a time.
    #[arg(long, default_value_t = 4, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=256))]
    pub(crate) concurrency: u32,
    /// Keep in this file how far the import is, and go on from there if it was stopped before its end.
    #[arg(long, value_name = "FILE")]
    pub(crate) checkpoint: Option<PathBuf>,
    /// Also from an export that was stopped before its end.
    #[arg(long)]
    pub(crate) unfinished: bool,
}

const IMPORT_HELP: &str = "\
    Each feature keeps the newer of both values; on equal event times what the store has stays. So an import is \
    harmless to a store that is used, and can be repeated. A record expires at the instant at which it would have. \
    One that the store does not take is told, the others are written, and the exit code is 3.";

#[derive(Debug, Args)]
#[command(after_help = DIFF_HELP)]
pub(crate) struct DiffArgs {
    /// A store's URL, its name in the settings file of --config, or an export: a folder or a file.
    pub(crate) a: String,
    /// The other.
    pub(crate) b: String,
    #[command(flatten)]
    pub(crate) records: Records,
    /// How many of the records that differ are listed.
    #[arg(long, default_value_t = 10, value_name = "N")]
    pub(crate) limit: usize,
}

const DIFF_HELP: &str = "\
    Two records are equal when their bytes are: values, types, event times, expiry. Expired records are as good as none. \
    What differs in a store is looked at again after half a second, since a write may have been under way.";

#[derive(Debug, Args)]
#[command(after_help = FORGET_HELP)]
pub(crate) struct ForgetArgs {
    /// The tenant.
    #[arg(long, value_parser = tenant)]
    pub(crate) tenant: String,
    /// The entity, such as customer_id=cust-123: records whose entity has more join keys beside these go, too.
    #[arg(value_parser = entity)]
    pub(crate) entity: EntityKey,
    /// List the records, and remove nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do not ask.
    #[arg(long)]
    pub(crate) yes: bool,
}

const FORGET_HELP: &str = "\
    Every record of the tenant is looked at, in each store of the settings file: those that serve, their mirrors and \
    fallbacks, and both ends of a migration. Then they are gone through again, until nothing is found. Exports made \
    before still have the records, and servers that cache may serve them until their cache's time is over.";
