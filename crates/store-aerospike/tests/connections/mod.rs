//! Connections: made, lost, given back and closed.

use std::sync::Arc;
use std::time::Duration;

use feature_core::{
    CallContext, Error, ErrorKind, FeatureWrite, OnlineStore, OnlineStoreBackend, PurgeProgress, RecordKey,
    Scope, Ttl, ViewKey,
};
use futures::StreamExt;
use store_aerospike::{AerospikeConfig, AerospikeOnlineStore};
use tokio::net::TcpListener;
use tokio::time::{Instant, timeout};

use crate::common::{TENANT, TestResult, VIEW, at, config, connect, entities, entity, holds, one, open};
use crate::{PATIENCE, server, statistic, until, write};

pub(crate) async fn connecting() -> TestResult {
    let timeout = Duration::from_millis(700);
    let free = TcpListener::bind("127.0.0.1:0").await?.local_addr()?.port();
    // Takes connections and never says a word.
    let silent = TcpListener::bind("127.0.0.1:0").await?;
    let hosts = [
        ("127.0.0.1".to_owned(), free),
        ("127.0.0.1".to_owned(), silent.local_addr()?.port()),
        ("no-such-host.invalid".to_owned(), 3000),
    ];
    for (name, port) in hosts {
        let mut config = AerospikeConfig { connect_timeout: timeout, ..AerospikeConfig::host(&name, port) };
        let start = Instant::now();
        let error = AerospikeOnlineStore::connect(config.clone()).await.expect_err("there is no server");
        holds(start.elapsed() < timeout + Duration::from_secs(3), || format!("{name}:{port} took too long"))?;
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert!(error.is_retryable() && error.message().contains(&format!("{name}:{port}")), "{error}");
        config.connect_lazily = true;
        let start = Instant::now();
        AerospikeOnlineStore::connect(config).await?;
        holds(start.elapsed() < timeout + Duration::from_secs(3), || format!("{name}:{port} took too long"))?;
    }
    Ok(())
}

pub(crate) async fn opened_before_its_server() -> TestResult {
    let server = server().await?;
    server.kill().await?;
    let mut config = AerospikeConfig { connect_timeout: Duration::from_secs(1), ..config(server.url())? };
    let error = AerospikeOnlineStore::connect(config.clone()).await.expect_err("there is no server");
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    config.connect_lazily = true;
    let start = Instant::now();
    let store = OnlineStore::new(Arc::new(AerospikeOnlineStore::connect(config).await?));
    holds(start.elapsed() < Duration::from_secs(5), || "opening took too long".to_owned())?;
    let error = write(&store, 1, Ttl::Never).await.expect_err("there is no server");
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    server.restart().await?;
    while let Err(error) = write(&store, 1, Ttl::Never).await {
        holds(error.is_retryable() && start.elapsed() < PATIENCE, || error.to_string())?;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(store.read_features(TENANT, VIEW, &entity(1), None).await?.is_some());
    Ok(())
}

pub(crate) async fn a_dropped_store() -> TestResult {
    let server = server().await?;
    let connections = async || statistic(&server, "statistics", "client_connections").await;
    for closes in [true, false] {
        let stores = [open(server.url()).await?, open(server.url()).await?];
        for store in &stores {
            write(store, 1, Ttl::Never).await?;
        }
        let before = connections().await?;
        holds(before >= 4, || format!("there are only {before} connections"))?;
        if closes {
            for store in &stores {
                store.close().await?;
            }
        }
        drop(stores);
        until(&server, "statistics", "client_connections", 2).await?;
    }
    Ok(())
}

pub(crate) async fn dropped_scans() -> TestResult {
    let server = server().await?;
    let config = AerospikeConfig { min_connections: 1, max_connections: 4, ..config(server.url())? };
    let store = connect(config).await?;
    // More than the client takes before it waits for the reader.
    let rows = entities(5_000).into_iter().map(|key| FeatureWrite::new(key, one(1)).at(at(0)));
    store.batch_write(TENANT, VIEW, rows).await?.into_result()?;
    let scope = Scope::view(TENANT, VIEW)?;
    let scans = async {
        for _ in 0..8 {
            store.scan(&scope).next().await.ok_or("there are no records")??;
        }
        let rows: Vec<_> = store.scan(&scope).collect().await;
        assert_eq!(rows.into_iter().collect::<Result<Vec<_>, _>>()?.len(), 5_000);
        Ok(())
    };
    timeout(PATIENCE, scans).await.map_err(|_| "a scan waits for a connection")?
}

pub(crate) async fn a_closed_store() -> TestResult {
    let server = server().await?;
    let store = AerospikeOnlineStore::connect(config(server.url())?).await?;
    let call = CallContext::with_timeout(PATIENCE);
    let view = ViewKey::new(TENANT, VIEW)?;
    let keys = [1, 2].map(|id| RecordKey::new(view.clone(), entity(id)));
    let scope = Scope::view(TENANT, VIEW)?;
    let is_closed = |error: Option<Error>| {
        let error = error.expect("the store is closed");
        assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Unavailable, false), "{error}");
        assert!(error.message().contains("the store is closed"), "{error}");
    };
    assert!(store.get(&keys, call).await.iter().all(Result::is_ok));
    store.close().await?;
    store.close().await?;
    for count in [1, 2] {
        let rows = store.get(&keys[..count], call).await;
        assert_eq!(rows.len(), count);
        rows.into_iter().for_each(|row| is_closed(row.err()));
    }
    for row in store.delete(&keys, call).await {
        is_closed(row.err());
    }
    is_closed(store.scan(&scope).next().await.and_then(Result::err));
    is_closed(store.purge(&scope, &PurgeProgress::default()).await.err());
    is_closed(store.check().await.err());
    let store = OnlineStore::new(Arc::new(store));
    is_closed(write(&store, 1, Ttl::Never).await.err());
    until(&server, "statistics", "client_connections", 2).await
}

pub(crate) async fn patience() -> TestResult {
    let server = server().await?;
    let config = AerospikeConfig { max_retries: 1_000, ..config(server.url())? };
    let store = AerospikeOnlineStore::connect(config).await?;
    let view = ViewKey::new(TENANT, VIEW)?;
    let keys = [1, 2].map(|id| RecordKey::new(view.clone(), entity(id)));
    server.kill().await?;
    let call = CallContext::with_timeout(PATIENCE);
    let (one, all, deleted, restarted) = tokio::join!(
        store.get(&keys[..1], call),
        store.get(&keys, call),
        store.delete(&keys, call),
        server.restart(),
    );
    restarted?;
    // The server keeps nothing: there are no records.
    let read: Vec<_> = one.into_iter().chain(all).collect::<Result<_, _>>()?;
    assert_eq!(read, [None, None, None]);
    assert_eq!(deleted.into_iter().collect::<Result<Vec<_>, _>>()?.len(), 2);
    Ok(())
}
