//! The store.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use feature_core::{
    CallContext, Capabilities, Health, OnlineStoreBackend, PurgeProgress, PurgeReport, PutOutcome, RecordKey,
    RecordPut, Result, Scope, StoreUrl, VersionedRecord,
};
use futures::stream::{self, BoxStream, StreamExt};
use tokio::time::Instant;

use crate::config::RedisConfig;
use crate::error::{BACKEND, Failure};
use crate::read::{Delete, Get, Misses};
use crate::request::{self, Operation};
use crate::router::Router;
use crate::write::Put;
use crate::{check, scan};

/// Largest encoded record, in bytes. The server takes more, but serves nobody else meanwhile.
pub const MAX_RECORD_BYTES: usize = 64 << 20;

/// A store on Redis or Valkey: one server, a primary watched by Sentinel, or a cluster.
///
/// Connections are made when needed and replaced when they fail; after a failover calls go to the new primary
/// automatically. Cheap to share; dropping it, and the scans that it gave, closes its connections.
pub struct RedisOnlineStore {
    router: Arc<Router>,
    misses: Misses,
    closed: Arc<AtomicBool>,
}

/// How often servers are tried that could not be reached when the store was opened.
const LEARN_EVERY: Duration = Duration::from_millis(500);

/// Learns where everything is as soon as that can be learned, unless the store is dropped or closed. Calls
/// learn it too, but not those whose time is short.
async fn learn_later(router: Weak<Router>, closed: Arc<AtomicBool>) {
    loop {
        tokio::time::sleep(LEARN_EVERY).await;
        let Some(router) = router.upgrade().filter(|_| !closed.load(Ordering::Acquire)) else { return };
        if router.learn(Instant::now() + router.config().connect_timeout * 2).await.is_ok() {
            return;
        }
    }
}

impl RedisOnlineStore {
    /// Connects with these settings, and fails if no server answers within `connect_timeout`, unless it may
    /// answer later.
    ///
    /// # Errors
    /// `InvalidArgument` for impossible settings and unreadable files; `Unavailable`; `Unauthenticated` for a
    /// wrong password or certificate; `NotConfigured` for a server that is not a cluster or lacks the
    /// database, or a Sentinel that does not know the service.
    pub async fn connect(config: RedisConfig) -> Result<Self> {
        let (lazily, timeout) = (config.connect_lazily, config.connect_timeout);
        let (router, closed) = (Arc::new(Router::new(config)?), Arc::new(AtomicBool::new(false)));
        // Where one server names another, both have to be reached.
        match router.learn(Instant::now() + timeout * 2).await {
            Ok(()) => {}
            Err(failure) if lazily && failure.error.is_retryable() => {
                tokio::spawn(learn_later(Arc::downgrade(&router), Arc::clone(&closed)));
            }
            Err(failure) => return Err(failure.error),
        }
        Ok(Self { router, misses: Misses::default(), closed })
    }

    /// Connects to the store of this URL; see [`RedisConfig::from_url`].
    ///
    /// # Errors
    /// As [`connect`](Self::connect), and for a URL that is wrong.
    pub async fn open(url: &str) -> Result<Self> {
        Self::connect(RedisConfig::from_url(&StoreUrl::parse(url)?)?).await
    }

    fn ensure_open(&self) -> Result<(), Failure> {
        if self.closed.load(Ordering::Acquire) { Err(Failure::closed()) } else { Ok(()) }
    }

    async fn run<O: Operation>(
        &self,
        operation: &O,
        rows: usize,
        call: CallContext,
    ) -> Vec<Result<O::Answer>> {
        match self.ensure_open() {
            Ok(()) => request::run(&self.router, operation, rows, call).await,
            Err(closed) => closed.error.for_rows(rows),
        }
    }
}

#[async_trait]
impl OnlineStoreBackend for RedisOnlineStore {
    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::new(BACKEND);
        capabilities.max_record_bytes = Some(MAX_RECORD_BYTES);
        // That depends on the server; `check` reports it.
        capabilities.durable = false;
        capabilities
    }

    async fn get(&self, keys: &[RecordKey], call: CallContext) -> Vec<Result<Option<VersionedRecord>>> {
        let get = Get::new(&self.router.config().key_prefix, keys, &self.misses);
        self.run(&get, keys.len(), call).await
    }

    async fn put(&self, puts: Vec<RecordPut>, call: CallContext) -> Vec<Result<PutOutcome>> {
        let rows = puts.len();
        self.run(&Put::new(self.router.config(), puts), rows, call).await
    }

    async fn delete(&self, keys: &[RecordKey], call: CallContext) -> Vec<Result<bool>> {
        self.run(&Delete::new(&self.router.config().key_prefix, keys), keys.len(), call).await
    }

    fn scan(&self, scope: &Scope) -> BoxStream<'static, Result<(RecordKey, VersionedRecord)>> {
        match self.ensure_open() {
            Ok(()) => scan::scan(&self.router, scope),
            Err(closed) => stream::iter([Err(closed.error)]).boxed(),
        }
    }

    async fn purge(&self, scope: &Scope, progress: &PurgeProgress) -> Result<PurgeReport> {
        self.ensure_open().map_err(|closed| closed.error)?;
        scan::purge(&self.router, scope, progress).await.map_err(|failure| failure.error)
    }

    async fn check(&self) -> Result<Health> {
        self.ensure_open().map_err(|closed| closed.error)?;
        check::check(&self.router).await.map_err(|failure| failure.error)
    }

    async fn close(&self) -> Result<()> {
        if !self.closed.swap(true, Ordering::AcqRel) {
            self.router.end();
        }
        Ok(())
    }
}

impl fmt::Debug for RedisOnlineStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisOnlineStore").field("config", self.router.config()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use feature_core::{Error, Precondition, Timestamp};

    use super::*;
    use crate::cluster::tests::SLOTS_OF_TWO;
    use crate::connect::tests::{local, soon};
    use crate::dial::tests::server;
    use crate::read::tests::keys;
    use crate::router::tests::router;

    /// A store of a cluster that nobody serves.
    async fn unserved() -> RedisOnlineStore {
        RedisOnlineStore::open("redis-cluster://app:hunter2@127.0.0.1:1?connect_lazily=true").await.unwrap()
    }

    #[tokio::test]
    async fn a_closed_store_says_so_whatever_it_is_asked() {
        let store = unserved().await;
        let call = CallContext::with_timeout(Duration::from_secs(30));
        let keys = keys(1);
        let put = RecordPut {
            key: keys[0].clone(),
            bytes: Default::default(),
            event_time: Timestamp::from_micros(0),
            shape: 0,
            ttl: None,
            precondition: Precondition::NotNewer,
        };
        store.close().await.unwrap();
        store.close().await.unwrap();
        let errors: [Option<Error>; 6] = [
            store.get(&keys, call).await.remove(0).err(),
            store.put(vec![put], call).await.remove(0).err(),
            store.delete(&keys, call).await.remove(0).err(),
            store.scan(&Scope::Store).next().await.unwrap().err(),
            store.purge(&Scope::Store, &PurgeProgress::default()).await.err(),
            store.check().await.err(),
        ];
        for error in errors.map(Option::unwrap) {
            assert!(error.message().contains("the store is closed") && !error.is_retryable(), "{error}");
        }
    }

    #[tokio::test]
    async fn where_servers_are_is_learned_as_soon_as_one_answers() {
        let port = server(|_| Some(SLOTS_OF_TWO)).await;
        let router = router(RedisConfig { cluster_mode: true, ..local(port) });
        for (closed, known) in [(true, 0), (false, 1)] {
            let learned = learn_later(Arc::downgrade(&router), Arc::new(AtomicBool::new(closed)));
            tokio::time::timeout_at(soon(), learned).await.unwrap();
            assert_eq!(router.primaries().len(), known);
        }
    }

    #[tokio::test]
    async fn a_store_shows_its_settings_and_no_password() {
        let text = format!("{:?}", unserved().await);
        assert!(text.contains("127.0.0.1") && !text.contains("hunter2"), "{text}");
    }

    #[tokio::test]
    async fn a_store_says_what_it_can() {
        let capabilities = unserved().await.capabilities();
        assert_eq!(capabilities.max_record_bytes, Some(64 << 20));
        assert!(!capabilities.durable);
    }
}
