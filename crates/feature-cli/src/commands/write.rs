//! `put` and `delete`.

use std::sync::Arc;

use feature_core::{FeatureValue, FeatureWrite, Features, OnlineStore, ValueType, WriteOutcome};
use feature_ingest::text;
use serde_json::json;

use super::Open;
use crate::cli::{DeleteArgs, PutArgs};
use crate::exit::{Exit, Failure, Result, say};
use crate::output::Output;

pub(super) async fn put(open: &Open, args: PutArgs, output: &mut Output) -> Result<Exit> {
    let PutArgs { place, entity, features, timestamp, ttl, replace, retract } = args;
    let store = open.store(Some(&place.view)).await?;
    let mut write = FeatureWrite::new(entity.clone(), values(&store, &place.view, &features)?);
    (write.timestamp, write.ttl) = (timestamp, ttl);
    if replace || retract {
        write = write.replacing();
    }
    let report = store.batch_write(&place.tenant, &place.view, [write]).await?.into_result()?;
    let outcome = match report.rows().first() {
        Some(Ok(WriteOutcome::Superseded)) => "superseded",
        _ => "applied",
    };
    output.record(&[("entity", json!(entity.canonical())), ("outcome", json!(outcome))])?;
    Ok(Exit::Done)
}

fn values(store: &OnlineStore, view: &str, features: &[(String, String)]) -> Result<Features> {
    let declared = store.view(view);
    let type_of = |name: &str| -> Option<ValueType> { declared?.features.get(name).copied() };
    let value = |(name, text): &(String, String)| match text::argument(text, type_of(name)) {
        Ok(value) => Ok((name.as_str().into(), value)),
        Err(e) => Err(Failure::Usage(format!("feature `{name}` of view `{view}`: {}", e.message()))),
    };
    let values: Vec<(Arc<str>, FeatureValue)> = features.iter().map(value).collect::<Result<_>>()?;
    Ok(values.into_iter().collect())
}

pub(super) async fn delete(open: &Open, args: DeleteArgs, output: &mut Output) -> Result<Exit> {
    let DeleteArgs { place, entities } = args;
    let store = open.store(Some(&place.view)).await?;
    let mut rows = output.rows(&["entity", "deleted"]);
    let mut exit = Exit::Done;
    for keys in super::entities(&entities) {
        let keys = keys?;
        for (entity, deleted) in keys.iter().zip(store.delete(&place.tenant, &place.view, &keys).await?) {
            match deleted {
                Ok(deleted) => rows.push(vec![json!(entity.canonical()), json!(deleted)])?,
                Err(error) => {
                    exit = Exit::Partly;
                    say(format_args!("fstore: {error}"));
                }
            }
        }
    }
    rows.finish()?;
    Ok(exit)
}
