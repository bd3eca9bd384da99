//! The commands.

mod admin;
mod apply;
mod get;
mod ingest;
mod scan;
mod write;

use std::io::{self, Write};
use std::sync::Arc;

use clap::CommandFactory;
use feature_core::{EntityKey, OnlineStore, OnlineStoreBackend, SystemClock};

use crate::catalog::Catalog;
use crate::cli::{Cli, Command, StoreCommand};
use crate::exit::{Exit, Failure, Result};
use crate::output::Output;
use crate::stores::Missing;
use crate::{demo, stores};

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
    let Cli { store: url, format, command } = cli;
    let mut output = Output::new(format);
    match command {
        Command::Demo => demo::run().await,
        Command::OnStore(command) => on_store(&url, command, &mut output).await,
        Command::Compact => admin::compact(&url, &mut output).await,
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "fstore", &mut script);
            io::stdout().lock().write_all(&script)?;
            Ok(Exit::Done)
        }
    }
}

async fn on_store(url: &str, command: StoreCommand, output: &mut Output) -> Result<Exit> {
    let missing = match &command {
        StoreCommand::Ingest(_) | StoreCommand::Put(_) | StoreCommand::Apply(_) => Missing::Create,
        _ => Missing::Refuse,
    };
    let open = Open { backend: stores::connect(url, missing, Arc::new(SystemClock)).await? };
    let exit = match command {
        StoreCommand::Ingest(args) => ingest::run(&open, args, output).await,
        StoreCommand::Get(args) => get::run(&open, args, output).await,
        StoreCommand::Put(args) => write::put(&open, args, output).await,
        StoreCommand::Delete(args) => write::delete(&open, args, output).await,
        StoreCommand::Scan(args) => scan::run(&open, args, output).await,
        StoreCommand::Purge(args) => admin::purge(&open, args, output).await,
        StoreCommand::Apply(args) => apply::run(&open, args, output).await,
        StoreCommand::Views { names } => apply::views(&open, &names, output).await,
        StoreCommand::Stats { tenant } => admin::stats(&open, tenant.as_deref(), output).await,
        StoreCommand::Check(args) => admin::check(&open, &args, output).await,
    };
    let closed = open.backend.close().await;
    // What failed first is what the user needs to know.
    let exit = exit?;
    closed?;
    Ok(exit)
}

/// The store that a command works on.
pub(crate) struct Open {
    backend: Arc<dyn OnlineStoreBackend>,
}

impl Open {
    /// The declared views.
    pub(crate) fn catalog(&self) -> Result<Catalog> {
        Catalog::of(Arc::clone(&self.backend), SystemClock)
    }

    /// The store, with the declaration of one view, if there is one, or else of all.
    pub(crate) async fn store(&self, view: Option<&str>) -> Result<OnlineStore> {
        let catalog = self.catalog()?;
        let views: Vec<_> = match view {
            Some(name) => catalog.view(name).await?.into_iter().collect(),
            None => catalog.all().await?.into_values().collect(),
        };
        Ok(OnlineStore::builder(Arc::clone(&self.backend)).views(views).build()?)
    }

    /// The backend.
    pub(crate) fn backend(&self) -> &Arc<dyn OnlineStoreBackend> {
        &self.backend
    }
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
        EntityKey::parse(text.trim()).map_err(|e| Failure::Usage(e.message().to_owned()))
    });
    std::iter::from_fn(move || {
        let chunk: Result<Vec<_>> = keys.by_ref().take(CHUNK).collect();
        Some(chunk).filter(|chunk| !matches!(chunk, Ok(keys) if keys.is_empty()))
    })
}
