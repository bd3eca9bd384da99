//! Backends around a backend.

use std::fmt;

use async_trait::async_trait;
use futures::stream::BoxStream;

use crate::backend::{
    CallContext, Capabilities, Health, OnlineStoreBackend, PurgeProgress, PurgeReport, PutOutcome, RecordPut,
    VersionedRecord,
};
use crate::error::Result;
use crate::key::{RecordKey, Scope};

/// A backend that does something to the rows of another and leaves the rest to it. Every wrapper is an
/// [`OnlineStoreBackend`].
///
/// A wrapper states what happens to rows; calls about the store as a whole go to [`inner`](Self::inner)
/// unless it overrides them. A wrapper that must see every call, such as one that counts them, implements
/// [`OnlineStoreBackend`] itself, so that no method added to the contract bypasses it.
///
/// The methods are those of the contract, under the same names. To call them on a wrapper, import the
/// contract only, and name this trait by its path: `impl feature_core::BackendWrapper for ReadOnly`.
pub trait BackendWrapper: Send + Sync + fmt::Debug + 'static {
    /// The backend inside.
    fn inner(&self) -> &dyn OnlineStoreBackend;

    /// See [`OnlineStoreBackend::capabilities`].
    fn capabilities(&self) -> Capabilities {
        self.inner().capabilities()
    }

    /// See [`OnlineStoreBackend::get`].
    fn get(
        &self,
        keys: &[RecordKey],
        call: CallContext,
    ) -> impl Future<Output = Vec<Result<Option<VersionedRecord>>>> + Send;

    /// See [`OnlineStoreBackend::put`].
    fn put(
        &self,
        puts: Vec<RecordPut>,
        call: CallContext,
    ) -> impl Future<Output = Vec<Result<PutOutcome>>> + Send;

    /// See [`OnlineStoreBackend::delete`].
    fn delete(&self, keys: &[RecordKey], call: CallContext)
    -> impl Future<Output = Vec<Result<bool>>> + Send;

    /// See [`OnlineStoreBackend::scan`].
    fn scan(&self, scope: &Scope) -> BoxStream<'static, Result<(RecordKey, VersionedRecord)>> {
        self.inner().scan(scope)
    }

    /// See [`OnlineStoreBackend::purge`].
    fn purge(
        &self,
        scope: &Scope,
        progress: &PurgeProgress,
    ) -> impl Future<Output = Result<PurgeReport>> + Send {
        async move { self.inner().purge(scope, progress).await }
    }

    /// See [`OnlineStoreBackend::check`].
    fn check(&self) -> impl Future<Output = Result<Health>> + Send {
        async move { self.inner().check().await }
    }

    /// See [`OnlineStoreBackend::close`].
    fn close(&self) -> impl Future<Output = Result<()>> + Send {
        async move { self.inner().close().await }
    }
}

// A method added to the contract needs its place among those of a wrapper.
#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<W: BackendWrapper> OnlineStoreBackend for W {
    fn capabilities(&self) -> Capabilities {
        BackendWrapper::capabilities(self)
    }

    async fn get(&self, keys: &[RecordKey], call: CallContext) -> Vec<Result<Option<VersionedRecord>>> {
        BackendWrapper::get(self, keys, call).await
    }

    async fn put(&self, puts: Vec<RecordPut>, call: CallContext) -> Vec<Result<PutOutcome>> {
        BackendWrapper::put(self, puts, call).await
    }

    async fn delete(&self, keys: &[RecordKey], call: CallContext) -> Vec<Result<bool>> {
        BackendWrapper::delete(self, keys, call).await
    }

    fn scan(&self, scope: &Scope) -> BoxStream<'static, Result<(RecordKey, VersionedRecord)>> {
        BackendWrapper::scan(self, scope)
    }

    async fn purge(&self, scope: &Scope, progress: &PurgeProgress) -> Result<PurgeReport> {
        BackendWrapper::purge(self, scope, progress).await
    }

    async fn check(&self) -> Result<Health> {
        BackendWrapper::check(self).await
    }

    async fn close(&self) -> Result<()> {
        BackendWrapper::close(self).await
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures::{StreamExt, stream};

    use super::*;
    use crate::backend::Precondition;
    use crate::entity::EntityKey;
    use crate::error::Error;
    use crate::key::ViewKey;
    use crate::time::Timestamp;

    /// Answers each call as nothing else would.
    #[derive(Debug)]
    struct Inner;

    fn record() -> VersionedRecord {
        VersionedRecord { bytes: Bytes::from_static(b"inner"), version: 7 }
    }

    #[async_trait]
    impl OnlineStoreBackend for Inner {
        fn capabilities(&self) -> Capabilities {
            Capabilities::new("inner")
        }

        async fn get(&self, keys: &[RecordKey], _: CallContext) -> Vec<Result<Option<VersionedRecord>>> {
            keys.iter().map(|_| Ok(Some(record()))).collect()
        }

        async fn put(&self, puts: Vec<RecordPut>, _: CallContext) -> Vec<Result<PutOutcome>> {
            puts.iter().map(|_| Ok(PutOutcome::Refused(Some(record())))).collect()
        }

        async fn delete(&self, keys: &[RecordKey], _: CallContext) -> Vec<Result<bool>> {
            (0..keys.len()).map(|at| Ok(at == 0)).collect()
        }

        fn scan(&self, _: &Scope) -> BoxStream<'static, Result<(RecordKey, VersionedRecord)>> {
            stream::iter(keys().map(|key| Ok((key, record())))).boxed()
        }

        async fn purge(&self, _: &Scope, progress: &PurgeProgress) -> Result<PurgeReport> {
            progress.add(7);
            Ok(PurgeReport { removed: 7 })
        }

        async fn check(&self) -> Result<Health> {
            Ok(Health { warnings: vec!["inner".to_owned()], ..Health::default() })
        }

        async fn close(&self) -> Result<()> {
            Err(Error::corrupt("inner"))
        }
    }

    /// Does nothing of its own.
    #[derive(Debug)]
    struct Outer(Inner);

    impl BackendWrapper for Outer {
        fn inner(&self) -> &dyn OnlineStoreBackend {
            &self.0
        }

        async fn get(&self, keys: &[RecordKey], call: CallContext) -> Vec<Result<Option<VersionedRecord>>> {
            self.0.get(keys, call).await
        }

        async fn put(&self, puts: Vec<RecordPut>, call: CallContext) -> Vec<Result<PutOutcome>> {
            self.0.put(puts, call).await
        }

        async fn delete(&self, keys: &[RecordKey], call: CallContext) -> Vec<Result<bool>> {
            self.0.delete(keys, call).await
        }
    }

    fn keys() -> [RecordKey; 2] {
        let view = ViewKey::new("t", "v").unwrap();
        [1, 2].map(|id| RecordKey::new(view.clone(), EntityKey::new("id", id).unwrap()))
    }

    #[tokio::test]
    async fn a_wrapper_gives_what_it_wraps() {
        let outer: &dyn OnlineStoreBackend = &Outer(Inner);
        let call = CallContext::with_timeout(std::time::Duration::from_secs(1));
        let put = |key| RecordPut {
            key,
            bytes: Bytes::new(),
            event_time: Timestamp::from_micros(1),
            shape: 0,
            ttl: None,
            precondition: Precondition::NotNewer,
        };
        assert_eq!(outer.capabilities(), Inner.capabilities());
        let got: Vec<_> = outer.get(&keys(), call).await.into_iter().map(Result::unwrap).collect();
        assert_eq!(got, [Some(record()), Some(record())]);
        let put = outer.put(keys().map(put).to_vec(), call).await.into_iter().map(Result::unwrap);
        assert!(put.eq([1, 2].map(|_| PutOutcome::Refused(Some(record())))));
        assert!(outer.delete(&keys(), call).await.into_iter().map(Result::unwrap).eq([true, false]));
        let scanned: Vec<_> = outer.scan(&Scope::Store).map(Result::unwrap).collect().await;
        assert_eq!(scanned, keys().map(|key| (key, record())));
        let progress = PurgeProgress::default();
        assert_eq!(outer.purge(&Scope::Store, &progress).await.unwrap().removed, 7);
        assert_eq!(progress.removed(), 7);
        assert_eq!(outer.check().await.unwrap().warnings, ["inner"]);
        assert!(outer.close().await.is_err());
    }
}
