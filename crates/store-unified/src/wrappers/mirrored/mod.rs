//! Writes to two stores, reads from one: for good, or while records migrate from one to the other.

mod write;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use feature_core::{
    CallContext, Capabilities, Clock, Error, ErrorKind, Health, OnlineStoreBackend, PurgeProgress,
    PurgeReport, PutOutcome, RecordHeader, RecordKey, RecordPut, Result, Scope, VersionedRecord,
};
use futures::StreamExt;
use futures::future::join_all;
use futures::stream::{self, BoxStream};
use metrics::Counter;

use super::foreign::foreign;
use super::routed::strictest;
use super::rows::{by_place, by_view, in_order, pick, unanswered};
use super::settle::is_grave;
use crate::migration::{Entry, Known, MigrationSettings, Plan, Watch};
use crate::observe::names::MIRROR_FAILURES;

/// A store that has everything that another has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MirrorSettings {
    /// The name of the store.
    pub to: String,
    /// Whether a write fails when it does not take it. Otherwise that is only counted, and the store lacks
    /// what it has not taken.
    pub required: bool,
}

/// A store, and others that take part in its writes.
///
/// The *source* is the store that a route names. Which other stores are written and read is looked up for
/// every call: a permanent [mirror](MirrorSettings), and what migrations that are under way say. As long as
/// the source is written, it alone decides what becomes of a write; the others are given its states.
#[derive(Debug)]
pub struct Mirrored {
    name: String,
    source: Arc<dyn OnlineStoreBackend>,
    others: Vec<(String, Arc<dyn OnlineStoreBackend>)>,
    mirror: Option<Target>,
    watch: Arc<Watch>,
    /// Rows that each of the others has not taken, by number.
    missed: Vec<Counter>,
    capabilities: Capabilities,
}

/// A store that is written too.
#[derive(Clone, Copy, Debug)]
struct Target {
    /// Its number among the others.
    number: usize,
    required: bool,
}

impl Mirrored {
    /// The source and the others, each with its name. A migration can go to any of the others.
    ///
    /// # Errors
    /// `InvalidArgument` for a repeated name, a mirror that is not among the others, or settings that cannot
    /// be kept.
    pub fn new(
        (name, source): (String, Arc<dyn OnlineStoreBackend>),
        others: Vec<(String, Arc<dyn OnlineStoreBackend>)>,
        mirror: Option<MirrorSettings>,
        clock: Arc<dyn Clock>,
        settings: MigrationSettings,
    ) -> Result<Self> {
        settings.check()?;
        let names: Vec<String> = others.iter().map(|(name, _)| name.clone()).collect();
        if let Some(twice) =
            names.iter().enumerate().find(|(at, other)| **other == name || names[..*at].contains(other))
        {
            return Err(Error::invalid_argument(format!("store `{}` is named twice", twice.1)));
        }
        let target = |MirrorSettings { to, required }| {
            let number = names.iter().position(|name| *name == to);
            let number = number.ok_or_else(|| {
                Error::invalid_argument(format!(
                    "store `{name}` is mirrored to `{to}`, which is no other store"
                ))
            })?;
            Ok::<_, Error>(Target { number, required })
        };
        let mirror = mirror.map(target).transpose()?;
        let stores = others.iter().map(|(_, store)| store).chain([&source]);
        let capabilities = strictest(stores.map(|store| store.capabilities()));
        let missed = names.iter().map(|other| MIRROR_FAILURES.counter([&name, other])).collect();
        let watch = Arc::new(Watch::new(Arc::clone(&source), names, clock, settings));
        Ok(Self { name, source, others, mirror, watch, missed, capabilities })
    }

    /// The name of the source.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn source(&self) -> &Arc<dyn OnlineStoreBackend> {
        &self.source
    }

    pub(crate) fn watch(&self) -> &Arc<Watch> {
        &self.watch
    }

    /// The other store of this name.
    pub(crate) fn other(&self, name: &str) -> Option<&Arc<dyn OnlineStoreBackend>> {
        self.others.iter().find(|(own, _)| own == name).map(|(_, store)| store)
    }

    pub(crate) fn others(&self) -> impl Iterator<Item = &str> {
        self.others.iter().map(|(name, _)| name.as_str())
    }

    /// Whether the store of this name is the permanent mirror.
    pub(crate) fn is_mirrored_to(&self, name: &str) -> bool {
        self.mirror.is_some_and(|mirror| self.others[mirror.number].0 == name)
    }

    fn target(&self, to: &Result<usize, String>) -> Result<&Arc<dyn OnlineStoreBackend>> {
        to.as_ref().map(|number| &self.others[*number].1).map_err(|name| {
            Error::new(
                ErrorKind::NotConfigured,
                format!(
                    "these records migrate from store `{}` to `{name}`, which is not among the stores of this \
                     process: add it to the settings",
                    self.name
                ),
            )
        })
    }

    /// The numbers of the rows for which the same is to be done, and what.
    fn plans<'a>(&self, known: &Known, keys: impl Iterator<Item = &'a RecordKey>) -> Vec<(Plan, Vec<usize>)> {
        let mut plans: Vec<Plan> = Vec::new();
        let mut plan_of = by_view(|view| {
            let plan = self.watch.plan(known, view);
            plans.iter().position(|other| *other == plan).unwrap_or_else(|| {
                plans.push(plan);
                plans.len() - 1
            })
        });
        let at: Vec<usize> = keys.map(&mut plan_of).collect();
        drop(plan_of);
        let rows = by_place(&at, plans.len(), |at| *at);
        plans.into_iter().zip(rows).collect()
    }

    async fn get_by(
        &self,
        plan: &Plan,
        keys: &[RecordKey],
        call: CallContext,
    ) -> Vec<Result<Option<VersionedRecord>>> {
        let (to, mirrored) = match plan {
            Plan::Source | Plan::Both { reads: false, .. } => return self.source.get(keys, call).await,
            Plan::Both { to, reads: true } | Plan::Hold { to } => (to, true),
            Plan::Target { to } => (to, false),
        };
        let target = match self.target(to) {
            Ok(target) => target,
            Err(error) => return error.for_rows(keys.len()),
        };
        let rows = target.get(keys, call).await;
        if !mirrored {
            return rows;
        }
        let shown = |record: VersionedRecord| (!is_hidden(&record)).then(|| foreign(record));
        rows.into_iter().map(|row| row.map(|record| record.and_then(shown))).collect()
    }

    /// What is known, for a write of these records.
    async fn known<'a>(
        &self,
        keys: impl Iterator<Item = &'a RecordKey> + Clone,
        call: CallContext,
    ) -> Result<Arc<Known>> {
        let about = |entry: &Entry| keys.clone().any(|key| entry.is_about(key.view()));
        self.watch.for_writing(call, about).await
    }

    fn is_alone(&self, known: &Known) -> bool {
        self.mirror.is_none() && known.nothing_moves()
    }
}

/// Whether readers must not see it.
fn is_hidden(record: &VersionedRecord) -> bool {
    RecordHeader::parse(&record.bytes).is_ok_and(|header| is_grave(&header))
}

/// How long a purge may wait until writes are no longer held.
const PURGE_WAITS: Duration = Duration::from_secs(60);

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl OnlineStoreBackend for Mirrored {
    fn capabilities(&self) -> Capabilities {
        self.capabilities.clone()
    }

    async fn get(&self, keys: &[RecordKey], call: CallContext) -> Vec<Result<Option<VersionedRecord>>> {
        let known = self.watch.for_reading(call).await;
        if known.nothing_moves() {
            return self.source.get(keys, call).await;
        }
        let plans = self.plans(&known, keys.iter());
        if let [(plan, _)] = &plans[..] {
            return self.get_by(plan, keys, call).await;
        }
        let parts = plans.into_iter().map(|(plan, rows)| async move {
            let answers = self.get_by(&plan, &pick(keys, &rows), call).await;
            (rows, answers)
        });
        in_order(keys.len(), join_all(parts).await, &unanswered().with_in_doubt(true))
    }

    async fn put(&self, puts: Vec<RecordPut>, call: CallContext) -> Vec<Result<PutOutcome>> {
        let known = match self.known(puts.iter().map(|put| &put.key), call).await {
            Ok(known) => known,
            Err(error) => return error.for_rows(puts.len()),
        };
        if self.is_alone(&known) {
            return self.source.put(puts, call).await;
        }
        let plans = self.plans(&known, puts.iter().map(|put| &put.key));
        if let [(plan, _)] = &plans[..] {
            return self.put_by(plan, &known, puts, call).await;
        }
        let parts = plans.into_iter().map(|(plan, rows)| {
            let (known, puts) = (&known, pick(&puts, &rows));
            async move { (rows, self.put_by(&plan, known, puts, call).await) }
        });
        in_order(puts.len(), join_all(parts).await, &unanswered().with_in_doubt(true))
    }

    async fn delete(&self, keys: &[RecordKey], call: CallContext) -> Vec<Result<bool>> {
        let known = match self.known(keys.iter(), call).await {
            Ok(known) => known,
            Err(error) => return error.for_rows(keys.len()),
        };
        if self.is_alone(&known) {
            return self.source.delete(keys, call).await;
        }
        let known = &known;
        let parts = self.plans(known, keys.iter()).into_iter().map(|(plan, rows)| async move {
            let answers = self.delete_by(&plan, known, &pick(keys, &rows), call).await;
            (rows, answers)
        });
        in_order(keys.len(), join_all(parts).await, &unanswered().with_in_doubt(true))
    }

    /// Each record is given by the store that reads of it go to.
    fn scan(&self, scope: &Scope) -> BoxStream<'static, Result<(RecordKey, VersionedRecord)>> {
        let (watch, scope) = (Arc::clone(&self.watch), scope.clone());
        let source = Arc::clone(&self.source);
        let others = self.others.clone();
        let name = self.name.clone();
        let parts = async move {
            let call = CallContext::with_timeout(watch.settings.lease);
            let known = watch.for_reading(call).await;
            let elsewhere: Vec<(Scope, Result<usize, String>)> = watch
                .plans_within(&known, &scope)
                .into_iter()
                .filter_map(|(part, plan)| match plan {
                    Plan::Both { to, reads: true } | Plan::Hold { to } | Plan::Target { to } => {
                        Some((part, to))
                    }
                    Plan::Source | Plan::Both { .. } => None,
                })
                .collect();
            let mut parts = Vec::new();
            if !elsewhere.iter().any(|(part, _)| part.prefix() == scope.prefix()) {
                let parts_elsewhere: Vec<Scope> = elsewhere.iter().map(|(part, _)| part.clone()).collect();
                let here = move |row: &Result<(RecordKey, VersionedRecord)>| {
                    let elsewhere = |key| parts_elsewhere.iter().any(|part| part.contains(key));
                    std::future::ready(row.as_ref().map_or(true, |(key, _)| !elsewhere(key)))
                };
                parts.push(source.scan(&scope).filter(here).boxed());
            }
            for (part, to) in elsewhere {
                parts.push(match to {
                    Ok(number) => others[number].1.scan(&part),
                    Err(to) => {
                        let message = format!(
                            "records of {part} are in store `{to}`, where they came from `{name}`; it is not \
                             among the stores of this process: add it to the settings"
                        );
                        let error = Error::new(ErrorKind::NotConfigured, message);
                        stream::iter([Err(error)]).boxed()
                    }
                });
            }
            stream::iter(parts).flatten()
        };
        let shown = |row: &Result<(RecordKey, VersionedRecord)>| {
            std::future::ready(row.as_ref().map_or(true, |(_, record)| !is_hidden(record)))
        };
        stream::once(parts).flatten().filter(shown).boxed()
    }

    /// From every store that has some of the scope; counted once.
    async fn purge(&self, scope: &Scope, progress: &PurgeProgress) -> Result<PurgeReport> {
        let call = CallContext::with_timeout(PURGE_WAITS);
        let about = |entry: &Entry| entry.scope().is_ok_and(|own| crate::migration::overlap(&own, scope));
        let known = self.watch.for_writing(call, about).await?;
        let plans = self.watch.plans_within(&known, scope);
        let moved = plans
            .iter()
            .any(|(part, plan)| part.prefix() == scope.prefix() && matches!(plan, Plan::Target { .. }));
        let beside = PurgeProgress::default();
        let mut report = self.source.purge(scope, if moved { &beside } else { progress }).await?;
        if moved {
            report.removed = 0;
        }
        for (part, plan) in plans {
            match plan {
                Plan::Source => {}
                Plan::Both { to, .. } | Plan::Hold { to } => {
                    self.target(&to)?.purge(&part, &beside).await?;
                }
                Plan::Target { to } => {
                    report.removed += self.target(&to)?.purge(&part, progress).await?.removed;
                }
            }
        }
        if let Some(mirror) = self.mirror {
            match self.others[mirror.number].1.purge(scope, &beside).await {
                Err(error) if mirror.required => return Err(self.lacking(mirror, &error)),
                _ => {}
            }
        }
        Ok(report)
    }

    /// Facts and warnings of the source, and of the permanent mirror under its name.
    async fn check(&self) -> Result<Health> {
        let mut health = self.source.check().await?;
        if let Some(mirror) = self.mirror {
            let (name, store) = &self.others[mirror.number];
            match store.check().await {
                Ok(other) => {
                    let named = |(fact, value)| (format!("{name}.{fact}"), value);
                    health.facts.extend(other.facts.into_iter().map(named));
                    health.warnings.extend(other.warnings.iter().map(|text| format!("{name}: {text}")));
                }
                Err(error) => health.warnings.push(format!("{name} does not answer: {error}")),
            }
        }
        Ok(health)
    }

    async fn close(&self) -> Result<()> {
        let stores = self.others.iter().map(|(_, store)| store).chain([&self.source]);
        join_all(stores.map(|store| store.close())).await.into_iter().collect()
    }
}
