//! What the server can be asked, whichever protocol asks it. A protocol's adapter decodes a request, makes one
//! of these calls, and encodes what it gives.
//!
//! Everything a call does is a call of [`UnifiedFeatureStore`]; here is only what a server adds: whose data it
//! is, how much one request may be, and until when there must be an answer.

mod clients;
mod error;
mod inspect;
mod memory;
mod note;
mod read;
mod table;
mod write;

use std::sync::Arc;
use std::time::Duration;

use feature_core::{Error, ErrorKind, FeatureRow, RecordKey, Scope, ViewKey};
use futures::stream::BoxStream;
use store_unified::{Decision, Registry, UnifiedFeatureStore};
use tokio::time::Instant;

pub(crate) use clients::{Client, Clients, Share};
pub(crate) use error::{Cause, Refusal, RowFailure, shown};
pub(crate) use inspect::Stored;
pub(crate) use memory::{Budget, Reservation};
pub(crate) use read::{ReadRequest, Wanted};
pub(crate) use table::{Column, Table};
pub(crate) use write::{Forgotten, WriteRows, Written};

use crate::auth::{Principal, Right};
use crate::live::Live;

/// A call of somebody: on which state of the server, and until when.
pub(crate) struct Call {
    pub(crate) live: Arc<Live>,
    pub(crate) principal: Arc<Principal>,
    pub(crate) deadline: Instant,
    /// What the request takes of the memory that all requests share.
    pub(crate) memory: Reservation,
}

impl Call {
    /// The call, on data of this tenant.
    ///
    /// # Errors
    /// `PermissionDenied`, whether there is such a tenant or not.
    pub(crate) fn on(&mut self, tenant: &str, right: Right) -> Result<TenantCall<'_>, Refusal> {
        if !self.principal.may(right, tenant) {
            let message = format!(
                "it needs the right `{}` for this tenant, which your credentials do not have",
                right.name()
            );
            return Err(Error::new(ErrorKind::PermissionDenied, message).into());
        }
        Ok(TenantCall { tenant: tenant.to_owned(), call: self })
    }

    /// The declared views and services.
    pub(crate) fn registry(&self) -> Option<&Registry> {
        self.live.store.registry()
    }

    /// How much time is left.
    ///
    /// # Errors
    /// `DeadlineExceeded` when none is.
    pub(crate) fn left(&self) -> Result<Duration, Refusal> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let message = "the deadline passed before the store was asked; nothing was done";
            return Err(Error::new(ErrorKind::DeadlineExceeded, message).into());
        }
        Ok(left)
    }

    /// Refuses what has more rows than a request may have.
    pub(crate) fn check_rows(&self, rows: usize) -> Result<(), Refusal> {
        let limit = self.live.settings.limits.rows;
        limit_of("the request", rows, limit, "rows (limits.rows)")
    }
}

/// Refuses what is beyond a limit.
pub(crate) fn limit_of(what: &str, value: usize, limit: usize, unit: &str) -> Result<(), Refusal> {
    if value > limit {
        return Err(Error::limit_exceeded(what, value as u64, limit as u64, unit).into());
    }
    Ok(())
}

/// A call on data of a tenant that it may reach.
pub(crate) struct TenantCall<'a> {
    call: &'a mut Call,
    tenant: String,
}

impl TenantCall<'_> {
    /// The store, whose reads end before the deadline.
    fn store(&self) -> Result<UnifiedFeatureStore, Refusal> {
        Ok(self.call.live.store.with_deadline(self.call.left()?))
    }

    /// The store, whose writes end before the deadline.
    fn store_to_write(&self) -> Result<UnifiedFeatureStore, Refusal> {
        let live = &self.call.live;
        Ok(live.store.with_deadline(self.call.left()?.min(live.longest_write)))
    }

    /// Refuses a view that is not declared, where views are.
    fn check_view(&self, view: &str) -> Result<(), Refusal> {
        match self.call.registry() {
            Some(registry) if registry.view(view).is_none() => Err(Refusal::unknown_view(view, registry)),
            _ => Ok(()),
        }
    }

    /// Where the records of a view go. Asks no store.
    pub(crate) fn route(&self, view: &str) -> Result<Decision, Refusal> {
        self.check_view(view)?;
        Ok(self.call.live.store.route(&self.tenant, view)?)
    }

    /// Streams the rows of a view, without a deadline.
    pub(crate) fn scan(
        &self,
        view: &str,
    ) -> Result<BoxStream<'static, feature_core::Result<(RecordKey, FeatureRow)>>, Refusal> {
        self.check_view(view)?;
        let scope = Scope::View(ViewKey::new(&self.tenant, view)?);
        Ok(self.call.live.store.scan(&scope))
    }

    /// Removes all records of a view, or, for `None`, of the tenant: how many there were. Has no deadline.
    pub(crate) async fn purge(&self, view: Option<&str>) -> Result<u64, Refusal> {
        let scope = match view {
            Some(view) => {
                self.check_view(view)?;
                Scope::View(ViewKey::new(&self.tenant, view)?)
            }
            None => Scope::Tenant(self.tenant.clone()),
        };
        Ok(self.call.live.store.purge(&scope, &Default::default()).await?.removed)
    }
}
