//! `bench`: a load on a store or a server.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use feature_core::{EntityKey, Secret};

use super::Open;
use crate::bench::{self, Entities, OnServer, OnStore, Plan, Progress, Server, Shape, Shaped};
use crate::cli::{BenchArgs, Target};
use crate::exit::{Exit, Failure, Result, say};
use crate::output::Output;
use crate::progress::shown;

/// How many calls there are at a time where only the rate is stated.
const CONCURRENCY: u64 = 64;
/// How many rows are written at a time to fill a store.
const FILL: u64 = 1_000;

pub(super) async fn run(target: &Target, args: BenchArgs, output: &mut Output) -> Result<Exit> {
    if args.features.is_some() && args.views.len() > 1 {
        return Err(Failure::Usage(
            "--features are those of one view: name one, or leave them out".to_owned(),
        ));
    }
    let entities = match (&args.entities_from, args.entities) {
        (Some(file), _) => Entities::Listed(listed(file)?),
        (None, number) => Entities::Numbered(number.unwrap_or_default()),
    };
    if let Some(url) = &args.server {
        let key = args.key.as_ref().map(|key| Secret::from(key.as_str()));
        let server = Server::new(url, key.as_ref(), args.timeout).map_err(Failure::Usage)?;
        let declared = server.views().await.map_err(Failure::Other)?;
        let view = |name: &String| (name.clone(), declared.iter().find(|view| view.name == *name).cloned());
        let shape = shape(args.views.iter().map(view).collect(), &entities, &args)?;
        let load = OnServer::new(shape, server, args.features.clone());
        return measure(load, &args, output).await;
    }
    let writes = args.fill || args.writes.is_some();
    let open = Open::new(target, writes).await?;
    let store = open.store(None).await?.with_deadline(args.timeout);
    let view = |name: &String| (name.clone(), store.view(name).cloned());
    let shape = shape(args.views.iter().map(view).collect(), &entities, &args)?;
    let load = OnStore::new(shape, store, args.features.as_deref());
    let exit = measure(load, &args, output).await;
    let closed = open.close().await;
    let exit = exit?;
    closed?;
    Ok(exit)
}

fn shape(
    views: Vec<(String, Option<feature_core::FeatureView>)>,
    entities: &Entities,
    args: &BenchArgs,
) -> Result<Shape> {
    let shape = Shape::new(&args.tenant, views, entities, args.distribution, args.batch as usize);
    let shape = match (args.writes, args.fill) {
        (None, false) => shape,
        (share, _) => shape.and_then(|shape| shape.writing(share.unwrap_or_default())),
    };
    shape.map_err(Failure::Usage)
}

async fn measure<L: Shaped>(load: L, args: &BenchArgs, output: &mut Output) -> Result<Exit> {
    let plan = Plan {
        rate: args.rate,
        concurrency: args.concurrency.unwrap_or(CONCURRENCY) as usize,
        warm_up: args.warm_up,
        duration: args.duration,
    };
    if args.fill || args.writes.is_some() {
        say(format_args!(
            "fstore: made-up values are written to tenant `{}`, feature views {}; `fstore purge` removes them",
            args.tenant,
            args.views.join(", ")
        ));
    }
    let progress = Progress::default();
    if args.fill {
        let message = || format!("{} rows written", progress.answered() * FILL);
        shown(message, bench::fill(&load, FILL, &progress)).await.map_err(Failure::Other)?;
    }
    let progress = Progress::default();
    let message = || format!("{} calls answered", progress.answered());
    let interrupted = async {
        // What cannot be heard never comes.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    let measured = shown(message, bench::run(Arc::new(load), plan, &progress, interrupted)).await;
    if let Some(file) = &args.plot {
        let drawing = bench::plot(&measured).map_err(|e| Failure::Other(format!("cannot draw: {e}")))?;
        fs::write(file, drawing)
            .map_err(|e| Failure::Other(format!("cannot write the drawing {}: {e}", file.display())))?;
    }
    bench::report(&measured, &plan, args.batch, output)?;
    for (reason, calls) in &measured.reasons {
        say(format_args!("fstore: {calls} calls failed: {reason}"));
    }
    Ok(if measured.reasons.is_empty() { Exit::Done } else { Exit::Partly })
}

fn listed(file: &Path) -> Result<Vec<EntityKey>> {
    let text = fs::read_to_string(file)
        .map_err(|e| Failure::Usage(format!("cannot read the entities {}: {e}", file.display())))?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(at, line)| {
            EntityKey::parse(line.trim())
                .map_err(|e| Failure::Usage(format!("{}:{}: {}", file.display(), at + 1, e.message())))
        })
        .collect()
}
