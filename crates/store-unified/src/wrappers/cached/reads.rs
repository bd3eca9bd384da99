//! Reads of the store that several calls may wait for.

use std::sync::Arc;

use bytes::Bytes;
use feature_core::{CallContext, RecordHeader, RecordKey, Timestamp, VersionedRecord};
use futures::FutureExt;
use futures::future::{join, join_all};
use tokio::time::{Instant, timeout_at};

use super::traffic::{Answer, Fetch, Marks, Row, Seat, State};
use super::{Entry, Inner, Outcome, Wanted};
use crate::wrappers::provenance;
use crate::wrappers::rows::unanswered;

/// What a call waits for.
#[derive(Default)]
pub(super) struct Trips {
    joined: Vec<Joined>,
    /// The call's own read, and for each of its rows the number in the call.
    own: Option<(Fetch, Vec<usize>)>,
}

/// A read that another call has begun.
struct Joined {
    fetch: Fetch,
    marks: Arc<Marks>,
    deadline: Instant,
    /// Number in this call, and number in the read.
    rows: Vec<(usize, usize)>,
}

impl Inner {
    /// For each record joins a read of it, or else begins one, which is a single call on the store.
    pub(super) fn board(
        self: &Arc<Self>,
        wanted: &[Wanted<'_>],
        may_join: bool,
        call: CallContext,
        rows: &mut [Option<Row>],
    ) -> Trips {
        let now = self.clock.now();
        let mut trips = Trips::default();
        let mut own = Vec::new();
        let (mut hits, mut joined) = (0, 0);
        let mut state = self.traffic.lock();
        for wanted in wanted {
            let seat = state.seat(wanted.key).filter(|seat| {
                // A read under way during a write may bring what is older than another has given already.
                may_join && seat.served.contains(&now) && !seat.marks.is_stale(seat.number)
            });
            if seat.is_some_and(|seat| trips.join(seat, wanted.number)) {
                joined += 1;
            } else if let Some(row) = wanted.ttl.and_then(|_| self.cached(wanted.key, now)) {
                // It has come since it was looked for.
                rows[wanted.number] = Some(row);
                hits += 1;
            } else {
                own.push(wanted);
            }
        }
        let misses = own.iter().filter(|wanted| wanted.ttl.is_some()).count();
        if !own.is_empty() {
            trips.own = Some(self.begin(&own, now, call, &mut state));
        }
        drop(state);
        let counts = [(Outcome::Hit, hits), (Outcome::Miss, misses), (Outcome::Joined, joined)];
        counts.into_iter().for_each(|(outcome, rows)| self.counts.add(outcome, rows));
        trips
    }

    /// Begins a read, which does nothing until it is waited for, and sits down on its records.
    fn begin(
        self: &Arc<Self>,
        wanted: &[&Wanted<'_>],
        now: Timestamp,
        call: CallContext,
        state: &mut State,
    ) -> (Fetch, Vec<usize>) {
        let stale = |wanted: &&Wanted<'_>| wanted.ttl.is_none() || state.is_written(wanted.key);
        let marks = Marks::new(wanted.iter().map(stale));
        let until = |wanted: &&Wanted<'_>| wanted.ttl.map_or(now, |ttl| now.saturating_add(ttl));
        let read = Read {
            shared: Arc::clone(self),
            keys: wanted.iter().map(|wanted| wanted.key.clone()).collect(),
            began: now,
            until: wanted.iter().map(until).collect(),
            marks: Arc::clone(&marks),
        };
        let fetch = read.run(call).boxed().shared();
        for (number, wanted) in wanted.iter().enumerate().filter(|(_, wanted)| wanted.ttl.is_some()) {
            if let Some(weak) = fetch.downgrade() {
                let (marks, served, deadline) = (Arc::clone(&marks), now..until(wanted), call.deadline);
                state.sit(wanted.key.clone(), Seat { fetch: weak, marks, number, served, deadline });
            }
        }
        (fetch, wanted.iter().map(|wanted| wanted.number).collect())
    }
}

impl Trips {
    /// Joins the read that has this seat, for the row of this number; false if it has ended.
    ///
    /// Runs under the lock of the traffic, which a read takes when it is dropped: what `upgrade` gives is
    /// kept in any case.
    fn join(&mut self, seat: &Seat, number: usize) -> bool {
        if let Some(same) = self.joined.iter_mut().rfind(|joined| Arc::ptr_eq(&joined.marks, &seat.marks)) {
            same.rows.push((number, seat.number));
            return true;
        }
        let Some(fetch) = seat.fetch.upgrade() else { return false };
        let rows = vec![(number, seat.number)];
        self.joined.push(Joined { fetch, marks: Arc::clone(&seat.marks), deadline: seat.deadline, rows });
        true
    }

    /// Waits for all, and fills in the rows. What a joined read could not answer stays empty.
    pub(super) async fn wait(self, keys: &[RecordKey], rows: &mut [Option<Row>]) {
        let own = async {
            match self.own {
                Some((fetch, numbers)) => (fetch.await, numbers),
                None => (Arc::default(), Vec::new()),
            }
        };
        let joined = join_all(self.joined.into_iter().map(|joined| async move {
            (timeout_at(joined.deadline, joined.fetch).await.unwrap_or_default(), joined.rows)
        }));
        let ((own, numbers), joined) = join(own, joined).await;
        let own = numbers.into_iter().zip(own.iter());
        let joined = joined.iter().flat_map(|(answers, numbers)| {
            let answer = |(number, own): &(usize, usize)| Some((*number, answers.get(*own)?));
            numbers.iter().filter_map(answer).filter(|(_, answer)| answer.row.is_ok())
        });
        for (number, answer) in own.chain(joined) {
            // The mark was made where the read went on, which need not be this call.
            provenance::note(answer.from_fallback.then(|| &keys[number]));
            rows[number] = Some(answer.row.clone());
        }
    }
}

/// A read of the store. Leaves its seats when it has ended or nobody waits for it any more.
struct Read {
    shared: Arc<Inner>,
    keys: Vec<RecordKey>,
    began: Timestamp,
    /// Until when each record may be served.
    until: Vec<Timestamp>,
    marks: Arc<Marks>,
}

impl Read {
    async fn run(self, call: CallContext) -> Arc<[Answer]> {
        let (rows, from_fallback) = provenance::watch(self.shared.store.get(&self.keys, call)).await;
        if rows.len() != self.keys.len() {
            let unanswered = || Answer { row: Err(unanswered()), from_fallback: false };
            return self.keys.iter().map(|_| unanswered()).collect();
        }
        let answer = |(number, row): (usize, Row)| {
            let from_fallback = from_fallback.contains(&self.keys[number]);
            if let (Ok(record), false) = (&row, from_fallback) {
                self.keep(number, record.as_ref());
            }
            Answer { row, from_fallback }
        };
        let answers = rows.into_iter().enumerate().map(answer).collect();
        self.shared.bytes.set(self.shared.records.weighted_size() as f64);
        answers
    }

    fn keep(&self, number: usize, record: Option<&VersionedRecord>) {
        let mut until = self.until[number];
        if let Some(record) = record {
            // What is damaged may have been repaired by the next read.
            let Ok(header) = RecordHeader::parse(&record.bytes) else { return };
            until = header.expires_at.map_or(until, |expires_at| until.min(expires_at));
        }
        let own_memory = |record: &VersionedRecord| VersionedRecord {
            // The bytes may be part of a whole batch's answer, which they would keep in memory.
            bytes: Bytes::copy_from_slice(&record.bytes),
            version: record.version,
        };
        let served = self.began..until;
        if !served.is_empty() && !self.marks.is_stale(number) {
            let record = record.map(own_memory);
            let entry = Entry { record, served, marks: Arc::clone(&self.marks), number };
            self.shared.records.insert(self.keys[number].clone(), entry);
        }
    }
}

impl Drop for Read {
    fn drop(&mut self) {
        self.shared.traffic.lock().leave(self.keys.iter(), &self.marks);
    }
}
