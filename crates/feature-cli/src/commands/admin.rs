//! `purge`, `stats`, `check` and `compact`.

use std::collections::BTreeMap;
use std::io::{self, BufRead, IsTerminal, Write};
use std::sync::Arc;

use feature_core::{
    Clock, OnlineStore, OnlineStoreBackend, PurgeProgress, Record, RecordHeader, SYSTEM_TENANT, Scope,
    SystemClock,
};
use feature_store::Connector;
use futures::StreamExt;
use serde_json::json;

use super::Open;
use crate::cli::{CheckArgs, PurgeArgs};
use crate::exit::{Exit, Failure, Result, say};
use crate::output::Output;
use crate::progress::shown;

pub(super) async fn purge(open: &Open, args: PurgeArgs, output: &mut Output) -> Result<Exit> {
    let PurgeArgs { tenant, view, yes } = args;
    let (scope, what) = match &view {
        Some(view) => (Scope::view(&tenant, view)?, format!("feature view `{view}` of tenant `{tenant}`")),
        None => (Scope::tenant(&tenant)?, format!("tenant `{tenant}`")),
    };
    if !yes {
        if !io::stdin().is_terminal() {
            return Err(Failure::Usage(format!("this removes every record of {what}: say --yes")));
        }
        write!(io::stderr(), "Remove every record of {what}? [y/N] ")?;
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer)?;
        if !matches!(answer.trim(), "y" | "Y" | "yes") {
            return Err(Failure::Other("nothing was removed".to_owned()));
        }
    }
    let store = OnlineStore::new(Arc::clone(open.backend()));
    let progress = PurgeProgress::default();
    let message = || format!("{} records removed", progress.removed());
    let report = shown(message, store.purge_with_progress(&scope, &progress)).await?;
    output.record(&[("removed", json!(report.removed))])?;
    Ok(Exit::Done)
}

/// What a view of a tenant amounts to.
#[derive(Default)]
struct Totals {
    records: u64,
    features: u64,
    bytes: u64,
    expired: u64,
}

pub(super) async fn stats(open: &Open, tenant: Option<&str>, output: &mut Output) -> Result<Exit> {
    let scope = tenant.map_or(Ok(Scope::Store), Scope::tenant)?;
    let now = SystemClock.now();
    let mut totals: BTreeMap<(String, String), Totals> = BTreeMap::new();
    let mut exit = Exit::Done;
    let mut scan = open.backend().scan(&scope);
    while let Some(record) = scan.next().await {
        let header = record.and_then(|(key, record)| {
            let header = RecordHeader::parse(&record.bytes).map_err(|e| e.with_key(&key))?;
            Ok((key, record.bytes.len() as u64, header))
        });
        let (key, bytes, header) = match header {
            Ok(parts) => parts,
            Err(error) => {
                exit = Exit::Partly;
                say(format_args!("fstore: {error}"));
                continue;
            }
        };
        if key.view().tenant() == SYSTEM_TENANT {
            continue;
        }
        let place = (key.view().tenant().to_owned(), key.view().view().to_owned());
        let totals = totals.entry(place).or_default();
        totals.records += 1;
        totals.features += u64::from(header.features);
        totals.bytes += bytes;
        totals.expired += u64::from(header.expires_at.is_some_and(|at| at <= now));
    }
    let mut rows = output.rows(&["tenant", "view", "records", "features", "bytes", "expired"]);
    for ((tenant, view), Totals { records, features, bytes, expired }) in totals {
        let counts = [records, features, bytes, expired].map(|count| json!(count));
        rows.push([json!(tenant), json!(view)].into_iter().chain(counts).collect())?;
    }
    rows.finish()?;
    Ok(exit)
}

pub(super) async fn check(open: &Open, args: &CheckArgs, output: &mut Output) -> Result<Exit> {
    let health = OnlineStore::new(Arc::clone(open.backend())).check().await?;
    let mut rows = output.rows(&["name", "value"]);
    rows.push(vec![json!("backend"), json!(open.backend().capabilities().backend)])?;
    for (name, value) in health.facts {
        rows.push(vec![json!(name), json!(value)])?;
    }
    for warning in health.warnings {
        rows.push(vec![json!("warning"), json!(warning)])?;
    }
    let mut damaged = 0;
    if args.records {
        let mut read = 0;
        let mut scan = open.backend().scan(&Scope::Store);
        while let Some(record) = scan.next().await {
            read += 1;
            let whole = record.and_then(|(key, record)| {
                Record::decode(&record.bytes).map(drop).map_err(|error| error.with_key(&key))
            });
            if let Err(error) = whole {
                damaged += 1;
                say(format_args!("fstore: {error}"));
            }
        }
        rows.push(vec![json!("records_read"), json!(read)])?;
        rows.push(vec![json!("records_damaged"), json!(damaged)])?;
    }
    rows.finish()?;
    Ok(if damaged == 0 { Exit::Done } else { Exit::Partly })
}

pub(super) async fn compact(url: &str, output: &mut Output) -> Result<Exit> {
    let connector = Connector::new().create_missing(false);
    let url = connector.parse(url).map_err(Failure::usage)?;
    if url.scheme() != "embedded" {
        let message = format!("only an embedded store can be compacted, `{}` is not one", url.scheme());
        return Err(Failure::Usage(message));
    }
    let store = connector.connect_embedded(&url).await?;
    let report = store.compact().await?;
    store.close().await?;
    output.record(&[
        ("before_bytes", json!(report.before_bytes)),
        ("after_bytes", json!(report.after_bytes)),
    ])?;
    Ok(Exit::Done)
}
