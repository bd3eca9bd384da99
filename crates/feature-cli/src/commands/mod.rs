//! The commands.

mod admin;
mod alive;
mod apply;
mod bench;
mod config;
mod diff;
mod export;
mod follow;
mod forget;
mod get;
mod import;
mod ingest;
mod inspect;
mod migrate;
mod scan;
mod serve;
mod service;
mod write;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::CommandFactory;
use feature_core::{
    EntityKey, FeatureView, OnlineStore, OnlineStoreBackend, SYSTEM_TENANT, Scope, SystemClock, ViewKey,
};
use feature_store::unified::Registry;
use feature_store::{Catalog, Connector, UnifiedFeatureStore};

use crate::cli::{Cli, Command, KeyCommand, StoreCommand, Target};
use crate::exit::{Exit, Failure, Result};
use crate::output::Output;
use crate::{demo, settings};

/// Runs a command to its end.
pub(crate) fn run(cli: Cli) -> Result<Exit> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|e| Failure::Other(format!("cannot start the runtime: {e}")))?;
    let exit = runtime.block_on(dispatch(cli));
    // A thread may be waiting for input that never comes.
    runtime.shutdown_background();
    exit
}

async fn dispatch(cli: Cli) -> Result<Exit> {
    let target = cli.target();
    let mut output = Output::new(cli.format);
    match cli.command {
        Command::Demo => demo::run().await,
        Command::Bench(args) => bench::run(&target, *args, &mut output).await,
        Command::OnStore(command) => on_store(&target, command, &mut output).await,
        Command::Diff(args) => diff::run(&target, args, &mut output).await,
        Command::Config(command) => config::run(command, &target, &mut output),
        Command::Compact => match &target {
            Target::Store(url) => admin::compact(url, &mut output).await,
            Target::Settings(_) => Err(Failure::Usage("say which store to compact: --store URL".to_owned())),
        },
        Command::Follow { names } => follow::run(&target, &names, &mut output).await,
        Command::Serve(args) if args.check => alive::check(&target, &args),
        Command::Serve(args) => serve::run(&target, &args).await,
        Command::Console(args) => serve::console(&target, args).await,
        Command::Key(KeyCommand::New) => serve::new_key(&mut output),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "fstore", &mut script);
            io::stdout().lock().write_all(&script)?;
            Ok(Exit::Done)
        }
    }
}

async fn on_store(target: &Target, command: StoreCommand, output: &mut Output) -> Result<Exit> {
    // Where there is no store there is nothing to read, and most likely the name is wrong.
    let writes = matches!(
        command,
        StoreCommand::Ingest(_) | StoreCommand::Put(_) | StoreCommand::Apply(_) | StoreCommand::Import(_)
    );
    let open = Open::new(target, writes).await?;
    let exit = match command {
        StoreCommand::Ingest(args) => ingest::run(&open, *args, output).await,
        StoreCommand::Get(args) => get::run(&open, args, output).await,
        StoreCommand::Put(args) => write::put(&open, args, output).await,
        StoreCommand::Delete(args) => write::delete(&open, args, output).await,
        StoreCommand::Scan(args) => scan::run(&open, args, output).await,
        StoreCommand::Purge(args) => admin::purge(&open, args, output).await,
        StoreCommand::Apply(args) => apply::run(&open, args, output).await,
        StoreCommand::Views { names } => apply::views(&open, &names, output).await,
        StoreCommand::Stats { tenant } => admin::stats(&open, tenant.as_deref(), output).await,
        StoreCommand::Check(args) => admin::check(&open, &args, output).await,
        StoreCommand::Inspect(args) => inspect::run(&open, args, output).await,
        StoreCommand::Export(args) => export::run(&open, args, output).await,
        StoreCommand::Import(args) => import::run(&open, args, output).await,
        StoreCommand::Forget(args) => forget::run(&open, args, output).await,
        StoreCommand::Migrate(command) => migrate::run(&open, command, output).await,
    };
    let closed = open.close().await;
    // What failed first is what the user needs to know.
    let exit = exit?;
    closed?;
    Ok(exit)
}

/// What a command works on.
pub(crate) enum Open {
    /// A store, which has its views in itself.
    One(Arc<dyn OnlineStoreBackend>),
    /// What a settings file describes, with its views.
    Described(UnifiedFeatureStore, Described),
}

/// What else a command needs of a settings file.
pub(crate) struct Described {
    file: PathBuf,
    longest_write: Duration,
}

/// A batch is large and shares the store with others; it may take longer than a read by a model.
const BATCH_DEADLINE: Duration = Duration::from_secs(60);

impl Open {
    /// Opens the target; `create` makes an embedded store that is not there.
    async fn new(target: &Target, create: bool) -> Result<Self> {
        Ok(match target {
            Target::Store(url) => {
                let connector = Connector::new().create_missing(create);
                let url = connector.parse(url).map_err(Failure::usage)?;
                Self::One(connector.connect_to(&url).await?)
            }
            Target::Settings(file) => {
                let settings = settings::load(file)?;
                let store = settings::open(&settings).await?;
                let longest_write = settings.migration.longest_write;
                Self::Described(store, Described { file: file.clone(), longest_write })
            }
        })
    }

    /// The views that a store has in itself.
    pub(crate) fn catalog(&self) -> Result<Catalog> {
        match self {
            Self::One(backend) => Ok(Catalog::new(Arc::clone(backend), SystemClock)?),
            Self::Described(_, Described { file, .. }) => Err(Failure::Usage(format!(
                "the feature views are in the settings file: declare them there, in {}",
                file.display()
            ))),
        }
    }

    /// Every declared view, by name.
    pub(crate) async fn views(&self) -> Result<BTreeMap<String, FeatureView>> {
        match self {
            Self::One(_) => Ok(self.catalog()?.all().await?),
            Self::Described(store, _) => {
                let views = store.registry().into_iter().flat_map(Registry::views);
                Ok(views.map(|view| (view.name.clone(), view.clone())).collect())
            }
        }
    }

    /// The store, with the declaration of one view, if there is one, or else of all.
    pub(crate) async fn store(&self, view: Option<&str>) -> Result<OnlineStore> {
        let backend = match self {
            Self::One(backend) => backend,
            Self::Described(store, Described { file, .. }) => {
                if let (Some(registry), Some(view)) = (store.registry(), view)
                    && registry.view(view).is_none()
                {
                    let known: Vec<_> = registry.views().map(|view| view.name.as_str()).collect();
                    return Err(Failure::Usage(format!(
                        "feature view `{view}` is not declared in {}; declared are {}",
                        file.display(),
                        known.join(", ")
                    )));
                }
                return Ok(store.online().clone());
            }
        };
        let catalog = self.catalog()?;
        let views: Vec<_> = match view {
            Some(name) => catalog.view(name).await?.into_iter().collect(),
            None => catalog.all().await?.into_values().collect(),
        };
        Ok(OnlineStore::builder(Arc::clone(backend)).views(views).build()?)
    }

    /// How long a large batch may take. A migration waits no longer than the settings say for a write that
    /// is under way.
    pub(crate) fn batch_deadline(&self) -> Duration {
        match self {
            Self::One(_) => BATCH_DEADLINE,
            Self::Described(_, Described { longest_write, .. }) => *longest_write,
        }
    }

    /// What moves the records.
    pub(crate) fn backend(&self) -> &Arc<dyn OnlineStoreBackend> {
        match self {
            Self::One(backend) => backend,
            Self::Described(store, _) => store.online().backend(),
        }
    }

    /// Each store, by name, whatever the routes say.
    pub(crate) fn stores(&self) -> Vec<(String, Arc<dyn OnlineStoreBackend>)> {
        match self {
            Self::One(backend) => vec![(backend.capabilities().backend.to_owned(), Arc::clone(backend))],
            Self::Described(store, _) => store.stores().to_vec(),
        }
    }

    /// Whether the records of a view are the user's to export: those that the software itself keeps are not,
    /// but for the views that are declared in the store.
    pub(crate) fn is_exported(&self, view: &ViewKey) -> bool {
        let declares = matches!(self, Self::One(_)) && view.view() == Catalog::VIEW;
        view.tenant() != SYSTEM_TENANT || declares
    }

    async fn close(&self) -> Result<()> {
        match self {
            Self::One(backend) => backend.close().await?,
            Self::Described(store, _) => store.close().await?,
        }
        Ok(())
    }
}

/// The records of a view of a tenant, of a tenant, or all.
fn scope(tenant: Option<&str>, view: Option<&str>) -> Result<Scope> {
    Ok(match (tenant, view) {
        (Some(tenant), Some(view)) => Scope::view(tenant, view)?,
        (Some(tenant), None) => Scope::tenant(tenant)?,
        (None, _) => Scope::Store,
    })
}

/// How many of so many things were done in a second.
fn per_second(count: u64, took: Duration) -> u64 {
    (count as f64 / took.as_secs_f64().max(1e-6)).round() as u64
}

/// How many entities are asked for at once.
const CHUNK: usize = 1000;

/// The entities that the arguments name, in chunks; `-` stands for the lines of standard input.
fn entities(arguments: &[String]) -> impl Iterator<Item = Result<Vec<EntityKey>>> {
    let texts = arguments.iter().flat_map(|argument| -> Box<dyn Iterator<Item = io::Result<String>>> {
        match argument.as_str() {
            "-" => Box::new(
                io::stdin().lines().filter(|line| !matches!(line, Ok(line) if line.trim().is_empty())),
            ),
            text => Box::new(std::iter::once(Ok(text.to_owned()))),
        }
    });
    let mut keys = texts.map(|text| {
        let text = text.map_err(|e| Failure::Other(format!("cannot read standard input: {e}")))?;
        EntityKey::parse(text.trim()).map_err(Failure::usage)
    });
    std::iter::from_fn(move || {
        let chunk: Result<Vec<_>> = keys.by_ref().take(CHUNK).collect();
        Some(chunk).filter(|chunk| !matches!(chunk, Ok(keys) if keys.is_empty()))
    })
}
