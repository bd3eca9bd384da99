//! Whole records, as a backup has them.

use super::group::{Group, Kind, Outcome};
use super::{Distinct, OnlineStore, WriteOutcome, WriteReport};
use crate::error::Result;
use crate::key::RecordKey;
use crate::record::{Record, is_expired};
use crate::time::Timestamp;

impl OnlineStore {
    /// Joins whole records with what is stored, by the [merge rule](crate::merge()): with their own event times,
    /// expiries and floors, so that what is stored loses nothing that is newer, and into an empty store each
    /// comes exactly as it is. On equal event times what is stored wins, since it may have been written after
    /// the records were taken. A row is [`Applied`](WriteOutcome::Applied) when the store has changed, and
    /// [`Superseded`](WriteOutcome::Superseded) when it had all of it already, or the record has expired.
    ///
    /// The declared views are not asked what they say of types and TTLs: a record is taken as it was.
    ///
    /// ```
    /// # use feature_core::{OnlineStore, Record, RecordKey, Result, Scope};
    /// # use futures::StreamExt;
    /// async fn copy(from: &OnlineStore, to: &OnlineStore) -> Result<()> {
    ///     let mut all = from.backend().scan(&Scope::tenant("acme-corp")?);
    ///     while let Some(record) = all.next().await {
    ///         let (key, stored) = record?;
    ///         to.merge_records(vec![(key, Record::decode(&stored.bytes)?)]).await.into_result()?;
    ///     }
    ///     Ok(())
    /// }
    /// ```
    pub async fn merge_records(&self, records: Vec<(RecordKey, Record)>) -> WriteReport {
        let now = self.shared.clock.now();
        let mut outcomes: Vec<Outcome> = Vec::with_capacity(records.len());
        let mut distinct = Distinct::with_capacity(records.len());
        let mut groups: Vec<Group> = Vec::with_capacity(records.len());
        for (row, (key, record)) in records.into_iter().enumerate() {
            if is_expired(record.expires_at, now) {
                outcomes.push(Some(Ok(WriteOutcome::Superseded)));
                continue;
            }
            if let Err(error) = self.check_record(&key, &record, now) {
                outcomes.push(Some(Err(self.error("merge", error).with_record(key))));
                continue;
            }
            outcomes.push(None);
            let place = distinct.number(key.clone());
            match groups.get_mut(place) {
                Some(group) => group.more.push((row, record)),
                None => {
                    groups.push(Group { key, kind: Kind::Records, first: (row, record), more: Vec::new() });
                }
            }
        }
        self.report(groups, now, outcomes, || self.out_of_time("merge")).await
    }

    /// Whether this store may have the record.
    fn check_record(&self, key: &RecordKey, record: &Record, now: Timestamp) -> Result<()> {
        let view = self.view_key(key.view().tenant(), key.view().view())?;
        self.key(&view, key.entity())?;
        self.check_event_time(record.event_time, now)?;
        record.expires_at.map_or(Ok(()), |at| self.check_lifetime(at.since(now)))
    }
}
