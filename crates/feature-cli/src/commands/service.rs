//! `get --service`: what a model asks for, across views.

use feature_core::EntityKey;
use feature_store::unified::{
    CellStatus, FeatureRequest, FeatureTable, Registry, TableRow, UnifiedFeatureStore,
};
use serde_json::{Value, json};

use super::Open;
use crate::cli::{Format, GetArgs};
use crate::exit::{Exit, Failure, Result, say};
use crate::feature_rows::{cell, is_wide};
use crate::output::{Output, Rows};

pub(super) async fn run(open: &Open, service: &str, args: &GetArgs, output: &mut Output) -> Result<Exit> {
    let Open::Described(store, _) = open else {
        let message = "services are declared in a settings file: say which with --config FILE";
        return Err(Failure::Usage(message.to_owned()));
    };
    let names: Vec<String> = names(store, service)?;
    let format = output.format();
    let columns: Vec<&str> = if is_wide(format) {
        std::iter::once("entity").chain(names.iter().map(String::as_str)).collect()
    } else {
        vec!["entity", "found", "features", "status", "event_times", "from_fallback"]
    };
    let mut rows = output.rows(&columns);
    let (mut found, mut failed) = (0, 0);
    for keys in super::entities(&args.entities) {
        let table = read(store, service, args, keys?).await?;
        for (number, row) in table.rows().enumerate() {
            found += usize::from(is_found(row));
            push(&mut rows, format, &table, number, row)?;
        }
        for error in table.errors() {
            failed += 1;
            say(format_args!("fstore: {}", error.error));
        }
    }
    rows.finish()?;
    Ok(match (found, failed) {
        (_, 1..) => Exit::Partly,
        (0, 0) => Exit::NothingFound,
        _ => Exit::Done,
    })
}

fn names(store: &UnifiedFeatureStore, service: &str) -> Result<Vec<String>> {
    let names = store.registry().and_then(|registry| registry.output_names(service));
    names.map(|names| names.map(str::to_owned).collect()).ok_or_else(|| {
        let registry = store.registry().into_iter();
        let known: Vec<_> =
            registry.flat_map(Registry::services).map(|service| service.name.as_str()).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        Failure::Usage(format!("no feature service `{service}` is declared; declared are {known}"))
    })
}

async fn read(
    store: &UnifiedFeatureStore,
    service: &str,
    args: &GetArgs,
    keys: Vec<EntityKey>,
) -> Result<FeatureTable> {
    let mut request = FeatureRequest::service(&args.tenant, service, keys);
    if let Some(max_age) = args.max_age {
        request = request.max_age(max_age);
    }
    Ok(store.read(&request).await?)
}

fn is_found(row: TableRow<'_>) -> bool {
    row.cells().any(|cell| !matches!(cell.status, CellStatus::NotFound | CellStatus::Failed))
}

fn push(
    rows: &mut Rows<'_>,
    format: Format,
    table: &FeatureTable,
    number: usize,
    row: TableRow<'_>,
) -> Result<()> {
    if is_wide(format) {
        let cells = row.cells().map(|of| cell(format, of.status, Some(&of.value)));
        return rows.push(std::iter::once(json!(row.entity().canonical())).chain(cells).collect());
    }
    // As `get` has it: what was never written has no value, not even null.
    let written = || row.cells().filter(|cell| cell.status != CellStatus::NotFound);
    let entity: Value = row.entity().join_keys().map(|(name, value)| (name, json!(value))).collect();
    let features: Value = written().map(|cell| (cell.name, cell.value.to_json())).collect();
    let status: Value = row.cells().map(|cell| (cell.name, cell.status.name())).collect();
    let times: Value =
        written().map(|cell| (cell.name, json!(cell.event_time.map(|at| at.to_string())))).collect();
    let views: Vec<&str> = table
        .from_fallback()
        .filter(|(_, rows)| rows.binary_search(&number).is_ok())
        .map(|(view, _)| view)
        .collect();
    rows.push(vec![entity, json!(is_found(row)), features, status, times, json!(views)])
}
