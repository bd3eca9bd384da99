//! The command line's arguments.

mod bench;
mod ingest;
mod ops;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use clap::parser::ValueSource;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use feature_core::{EntityKey, SYSTEM_TENANT, Timestamp, Ttl, parse_duration};

pub(crate) use bench::BenchArgs;
pub(crate) use ingest::IngestArgs;
pub(crate) use ops::{DiffArgs, ExportArgs, ForgetArgs, ImportArgs, InspectArgs};

use crate::exit;

/// An online feature store: typed features by tenant, feature view and entity.
#[derive(Debug, Parser)]
#[command(name = "fstore", version, after_help = exit::HELP, propagate_version = true)]
pub(crate) struct Cli {
    /// The store, such as embedded:features.redb (the default) or redis://localhost:6379.
    #[arg(long, global = true, value_name = "URL", env = "FSTORE_URL", hide_env_values = true)]
    pub(crate) store: Option<String>,

    /// A settings file (YAML or TOML) that describes stores, routes, views and services; instead of --store.
    #[arg(long, global = true, value_name = "FILE", env = "FSTORE_CONFIG")]
    pub(crate) config: Option<PathBuf>,

    /// How results are written; by default `table` on a terminal and `ndjson` elsewhere.
    #[arg(long, global = true, value_enum)]
    pub(crate) format: Option<Format>,

    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What a command works on.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    /// The store of this URL.
    Store(String),
    /// What a settings file describes.
    Settings(PathBuf),
}

const DEFAULT_STORE: &str = "embedded:features.redb";

impl Cli {
    /// The arguments of a process. What is given on the command line counts more than what the environment
    /// says.
    pub(crate) fn of_process(arguments: impl IntoIterator<Item = OsString>) -> Self {
        let matches = Self::command().get_matches_from(arguments);
        Self::from_matches(&matches).unwrap_or_else(|error| error.exit())
    }

    fn from_matches(matches: &clap::ArgMatches) -> Result<Self, clap::Error> {
        let mut cli = Self::from_arg_matches(matches)?;
        let stated = |id| matches.value_source(id) == Some(ValueSource::CommandLine);
        if stated("store") && !stated("config") {
            cli.config = None;
        } else if stated("config") && !stated("store") {
            cli.store = None;
        }
        if cli.store.is_some() && cli.config.is_some() {
            let message = "a store and a settings file are given: use one of --store (FSTORE_URL) and --config \
                           (FSTORE_CONFIG)";
            return Err(Self::command().error(clap::error::ErrorKind::ArgumentConflict, message));
        }
        Ok(cli)
    }

    /// What the command works on.
    pub(crate) fn target(&self) -> Target {
        match (&self.config, &self.store) {
            (Some(file), _) => Target::Settings(file.clone()),
            (None, store) => Target::Store(store.clone().unwrap_or_else(|| DEFAULT_STORE.to_owned())),
        }
    }
}

/// How results are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Table,
    /// One JSON document.
    Json,
    /// One JSON object a line.
    Ndjson,
    /// Comma-separated values with a header; what is null or not found is empty.
    Csv,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show what the store does, on a small sample of real flights, in a temporary store.
    Demo,
    #[command(flatten)]
    OnStore(StoreCommand),
    /// Look at a settings file, without asking a store.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Put a load of your own on a store or a server, and see how long calls take.
    Bench(Box<BenchArgs>),
    /// Compare the records of two stores or exports; the exit code is 3 when some differ.
    Diff(DiffArgs),
    /// Give unused space of an embedded store's file back.
    Compact,
    /// Keep features fresh from the streams of a settings file, until it is told to stop.
    Follow {
        /// The streams, by their names in the settings file; by default all.
        #[arg(value_name = "STREAM")]
        names: Vec<String>,
    },
    /// Serve features over HTTP, until it is told to stop.
    Serve(ServeArgs),
    /// Show the console on this machine without serving features, until it is told to stop.
    Console(ConsoleArgs),
    /// Make keys for clients of the server.
    #[command(subcommand)]
    Key(KeyCommand),
    /// Write a shell's completions to standard output.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// The commands that any store can do.
#[derive(Debug, Subcommand)]
pub(crate) enum StoreCommand {
    /// Load Parquet, Arrow, CSV or JSON files.
    Ingest(Box<IngestArgs>),
    /// Read features of entities.
    Get(GetArgs),
    /// Write features of one entity.
    Put(PutArgs),
    /// Remove records of entities, at once and without a trace.
    Delete(DeleteArgs),
    /// List the records of a tenant.
    Scan(ScanArgs),
    /// Remove all records of a tenant, or of one of its feature views.
    Purge(PurgeArgs),
    /// Declare feature views from a YAML or JSON file.
    Apply(ApplyArgs),
    /// List the declared feature views, or show some of them in full.
    Views {
        /// The views to show.
        names: Vec<String>,
    },
    /// Count records, features and bytes by tenant and feature view, by a scan.
    Stats {
        /// Count this tenant's alone.
        #[arg(long, value_parser = tenant)]
        tenant: Option<String>,
    },
    /// Ask the store how it is.
    Check(CheckArgs),
    /// Show the record of an entity as it lies in each store.
    Inspect(InspectArgs),
    /// Write records to files, whole: values, event times, expiries.
    Export(ExportArgs),
    /// Bring the records of an export back, without harm to what is newer.
    Import(ImportArgs),
    /// Remove every record of an entity, in all views and all stores.
    Forget(ForgetArgs),
    /// Move records from one store of a settings file to another while they are written and read.
    #[command(subcommand)]
    Migrate(MigrateCommand),
}

/// What to do with a migration. Each can be repeated after a failure, and goes on where it was.
#[derive(Debug, Subcommand)]
pub(crate) enum MigrateCommand {
    /// Write to both stores from now on, and copy what is there; again, to go on or to copy what differs.
    Start {
        #[command(flatten)]
        moved: Moved,
        /// The store that the records move to, by its name in the settings file.
        #[arg(long, value_name = "STORE", value_parser = name)]
        to: String,
        /// Remove what that store already has of the records.
        #[arg(long)]
        purge_target: bool,
        /// Copy no more than so many records a second.
        #[arg(long, value_name = "N")]
        rows_per_second: Option<NonZeroU32>,
    },
    /// List the migrations and how far they have come.
    Status,
    /// Compare both stores, record by record; the exit code is 3 when some differ.
    Verify {
        #[command(flatten)]
        moved: Moved,
        /// Give the target what the source has where they differ.
        #[arg(long)]
        repair: bool,
    },
    /// Read from the target from now on; both are still written.
    Cutover {
        #[command(flatten)]
        moved: Moved,
        /// Although the stores have not been found equal.
        #[arg(long)]
        force: bool,
    },
    /// Use the target alone; writes wait for a moment, and there is no way back.
    Finish {
        #[command(flatten)]
        moved: Moved,
        /// Although the stores have not been found equal since the cutover.
        #[arg(long)]
        force: bool,
    },
    /// Use the source alone, as before the start.
    Abort {
        #[command(flatten)]
        moved: Moved,
        /// Remove what was copied.
        #[arg(long)]
        purge_target: bool,
    },
}

/// Which records move.
#[derive(Debug, Args)]
pub(crate) struct Moved {
    /// The tenant.
    #[arg(long, value_parser = tenant)]
    pub(crate) tenant: String,
    /// The feature view; by default all of the tenant.
    #[arg(long, value_parser = name)]
    pub(crate) view: Option<String>,
}

/// What to do with a settings file.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Find every mistake in a settings file; without one, say what it describes.
    Check {
        /// The file; by default that of --config.
        file: Option<PathBuf>,
    },
    /// Say where the records of a view of a tenant go, and which line of the settings file says so.
    Route(Place),
}

/// Which records.
#[derive(Debug, Args)]
pub(crate) struct Place {
    /// The tenant.
    #[arg(long, value_parser = tenant)]
    pub(crate) tenant: String,
    /// The feature view.
    #[arg(long, value_parser = name)]
    pub(crate) view: String,
}

#[derive(Debug, Args)]
pub(crate) struct GetArgs {
    /// The tenant.
    #[arg(long, value_parser = tenant)]
    pub(crate) tenant: String,
    /// The feature view.
    #[arg(long, value_parser = name, required_unless_present = "service")]
    pub(crate) view: Option<String>,
    /// The feature service of the settings file: features of several views in one request.
    #[arg(long, value_parser = name, conflicts_with_all = ["view", "features"])]
    pub(crate) service: Option<String>,
    /// The features, in the order wanted; by default all.
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    pub(crate) features: Vec<String>,
    /// Serve no feature older than this by its event time, such as 1d.
    #[arg(long, value_parser = duration, value_name = "DURATION")]
    pub(crate) max_age: Option<Duration>,
    /// Entities, such as customer_id=cust-123 or 'country=DE|id=7'; `-` reads them from standard input, one a line.
    #[arg(required = true, value_name = "ENTITY")]
    pub(crate) entities: Vec<String>,
}

#[derive(Debug, Args)]
#[command(after_help = PUT_HELP)]
pub(crate) struct PutArgs {
    #[command(flatten)]
    pub(crate) place: Place,
    /// The entity, such as customer_id=cust-123.
    #[arg(value_parser = entity)]
    pub(crate) entity: EntityKey,
    /// Features, as name=value.
    #[arg(value_parser = assignment, value_name = "NAME=VALUE", required_unless_present_any = ["replace", "retract"])]
    pub(crate) features: Vec<(String, String)>,
    /// The event time in RFC 3339, such as 2026-01-01T12:00:00Z; by default now.
    #[arg(long)]
    pub(crate) timestamp: Option<Timestamp>,
    /// How long the record lives, such as 7d, or `never`.
    #[arg(long)]
    pub(crate) ttl: Option<Ttl>,
    /// Say that the record is exactly this: features of older writes go.
    #[arg(long)]
    pub(crate) replace: bool,
    /// Say that the entity has no features any more.
    #[arg(long, conflicts_with_all = ["features", "replace"])]
    pub(crate) retract: bool,
}

const PUT_HELP: &str = "\
    A value is of the type that the applied view states. Without one it is read as JSON (3 is int64, 3.0 \
    float64, true, null, [1,2], \"text\", {\"a\":1}), and as text when it is no JSON. `null` is the explicit \
    null; \"null\" in quotes is text.";

#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    #[command(flatten)]
    pub(crate) place: Place,
    /// Entities, such as customer_id=cust-123; `-` reads them from standard input, one a line.
    #[arg(required = true, value_name = "ENTITY")]
    pub(crate) entities: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ScanArgs {
    /// The tenant.
    #[arg(long, value_parser = tenant)]
    pub(crate) tenant: String,
    /// The feature view; by default all.
    #[arg(long, value_parser = name)]
    pub(crate) view: Option<String>,
    /// Stop after so many records.
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<usize>,
}

#[derive(Debug, Args)]
pub(crate) struct PurgeArgs {
    /// The tenant.
    #[arg(long, value_parser = tenant)]
    pub(crate) tenant: String,
    /// The feature view; by default all of the tenant.
    #[arg(long, value_parser = name)]
    pub(crate) view: Option<String>,
    /// Do not ask.
    #[arg(long)]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Read every record too, and tell which are damaged; the exit code is then 3.
    #[arg(long)]
    pub(crate) records: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ApplyArgs {
    /// The file: `feature_views:` and a list.
    pub(crate) file: PathBuf,
    /// Also make a change that stored records may contradict: other entities, a removed feature, another type.
    #[arg(long)]
    pub(crate) force: bool,
}

fn name(text: &str) -> Result<String, String> {
    if text.is_empty() { Err("the name is empty".to_owned()) } else { Ok(text.to_owned()) }
}

fn tenant(text: &str) -> Result<String, String> {
    if text == SYSTEM_TENANT {
        return Err("it is reserved for the store's own records; see `fstore views`".to_owned());
    }
    name(text)
}

fn entity(text: &str) -> Result<EntityKey, String> {
    EntityKey::parse(text).map_err(|e| e.message().to_owned())
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|e| e.message().to_owned())
}

fn assignment(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected name=value".to_owned()),
    }
}

/// What `serve` is told beside the store or settings file.
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Feature views and services (YAML or JSON), where there is no settings file; by default those that the
    /// store has in itself.
    #[arg(long, value_name = "FILE")]
    pub(crate) views: Option<PathBuf>,

    /// Where to listen, instead of what the settings say, such as 127.0.0.1:6566.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<SocketAddr>,

    /// Where to show metrics and health, instead of what the settings say.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) admin: Option<SocketAddr>,

    /// Also follow the streams of the settings file.
    #[arg(long)]
    pub(crate) follow: bool,

    /// Serve nothing, but ask a server on this machine whether it is alive, at --admin or where the settings say;
    /// for containers, which have no other program to ask with.
    #[arg(long, conflicts_with_all = ["follow", "views", "listen"])]
    pub(crate) check: bool,
}

/// What `console` is told beside the store or settings file.
#[derive(Debug, Args)]
pub(crate) struct ConsoleArgs {
    /// Feature views and services (YAML or JSON), where there is no settings file; by default those that the
    /// store has in itself.
    #[arg(long, value_name = "FILE")]
    pub(crate) views: Option<PathBuf>,

    /// Where on this machine to show it.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:6568", value_parser = loopback)]
    pub(crate) listen: SocketAddr,
}

fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr =
        text.parse().map_err(|_| "expected an address with a port, such as 127.0.0.1:6568")?;
    match address.ip().is_loopback() {
        true => Ok(address),
        false => Err(
            "a console alone is on this machine alone: listen on 127.0.0.1, and reach it through a tunnel"
                .to_owned(),
        ),
    }
}

/// What is done with keys.
#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Make a key, and show it with its hash for the settings. Neither is kept.
    New,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_catalog_is_out_of_reach_of_data_commands() {
        for command in [
            &["get", "--tenant", "__fstore__", "--view", "feature_views", "name=x"][..],
            &["purge", "--tenant", "__fstore__", "--yes"],
            &["scan", "--tenant", "__fstore__"],
        ] {
            let error = Cli::try_parse_from([&["fstore"], command].concat()).unwrap_err();
            assert!(error.to_string().contains("reserved"), "{error}");
        }
    }

    #[test]
    fn the_command_line_counts_more_than_the_environment() {
        // The environment of a test cannot be changed; two on the command line can be judged.
        let of = |args: &[&str]| {
            Cli::command().try_get_matches_from(args).and_then(|matches| Cli::from_matches(&matches))
        };
        let error = of(&["fstore", "--store", "memory:", "views", "--config", "x.yaml"]).unwrap_err();
        assert!(error.to_string().contains("FSTORE_CONFIG"), "{error}");
        assert!(matches!(
            of(&["fstore", "views", "--config", "x.yaml"]).unwrap().target(),
            Target::Settings(_)
        ));
        let both = ["fstore", "get", "--tenant", "t", "--view", "v", "--service", "s", "k=1"];
        assert!(of(&both).is_err());
    }
}
