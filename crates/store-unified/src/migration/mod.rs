//! Moves records of a tenant, or of a view of it, from one store to another while they are written and
//! read. How, and why nothing is lost, is in ADR 7.

mod compare;
mod copy;
mod ledger;
mod progress;
mod steps;
#[cfg(test)]
mod tests;
mod watch;

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;

use feature_core::{CallContext, Error, OnlineStoreBackend, Result, SYSTEM_TENANT, Scope, Timestamp};

pub use compare::{Comparison, Difference};
pub(crate) use ledger::{Entry, overlap};
pub use ledger::{Phase, Verified};
pub use progress::{MigrationProgress, Step};
pub use watch::MigrationSettings;
pub(crate) use watch::{Known, Plan, Watch};

use crate::observe::names::COPIED_ROWS;
use crate::wrappers::Mirrored;
use compare::Pair;
use ledger::Ledger;

/// The numbers of the places that records of a scope go to.
type Places = Arc<dyn Fn(&Scope) -> Vec<usize> + Send + Sync>;

/// Begins, watches and ends migrations. Cheap to clone.
///
/// A migration is of a [scope](Scope): a tenant, or a view of a tenant. It goes from the store that the route
/// of these records names to another. Its state is kept in the source, so that every process follows it, and
/// any process can go on with it: each method can be called again after a failure, or after the process that
/// called it was killed, and continues where it stopped.
#[derive(Clone)]
pub struct Migrations {
    /// By number.
    mirrors: Arc<Vec<Arc<Mirrored>>>,
    places: Places,
}

/// How records are copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StartOptions {
    /// Remove what the target has of the scope, rather than refuse to begin.
    pub purge_target: bool,
    /// At most this many records per second; `None` is as fast as possible.
    pub rows_per_second: Option<NonZeroU32>,
}

/// A migration, and how far it has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MigrationStatus {
    /// What migrates.
    pub scope: Scope,
    /// The name of the store that it migrates from.
    pub from: String,
    /// The name of the store that it migrates to.
    pub to: String,
    /// How far it has come.
    pub phase: Phase,
    /// Whether every process is known to follow the phase.
    pub followed: bool,
    /// When it began.
    pub started: Timestamp,
    /// When it entered the phase.
    pub since: Timestamp,
    /// Records that the current or last copy has looked at.
    pub looked_at: u64,
    /// Records that it has copied.
    pub copied: u64,
    /// The last verification that still counts.
    pub verified: Option<Verified>,
}

/// The migration that a command concerns.
struct Subject<'a> {
    mirror: &'a Arc<Mirrored>,
    scope: &'a Scope,
}

impl Migrations {
    /// The migrations of stores that have others beside them; `places` gives the numbers of those that
    /// records of a scope can go to.
    pub fn new(
        mirrors: Vec<Arc<Mirrored>>,
        places: impl Fn(&Scope) -> Vec<usize> + Send + Sync + 'static,
    ) -> Self {
        Self { mirrors: Arc::new(mirrors), places: Arc::new(places) }
    }

    /// Every migration that any of the stores remembers, by source and scope.
    ///
    /// # Errors
    /// What a store reports.
    pub async fn status(&self) -> Result<Vec<MigrationStatus>> {
        let mut all: Vec<MigrationStatus> = Vec::new();
        let mut asked: Vec<&str> = Vec::new();
        for mirror in self.mirrors.iter().filter(|mirror| mirror.others().next().is_some()) {
            if asked.contains(&mirror.name()) {
                continue;
            }
            asked.push(mirror.name());
            let call = CallContext::with_timeout(mirror.watch().settings.longest_write);
            let ledger = Ledger::load(&**mirror.source(), call).await;
            let ledger = ledger.map_err(|e| e.with_key(format_args!("store `{}`", mirror.name())))?;
            for entry in ledger.0.values() {
                all.push(status(mirror.name(), entry)?);
            }
        }
        Ok(all)
    }

    /// The place of a scope's records.
    fn subject<'a>(&'a self, scope: &'a Scope) -> Result<Subject<'a>> {
        let tenant = match scope {
            Scope::Store => return Err(Error::invalid_argument("a migration is of a tenant, or of a view")),
            Scope::Tenant(tenant) => tenant,
            Scope::View(view) => view.tenant(),
        };
        if tenant == SYSTEM_TENANT {
            return Err(Error::invalid_argument("what the software itself keeps in a store stays there"));
        }
        let mirrors: Vec<_> =
            (self.places)(scope).into_iter().filter_map(|at| self.mirrors.get(at)).collect();
        let [first, rest @ ..] = &mirrors[..] else {
            return Err(Error::invalid_argument(format!(
                "there is no other store that {scope} could migrate to"
            )));
        };
        if let Some(other) = rest.iter().find(|other| other.name() != first.name()) {
            return Err(Error::invalid_argument(format!(
                "the routes send views of {scope} to store `{}` and to `{}`: migrate view by view",
                first.name(),
                other.name()
            )));
        }
        Ok(Subject { mirror: first, scope })
    }
}

impl fmt::Debug for Migrations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Migrations").field("mirrors", &self.mirrors).finish_non_exhaustive()
    }
}

fn status(from: &str, entry: &Entry) -> Result<MigrationStatus> {
    let Entry { to, phase, followed, started, since, looked_at, copied, verified, .. } = entry.clone();
    let (scope, from) = (entry.scope()?, from.to_owned());
    Ok(MigrationStatus { scope, from, to, phase, followed, started, since, looked_at, copied, verified })
}

impl Subject<'_> {
    fn call(&self) -> CallContext {
        CallContext::with_timeout(self.mirror.watch().settings.longest_write)
    }

    async fn ledger(&self) -> Result<Ledger> {
        Ledger::load(&**self.mirror.source(), self.call()).await.map_err(|e| self.whose(e))
    }

    /// Changes what the source remembers.
    async fn change<T>(&self, change: impl FnMut(&mut Ledger) -> Result<T>) -> Result<T> {
        let watch = self.mirror.watch();
        let changed = Ledger::change(&**self.mirror.source(), &*watch.clock, self.call(), change).await;
        // This process follows at once.
        let _ = watch.look(self.call()).await;
        changed.map_err(|e| self.whose(e))
    }

    async fn entry(&self) -> Result<Entry> {
        self.ledger().await?.get(self.scope).cloned().ok_or_else(|| {
            self.error(format!(
                "no migration of {} away from `{}` is under way",
                self.scope,
                self.mirror.name()
            ))
        })
    }

    fn pair(&self, to: &str) -> Result<Pair> {
        Ok(Pair {
            source: Arc::clone(self.mirror.source()),
            target: Arc::clone(self.target(to)?),
            clock: Arc::clone(&self.mirror.watch().clock),
            patience: self.mirror.watch().settings.longest_write,
            copied: COPIED_ROWS.counter([self.mirror.name(), to]),
        })
    }

    fn target(&self, to: &str) -> Result<&Arc<dyn OnlineStoreBackend>> {
        self.mirror.other(to).ok_or_else(|| {
            let others: Vec<&str> = self.mirror.others().collect();
            self.error(format!(
                "records of {} are in store `{}` and cannot migrate to `{to}`: the other stores are {}",
                self.scope,
                self.mirror.name(),
                if others.is_empty() { "none".to_owned() } else { others.join(", ") }
            ))
        })
    }

    fn error(&self, message: impl Into<String>) -> Error {
        self.whose(Error::invalid_argument(message))
    }

    fn whose(&self, error: Error) -> Error {
        error.with_operation("migrate").with_key(self.scope)
    }
}
