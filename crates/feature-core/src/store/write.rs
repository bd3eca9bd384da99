//! Writes: one call on the backend when the record can simply be replaced, otherwise read, merge, try
//! again.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use bytes::Bytes;

use super::group::{Attempt, Group, Kind, Outcome, settle};
use super::{Distinct, OnlineStore, RequestInfo, WriteOutcome, WriteReport};
use crate::backend::{CallContext, Precondition, PutOutcome, RecordPut, VersionedRecord};
use crate::entity::EntityKey;
use crate::error::{Error, ErrorKind, Result};
use crate::features::Features;
use crate::key::{RecordKey, ViewKey};
use crate::record::{Encoder, Record, is_expired};
use crate::time::{Timestamp, Ttl, format_duration};

/// How a write combines with what is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum WriteMode {
    /// The write touches the features it names, and no other.
    #[default]
    Merge,
    /// At the write's event time the record is exactly this: whatever is older goes, whenever it arrives.
    Replace,
}

/// One row of a write.
///
/// ```
/// use feature_core::{EntityKey, FeatureWrite, Features, Ttl};
/// let key = EntityKey::new("customer_id", "c1")?;
/// let write = FeatureWrite::new(key, Features::from([("purchases", 10)]))
///     .at("2026-01-01T00:00:00Z".parse()?)
///     .with_ttl(Ttl::from_secs(604_800));
/// # Ok::<(), feature_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeatureWrite {
    /// Which entity.
    pub entity_key: EntityKey,
    /// The values.
    pub features: Features,
    /// The event time; `None` is the handle's now.
    pub timestamp: Option<Timestamp>,
    /// How long the record lives from now, if this write turns out its newest; `None` is the TTL of the
    /// declared view, or never.
    pub ttl: Option<Ttl>,
    /// How the write combines with what is stored.
    pub mode: WriteMode,
}

impl FeatureWrite {
    /// A merge of these features, now.
    pub fn new(entity_key: EntityKey, features: impl Into<Features>) -> Self {
        Self { entity_key, features: features.into(), timestamp: None, ttl: None, mode: WriteMode::Merge }
    }

    /// Says that at its event time the entity had no features at all: whatever is older goes, whenever it
    /// arrives, until the TTL of this write is over.
    pub fn retract(entity_key: EntityKey) -> Self {
        Self::new(entity_key, Features::new()).replacing()
    }

    /// Sets the event time.
    #[must_use]
    pub fn at(mut self, timestamp: Timestamp) -> Self {
        self.timestamp = Some(timestamp);
        self
    }

    /// Sets the TTL.
    #[must_use]
    pub fn with_ttl(mut self, ttl: Ttl) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// Makes it a [`WriteMode::Replace`].
    #[must_use]
    pub fn replacing(mut self) -> Self {
        self.mode = WriteMode::Replace;
        self
    }
}

impl<F: Into<Features>> From<(EntityKey, F, Timestamp)> for FeatureWrite {
    fn from((entity_key, features, timestamp): (EntityKey, F, Timestamp)) -> Self {
        Self::new(entity_key, features).at(timestamp)
    }
}

/// A batch whose rows have been checked.
struct Checked {
    view: ViewKey,
    groups: Vec<Group>,
    outcomes: Vec<Outcome>,
    /// When the write began.
    now: Timestamp,
}

impl OnlineStore {
    /// Writes features of one entity, as a merge. Without a timestamp the event time is now; without a TTL
    /// the declared view's holds, or none.
    ///
    /// # Errors
    /// `InvalidArgument` for what cannot be written, with every offending feature of a declared view;
    /// `LimitExceeded`; `Conflict` when other writers kept getting in first; `DeadlineExceeded`; what the
    /// backend reports. Check [`Error::in_doubt`]; writing again is safe.
    pub async fn write_features(
        &self,
        tenant_id: &str,
        feature_view: &str,
        entity_key: &EntityKey,
        features: impl Into<Features>,
        timestamp: Option<Timestamp>,
        ttl: Option<Ttl>,
    ) -> Result<WriteOutcome> {
        let write = FeatureWrite { timestamp, ttl, ..FeatureWrite::new(entity_key.clone(), features) };
        let report = self.batch_write(tenant_id, feature_view, [write]).await?.into_result()?;
        report.rows().first().cloned().unwrap_or(Ok(WriteOutcome::Applied))
    }

    /// Writes rows of one view. Rows of the same entity are merged in their order before anything is sent.
    /// A row that fails does not keep another from being written.
    ///
    /// # Errors
    /// `InvalidArgument` for an empty tenant or view. Everything else is the error of its row.
    pub async fn batch_write<W: Into<FeatureWrite>>(
        &self,
        tenant_id: &str,
        feature_view: &str,
        writes: impl IntoIterator<Item = W>,
    ) -> Result<WriteReport> {
        let (rows, checked) = self.check_rows(tenant_id, feature_view, writes);
        let work = self.write_rows(checked);
        let Some(observer) = &self.observer else { return work.await };
        let request = RequestInfo { tenant_id, feature_view: Some(feature_view), rows };
        observer.write(request, Box::pin(work)).await
    }

    /// The rows of a batch, by entity, and how many there are.
    fn check_rows<W: Into<FeatureWrite>>(
        &self,
        tenant_id: &str,
        feature_view: &str,
        writes: impl IntoIterator<Item = W>,
    ) -> (usize, Result<Checked>) {
        let writes = writes.into_iter();
        let (rows, now) = (writes.size_hint().0, self.shared.clock.now());
        let view = self.view_key(tenant_id, feature_view).map_err(|e| self.error("write", e));
        let checked = view.map(|view| {
            let (groups, outcomes) = self.group(&view, writes, now);
            Checked { view, groups, outcomes, now }
        });
        (rows, checked)
    }

    async fn write_rows(&self, checked: Result<Checked>) -> Result<WriteReport> {
        let Checked { view, groups, outcomes, now } = checked?;
        let late = || self.out_of_time("write").with_key(&view);
        Ok(self.report(groups, now, outcomes, late).await)
    }

    /// Writes what has been grouped, within the deadline.
    pub(super) async fn report(
        &self,
        groups: Vec<Group>,
        now: Timestamp,
        mut outcomes: Vec<Outcome>,
        late: impl Fn() -> Error,
    ) -> WriteReport {
        let call = self.call();
        let finished = self.within(call, self.write_groups(groups, now, call, &mut outcomes)).await;
        if finished.is_none() {
            let error = late().with_in_doubt(true);
            for row in outcomes.iter_mut().filter(|row| row.is_none()) {
                *row = Some(Err(error.clone()));
            }
        }
        let lost = || {
            let error = Error::new(ErrorKind::Internal, "the backend gave no outcome for the row");
            Err(self.error("write", error).with_in_doubt(true))
        };
        WriteReport::new(outcomes.into_iter().map(|row| row.unwrap_or_else(lost)).collect())
    }

    /// Prepares the rows and brings those of one entity together. Rows that cannot be written have their
    /// outcome at once.
    fn group<W: Into<FeatureWrite>>(
        &self,
        view: &ViewKey,
        writes: impl IntoIterator<Item = W>,
        now: Timestamp,
    ) -> (Vec<Group>, Vec<Outcome>) {
        let writes = writes.into_iter();
        let expected = writes.size_hint().0;
        let mut outcomes = Vec::with_capacity(expected);
        let mut entities = Distinct::with_capacity(expected);
        let mut groups: Vec<Group> = Vec::with_capacity(expected);
        for (row, write) in writes.enumerate() {
            let write = write.into();
            let entity = write.entity_key.clone();
            match self.prepare(view, write, now) {
                Ok((key, record)) => {
                    outcomes.push(None);
                    let place = entities.number(entity);
                    match groups.get_mut(place) {
                        Some(group) => group.more.push((row, record)),
                        None => groups.push(Group {
                            key,
                            kind: Kind::Writes,
                            first: (row, record),
                            more: Vec::new(),
                        }),
                    }
                }
                Err(error) => {
                    let error = self.error("write", error).with_record(RecordKey::new(view.clone(), entity));
                    outcomes.push(Some(Err(error)));
                }
            }
        }
        (groups, outcomes)
    }

    /// Checks a write and turns it into the record that it would make on its own.
    fn prepare(&self, view: &ViewKey, write: FeatureWrite, now: Timestamp) -> Result<(RecordKey, Record)> {
        let FeatureWrite { entity_key, mut features, timestamp, ttl, mode } = write;
        let key = self.key(view, &entity_key)?;
        let declared = self.view(view.view());
        if let Some(declared) = declared {
            features = declared.conform(&entity_key, features)?;
        }
        if features.is_empty() && mode == WriteMode::Merge {
            return Err(Error::invalid_argument(
                "the write names no feature; to say that the entity has none, retract it",
            ));
        }
        let event_time = timestamp.unwrap_or(now);
        self.check_event_time(event_time, now)?;
        let ttl = ttl.or(declared.and_then(|view| view.ttl)).unwrap_or_default();
        if let Ttl::After(lifetime) = ttl {
            self.check_lifetime(lifetime)?;
        }
        let mut record = Record::of_write(event_time, ttl.expires_at(now)?, features);
        if mode == WriteMode::Replace {
            record.floor = Some(event_time);
        }
        Ok((key, record))
    }

    pub(super) fn check_event_time(&self, event_time: Timestamp, now: Timestamp) -> Result<()> {
        let skew = self.shared.settings.max_future_skew;
        if event_time <= now.saturating_add(skew) {
            return Ok(());
        }
        Err(Error::invalid_argument(format!(
            "the event time {event_time} is more than {} after now, {now}; check the writer's clock",
            format_duration(skew)
        )))
    }

    pub(super) fn check_lifetime(&self, lifetime: Duration) -> Result<()> {
        match self.shared.capabilities.max_ttl {
            Some(limit) if lifetime > limit => {
                let micros = |d: Duration| u64::try_from(d.as_micros()).unwrap_or(u64::MAX);
                Err(Error::limit_exceeded("the TTL", micros(lifetime), micros(limit), "µs"))
            }
            _ => Ok(()),
        }
    }

    async fn write_groups(
        &self,
        groups: Vec<Group>,
        now: Timestamp,
        call: CallContext,
        outcomes: &mut [Outcome],
    ) {
        let mut encoder = Encoder::knowing(&self.shared.written);
        let mut attempts: Vec<_> = groups
            .into_iter()
            .filter_map(|group| self.first_attempt(group, now, &mut encoder, outcomes))
            .collect();
        let retries = self.shared.settings.max_conflict_retries;
        // The first merge after a refusal is the ordinary slow path and waits for nothing.
        let mut delays = std::iter::once(Duration::ZERO).chain(
            ExponentialBuilder::new()
                .with_min_delay(Duration::from_millis(1))
                .with_max_delay(Duration::from_millis(50))
                .with_max_times(retries)
                .with_jitter()
                .build(),
        );
        loop {
            let refused = self.put_all(attempts, call, outcomes).await;
            if refused.is_empty() {
                return;
            }
            let Some(delay) = delays.next() else {
                for (attempt, _) in refused {
                    let error = Error::new(
                        ErrorKind::Conflict,
                        format!(
                            "other writers changed the record {retries} times while it was merged; write again"
                        ),
                    );
                    self.fail(&attempt.group, error, outcomes);
                }
                return;
            };
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            let found = self.read_refused(refused, delay.is_zero(), call, outcomes).await;
            attempts = found
                .into_iter()
                .filter_map(|(attempt, stored)| self.merged_attempt(attempt, stored, &mut encoder, outcomes))
                .collect();
        }
    }

    /// The put of a group, in the hope that there is no need to read what is stored.
    fn first_attempt(
        &self,
        group: Group,
        now: Timestamp,
        encoder: &mut Encoder<'_>,
        outcomes: &mut [Outcome],
    ) -> Option<(Attempt, RecordPut)> {
        let attempt = Attempt { incoming: group.merged(), group, merged: None };
        let whole = attempt.incoming();
        let precondition = match whole.floor {
            _ if !whole.is_uniform() || attempt.group.kind == Kind::Records => Precondition::Unchanged(None),
            Some(_) => Precondition::NotNewer,
            None => Precondition::NotNewerSameShape,
        };
        let error = match self.put(&attempt.group.key, whole, now, precondition, encoder) {
            Ok(put) => return Some((attempt, put)),
            Err(error) => error,
        };
        let mut group = attempt.group;
        // A row that could not be stored even alone must not take its neighbours with it.
        let before = group.more.len();
        let mut alone = |(row, record): &(usize, Record)| match self.encode(record, encoder) {
            Ok(_) => true,
            Err(error) => {
                outcomes[*row] = Some(Err(self.error("write", error).with_record(group.key.clone())));
                false
            }
        };
        let first = alone(&group.first);
        group.more.retain(alone);
        if !first {
            if group.more.is_empty() {
                return None;
            }
            group.first = group.more.remove(0);
        } else if group.more.len() == before {
            self.fail(&group, error, outcomes);
            return None;
        }
        self.first_attempt(group, now, encoder, outcomes)
    }

    /// The put of a group after reading what is stored; `None` when nothing is left to do.
    fn merged_attempt(
        &self,
        attempt: Attempt,
        stored: Option<VersionedRecord>,
        encoder: &mut Encoder<'_>,
        outcomes: &mut [Outcome],
    ) -> Option<(Attempt, RecordPut)> {
        let now = self.shared.clock.now();
        let mut merged = || {
            let decoded = stored.as_ref().map(|stored| Record::decode(&stored.bytes)).transpose()?;
            // An expired record is an absent one: merging with it would bring its features back to life.
            let alive = decoded.filter(|record| !is_expired(record.expires_at, now));
            let incoming = attempt.incoming().clone();
            let merged = match alive {
                Some(alive) => attempt.group.kind.merge(alive, incoming),
                None => incoming,
            };
            let unchanged = Precondition::Unchanged(stored.clone());
            let put = self.put(&attempt.group.key, &merged, now, unchanged, encoder)?;
            Ok((merged, put))
        };
        match merged() {
            Ok((merged, put)) if stored.is_some_and(|stored| stored.bytes == put.bytes) => {
                settle(&attempt.group, &merged, false, outcomes);
                None
            }
            Ok((merged, put)) => Some((Attempt { merged: Some(Box::new(merged)), ..attempt }, put)),
            Err(error) => {
                self.fail(&attempt.group, error, outcomes);
                None
            }
        }
    }

    fn put(
        &self,
        key: &RecordKey,
        record: &Record,
        now: Timestamp,
        precondition: Precondition,
        encoder: &mut Encoder<'_>,
    ) -> Result<RecordPut> {
        let (bytes, shape) = self.encode(record, encoder)?;
        Ok(RecordPut {
            key: key.clone(),
            bytes: Bytes::copy_from_slice(bytes),
            event_time: record.event_time,
            shape,
            // A TTL of less than a microsecond may have passed while the write was merged.
            ttl: record.expires_at.map(|at| at.since(now).max(Duration::from_micros(1))),
            precondition,
        })
    }

    /// The record as bytes, if the backend can hold it, and its shape.
    fn encode<'a>(&self, record: &Record, encoder: &'a mut Encoder<'_>) -> Result<(&'a [u8], u64)> {
        let (bytes, shape) = encoder.encode(record)?;
        match self.shared.capabilities.max_record_bytes {
            Some(limit) if bytes.len() > limit => {
                Err(Error::limit_exceeded("the record", bytes.len() as u64, limit as u64, "bytes"))
            }
            _ => Ok((bytes, shape)),
        }
    }

    /// Sends puts; gives back those that were refused, with what the backend found in the way.
    async fn put_all(
        &self,
        attempts: Vec<(Attempt, RecordPut)>,
        call: CallContext,
        outcomes: &mut [Outcome],
    ) -> Vec<(Attempt, Option<VersionedRecord>)> {
        let mut refused = Vec::new();
        let mut attempts = attempts.into_iter().peekable();
        while attempts.peek().is_some() {
            let (chunk, puts): (Vec<_>, Vec<_>) = attempts.by_ref().take(self.max_batch_rows()).unzip();
            let results = self.shared.backend.put(puts, call).await;
            let results = self.counted("write", results, chunk.len(), true);
            for (attempt, result) in chunk.into_iter().zip(results) {
                match result {
                    Ok(PutOutcome::Stored) => {
                        let stored = attempt.merged.as_deref().unwrap_or_else(|| attempt.incoming());
                        settle(&attempt.group, stored, true, outcomes);
                    }
                    Ok(PutOutcome::Refused(stored)) => refused.push((attempt, stored)),
                    Err(error) if attempt.merged.is_some() => {
                        self.fail(&attempt.group, after_refusal(error), outcomes);
                    }
                    Err(error) => self.fail(&attempt.group, error, outcomes),
                }
            }
        }
        refused
    }

    /// Reads what stood in the way of the refused puts, where the backend did not return it with the refusal
    /// or it is no longer fresh.
    async fn read_refused(
        &self,
        refused: Vec<(Attempt, Option<VersionedRecord>)>,
        fresh: bool,
        call: CallContext,
        outcomes: &mut [Outcome],
    ) -> Vec<(Attempt, Option<VersionedRecord>)> {
        let (mut found, unknown): (Vec<_>, Vec<_>) =
            refused.into_iter().partition(|(_, stored)| fresh && stored.is_some());
        let mut unknown = unknown.into_iter().peekable();
        while unknown.peek().is_some() {
            let chunk: Vec<_> = unknown.by_ref().take(self.max_batch_rows()).collect();
            let keys: Vec<_> = chunk.iter().map(|(attempt, _)| attempt.group.key.clone()).collect();
            let records = self.shared.backend.get(&keys, call).await;
            let records = self.counted("write", records, chunk.len(), false);
            for ((attempt, _), record) in chunk.into_iter().zip(records) {
                match record {
                    Ok(stored) => found.push((attempt, stored)),
                    Err(error) => self.fail(&attempt.group, after_refusal(error), outcomes),
                }
            }
        }
        found
    }

    fn fail(&self, group: &Group, error: Error, outcomes: &mut [Outcome]) {
        let error = self.error("write", error).with_record(group.key.clone());
        for (row, _) in group.rows() {
            outcomes[*row] = Some(Err(error.clone()));
        }
    }
}

/// The error of a write that was refused before. A backend sends a put again that got no answer, and the refusal
/// of the second may be the work of the first: so the write may have taken effect.
fn after_refusal(error: Error) -> Error {
    match error.kind() {
        ErrorKind::Unavailable | ErrorKind::DeadlineExceeded => error.with_in_doubt(true),
        _ => error,
    }
}
