//! Who watches the requests of a handle.

use std::fmt;

use async_trait::async_trait;
use futures::future::BoxFuture;

use super::{BatchRows, WriteReport};
use crate::error::Result;

/// A request that an application makes of a handle.
#[derive(Clone, Copy, Debug)]
pub struct RequestInfo<'a> {
    /// Whose features.
    pub tenant_id: &'a str,
    /// Of which view; `None` for a read of several.
    pub feature_view: Option<&'a str>,
    /// How many rows it has.
    pub rows: usize,
}

/// Watches the requests of a handle: it counts them, say, or traces them. Each method is given the request
/// as a future that has not begun, awaits it, and returns its answer. A method's own future is dropped when
/// the application stops waiting.
#[async_trait]
pub trait RequestObserver: Send + Sync + fmt::Debug + 'static {
    /// A read; the answer has the rows of each view.
    async fn read(
        &self,
        request: RequestInfo<'_>,
        work: BoxFuture<'_, Result<Vec<BatchRows>>>,
    ) -> Result<Vec<BatchRows>>;

    /// A write.
    async fn write(
        &self,
        request: RequestInfo<'_>,
        work: BoxFuture<'_, Result<WriteReport>>,
    ) -> Result<WriteReport>;

    /// A delete; the answer says of each row whether there was a record.
    async fn delete(
        &self,
        request: RequestInfo<'_>,
        work: BoxFuture<'_, Result<Vec<Result<bool>>>>,
    ) -> Result<Vec<Result<bool>>>;
}
