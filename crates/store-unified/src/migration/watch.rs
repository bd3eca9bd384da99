//! What this process knows of migrations, and how old that knowledge may be.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use feature_core::{
    CallContext, Clock, Error, ErrorKind, OnlineStoreBackend, Result, SYSTEM_TENANT, Scope, ViewKey,
    format_duration,
};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::ledger::{Entry, Ledger, Phase};

/// How soon every process follows a change of phase. The same in all processes that share a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MigrationSettings {
    /// How often a process that is called looks for changes, beside the calls. Default 1 s.
    pub refresh: Duration,
    /// How old a process's knowledge may be. A call that finds it older looks first, and a write fails if
    /// that is impossible. Default 5 s.
    pub lease: Duration,
    /// How long a write may be under way: at least the longest deadline of the handles. Default 5 s.
    pub longest_write: Duration,
}

impl Default for MigrationSettings {
    fn default() -> Self {
        Self {
            refresh: Duration::from_secs(1),
            lease: Duration::from_secs(5),
            longest_write: Duration::from_secs(5),
        }
    }
}

/// While a migration is being finished, lease and refresh are shorter by this factor, since writes wait.
const QUICKER: u32 = 5;
/// A hold that nobody ends is given up after this many times its expected length.
const HOLDS: u32 = 3;

impl MigrationSettings {
    /// # Errors
    /// `InvalidArgument` for a duration of zero, or a refresh not shorter than the lease.
    pub(crate) fn check(&self) -> Result<()> {
        if self.refresh.is_zero() || self.refresh >= self.lease {
            return Err(Error::invalid_argument(format!(
                "the refresh of what is known of migrations, {}, must be shorter than the lease, {}, and not zero",
                format_duration(self.refresh),
                format_duration(self.lease)
            )));
        }
        Ok(())
    }

    /// How long to wait until every process follows a phase, and no write of the one before is under way:
    /// a write begins within a lease, and then takes as long as a write may.
    pub(crate) fn until_followed(&self) -> Duration {
        self.lease + self.lease.max(self.longest_write)
    }

    fn quick(&self) -> Self {
        Self { refresh: self.refresh / QUICKER, lease: self.lease / QUICKER, ..*self }
    }

    /// The same when processes look more often: so long do writes wait.
    pub(crate) fn hold(&self) -> Duration {
        let quick = self.quick();
        quick.lease * 2 + quick.refresh
    }

    /// How long writes may be held before the hold is given up.
    fn longest_hold(&self) -> Duration {
        self.hold() * HOLDS
    }
}

/// What is done with the records of a view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    /// The source alone.
    Source,
    /// Both are written.
    Both {
        /// The other store, by number; the error says that this process has none of its name.
        to: Result<usize, String>,
        /// Whether it is the one that is read.
        reads: bool,
    },
    /// The other store is read, writes wait.
    Hold {
        /// As above.
        to: Result<usize, String>,
    },
    /// The other store alone.
    Target {
        /// As above.
        to: Result<usize, String>,
    },
}

/// What was known at a moment.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) ledger: Ledger,
    /// When it was asked for; `None` if it never was.
    at: Option<Instant>,
    /// Since when writes are held as they are.
    holding_since: Instant,
    /// How old this may become, and how often to look.
    pace: MigrationSettings,
}

impl Known {
    pub(crate) fn nothing_moves(&self) -> bool {
        self.ledger.0.is_empty()
    }

    /// How long a write that begins now may take where two stores are written.
    pub(crate) fn write_limit(&self) -> Duration {
        self.pace.lease
    }

    fn age(&self) -> Duration {
        self.at.map_or(Duration::MAX, |at| at.elapsed())
    }
}

/// Keeps what is known fresh.
#[derive(Debug)]
pub(crate) struct Watch {
    pub(crate) store: Arc<dyn OnlineStoreBackend>,
    others: Vec<String>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) settings: MigrationSettings,
    known: ArcSwap<Known>,
    /// Whether a refresh beside the calls is under way.
    refreshing: AtomicBool,
    /// When one was tried last, and the right to try.
    tried: Mutex<Option<Instant>>,
}

impl Watch {
    pub(crate) fn new(
        store: Arc<dyn OnlineStoreBackend>,
        others: Vec<String>,
        clock: Arc<dyn Clock>,
        settings: MigrationSettings,
    ) -> Self {
        let known =
            Known { ledger: Ledger::default(), at: None, holding_since: Instant::now(), pace: settings };
        Self {
            store,
            others,
            clock,
            settings,
            known: ArcSwap::from_pointee(known),
            refreshing: AtomicBool::new(false),
            tried: Mutex::new(None),
        }
    }

    /// What is to be done with the records of a view.
    pub(crate) fn plan(&self, known: &Known, view: &ViewKey) -> Plan {
        if view.tenant() == SYSTEM_TENANT {
            return Plan::Source;
        }
        let Some(entry) = known.ledger.0.values().find(|entry| entry.is_about(view)) else {
            return Plan::Source;
        };
        let to = self.others.iter().position(|name| *name == entry.to).ok_or_else(|| entry.to.clone());
        match entry.phase {
            Phase::Copying | Phase::Copied | Phase::Verified | Phase::Aborting => {
                Plan::Both { to, reads: false }
            }
            Phase::CutOver | Phase::Finishing => Plan::Both { to, reads: true },
            Phase::Holding => Plan::Hold { to },
            Phase::Finished => Plan::Target { to },
        }
    }

    /// What is known, for a read: looked up again when it is too old, unless the store cannot be asked.
    pub(crate) async fn for_reading(self: &Arc<Self>, call: CallContext) -> Arc<Known> {
        let known = self.known.load_full();
        if known.age() <= known.pace.lease {
            self.refresh_beside(&known);
            return known;
        }
        // A store that does not answer must not take the whole of the read's time, nor of every read's.
        let now = Instant::now();
        let until = now + (call.deadline.saturating_duration_since(now) / 2).min(known.pace.refresh);
        let look = async {
            let mut tried = self.tried.lock().await;
            if tried.is_none_or(|at| at.elapsed() > known.pace.refresh) {
                *tried = Some(Instant::now());
                let _ = self.look(CallContext { deadline: until }).await;
            }
        };
        let _ = tokio::time::timeout_at(until, look).await;
        self.known.load_full()
    }

    /// What is known, for a write. Waits while writes of a migration that it is `about` are held.
    ///
    /// # Errors
    /// `Unavailable` when the store cannot be asked, or writes are held for longer than the call may take.
    pub(crate) async fn for_writing(
        self: &Arc<Self>,
        call: CallContext,
        about: impl Fn(&Entry) -> bool,
    ) -> Result<Arc<Known>> {
        loop {
            let known = self.fresh(call).await?;
            let held = |entry: &&Entry| entry.phase == Phase::Holding && about(entry);
            if !known.ledger.0.values().any(|entry| held(&entry)) {
                return Ok(known);
            }
            let wait = known.pace.refresh / 2;
            if Instant::now() + wait * 2 > call.deadline {
                let message = "writes wait for a moment while a migration is finished; write again";
                return Err(Error::new(ErrorKind::Unavailable, message).with_retry_after(wait * 4));
            }
            if known.holding_since.elapsed() > self.settings.longest_hold() {
                self.give_up_hold(&known, call).await?;
            }
            tokio::time::sleep(wait).await;
            let _ = self.look_if_older(wait, call).await;
        }
    }

    async fn fresh(self: &Arc<Self>, call: CallContext) -> Result<Arc<Known>> {
        let known = self.known.load_full();
        if known.age() <= known.pace.lease {
            self.refresh_beside(&known);
            return Ok(known);
        }
        self.look_if_older(known.pace.lease, call).await.map_err(|e| {
            let message = format!("whether a migration is under way cannot be found out: {}", e.message());
            Error::new(ErrorKind::Unavailable, message).with_source(e)
        })
    }

    /// Looks, unless somebody has just done so.
    async fn look_if_older(&self, age: Duration, call: CallContext) -> Result<Arc<Known>> {
        let mut tried = self.tried.lock().await;
        let known = self.known.load_full();
        if known.age() <= age {
            return Ok(known);
        }
        *tried = Some(Instant::now());
        self.look(call).await
    }

    /// Asks the store, now.
    pub(crate) async fn look(&self, call: CallContext) -> Result<Arc<Known>> {
        let at = Instant::now();
        let ledger = Ledger::load(&*self.store, call).await?;
        let before = self.known.load();
        if before.at.is_some_and(|newer| newer > at) {
            return Ok(Arc::clone(&before));
        }
        let same_hold = before.ledger.holding().eq(ledger.holding());
        let holding_since = if same_hold { before.holding_since } else { at };
        let quick = |phase| matches!(phase, Phase::Finishing | Phase::Holding);
        let quick = ledger.0.values().any(|entry| quick(entry.phase));
        let pace = if quick { self.settings.quick() } else { self.settings };
        let known = Arc::new(Known { ledger, at: Some(at), holding_since, pace });
        self.known.store(Arc::clone(&known));
        Ok(known)
    }

    fn refresh_beside(self: &Arc<Self>, known: &Known) {
        if known.age() <= known.pace.refresh || self.refreshing.swap(true, Ordering::AcqRel) {
            return;
        }
        let watch = Arc::clone(self);
        let lease = known.pace.lease;
        tokio::spawn(async move {
            let call = CallContext::with_timeout(lease);
            let _ = tokio::time::timeout_at(call.deadline, watch.look(call)).await;
            watch.refreshing.store(false, Ordering::Release);
        });
    }

    /// Ends a hold whose command seems to be gone. It fails at its next step, for it finds another phase.
    async fn give_up_hold(&self, known: &Known, call: CallContext) -> Result<()> {
        Ledger::change(&*self.store, &*self.clock, call, |ledger| {
            for (name, entry) in &mut ledger.0 {
                if entry.phase == Phase::Holding && known.ledger.0.get(name) == Some(entry) {
                    entry.enter(Phase::CutOver, self.clock.now());
                }
            }
            Ok(())
        })
        .await
    }

    /// The scopes within this one that have a plan of their own, and the plan.
    pub(crate) fn plans_within(&self, known: &Known, scope: &Scope) -> Vec<(Scope, Plan)> {
        let narrower = |own: Scope| match own.prefix().len() > scope.prefix().len() {
            true => own,
            false => scope.clone(),
        };
        let plan = |(own, entry): (Scope, &Entry)| {
            let view = ViewKey::new(&entry.tenant, entry.view.as_deref().unwrap_or("*")).ok()?;
            Some((narrower(own), self.plan(known, &view)))
        };
        known.ledger.about(scope).into_iter().filter_map(plan).collect()
    }
}
