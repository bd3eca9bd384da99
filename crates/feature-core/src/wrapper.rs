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
