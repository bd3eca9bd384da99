//! What is in an embedded store.

use std::sync::Arc;

use feature_core::{OnlineStore, Scope, StoreUrl, SystemClock};
use futures::StreamExt;
use store_embedded::{EmbeddedConfig, EmbeddedOnlineStore};

/// An embedded store, opened as the program opens it.
pub(crate) fn open(url: &str) -> OnlineStore {
    let config = EmbeddedConfig::from_url(&StoreUrl::parse(url).expect("a URL")).expect("settings");
    let backend = EmbeddedOnlineStore::connect(config, Arc::new(SystemClock)).expect("the store opens");
    OnlineStore::new(Arc::new(backend))
}

/// Everything that a tenant's store holds, a line a record, sorted: two stores that serve the same
/// features give the same lines.
pub(crate) async fn contents(store: &OnlineStore, tenant: &str) -> Vec<String> {
    let scope = Scope::tenant(tenant).expect("a tenant");
    let mut rows: Vec<String> = store
        .scan(&scope)
        .map(|row| {
            let (key, row) = row.expect("every record is whole");
            let features: Vec<_> =
                row.iter().map(|(name, status, value)| (name, status, value, row.event_time(name))).collect();
            format!("{key} {} {features:?}", row.timestamp)
        })
        .collect()
        .await;
    rows.sort();
    rows
}
