//! What a read gives.

mod sink;

use std::collections::HashMap;
use std::fmt;
use std::ops::{Deref, Range};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use bytes::Bytes;

use crate::entity::EntityKey;
use crate::error::Result;
use crate::names::FeatureNames;
use crate::record::{RecordHeader, RecordView};
use crate::time::Timestamp;
use crate::value::{FeatureValue, FeatureValues};

pub(crate) use sink::Rows;
pub use sink::{FeatureSink, FoundRecord, RowPlace};

/// What there is to say about a requested feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FeatureStatus {
    /// It has a value.
    Present,
    /// It was written as an explicit null.
    Null,
    /// The entity has no such feature.
    NotFound,
    /// It is older, by its own event time, than the max age of the view or the request; its value is
    /// not served.
    OutsideMaxAge,
}

impl FeatureStatus {
    /// The status as text: `present`, `null`, `not_found`, `outside_max_age`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Present => "present",
            Self::Null => "null",
            Self::NotFound => "not_found",
            Self::OutsideMaxAge => "outside_max_age",
        }
    }
}

/// The features of one entity: those requested, in the order of the request, or all, sorted by name. Rows
/// of one read share the memory of their values, which goes with the last of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeatureRow {
    /// Which entity.
    pub entity_key: EntityKey,
    /// The newest event time of the record.
    pub timestamp: Timestamp,
    /// When the record expires; `None` is never.
    pub expires_at: Option<Timestamp>,
    names: Arc<FeatureNames>,
    /// One for each name; null where the status is not `Present`.
    values: Values,
    /// Most rows have none.
    exceptions: Option<Box<Exceptions>>,
}

/// What is not so with every feature of a row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Exceptions {
    /// Statuses that the value alone does not tell, by index, ascending.
    withheld: Vec<(usize, FeatureStatus)>,
    /// Event times other than the record's own, by index, ascending.
    times: Vec<(usize, Timestamp)>,
}

impl Exceptions {
    fn status(&self, at: usize) -> Option<FeatureStatus> {
        let own = self.withheld.binary_search_by_key(&at, |(index, _)| *index).ok()?;
        Some(self.withheld[own].1)
    }

    fn time(&self, at: usize) -> Option<Timestamp> {
        let own = self.times.binary_search_by_key(&at, |(index, _)| *index).ok()?;
        Some(self.times[own].1)
    }
}

/// A row's part of the values of a read: one allocation for the values of all rows is much cheaper than
/// one for each.
#[derive(Clone)]
struct Values {
    all: Arc<FeatureValues>,
    at: Range<usize>,
}

impl Deref for Values {
    type Target = [FeatureValue];

    fn deref(&self) -> &[FeatureValue] {
        &self.all[self.at.clone()]
    }
}

impl PartialEq for Values {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Values {}

impl fmt::Debug for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl FeatureRow {
    /// How many features the row has, found or not.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The names, in order. Rows of one read usually share them.
    pub fn names(&self) -> &Arc<FeatureNames> {
        &self.names
    }

    /// The values, in the order of the names; null where the status is not [`Present`](FeatureStatus::Present).
    pub fn values(&self) -> &[FeatureValue] {
        &self.values
    }

    /// The statuses, in the order of the names.
    pub fn statuses(&self) -> impl ExactSizeIterator<Item = FeatureStatus> {
        (0..self.len()).map(|at| self.status_at(at))
    }

    /// The event times of the writes that the features come from, in the order of the names; `None` where
    /// there is no such feature.
    pub fn event_times(&self) -> impl ExactSizeIterator<Item = Option<Timestamp>> {
        (0..self.len()).map(|at| (self.status_at(at) != FeatureStatus::NotFound).then(|| self.time(at)))
    }

    /// The value of a feature that is [`Present`](FeatureStatus::Present).
    pub fn get(&self, name: &str) -> Option<&FeatureValue> {
        let at = self.names.position(name)?;
        (self.status_at(at) == FeatureStatus::Present).then(|| &self.values[at])
    }

    /// The status of a feature; one that was not requested is [`NotFound`](FeatureStatus::NotFound).
    pub fn status(&self, name: &str) -> FeatureStatus {
        self.names.position(name).map_or(FeatureStatus::NotFound, |at| self.status_at(at))
    }

    /// The event time of the write that a feature comes from; `None` when there is no such feature.
    pub fn event_time(&self, name: &str) -> Option<Timestamp> {
        let at = self.names.position(name)?;
        (self.status_at(at) != FeatureStatus::NotFound).then(|| self.time(at))
    }

    fn status_at(&self, at: usize) -> FeatureStatus {
        match self.exceptions.as_ref().and_then(|exceptions| exceptions.status(at)) {
            Some(own) => own,
            None if self.values[at].is_null() => FeatureStatus::Null,
            None => FeatureStatus::Present,
        }
    }

    fn time(&self, at: usize) -> Timestamp {
        self.exceptions.as_ref().and_then(|exceptions| exceptions.time(at)).unwrap_or(self.timestamp)
    }

    /// Name, status and value of each feature, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, FeatureStatus, &FeatureValue)> {
        (0..self.len())
            .map(|at| (self.names.get(at).unwrap_or_default(), self.status_at(at), &self.values[at]))
    }
}

/// Turns the records of one view into rows. Records that name the same features, as those of a view
/// usually do, share the work of finding the names.
#[derive(Debug)]
pub struct RowDecoder {
    /// `None` is every feature.
    requested: Option<Arc<FeatureNames>>,
    max_age: Option<Duration>,
    /// The names section of the record before, and what it came to.
    last: Option<(Bytes, Layout)>,
}

#[derive(Clone, Debug)]
struct Layout {
    names: Arc<FeatureNames>,
    /// For each name where it stands in the record; `None` where these are all its names, in order.
    positions: Option<Arc<[Option<usize>]>>,
}

impl RowDecoder {
    /// Decodes the requested features, or all for `None`.
    pub fn new(requested: Option<FeatureNames>, max_age: Option<Duration>) -> Self {
        Self { requested: requested.map(Arc::new), max_age, last: None }
    }

    /// Whether it knows the names of a record.
    pub(crate) fn has_begun(&self) -> bool {
        self.last.is_some()
    }

    /// The same, beginning with the names that records of this view had in earlier reads.
    pub(crate) fn knowing(
        known: &KnownLayouts,
        feature_view: &str,
        requested: Option<Arc<FeatureNames>>,
        max_age: Option<Duration>,
    ) -> Self {
        Self { last: known.of(feature_view, requested.as_ref()), requested, max_age }
    }

    /// The row of an encoded record; `None` when it has expired at `now`, or when it holds no feature
    /// at all, as a retraction does.
    ///
    /// # Errors
    /// `Corrupt` or `Unsupported`, as [`Record::decode`](crate::Record::decode).
    pub fn decode(
        &mut self,
        entity_key: &EntityKey,
        record: &Bytes,
        now: Timestamp,
    ) -> Result<Option<FeatureRow>> {
        let mut rows = Rows::with_capacity(1);
        let row = RowPlace { view: 0, row: 0 };
        if self.decode_into(&mut rows, row, record, now)? {
            return rows.finish([entity_key]).next().unwrap_or(Ok(None));
        }
        Ok(None)
    }

    /// Hands over the features of the record of a row; says whether there is one.
    pub(crate) fn decode_into(
        &mut self,
        to: &mut impl FeatureSink,
        row: RowPlace,
        record: &Bytes,
        now: Timestamp,
    ) -> Result<bool> {
        let view = RecordView::parse(record)?;
        if view.header.is_expired(now) || view.header.features == 0 {
            return Ok(false);
        }
        let oldest = self.max_age.map(|max_age| now.saturating_sub(max_age));
        let is_withheld = |time: Timestamp| oldest.is_some_and(|oldest| time < oldest);
        let layout = self.layout(&view)?;
        let RecordHeader { event_time: timestamp, expires_at, .. } = view.header;
        to.record(row, FoundRecord { names: &layout.names, timestamp, expires_at });
        let any_withheld = is_withheld(timestamp) || view.own_times().any(|(_, time)| is_withheld(time));
        if layout.positions.is_none() && !any_withheld {
            view.values(to)?;
            view.own_times().for_each(|(at, time)| to.event_time(at, time));
            return Ok(true);
        }
        for at in 0..layout.names.len() {
            let Some(position) = layout.positions.as_ref().map_or(Some(at), |positions| positions[at]) else {
                to.no_value(at, FeatureStatus::NotFound);
                continue;
            };
            let time = view.time(position);
            match is_withheld(time) {
                true => to.no_value(at, FeatureStatus::OutsideMaxAge),
                false => to.value(at, view.value(position)?),
            }
            if time != timestamp {
                to.event_time(at, time);
            }
        }
        Ok(true)
    }

    fn layout(&mut self, view: &RecordView<'_>) -> Result<&Layout> {
        let fits = |layout: &Layout| {
            layout.positions.is_some() || layout.names.len() == usize::from(view.header.features)
        };
        let known =
            self.last.take().filter(|(section, layout)| *section == view.names_section && fits(layout));
        let last = match (known, &self.requested) {
            (Some(known), _) => known,
            (None, requested) => {
                let layout = match requested {
                    None => Layout { names: Arc::new(view.names()?), positions: None },
                    Some(names) => {
                        let all = usize::from(view.header.features);
                        let positions: Arc<[_]> =
                            names.iter().map(|name| view.find(name)).collect::<Result<_>>()?;
                        let is_all = positions.iter().copied().eq((0..all).map(Some));
                        Layout { names: names.clone(), positions: (!is_all).then_some(positions) }
                    }
                };
                // The record may be part of a whole batch's answer, which it would keep in memory.
                (Bytes::copy_from_slice(view.names_section), layout)
            }
        };
        Ok(&self.last.insert(last).1)
    }
}

/// The names of each view's records, and where the requested ones stand among them, kept from read to read: to
/// find that out is most of what a read of a single record costs, and most records of a view have the same names
/// and most reads want the same of them.
#[derive(Debug, Default)]
pub(crate) struct KnownLayouts(RwLock<HashMap<String, Vec<KnownLayout>, foldhash::fast::RandomState>>);

#[derive(Debug)]
struct KnownLayout {
    requested: Option<Arc<FeatureNames>>,
    section: Bytes,
    layout: Layout,
}

impl KnownLayouts {
    /// For no more views than this, so that made-up names of views cannot fill the memory.
    const MOST: usize = 1_024;
    /// For no more different requests of a view.
    const REQUESTS: usize = 8;

    fn of(&self, feature_view: &str, requested: Option<&Arc<FeatureNames>>) -> Option<(Bytes, Layout)> {
        let known = self.0.read().ok()?;
        let is_same = |own: &&KnownLayout| match (&own.requested, requested) {
            (Some(own), Some(requested)) => Arc::ptr_eq(own, requested) || own == requested,
            (own, requested) => own.is_none() && requested.is_none(),
        };
        let own = known.get(feature_view)?.iter().find(is_same)?;
        Some((own.section.clone(), own.layout.clone()))
    }

    /// Keeps what a decoder has found out.
    pub(crate) fn learn(&self, feature_view: &str, decoder: &RowDecoder) {
        let Some((section, layout)) = &decoder.last else { return };
        // What the decoder began with and did not have to replace is the very memory that is kept here.
        let is_kept = |own: &KnownLayout| own.section.as_ptr() == section.as_ptr();
        if self.0.read().is_ok_and(|known| known.get(feature_view).is_some_and(|all| all.iter().any(is_kept)))
        {
            return;
        }
        // Whoever would have to wait leaves it to a later read.
        let Ok(mut known) = self.0.try_write() else { return };
        if known.len() < Self::MOST || known.contains_key(feature_view) {
            let all = known.entry(feature_view.to_owned()).or_default();
            all.retain(|own| own.requested != decoder.requested);
            if all.len() == Self::REQUESTS {
                all.remove(0);
            }
            // A copy, since the section is a part of the memory of a whole read.
            let section = Bytes::copy_from_slice(section);
            all.push(KnownLayout { requested: decoder.requested.clone(), section, layout: layout.clone() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::Features;
    use crate::record::Record;

    fn record(features: Features) -> Bytes {
        Record::of_write(Timestamp::from_micros(1), None, features).encode().unwrap().into()
    }

    #[test]
    fn names_are_kept_from_read_to_read_and_never_given_to_records_that_have_others() {
        let known = KnownLayouts::default();
        let entity = EntityKey::new("id", 1).unwrap();
        let read = |record: &Bytes| {
            let mut decoder = RowDecoder::knowing(&known, "v", None, None);
            let row = decoder.decode(&entity, record, Timestamp::from_micros(2)).unwrap().unwrap();
            known.learn("v", &decoder);
            row
        };
        let (a, ab) = (record(Features::from([("a", 1)])), record(Features::from([("a", 2), ("b", 3)])));
        let names = |row: &FeatureRow| row.names().iter().map(str::to_owned).collect::<Vec<_>>();
        let first = read(&a);
        let again = read(&a);
        assert!(Arc::ptr_eq(first.names(), again.names()));
        for _ in 0..2 {
            let row = read(&ab);
            assert_eq!((names(&row), row.get("b")), (vec!["a".into(), "b".into()], Some(&3.into())));
            assert_eq!((names(&read(&a)), read(&a).get("a")), (vec!["a".to_owned()], Some(&1.into())));
        }
    }

    #[test]
    fn where_requested_names_stand_is_kept_for_each_request_and_never_used_for_other_records() {
        let known = KnownLayouts::default();
        let entity = EntityKey::new("id", 1).unwrap();
        let read = |record: &Bytes, names: &[&str]| {
            let mut decoder = RowDecoder::knowing(&known, "v", Some(Arc::new(names.iter().collect())), None);
            let began = decoder.has_begun();
            let row = decoder.decode(&entity, record, Timestamp::from_micros(2)).unwrap().unwrap();
            known.learn("v", &decoder);
            let values: Vec<_> =
                row.iter().map(|(name, status, value)| (name.to_owned(), status, value.clone())).collect();
            (began, values)
        };
        let abc = record(Features::from([("a", 1), ("b", 2), ("c", 3)]));
        let bc = record(Features::from([("b", 4), ("c", 5)]));
        for round in 0..3 {
            for (record, names, expected) in [
                (&abc, ["c", "a"], [Some(3), Some(1)]),
                (&bc, ["c", "a"], [Some(5), None]),
                (&abc, ["a", "c"], [Some(1), Some(3)]),
                (&abc, ["b", "x"], [Some(2), None]),
            ] {
                let (began, row) = read(record, &names);
                let got: Vec<_> = row.iter().map(|(_, _, value)| value.as_i64()).collect();
                assert_eq!(got, expected.map(|value| value.map(i64::from)));
                assert_eq!(row.iter().map(|(name, ..)| name.as_str()).collect::<Vec<_>>(), names);
                assert!(began || round == 0, "{names:?}");
            }
        }
        for n in 0..100 {
            read(&abc, &[&format!("made up {n}")]);
        }
        assert_eq!(known.0.read().unwrap()["v"].len(), KnownLayouts::REQUESTS);
    }

    #[test]
    fn what_is_kept_of_reads_of_all_features_is_not_used_for_reads_of_some() {
        let (all, some) = (None, Some(Arc::new(["a"].iter().collect::<FeatureNames>())));
        for (first, second) in [(&all, &some), (&some, &all)] {
            let known = KnownLayouts::default();
            let begin = |requested: &Option<_>| RowDecoder::knowing(&known, "v", requested.clone(), None);
            let mut decoder = begin(first);
            let record = record(Features::from([("a", 1), ("b", 2)]));
            decoder.decode(&EntityKey::new("id", 1).unwrap(), &record, Timestamp::from_micros(2)).unwrap();
            known.learn("v", &decoder);
            assert!(begin(first).has_begun() && !begin(second).has_begun());
        }
    }

    #[test]
    fn rows_are_equal_if_what_they_show_is() {
        let row = |features: Features| {
            let record = record(features);
            let mut decoder = RowDecoder::new(None, None);
            assert!(!decoder.has_begun());
            decoder
                .decode(&EntityKey::new("id", 1).unwrap(), &record, Timestamp::from_micros(2))
                .unwrap()
                .unwrap()
        };
        let one = row(Features::from([("a", 1), ("b", 2)]));
        assert_eq!(one, row(Features::from([("a", 1), ("b", 2)])));
        for other in [[("a", 1), ("b", 3)], [("a", 1), ("c", 2)]] {
            assert_ne!(one, row(Features::from(other)));
        }
        let mut decoder = RowDecoder::new(Some(FeatureNames::default()), None);
        let (entity, now) = (EntityKey::new("id", 1).unwrap(), Timestamp::from_micros(2));
        let none = decoder.decode(&entity, &record(Features::from([("a", 1)])), now).unwrap().unwrap();
        assert!(none.is_empty() && !one.is_empty());
        let shown = format!("{one:?}");
        assert!(
            shown.contains(r#"names: ["a", "b"]"#) && shown.contains("values: [Int32(1), Int32(2)]"),
            "{shown}"
        );
        assert!(!one.names().is_empty() && FeatureNames::default().is_empty());
    }

    #[test]
    fn statuses_have_the_names_that_users_see() {
        use FeatureStatus::{NotFound, Null, OutsideMaxAge, Present};
        let names = [Present, Null, NotFound, OutsideMaxAge].map(FeatureStatus::name);
        assert_eq!(names, ["present", "null", "not_found", "outside_max_age"]);
    }

    #[test]
    fn made_up_views_do_not_fill_the_memory() {
        let known = KnownLayouts::default();
        let mut decoder = RowDecoder::new(None, None);
        let record = record(Features::from([("a", 1)]));
        decoder.decode(&EntityKey::new("id", 1).unwrap(), &record, Timestamp::from_micros(2)).unwrap();
        (0..KnownLayouts::MOST + 10).for_each(|view| known.learn(&view.to_string(), &decoder));
        assert_eq!(known.0.read().unwrap().len(), KnownLayouts::MOST);
    }
}
