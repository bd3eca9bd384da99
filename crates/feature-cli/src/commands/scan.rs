//! `scan`: the records of a tenant.

use std::collections::BTreeSet;

use feature_core::{OnlineStore, Scope};
use futures::StreamExt;

use super::Open;
use crate::cli::ScanArgs;
use crate::exit::{Exit, Result, say};
use crate::feature_rows::{FeatureRows, is_wide, names_in};
use crate::output::Output;

pub(super) async fn run(open: &Open, args: ScanArgs, output: &mut Output) -> Result<Exit> {
    let ScanArgs { tenant, view, limit } = args;
    let store = open.store(view.as_deref()).await?;
    let scope = match &view {
        Some(view) => Scope::view(&tenant, view)?,
        None => Scope::tenant(&tenant)?,
    };
    let limit = limit.unwrap_or(usize::MAX);
    let declared = view.as_deref().and_then(|view| store.view(view));
    let features = match declared {
        Some(declared) => declared.features.keys().cloned().collect(),
        None if is_wide(output.format()) => all_names(&store, &scope, limit).await,
        None => Vec::new(),
    };
    let mut rows = FeatureRows::new(output, features, view.is_none());
    let mut scan = store.scan(&scope).take(limit);
    let mut exit = Exit::Done;
    while let Some(record) = scan.next().await {
        match record {
            Ok((key, row)) => rows.push(key.view(), key.entity(), Some(&row))?,
            Err(error) => {
                exit = Exit::Partly;
                say(format_args!("fstore: {error}"));
            }
        }
    }
    rows.finish()?;
    Ok(exit)
}

/// The columns of a table of undeclared views: a scan of its own, so that the rows need not be held.
async fn all_names(store: &OnlineStore, scope: &Scope, limit: usize) -> Vec<String> {
    let mut names = BTreeSet::new();
    let mut scan = store.scan(scope).take(limit);
    while let Some(record) = scan.next().await {
        if let Ok((_, row)) = record {
            names.extend(names_in(std::iter::once(&row)));
        }
    }
    names.into_iter().collect()
}
