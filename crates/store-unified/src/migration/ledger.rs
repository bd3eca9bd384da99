//! The migrations away from a store, as that store remembers them for every process.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use feature_core::{
    CallContext, Clock, EntityKey, Error, ErrorKind, FeatureValue, Features, OnlineStoreBackend,
    Precondition, PutOutcome, Record, RecordHeader, RecordKey, RecordPut, Result, SYSTEM_TENANT, Scope,
    Timestamp, VersionedRecord, ViewKey,
};
use serde::{Deserialize, Serialize};

use crate::wrappers::rows::counted;

/// The view, of the system's tenant, that the record is in.
const VIEW: &str = "migrations";
/// How often others may change the record first.
const ATTEMPTS: usize = 16;

/// How far a migration has come. Processes may be a phase apart, never two: every command waits until all
/// have followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Both stores are written, the source is read; what the source had before is being copied, or its
    /// copying was interrupted.
    Copying,
    /// The same, and all has been copied.
    Copied,
    /// The same, and both were found equal.
    Verified,
    /// Both are written, the target is read.
    CutOver,
    /// The same; processes look for changes of phase more often.
    Finishing,
    /// The target is read, writes wait.
    Holding,
    /// The target alone is used.
    Finished,
    /// On the way back: both are written, the source is read.
    Aborting,
}

impl Phase {
    /// The phase's name, as shown in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Copying => "copying",
            Self::Copied => "copied",
            Self::Verified => "verified",
            Self::CutOver => "cut_over",
            Self::Finishing => "finishing",
            Self::Holding => "holding",
            Self::Finished => "finished",
            Self::Aborting => "aborting",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a verification found, once what was merely under way had settled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verified {
    /// When it ended.
    pub at: Timestamp,
    /// Records in the source.
    pub source_records: u64,
    /// Records in the target.
    pub target_records: u64,
    /// Records that differ for good.
    pub differing: u64,
}

/// A migration, as the source remembers it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) tenant: String,
    /// `None` is every view of the tenant.
    pub(crate) view: Option<String>,
    /// The target's name.
    pub(crate) to: String,
    pub(crate) phase: Phase,
    /// Whether the command that set the phase has waited until every process follows.
    pub(crate) followed: bool,
    pub(crate) started: Timestamp,
    /// When the phase was set.
    pub(crate) since: Timestamp,
    /// Records that were looked at and copied by the current or last pass.
    pub(crate) looked_at: u64,
    pub(crate) copied: u64,
    /// What was found last, in this phase or, while the source is read, since the last copy.
    pub(crate) verified: Option<Verified>,
}

impl Entry {
    /// A migration that begins.
    pub(crate) fn new(scope: &Scope, to: &str, phase: Phase, now: Timestamp) -> Self {
        let (tenant, view) = match scope {
            Scope::View(view) => (view.tenant(), Some(view.view().to_owned())),
            Scope::Tenant(tenant) => (tenant.as_str(), None),
            // No command lets it come to this.
            Scope::Store => ("", None),
        };
        Self {
            tenant: tenant.to_owned(),
            view,
            to: to.to_owned(),
            phase,
            followed: false,
            started: now,
            since: now,
            looked_at: 0,
            copied: 0,
            verified: None,
        }
    }

    pub(crate) fn scope(&self) -> Result<Scope> {
        match &self.view {
            Some(view) => Scope::view(&self.tenant, view),
            None => Scope::tenant(&self.tenant),
        }
    }

    /// Begins a phase.
    pub(crate) fn enter(&mut self, phase: Phase, now: Timestamp) {
        (self.phase, self.followed, self.since) = (phase, false, now);
    }

    pub(crate) fn is_about(&self, view: &ViewKey) -> bool {
        self.tenant == view.tenant() && self.view.as_ref().is_none_or(|own| own == view.view())
    }
}

/// Whether two scopes have records in common.
pub(crate) fn overlap(a: &Scope, b: &Scope) -> bool {
    let (a, b) = (a.prefix(), b.prefix());
    a.starts_with(&b) || b.starts_with(&a)
}

/// The migrations away from a store, by the text of their scopes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ledger(pub(crate) BTreeMap<String, Entry>);

impl Ledger {
    /// The entry of exactly this scope.
    pub(crate) fn get(&self, scope: &Scope) -> Option<&Entry> {
        self.0.get(&scope.prefix())
    }

    pub(crate) fn set(&mut self, scope: &Scope, entry: Entry) {
        self.0.insert(scope.prefix(), entry);
    }

    pub(crate) fn remove(&mut self, scope: &Scope) {
        self.0.remove(&scope.prefix());
    }

    /// Entries that have records in common with the scope, by their scopes.
    pub(crate) fn about(&self, scope: &Scope) -> Vec<(Scope, &Entry)> {
        let scopes = self.0.values().filter_map(|entry| Some((entry.scope().ok()?, entry)));
        scopes.filter(|(own, _)| overlap(own, scope)).collect()
    }

    /// Those whose writes are held.
    pub(crate) fn holding(&self) -> impl Iterator<Item = (&String, &Entry)> {
        self.0.iter().filter(|(_, entry)| entry.phase == Phase::Holding)
    }

    fn decode(bytes: &Bytes) -> Result<Self> {
        let record = Record::decode(bytes)?;
        let entries = record.features.iter().map(|(name, value)| {
            let text = value.as_str().unwrap_or_default();
            let entry = serde_json::from_str(text).map_err(|e| {
                Error::corrupt(format!(
                    "what the store remembers of the migration of `{name}` cannot be read: {e}; is this \
                     software older than the one that began it?"
                ))
            })?;
            Ok((name.to_owned(), entry))
        });
        entries.collect::<Result<_>>().map(Self)
    }

    fn encode(&self, now: Timestamp) -> Result<Bytes> {
        let mut features = Features::new();
        for (name, entry) in &self.0 {
            let text = serde_json::to_string(entry).map_err(|e| Error::invalid_argument(e.to_string()))?;
            features = features.with(name.as_str(), FeatureValue::String(text));
        }
        Record::of_write(now, None, features).encode().map(Bytes::from)
    }

    /// Reads what a store remembers.
    ///
    /// # Errors
    /// What the store reports; `Corrupt` for what cannot be read.
    pub(crate) async fn load(store: &dyn OnlineStoreBackend, call: CallContext) -> Result<Self> {
        Ok(read(store, call).await?.1)
    }

    /// Changes what a store remembers, in one step that no other change comes between.
    ///
    /// # Errors
    /// That of `change`, and then nothing has been changed; `Conflict`; what the store reports, possibly in
    /// doubt.
    pub(crate) async fn change<T>(
        store: &dyn OnlineStoreBackend,
        clock: &dyn Clock,
        call: CallContext,
        mut change: impl FnMut(&mut Self) -> Result<T>,
    ) -> Result<T> {
        for _ in 0..ATTEMPTS {
            let (ground, mut ledger) = read(store, call).await?;
            let before = ledger.clone();
            let answer = change(&mut ledger)?;
            if ledger == before {
                return Ok(answer);
            }
            let bytes = ledger.encode(clock.now())?;
            let header = RecordHeader::parse(&bytes)?;
            let put = RecordPut {
                key: key()?,
                event_time: header.event_time,
                shape: header.shape,
                ttl: None,
                precondition: Precondition::Unchanged(ground),
                bytes,
            };
            let outcome = counted(store.put(vec![put], call).await, 1).pop();
            if let Some(PutOutcome::Stored) = outcome.transpose()? {
                return Ok(answer);
            }
            tokio::time::sleep(std::time::Duration::from_millis(fastrand::u64(1..20))).await;
        }
        Err(Error::new(
            ErrorKind::Conflict,
            format!("others changed what is known of migrations {ATTEMPTS} times meanwhile; try again"),
        ))
    }
}

async fn read(
    store: &dyn OnlineStoreBackend,
    call: CallContext,
) -> Result<(Option<VersionedRecord>, Ledger)> {
    let found = counted(store.get(&[key()?], call).await, 1).pop().transpose()?.flatten();
    let ledger = found.as_ref().map(|record| Ledger::decode(&record.bytes)).transpose()?;
    Ok((found, ledger.unwrap_or_default()))
}

pub(crate) fn key() -> Result<RecordKey> {
    Ok(RecordKey::new(ViewKey::new(SYSTEM_TENANT, VIEW)?, EntityKey::new("of", "this store")?))
}

/// Where nothing is ever kept: to try out whether a store takes a record.
pub(crate) fn probe_key() -> Result<RecordKey> {
    Ok(RecordKey::new(ViewKey::new(SYSTEM_TENANT, VIEW)?, EntityKey::new("of", "a trial")?))
}
